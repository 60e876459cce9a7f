//! What operators and clients may ask, and drains.

use super::{Next, attempt, illegal, moved};
use crate::model::{Cause, Lane, Record, Rejected, State, Streaks, Time};

/// Ends it for good; what was outstanding is stopped and may report nothing more.
pub(super) fn cancel(record: &Record, now: Time) -> Result<Next, Rejected> {
    match record.state {
        State::Queued { .. }
        | State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::DeadLettered { .. } => Ok(Next::to(moved(record, State::Cancelled { at: now }))),
        State::Completed { .. } | State::Cancelled { .. } => Err(illegal(record, "cancel", "and finished")),
    }
}

/// A newer one of its group is to run instead. What waits for an operator is left to them.
pub(super) fn supersede(record: &Record, now: Time) -> Result<Next, Rejected> {
    match record.state {
        State::Queued { .. }
        | State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::Draining { .. } => Ok(Next::to(moved(record, State::Cancelled { at: now }))),
        State::DeadLettered { .. } => Err(illegal(record, "supersede", "waiting for an operator")),
        State::Completed { .. } | State::Cancelled { .. } => {
            Err(illegal(record, "supersede", "and finished"))
        }
    }
}

/// Ends a wait before its deadline. A running record is refused, so that no turn is run twice.
pub(super) fn resume_now(record: &Record) -> Result<Next, Rejected> {
    let hint = match record.state {
        State::RateLimited { .. } | State::Backoff { .. } => {
            return Ok(Next::to(moved(record, State::Queued { lane: Lane::Ready })));
        }
        State::Active { .. } | State::Draining { .. } => "already running",
        State::Queued { .. } => "waiting for its turn only",
        State::DeadLettered { .. } => "not rate_limited or backoff; use redrive",
        State::Completed { .. } | State::Cancelled { .. } => "and finished",
    };
    Err(illegal(record, "resume", hint))
}

/// Whether a redrive would be accepted.
pub fn redrivable(record: &Record) -> bool {
    // Refused at admission: what it would start was never complete.
    let whole = record.attempt > 0 || record.state.cause() != Some(Cause::Invalid);
    whole && matches!(record.state, State::DeadLettered { .. })
}

/// Another life: streaks at 0 and a fresh budget. The attempt number keeps growing, so what the old life still says
/// stays refused; the expiry has had its say.
pub(super) fn redrive(record: &Record) -> Result<Next, Rejected> {
    match record.state {
        State::DeadLettered { .. } if !redrivable(record) => {
            Err(illegal(record, "redrive", "invalid as it was submitted; submit it anew"))
        }
        State::DeadLettered { .. } => Ok(Next::to(Record {
            streaks: Streaks::default(),
            budget: record.budget.fresh(),
            expires_at: None,
            ..moved(record, State::Queued { lane: Lane::Ready })
        })),
        State::Queued { .. }
        | State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => Err(illegal(record, "redrive", "not dead_lettered")),
    }
}

/// The outstanding attempt may finish until then; what waits stays as it is, held by the scope.
pub(super) fn drain(record: &Record, until: Time) -> Result<Next, Rejected> {
    match record.state {
        // A drain is no longer than the attempt's own bound.
        State::Active { ends_at, child, .. } => {
            Ok(Next::to(moved(record, State::Draining { until: until.min(ends_at), child })))
        }
        State::Draining { until: earlier, child } => {
            Ok(Next::to(moved(record, State::Draining { until: until.min(earlier), child })))
        }
        State::Queued { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::DeadLettered { .. } => Ok(Next::to(record.clone())),
        State::Completed { .. } | State::Cancelled { .. } => Err(illegal(record, "drain", "and finished")),
    }
}

/// The attempt goes on under a fresh lease.
pub(super) fn undrain(record: &Record, now: Time) -> Result<Next, Rejected> {
    match record.state {
        State::Draining { child, .. } => Ok(Next::to(moved(record, attempt::active(record, now, child)))),
        State::Queued { .. } => Ok(Next::to(record.clone())),
        State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => Err(illegal(record, "undrain", "not draining or queued")),
    }
}
