//! What only this backend can be asked: damage, crashes, and its bounds.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::*;
use crate::store::contract;

/// So small that a few commits pass through every file there is.
fn tiny() -> Options {
    Options {
        segment_bytes: 512,
        checkpoint_bytes: 300,
        overlay_bytes_max: 2_000,
        table_cache_bytes: 1024 * 1024,
        ..Options::default()
    }
}

/// Nothing but the journal is used.
fn journal_only() -> Options {
    Options { segment_bytes: 4096, ..Options::default() }
}

fn put(store: &mut Local, n: u64) {
    let mut batch = Batch::default();
    batch.put(key(n), value(n));
    batch.event(value(n));
    store.commit(batch).unwrap();
}

fn key(n: u64) -> Vec<u8> {
    format!("k{n:06}").into_bytes()
}

fn value(n: u64) -> Vec<u8> {
    format!("value {n}").into_bytes()
}

/// Asserts that commits `1..=last` of [`put`] are there and no other.
fn check(store: &Local, last: u64) {
    let pairs = store.scan(b"k", b"l", Direction::Ascending, usize::MAX).unwrap();
    assert_eq!(pairs, (1..=last).map(|n| (key(n), value(n))).collect::<Vec<_>>());
    let events = store.history().read(0, usize::MAX).unwrap();
    assert_eq!(events, (1..=last).map(|n| (n, value(n))).collect::<Vec<_>>());
}

fn segment(dir: &Path, first: u64) -> PathBuf {
    segments::Segment::new(&dir.join("journal"), first).path
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Makes a closed store look as if its process had been killed: nobody wrote down where it ends.
fn as_after_a_crash(dir: &Path) {
    fs::remove_file(mark::acknowledged(dir)).unwrap();
}

/// A store with three commits in one segment whose process was killed, and where each frame ends.
fn three_commits(dir: &Path) -> Vec<usize> {
    let mut store = Local::open(dir, journal_only()).unwrap();
    let mut ends = vec![0];
    for n in 1..=3 {
        put(&mut store, n);
        let bytes = fs::read(segment(dir, 1)).unwrap();
        ends.push(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    }
    drop(store);
    as_after_a_crash(dir);
    ends
}

fn refusal(dir: &Path) -> String {
    match Local::open(dir, journal_only()) {
        Ok(_) => panic!("the damage went unnoticed"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn local_keeps_the_contract() {
    for options in [Options::default(), tiny(), Options { checkpoint_age_max: Duration::ZERO, ..tiny() }] {
        let dir = tempfile::tempdir().unwrap();
        contract::check(|| Box::new(Local::open(dir.path(), options.clone()).unwrap()));
    }
}

#[test]
fn after_a_failed_write_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path(), Options { segment_bytes: 1, ..tiny() }).unwrap();
    contract::check_failure(store, || fs::remove_dir_all(dir.path().join("journal")).unwrap());
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off_and_the_store_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    let ends = three_commits(whole.path());
    let bytes = fs::read(segment(whole.path(), 1)).unwrap();
    for cut in ends[2]..ends[3] {
        for zeros in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            copy(whole.path(), dir.path());
            let mut torn = bytes[..cut].to_vec();
            torn.resize(if zeros { bytes.len() } else { cut }, 0);
            fs::write(segment(dir.path(), 1), torn).unwrap();
            let mut store = Local::open(dir.path(), journal_only()).unwrap();
            check(&store, 2);
            put(&mut store, 3);
            drop(store);
            check(&Local::open(dir.path(), journal_only()).unwrap(), 3);
        }
    }
}

#[test]
fn what_was_acknowledged_is_no_torn_tail() {
    let whole = tempfile::tempdir().unwrap();
    let ends = three_commits(whole.path());
    drop(Local::open(whole.path(), journal_only()).unwrap());
    let bytes = fs::read(segment(whole.path(), 1)).unwrap();
    for (at, place) in [(ends[2], ends[2]), (ends[3] - 1, ends[2]), (ends[1], ends[1]), (0, 0)] {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        fs::write(segment(dir.path(), 1), &bytes[..at]).unwrap();
        let refusal = refusal(dir.path());
        let expected = format!("at byte {place}: commit");
        let why = "is bad or missing, but all up to commit 3 were acknowledged";
        assert!(refusal.contains(&expected) && refusal.contains(why), "cut at {at}: {refusal}");
    }
}

#[test]
fn a_segment_is_known_of_from_its_first_commit_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Local::open(dir.path(), tiny()).unwrap();
    (1..=30).for_each(|n| put(&mut store, n));
    let last = segments::list(&dir.path().join("journal")).unwrap().pop().unwrap();
    assert_eq!(mark::read(&mark::acknowledged(dir.path())).unwrap(), last.first);
}

#[test]
fn a_flipped_byte_before_a_good_commit_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let ends = three_commits(dir.path());
    let path = segment(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    for at in 0..ends[2] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        fs::write(&path, &damaged).unwrap();
        let start = ends.iter().rev().find(|end| **end <= at).unwrap();
        let place = format!("{} is damaged at byte {start}: ", path.display());
        let refusal = refusal(dir.path());
        assert!(refusal.starts_with(&place) && refusal.contains("dwell check --repair"), "{refusal}");
    }
    let mut zeroed = bytes.clone();
    zeroed[..ends[2]].fill(0);
    fs::write(&path, zeroed).unwrap();
    assert!(refusal(dir.path()).contains("commit 1 is bad, but commit 3 after it is good"));
    fs::write(&path, bytes).unwrap();
    check(&Local::open(dir.path(), journal_only()).unwrap(), 3);
}

#[test]
fn a_payload_that_looks_like_a_commit_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Local::open(dir.path(), journal_only()).unwrap();
    let mut forged = Vec::new();
    frame::encode(0, 3, &Batch::default(), &mut forged).unwrap();
    let mut batch = Batch::default();
    batch.event([forged, vec![1; 40]].concat());
    put(&mut store, 1);
    store.commit(batch).unwrap();
    drop(store);
    as_after_a_crash(dir.path());
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] = 0;
    fs::write(&path, bytes).unwrap();
    check(&Local::open(dir.path(), journal_only()).unwrap(), 1);
}

#[test]
fn a_missing_or_foreign_file_is_refused() {
    let whole = tempfile::tempdir().unwrap();
    let mut store = Local::open(whole.path(), tiny()).unwrap();
    for n in 1..=40 {
        put(&mut store, n);
    }
    if store.checkpointer.is_under_way() {
        store.checkpointer.wait().unwrap();
    }
    drop(store);
    let no_checkpoints = Options { checkpoint_bytes: usize::MAX, ..tiny() };
    let mut store = Local::open(whole.path(), no_checkpoints).unwrap();
    for n in 41..=80 {
        put(&mut store, n);
    }
    drop(store);
    let mark = checkpoint::read_mark(whole.path()).unwrap();
    assert!(mark > 0);
    let segments = segments::list(&whole.path().join("journal")).unwrap();
    let needed = segments.iter().rev().find(|segment| segment.first <= mark + 1).unwrap();

    let check = |damage: &dyn Fn(&Path), expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        damage(dir.path());
        let refusal = refusal(dir.path());
        assert!(refusal.contains(expected), "{refusal:?} does not say {expected:?}");
    };
    let last = segments.last().unwrap();
    let flip_seed = |dir: &Path| {
        let mut text = fs::read(dir.join("format")).unwrap();
        text[8] ^= 1;
        fs::write(dir.join("format"), text).unwrap();
    };
    check(&|dir| fs::remove_file(segment(dir, needed.first)).unwrap(), "is missing");
    check(&|dir| fs::remove_dir_all(dir.join("journal")).unwrap(), "the journal ends before commit 1,");
    check(
        &|dir| fs::remove_dir_all(dir.join("table")).unwrap(),
        "rows are missing from it: it falls behind the checkpoint",
    );
    check(&|dir| fs::remove_file(dir.join("format")).unwrap(), "it is missing, but journal is there");
    check(
        &|dir| fs::write(dir.join("format"), "dwell 3 00000000 00000000\n").unwrap(),
        "says format 3: this build reads up to 2",
    );
    check(
        &|dir| fs::write(dir.join("format"), "hello").unwrap(),
        "is not `dwell <format> <seed> <checksum>`",
    );
    check(&flip_seed, "is not `dwell <format> <seed> <checksum>`");
    check(&|dir| fs::write(dir.join("checkpoint"), [0; 12]).unwrap(), "checkpoint is damaged at byte 0");
    check(&|dir| fs::rename(segment(dir, last.first), segment(dir, last.first + 1)).unwrap(), "is missing");
}

#[test]
fn what_a_crash_left_is_acknowledged_once_it_was_read() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    three_commits(whole.path());
    let mut store = Local::open(whole.path(), journal_only()).unwrap();
    copy(whole.path(), dir.path());
    put(&mut store, 4);
    drop(store);
    let acknowledged = |dir: &Path| mark::read(&mark::acknowledged(dir)).unwrap();
    assert_eq!(
        (acknowledged(dir.path()), acknowledged(whole.path())),
        (3, 4),
        "when opened, and when closed"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_one_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(segment(dir.path(), 1)).unwrap();
    fs::create_dir(dir.path().join("format")).unwrap();
    assert!(mark::read(dir.path()).is_err() && format::read(dir.path()).is_err());
    let first = segments::Segment { first: 1, path: segment(dir.path(), 1) };
    assert!(commits::Commits::open(&first, 7).unwrap().read().is_err());
}

#[test]
fn history_is_read_up_to_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    three_commits(dir.path());
    let store = Local::open(dir.path(), journal_only()).unwrap();
    for (after, limit, expected) in [(0, 2, vec![1, 2]), (1, 1, vec![2]), (1, 9, vec![2, 3]), (0, 0, vec![])]
    {
        let events = store.history().read(after, limit).unwrap();
        assert_eq!(events.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn segments_are_archived_while_the_store_is_written_to() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = Options { archive: Some(archive.path().to_owned()), ..tiny() };
    let mut store = Local::open(dir.path(), options).unwrap();
    let seed = format::read(dir.path()).unwrap().unwrap();
    let kept = archive::place(archive.path(), seed);
    let mut n = 0;
    while !kept.is_dir() || segments::list(&kept).unwrap().len() < 3 {
        n += 1;
        put(&mut store, n);
        assert!(n < 5_000, "nothing is archived");
    }
}

#[test]
fn no_checkpoint_begins_before_there_is_as_much_as_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Local::open(dir.path(), Options { checkpoint_bytes: 300, ..journal_only() }).unwrap();
    let (mut commits, mut waiting) = (0, 0);
    while checkpoint::read_mark(dir.path()).unwrap() == 0 {
        waiting = store.overlay.active_bytes();
        commits += 1;
        put(&mut store, commits);
        settled(&mut store);
    }
    assert!((200..300).contains(&waiting), "{waiting} bytes waited before commit {commits}");
}

#[test]
fn a_second_open_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path(), tiny()).unwrap();
    let expected = format!("store {} is open in process {}", dir.path().display(), std::process::id());
    assert_eq!(refusal(dir.path()), expected);
    drop(store);
    Local::open(dir.path(), tiny()).unwrap();
}

#[test]
fn replay_over_a_table_that_is_ahead_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Local::open(dir.path(), tiny()).unwrap();
    for n in 1..=60 {
        put(&mut store, n);
    }
    drop(store);
    assert!(checkpoint::read_mark(dir.path()).unwrap() > 0);
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    check(&Local::open(dir.path(), tiny()).unwrap(), 60);
}

#[test]
fn memory_stays_bounded_and_reads_stay_right_while_checkpoints_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Local::open(dir.path(), tiny()).unwrap();
    // More than any of them weighs. One goes beyond what is allowed beside a checkpoint; where that ends meanwhile, one more
    // is taken in before all of it is what the next brings into the table.
    let change = 140;
    for n in 1..=300 {
        put(&mut store, n);
        let [all, active] = [store.overlay.bytes(), store.overlay.active_bytes()];
        assert!(all < tiny().overlay_bytes_max + 3 * change, "commit {n}: {all}");
        let follows = !store.checkpointer.is_under_way() || active < store.bytes_allowed() + change;
        assert!(follows, "commit {n}: {active}, before a checkpoint that is not as far");
    }
    check(&store, 300);
    assert!(segments::list(&dir.path().join("journal")).unwrap().len() > 10);
}

#[test]
fn history_is_kept_up_to_its_bound_and_recovery_keeps_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { history_bytes_max: 2_000, ..tiny() };
    let mut store = Local::open(dir.path(), options.clone()).unwrap();
    let reader = store.history();
    let mut last = 0;
    // How far behind the checkpoints are is the machine's affair; that they come along is not.
    while reader.oldest().unwrap() <= 100 {
        last += 1;
        assert!(last < 10_000, "nothing is released");
        put(&mut store, last);
        assert_eq!(reader.read(last - 1, 10).unwrap(), [(last, value(last))]);
    }
    drop(store);
    let store = Local::open(dir.path(), options).unwrap();
    let reader = store.history();
    let kept = reader.read(0, usize::MAX).unwrap();
    let oldest = kept[0].0;
    assert!(oldest > 100, "{oldest}");
    assert_eq!((reader.oldest().unwrap(), reader.newest()), (oldest, last));
    assert_eq!(kept, (oldest..=last).map(|n| (n, value(n))).collect::<Vec<_>>());
    let rows = store.scan(b"k", b"l", Direction::Ascending, usize::MAX).unwrap();
    assert_eq!(rows.len() as u64, last);
}

#[test]
fn history_that_goes_while_it_is_read_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Local::open(dir.path(), tiny()).unwrap();
    for n in 1..=60 {
        put(&mut store, n);
    }
    let segments = segments::list(&dir.path().join("journal")).unwrap();
    // Found, and not there any more when it is opened. The ones before it were removed as well, but after they were read.
    let gone = &segments[2].path;
    fs::remove_file(gone).unwrap();
    std::os::unix::fs::symlink("nowhere", gone).unwrap();
    let left: Vec<_> = (segments[3].first..=60).map(|n| (n, value(n))).collect();
    assert_eq!(store.history().read(0, usize::MAX).unwrap(), left);
}

#[test]
fn damaged_history_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let ends = three_commits(dir.path());
    let store = Local::open(dir.path(), journal_only()).unwrap();
    let mut bytes = fs::read(segment(dir.path(), 1)).unwrap();
    bytes[ends[1] + 20] ^= 1;
    fs::write(segment(dir.path(), 1), bytes).unwrap();
    let error = store.history().read(0, 10).unwrap_err().to_string();
    assert!(error.contains(&format!("at byte {}: commit 2 does not match its checksum", ends[1])), "{error}");
    assert_eq!(store.history().read(2, 10).unwrap(), [(3, value(3))]);
}

#[test]
fn the_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/b");
    drop(Local::open(&dir, tiny()).unwrap());
    assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn history_beyond_its_age_is_removed_but_not_what_recovery_needs() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_hours(1);
    for (first, hours) in [(1, 0), (10, 5), (20, 6), (30, 10)] {
        let path = segments::Segment::new(dir.path(), first).path;
        let written = std::time::SystemTime::UNIX_EPOCH + hour * hours;
        fs::File::create(path).unwrap().set_modified(written).unwrap();
    }
    let kept = |checkpoint, hours| {
        let retention = Retention { age_max: hour * hours, ..keeping(dir.path()) };
        retention.release(checkpoint).unwrap();
        segments::list(dir.path()).unwrap().iter().map(|segment| segment.first).collect::<Vec<_>>()
    };
    assert_eq!(kept(35, 10), [1, 10, 20, 30]);
    assert_eq!(kept(35, 9), [10, 20, 30]);
    assert_eq!(kept(18, 0), [10, 20, 30], "commit 19 is not in the table");
    assert_eq!(kept(19, 4), [20, 30]);
    assert_eq!(kept(u64::MAX - 1, 0), [30], "the newest segment is written to");
}

#[test]
fn history_beyond_its_size_is_removed_oldest_first_but_not_what_is_held() {
    let dir = tempfile::tempdir().unwrap();
    for first in [1, 10, 20, 30, 40] {
        fs::write(segments::Segment::new(dir.path(), first).path, [0; 100]).unwrap();
    }
    let holds = Arc::new(retention::Holds::new(15, true));
    let kept = |bytes_max| {
        let retention = Retention { bytes_max, holds: Arc::clone(&holds), ..keeping(dir.path()) };
        retention.release(45).unwrap();
        segments::list(dir.path()).unwrap().iter().map(|segment| segment.first).collect::<Vec<_>>()
    };
    assert_eq!(kept(0), [1, 10, 20, 30, 40], "none is in the archive");
    holds.archived(31);
    assert_eq!(kept(500), [1, 10, 20, 30, 40]);
    assert_eq!(kept(400), [10, 20, 30, 40]);
    let hold = retention::Hold::take(&holds);
    assert_eq!((hold.since, kept(100)), (45, vec![40]));

    for first in [50, 60] {
        fs::write(segments::Segment::new(dir.path(), first).path, [0; 100]).unwrap();
    }
    holds.archived(u64::MAX);
    let released = |checkpoint| {
        let retention = Retention { bytes_max: 0, holds: Arc::clone(&holds), ..keeping(dir.path()) };
        retention.release(checkpoint).unwrap();
        segments::list(dir.path()).unwrap().len()
    };
    assert_eq!(released(65), 3, "a backup asks for what follows commit 45");
    drop(hold);
    assert_eq!(released(65), 1);
}

/// All of it.
fn keeping(journal: &Path) -> Retention {
    Retention {
        journal: journal.to_owned(),
        bytes_max: u64::MAX,
        age_max: Duration::MAX,
        holds: Arc::new(retention::Holds::default()),
        lacking: Box::new(|| 0),
    }
}

#[test]
fn a_segment_of_one_commit_is_not_let_go_before_it_is_archived() {
    let dir = tempfile::tempdir().unwrap();
    for first in [1, 2, 3] {
        fs::write(segments::Segment::new(dir.path(), first).path, [0; 10]).unwrap();
    }
    let holds = Arc::new(Holds::new(0, true));
    holds.archived(2);
    let retention = Retention { bytes_max: 0, holds, ..keeping(dir.path()) };
    retention.release(9).unwrap();
    let left: Vec<u64> = segments::list(dir.path()).unwrap().iter().map(|segment| segment.first).collect();
    assert_eq!(left, [2, 3]);
}

#[test]
fn history_that_the_disk_has_no_room_for_goes_oldest_first_but_not_what_recovery_needs() {
    let dir = tempfile::tempdir().unwrap();
    let kept = |checkpoint, lacking: u64| {
        for first in [1, 10, 20, 30] {
            fs::write(segments::Segment::new(dir.path(), first).path, [0; 10]).unwrap();
        }
        let journal = dir.path().to_owned();
        let gone = move || 10 * (4 - segments::list(&journal).unwrap().len() as u64);
        let retention =
            Retention { lacking: Box::new(move || lacking.saturating_sub(gone())), ..keeping(dir.path()) };
        retention.release(checkpoint).unwrap();
        segments::list(dir.path()).unwrap().iter().map(|segment| segment.first).collect::<Vec<_>>()
    };
    assert_eq!(kept(35, 0), [1, 10, 20, 30]);
    assert_eq!(kept(35, 11), [20, 30]);
    assert_eq!(kept(35, 1_000), [30], "the newest segment is written to");
    assert_eq!(kept(18, 1_000), [10, 20, 30], "commit 19 is not in the table");
}

/// A store whose disk has as much free as the answered number says.
fn measured(options: Options) -> (Options, Arc<AtomicU64>) {
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let said = Arc::clone(&free);
    let measure =
        Measure::new(move |_| Ok(Filesystem { free: said.load(Ordering::Relaxed), size: u64::MAX }));
    (Options { measure, ..options }, free)
}

/// Waits for the checkpoint thread, which begins with a look at the table.
fn settled(store: &mut Local) {
    store.verified().unwrap();
}

#[test]
fn a_reserve_is_kept_while_there_is_room_for_it_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let reserve = dir.path().join("journal/reserve");
    let (options, free) = measured(Options { min_free: 10_000, ..journal_only() });
    free.store(8_191, Ordering::Relaxed);
    let mut store = Local::open(dir.path(), options.clone()).unwrap();
    settled(&mut store);
    assert!(!reserve.exists(), "less than two segments are free");
    free.store(8_192, Ordering::Relaxed);
    assert!(store.look().unwrap().unwrap().is_short());
    settled(&mut store);
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 4_096);
    free.store(u64::MAX, Ordering::Relaxed);
    drop(store);
    fs::write(&reserve, "of another size").unwrap();
    fs::write(dir.path().join("journal/reserve.new"), "left by a crash").unwrap();
    settled(&mut Local::open(dir.path(), options).unwrap());
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 4_096);
}

#[test]
fn the_reserve_becomes_the_next_segment_with_all_that_was_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    three_commits(dir.path());
    let gauge = Arc::new(Gauge::new(dir.path(), 0, Measure::default()));
    let reserve = Reserve::new(&dir.path().join("journal"), 4_096, gauge);
    reserve.make().unwrap();
    let next = segments::Segment::new(&dir.path().join("journal"), 4);
    assert!(reserve.take(&next, 4_097).unwrap().is_none(), "it is too small");
    fs::write(&next.path, "as far as it came before the disk was full").unwrap();
    assert!(reserve.take(&next, 4_096).unwrap().is_some());
    assert!(reserve.take(&next, 1).unwrap().is_none(), "there was one");
    let mut store = Local::open(dir.path(), journal_only()).unwrap();
    put(&mut store, 4);
    drop(store);
    check(&Local::open(dir.path(), journal_only()).unwrap(), 4);
}

#[test]
fn a_checkpoint_takes_nothing_that_is_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { checkpoint_bytes: 300, ..Options::default() };
    let mut store = Local::open(dir.path(), options).unwrap();
    settled(&mut store);
    let batch = |n: u8| {
        let mut batch = Batch::default();
        batch.put(vec![n], vec![n; 100]);
        batch
    };
    store.begin(batch(1)).unwrap();
    store.begin(batch(2)).unwrap();
    store.landed(1).unwrap();
    assert!(store.is_checkpoint_due() && !store.checkpointer.is_under_way(), "the second is in the overlay");
    store.landed(0).unwrap();
    assert!(store.checkpointer.is_under_way());
    settled(&mut store);
    assert_eq!(checkpoint::read_mark(dir.path()).unwrap(), 2);
    store.begin(batch(3)).unwrap();
    store.begin(batch(4)).unwrap();
    store.begin(batch(5)).unwrap();
    assert!(store.checkpointer.is_under_way(), "one that is due is not put off by what follows");
    drop(store);
    let store = Local::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.scan(&[1], &[9], Direction::Ascending, 9).unwrap().len(), 5);
}

#[test]
fn a_checkpoint_waits_for_room_and_the_overlay_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (options, free) = measured(tiny());
    let mut store = Local::open(dir.path(), options).unwrap();
    settled(&mut store);
    free.store(TABLE_BYTES - 1, Ordering::Relaxed);
    let mut batch = Batch::default();
    batch.put(b"k".to_vec(), vec![1; 3_000]);
    store.commit(batch.clone()).unwrap();
    settled(&mut store);
    assert_eq!(checkpoint::read_mark(dir.path()).unwrap(), 0);
    let full = store.commit(batch.clone()).unwrap_err().to_string();
    assert!(full.contains("table: its disk is full; make room there"), "{full}");
    drop(store);
    // sled was left as it is, and has its file locked.
    let after = tempfile::tempdir().unwrap();
    copy(dir.path(), after.path());
    let mut store = Local::open(after.path(), tiny()).unwrap();
    assert_eq!(store.get(b"k").unwrap(), Some(vec![1; 3_000]));
    store.commit(batch).unwrap();
    settled(&mut store);
    assert_eq!(checkpoint::read_mark(after.path()).unwrap(), 2, "there is room again");
}

#[test]
fn a_snapshot_that_sled_left_half_written_is_none() {
    let dir = tempfile::tempdir().unwrap();
    three_commits(dir.path());
    fs::write(dir.path().join("table/snap.FFFFFFFFFFFFFFFF.generating"), "sn").unwrap();
    check(&Local::open(dir.path(), journal_only()).unwrap(), 3);
}

#[test]
fn a_table_whose_making_was_cut_short_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    drop(Local::open(dir.path(), tiny()).unwrap());
    let other = tempfile::tempdir().unwrap();
    copy(dir.path(), other.path());
    fs::remove_file(other.path().join("table/db")).unwrap();
    fs::write(other.path().join("table/conf"), "segment_s").unwrap();
    check(&Local::open(other.path(), tiny()).unwrap(), 0);
}

#[test]
fn a_table_that_is_let_go_late_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    drop(Local::open(dir.path(), tiny()).unwrap());
    let held = fs::File::open(dir.path().join("table/db")).unwrap();
    held.lock().unwrap();
    let waits = format!(":{} ", held.metadata().unwrap().ino());
    let store = dir.path().to_owned();
    let opening = std::thread::spawn(move || Local::open(&store, tiny()));
    let is_waiting = || {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|lock| lock.contains("->") && lock.contains(&waits))
    };
    while !is_waiting() && !opening.is_finished() {}
    drop(held);
    opening.join().unwrap().unwrap();
}
