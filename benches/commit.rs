//! A durable commit of the local store, and beside it what the disk takes for the same bytes: a write and an fdatasync
//! into zeros that were written before. The two take turns in one process, so that both meet the same disk.
//!
//! `cargo bench --bench commit` prints a line for each number of record-sized writes in a commit. The store lies below
//! `target`; checkpoints run as they do in service.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself where two things alternate")]
#![allow(clippy::print_stdout, reason = "the ratio is the result")]

#[path = "common/bare.rs"]
mod bare;

use std::time::{Duration, Instant};

use bare::{Bare, frame_bytes};
use dwell::store::local::Options;
use dwell::store::{Backend as _, Batch, Local};

/// Bytes of an encoded record with a key, a session and an error, and of its key.
const RECORD_BYTES: usize = 216;
const KEY_BYTES: usize = 18;
/// Distinct records that are written in turn.
const RECORDS: u32 = 10_000;

const PAIRS: u32 = 1_000;
const WARM_UP_PAIRS: u32 = 50;

fn batch(nth: u32, writes: u32) -> Batch {
    let mut batch = Batch::default();
    for n in 0..writes {
        let record = (nth * writes + n) % RECORDS;
        let mut key = vec![b'r'; KEY_BYTES - 4];
        key.extend_from_slice(&record.to_be_bytes());
        batch.put(key, vec![n.to_be_bytes()[3]; RECORD_BYTES]);
    }
    batch
}

fn timed(what: impl FnOnce()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn compare(writes: u32, pairs: u32) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut bare = Bare::new(&dir.path().join("bare"));
    let mut store = Local::open(&dir.path().join("store"), Options::default()).unwrap();
    let (mut commits, mut appends) = (Vec::new(), Vec::new());
    for nth in 0..WARM_UP_PAIRS + pairs {
        let batch = batch(nth, writes);
        let bytes = vec![0x5a; frame_bytes(&batch)];
        let commit = || commits.push(timed(|| store.commit(batch).unwrap()));
        let mut append = || appends.push(timed(|| bare.append(&bytes)));
        // Whoever goes second may profit from the first.
        if nth % 2 == 0 {
            commit();
            append();
        } else {
            append();
            commit();
        }
    }
    let [commits, appends] =
        [commits, appends].map(|times| times.into_iter().skip(WARM_UP_PAIRS as usize).collect());
    report(writes, commits, appends);
}

fn report(writes: u32, commits: Vec<Duration>, appends: Vec<Duration>) {
    let rate = |times: &[Duration]| {
        let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap();
        f64::from(writes) / mean.as_secs_f64()
    };
    let (local, bare) = (rate(&commits), rate(&appends));
    let [commit, append] = [commits, appends].map(median);
    println!(
        "commit/{writes}/{RECORD_BYTES}_bytes/fdatasync: local {commit:.1?} ({local:.0} writes/s), \
         bare append {append:.1?} ({bare:.0} writes/s), ratio of rates {:.2}, of medians {:.2}",
        local / bare,
        append.as_secs_f64() / commit.as_secs_f64(),
    );
}

fn main() {
    // `cargo test --all-targets` runs benches without it, to see that they run.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    for writes in [1, 16, 128] {
        compare(writes, if is_bench { PAIRS } else { 10 });
    }
}
