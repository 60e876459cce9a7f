//! A paced redrive: which dead letters go on living, and how many at a time. Its row is its only memory.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Cause, Fingerprint, RecordId, RedriveId, Time};

/// So many in each period: `10/s`, `5/m`, `100/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many; at least 1, at most [`Pace::COUNT_MAX`].
    pub count: u32,
    /// In how long; at least a second.
    pub period: Duration,
}

impl Pace {
    /// The most in one period.
    pub const COUNT_MAX: u32 = 1_000_000;

    /// What each of so many may take for all of them to keep to it, as far as that can be said: rounded down, and at least
    /// one in the longest period there is.
    #[must_use]
    pub fn part_of(self, parts: u32) -> Pace {
        let whole = self.period.as_secs().max(1) * u64::from(parts.max(1));
        let of = |seconds: u64| Some((u32::try_from(u64::from(self.count) * seconds / whole).ok()?, seconds));
        let accepted = |(count, _): &(u32, u64)| *count <= Pace::COUNT_MAX;
        // Of a longer period less is lost by rounding.
        let longest = PERIODS
            .iter()
            .filter_map(|(_, seconds)| of(*seconds))
            .filter(accepted)
            .max_by_key(|(_, seconds)| *seconds);
        let (count, seconds) = longest.unwrap_or((self.count, self.period.as_secs()));
        Pace { count: count.max(1), period: Duration::from_secs(seconds) }
    }

    /// When the `nth` after the first is due, if the first is due at `from`. Rounded up, so that nothing is early.
    pub fn due(self, from: Time, nth: u64) -> Time {
        let millis = (u128::from(nth) * self.period.as_millis()).div_ceil(u128::from(self.count.max(1)));
        from.after(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// How many are due by `now`, if the first is due at `from`.
    pub fn due_by(self, from: Time, now: Time) -> u64 {
        if now < from {
            return 0;
        }
        let period = self.period.as_millis().max(1);
        let count = from.until(now).as_millis() * u128::from(self.count) / period;
        u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The periods that can be typed.
const PERIODS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

impl FromStr for Pace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let most = Pace::COUNT_MAX;
            format!(
                "{text:?} is no rate: expected 1 to {most} in a second, minute, hour or day, like \"10/s\""
            )
        };
        let (count, period) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.parse().ok().filter(|count| (1..=Pace::COUNT_MAX).contains(count));
        let (_, seconds) = PERIODS.iter().find(|(name, _)| *name == period).ok_or_else(wrong)?;
        Ok(Pace { count: count.ok_or_else(wrong)?, period: Duration::from_secs(*seconds) })
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PERIODS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == self.period) {
            Some((name, _)) => write!(f, "{}/{name}", self.count),
            None => write!(f, "{}/{}s", self.count, self.period.as_secs()),
        }
    }
}

/// A redrive that goes on until it has come to the last dead letter there was when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// Its own.
    pub id: RedriveId,
    /// When it was asked for.
    pub asked_at: Time,
    /// Only what was dead by then; never later than `asked_at`, so that nothing is redriven twice.
    pub dead_by: Time,
    /// Only what died of this.
    pub cause: Option<Cause>,
    /// Only what died with an error of this kind.
    pub fingerprint: Option<Fingerprint>,
    /// Only of this flow.
    pub flow: Option<String>,
    /// Only on this runtime.
    pub runtime: Option<String>,
    /// Only of this tenant.
    pub org: Option<String>,
    /// Only of this environment.
    pub env: Option<String>,
    /// How fast.
    pub pace: Pace,
    /// How many matched when it was asked for.
    pub matched: u64,
    /// Whether there were more than were counted.
    pub uncounted: bool,
    /// How many it has redriven.
    pub redriven: u64,
    /// The last dead letter it has looked at: since when that was dead, and which. They are taken in this order.
    pub cursor: Option<(Time, RecordId)>,
    /// When the first of the current series was due; a series ends where dwell was not running.
    pub from: Time,
    /// How many of the current series are done.
    pub done: u64,
}

impl Redrive {
    /// How late one may be and still count as on time; what was missed beyond it is not made up for.
    pub const LATE_MAX: Duration = Duration::from_secs(1);

    /// As one of so many shards carries it out.
    #[must_use]
    pub fn part_of(&self, shards: u32) -> Redrive {
        Redrive { pace: self.pace_of(shards), ..self.clone() }
    }

    /// Each shard has its part of the pace, but the dead letters of an org are in one.
    fn pace_of(&self, shards: u32) -> Pace {
        if shards > 1 && self.org.is_none() { self.pace.part_of(shards) } else { self.pace }
    }

    /// When the next one is due.
    pub fn next_at(&self) -> Time {
        self.next_at_of(1)
    }

    /// The same where one of so many shards carries it out.
    pub fn next_at_of(&self, shards: u32) -> Time {
        self.pace_of(shards).due(self.from, self.done)
    }

    /// How many are due now.
    pub fn due(&self, now: Time) -> u64 {
        self.pace.due_by(self.from, now).saturating_sub(self.done)
    }

    /// Begins a new series now if the next one is later than `allowed`.
    pub fn forgive(&mut self, now: Time, allowed: Duration) {
        if self.next_at().after(allowed) < now {
            (self.from, self.done) = (now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(org: Option<&str>) -> Redrive {
        Redrive {
            id: RedriveId(1),
            asked_at: AT,
            dead_by: AT,
            cause: None,
            fingerprint: None,
            flow: None,
            runtime: None,
            org: org.map(str::to_owned),
            env: None,
            pace: "16/s".parse().unwrap(),
            matched: 0,
            uncounted: false,
            redriven: 0,
            cursor: None,
            from: AT,
            done: 1,
        }
    }

    #[test]
    fn shards_together_keep_to_its_pace_and_the_one_of_an_org_has_all_of_it() {
        assert_eq!(row(None).part_of(4).next_at(), AT.after(Duration::from_millis(250)));
        assert_eq!(row(None).part_of(1), row(None));
        assert_eq!(row(Some("acme")).part_of(4), row(Some("acme")));
    }

    const AT: Time = Time::from_millis(1_000_000);

    #[test]
    fn a_rate_reads_back_and_what_is_none_is_refused() {
        for text in ["10/s", "5/m", "100/h", "1/d", "1000000/s"] {
            assert_eq!(text.parse::<Pace>().unwrap().to_string(), text);
        }
        for text in ["", "10", "/s", "0/s", "-1/s", "1000001/s", "10/x", "10/2s", "1.5/s"] {
            assert!(text.parse::<Pace>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pace_does_not_drift_and_is_never_early() {
        let pace: Pace = "7/s".parse().unwrap();
        assert_eq!(pace.due(AT, 7), AT.after(Duration::from_secs(1)));
        assert_eq!(pace.due(AT, 7_000_000), AT.after(Duration::from_secs(1_000_000)));
        for nth in 0..20 {
            let due = pace.due(AT, nth);
            assert_eq!(pace.due_by(AT, due), nth + 1, "at its moment");
            assert_eq!(pace.due_by(AT, Time::from_millis(due.millis() - 1)), nth, "just before");
        }
    }
}
