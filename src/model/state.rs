//! The eight states. A deadline lives in the variant that waits for it and nowhere else.

use super::record::{Child, Streak};
use super::{Record, Source, Time, text_enum};

text_enum! {
    /// The name of a state, without what it carries.
    StateName {
        /// Waits for its turn; no attempt outstanding.
        Queued = "queued",
        /// One attempt is outstanding, held by a lease.
        Active = "active",
        /// The provider refused and named (or we estimated) a time.
        RateLimited = "rate_limited",
        /// An attempt ended badly, or its target was down.
        Backoff = "backoff",
        /// One attempt is outstanding and may finish; nothing new starts for it.
        Draining = "draining",
        /// Waits for an operator, not for the clock.
        DeadLettered = "dead_lettered",
        /// Finished well; history.
        Completed = "completed",
        /// Finished by a command; history.
        Cancelled = "cancelled",
    }
}

text_enum! {
    /// Why a record is dead-lettered.
    Cause {
        /// `failed` reached `retry.attempts`.
        AttemptsExhausted = "attempts_exhausted",
        /// Throttled too often in a row.
        Throttled = "throttled",
        /// Unacknowledged too often in a row.
        TimedOut = "timed_out",
        /// Its outcome could not be taken in too often in a row.
        IngestionFailed = "ingestion_failed",
        /// Its attempts were lost too often in a row.
        Lost = "lost",
        /// The target says it can never be done as it stands.
        Invalid = "invalid",
        /// It took all its budget and ended on that.
        BudgetExhausted = "budget_exhausted",
        /// Authentication, billing or a spend cap.
        NeedsOperator = "needs_operator",
        /// It waited in the queue past its expiry.
        Expired = "expired",
    }
}

text_enum! {
    /// Which queue of its env a queued record stands in.
    Lane {
        /// The ordinary one.
        Ready = "ready",
        /// Diverted by the burst gate; released by the drainer.
        Burst = "burst",
    }
}

/// What a record is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its turn. Before the first start its deadline is [`Record::expires_at`], if it has one.
    Queued {
        /// Ready or burst.
        lane: Lane,
    },
    /// One attempt is outstanding.
    Active {
        /// Past this the attempt is presumed lost.
        lease_until: Time,
        /// No heartbeat moves the lease past this: the attempt's time bound.
        ends_at: Time,
        /// The child process, once it is spawned (held, not yet released).
        child: Option<Child>,
    },
    /// Waits for a provider's window.
    RateLimited {
        /// Resume.
        until: Time,
        /// Whether the provider named the time.
        source: Source,
    },
    /// Waits before the next attempt.
    Backoff {
        /// Retry.
        until: Time,
        /// Which streak grew (`Unavailable` is not a count towards anything).
        streak: Streak,
    },
    /// The attempt may finish until the deadline.
    Draining {
        /// The attempt is stopped.
        until: Time,
        /// The child process, once spawned.
        child: Option<Child>,
    },
    /// Waits for an operator.
    DeadLettered {
        /// Since when.
        at: Time,
        /// Why.
        cause: Cause,
    },
    /// Finished well.
    Completed {
        /// When; retention counts from here.
        at: Time,
    },
    /// Cancelled.
    Cancelled {
        /// When; retention counts from here.
        at: Time,
    },
}

impl State {
    /// The state without what it carries.
    pub const fn name(&self) -> StateName {
        match self {
            State::Queued { .. } => StateName::Queued,
            State::Active { .. } => StateName::Active,
            State::RateLimited { .. } => StateName::RateLimited,
            State::Backoff { .. } => StateName::Backoff,
            State::Draining { .. } => StateName::Draining,
            State::DeadLettered { .. } => StateName::DeadLettered,
            State::Completed { .. } => StateName::Completed,
            State::Cancelled { .. } => StateName::Cancelled,
        }
    }

    /// When it finished, if it did.
    pub const fn finished_at(&self) -> Option<Time> {
        match self {
            State::Completed { at } | State::Cancelled { at } => Some(*at),
            State::Queued { .. }
            | State::Active { .. }
            | State::RateLimited { .. }
            | State::Backoff { .. }
            | State::Draining { .. }
            | State::DeadLettered { .. } => None,
        }
    }

    /// The child process of the outstanding attempt, if one was spawned.
    pub const fn child(&self) -> Option<Child> {
        match self {
            State::Active { child, .. } | State::Draining { child, .. } => *child,
            State::Queued { .. }
            | State::RateLimited { .. }
            | State::Backoff { .. }
            | State::DeadLettered { .. }
            | State::Completed { .. }
            | State::Cancelled { .. } => None,
        }
    }

    /// Why it is dead-lettered, if it is.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            State::DeadLettered { cause, .. } => Some(*cause),
            State::Queued { .. }
            | State::Active { .. }
            | State::RateLimited { .. }
            | State::Backoff { .. }
            | State::Draining { .. }
            | State::Completed { .. }
            | State::Cancelled { .. } => None,
        }
    }

    /// Which queue it stands in, if it is queued.
    pub const fn lane(&self) -> Option<Lane> {
        match self {
            State::Queued { lane } => Some(*lane),
            State::Active { .. }
            | State::RateLimited { .. }
            | State::Backoff { .. }
            | State::Draining { .. }
            | State::DeadLettered { .. }
            | State::Completed { .. }
            | State::Cancelled { .. } => None,
        }
    }

    /// Whether an attempt is outstanding.
    pub const fn outstanding(&self) -> bool {
        matches!(self, State::Active { .. } | State::Draining { .. })
    }
}

impl Record {
    /// The moment at which time alone moves this record, if there is one. Purge of finished records follows from
    /// retention and is not among them.
    pub const fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Queued { .. } if self.attempt == 0 => self.expires_at,
            State::Active { lease_until, .. } => Some(lease_until),
            State::RateLimited { until, .. }
            | State::Backoff { until, .. }
            | State::Draining { until, .. } => Some(until),
            State::Queued { .. }
            | State::DeadLettered { .. }
            | State::Completed { .. }
            | State::Cancelled { .. } => None,
        }
    }
}
