//! From what was asked for to a record in its first state.

use std::sync::Arc;

use crate::model::{Action, Cause, Lane, Policy, Record, State, Streaks, Submission, Terms, Time, Work};

/// The record of a submission, at place `order` of the queue. One that can never be carried out is dead-lettered at
/// once, so that it is seen.
pub fn admit(submission: Submission, order: u64, now: Time, policy: &Policy) -> (Record, Work) {
    let state = match submission.invalid {
        Some(_) => State::DeadLettered { at: now, cause: Cause::Invalid },
        None => State::Queued { lane: Lane::Ready },
    };
    let queue = match &submission.work.action {
        Action::Worker { queue } => Some(queue.clone()),
        Action::Command { .. } | Action::Agent { .. } | Action::Http(_) => None,
    };
    let terms = Terms {
        org: submission.org,
        env: submission.env,
        key: submission.key,
        flow: submission.flow,
        trigger: submission.trigger,
        rerun_of: submission.rerun_of,
        runtime: submission.runtime,
        retry: submission.retry.unwrap_or(policy.retry),
        queue,
        model: submission.model,
        group: submission.group,
        about: submission.about,
    };
    let record = Record {
        id: submission.id,
        terms: Arc::new(terms),
        order,
        created_at: now,
        updated_at: now,
        expires_at: submission.expires.map(|span| now.after(span)),
        attempt: 0,
        streaks: Streaks::default(),
        budget: submission.budget.fresh(),
        timeouts: submission.timeouts.unwrap_or(policy.timeouts),
        started_at: None,
        shadow: false,
        session: None,
        last_error: submission.invalid,
        result: None,
        state,
    };
    (record, submission.work)
}

/// A record just admitted, as a flow in shadow leaves it: what would have been done, and over. One that could not be
/// carried out keeps the fault, and is no dead letter, since nothing waits for an operator.
pub fn shadow(record: Record, now: Time) -> Record {
    Record { state: State::Completed { at: now }, shadow: true, ..record }
}

/// A record that was made at an earlier moment and has waited outside every queue since, as if it were made now.
pub fn admit_held(record: Record, order: u64, now: Time) -> Record {
    let state = match record.state {
        State::DeadLettered { cause, .. } => State::DeadLettered { at: now, cause },
        State::Queued { .. }
        | State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => record.state,
    };
    let waited = record.created_at.until(now);
    let expires_at = record.expires_at.map(|at| at.after(waited));
    Record { order, created_at: now, updated_at: now, expires_at, state, ..record }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::queued;
    use super::*;

    fn at(minutes: u64) -> Time {
        Time::from_millis(1_000_000_000_000).after(Duration::from_mins(minutes))
    }

    #[test]
    fn in_shadow_a_record_is_over_at_once_and_says_so() {
        let shown = shadow(queued(), at(1));
        assert_eq!(shown, Record { state: State::Completed { at: at(1) }, shadow: true, ..queued() });
    }

    #[test]
    fn what_was_held_is_admitted_as_if_it_were_made_then() {
        let waiting = Record { expires_at: Some(at(60)), ..queued() };
        let admitted = admit_held(waiting, 7, at(5));
        let moments = (admitted.created_at, admitted.updated_at, admitted.expires_at);
        assert_eq!(moments, (at(5), at(5), Some(at(65))));
        assert_eq!((admitted.order, admitted.state), (7, queued().state));

        let invalid = Record { state: State::DeadLettered { at: at(0), cause: Cause::Invalid }, ..queued() };
        let dead = admit_held(invalid, 7, at(5)).state;
        assert_eq!(dead, State::DeadLettered { at: at(5), cause: Cause::Invalid });
    }
}
