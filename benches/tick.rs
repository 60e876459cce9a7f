//! A tick of a whole engine on the memory backend, with 10,000 records waiting beside the ones that move.
//!
//! `report` is a tick that takes n reports (n transitions, one commit); `elapse` the tick after it, in which n
//! deadlines are due and n attempts start (2n transitions of n records, one commit).
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself where only one of two ticks counts")]

#[path = "common/world.rs"]
mod world;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dwell::engine::Released;
use dwell::model::{Budget, Submission};
use dwell::store::Memory;
use world::{World, reports, submits, unavailable};

const WAITING: u64 = 10_000;
/// Longer than any backoff after `unavailable`.
const PAUSE: Duration = Duration::from_mins(10);
/// A new engine at the next sample after this many, for the memory backend keeps all history.
const ROUNDS_MAX: u32 = 2_000;

fn submission(n: u64, runtime: &str) -> Submission {
    Submission {
        env: "prod".into(),
        budget: Budget::calls(20),
        expires: Some(Duration::from_hours(365 * 24)),
        ..world::submission(n, 10, runtime)
    }
}

/// An engine with `moving` outstanding attempts, and records that wait: for a runtime that starts nothing, each with a
/// deadline far away.
struct Rounds {
    world: World,
    started: Option<Released>,
    made: u32,
    moving: u32,
}

impl Rounds {
    fn new(moving: u32) -> Rounds {
        let (mut world, _) = World::open(Box::new(Memory::new()), [0, moving]);
        let ids = u64::from(moving);
        world.admit((ids..ids + WAITING).map(|n| submission(n, "idle")));
        let started = world.tick(submits((0..ids).map(|n| submission(n, "busy"))));
        Rounds { world, started: Some(started), made: 0, moving }
    }

    /// Both ticks of a round; how long each took.
    fn round(&mut self) -> [Duration; 2] {
        let said = reports(self.started.take().unwrap(), &unavailable());
        let reported = self.world.tick(said).transitions.into_inner().len();
        let report = self.world.took;
        self.world.now = self.world.now.after(PAUSE);
        let started = self.world.tick([]);
        let moving = self.moving as usize;
        assert_eq!([reported, started.transitions.get().len()], [moving, 2 * moving]);
        self.started = Some(started);
        self.made += 1;
        [report, self.world.took]
    }
}

fn tick(criterion: &mut Criterion) {
    for (which, (name, transitions)) in [("report", 1), ("elapse", 2)].into_iter().enumerate() {
        let mut group = criterion.benchmark_group(format!("tick/{name}/10000_waiting/memory"));
        for moving in [1, 16, 128] {
            group.throughput(Throughput::Elements(transitions * u64::from(moving)));
            group.bench_function(BenchmarkId::from_parameter(moving), |bencher| {
                let mut rounds = Rounds::new(moving);
                bencher.iter_custom(|count| {
                    if rounds.made > ROUNDS_MAX {
                        rounds = Rounds::new(moving);
                    }
                    (0..count).filter_map(|_| rounds.round().get(which).copied()).sum()
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = tick
}
criterion_main!(benches);
