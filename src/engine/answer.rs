//! What the engine answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::{Claimed, QueueView};
use super::drains::DrainView;
use super::envs::EnvPage;
use super::hold::Hold;
use super::why::Why;
use crate::model::{
    Cause, Drain, Fingerprint, Meter, Missing, Mode, Name, Origin, Record, RecordId, Redrive, RedriveId,
    Rejected, Runtime, Space, Standing, StateName, Time, Trigger, TriggerId, Work,
};
use crate::pace::{Outcome, Reason};
use crate::store::{Debounced, ScheduleRow};

/// What is answered.
#[derive(Debug)]
pub enum Answer {
    /// A submission: the record, and whether it was there before.
    Admitted {
        /// The new record, or the first one of that key.
        detail: Box<Detail>,
        /// True if nothing was created.
        duplicate: bool,
    },
    /// A trigger.
    Triggered(Triggered),
    /// The record after it.
    Record(Arc<Record>),
    /// The meter of calls after the charge; `None`: the record has none.
    Charged(Option<Meter>),
    /// The runtime after it.
    Runtime(RuntimeView),
    /// A record and its work.
    Detail(Box<Detail>),
    /// Ids in order.
    Ids(Vec<RecordId>),
    /// A page of records.
    Page(Page),
    /// Triggers, newest first.
    Triggers(Vec<Trigger>),
    /// Every configured runtime, by name.
    Runtimes(Vec<RuntimeView>),
    /// How things are.
    Status(Box<Status>),
    /// A scope that is drained, or was.
    Drain(DrainView),
    /// Every drained scope.
    Drains(Vec<DrainView>),
    /// What a worker carries out now; none if its wait was over first.
    Claimed(Vec<Claimed>),
    /// The queues with records or claims, or claimed from since open; by name, at most [`Filter::LIMIT_MAX`](super::Filter::LIMIT_MAX).
    Queues(Vec<QueueView>),
    /// A page of envs.
    Envs(EnvPage),
    /// What keeps something from starting.
    Why(Box<Why>),
    /// What became of dead letters.
    Redriven(Redriven),
    /// A named mode.
    Flipped(Flipped),
    /// The modes.
    Modes(ModesView),
    /// Dead letters in groups, the largest first.
    Groups(Vec<Group>),
    /// A paced redrive that was asked for.
    Paced(Paced),
    /// Paced redrives.
    Redrives(Vec<Redrive>),
    /// One for each request, in order.
    Each(Vec<Result<Answer, Rejected>>),
    /// What time alone will admit, the earliest first.
    Upcoming(Vec<Upcoming>),
    /// What the caller of a [`Request::Once`](super::Request::Once) is told, now or before.
    Told(Told),
}

/// An answer as its caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How it was answered.
    pub status: u16,
    /// What was answered; empty if it is `again` and was too long to keep.
    pub body: Vec<u8>,
    /// Whether it is the first answer, repeated.
    pub again: bool,
}

/// Dead letters that have cause, flow, runtime and the kind of their error in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Why they are dead.
    pub cause: Cause,
    /// The flow that made them.
    pub flow: Option<Name>,
    /// The provider account.
    pub runtime: Name,
    /// The name of their masked error.
    pub fingerprint: Fingerprint,
    /// Their masked error.
    pub sample: String,
    /// How many they are.
    pub count: u64,
    /// Since when the first of them is dead.
    pub oldest: Time,
    /// Since when the last of them is dead.
    pub newest: Time,
    /// The last of them.
    pub example: RecordId,
}

/// What became of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Those that matched, and were redriven unless it was a dry run.
    pub matched: Vec<RecordId>,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Where to go on, if there may be more.
    pub next: Option<RecordId>,
}

/// A paced redrive that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paced {
    /// How many dead letters match.
    pub matched: u64,
    /// Whether there are more than were counted.
    pub uncounted: bool,
    /// What carries them out; `None` if none match, or nothing was to be done.
    pub redrive: Option<RedriveId>,
}

/// A record and what was asked for.
#[derive(Clone, Debug)]
pub struct Detail {
    /// What moves.
    pub record: Arc<Record>,
    /// What was asked for.
    pub work: Arc<Work>,
}

/// What became of a trigger.
#[derive(Clone, Debug)]
pub struct Triggered {
    /// Its id, or the first one's for a duplicate.
    pub trigger: TriggerId,
    /// True if nothing was created.
    pub duplicate: bool,
    /// The runs it made, then or now; those that are recorded only are among them.
    pub runs: Vec<RecordId>,
    /// Flows in shadow that matched: their runs act on nothing.
    pub shadow: Vec<Name>,
    /// Flows that are off and matched: they made no run, and none is made of a duplicate later.
    pub off: Vec<Name>,
    /// The runs that wait for the end of their triggers. Such a run is among `runs` once it is admitted.
    pub debounced: Vec<Debounced>,
    /// What the burst gate made of it; a duplicate is not judged, so it passes.
    pub outcome: Outcome,
}

/// What naming a mode did, to all flows or to the one it was named for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flipped {
    /// The one.
    pub flow: Option<Name>,
    /// The mode before.
    pub from: Mode,
    /// The mode after.
    pub to: Mode,
    /// No flow was on before, and one is now.
    pub woke: bool,
}

/// The modes as they are.
#[derive(Clone, Debug)]
pub struct ModesView {
    /// Of flows that have none of their own.
    pub global: Mode,
    /// Whether an operator named it; else it is configuration's.
    pub named: bool,
    /// Every loaded flow, by name.
    pub flows: Vec<FlowView>,
}

impl ModesView {
    /// A loaded flow.
    pub fn flow(&self, name: &Name) -> Option<&FlowView> {
        self.flows.get(self.flows.binary_search_by(|flow| flow.name.cmp(name)).ok()?)
    }

    /// Of what is missing, what keeps live flows from acting.
    pub fn blocked(&self, missing: Vec<Missing>) -> Vec<Missing> {
        let live = |name: &Name| self.flow(name).is_some_and(|flow| flow.standing.mode == Mode::Live);
        missing.into_iter().filter(|one| live(&one.flow)).collect()
    }
}

/// A loaded flow and its mode.
#[derive(Clone, Debug)]
pub struct FlowView {
    /// Its name.
    pub name: Name,
    /// Who named the mode that is in force.
    pub origin: Origin,
    /// Its durable row, with that mode.
    pub standing: Standing,
}

/// What time alone will admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upcoming {
    /// A run, when its triggers have ended.
    Debounced(Debounced),
    /// The next trigger of a flow's schedule.
    Schedule(ScheduleRow),
}

impl Upcoming {
    /// When; `None`: never.
    pub const fn due_at(&self) -> Option<Time> {
        match self {
            Upcoming::Debounced(row) => Some(row.due_at),
            Upcoming::Schedule(row) => row.next_at,
        }
    }
}

/// A page of records.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Newest first.
    pub records: Vec<Arc<Record>>,
    /// What holds those that are queued.
    pub holds: BTreeMap<RecordId, Hold>,
    /// Where to go on, if there may be more.
    pub next: Option<RecordId>,
}

/// A runtime as configured and as it stands.
#[derive(Clone, Debug)]
pub struct RuntimeView {
    /// Its durable row.
    pub runtime: Runtime,
    /// The rows of its models that are held by themselves.
    pub models: Vec<Runtime>,
    /// Attempts allowed at once.
    pub concurrency: u32,
    /// Attempts outstanding.
    pub outstanding: u32,
    /// Records waiting in its queue.
    pub queued: u64,
}

/// Counts by state; finished ones since the store was made.
pub type Counts = BTreeMap<StateName, u64>;

/// How things are.
#[derive(Clone, Debug)]
pub struct Status {
    /// The engine's now.
    pub now: Time,
    /// Records by state.
    pub counts: Counts,
    /// All that were ever admitted.
    pub admitted: u64,
    /// Attempts ever started.
    pub attempts_started: u64,
    /// Attempts ended, one way or another.
    pub attempts_ended: u64,
    /// Attempts outstanding.
    pub outstanding: u64,
    /// The next moment at which time alone moves something.
    pub next_deadline: Option<Time>,
    /// Set while the engine starts nothing because it is about to stop.
    pub draining_until: Option<Time>,
    /// Drained scopes.
    pub drains: Vec<Drain>,
    /// Ticks since open.
    pub ticks: u64,
    /// Commits since open.
    pub commits: u64,
    /// Room on the store's disk, if it is known.
    pub space: Option<Space>,
    /// The burst gate and its drainer.
    pub burst: BurstStatus,
}

impl Status {
    /// Of this and another shard together.
    #[must_use]
    pub fn joined(mut self, other: Status) -> Status {
        let add = |known: &mut Counts, more: Counts| {
            for (state, count) in more {
                *known.entry(state).or_default() += count;
            }
        };
        add(&mut self.counts, other.counts);
        for (decision, count) in other.burst.decisions {
            *self.burst.decisions.entry(decision).or_default() += count;
        }
        let new = |drain: &Drain| !self.drains.iter().any(|known| known.scope == drain.scope);
        let drains: Vec<Drain> = other.drains.into_iter().filter(new).collect();
        self.drains.extend(drains);
        let earlier = [self.next_deadline, other.next_deadline].into_iter().flatten().min();
        Status {
            now: self.now.max(other.now),
            admitted: self.admitted + other.admitted,
            attempts_started: self.attempts_started + other.attempts_started,
            attempts_ended: self.attempts_ended + other.attempts_ended,
            outstanding: self.outstanding + other.outstanding,
            next_deadline: earlier,
            draining_until: self.draining_until.max(other.draining_until),
            ticks: self.ticks + other.ticks,
            commits: self.commits + other.commits,
            burst: BurstStatus {
                queued: self.burst.queued + other.burst.queued,
                released: self.burst.released + other.burst.released,
                tripped: self.burst.tripped + other.burst.tripped,
                ..self.burst
            },
            ..self
        }
    }
}

impl RuntimeView {
    /// Of this and another shard together.
    pub fn join(&mut self, other: RuntimeView) {
        self.runtime = self.runtime.clone().learned(&other.runtime);
        self.runtime.paused_until = self.runtime.paused_until.max(other.runtime.paused_until);
        self.outstanding += other.outstanding;
        self.queued += other.queued;
        let new = |model: &Runtime| !self.models.iter().any(|known| known.name == model.name);
        let models: Vec<Runtime> = other.models.into_iter().filter(new).collect();
        self.models.extend(models);
    }
}

/// The burst gate and its drainer.
#[derive(Clone, Debug, Default)]
pub struct BurstStatus {
    /// The gate's decisions since open.
    pub decisions: BTreeMap<(Outcome, Option<Reason>), u64>,
    /// Records in the burst lane.
    pub queued: u64,
    /// Records released from it that wait for their start or are outstanding.
    pub released: u64,
    /// Envs whose triggers are diverted now, or would be if their org took part.
    pub tripped: u64,
}
