//! The burst lane: how a record gets in at admission, and out.

use super::{Next, illegal, moved};
use crate::model::{Lane, Record, Rejected, State};

/// A record just admitted, held back in the burst lane; one that was admitted dead-lettered stays what it is.
pub fn divert(record: Record) -> Record {
    match record.state {
        State::Queued { .. } => Record { state: State::Queued { lane: Lane::Burst }, ..record },
        State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => record,
    }
}

/// It waits for its turn like any other now, at the place it was given at admission.
pub(super) fn drained(record: &Record) -> Result<Next, Rejected> {
    match record.state {
        State::Queued { lane: Lane::Burst } => {
            Ok(Next::to(moved(record, State::Queued { lane: Lane::Ready })))
        }
        State::Queued { lane: Lane::Ready }
        | State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => Err(illegal(record, "drain", "not in the burst lane")),
    }
}
