//! One life: the steps of a script taken on a real engine, with the model beside it, compared after every tick.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use dwell::engine::{Answer, Claim, Engine, Filter, Request};
use dwell::model::*;
use dwell::store::local::Options;

use crate::asked::settings;
use crate::asks::Ask;
use crate::common::T0;
use crate::model::{Held, Model, Rules, Violation, Waiting, must};
use crate::rig::{DiskFault, Rig};
use crate::rough::Rough;
use crate::script::{Setup, Step, Who};
use crate::ticks::Told;

const HOUR: Duration = Duration::from_secs(3600);

/// A life, up to where it is.
pub struct Life {
    pub rig: Rig,
    pub model: Model,
    pub rough: Rough,
    /// The steps taken, each about somebody who is named.
    pub trail: Vec<Step>,
    pub names: BTreeMap<RecordId, String>,
    pub asks: Vec<Ask>,
    claims: Vec<(String, Request)>,
    key: Option<u8>,
    unreadable: Option<u32>,
    /// Nothing was done yet since it was opened.
    fresh: bool,
    pub policy: Policy,
}

/// Lives a script to its end, and to the end of everything in it. `Err`: what must not be, and the steps up to it.
pub fn live(
    setup: &Setup,
    steps: &[Step],
    never: Option<StateName>,
) -> Result<Rough, (Violation, Vec<Step>)> {
    let mut life = Life::new(setup, never);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        life.begin()?;
        for step in steps {
            life.take(step.clone())?;
        }
        life.settle()
    }));
    let lived = lived.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Err(Violation { rule: "nothing panics", words: words.unwrap_or_default() })
    });
    match lived {
        Ok(()) => Ok(life.rough),
        Err(violation) => Err((violation, life.trail)),
    }
}

impl Life {
    fn new(setup: &Setup, never: Option<StateName>) -> Life {
        let (settings, rules) = settings(setup);
        let start = Time::from_millis(T0);
        let local = setup.local.map(|checkpoints| Options {
            segment_bytes: 32 << 10,
            checkpoint_bytes: if checkpoints { 8 << 10 } else { 8 << 20 },
            table_cache_bytes: 1 << 20,
            ..Options::default()
        });
        Life {
            model: Model::new(Rules { never, ..rules }, start),
            policy: settings.policy.clone(),
            rig: Rig::new(settings, start, local),
            rough: Rough::default(),
            trail: Vec::new(),
            names: BTreeMap::new(),
            asks: Vec::new(),
            claims: Vec::new(),
            key: None,
            unreadable: None,
            fresh: true,
        }
    }

    fn begin(&mut self) -> Held {
        let opened = self.rig.open(None);
        must!(opened.is_ok(), "a store opens", "{opened:?}");
        self.rig.landed();
        Ok(())
    }

    fn take(&mut self, mut step: Step) -> Held {
        let mut who = None;
        if let Some(slot) = step.who() {
            let Some(found) = self.find(slot) else { return Ok(()) };
            *slot = Who::Named(found, self.name(found));
            who = Some(found);
        }
        self.trail.push(step.clone());
        let tick = step == Step::Tick;
        match &step {
            Step::Tick => self.tick()?,
            Step::Crash => {
                self.rough.note("crash");
                self.asks.clear();
                self.claims.clear();
                self.reopen(None)?;
            }
            Step::Pass(millis) => {
                self.rough.note(if *millis > 100 * 86_400_000 { "jump by a year" } else { "clock step" });
                self.rig.clock = self.rig.clock.after(Duration::from_millis(*millis));
            }
            Step::Back(millis) => {
                self.rough.note("clock back");
                let back = self.rig.clock.millis().saturating_sub(*millis).max(T0);
                self.rig.clock = Time::from_millis(back);
            }
            Step::ToNext { early } => {
                self.rough.note("to the deadline");
                let next = self.rig.engine.as_ref().and_then(Engine::next_wake);
                let limit = self.rig.clock.after(HOUR * 24 * 9);
                if let Some(next) = next.filter(|next| *next <= limit) {
                    let next = Time::from_millis(next.millis() - u64::from(*early));
                    self.rig.clock = self.rig.clock.max(next);
                }
            }
            Step::Unreadable(reads) => self.unreadable = Some(*reads),
            Step::Disk(fault) => self.rig.fail_next(*fault),
            Step::HangUp { worker } => {
                self.rig.hang_up(worker);
                self.model.claims.remove(*worker);
            }
            Step::Once { key } => self.key = Some(*key),
            Step::Claim { worker, queue, max, wait, lease } => {
                self.claim(worker, queue, *max, Duration::from_secs(*wait), Duration::from_secs(*lease));
            }
            _ => self.request(&step, who)?,
        }
        if tick { self.look() } else { Ok(()) }
    }

    fn find(&self, who: &Who) -> Option<RecordId> {
        let (nth, wanted): (u64, &[StateName]) = match who {
            Who::Named(id, _) => return Some(*id),
            Who::Running(nth) => (*nth, &[StateName::Active, StateName::Draining]),
            Who::Dead(nth) => (*nth, &[StateName::DeadLettered]),
            Who::Waiting(nth) => (*nth, &[StateName::RateLimited, StateName::Backoff]),
            Who::Any(nth) => (*nth, StateName::ALL),
        };
        let found = self.model.records.iter().filter(|(_, rec)| wanted.contains(&rec.state));
        let found: Vec<RecordId> = found.map(|(id, _)| *id).collect();
        let at = usize::try_from(nth.checked_rem(found.len() as u64)?).ok()?;
        found.get(at).copied()
    }

    fn name(&self, id: RecordId) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        let rec = self.model.records.get(&id);
        match rec.and_then(|rec| rec.about) {
            Some(dead) => format!("the notice of {}", self.name(dead)),
            None => format!("the {id} of a schedule"),
        }
    }

    pub fn claim(&mut self, worker: &str, queue: &str, max: usize, wait: Duration, lease: Duration) {
        let listener = self.rig.listener(worker);
        self.claims.retain(|(other, _)| other != worker);
        let claim = Claim { worker: worker.to_owned(), queue: queue.into(), max, wait, lease, listener };
        self.claims.push((worker.to_owned(), Request::Claim(Box::new(claim))));
    }

    fn request(&mut self, step: &Step, who: Option<RecordId>) -> Held {
        let ask = self.asked(step, who)?;
        let ask = match self.key.take() {
            Some(key) if matches!(ask, Ask::Submit(_) | Ask::Charge { .. }) => {
                self.rough.note("under a key");
                Ask::Once { key, ask: Box::new(ask) }
            }
            Some(_) | None => ask,
        };
        self.asks.push(ask);
        Ok(())
    }

    /// Hands in what waits, and follows what comes of it.
    pub fn tick(&mut self) -> Held {
        let asks = std::mem::take(&mut self.asks);
        let mut requests: Vec<Request> = asks.iter().map(Ask::request).collect();
        let now = self.rig.clock.max(self.model.now);
        for (worker, request) in std::mem::take(&mut self.claims) {
            if let Request::Claim(claim) = &request
                && claim.listener.strong_count() > 0
            {
                let (until, queue) = (now.after(claim.wait), claim.queue.clone());
                let waiting = Waiting { queue, max: claim.max, lease: claim.lease, until };
                self.model.claims.insert(worker, waiting);
            }
            requests.push(request);
        }
        let before = self.model.running();
        self.fresh = false;
        match self.rig.tick(requests) {
            Err(_) => {
                if matches!(self.rig.tear, Some(DiskFault::Torn { .. })) {
                    self.rough.note("torn tail");
                }
                self.reopen(Some((asks, now)))
            }
            Ok(tick) => {
                for (ask, answer) in asks.iter().zip(&tick.answers) {
                    self.rough.hears(ask, answer);
                }
                for refused in tick.claims.iter().filter_map(|(_, answer)| answer.as_ref().err()) {
                    self.rough.note(refused.code());
                }
                self.durable(now, &tick.steps)?;
                let told = Told {
                    asks: &asks,
                    answers: Some(&tick.answers),
                    steps: tick.steps,
                    claims: tick.claims,
                };
                self.model.tick(now, told)?;
                self.model.effects(&before, &tick.effects)?;
                self.heard();
                Ok(())
            }
        }
    }

    /// What was released is what the disk has, and no more and no less.
    fn durable(&mut self, now: Time, steps: &[Transition]) -> Held {
        let landed = self.rig.landed();
        self.model.committed = landed.as_ref().map_or(self.model.committed, |_| now);
        let told = landed.unwrap_or_default();
        must!(told == steps, "what is released is durable", "{told:?} is on disk, {steps:?} was released");
        Ok(())
    }

    fn heard(&mut self) {
        for name in &self.model.seen {
            self.rough.note(name);
        }
    }

    /// dwell is gone; if a commit failed, the disk says whether it landed.
    pub fn reopen(&mut self, failed: Option<(Vec<Ask>, Time)>) -> Held {
        self.rig.crash();
        let mut opened = Err("closed".to_owned());
        if let Some(reads) = self.unreadable.take() {
            opened = self.rig.open(Some(reads));
            if opened.is_err() {
                self.rough.note("unreadable at open");
                self.rig.crash();
            }
        }
        if opened.is_err() {
            opened = self.rig.open(None);
        }
        let survivors = match opened {
            Ok(survivors) => survivors,
            Err(words) => return Err(Violation { rule: "a store opens", words }),
        };
        let landed = self.rig.landed();
        match (failed, landed) {
            (Some((asks, now)), Some(steps)) => {
                self.rough.note("landed unanswered");
                self.model.committed = now;
                self.model.tick(now, Told { asks: &asks, answers: None, steps, claims: Vec::new() })?;
                self.heard();
            }
            (Some(_), None) => self.rough.note("lost commit"),
            (None, Some(steps)) => {
                return Err(Violation { rule: "open changes nothing", words: format!("{steps:?}") });
            }
            (None, None) => {}
        }
        let left: BTreeSet<(RecordId, u32)> = survivors.iter().map(|left| (left.id, left.attempt)).collect();
        let right: BTreeSet<(RecordId, u32)> = self.model.own().map(|(id, rec)| (id, rec.attempt)).collect();
        must!(left == right, "what outlived dwell is found", "{left:?}, not {right:?}");
        self.model.reopened(self.rig.clock);
        self.fresh = true;
        Ok(())
    }

    /// The records and counts of the engine, against the model.
    pub fn look(&mut self) -> Held {
        self.rig.heal();
        // What a crash left to do comes first; a look shows what was done.
        if std::mem::take(&mut self.fresh) || self.rig.clock > self.model.now {
            self.tick()?;
        }
        let filter = Filter { limit: Filter::LIMIT_MAX, ..Filter::default() };
        let now = self.rig.clock.max(self.model.now);
        let before = self.model.running();
        let tick = match self.rig.tick(vec![
            Request::List(filter),
            Request::Status,
            Request::Runtimes,
            Request::Drains,
        ]) {
            Ok(tick) => tick,
            Err(words) => return Err(Violation { rule: "a healthy disk does not fail", words }),
        };
        let [
            Ok(Answer::Page(page)),
            Ok(Answer::Status(status)),
            Ok(Answer::Runtimes(runtimes)),
            Ok(Answer::Drains(drains)),
        ] = &tick.answers[..]
        else {
            panic!("{:?}", tick.answers)
        };
        for record in &page.records {
            self.rough.note_state(record.state.name());
        }
        self.model.look(&page.records, status)?;
        self.model.look_at_holds(runtimes, drains)?;
        self.durable(now, &tick.steps)?;
        let told = Told { asks: &[], answers: Some(&[]), steps: tick.steps, claims: tick.claims };
        self.model.tick(now, told)?;
        self.model.effects(&before, &tick.effects)?;
        self.heard();
        self.wakes()
    }

    /// The engine will wake up in time.
    fn wakes(&self) -> Held {
        let now = self.model.now;
        let wake = self.rig.engine.as_ref().and_then(Engine::next_wake);
        let moment = self.model.next_moment();
        let idle = self.model.idle().map(|_| now.after(Duration::from_secs(1)));
        let needed = [moment, idle].into_iter().flatten().min();
        let right = needed.is_none_or(|needed| wake.is_some_and(|wake| wake <= needed));
        must!(right, "it wakes in time", "at {wake:?}, and something is due at {needed:?}; it is {now:?}");
        Ok(())
    }
}
