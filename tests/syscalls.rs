//! Persist before notify, seen from outside: between a commit's write and the reply that follows it there is an
//! fdatasync, one that fails is the end, and a checkpoint is marked after its table is on the disk. Read from the system
//! calls of a process of its own, under strace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use dwell::store::local::Options;
use dwell::store::{Backend as _, Batch, Local};

/// Set in the traced process: the store it commits to.
const STORE: &str = "DWELL_TEST_STORE";

const COMMITS: u8 = 6;

#[test]
fn every_reply_follows_the_sync_of_its_commit() {
    if let Some(dir) = std::env::var_os(STORE) {
        return commit_and_reply(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-s", "64", "-e", "trace=write,pwrite64,pwritev,fdatasync,fsync"])
        // A sync takes its time, so what does not wait for it comes before it.
        .args(["-e", "inject=fdatasync:delay_enter=10000", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "every_reply_follows_the_sync_of_its_commit", "--nocapture", "--test-threads=1"])
        .env(STORE, dir.path().join("store"))
        .output()
        .expect("strace is needed for this test: apt-get install strace");
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let trace = std::fs::read_to_string(trace).unwrap();

    let steps: Vec<String> = trace.lines().filter_map(step).collect();
    let at =
        |wanted: String| steps.iter().position(|step| *step == wanted).unwrap_or_else(|| panic!("{trace}"));
    let syncs: Vec<usize> = (0..steps.len()).filter(|at| steps[*at] == "sync").collect();
    assert_eq!((steps.len(), syncs.len()), (3 * usize::from(COMMITS), usize::from(COMMITS)), "{trace}");
    for (n, sync) in (0..COMMITS).zip(syncs) {
        assert!(at(format!("write {n}")) < sync && sync < at(format!("reply {n}")), "{n}: {steps:?}");
        assert!(n + 1 == COMMITS || sync < at(format!("write {}", n + 1)), "one at a time, {n}: {steps:?}");
    }
}

/// What a line of the trace means for the promise. A write and a reply count when they begin, a sync when it has
/// returned well: where another thread's call is logged in between, that is its `resumed` line.
fn step(line: &str) -> Option<String> {
    let marked = |marker: &str| line.split_once(marker).and_then(|(_, rest)| rest.chars().next());
    let in_journal = line.contains("/journal/");
    if line.contains("pwrite64(") && in_journal {
        return Some(format!("write {}", marked("commit-")?));
    }
    if line.contains("fdatasync resumed") || line.contains("fdatasync(") && in_journal {
        let returned = !line.contains("<unfinished");
        assert!(!returned || line.trim_end().trim_end_matches(" (DELAYED)").ends_with("= 0"), "{line}");
        return returned.then(|| "sync".to_owned());
    }
    line.contains("write(1<").then(|| marked("reply-"))?.map(|n| format!("reply {n}"))
}

fn commit_and_reply(dir: &Path) {
    let mut store = Local::open(dir, Options::default()).unwrap();
    let batch = |n: u8| {
        let mut batch = Batch::default();
        batch.event(format!("commit-{n}").into_bytes());
        batch
    };
    let reply = |n: u8| {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(format!("reply-{n}\n").as_bytes()).unwrap();
        stdout.flush().unwrap();
    };
    store.commit(batch(0)).unwrap();
    reply(0);
    for n in 1..COMMITS {
        store.begin(batch(n)).unwrap();
        if n > 1 {
            store.landed(1).unwrap();
            reply(n - 1);
        }
    }
    store.landed(0).unwrap();
    reply(COMMITS - 1);
}

#[test]
fn a_sync_that_fails_is_no_commit_and_ends_the_store() {
    if let Some(dir) = std::env::var_os(STORE) {
        return commit_until_refused(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let refused = Command::new("strace")
        .args(["-f", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=3", "-o", "/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_sync_that_fails_is_no_commit_and_ends_the_store", "--test-threads=1"])
        .env(STORE, dir.path().join("store"))
        .output()
        .expect("strace is needed for this test: apt-get install strace");
    assert!(refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
}

/// The kernel refuses the third sync, and would take the fourth.
fn commit_until_refused(dir: &Path) {
    let mut store = Local::open(dir, Options::default()).unwrap();
    let mut batch = Batch::default();
    batch.event(b"step".to_vec());
    let answers: Vec<String> = (0..4)
        .map(|_| store.commit(batch.clone()).map_or_else(|error| error.to_string(), |()| "done".to_owned()))
        .collect();
    assert_eq!(answers[..2], ["done", "done"]);
    assert!(answers[2].starts_with("cannot sync") && answers[2].contains("/journal/"), "{answers:?}");
    assert_eq!(answers[3], dwell::store::StoreError::Poisoned.to_string());
}

#[test]
fn a_checkpoint_is_marked_after_its_table_is_synced() {
    if let Some(dir) = std::env::var_os(STORE) {
        return commit_and_checkpoint(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,unlink", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_checkpoint_is_marked_after_its_table_is_synced", "--test-threads=1"])
        .env(STORE, dir.path().join("store"))
        .output()
        .expect("strace is needed for this test: apt-get install strace");
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let trace = std::fs::read_to_string(trace).unwrap();
    let mut synced = false;
    let mut marks = 0;
    for line in trace.lines() {
        // Where another thread's call is logged in between, its `resumed` line names no file: the first part does.
        if line.contains("/store/table/db>") && line.contains("sync(") {
            synced = true;
        } else if line.contains("rename") && line.contains("/checkpoint\"") {
            assert!(synced, "marked before its table is synced: {line}\n{trace}");
            (synced, marks) = (false, marks + 1);
        }
    }
    assert!(marks >= 2, "{marks} checkpoints\n{trace}");
}

/// Enough for several checkpoints.
fn commit_and_checkpoint(dir: &Path) {
    let options = Options { checkpoint_bytes: 300, overlay_bytes_max: 400, ..Options::default() };
    let mut store = Local::open(dir, options).unwrap();
    for n in 0..64_u8 {
        let mut batch = Batch::default();
        batch.put(vec![b'k', n], vec![n; 32]);
        store.commit(batch).unwrap();
    }
}
