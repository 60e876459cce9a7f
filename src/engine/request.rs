//! What may be asked of the engine, and what it answers. Reads go the same way as writes, so an answer never shows
//! what is not yet durable.

use std::collections::BTreeMap;
use std::time::Duration;

use super::claims::{Claim, Claimed, QueueView};
use super::drains::DrainView;
use super::envs::{EnvFilter, EnvPage};
use super::hold::Hold;
use super::settings::RERUN_BYTES;
use super::why::{Asked, Why};
use crate::model::{
    Action, Cause, Command, Drain, Fingerprint, IdRange, Kind, Measure, Meter, Missing, Mode, Name, Origin,
    Pace, Record, RecordId, Redrive, RedriveId, Rejected, Report, Runtime, Scope, Standing, StateName,
    Submission, Time, Trigger, TriggerId, Work,
};
use crate::pace::{Outcome, Reason};
use crate::store::{Debounced, Durable, ScheduleRow};

/// One request with the way back.
pub struct Arrival {
    /// What is asked.
    pub request: Request,
    /// Called once, after the commit that decided it.
    pub reply: Reply,
}

/// Where an answer goes.
pub type Reply = Box<dyn FnOnce(Durable<Result<Answer, Rejected>>) + Send>;

/// Everything that can be asked.
#[derive(Debug)]
pub enum Request {
    /// Admit a session -> [`Answer::Admitted`].
    Submit(Box<Submission>),
    /// Admit a trigger and the runs it makes, in one commit -> [`Answer::Triggered`].
    Trigger {
        /// What was accepted.
        trigger: Box<Trigger>,
        /// What the flows that match it make of it.
        runs: Vec<Submission>,
        /// Admit it however many are queued: who sends it never tries again.
        spool: bool,
    },
    /// Cancel, resume or redrive -> [`Answer::Record`].
    Command {
        /// Whose.
        id: RecordId,
        /// What.
        command: Command,
    },
    /// A report about an attempt -> [`Answer::Record`].
    Report {
        /// Whose.
        id: RecordId,
        /// Which attempt.
        attempt: u32,
        /// What.
        report: Report,
    },
    /// Take mutating calls from a budget -> [`Answer::Charged`].
    Charge {
        /// Whose.
        id: RecordId,
        /// Which attempt.
        attempt: u32,
        /// How many.
        calls: u32,
    },
    /// Give a record more of what its budget bounds -> [`Answer::Record`].
    TopUp {
        /// Whose.
        id: RecordId,
        /// Of what.
        measure: Measure,
        /// How much more, in the measure's units.
        amount: u64,
    },
    /// Let nothing start on a runtime until then ([`Time::MAX`]: until resumed) -> [`Answer::Runtime`].
    PauseRuntime {
        /// Its name.
        name: Name,
        /// Of this model only.
        model: Option<Name>,
        /// Until when.
        until: Time,
    },
    /// End both kinds of pause of a runtime -> [`Answer::Runtime`].
    ResumeRuntime {
        /// Its name.
        name: Name,
        /// Those of this model; `None`: those of the account. The others stay.
        model: Option<Name>,
    },
    /// One record with its work -> [`Answer::Detail`].
    Get {
        /// Whose.
        id: RecordId,
    },
    /// The ids in a range, at most `limit` -> [`Answer::Ids`].
    Resolve {
        /// From a prefix.
        range: IdRange,
        /// At most.
        limit: usize,
    },
    /// Records, newest first -> [`Answer::Page`].
    List(Filter),
    /// Accepted triggers, newest first -> [`Answer::Triggers`].
    Triggers {
        /// At most.
        limit: usize,
    },
    /// The first two accepted triggers of a range of ids, both ends included -> [`Answer::Triggers`].
    FindTriggers {
        /// From.
        low: TriggerId,
        /// To.
        high: TriggerId,
    },
    /// Every configured runtime -> [`Answer::Runtimes`].
    Runtimes,
    /// Counts and deadlines -> [`Answer::Status`].
    Status,
    /// Start nothing more; outstanding attempts may finish until then -> [`Answer::Status`].
    Drain {
        /// The deadline.
        until: Time,
    },
    /// Hold a scope; attempts outstanding in it may finish for so long -> [`Answer::Drain`].
    DrainScope {
        /// What.
        scope: Scope,
        /// `None`: the configured time.
        timeout: Option<Duration>,
    },
    /// Let a drained scope go -> [`Answer::Drain`], as it was.
    UndrainScope {
        /// What.
        scope: Scope,
    },
    /// Every drained scope -> [`Answer::Drains`].
    Drains,
    /// Let a worker carry attempts out -> [`Answer::Claimed`], once there are some or its wait is over.
    Claim(Box<Claim>),
    /// The queues of workers -> [`Answer::Queues`].
    Queues,
    /// What waits and runs in each env -> [`Answer::Envs`].
    Envs(EnvFilter),
    /// What keeps it from starting -> [`Answer::Why`].
    Why(Asked),
    /// Admit what a record was asked for once more, as a record of its own without a key -> [`Answer::Admitted`].
    Rerun {
        /// Whose, in any state.
        id: RecordId,
        /// The new record's id, of the same kind.
        fresh: RecordId,
    },
    /// The dead letters in groups, the largest first -> [`Answer::Groups`].
    Groups {
        /// At most.
        limit: usize,
    },
    /// Give many dead letters another life, in one commit -> [`Answer::Redriven`].
    RedriveMany(Box<Redrives>),
    /// Name a mode -> [`Answer::Flipped`].
    Flip(Box<Flip>),
    /// Every loaded flow and its mode -> [`Answer::Modes`].
    Modes,
    /// Give many dead letters another life, so many at a time -> [`Answer::Paced`].
    Pace {
        /// Its own.
        id: RedriveId,
        /// Which; neither by their ids nor by page.
        asked: Box<Redrives>,
        /// How fast.
        pace: Pace,
    },
    /// The paced redrives that are running, by id -> [`Answer::Redrives`].
    Redrives,
    /// End a paced redrive -> [`Answer::Redrives`], with it alone, as it was.
    StopRedrive {
        /// Which.
        id: RedriveId,
    },
    /// Many in one commit, each answered as if it had come alone; a refusal of one leaves the others -> [`Answer::Each`].
    Each(Vec<Request>),
    /// What time alone will admit, the earliest first -> [`Answer::Upcoming`].
    Upcoming {
        /// At most.
        limit: usize,
    },
    /// One that may be sent twice and is to count once -> [`Answer::Told`].
    Once(Box<Once>),
}

/// A request under its caller's idempotency key.
pub struct Once {
    /// A digest of the key and of what it was sent to.
    pub name: [u8; 32],
    /// A digest of what was asked.
    pub fingerprint: [u8; 32],
    /// What is asked.
    pub request: Request,
    /// What the caller is told, so that it can be kept in the same commit: pure, and quick.
    pub tell: Tell,
}

/// From an answer to a status and a body.
pub type Tell = Box<dyn FnOnce(Answer) -> (u16, Vec<u8>) + Send>;

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Once").field(&self.request).finish()
    }
}

impl Request {
    /// About how much of a commit it fills.
    pub(super) fn bytes(&self) -> usize {
        let of = |submission: &Submission| {
            let action = match &submission.work.action {
                Action::Command { argv, .. } => argv.iter().map(String::len).sum(),
                Action::Agent { prompt, .. } => prompt.len(),
                Action::Http(request) => request.url.len(),
                Action::Worker { queue } => queue.len(),
            };
            submission.work.payload.len() + action
        };
        match self {
            Request::Submit(submission) => of(submission),
            Request::Each(requests) => requests.iter().map(Request::bytes).sum(),
            Request::Once(once) => once.request.bytes(),
            // What it repeats is on the disk.
            Request::Rerun { .. } => RERUN_BYTES,
            Request::Trigger { trigger, runs, spool: _ } => {
                trigger.payload.len() + runs.iter().map(of).sum::<usize>()
            }
            Request::Command { .. }
            | Request::Report { .. }
            | Request::Charge { .. }
            | Request::TopUp { .. }
            | Request::PauseRuntime { .. }
            | Request::ResumeRuntime { .. }
            | Request::Get { .. }
            | Request::Resolve { .. }
            | Request::List(_)
            | Request::Triggers { .. }
            | Request::FindTriggers { .. }
            | Request::Upcoming { .. }
            | Request::Runtimes
            | Request::Status
            | Request::Groups { .. }
            | Request::RedriveMany(_)
            | Request::DrainScope { .. }
            | Request::UndrainScope { .. }
            | Request::Drains
            | Request::Why(_)
            | Request::Envs(_)
            | Request::Flip(_)
            | Request::Modes
            | Request::Pace { .. }
            | Request::Redrives
            | Request::StopRedrive { .. }
            | Request::Claim(_)
            | Request::Queues
            | Request::Drain { .. } => 0,
        }
    }
}

/// Which records to list. Every `None` matches all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Sessions or runs.
    pub kind: Option<Kind>,
    /// In this state.
    pub state: Option<StateName>,
    /// Of this tenant.
    pub org: Option<String>,
    /// Of this environment.
    pub env: Option<String>,
    /// Of this flow.
    pub flow: Option<String>,
    /// On this runtime.
    pub runtime: Option<String>,
    /// With this key.
    pub key: Option<String>,
    /// Dead-lettered for this.
    pub cause: Option<Cause>,
    /// With this label of this value.
    pub label: Option<Box<(String, String)>>,
    /// Recorded in shadow, or not.
    pub shadow: Option<bool>,
    /// Dead-lettered with an error of this kind.
    pub fingerprint: Option<Fingerprint>,
    /// Older than this id (the cursor).
    pub before: Option<RecordId>,
    /// At most this many, and never more than [`Filter::LIMIT_MAX`].
    pub limit: usize,
}

impl Filter {
    /// The longest page.
    pub const LIMIT_MAX: usize = 1_000;

    /// Whether it lets only dead letters through by what it says of them.
    pub(super) const fn is_of_the_dead(&self) -> bool {
        self.cause.is_some() || self.fingerprint.is_some()
    }
}

/// Which dead letters to redrive.
#[derive(Clone, Debug, Default)]
pub struct Redrives {
    /// Of these only; at most [`Filter::LIMIT_MAX`], and then the filter's limit and cursor do not count.
    pub ids: Option<Vec<RecordId>>,
    /// Of these only; its state is given.
    pub filter: Filter,
    /// Dead by then.
    pub dead_by: Option<Time>,
    /// Say which, and leave them as they are.
    pub dry_run: bool,
}

/// A mode to be named.
#[derive(Clone, Debug)]
pub struct Flip {
    /// Where.
    pub target: Target,
    /// Go live however long a flow has been in shadow.
    pub force: bool,
    /// What flows need to act and is not there, of all flows.
    pub missing: Vec<Missing>,
}

/// Where a mode is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// For all flows whose own mode nobody named.
    Global(Mode),
    /// For one flow; `None` takes back what was named.
    Flow(Name, Option<Mode>),
}

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
    Record(Box<Record>),
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
    /// The queues with records or claims, or claimed from since open; by name, at most [`Filter::LIMIT_MAX`].
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
    /// What the caller of a [`Request::Once`] is told, now or before.
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
    pub record: Record,
    /// What was asked for.
    pub work: Work,
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
    pub records: Vec<Record>,
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
    /// The burst gate and its drainer.
    pub burst: BurstStatus,
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
}
