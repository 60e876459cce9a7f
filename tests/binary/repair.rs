//! `dwell check` and `dwell check --repair` by the real binary: a look changes nothing, a repair loses nothing, keeps what
//! it takes out, says each thing it does, and what it leaves is whole and opens.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dwell::engine::{Engine, Settings};
use dwell::model::{Time, Transition, Work};
use dwell::store::local::Options;
use dwell::store::{Backend, Batch, Direction, Local, Pair, Stored, Tally, keys};
use serde_json::Value as Json;

use super::common::World;
use super::server::{DWELL, Server, directory, dwell};

/// A few commits pass through every file there is.
fn options() -> Options {
    Options {
        segment_bytes: 4096,
        checkpoint_bytes: 3_000,
        overlay_bytes_max: 20_000,
        table_cache_bytes: 1024 * 1024,
        ..Options::default()
    }
}

/// What the store of [`fill`] holds.
fn rows() -> Vec<Pair> {
    let mut world = World::new();
    for n in 0..40 {
        world.does(&format!("submit n{n} runtime=shell key=k{n}"));
        world.does(&format!("n{n}/1 succeeded"));
    }
    world.does("submit waits");
    all(&world.disk)
}

fn all(store: &dyn Backend) -> Vec<Pair> {
    store.scan(&[0], &[255], Direction::Ascending, usize::MAX).unwrap()
}

/// Makes a store of some segments, half of them history; each row is a commit of its own.
fn fill(dir: &Path) -> Vec<Pair> {
    let rows = rows();
    let mut store = Local::open(dir, options()).unwrap();
    for (n, (key, value)) in rows.iter().enumerate() {
        if n == rows.len() / 2 {
            drop(store);
            store = Local::open(dir, Options { checkpoint_bytes: usize::MAX, ..options() }).unwrap();
        }
        let mut batch = Batch::default();
        batch.put(key.clone(), value.clone());
        let id = dwell::model::RecordId::session(7);
        let at = Time::from_millis(n as u64);
        let (from, to) = (None, dwell::model::StateName::Queued);
        let event = "admitted".into();
        batch
            .event(Transition { at, id, event, from, to, attempt: 0, deadline: None, detail: None }.encode());
        store.commit(batch).unwrap();
        if n < rows.len() / 2 {
            store.verified().unwrap();
        }
    }
    rows
}

fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
    paths.sort();
    paths
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn checkpoint(store: &Path) -> u64 {
    u64::from_be_bytes(fs::read(store.join("checkpoint")).unwrap()[..8].try_into().unwrap())
}

fn first(segment: &Path) -> u64 {
    segment.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

fn check(dir: &Path, args: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = dwell(dir, &[&["check", "--data", "store"], args].concat());
    let (said, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(!errors.contains("panicked"), "{errors}");
    assert!([Some(0), Some(1)].contains(&status.code()), "{status}: {said}{errors}");
    (status.success(), said + &errors)
}

/// Every file with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// Damages a store, and sees what a look finds and a repair does. Answers the store, and what the repair said.
fn repaired(damage: &dyn Fn(&Path), found: &str, did: &[&str]) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let rows = fill(&store);
    damage(&store);
    let before = files(&store);
    let (whole, said) = check(dir.path(), &[]);
    assert!(!whole && said.contains(found), "{found:?} is not in {said}");
    assert!(before == files(&store), "a look changed something");
    let (whole, said) = check(dir.path(), &["--repair"]);
    assert!(whole, "{said}");
    for did in did {
        assert!(said.contains(did), "{did:?} is not in {said}");
    }
    let (whole, again) = check(dir.path(), &["--repair"]);
    assert!(whole && !again.contains("repair:"), "{again}");
    let mut opened = Local::open(&store, options()).unwrap();
    opened.verified().unwrap();
    assert_eq!(all(&opened).len(), rows.len());
    assert!(all(&opened) == rows, "rows are not as they were");
    Engine::open(Box::new(opened), Settings::default(), Time::ZERO).unwrap();
    (dir, said)
}

/// What a repair took out, by name.
fn beside(dir: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(dir.join("store")).unwrap().map(|entry| entry.unwrap().path());
    let repairs = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("repair-"));
    repairs
        .flat_map(|repair| fs::read_dir(repair).unwrap())
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect()
}

#[test]
fn a_whole_store_is_clean_and_a_look_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let rows = fill(&store);
    let before = files(&store);
    let (whole, said) = check(dir.path(), &[]);
    assert!(whole && said.contains("store store is whole; journal: "), "{said}");
    assert!(said.contains("records: 1 active, 40 completed; "), "{said}");
    let (whole, said) = check(dir.path(), &["--json"]);
    let json: Json = serde_json::from_str(&said).unwrap();
    assert!(whole && json["whole"] == true && json["findings"] == serde_json::json!([]), "{said}");
    assert_eq!((&json["records"]["completed"], &json["records"]["queued"]), (&40.into(), &0.into()));
    let journal: u64 = segments(&store).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let table: usize = files(&store.join("table")).values().map(Vec::len).sum();
    assert_eq!((&json["commits"], &json["segments"]), (&rows.len().into(), &segments(&store).len().into()));
    assert_eq!((&json["journal_bytes"], &json["table_bytes"]), (&journal.into(), &table.into()));
    assert!(before == files(&store), "a look changed something");
    let nothing = dwell(dir.path(), &["check", "--data", "elsewhere"]);
    assert_eq!(nothing.status.code(), Some(3));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("elsewhere is no store"));
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn damaged_history_goes_aside_and_the_events_begin_after_it() {
    let (dir, said) = repaired(
        &|store| {
            let history = segments(store);
            assert!(first(&history[2]) <= checkpoint(store), "{history:?}");
            flip(&history[1], 40);
        },
        "the state is whole without it",
        &["repair: moved store/journal/00000000000000000001.log to store/repair-", "kept the commits from"],
    );
    let kept = beside(dir.path());
    assert_eq!(kept.len(), 2, "{kept:?} {said}");
    let store = Local::open(&dir.path().join("store"), options()).unwrap();
    let oldest = store.history().oldest().unwrap();
    assert!(oldest > 1);
    let events = store.history().read(0, usize::MAX).unwrap();
    assert_eq!(events.first().unwrap().0, oldest);
    assert_eq!(events.len() as u64, store.history().newest() + 1 - oldest);
}

#[test]
fn a_history_segment_that_is_gone_leaves_what_came_after() {
    repaired(
        &|store| fs::remove_file(&segments(store)[1]).unwrap(),
        "is missing",
        &["repair: moved store/journal/00000000000000000001.log"],
    );
}

#[test]
fn a_table_that_does_not_open_is_built_from_the_journal() {
    for damage in [
        |store: &Path| {
            let db = store.join("table/db");
            let bytes = fs::read(&db).unwrap();
            fs::write(db, &bytes[..3_000]).unwrap();
        },
        |store: &Path| fs::remove_dir_all(store.join("table")).unwrap(),
        |store: &Path| flip(&store.join("table/db"), 5_000),
    ] {
        let (dir, _) = repaired(
            &damage,
            "the journal reaches back to the first commit",
            &["repair: built store/table anew from the journal, up to commit "],
        );
        // The new table says how far it is: the history is not needed for the state any more.
        flip(&segments(&dir.path().join("store"))[1], 40);
        let (whole, said) = check(dir.path(), &["--repair"]);
        assert!(whole && said.contains("repair: moved"), "{said}");
    }
}

#[test]
fn a_checkpoint_that_is_damaged_is_written_anew() {
    repaired(
        &|store| flip(&store.join("checkpoint"), 3),
        "store/checkpoint at byte 0: it is not a sequence and its checksum",
        &["repair: wrote store/checkpoint: the table has all up to commit "],
    );
    repaired(
        &|store| {
            fs::remove_file(store.join("checkpoint")).unwrap();
            fs::remove_file(&segments(store)[0]).unwrap();
        },
        "begins with commit",
        &["repair: wrote store/checkpoint: the table has all up to commit "],
    );
    repaired(
        &|store| flip(&store.join("acknowledged"), 3),
        "store/acknowledged at byte 0: it is not a sequence and its checksum",
        &["repair: wrote store/acknowledged: the journal reaches commit "],
    );
}

#[test]
fn rows_that_nothing_leads_to_go_with_a_copy_and_the_tally_counts_anew() {
    let change = |store: &Path| {
        let mut store = Local::open(store, options()).unwrap();
        let mut batch = Batch::default();
        let nobody = dwell::model::RecordId::session(99);
        let action = dwell::model::Action::Worker { queue: "q".into() };
        batch.put(keys::work(nobody), Work::of(action).encode());
        batch.put(keys::name("o", "e", "k"), nobody.encode());
        let tally = Tally::decode(&store.get(&keys::meta("tally")).unwrap().unwrap()).unwrap();
        batch.put(keys::meta("tally"), Tally { admitted: 7, ..tally }.encode());
        store.commit(batch).unwrap();
    };
    let (dir, said) = repaired(
        &change,
        "work of ses_00000000000000000000000033: there is no such record (`dwell check --repair` removes it",
        &["repair: changed 3 rows; as they were they are in store/repair-"],
    );
    let kept = fs::read_to_string(&beside(dir.path())["rows.jsonl"]).unwrap();
    let kept: Vec<Json> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words: Vec<&str> = kept.iter().map(|row| row["row"].as_str().unwrap()).collect();
    assert_eq!(words, ["work of ses_00000000000000000000000033", "name o/e/k", "meta row tally"], "{said}");
    assert!(kept[0]["new"].is_null() && kept[0]["old"].as_str().unwrap().len() > 4, "{kept:?}");
}

#[test]
fn a_torn_tail_is_a_note_and_a_repair_cuts_it_off() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let rows = fill(&store);
    fs::remove_file(store.join("acknowledged")).unwrap();
    let last = segments(&store).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 100;
    bytes[end] = 7;
    fs::write(&last, bytes).unwrap();
    let (whole, said) = check(dir.path(), &[]);
    assert!(whole && said.contains("note: store/journal/") && said.contains("was torn by a crash"), "{said}");
    let (whole, said) = check(dir.path(), &["--repair"]);
    assert!(whole && said.contains("repair: cut store/journal/"), "{said}");
    assert_eq!(beside(dir.path()).len(), 1);
    assert!(all(&Local::open(&store, options()).unwrap()) == rows);
}

#[test]
fn commits_that_the_state_needs_are_not_jumped_over_unless_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fill(&store);
    let checkpoint = checkpoint(&store);
    let needed = segments(&store).into_iter().rfind(|segment| first(segment) > checkpoint + 1).unwrap();
    let bad = first(&needed);
    flip(&needed, 40);
    let before = files(&store);
    let (whole, said) = check(dir.path(), &["--repair"]);
    assert!(!whole && !said.contains("repair:"), "{said}");
    let names = format!("damage: store/journal/{bad:020}.log at byte 0: commit {bad} is bad, but commit");
    assert!(said.contains(&names) && said.contains("restore the last backup with `dwell restore`"), "{said}");
    assert_eq!(said.matches("damage: ").count(), 1, "{said}");
    let changed: Vec<PathBuf> = files(&store)
        .into_iter()
        .filter(|(path, bytes)| before.get(path) != Some(bytes))
        .map(|(path, _)| path)
        .collect();
    assert!(changed.is_empty(), "{changed:?}");

    let (_, said) = check(dir.path(), &["--repair", "--cut"]);
    assert!(said.contains(&format!("repair: went on without commit {bad} and all after it")), "{said}");
    let rows = rows();
    let left = Local::open(&store, options()).unwrap();
    let gone = &rows[usize::try_from(bad - 1).unwrap()..];
    assert!(gone.len() > 10 && gone.iter().all(|(key, _)| left.get(key).unwrap().is_none()));
    assert!(left.get(&rows[0].0).unwrap().is_some());
    let kept = beside(dir.path());
    assert!(kept.contains_key(&format!("{bad:020}.log")), "{kept:?}");
}

#[test]
fn the_one_commit_that_was_acknowledged_last_is_missed() {
    // Gone as if it had never been, or there and bad.
    for (bad, says) in [(false, "were acknowledged"), (true, "is bad, but all up to commit")] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let rows = fill(&store);
        let last = segments(&store).into_iter().rfind(|segment| first(segment) <= rows.len() as u64).unwrap();
        let mut bytes = fs::read(&last).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let key = &rows.last().unwrap().0;
        let begins = bytes.windows(key.len()).rposition(|window| window == key).unwrap();
        if bad {
            bytes[end - 1] ^= 1;
        } else {
            // A frame's header is 16 bytes before its body, whose first write begins with its kind and lengths.
            let header = begins - 9 - 16;
            bytes[header..].fill(0);
        }
        fs::write(&last, &bytes).unwrap();
        let (whole, said) = check(dir.path(), &["--repair"]);
        assert!(!whole && !said.contains("repair:"), "{said}");
        assert!(said.contains(says) && said.contains("1 are known of"), "{said}");
        let (_, said) = check(dir.path(), &["--repair", "--cut"]);
        let gone =
            format!("repair: went on without commit {} and all after it, 1 that are known of", rows.len());
        assert!(said.contains(&gone), "{said}");
        assert!(said.contains(&format!("the journal reaches commit {}", rows.len() - 1)), "{said}");
        assert!(!said.contains("wrote store/checkpoint"), "{said}");
        assert!(check(dir.path(), &[]).0);
        let left = Local::open(&store, options()).unwrap();
        assert!(
            left.get(&rows[0].0).unwrap().is_some() && left.get(&rows.last().unwrap().0).unwrap().is_none()
        );
    }
}

#[test]
fn without_a_journal_the_table_is_what_is_left_if_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let rows = fill(&store);
    let has = checkpoint(&store);
    fs::remove_dir_all(store.join("journal")).unwrap();
    let (whole, said) = check(dir.path(), &["--repair"]);
    assert!(!whole && !said.contains("repair:"), "{said}");
    let (_, said) = check(dir.path(), &["--repair", "--cut"]);
    let known = rows.len() as u64 - has;
    let gone = format!("went on without commit {} and all after it, {known} that are known of", has + 1);
    assert!(said.contains(&gone) && !said.contains("wrote store/checkpoint"), "{said}");
    let left = Local::open(&store, options()).unwrap();
    let kept = |(key, value): &&Pair| left.get(key).unwrap().as_ref() == Some(value);
    // What only means something with a row that is gone went as well.
    let has = usize::try_from(has).unwrap();
    assert!(rows[..has].iter().filter(kept).count() * 2 > has);
}

#[test]
fn an_empty_segment_stays_where_the_journal_ends_and_goes_aside_elsewhere() {
    let (dir, _) = repaired(
        &|store| {
            let next = rows().len() as u64 + 1;
            for first in [next, next + 100] {
                fs::write(store.join(format!("journal/{first:020}.log")), [0; 4096]).unwrap();
            }
        },
        "is missing",
        &["repair: moved store/journal/"],
    );
    let next = rows().len() + 1;
    let names: Vec<String> = beside(dir.path()).into_keys().collect();
    assert_eq!(names, [format!("{:020}.log", next + 100)]);
}

#[test]
fn a_store_that_a_server_has_open_is_left_alone() {
    let dir = directory("[runtimes.shell]\n");
    let server = Server::start(dir.path(), &["--data", "store"]);
    let (whole, said) = check(dir.path(), &[]);
    let expected = format!("store store is open in process {}", server.child.id());
    assert!(!whole && said.contains(&expected), "{said}");
    let id = server.session(&serde_json::json!({"action": {"command": ["true"]}, "runtime": "shell"}));
    server.until(&id, "completed");
    assert!(server.terminate().success());
    let (whole, said) = check(dir.path(), &[]);
    assert!(whole && said.contains("1 completed"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_in_words_and_can_be_looked_at() {
    /// Root may write anywhere, so as somebody else.
    const NOBODY: u32 = 65534;
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fill(&store);
    let root = rustix::process::getuid().is_root();
    let program = dir.path().join("dwell");
    fs::copy(DWELL, &program).unwrap();
    let own = |path: &Path, mode| {
        if root {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    own(dir.path(), 0o755);
    for (path, _) in files(&store) {
        own(path.parent().unwrap(), 0o555);
        own(&path, 0o444);
    }
    own(&store, 0o555);
    own(&program, 0o555);
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).current_dir(dir.path());
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    };
    let (code, said) = run(&["serve", "--data", "store", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("cannot open store/lock: Permission denied") && !said.contains("panicked"),
        "{said}"
    );
    let (code, said) = run(&["check", "--data", "store"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["check", "--repair", "--data", "store"]);
    assert_eq!(code, Some(0), "nothing has to be written: {said}");
    for (path, _) in files(&store) {
        own(path.parent().unwrap(), 0o755);
    }
}
