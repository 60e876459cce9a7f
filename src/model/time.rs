//! Absolute time, in milliseconds of UTC. There is no clock here: `now` is always an argument.

use std::time::Duration;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The first moment there is.
    pub const ZERO: Time = Time(0);
    /// The last moment that has an RFC 3339 form: 9999-12-31T23:59:59.999Z.
    pub const MAX: Time = Time(253_402_300_799_999);

    /// From milliseconds since the epoch; later than [`Time::MAX`] is [`Time::MAX`].
    pub const fn from_millis(millis: u64) -> Time {
        if millis > Self::MAX.0 { Self::MAX } else { Time(millis) }
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// This moment plus `span`, at most [`Time::MAX`].
    #[must_use]
    pub fn after(self, span: Duration) -> Time {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Time::from_millis(self.0.saturating_add(millis))
    }

    /// How long from `self` until `later`; zero if it is not later.
    pub const fn until(self, later: Time) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}
