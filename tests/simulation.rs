//! Random lives of a whole engine: one seed, one run. Clock steps and jumps, crashes, lost and landed commits, late and
//! wrong reports; after every tick the invariants of the design.
//!
//! `SEED=7 cargo test --test simulation` replays one seed, `DWELL_SIM_SEEDS=100000` runs more of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Dice, World};
use dwell::engine::{Answer, Filter, Pacing, Request, Status};
use dwell::model::*;
use dwell::store::memory::Fault as DiskFault;

/// How rough the lives were, over all seeds.
#[derive(Debug, Default)]
struct Roughness {
    crashes: u64,
    faults: u64,
    refusals: u64,
    finished: u64,
    dead: u64,
    limits: u64,
    jumps: u64,
    claims: u64,
}

/// What the outside knows: acknowledged facts that must never be untrue later, and what it runs.
struct Life {
    world: World,
    dice: Dice,
    acknowledged: BTreeMap<RecordId, u32>,
    running: BTreeMap<RecordId, u32>,
    /// What workers last claimed, done or not: dwell's crashes do not touch it.
    working: BTreeMap<RecordId, u32>,
    started: BTreeSet<(RecordId, u32)>,
    sessions: u32,
    rough: Roughness,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut settings = World::new().settings;
        let pacing = Pacing { by_model: true, ..Pacing::default() };
        settings.pacing = BTreeMap::from([("claude".into(), pacing)]);
        settings.retention = Duration::from_secs(1_000_000_000); // purge would be a lawful loss
        Life {
            world: World::with(settings),
            dice: Dice(seed),
            acknowledged: BTreeMap::new(),
            running: BTreeMap::new(),
            working: BTreeMap::new(),
            started: BTreeSet::new(),
            sessions: 0,
            rough: Roughness::default(),
        }
    }

    fn any_record(&mut self) -> Option<RecordId> {
        let count = self.acknowledged.len() as u64;
        let at = if count == 0 { return None } else { self.dice.roll(count) };
        self.acknowledged.keys().nth(usize::try_from(at).unwrap()).copied()
    }

    fn request(&mut self) -> Option<Request> {
        let roll = self.dice.roll(20);
        if roll < 5 {
            self.sessions += 1;
            let org = format!("org=o{}", self.dice.roll(3));
            let runtime = if self.dice.roll(3) == 0 { "runtime=shell" } else { "runtime=claude" };
            let name = format!("s{}", self.sessions);
            let mut options = vec![org.as_str(), runtime, "budget=5", "silence=10m", "expires=10h"];
            options.extend(["model=m1", "model=m2"].get(usize::try_from(self.dice.roll(4)).unwrap()));
            options.extend(["worker=q1", "worker=q2"].get(usize::try_from(self.dice.roll(6)).unwrap()));
            let submission = self.world.submission(&name, &options);
            return Some(Request::Submit(Box::new(submission)));
        }
        let id = self.any_record()?;
        let latest = self.running.get(&id).or_else(|| self.working.get(&id)).copied().unwrap_or(1);
        let attempt = if self.dice.roll(8) == 0 { latest.saturating_sub(1) } else { latest };
        if roll < 16 {
            return Some(Request::Report { id, attempt, report: self.report() });
        }
        Some(match self.dice.roll(8) {
            0..4 => Request::Charge { id, attempt, calls: u32::try_from(self.dice.roll(3)).unwrap() + 1 },
            4 => Request::Command { id, command: Command::Cancel },
            5 => Request::Command { id, command: Command::ResumeNow },
            6 => Request::Command { id, command: Command::Redrive },
            _ => {
                let until = self.world.now.after(Duration::from_secs(self.dice.roll(600)));
                let model = (self.dice.roll(2) == 0).then(|| "m1".into());
                Request::PauseRuntime { name: "claude".into(), model, until }
            }
        })
    }

    fn claim(&mut self) -> Request {
        let queue = ["q1", "q2"][usize::try_from(self.dice.roll(2)).unwrap()];
        let wait = ["wait=0s", "wait=30s", "wait=10h"][usize::try_from(self.dice.roll(3)).unwrap()];
        // Whoever claims anew hangs up first.
        let worker = ["w1", "w2", "w3"][usize::try_from(self.dice.roll(3)).unwrap()];
        self.world.claim(worker, queue, &["max=2", "lease=5m", wait])
    }

    /// No attempt is claimed twice, nor started by dwell as well.
    fn hear_claims(&mut self) {
        for (id, attempt) in std::mem::take(&mut self.world.claimed) {
            assert!(self.started.insert((id, attempt)), "{id}/{attempt} was claimed twice");
            self.working.insert(id, attempt);
            self.rough.claims += 1;
        }
    }

    fn report(&mut self) -> Report {
        let fault = Fault::new("some", "words");
        let reset = match self.dice.roll(5) {
            0 => Reset::Absent,
            1 => Reset::Unusable("soon".into()),
            2 => Reset::At(Time::MAX),
            _ => Reset::At(self.world.now.after(Duration::from_secs(self.dice.roll(7200)))),
        };
        let limit = LimitReport { reset, ..LimitReport::default() };
        match self.dice.roll(14) {
            0 => Report::Spawned { child: Child { pid: 1, started: 1, boot: 1 }, session: Some("s".into()) },
            1 => Report::Heartbeat,
            2..5 => Report::Succeeded { result: None },
            5 => Report::Failed(fault),
            6 => Report::TimedOut(fault),
            7 => Report::Throttled(fault),
            8 => Report::Unavailable(fault),
            9 => Report::RateLimited(limit, Fault::new(code::RATE_LIMITED, "words")),
            10 => Report::LimitWarning(limit),
            11 => Report::LimitCleared,
            12 => Report::NotResumable(fault),
            _ => Report::IngestionFailed(fault),
        }
    }

    fn step(&mut self) {
        let requests: Vec<Request> = (0..self.dice.roll(4)).filter_map(|_| self.request()).collect();
        let claims: Vec<Request> = (0..self.dice.roll(2)).map(|_| self.claim()).collect();
        let charges: Vec<_> =
            requests.iter().map(|request| matches!(request, Request::Charge { .. })).collect();
        match self.dice.roll(12) {
            0 => self.world.disk.fail_next(DiskFault::Lose),
            1 => self.world.disk.fail_next(DiskFault::LandUnanswered),
            _ => {}
        }
        self.pass_time();
        let limits = requests
            .iter()
            .filter(|request| matches!(request, Request::Report { report: Report::RateLimited(..), .. }));
        self.rough.limits += limits.count() as u64;
        // Claims are told apart from what is answered at once.
        match self.world.tick(requests.into_iter().chain(claims).collect()) {
            Err(_) => {
                self.rough.faults += 1;
                self.crash();
            }
            Ok((answers, _)) => {
                for (answer, charge) in answers.into_iter().zip(charges) {
                    self.hear(answer, charge);
                }
                self.carry_out();
                if self.dice.roll(25) == 0 {
                    self.crash();
                }
            }
        }
    }

    fn pass_time(&mut self) {
        let by = match self.dice.roll(10) {
            0..5 => 0,
            5..8 => self.dice.roll(60_000),
            8 => {
                // To the next deadline, to the millisecond, or just before it.
                let next = self.world.engine.as_ref().unwrap().next_wake().unwrap_or(self.world.now);
                let until = u64::try_from(self.world.now.until(next).as_millis()).unwrap();
                until.min(9 * 86_400_000).saturating_sub(self.dice.roll(2))
            }
            _ => {
                self.rough.jumps += 1;
                self.dice.roll(86_400_000)
            }
        };
        self.world.now = self.world.now.after(Duration::from_millis(by));
    }

    fn crash(&mut self) {
        self.rough.crashes += 1;
        self.world.engine = None;
        let survivors = self.world.open();
        for (id, attempt) in std::mem::take(&mut self.running) {
            let known = survivors.iter().any(|left| left.id == id && left.attempt >= attempt);
            // What the outside runs and the store does not know of was ended by a landed commit without an answer.
            assert!(known || self.record(id).is_some(), "{id} runs and is nowhere");
        }
    }

    fn hear(&mut self, answer: Result<Answer, Rejected>, charge: bool) {
        match answer {
            Err(_) => self.rough.refusals += 1,
            Ok(Answer::Admitted { detail, .. }) => {
                self.acknowledged.insert(detail.record.id, 0);
            }
            Ok(Answer::Charged(Some(budget))) => {
                assert!(charge && budget.limit.is_some_and(|limit| budget.used <= limit));
            }
            Ok(_) => {}
        }
    }

    /// Invariant 5: no start while another attempt of the record may be running; numbers never repeat.
    fn carry_out(&mut self) {
        self.hear_claims();
        for effect in std::mem::take(&mut self.world.effects) {
            match effect {
                Effect::Start(start) => {
                    assert!(
                        !matches!(start.work.action, Action::Worker { .. }),
                        "{} is a worker's",
                        start.id
                    );
                    let other = self.running.insert(start.id, start.attempt);
                    assert_eq!(other, None, "{} started twice", start.id);
                    assert!(
                        self.started.insert((start.id, start.attempt)),
                        "{} reused {}",
                        start.id,
                        start.attempt
                    );
                }
                Effect::Stop { id, attempt, .. } => {
                    if self.running.get(&id) == Some(&attempt) {
                        self.running.remove(&id);
                    }
                }
                Effect::Release { id, attempt } => assert_eq!(self.running.get(&id), Some(&attempt)),
                Effect::Forget { id } => panic!("{id} is purged before its time"),
            }
        }
    }

    fn record(&mut self, id: RecordId) -> Option<Record> {
        let (answers, _) = self.world.tick(vec![Request::Get { id }]).unwrap();
        match answers.into_iter().next().unwrap() {
            Ok(Answer::Detail(detail)) => Some(detail.record),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    fn status(&mut self) -> Status {
        let (answers, _) = self.world.tick(vec![Request::Status]).unwrap();
        let Some(Ok(Answer::Status(status))) = answers.into_iter().next() else { panic!("no status") };
        *status
    }

    fn all(&mut self) -> Vec<Record> {
        let filter = Filter { limit: Filter::LIMIT_MAX, ..Filter::default() };
        let (answers, _) = self.world.tick(vec![Request::List(filter)]).unwrap();
        let Some(Ok(Answer::Page(page))) = answers.into_iter().next() else { panic!("no page") };
        page.records
    }

    /// The reads tick too, so what they release is carried out as well.
    fn check(&mut self) {
        self.world.disk.heal();
        self.world.tick(Vec::new()).unwrap();
        let (records, status) = (self.all(), self.status());
        self.carry_out();
        assert_eq!(status.attempts_started, status.attempts_ended + status.outstanding, "attempts add up");
        assert_eq!(status.counts.values().sum::<u64>(), status.admitted, "records add up");
        let known: BTreeSet<RecordId> = records.iter().map(|record| record.id).collect();
        for id in self.acknowledged.keys() {
            assert!(known.contains(id), "acknowledged {id} is gone");
        }
        let mut outstanding: BTreeMap<Name, u32> = BTreeMap::new();
        for record in &records {
            if record.state.outstanding() {
                *outstanding.entry(record.runtime.clone()).or_default() += 1;
                // A claim whose answer was lost with a crash is outstanding nowhere, until its lease is over.
                assert!(
                    record.queue.is_some() || self.running.get(&record.id) == Some(&record.attempt),
                    "{} is outstanding nowhere",
                    record.id
                );
            }
            let waits = matches!(record.state, State::RateLimited { .. } | State::Backoff { .. });
            assert!(!waits || record.deadline().is_some(), "{} waits for nothing", record.id);
            if let Some(deadline) = record.deadline() {
                let late = deadline <= status.now;
                assert!(!late, "{} is {} past its deadline", record.id, record.state.name());
                let furthest = status.now.after(Duration::from_secs(8 * 24 * 3600));
                assert!(deadline <= furthest, "{} is stranded until {deadline:?}", record.id);
            }
        }
        for (runtime, concurrency) in &self.world.settings.runtimes {
            assert!(
                outstanding.get(runtime).is_none_or(|count| count <= concurrency),
                "{runtime} exceeds its share"
            );
        }
    }
}

impl Life {
    /// Left to itself, with every attempt succeeding, everything comes to an end: nothing waits for what never comes.
    fn settle(&mut self) {
        self.world.disk.heal();
        for _ in 0..10_000 {
            self.carry_out();
            let ended = std::mem::take(&mut self.running).into_iter();
            let ended = ended.chain(std::mem::take(&mut self.working));
            let mut reports: Vec<Request> = ended
                .map(|(id, attempt)| Request::Report {
                    id,
                    attempt,
                    report: Report::Succeeded { result: None },
                })
                .collect();
            if reports.is_empty() {
                if self.all().iter().all(is_over) {
                    break;
                }
                // Nothing waits that long; what does is retention.
                let furthest = self.world.now.after(Duration::from_hours(30 * 24));
                let next = self.world.engine.as_ref().unwrap().next_wake();
                let Some(next) = next.filter(|next| *next < furthest) else { break };
                self.world.now = self.world.now.max(next);
            }
            reports.extend(["q1", "q2"].map(|queue| self.world.claim(queue, queue, &["max=9", "wait=10h"])));
            self.world.tick(reports).unwrap();
        }
        for record in self.all() {
            assert!(is_over(&record), "{} is {} for ever", record.id, record.state.name());
        }
    }
}

fn is_over(record: &Record) -> bool {
    record.state.finished_at().is_some() || record.state.name() == StateName::DeadLettered
}

fn live(seed: u64) -> Roughness {
    let mut life = Life::new(seed);
    for _ in 0..60 {
        life.step();
        life.check();
    }
    life.settle();
    let status = life.status();
    life.rough.finished += status.counts[&StateName::Completed] + status.counts[&StateName::Cancelled];
    life.rough.dead += status.counts[&StateName::DeadLettered];
    life.rough
}

#[test]
fn simulation() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DWELL_SIM_SEEDS").unwrap_or(1000),
    };
    let mut total = Roughness::default();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let rough = std::panic::catch_unwind(|| live(seed));
        let rough =
            rough.unwrap_or_else(|_| panic!("seed {seed} fails: SEED={seed} cargo test --test simulation"));
        total.crashes += rough.crashes;
        total.faults += rough.faults;
        total.refusals += rough.refusals;
        total.finished += rough.finished;
        total.dead += rough.dead;
        total.limits += rough.limits;
        total.jumps += rough.jumps;
        total.claims += rough.claims;
    }
    eprintln!("{count} seeds: {total:?}");
    if count >= 100 {
        let least = [
            total.crashes,
            total.faults,
            total.refusals,
            total.finished,
            total.dead,
            total.limits,
            total.jumps,
            total.claims,
        ];
        assert!(least.iter().all(|times| *times >= count / 10), "too smooth to mean much: {total:?}");
    }
}
