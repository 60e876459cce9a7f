//! What time alone does, and what a crash does.

use std::time::Duration;

use super::attempt::{Count, counted, dead, failed};
use super::{Next, budget, illegal, moved};
use crate::model::{Cause, Fault, Lane, Policy, Record, Rejected, State, Streak, Time, code};

/// The deadline is due (a deadline equal to now is). Refused before it: no timer fires early.
pub(super) fn elapsed(record: &Record, now: Time, policy: &Policy) -> Result<Next, Rejected> {
    let hint = match record.deadline() {
        Some(deadline) if deadline <= now => return Ok(Next::to(due(record, now, policy))),
        Some(_) => "its deadline is not due",
        None => "it has no deadline",
    };
    Err(illegal(record, "elapse", hint))
}

fn due(record: &Record, now: Time, policy: &Policy) -> Record {
    match record.state {
        State::Queued { .. } => {
            let fault = Fault::new(code::EXPIRED, "it was not started before it expired");
            dead(record, Cause::Expired, Some(&fault), now)
        }
        // What its budget makes of the time it took ends it.
        State::Active { ends_at, .. }
            if ends_at <= now && budget::wall_left(record, now) == Some(Duration::ZERO) =>
        {
            requeued(record)
        }
        State::Active { ends_at, .. } if ends_at <= now => {
            let fault = Fault::new(code::ATTEMPT_TIMEOUT, "the attempt reached its time bound");
            failed(record, &fault, &record.retry.curve, now)
        }
        State::Active { .. } => {
            let fault = Fault::new(code::LEASE_EXPIRED, "no sign of life within the lease");
            let rule = Count { streak: Streak::Lost, max: policy.lost_max, cause: Cause::Lost };
            counted(record, rule, &fault, now, |_| None)
        }
        State::RateLimited { .. } | State::Backoff { .. } | State::Draining { .. } => requeued(record),
        // No deadline, so never due.
        State::DeadLettered { .. } | State::Completed { .. } | State::Cancelled { .. } => record.clone(),
    }
}

/// The engine that held the attempt is gone: back to its place, never counted.
pub(super) fn interrupted(record: &Record) -> Result<Next, Rejected> {
    if !record.state.outstanding() {
        return Err(illegal(record, "interrupt", "no attempt is outstanding"));
    }
    let fault = Fault::new(code::INTERRUPTED, "dwell stopped while the attempt was outstanding");
    Ok(Next::to(Record { last_error: Some(fault), ..requeued(record) }))
}

fn requeued(record: &Record) -> Record {
    moved(record, State::Queued { lane: Lane::Ready })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::step;
    use crate::machine::testing::queued;
    use crate::model::{Budget, Event, Measure, Meter, Streaks};

    const T0: Time = Time::from_millis(1_000_000_000_000);

    fn active(record: &Record) -> Record {
        step(record, &Event::Dispatch, T0, &Policy::default()).unwrap().record
    }

    #[test]
    fn an_attempt_that_its_budget_of_time_ends_is_no_failure_of_which_one_more_were_too_many() {
        let budget = Budget::default().with(Measure::Wall, Meter { limit: Some(60_000), ..Meter::default() });
        let streaks = Streaks::from_counts([queued().retry.attempts - 1; Streak::ALL.len()]);
        let record = active(&Record { streaks, budget, ..queued() });
        let now = T0.after(Duration::from_mins(1));
        let ended = step(&record, &Event::Elapsed, now, &Policy::default()).unwrap().record;
        assert_eq!(ended.state.cause(), Some(Cause::BudgetExhausted));
    }

    #[test]
    fn an_attempt_that_a_crash_ended_says_so_and_counts_nothing() {
        let record = interrupted(&active(&queued())).unwrap().record;
        assert_eq!(record.last_error.map(|fault| fault.code), Some(code::INTERRUPTED.into()));
        assert_eq!(record.streaks, Streaks::default());
    }
}
