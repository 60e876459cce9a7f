//! The record: what moves. And the work: what was asked for, written once and never again.

use std::collections::BTreeMap;

use super::{Fault, Kind, Name, RecordId, Retry, State, Time, Timeouts, TriggerId, text_enum};

/// One durable state machine. Rewritten whole at each transition, so it holds no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Never reused.
    pub id: RecordId,
    /// Tenant; fairness counts by it.
    pub org: Name,
    /// Environment within the tenant.
    pub env: Name,
    /// The caller's own name for it, unique within org and env while retained.
    pub key: Option<String>,
    /// The flow that made it.
    pub flow: Option<Name>,
    /// The trigger that made it.
    pub trigger: Option<TriggerId>,
    /// The finished or dead record this one repeats.
    pub rerun_of: Option<RecordId>,
    /// The provider account its attempts run on.
    pub runtime: Name,
    /// The place in the queue, given once at admission and kept through every wait.
    pub order: u64,
    /// When it was admitted.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Dead-lettered `expired` if still queued then.
    pub expires_at: Option<Time>,
    /// The number of the latest attempt; 0 before the first. Only grows.
    pub attempt: u32,
    /// Consecutive bad ends by kind.
    pub streaks: Streaks,
    /// Mutating calls it may make; `None` is unlimited.
    pub budget: Option<Budget>,
    /// How failed attempts are retried.
    pub retry: Retry,
    /// The bounds of one attempt.
    pub timeouts: Timeouts,
    /// The provider's session id, to resume with.
    pub session: Option<String>,
    /// How the latest attempt ended, if not well.
    pub last_error: Option<Fault>,
    /// What a `succeeded` report said (bounded).
    pub result: Option<String>,
    /// What it is doing.
    pub state: State,
}

impl Record {
    /// Session or run.
    pub const fn kind(&self) -> Kind {
        self.id.kind
    }
}

/// What was asked for: written once under the record's id, read when an attempt starts and when it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What an attempt does.
    pub action: Action,
    /// JSON text handed to the attempt; empty when there is none.
    pub payload: Vec<u8>,
    /// A line for humans.
    pub task: Option<String>,
    /// The caller's own marks, for filters.
    pub labels: BTreeMap<String, String>,
}

/// What an attempt does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Starts a process from an argv, never through a shell.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// Working directory, else the runtime's.
        cwd: Option<String>,
    },
    /// Starts the runtime's agent with a prompt.
    Agent {
        /// What the agent is asked on its first start.
        prompt: String,
        /// Working directory, else the runtime's.
        cwd: Option<String>,
    },
    /// Sends an HTTP request, the payload as its body.
    Http(HttpRequest),
}

/// A request as it was asked for; what of it can be sent is for the executor to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `http://` or `https://`.
    pub url: String,
    /// One of [`HttpRequest::METHODS`].
    pub method: String,
    /// Beside those that dwell sets.
    pub headers: BTreeMap<String, String>,
}

impl HttpRequest {
    /// The methods there are; the first is that of a request which names none.
    pub const METHODS: [&'static str; 6] = ["POST", "PUT", "PATCH", "GET", "HEAD", "DELETE"];
}

/// A record to be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its id, made by the shell (sessions) or from the trigger (runs).
    pub id: RecordId,
    /// Tenant.
    pub org: Name,
    /// Environment.
    pub env: Name,
    /// The caller's own name for it.
    pub key: Option<String>,
    /// The flow that makes it.
    pub flow: Option<Name>,
    /// The trigger that makes it.
    pub trigger: Option<TriggerId>,
    /// The record it repeats.
    pub rerun_of: Option<RecordId>,
    /// The provider account.
    pub runtime: Name,
    /// Mutating calls allowed; `None` is unlimited.
    pub budget: Option<u32>,
    /// How failed attempts are retried; `None` is the policy's.
    pub retry: Option<Retry>,
    /// The bounds of one attempt; `None` is the policy's.
    pub timeouts: Option<Timeouts>,
    /// How long it may stay queued.
    pub expires: Option<std::time::Duration>,
    /// What is asked for.
    pub work: Work,
    /// Set when it can never be carried out as it stands (a template's field is missing): it is admitted
    /// dead-lettered `invalid` with this, so that it is seen.
    pub invalid: Option<Fault>,
}

/// Mutating calls: `used` of `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Taken so far; never more than `limit`.
    pub used: u32,
    /// All there is.
    pub limit: u32,
}

/// A child process, known again after a restart: a pid alone may have been given to another process since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// Process id, and the id of its process group.
    pub pid: u32,
    /// Start time in clock ticks after boot (field 22 of `/proc/<pid>/stat`).
    pub started: u64,
    /// The boot it belongs to (the first half of `/proc/sys/kernel/random/boot_id`).
    pub boot: u64,
}

text_enum! {
    /// What is counted in a row.
    Streak {
        /// Handler errors.
        Failed = "failed",
        /// Missing acknowledgements.
        TimedOut = "timed_out",
        /// Busy answers without a hint.
        Throttled = "throttled",
        /// Outcomes that could not be taken in.
        IngestionFailed = "ingestion_failed",
        /// Leases that ran out.
        Lost = "lost",
        /// Transport down: paces the backoff, counts towards nothing.
        Unavailable = "unavailable",
    }
}

/// Consecutive counts. Success and dead-lettering clear all of them, redrive starts them at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streaks([u32; Streak::ALL.len()]);

impl Streaks {
    /// From one count per [`Streak::ALL`], in that order.
    pub const fn from_counts(counts: [u32; Streak::ALL.len()]) -> Streaks {
        Streaks(counts)
    }

    /// One count per [`Streak::ALL`], in that order.
    pub const fn counts(&self) -> [u32; Streak::ALL.len()] {
        self.0
    }

    /// How often in a row.
    pub fn of(&self, streak: Streak) -> u32 {
        self.0.get(streak as usize).copied().unwrap_or(0)
    }

    /// One more; answers the new count.
    pub fn add(&mut self, streak: Streak) -> u32 {
        self.0.get_mut(streak as usize).map_or(0, |count| {
            *count = count.saturating_add(1);
            *count
        })
    }
}
