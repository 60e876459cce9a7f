//! What the table (sled) costs: the rows that a checkpoint brings into it, without an engine, a journal or a sync. All that is
//! committed comes there in the end, so what this machine's cores can do of it bounds what dwell can keep up.
//!
//! `cargo bench --bench table` prints the processor time of a life's rows (its work, and what is kept of it once it is
//! finished), the median of three runs, and how many a second that makes of all cores. The store lies below `target`.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are the result")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::time::Duration;

use dwell::machine;
use dwell::model::{Action, Policy, Record, RecordId, Submission, Time, Work};
use dwell::store::local::restore::Restoring;
use dwell::store::{Stored as _, keys};
use rustix::time::{ClockId, clock_gettime};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 3;
const NOW: Time = Time::from_millis(1_790_000_000_000);

/// Of all threads, sled's among them.
fn processor_seconds() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.try_into().unwrap(), spent.tv_nsec.try_into().unwrap()).as_secs_f64()
}

fn admitted(n: u64) -> (Record, Work) {
    let id = RecordId::session(u128::from(NOW.millis() + n / 100) << 80 | u128::from(n));
    let action = Action::Worker { queue: "bench".into() };
    let work = Work { payload: format!(r#"{{"n":{n}}}"#).into_bytes(), ..Work::of(action) };
    machine::admit(Submission::of(id, "worker".into(), work), n, NOW, &Policy::default())
}

/// What is left in the table of a session that began and ended between two checkpoints.
fn life(table: &mut Restoring, n: u64) {
    let (record, work) = admitted(n);
    table.set(&keys::work(record.id), Some(&work.encode())).unwrap();
    table.set(&keys::live(record.id), None).unwrap();
    table
        .set(&keys::finished(NOW.after(Duration::from_millis(n / 10)), record.id), Some(&record.encode()))
        .unwrap();
    table.set(&keys::pointer(record.id), Some(&NOW.encode())).unwrap();
}

fn measure(count: u64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut table = Restoring::begin(&dir.path().join("store")).unwrap();
    let mut runs: Vec<f64> = (0..=RUNS as u64)
        .map(|run| {
            let before = processor_seconds();
            for n in run * count..(run + 1) * count {
                life(&mut table, n);
            }
            processor_seconds() - before
        })
        .skip(1) // The first warms up what there is to warm.
        .collect();
    runs.sort_by(f64::total_cmp);
    let each = runs.get(RUNS / 2).unwrap() / count as f64;
    let cores = std::thread::available_parallelism().unwrap();
    println!(
        "table/life: {:.1} us of processor time each ({:.1}-{:.1}); {cores} cores that did nothing else: {:.0}/s",
        each * 1e6,
        runs.first().unwrap() / count as f64 * 1e6,
        runs.last().unwrap() / count as f64 * 1e6,
        cores.get() as f64 / each,
    );
}

fn main() {
    // `cargo test --all-targets` runs benches without it, to see that they run.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    measure(if is_bench { 400_000 } else { 400 });
}
