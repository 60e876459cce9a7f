//! The record: what moves. And the work: what was asked for, written once and never again.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::{Fault, Kind, Name, RecordId, Retry, State, Time, Timeouts, TriggerId, text_enum};

/// One durable state machine. Rewritten whole at each transition, so it holds no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Never reused.
    pub id: RecordId,
    /// What no transition changes. It reads as if it were the record's own, for which of the two a field is in matters only
    /// to who makes one.
    pub terms: Arc<Terms>,
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
    /// What it has used up, and may.
    pub budget: Budget,
    /// The bounds of one attempt.
    pub timeouts: Timeouts,
    /// When the latest attempt started.
    pub started_at: Option<Time>,
    /// Recorded for what it would have done; it never starts.
    pub shadow: bool,
    /// The provider's session id, to resume with.
    pub session: Option<String>,
    /// How the latest attempt ended, if not well.
    pub last_error: Option<Fault>,
    /// What a `succeeded` report said (bounded).
    pub result: Option<String>,
    /// What it is doing.
    pub state: State,
}

/// What is settled at a record's admission for good: where it comes from and belongs. Shared by all that the record becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
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
    /// How failed attempts are retried.
    pub retry: Retry,
    /// The queue whose claimers carry its attempts out; `None`: an executor of dwell's own does.
    pub queue: Option<Name>,
    /// Which of its runtime's models it asks for; limits may be told apart by it.
    pub model: Option<Name>,
    /// Whom it shares a bound on outstanding attempts with.
    pub group: Option<Group>,
    /// The record this one tells somebody about.
    pub about: Option<RecordId>,
}

impl Deref for Record {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
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
    /// Sent when the record is dead-lettered, as a record of its own.
    pub on_dead_letter: Option<HttpRequest>,
}

impl Work {
    /// The most bytes of [`Work::on_dead_letter`]: a thousand dead letters in a tick are one commit.
    pub const ON_DEAD_LETTER_BYTES_MAX: usize = 16 << 10;

    /// Nothing but what an attempt does.
    pub const fn of(action: Action) -> Work {
        Work { action, payload: Vec::new(), task: None, labels: BTreeMap::new(), on_dead_letter: None }
    }
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
    /// Waits in a queue until somebody claims it.
    Worker {
        /// The queue's name.
        queue: Name,
    },
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

    /// How many bytes its texts have.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.url.len() + self.method.len() + headers.sum::<usize>()
    }
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
    /// What it may use up.
    pub budget: Budget,
    /// How failed attempts are retried; `None` is the policy's.
    pub retry: Option<Retry>,
    /// The bounds of one attempt; `None` is the policy's.
    pub timeouts: Option<Timeouts>,
    /// How long it may stay queued.
    pub expires: Option<Duration>,
    /// Which of the runtime's models it asks for.
    pub model: Option<Name>,
    /// Whom it shares a bound on outstanding attempts with.
    pub group: Option<Group>,
    /// The record it tells somebody about.
    pub about: Option<RecordId>,
    /// It waits until no further trigger of its flow and this key comes, and only the last one counts.
    pub debounce: Option<Debounce>,
    /// Somebody waits for its end, so no burst gate holds it up.
    pub awaited: bool,
    /// What is asked for.
    pub work: Work,
    /// Set when it can never be carried out as it stands (a template's field is missing): it is admitted
    /// dead-lettered `invalid` with this, so that it is seen.
    pub invalid: Option<Fault>,
}

impl Submission {
    /// A session or run with nothing but defaults.
    pub fn of(id: RecordId, runtime: Name, work: Work) -> Submission {
        Submission {
            id,
            org: "default".into(),
            env: "default".into(),
            key: None,
            flow: None,
            trigger: None,
            rerun_of: None,
            runtime,
            budget: Budget::default(),
            retry: None,
            timeouts: None,
            expires: None,
            model: None,
            group: None,
            about: None,
            debounce: None,
            awaited: false,
            work,
            invalid: None,
        }
    }
}

/// How a flow makes one run of a burst of triggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// Which triggers belong together: what the flow's template was filled to.
    pub key: Name,
    /// The run is admitted when none came for so long.
    pub quiet: Duration,
    /// And at the latest so long after the first.
    pub max: Duration,
}

/// A bound on outstanding attempts that records of one flow share by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What the flow's template was filled to.
    pub name: Name,
    /// Attempts outstanding at once.
    pub max: u32,
    /// A newer one cancels the older ones.
    pub cancel_in_progress: bool,
    /// How many may wait; `None` is any number.
    pub queued_max: Option<u32>,
}

text_enum! {
    /// What a budget can bound.
    Measure {
        /// Mutating calls.
        Calls = "calls",
        /// Attempts.
        Attempts = "attempts",
        /// Time with an attempt outstanding, in milliseconds.
        Wall = "wall",
        /// Tokens, as agents report them.
        Tokens = "tokens",
        /// Millionths of a US dollar, as agents report them.
        Cost = "cost_usd",
    }
}

/// How much of one measure: `used` of `limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// So far.
    pub used: u64,
    /// All there is; `None` is any amount.
    pub limit: Option<u64>,
    /// Told to people once it is reached.
    pub soft: Option<u64>,
}

/// What a record may use up, one meter for each measure that is bounded or was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// By [`Measure::ALL`]; absent while there is none, as for most records.
    meters: Option<Arc<[Option<Meter>; Measure::ALL.len()]>>,
    /// When it is used up, ask for more: the record waits for `dwell budget`.
    pub ask: bool,
}

impl Budget {
    /// So many mutating calls and no other bound.
    pub fn calls(limit: u32) -> Budget {
        Budget::default().with(Measure::Calls, Meter { limit: Some(limit.into()), ..Meter::default() })
    }

    /// With this meter in place of what the measure had.
    #[must_use]
    pub fn with(mut self, measure: Measure, meter: Meter) -> Budget {
        if let Some(slot) = Arc::make_mut(self.meters.get_or_insert_default()).get_mut(measure as usize) {
            *slot = Some(meter);
        }
        self
    }

    /// The meter of a measure that is bounded or was used.
    pub fn of(&self, measure: Measure) -> Option<Meter> {
        self.meters.as_ref()?.get(measure as usize).copied().flatten()
    }

    /// What is bounded or was used.
    pub fn meters(&self) -> impl Iterator<Item = (Measure, Meter)> {
        Measure::ALL.iter().filter_map(|measure| Some((*measure, self.of(*measure)?)))
    }

    /// The first measure that is used up and ends an attempt by itself. Calls do not: each charge is refused instead.
    pub fn exhausted(&self) -> Option<(Measure, Meter)> {
        let ends = |(measure, meter): &(Measure, Meter)| {
            *measure != Measure::Calls && meter.limit.is_some_and(|limit| meter.used >= limit)
        };
        self.meters().find(ends)
    }

    /// The same bounds with nothing used.
    #[must_use]
    pub fn fresh(&self) -> Budget {
        let bound = |(_, meter): &(Measure, Meter)| meter.limit.is_some() || meter.soft.is_some();
        let unused = Budget { meters: None, ask: self.ask };
        self.meters()
            .filter(bound)
            .fold(unused, |fresh, (measure, meter)| fresh.with(measure, Meter { used: 0, ..meter }))
    }
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
