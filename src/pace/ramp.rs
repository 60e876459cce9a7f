//! The ramp: how a runtime comes back after a pause. In its first second it may start 1 attempt, in the next 2, then 4,
//! until that is as many as may be outstanding on it; from then on there is no ramp.
//!
//! Pure: the moment it opened, the time and what was started are arguments. That moment is durable, in the runtime's
//! row. What was started is only counted in memory, for the second it belongs to: after a crash that second's share may
//! start once more, and nothing beyond it.

use std::time::Duration;

use crate::model::Time;

/// How long each step lasts.
pub const RAMP_STEP: Duration = Duration::from_secs(1);

/// Where a runtime is in its ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// Attempts that may still start in this step.
    pub left: u32,
    /// When the next step begins.
    pub next: Time,
}

/// What was started in a step, which is known by its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// The end of the step.
    pub until: Time,
    /// How many.
    pub count: u32,
}

/// Where a runtime is that opened at `since` and may have `concurrency` attempts outstanding; `None`: past its ramp.
pub fn ramp(since: Time, now: Time, concurrency: u32, started: Started) -> Option<Ramp> {
    let step = u32::try_from(since.until(now).as_secs() / RAMP_STEP.as_secs()).ok()?;
    let share = 1_u32.checked_shl(step).filter(|share| *share < concurrency)?;
    let next = since.after(RAMP_STEP.saturating_mul(step + 1));
    let count = if started.until == next { started.count } else { 0 };
    Some(Ramp { left: share.saturating_sub(count), next })
}

impl Started {
    /// One more, in the step that ends at `until`.
    #[must_use]
    pub fn one_more(self, until: Time) -> Started {
        let count = if self.until == until { self.count } else { 0 };
        Started { until, count: count.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_700_000_000_000;

    fn at(millis: u64) -> Time {
        Time::from_millis(T + millis)
    }

    fn left(millis: u64, concurrency: u32) -> Option<u32> {
        ramp(at(0), at(millis), concurrency, Started::default()).map(|ramp| ramp.left)
    }

    #[test]
    fn the_share_of_a_second_doubles_until_it_is_the_concurrency() {
        let shares: Vec<_> = (0..7).map(|second| left(second * 1000, 50)).collect();
        assert_eq!(shares, [Some(1), Some(2), Some(4), Some(8), Some(16), Some(32), None]);
        let shares: Vec<_> = (0..4).map(|second| left(second * 1000, 8)).collect();
        assert_eq!(shares, [Some(1), Some(2), Some(4), None]);
    }

    #[test]
    fn one_at_a_time_is_no_ramp_at_all() {
        assert_eq!(left(0, 0), None);
        assert_eq!(left(0, 1), None);
        assert_eq!(left(0, 2), Some(1));
    }

    #[test]
    fn a_step_lasts_a_whole_second_and_says_when_the_next_begins() {
        let step = |millis| ramp(at(0), at(millis), 50, Started::default()).unwrap();
        assert_eq!(step(0), Ramp { left: 1, next: at(1000) });
        assert_eq!(step(999), Ramp { left: 1, next: at(1000) });
        assert_eq!(step(1000), Ramp { left: 2, next: at(2000) });
    }

    #[test]
    fn what_was_started_counts_in_its_own_second_only() {
        let started = Started::default().one_more(at(2000)).one_more(at(2000));
        assert_eq!(ramp(at(0), at(1999), 50, started), Some(Ramp { left: 0, next: at(2000) }));
        assert_eq!(ramp(at(0), at(2000), 50, started), Some(Ramp { left: 4, next: at(3000) }));
        assert_eq!(started.one_more(at(3000)), Started { until: at(3000), count: 1 });
    }

    #[test]
    fn a_pause_that_begins_anew_ramps_from_one_again() {
        let started = Started { until: at(3000), count: 4 };
        assert_eq!(ramp(at(2500), at(2600), 50, started), Some(Ramp { left: 1, next: at(3500) }));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        assert_eq!(left(31_000, u32::MAX), Some(1 << 31));
        assert_eq!(left(32_000, u32::MAX), None);
        assert_eq!(ramp(Time::ZERO, Time::MAX, u32::MAX, Started::default()), None);
        assert_eq!(ramp(at(5000), at(0), 50, Started::default()).map(|ramp| ramp.left), Some(1));
    }
}
