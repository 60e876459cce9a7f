//! A process that ends at any crash point loses nothing it acknowledged, and nothing it did not acknowledge appears
//! by halves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use dwell::store::local::Options;
use dwell::store::{Backend as _, Batch, CRASH_AT, CRASH_POINTS, Direction, Local};

/// Set in the process that is to crash: the store it commits to.
const STORE: &str = "DWELL_TEST_STORE";

/// Every commit rewrites this key and adds one of its own.
const LAST: &[u8] = b"last";

/// Enough for several segments, checkpoints and releases.
const COMMITS: u64 = 400;

/// `SIGABRT`, which is how a crash point ends the process.
const ABORTED: i32 = 6;

fn tiny() -> Options {
    Options {
        segment_bytes: 512,
        checkpoint_bytes: 300,
        overlay_bytes_max: 2_000,
        history_bytes_max: 1_000,
        ..Options::default()
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing_acknowledged() {
    if let Some(dir) = std::env::var_os(STORE) {
        return commit_until_killed(Path::new(&dir));
    }
    // The others are passed by a whole server alone: `tests/crash.rs`.
    let of_a_store = |point: &&str| {
        ["segment.", "open.", "journal.", "checkpoint."].iter().any(|place| point.starts_with(place))
    };
    for point in CRASH_POINTS.into_iter().filter(of_a_store) {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        // Each round starts from what the crash before left.
        for round in 1..=3 {
            let crashed = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_crash_at_any_point_loses_nothing_acknowledged", "--nocapture"])
                .env(STORE, &store)
                .env(CRASH_AT, point)
                .output()
                .unwrap();
            assert_eq!(crashed.status.signal(), Some(ABORTED), "{point}: {crashed:?}");
            let acknowledged = acknowledged(&store);
            let found = last(&Local::open(&store, tiny()).unwrap());
            assert!(
                found == acknowledged || found == acknowledged + 1,
                "{point}, round {round}: {acknowledged} commits acknowledged, {found} found"
            );
        }
    }
}

/// The newest commit, after a check that all before it are whole.
fn last(store: &Local) -> u64 {
    let rows = store.scan(b"k", b"l", Direction::Ascending, usize::MAX).unwrap();
    let last = store.get(LAST).unwrap().map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let expected: Vec<_> = (1..=last).map(|n| (key(n), n.to_be_bytes().to_vec())).collect();
    assert_eq!(rows, expected);
    let events = store.history().read(last.saturating_sub(1), 10).unwrap();
    assert_eq!(
        events.into_iter().map(|(sequence, _)| sequence).collect::<Vec<_>>(),
        if last == 0 { vec![] } else { vec![last] }
    );
    last
}

fn key(n: u64) -> Vec<u8> {
    [b"k", &n.to_be_bytes()[..]].concat()
}

fn acknowledged(store: &Path) -> u64 {
    let lines = fs::read_to_string(store.with_extension("acknowledged")).unwrap_or_default();
    lines.lines().last().map_or(0, |line| line.parse().unwrap())
}

fn commit_until_killed(dir: &Path) {
    let mut store = Local::open(dir, tiny()).unwrap();
    let path = dir.with_extension("acknowledged");
    let mut acknowledged = fs::File::options().create(true).append(true).open(path).unwrap();
    // What an open shows is as good as acknowledged.
    let found = last(&store);
    acknowledged.write_all(format!("{found}\n").as_bytes()).unwrap();
    for n in found + 1..=found + COMMITS {
        let mut batch = Batch::default();
        batch.put(key(n), n.to_be_bytes().to_vec());
        batch.put(LAST.to_vec(), n.to_be_bytes().to_vec());
        batch.event(n.to_be_bytes().to_vec());
        store.commit(batch).unwrap();
        acknowledged.write_all(format!("{n}\n").as_bytes()).unwrap();
    }
}
