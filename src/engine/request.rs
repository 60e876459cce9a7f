//! What may be asked of the engine. Reads go the same way as writes, so an answer never shows what is not yet durable.

use std::time::Duration;

use super::answer::Answer;
use super::claims::Claim;
use super::envs::EnvFilter;
use super::settings::{RERUN_BYTES, Settings};
use super::why::Asked;
use crate::model::{
    Action, Cause, Command, Fingerprint, IdRange, Kind, Measure, Missing, Mode, Name, Pace, RecordId,
    RedriveId, Rejected, Report, Runtime, Scope, StateName, Submission, Time, Trigger, TriggerId,
};
use crate::store::Durable;

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
    /// Go on with other settings -> [`Answer::Modes`], as they are then.
    Reload(Box<Settings>),
    /// What another shard knows of a window -> [`Answer::Runtime`] as it is then.
    Learn(Box<Runtime>),
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
        /// Older than this (the cursor).
        before: Option<TriggerId>,
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
    /// About how many records it changes.
    pub(super) fn changes(&self) -> usize {
        if let Request::Each(requests) = self { requests.len() } else { 1 }
    }

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
            | Request::Reload(_)
            | Request::Learn(_)
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
