//! An engine on a store, ticked by hand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dwell::engine::{ARRIVALS_PER_TICK_MAX, Arrival, Engine, Released, Request, Settings};
use dwell::model::{Action, Effect, Fault, Name, RecordId, Report, Submission, Time, Work};
use dwell::store::Backend;

/// When it begins.
pub const NOW: Time = Time::from_millis(1_790_000_000_000);

/// The `n`th session, of one of so many orgs.
pub fn submission(n: u64, orgs: u64, runtime: &str) -> Submission {
    let org: Name = format!("org{}", n % orgs).into();
    Submission {
        org,
        ..Submission::of(
            RecordId::session(u128::from(NOW.millis()) << 80 | u128::from(n)),
            runtime.into(),
            Work::of(Action::Agent { prompt: "review it".to_owned(), cwd: None }),
        )
    }
}

/// That a target was not there.
pub fn unavailable() -> Report {
    Report::Unavailable(Fault::new("unavailable", "connection refused"))
}

/// What the attempts that were started say.
pub fn reports(started: Released, said: &Report) -> Vec<Request> {
    let started = started.effects.into_inner().into_iter().filter_map(|effect| match effect {
        Effect::Start(start) => Some((start.id, start.attempt)),
        Effect::Release { .. } | Effect::Stop { .. } | Effect::Forget { .. } => None,
    });
    started.map(|(id, attempt)| Request::Report { id, attempt, report: said.clone() }).collect()
}

/// The requests to admit them.
pub fn submits(submissions: impl IntoIterator<Item = Submission>) -> Vec<Request> {
    submissions.into_iter().map(|one| Request::Submit(Box::new(one))).collect()
}

fn arrivals(requests: impl IntoIterator<Item = Request>) -> Vec<Arrival> {
    requests.into_iter().map(|request| Arrival { request, reply: Box::new(drop) }).collect()
}

fn granted(released: &Released) {
    for pair in released.replies.get() {
        assert!(pair.1.is_ok(), "{:?}", pair.1.as_ref().err());
    }
}

/// An engine between two ticks, and its time.
pub struct World {
    engine: Option<Engine>,
    pub now: Time,
    /// How long the engine took for the latest tick.
    pub took: Duration,
}

impl World {
    /// Opens it with so many attempts at once on the runtimes `idle` and `busy`; answers what its first tick released.
    pub fn open(backend: Box<dyn Backend>, [idle, busy]: [u32; 2]) -> (World, Released) {
        let runtimes = BTreeMap::from([("idle".into(), idle), ("busy".into(), busy)]);
        let settings = Settings { runtimes, finished_max: 100_000, ..Settings::default() };
        let (opening, _) = Engine::open(backend, settings, NOW).unwrap();
        let (engine, first) = opening.survivors_stopped().tick(NOW, Vec::new()).unwrap();
        let now = engine.now();
        (World { engine: Some(engine), now, took: Duration::ZERO }, first)
    }

    /// One tick, in which nothing is refused.
    pub fn tick(&mut self, requests: impl IntoIterator<Item = Request>) -> Released {
        let arrivals = arrivals(requests);
        let engine = self.engine.take().unwrap();
        let start = Instant::now();
        let (engine, released) = engine.tick(self.now, arrivals).unwrap();
        self.took = start.elapsed();
        self.engine = Some(engine);
        granted(&released);
        released
    }

    /// Several ticks, each decided while the commit of the one before is on its way, as the loop does where requests
    /// wait. Answers what each released, and how long that came after the one before.
    #[allow(dead_code, reason = "not every bench has so much to do")]
    pub fn burst(&mut self, ticks: Vec<Vec<Request>>) -> Vec<(Released, Duration)> {
        let ticks: Vec<Vec<Arrival>> = ticks.into_iter().map(arrivals).collect();
        let mut engine = self.engine.take().unwrap();
        let (mut under_way, mut landed) = (None, Vec::new());
        let mut start = Instant::now();
        for arrivals in ticks.into_iter().map(Some).chain([None]) {
            let before = under_way.take();
            if let Some(arrivals) = arrivals {
                let begun;
                (engine, begun) = engine.decide(self.now, arrivals).unwrap().begin().unwrap();
                under_way = Some(begun);
            }
            if let Some(before) = before {
                let released;
                (engine, released) = engine.land(before).unwrap();
                let now = Instant::now();
                landed.push((released, now - start));
                start = now;
            }
        }
        self.engine = Some(engine);
        for (released, _) in &landed {
            granted(released);
        }
        landed
    }

    /// Admits them, and lets those that start wait after an attempt that found nobody.
    pub fn admit(&mut self, submissions: impl Iterator<Item = Submission>) {
        self.admit_ending(submissions, &unavailable());
    }

    /// Admits them, and ends the attempts of those that start so.
    pub fn admit_ending(&mut self, submissions: impl Iterator<Item = Submission>, said: &Report) {
        let mut submissions = submissions.peekable();
        while submissions.peek().is_some() {
            let started = self.tick(submits(submissions.by_ref().take(ARRIVALS_PER_TICK_MAX)));
            self.tick(reports(started, said));
        }
    }
}
