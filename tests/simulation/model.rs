//! The reference model: what must be true of every record, by a plain account of everything that was asked, answered and
//! released. It is told of what happened and never asks the engine; `look` compares the two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dwell::engine::{NOTIFY, Status};
use dwell::model::*;

use crate::holds::Holds;
use crate::rules::{Rec, path};

/// Something that must not be. The rule is short and the same for every case of it; the words say which case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub words: String,
}

pub type Held = Result<(), Violation>;

/// Fails with the rule unless it holds.
macro_rules! must {
    ($holds:expr, $rule:expr, $($words:tt)*) => {
        if !$holds {
            return Err($crate::model::Violation { rule: $rule, words: format!($($words)*) });
        }
    };
}
pub(crate) use must;

/// A claim that waits for an answer.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub queue: Name,
    pub max: usize,
    pub lease: Duration,
    pub until: Time,
}

/// A run that waits for the end of its triggers.
#[derive(Clone, Debug)]
pub struct Calm {
    pub first_at: Time,
    pub due_at: Time,
    pub run: Submission,
}

/// A paced redrive.
#[derive(Clone, Debug)]
pub struct Paced {
    pub cause: Option<Cause>,
    pub asked_at: Time,
    pub interval: Duration,
}

/// What is configured and does not change in a life.
#[derive(Clone, Debug)]
pub struct Rules {
    pub concurrency: BTreeMap<Name, u32>,
    pub by_model: bool,
    pub ramp: bool,
    pub retention: Duration,
    pub limits_jitter: Duration,
    pub queued_max: u64,
    pub env_queued_max: u64,
    pub burst_orgs: BTreeSet<Name>,
    pub weights: BTreeMap<Name, u32>,
    /// Flows that start by the clock, and how far apart.
    pub periods: BTreeMap<Name, u64>,
    pub mode: Mode,
    /// Checked beside the real rules: a test plants a false one.
    pub never: Option<StateName>,
}

/// Everything that must be true.
#[derive(Clone, Debug)]
pub struct Model {
    pub rules: Rules,
    pub now: Time,
    /// The latest time that is on the disk.
    pub committed: Time,
    pub records: BTreeMap<RecordId, Rec>,
    pub holds: Holds,
    pub global: Option<Mode>,
    pub modes: BTreeMap<Name, Mode>,
    /// Trigger and when, by delivery.
    pub deliveries: BTreeMap<(Name, String), (TriggerId, Time)>,
    pub keys: BTreeMap<(Name, Name, String), RecordId>,
    pub answered: BTreeMap<u8, ([u8; 32], String, Time)>,
    pub calm: BTreeMap<(Name, Name), Calm>,
    pub schedules: BTreeMap<Name, Time>,
    pub paced: BTreeMap<RedriveId, Paced>,
    /// How many each may have redriven by now. Which one a step is of is not told, so every possibility is kept.
    pub redriven: BTreeSet<BTreeMap<RedriveId, u64>>,
    pub claims: BTreeMap<String, Waiting>,
    /// Outstanding when dwell stopped, until the first tick after it.
    pub interrupted: BTreeSet<RecordId>,
    pub admitted: u64,
    pub started: u64,
    pub ended: u64,
    pub completed: u64,
    pub cancelled: u64,
    /// Deaths that are still to be told of in this tick.
    pub obituaries: VecDeque<RecordId>,
    /// What this tick claimed, and for whom.
    pub claimed: BTreeMap<(RecordId, u32), String>,
    /// What this tick purged.
    pub forgotten: BTreeMap<RecordId, Rec>,
    /// Every attempt that was ever started.
    pub ever: BTreeSet<(RecordId, u32)>,
    /// The steps of the tick that were taken, by the names in the table.
    pub seen: Vec<&'static str>,
}

impl Model {
    pub fn new(rules: Rules, now: Time) -> Model {
        let next = |period: &u64| Time::from_millis((now.millis() / period + 1) * period);
        Model {
            schedules: rules.periods.iter().map(|(flow, period)| (flow.clone(), next(period))).collect(),
            holds: Holds::default(),
            rules,
            now,
            committed: Time::ZERO,
            records: BTreeMap::new(),
            global: None,
            modes: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            keys: BTreeMap::new(),
            answered: BTreeMap::new(),
            calm: BTreeMap::new(),
            paced: BTreeMap::new(),
            redriven: BTreeSet::from([BTreeMap::new()]),
            claims: BTreeMap::new(),
            interrupted: BTreeSet::new(),
            admitted: 0,
            started: 0,
            ended: 0,
            completed: 0,
            cancelled: 0,
            obituaries: VecDeque::new(),
            claimed: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            ever: BTreeSet::new(),
            seen: Vec::new(),
        }
    }

    pub fn mode(&self, flow: &Name) -> Mode {
        self.modes.get(flow).copied().or(self.global).unwrap_or(self.rules.mode)
    }

    /// The row whose window a record is limited by.
    pub fn window(&self, rec: &Rec) -> Name {
        match rec.model.as_ref().filter(|_| self.rules.by_model) {
            Some(model) => Runtime::of_model(&rec.runtime, model),
            None => rec.runtime.clone(),
        }
    }

    /// Those with an outstanding attempt that dwell itself carries out.
    pub fn own(&self) -> impl Iterator<Item = (RecordId, &Rec)> {
        self.outstanding().filter(|(_, rec)| rec.queue.is_none())
    }

    pub fn outstanding(&self) -> impl Iterator<Item = (RecordId, &Rec)> {
        self.records.iter().filter(|(_, rec)| rec.outstanding()).map(|(id, rec)| (*id, rec))
    }

    /// dwell is gone, and is opened at `now`: what was in memory only is forgotten.
    pub fn reopened(&mut self, clock: Time) {
        self.now = self.committed.max(clock);
        self.claims.clear();
        self.holds.restarted();
        let lost = |rec: &Rec| rec.queue.is_none() || rec.deadline.is_some_and(|(at, _)| at <= self.now);
        self.interrupted = self.outstanding().filter(|(_, rec)| lost(rec)).map(|(id, _)| id).collect();
    }

    /// A record enters, as the history says. `Err` if nobody asked for it.
    pub fn enters(&mut self, of: &Submission, step: &Transition) -> Held {
        let id = of.id;
        must!(step.id == id && step.from.is_none(), "admitted as asked", "{id}: {step:?}");
        must!(!self.records.contains_key(&id), "admitted once", "{id} is admitted again");
        let shadow = step.event == "shadowed";
        let expected = match (shadow, &of.invalid) {
            (true, _) => StateName::Completed,
            (false, Some(_)) => StateName::DeadLettered,
            (false, None) => StateName::Queued,
        };
        must!(step.to == expected && step.attempt == 0, "admitted as asked", "{id}: {step:?}");
        self.admitted += 1;
        let queue = match &of.work.action {
            Action::Worker { queue } => Some(queue.clone()),
            Action::Command { .. } | Action::Agent { .. } | Action::Http(_) => None,
        };
        let expires_at = of.expires.map(|span| self.now.after(span));
        let policy = Policy::default();
        let mut rec = Rec {
            state: expected,
            cause: None,
            attempt: 0,
            deadline: None,
            ends_at: self.now,
            started_at: self.now,
            streaks: [0; Streak::ALL.len()],
            budget: of.budget.fresh(),
            org: of.org.clone(),
            env: of.env.clone(),
            flow: of.flow.clone(),
            runtime: of.runtime.clone(),
            model: of.model.clone(),
            queue,
            group: of.group.clone(),
            key: of.key.clone(),
            expires_at,
            retry: of.retry.unwrap_or(policy.retry),
            timeouts: of.timeouts.unwrap_or(policy.timeouts),
            session: None,
            child: false,
            lane: None,
            order: None,
            shadow,
            since: self.now,
            tells_of_death: of.work.on_dead_letter.is_some(),
            about: of.about,
            invalid: of.invalid.is_some(),
            trigger: of.trigger,
            rerun_of: of.rerun_of,
        };
        match expected {
            StateName::Queued => {
                rec.deadline = expires_at.map(|at| (at, at));
                let bursts = rec.flow.is_some() && self.rules.burst_orgs.contains(&rec.org);
                rec.lane = (!bursts).then_some(Lane::Ready);
            }
            StateName::DeadLettered => rec.dies(Cause::Invalid, self.now),
            _ => self.completed += 1,
        }
        self.records.insert(id, rec);
        self.deadline_as_told(id, step)?;
        self.passed(id, step, if shadow { "shadowed" } else { "admitted" })
    }

    /// One step of the history: `change` says what it does to the record.
    pub fn steps(&mut self, step: &Transition, change: impl FnOnce(&mut Rec, Time)) -> Held {
        let (id, now) = (step.id, self.now);
        let Some(before) = self.records.get(&id).cloned() else {
            return Err(Violation { rule: "nothing unknown moves", words: format!("{step:?}") });
        };
        must!(step.at == now, "history has the time of its tick", "{step:?} at {now:?}");
        must!(step.from == Some(before.state), "history is whole", "{id} was {}: {step:?}", before.state);
        let Some(name) = path(&step.event, before.state, step.to) else {
            return Err(Violation { rule: "legal path", words: format!("{id}: {step:?}") });
        };
        let mut after = before.clone();
        change(&mut after, now);
        must!(
            (step.to, step.attempt) == (after.state, after.attempt),
            "moves as the rules say",
            "{id} should be {} in attempt {}: {step:?}",
            after.state,
            after.attempt
        );
        self.started += u64::from(after.attempt - before.attempt);
        let over = before.outstanding() && !(after.outstanding() && before.attempt == after.attempt);
        self.ended += u64::from(over);
        self.completed += u64::from(after.state == StateName::Completed);
        self.cancelled += u64::from(after.state == StateName::Cancelled);
        self.records.insert(id, after);
        self.deadline_as_told(id, step)?;
        self.passed(id, step, name)
    }

    /// The history names the deadline the rules give, or one within the jitter they allow.
    fn deadline_as_told(&mut self, id: RecordId, step: &Transition) -> Held {
        let Some(rec) = self.records.get_mut(&id) else { return Ok(()) };
        let expected = rec.deadline;
        let within = match (expected, step.deadline) {
            (None, None) => true,
            (Some((low, high)), Some(told)) => {
                rec.deadline = Some((told, told));
                (low..=high).contains(&told)
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        must!(within, "deadline as the rules say", "{id}: {expected:?} and {step:?}");
        Ok(())
    }

    /// What follows from any step: deaths are told of, and nobody comes where the planted rule forbids.
    fn passed(&mut self, id: RecordId, step: &Transition, name: &'static str) -> Held {
        self.seen.push(name);
        let Some(rec) = self.records.get(&id) else { return Ok(()) };
        let died = step.to == StateName::DeadLettered && step.from != Some(StateName::DeadLettered);
        if died && rec.tells_of_death && rec.about.is_none() && !rec.shadow && &*rec.runtime != NOTIFY {
            self.obituaries.push_back(id);
        }
        must!(self.rules.never != Some(step.to), "planted", "{id} is {}", step.to);
        Ok(())
    }

    /// Queued records, of one env or in all.
    pub fn queued(&self, place: Option<(&Name, &Name)>) -> u64 {
        let here = |rec: &&Rec| place.is_none_or(|(org, env)| rec.org == *org && rec.env == *env);
        self.records.values().filter(|rec| rec.state == StateName::Queued).filter(here).count() as u64
    }

    /// The records on the disk and the engine's own counts, against the model.
    pub fn look(&mut self, records: &[Arc<Record>], status: &Status) -> Held {
        must!(status.now == self.now, "time never goes back", "{:?} is not {:?}", status.now, self.now);
        let known: BTreeSet<RecordId> = records.iter().map(|record| record.id).collect();
        let mine: BTreeSet<RecordId> = self.records.keys().copied().collect();
        must!(known == mine, "nothing acknowledged is lost", "{:?}", known.symmetric_difference(&mine));
        for record in records {
            self.look_at(record)?;
        }
        let sums = (status.attempts_started, status.attempts_ended, status.outstanding);
        let outstanding = self.outstanding().count() as u64;
        must!(sums == (self.started, self.ended, outstanding), "attempts add up", "{sums:?}");
        must!(sums.0 == sums.1 + sums.2, "attempts add up", "{sums:?}");
        must!(status.counts.values().sum::<u64>() == self.admitted, "records add up", "{:?}", status.counts);
        must!(status.admitted == self.admitted, "records add up", "{}", status.admitted);
        let mut counts: BTreeMap<StateName, u64> = StateName::ALL.iter().map(|state| (*state, 0)).collect();
        for rec in self.records.values().filter(|rec| !rec.finished()) {
            *counts.entry(rec.state).or_default() += 1;
        }
        counts.insert(StateName::Completed, self.completed);
        counts.insert(StateName::Cancelled, self.cancelled);
        must!(status.counts == counts, "records add up", "{:?} and {counts:?}", status.counts);
        Ok(())
    }

    fn look_at(&mut self, record: &Record) -> Held {
        let id = record.id;
        let Some(rec) = self.records.get_mut(&id) else { return Ok(()) };
        let (state, attempt) = (record.state.name(), record.attempt);
        must!(
            (state, attempt) == (rec.state, rec.attempt),
            "the disk agrees",
            "{id} is {state}/{attempt}, not {rec:?}"
        );
        must!(
            record.state.cause() == rec.cause,
            "the disk agrees",
            "{id} died of {:?}, not {:?}",
            record.state.cause(),
            rec.cause
        );
        let at = rec.deadline.map(|(at, _)| at);
        must!(record.deadline() == at, "deadline is kept", "{id}: {:?}, not {at:?}", record.deadline());
        must!(
            record.streaks.counts() == rec.streaks,
            "streaks are its own",
            "{id}: {:?}, not {:?}",
            record.streaks,
            rec.streaks
        );
        must!(
            record.budget == rec.budget,
            "budget is its own",
            "{id}: {:?}, not {:?}",
            record.budget,
            rec.budget
        );
        must!(
            record.session == rec.session,
            "the disk agrees",
            "{id} has session {:?}, not {:?}",
            record.session,
            rec.session
        );
        must!(rec.order.is_none_or(|order| order == record.order), "order is kept", "{id}: {}", record.order);
        rec.order = Some(record.order);
        if let Some(lane) = record.state.lane() {
            must!(rec.lane.is_none_or(|known| known == lane), "lane is kept", "{id} is in {lane}");
            rec.lane = Some(lane);
        }
        let same = record.org == rec.org && record.env == rec.env && record.runtime == rec.runtime;
        let same =
            same && record.flow == rec.flow && record.about == rec.about && record.shadow == rec.shadow;
        let same = same && record.queue == rec.queue && record.rerun_of == rec.rerun_of;
        must!(same, "the disk agrees", "{record:?}");
        Ok(())
    }
}
