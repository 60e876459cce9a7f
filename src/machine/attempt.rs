//! Attempts: their start, and what is reported about them.

use std::time::Duration;

use super::{Next, RuntimeChange, backoff, budget, illegal, limit, moved};
use crate::model::{
    Cause, Child, Curve, Fault, Lane, LimitReport, Policy, Record, Rejected, Report, State, Streak, Streaks,
    Time, Timeouts, bounded, code,
};

/// The engine's turn: attempt+1 under a fresh lease.
pub(super) fn dispatch(record: &Record, now: Time) -> Result<Next, Rejected> {
    if record.queue.is_some() {
        return Err(illegal(record, "dispatch", "for a worker to claim"));
    }
    started(record, "dispatch", now)
}

/// A worker's turn: as a dispatch, under the lease it asked for; each sign of life renews that.
pub(super) fn claim(record: &Record, lease: Duration, now: Time) -> Result<Next, Rejected> {
    if record.queue.is_none() {
        return Err(illegal(record, "claim", "not for workers"));
    }
    let timeouts = Timeouts { silence: Some(lease), ..record.timeouts };
    started(&Record { timeouts, ..record.clone() }, "claim", now)
}

fn started(record: &Record, event: &'static str, now: Time) -> Result<Next, Rejected> {
    match record.state {
        State::Queued { lane: Lane::Ready } => {
            let state = active(record, now, None);
            let attempt = record.attempt.saturating_add(1);
            Ok(Next::to(Record { attempt, started_at: Some(now), ..moved(record, state) }))
        }
        State::Queued { lane: Lane::Burst } => Err(illegal(record, event, "but in the burst lane")),
        State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => Err(illegal(record, event, "not queued")),
    }
}

/// An active state whose attempt begins (or begins anew) at `now`.
pub(super) fn active(record: &Record, now: Time, child: Option<Child>) -> State {
    let ends_at = now.after(bound(record, record.timeouts.attempt, now));
    State::Active { lease_until: lease(record, now, ends_at), ends_at, child }
}

/// An active record goes on until its attempt's own bound, if it was given time enough.
pub(super) fn prolonged(record: Record, now: Time) -> Record {
    let State::Active { ends_at, child, .. } = record.state else { return record };
    let rest = now.until(record.started_at.unwrap_or(now).after(record.timeouts.attempt));
    let ends_at = ends_at.max(now.after(bound(&record, rest, now)));
    let state = State::Active { lease_until: lease(&record, now, ends_at), ends_at, child };
    Record { state, ..record }
}

/// A span, or what its budget leaves of it.
fn bound(record: &Record, span: Duration, now: Time) -> Duration {
    budget::wall_left(record, now).map_or(span, |left| left.min(span))
}

fn lease(record: &Record, now: Time, ends_at: Time) -> Time {
    record.timeouts.silence.map_or(ends_at, |silence| now.after(silence).min(ends_at))
}

/// Refuses whatever names an attempt that is not outstanding.
pub(super) fn fence(record: &Record, attempt: u32) -> Result<(), Rejected> {
    if record.state.outstanding() && record.attempt == attempt {
        return Ok(());
    }
    Err(Rejected::StaleAttempt {
        id: record.id,
        named: attempt,
        latest: record.attempt,
        state: record.state.name(),
    })
}

/// What a report makes of the record. A draining record takes reports like an active one; what it becomes is held by
/// the drained scope, not by the record.
pub(super) fn report(
    record: &Record,
    attempt: u32,
    report: &Report,
    now: Time,
    policy: &Policy,
) -> Result<Next, Rejected> {
    fence(record, attempt)?;
    if let Some(fault) = budget::ended_on_it(record, report) {
        return Ok(Next::to(dead(record, Cause::BudgetExhausted, Some(fault), now)));
    }
    Ok(match report {
        // Its lease begins anew: it may have waited for an earlier attempt to be gone.
        Report::Spawned { child, session } => {
            return spawned(&alive(record, now), *child, session.as_deref());
        }
        Report::Heartbeat => Next::to(alive(record, now)),
        Report::Usage(usage) => Next::to(budget::used(&alive(record, now), usage)),
        Report::Session { id } => Next::to(Record { session: Some(bounded(id)), ..alive(record, now) }),
        Report::Succeeded { result } => Next::to(Record {
            streaks: Streaks::default(),
            last_error: None,
            result: result.as_deref().map(bounded),
            ..moved(record, State::Completed { at: now })
        }),
        Report::Failed(fault) => Next::to(failed(record, fault, &record.retry.curve, now)),
        Report::NotResumable(fault) => {
            Next::to(Record { session: None, ..failed(record, fault, &policy.resume, now) })
        }
        Report::TimedOut(fault) => {
            let rule = Count { streak: Streak::TimedOut, max: policy.timed_out_max, cause: Cause::TimedOut };
            Next::to(counted(record, rule, fault, now, |_| None))
        }
        Report::Throttled(fault) => {
            let rule =
                Count { streak: Streak::Throttled, max: policy.throttled_max, cause: Cause::Throttled };
            Next::to(counted(record, rule, fault, now, |_| Some(policy.throttled_wait)))
        }
        Report::IngestionFailed(fault) => {
            let cause = Cause::IngestionFailed;
            let rule = Count { streak: Streak::IngestionFailed, max: policy.ingestion_max, cause };
            Next::to(counted(record, rule, fault, now, |_| Some(policy.ingestion_wait)))
        }
        Report::Unavailable(fault) => Next::to(unavailable(record, fault, policy, now)),
        Report::RateLimited(reported, fault) => rate_limited(record, reported, fault, now, policy),
        Report::LimitWarning(reported) => {
            let (limit, warning) = limit::resolve(reported, now, &policy.limits);
            Next { record: alive(record, now), runtime: Some(RuntimeChange::Limited(limit)), warning }
        }
        Report::LimitCleared => {
            Next { runtime: Some(RuntimeChange::Cleared), ..Next::to(alive(record, now)) }
        }
        Report::Invalid(fault) => Next::to(dead(record, Cause::Invalid, Some(fault), now)),
        Report::NeedsOperator(fault) => Next::to(dead(record, Cause::NeedsOperator, Some(fault), now)),
    })
}

/// The child is known from here on; a second child of one attempt is refused.
fn spawned(record: &Record, new: Child, session: Option<&str>) -> Result<Next, Rejected> {
    let mut state = record.state.clone();
    match &mut state {
        State::Active { child: slot @ None, .. } | State::Draining { child: slot @ None, .. } => {
            *slot = Some(new);
        }
        State::Active { .. }
        | State::Draining { .. }
        | State::Queued { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => {
            return Err(illegal(record, "spawned", "this attempt has a child already"));
        }
    }
    let session = session.map(bounded).or_else(|| record.session.clone());
    Ok(Next::to(Record { session, ..moved(record, state) }))
}

/// A sign of life: the lease moves, if by enough to be worth a write (a tenth of it). A drain's deadline does not.
fn alive(record: &Record, now: Time) -> Record {
    let State::Active { lease_until, ends_at, child } = record.state else {
        return record.clone();
    };
    let extended = lease(record, now, ends_at);
    let worth = record.timeouts.silence.unwrap_or_default() / 10;
    if extended < lease_until.after(worth) {
        return record.clone();
    }
    moved(record, State::Active { lease_until: extended, ends_at, child })
}

pub(super) fn failed(record: &Record, fault: &Fault, curve: &Curve, now: Time) -> Record {
    let rule = Count { streak: Streak::Failed, max: record.retry.attempts, cause: Cause::AttemptsExhausted };
    counted(record, rule, fault, now, |count| Some(backoff::wait(curve, count.saturating_sub(1), record)))
}

fn unavailable(record: &Record, fault: &Fault, policy: &Policy, now: Time) -> Record {
    let mut streaks = record.streaks;
    let count = streaks.add(Streak::Unavailable);
    let wait = backoff::wait(&policy.unavailable, count.saturating_sub(1), record);
    let state = State::Backoff { until: now.after(wait), streak: Streak::Unavailable };
    Record { streaks, last_error: Some(fault.clone()), ..moved(record, state) }
}

fn rate_limited(record: &Record, reported: &LimitReport, fault: &Fault, now: Time, policy: &Policy) -> Next {
    let (limit, warning) = limit::resolve(reported, now, &policy.limits);
    let until = limit.until.after(backoff::jitter(policy.limits.jitter, record));
    let state = State::RateLimited { until, source: limit.source };
    // One code, whatever the reporter calls it: the resume asks for it.
    let fault = Fault::new(code::RATE_LIMITED, &fault.message);
    let record = Record { last_error: Some(fault), ..moved(record, state) };
    Next { record, runtime: Some(RuntimeChange::Limited(limit)), warning }
}

/// What a kind of bad end counts towards.
#[derive(Clone, Copy)]
pub(super) struct Count {
    pub(super) streak: Streak,
    pub(super) max: u32,
    pub(super) cause: Cause,
}

/// One more bad end in a row: dead-lettered at the bound, else in backoff for `wait(count)`, or queued without one.
pub(super) fn counted(
    record: &Record,
    rule: Count,
    fault: &Fault,
    now: Time,
    wait: impl Fn(u32) -> Option<Duration>,
) -> Record {
    let mut streaks = record.streaks;
    let count = streaks.add(rule.streak);
    if count >= rule.max {
        return dead(record, rule.cause, Some(fault), now);
    }
    let state = match wait(count) {
        Some(wait) => State::Backoff { until: now.after(wait), streak: rule.streak },
        None => State::Queued { lane: Lane::Ready },
    };
    Record { streaks, last_error: Some(fault.clone()), ..moved(record, state) }
}

/// Dead-lettered, with a clean slate for the operator who redrives it.
pub(super) fn dead(record: &Record, cause: Cause, fault: Option<&Fault>, now: Time) -> Record {
    Record {
        streaks: Streaks::default(),
        last_error: fault.cloned().or_else(|| record.last_error.clone()),
        ..moved(record, State::DeadLettered { at: now, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::queued;

    #[test]
    fn a_success_has_its_result_and_nothing_of_the_failures_before_it() {
        let now = Time::from_millis(1_000_000_000_000);
        let policy = Policy::default();
        let failed = Report::Failed(Fault::new("exit_1", "words"));
        let first = dispatch(&queued(), now).unwrap().record;
        let waiting = report(&first, 1, &failed, now, &policy).unwrap().record;
        assert!(waiting.last_error.is_some());
        let second =
            dispatch(&Record { state: State::Queued { lane: Lane::Ready }, ..waiting }, now).unwrap().record;
        let succeeded = Report::Succeeded { result: Some("done".to_owned()) };
        let ended = report(&second, 2, &succeeded, now, &policy).unwrap().record;
        assert_eq!((ended.result.as_deref(), ended.last_error), (Some("done"), None));
        assert_eq!(ended.streaks, Streaks::default());
    }
}
