//! Text forms of time: RFC 3339 in UTC with milliseconds, humantime durations, and "in 1h 29m" for people.
//!
//! Absent on purpose: any clock; see `clock`.

use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use crate::model::Time;

/// Whole seconds since the epoch stay below this until the year 5138; the same moments in milliseconds are above it
/// since 1973. Providers write both.
const MILLIS_FROM: f64 = 1e11;

/// The text is not a time or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not RFC 3339.
    #[error("{0:?} is not a time: expected RFC 3339 like 2026-11-21T02:10:00Z, or seconds since 1970")]
    Moment(String),
    /// Not a duration.
    #[error("{0:?} is not a duration: expected something like 90s, 1h 30m or 8d, or whole seconds")]
    Span(String),
}

/// `2026-11-21T02:10:00.000Z`.
pub fn format(time: Time) -> String {
    shown(time).to_string()
}

/// The same for who writes it somewhere.
pub fn shown(time: Time) -> impl Display {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(time.millis()))
}

/// Any RFC 3339 moment from 1970 on, with any offset.
pub fn parse(text: &str) -> Result<Time, TimeError> {
    let wrong = || TimeError::Moment(text.to_owned());
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(stamp.as_millisecond()).map(Time::from_millis).map_err(|_| wrong());
    }
    // The last day of 9999 is beyond jiff's timestamps, and Time::MAX is written as it.
    let moment = humantime::parse_rfc3339(text).map_err(|_| wrong())?;
    let since = moment.duration_since(UNIX_EPOCH).map_err(|_| wrong())?;
    Ok(Time::ZERO.after(since))
}

/// A number of seconds, or of milliseconds if it is that large, since the epoch.
pub fn from_epoch(number: f64) -> Option<Time> {
    let millis = if number >= MILLIS_FROM { number } else { number * 1e3 };
    let span = Duration::try_from_secs_f64(millis / 1e3).ok()?;
    Some(Time::ZERO.after(span))
}

/// RFC 3339, a number since the epoch, or `now + span` written as `+90m`.
pub fn parse_relative(text: &str, now: Time) -> Result<Time, TimeError> {
    if let Some(span) = text.strip_prefix('+') {
        return Ok(now.after(parse_span(span)?));
    }
    if let Ok(number) = text.parse::<f64>() {
        return from_epoch(number).ok_or_else(|| TimeError::Moment(text.to_owned()));
    }
    parse(text)
}

/// A humantime duration, or whole seconds.
pub fn parse_span(text: &str) -> Result<Duration, TimeError> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| TimeError::Span(text.to_owned()))
}

/// `1h 30m`, with days as the largest unit, so that it reads back exactly and weeks never turn into months.
pub fn format_span(span: Duration) -> String {
    let units = units(span);
    if units.is_empty() { "0s".to_owned() } else { units.join(" ") }
}

/// `in 1h 29m`, `12s ago`, `now`; the two largest units.
pub fn relative(now: Time, then: Time) -> String {
    if then == Time::MAX {
        return "until resumed".to_owned();
    }
    let (span, later) = if then >= now { (now.until(then), true) } else { (then.until(now), false) };
    let span = if span >= Duration::from_secs(1) { Duration::from_secs(span.as_secs()) } else { span };
    let mut units = units(span);
    units.truncate(2);
    match (units.is_empty(), later) {
        (true, _) => "now".to_owned(),
        (false, true) => format!("in {}", units.join(" ")),
        (false, false) => format!("{} ago", units.join(" ")),
    }
}

fn units(span: Duration) -> Vec<String> {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut units = Vec::new();
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= millis {
            units.push(format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_from_its_text() {
        for millis in [0, 1, 1_795_226_400_123, Time::MAX.millis()] {
            let time = Time::from_millis(millis);
            assert_eq!(parse(&format(time)), Ok(time), "{millis}");
        }
        assert_eq!(format(Time::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(parse("2026-11-21T03:10:00+01:00"), parse("2026-11-21T02:10:00Z"));
        assert!(parse("1969-12-31T23:59:59Z").is_err());
        assert!(parse("tomorrow").is_err());
    }

    #[test]
    fn epoch_numbers_are_seconds_or_milliseconds_by_magnitude() {
        let moment = Time::from_millis(1_795_226_400_000);
        assert_eq!(from_epoch(1_795_226_400.0), Some(moment));
        assert_eq!(from_epoch(1_795_226_400_000.0), Some(moment));
        assert_eq!(from_epoch(-1.0), None);
        assert_eq!(from_epoch(f64::NAN), None);
        assert_eq!(from_epoch(1e300), None);
    }

    #[test]
    fn durations_are_humantime_or_whole_seconds() {
        assert_eq!(parse_span("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(
            parse_span(&format_span(Duration::from_millis(691_200_001))),
            Ok(Duration::from_millis(691_200_001))
        );
        assert_eq!(format_span(Duration::from_hours(8 * 24)), "8d");
        assert!(parse_span("soon").is_err());
        assert!(parse_span("-1").is_err());
    }

    #[test]
    fn people_read_the_two_largest_units() {
        let now = Time::from_millis(10_000_000);
        assert_eq!(relative(now, now.after(Duration::from_millis(5_399_500))), "in 1h 29m");
        assert_eq!(relative(now, Time::from_millis(9_988_000)), "12s ago");
        assert_eq!(relative(now, now), "now");
        assert_eq!(relative(now, Time::MAX), "until resumed");
    }

    #[test]
    fn a_relative_time_counts_from_now() {
        let now = Time::from_millis(1_000);
        assert_eq!(parse_relative("+90m", now), Ok(Time::from_millis(5_401_000)));
        assert_eq!(parse_relative("1795226400", now), Ok(Time::from_millis(1_795_226_400_000)));
    }
}
