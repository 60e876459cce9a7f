//! What a transition leaves unsaid of its record, for who watches: metrics, log lines, traces. It leaves the engine
//! with the transition, after the commit. Absent on purpose: watching.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Cause, Event, Lane, Record, State, Terms, Time, text_enum};

text_enum! {
    /// What a record waits for between two attempts, or before the first.
    Wait {
        /// Its turn.
        Queued = "queued",
        /// The burst lane's drainer.
        Burst = "burst",
        /// The provider's window.
        RateLimited = "rate_limited",
        /// The end of a backoff.
        Backoff = "backoff",
        /// An operator.
        DeadLettered = "dead_lettered",
    }
}

/// Beside a transition: whose it was, and what it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The record's.
    pub terms: Arc<Terms>,
    /// Why the record is dead, if this made it a dead letter.
    pub cause: Option<Cause>,
    /// The wait that this ended, and how long it was.
    pub waited: Option<(Wait, Duration)>,
    /// How long after its deadline the record moved, if it was that which moved it.
    pub late: Option<Duration>,
    /// The attempt that this ended, and when it had started.
    pub ended: Option<(u32, Time)>,
}

impl Step {
    /// Of a record that `event` brought from `before` to `after`; without an event nothing was due.
    pub(super) fn of(before: Option<&Record>, after: &Record, event: Option<&Event>, now: Time) -> Step {
        let waits = wait(&after.state);
        let waited = before.and_then(|before| {
            let was = wait(&before.state).filter(|was| Some(*was) != waits)?;
            Some((was, before.updated_at.until(now)))
        });
        let due = event.filter(|event| matches!(event, Event::Elapsed)).and(before);
        let ended = before.filter(|before| ends(before, after));
        let cause =
            after.state.cause().filter(|_| before.is_none_or(|before| before.state.cause().is_none()));
        Step {
            terms: Arc::clone(&after.terms),
            cause,
            waited,
            late: due.and_then(Record::deadline).map(|deadline| deadline.until(now)),
            ended: ended.map(|before| (before.attempt, before.started_at.unwrap_or(before.updated_at))),
        }
    }
}

/// Whether the attempt that was outstanding is over.
pub(super) const fn ends(before: &Record, after: &Record) -> bool {
    before.state.outstanding() && !(after.state.outstanding() && before.attempt == after.attempt)
}

const fn wait(state: &State) -> Option<Wait> {
    match state {
        State::Queued { lane: Lane::Ready } => Some(Wait::Queued),
        State::Queued { lane: Lane::Burst } => Some(Wait::Burst),
        State::RateLimited { .. } => Some(Wait::RateLimited),
        State::Backoff { .. } => Some(Wait::Backoff),
        State::DeadLettered { .. } => Some(Wait::DeadLettered),
        State::Active { .. } | State::Draining { .. } | State::Completed { .. } | State::Cancelled { .. } => {
            None
        }
    }
}
