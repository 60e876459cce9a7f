//! Backups of a store that is written to as fast as it can be, while checkpoints run and segments go.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use dwell::model::Time;
use dwell::store::backup::{self, BackupError, Base, Part};
use dwell::store::local::{Local, Options, restore};
use dwell::store::{Backend, Batch, Direction, StoreError};

use super::{Rows, differences, replayed, unpacked, write};

/// `DWELL_BACKUPS=200` for a long run.
fn backups() -> u64 {
    std::env::var("DWELL_BACKUPS").map_or(6, |text| text.parse().unwrap())
}

const KEYS: u64 = 300;

/// Commits that a backup waits for in its middle, each time it has handed out so many rows.
const COMMITS_BETWEEN: usize = 20;
const ROWS_BETWEEN: u64 = 50;

fn small(archive: &Path) -> Options {
    Options {
        segment_bytes: 512 * 1024,
        checkpoint_bytes: 64 * 1024,
        overlay_bytes_max: 512 * 1024,
        history_bytes_max: 1,
        archive: Some(archive.to_owned()),
        ..Options::default()
    }
}

/// Puts and deletes of four kinds of keys, of one to three keys a commit, that follow from its number.
#[expect(clippy::cast_possible_truncation, reason = "all of it is small")]
fn change(n: u64) -> Batch {
    let mut batch = Batch::default();
    for turn in 0..=n % 3 {
        let picked = (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20).wrapping_add(turn * 7919) % KEYS;
        let key = [&b"ifpr"[..][(picked % 4) as usize..][..1], format!("{picked:06}").as_bytes()].concat();
        if (n + picked).is_multiple_of(5) {
            batch.delete(key);
        } else {
            batch.put(key, format!("{n:08}").repeat((picked * 4) as usize).into_bytes());
        }
    }
    batch.event(n.to_string().into_bytes());
    batch
}

/// A store whose backups wait in their middle for commits, so that these are certain to happen there.
struct Slowed<'a>(&'a dyn Base, &'a Receiver<u64>);

impl Base for Slowed<'_> {
    fn hand_out(&self, take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>) -> Result<Option<u64>, StoreError> {
        let mut rows = 0_u64;
        self.0.hand_out(&mut |part| {
            if let Part::Row(..) = part {
                rows += 1;
                if rows.is_multiple_of(ROWS_BETWEEN) {
                    self.1.iter().take(COMMITS_BETWEEN).for_each(|_| {});
                }
            }
            take(part)
        })
    }
}

fn scanned(store: &Local) -> Rows {
    store.scan(b"", &[0xff], Direction::Ascending, usize::MAX).unwrap().into_iter().collect()
}

#[test]
fn a_backup_under_load_is_the_state_at_a_commit() {
    let place = tempfile::tempdir().unwrap();
    let (dir, archive) = (place.path().join("store"), place.path().join("archive"));
    let mut store = Local::open(&dir, small(&archive)).unwrap();
    let base = store.base();
    for n in 1..=KEYS {
        store.commit(change(n)).unwrap();
    }
    let enough = AtomicBool::new(false);
    let (committed, commits) = bounded(1);
    let taken: Vec<Result<Vec<u8>, BackupError>> = thread::scope(|scope| {
        let (store, enough) = (&mut store, &enough);
        scope.spawn(move || {
            let mut n = KEYS;
            while !enough.load(Ordering::Relaxed) {
                n += 1;
                store.commit(change(n)).unwrap();
                // Full: nobody waits for this one.
                committed.try_send(n).ok();
            }
        });
        let taken = (0..backups()).map(|_| {
            let mut file = Vec::new();
            backup::write(&Slowed(&base, &commits), Time::ZERO, "", &mut file).map(|_| file)
        });
        let taken = taken.collect();
        enough.store(true, Ordering::Relaxed);
        taken
    });
    let seed = std::fs::read_dir(&archive).unwrap().next().unwrap().unwrap().path();
    assert!(store.history().oldest().unwrap() > 1, "no segment was ever released");
    drop(store);
    let taken: Vec<Vec<u8>> = taken.into_iter().map(Result::unwrap).collect();
    let mut last = 0;
    for (nth, file) in taken.iter().enumerate() {
        let (rows, about) = unpacked(file);
        assert!(about.commits > COMMITS_BETWEEN as u64, "nothing was committed beside backup {nth}");
        assert!(about.commit > last, "{about:?} follows commit {last}");
        last = about.commit;
        let expected = replayed(&[&seed, &dir.join("journal")], about.commit);
        assert_eq!(differences(&rows, &expected), [""; 0], "backup {nth} at commit {}", about.commit);
    }

    // And as a store: the same again, and it goes on with the next commit.
    let (file, restored) = (taken.last().unwrap(), place.path().join("restored"));
    restore_into(&restored, file, last);
    let expected = replayed(&[&seed, &dir.join("journal")], last);
    let mut store = Local::open(&restored, small(&archive)).unwrap();
    store.verified().unwrap();
    assert_eq!(differences(&scanned(&store), &expected), [""; 0]);
    assert_eq!(store.history().newest(), last);
    store.commit(change(last + 1)).unwrap();
    assert_eq!(store.history().read(0, 10).unwrap(), [(last + 1, (last + 1).to_string().into_bytes())]);
}

fn restore_into(dir: &Path, file: &[u8], commit: u64) {
    let mut restoring = restore::Restoring::begin(dir).unwrap();
    backup::read(&mut &*file, &mut |part| {
        match part {
            Part::Begin { .. } => {}
            Part::Row(key, value) => restoring.set(key, Some(value))?,
            Part::Commit(_, frame) => {
                assert!(restore::writes(frame, |key, value| restoring.set(key, value).unwrap()));
            }
        }
        Ok(())
    })
    .unwrap();
    restoring.finish(commit).unwrap().put_in_place().unwrap();
}

#[test]
fn segments_stay_for_a_backup_and_go_after_it() {
    let place = tempfile::tempdir().unwrap();
    let (dir, archive) = (place.path().join("store"), place.path().join("archive"));
    let mut store = Local::open(&dir, Options { archive: None, ..small(&archive) }).unwrap();
    let base = store.base();
    let mut n = 0;
    let mut commit = |store: &mut Local, count: u64| {
        for _ in 0..count {
            n += 1;
            store.commit(change(n)).unwrap();
        }
        store.verified().unwrap();
    };
    commit(&mut store, KEYS);
    let (mut since, mut kept) = (0, 0);
    base.hand_out(&mut |part| {
        if let Part::Begin { since: begun, .. } = part {
            since = begun;
            commit(&mut store, KEYS);
            kept = store.history().oldest().unwrap();
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(kept <= since + 1, "commits from {since} on are asked for, and {kept} is the oldest");
    commit(&mut store, KEYS);
    assert!(store.history().oldest().unwrap() > since + 1, "they are kept for nobody");
}

/// An archive takes what it can reach, and nothing goes that it does not have.
#[test]
fn nothing_is_released_that_the_archive_does_not_have() {
    let place = tempfile::tempdir().unwrap();
    let (dir, archive) = (place.path().join("store"), place.path().join("archive"));
    std::fs::write(&archive, "in its way").unwrap();
    let mut store = Local::open(&dir, small(&archive)).unwrap();
    for n in 1..=KEYS {
        store.commit(change(n)).unwrap();
    }
    assert_eq!(store.history().oldest().unwrap(), 1);
    drop(store);
    std::fs::remove_file(&archive).unwrap();

    let mut store = Local::open(&dir, small(&archive)).unwrap();
    let mut n = KEYS;
    while store.history().oldest().unwrap() == 1 {
        n += 1;
        assert!(n < 50 * KEYS, "nothing is released");
        store.commit(change(n)).unwrap();
    }
    let seed = std::fs::read_dir(&archive).unwrap().next().unwrap().unwrap().path();
    drop(store);
    let mut rows = Rows::new();
    for m in 1..=n {
        change(m).writes.iter().for_each(|(key, value)| write(&mut rows, key, value.as_deref()));
    }
    assert_eq!(differences(&replayed(&[&seed, &dir.join("journal")], n), &rows), [""; 0]);
    for entry in std::fs::read_dir(&seed).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.extension().is_some_and(|extension| extension == "log"), "{}", path.display());
    }
}
