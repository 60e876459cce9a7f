//! Provider windows: from what was reported to a moment that can be waited for, and which of two holds.

use super::{Next, illegal, moved};
use crate::model::{Lane, Limit, LimitPolicy, LimitReport, Record, Rejected, Reset, Source, State, Time};

/// The moment to wait for: the later of the main reset and the overage reset, the latter only if overage is itself
/// rejected. What cannot be used (no time, the past) is treated as absent, and absent is `estimate`; what lies too far
/// ahead is clamped. No input can strand a record. The text is a warning for the log.
pub fn resolve(report: &LimitReport, now: Time, policy: &LimitPolicy) -> (Limit, Option<String>) {
    let overage = report.overage.as_ref().filter(|overage| overage.rejected).map(|overage| &overage.reset);
    let mut warning = None;
    let mut latest: Option<Time> = None;
    for reset in [Some(&report.reset), overage].into_iter().flatten() {
        match reset {
            Reset::Absent => {}
            Reset::At(time) if *time > now => latest = latest.max(Some(*time)),
            Reset::At(_) => warning = Some("reset time is not in the future, treated as absent".to_owned()),
            Reset::Unusable(text) => {
                warning = Some(format!("reset {text:?} is not a time, treated as absent"));
            }
        }
    }
    let furthest = now.after(policy.max_wait);
    match latest {
        None => (Limit { until: now.after(policy.estimate), source: Source::Estimated }, warning),
        Some(until) if until > furthest => {
            let warning = Some("reset time is further away than limits.max_wait, clamped to it".to_owned());
            (Limit { until: furthest, source: Source::Estimated }, warning)
        }
        Some(until) => (Limit { until, source: Source::Told }, warning),
    }
}

/// Which of two limits of one runtime holds: a told one replaces an estimate and never the reverse; of two alike the
/// later. One that has passed holds nothing.
pub fn merge(held: Option<Limit>, new: Limit, now: Time) -> Limit {
    let Some(held) = held.filter(|held| held.until > now) else {
        return new;
    };
    match (held.source, new.source) {
        (Source::Told, Source::Estimated) => held,
        (Source::Estimated, Source::Told) => new,
        (Source::Told, Source::Told) | (Source::Estimated, Source::Estimated) => {
            if held.until >= new.until {
                held
            } else {
                new
            }
        }
    }
}

/// The window its record waits for is open.
pub(super) fn cleared(record: &Record) -> Result<Next, Rejected> {
    match record.state {
        State::RateLimited { .. } => Ok(Next::to(moved(record, State::Queued { lane: Lane::Ready }))),
        State::Queued { .. }
        | State::Active { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => Err(illegal(record, "limit_cleared", "not rate_limited")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Policy;

    const NOW: Time = Time::from_millis(1_000_000_000_000);

    fn told(until: Time) -> Limit {
        Limit { until, source: Source::Told }
    }

    #[test]
    fn a_reset_now_is_none_and_one_as_far_away_as_may_be_is_taken() {
        let policy = Policy::default().limits;
        let resolved = |at| {
            let report = LimitReport { reset: Reset::At(at), ..LimitReport::default() };
            resolve(&report, NOW, &policy)
        };
        let (limit, warning) = resolved(NOW);
        assert_eq!(limit, Limit { until: NOW.after(policy.estimate), source: Source::Estimated });
        assert!(warning.is_some());
        let furthest = NOW.after(policy.max_wait);
        assert_eq!(resolved(furthest), (told(furthest), None));
    }

    #[test]
    fn a_window_that_ends_now_holds_nothing() {
        let new = Limit { until: NOW.after(Duration::from_secs(1)), source: Source::Estimated };
        assert_eq!(merge(Some(told(NOW)), new, NOW), new);
    }
}
