//! A tick of a whole engine on the memory backend, with 10,000 records waiting beside the ones that move.
//!
//! `report` is a tick that takes n reports (n transitions, one commit); `elapse` the tick after it, in which n
//! deadlines are due and n attempts start (2n transitions of n records, one commit).
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself where only one of two ticks counts")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dwell::engine::{ARRIVALS_PER_TICK_MAX, Arrival, Engine, Request, Settings};
use dwell::model::{Action, Budget, Fault, Name, RecordId, Report, Submission, Time, Work};
use dwell::store::Memory;

const WAITING: u32 = 10_000;
const NOW: Time = Time::from_millis(1_790_000_000_000);
/// Longer than any backoff after `unavailable`.
const PAUSE: Duration = Duration::from_mins(10);
/// A new engine at the next sample after this many, for the memory backend keeps all history.
const ROUNDS_MAX: u32 = 2_000;

fn submission(n: u32, runtime: &str) -> Submission {
    let org: Name = format!("org{}", n % 10).into();
    Submission {
        org,
        env: "prod".into(),
        budget: Budget::calls(20),
        expires: Some(Duration::from_hours(365 * 24)),
        ..Submission::of(
            RecordId::session(u128::from(NOW.millis()) << 80 | u128::from(n)),
            runtime.into(),
            Work::of(Action::Agent { prompt: "review it".to_owned(), cwd: None }),
        )
    }
}

/// An engine with `moving` outstanding attempts, and records that wait: for a runtime that starts nothing, each with a
/// deadline far away.
struct World {
    engine: Option<Engine>,
    now: Time,
    attempt: u32,
    moving: u32,
}

impl World {
    fn new(moving: u32) -> World {
        let runtimes = BTreeMap::from([("idle".into(), 0), ("busy".into(), moving)]);
        let settings = Settings { runtimes, ..Settings::default() };
        let (opening, _) = Engine::open(Box::new(Memory::new()), settings, NOW).unwrap();
        let mut world = World { engine: Some(opening.survivors_stopped()), now: NOW, attempt: 1, moving };
        let waiting = (moving..moving + WAITING).map(|n| submission(n, "idle"));
        let all: Vec<Submission> = (0..moving).map(|n| submission(n, "busy")).chain(waiting).collect();
        for some in all.chunks(ARRIVALS_PER_TICK_MAX) {
            let submit = |one: &Submission| Request::Submit(Box::new(one.clone()));
            world.tick(some.iter().map(submit).collect(), None);
        }
        world
    }

    /// One tick; the time it took. `expected` is how many transitions it makes.
    fn tick(&mut self, requests: Vec<Request>, expected: Option<u32>) -> Duration {
        let arrival = |request| Arrival { request, reply: Box::new(drop) };
        let arrivals = requests.into_iter().map(arrival).collect();
        let engine = self.engine.take().unwrap();
        let start = Instant::now();
        let (engine, released) = engine.tick(self.now, arrivals).unwrap();
        let took = start.elapsed();
        let made = u32::try_from(released.transitions.get().len()).unwrap();
        assert_eq!(made, expected.unwrap_or(made));
        self.engine = Some(engine);
        took
    }

    /// Both ticks of a round; how long each took.
    fn round(&mut self) -> [Duration; 2] {
        let fault = Fault::new("unavailable", "connection refused");
        let report = |n| Request::Report {
            id: submission(n, "busy").id,
            attempt: self.attempt,
            report: Report::Unavailable(fault.clone()),
        };
        let reports = (0..self.moving).map(report).collect();
        let reported = self.tick(reports, Some(self.moving));
        self.now = self.now.after(PAUSE);
        let elapsed = self.tick(Vec::new(), Some(2 * self.moving));
        self.attempt += 1;
        [reported, elapsed]
    }
}

fn tick(criterion: &mut Criterion) {
    for (which, (name, transitions)) in [("report", 1), ("elapse", 2)].into_iter().enumerate() {
        let mut group = criterion.benchmark_group(format!("tick/{name}/10000_waiting/memory"));
        for moving in [1, 16, 128] {
            group.throughput(Throughput::Elements(transitions * u64::from(moving)));
            group.bench_function(BenchmarkId::from_parameter(moving), |bencher| {
                let mut world = World::new(moving);
                bencher.iter_custom(|rounds| {
                    if world.attempt > ROUNDS_MAX {
                        world = World::new(moving);
                    }
                    (0..rounds).filter_map(|_| world.round().get(which).copied()).sum()
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
