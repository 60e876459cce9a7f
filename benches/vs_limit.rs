//! The engine beside the disk's limit: reports decided, committed and released, and in turns with them a write and an
//! fdatasync of the same bytes, into zeros that were written before. Both are in one process and meet the same disk.
//!
//! `cargo bench --bench vs_limit` prints a line for 1, 16, 128 and 1,024 transitions a commit, with 100,000 and with
//! 1,000,000 live records; `cargo bench --bench vs_limit -- 100000 16` only that one, and a third number says of how many
//! commits each of the three runs is. One a commit come one at a time; of more, eight commits' worth wait, as under load,
//! so that each is decided while the one before is on its way. Checkpoints run as they do in service. The store lies
//! below `target`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself where two things alternate")]
#![allow(clippy::print_stdout, reason = "the ratio is the result")]

#[path = "common/bare.rs"]
mod bare;
#[path = "common/times.rs"]
mod times;
#[path = "common/world.rs"]
mod world;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bare::{Bare, frame_bytes};
use dwell::engine::Request;
use dwell::model::Space;
use dwell::store::local::Options;
use dwell::store::{Backend, Batch, Direction, History, Local, Pair, StoreError};
use times::{per_second, percentile};
use world::{World, reports, submission, submits, unavailable};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longer than any backoff after `unavailable`.
const PAUSE: Duration = Duration::from_mins(10);
const RUNS: usize = 3;
const COMMITS: usize = 512;
const WARM_UP_ROUNDS: usize = 4;
/// Commits that wait together, where they do.
const BURST: usize = 8;

/// A store that says how many bytes the frame of each commit has (`schema/keys.md`).
struct Weighed(Local, Arc<Mutex<Vec<usize>>>);

impl Backend for Weighed {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.0.scan(from, to, direction, limit)
    }

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.1.lock().unwrap().push(frame_bytes(&batch));
        self.0.commit(batch)
    }

    fn begin(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.1.lock().unwrap().push(frame_bytes(&batch));
        self.0.begin(batch)
    }

    fn landed(&mut self, left: usize) -> Result<(), StoreError> {
        self.0.landed(left)
    }

    fn look(&mut self) -> Result<Option<Space>, StoreError> {
        self.0.look()
    }

    fn history(&self) -> Arc<dyn History> {
        self.0.history()
    }
}

/// One run: the times of the engine's ticks, and of appends of the same bytes.
fn run(dir: &Path, live: u64, moving: u64, commits: usize) -> [Vec<Duration>; 2] {
    let weights = Arc::default();
    let store = Local::open(&dir.join("store"), Options::default()).unwrap();
    let burst = if moving == 1 { 1 } else { BURST };
    let all = moving * burst as u64;
    let busy = u32::try_from(all).unwrap();
    let (mut world, _) = World::open(Box::new(Weighed(store, Arc::clone(&weights))), [0, busy]);
    let mut bare = Bare::new(&dir.join("bare"));
    world.admit((0..live).map(|n| submission(n, 1_000, "idle")));
    let mut said = Vec::new();
    for one in 0..burst as u64 {
        let from = live + one * moving;
        let fresh = (from..from + moving).map(|n| submission(n, 10, "busy"));
        said.append(&mut reports(world.tick(submits(fresh)), &unavailable()));
    }
    let (mut ticks, mut appends) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP_ROUNDS + commits.div_ceil(burst) {
        assert_eq!(said.len() as u64, all, "all of them go on");
        weights.lock().unwrap().clear();
        let mut waiting: Vec<Vec<Request>> = Vec::new();
        while !said.is_empty() {
            waiting.push(said.drain(..said.len().min(usize::try_from(moving).unwrap())).collect());
        }
        let landed = if burst == 1 {
            let released = world.tick(waiting.remove(0));
            vec![(released, world.took)]
        } else {
            world.burst(waiting)
        };
        let weights: Vec<usize> = weights.lock().unwrap().drain(..).collect();
        assert_eq!(weights.len(), burst);
        for ((released, took), weight) in landed.into_iter().zip(weights) {
            assert_eq!(released.transitions.get().len() as u64, moving);
            let bytes = vec![0x5a; weight];
            let start = Instant::now();
            bare.append(&bytes);
            if round >= WARM_UP_ROUNDS {
                ticks.push(took);
                appends.push(start.elapsed());
            }
        }
        world.now = world.now.after(PAUSE);
        while (said.len() as u64) < all {
            said.append(&mut reports(world.tick([]), &unavailable()));
        }
    }
    [ticks, appends]
}

fn compare(live: u64, moving: u64, commits: usize, runs: usize) {
    let mut results: Vec<(f64, String)> = (0..runs)
        .map(|_| {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let both = run(dir.path(), live, moving, commits);
            let [engine, limit] =
                both.each_ref().map(|times| per_second(times.len() as u64 * moving, times.iter().sum()));
            let [ticks, appends] = both.map(|mut times| {
                times.sort_unstable();
                format!("p50 {:.0?}, p99 {:.0?}", percentile(&times, 50), percentile(&times, 99))
            });
            let text = format!("engine {engine:.0}/s ({ticks}), bare append {limit:.0}/s ({appends})");
            (engine / limit, text)
        })
        .collect();
    results.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, text) = &results[results.len() / 2];
    let (least, most) = (results[0].0, results[results.len() - 1].0);
    println!("vs_limit/{live}_live/{moving}_a_commit: ratio {ratio:.2} ({least:.2}-{most:.2}); {text}");
}

fn main() {
    // `cargo test --all-targets` runs benches without it, to see that they run.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let asked: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if !is_bench {
        return compare(100, 4, 5, 1);
    }
    if let [live, moving, commits @ ..] = &asked[..] {
        let commits = commits.first().map_or(COMMITS, |commits| usize::try_from(*commits).unwrap());
        return compare(*live, *moving, commits, RUNS);
    }
    for live in [100_000, 1_000_000] {
        for moving in [1, 16, 128, 1_024] {
            compare(live, moving, COMMITS, RUNS);
        }
    }
}
