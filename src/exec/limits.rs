//! Until when a provider's answer says to wait: its headers, and for Google its body, in order of trust.
//!
//! Pure. `Retry-After` (RFC 9110, 10.2.3) is meant for whoever was refused; `RateLimit` (IETF httpapi draft) names its
//! windows; `x-ratelimit-*` and `anthropic-ratelimit-*` stand on answers that were served as well, so what is left in a
//! window decides whether its reset counts. A value that does not parse is as good as absent: the next one is asked.

use std::time::Duration;

use jiff::civil;
use jiff::tz::TimeZone;
use serde_json::Value;
use ureq::http::HeaderMap;

use crate::model::Time;

/// From here on a number is epoch milliseconds.
const MILLIS_FROM: f64 = 1e12;
/// From here on a number is epoch seconds; below it is a delay.
const SECONDS_FROM: f64 = 1e9;
/// GitHub asks for at least this where it says nothing else (docs.github.com, "Best practices for using the REST API").
const GITHUB_WAIT: Duration = Duration::from_mins(1);

/// A moment to wait for, and what named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The window opens.
    pub at: Time,
    /// The header or field.
    pub by: String,
}

/// What an answer with this status says. A 403 or 503 is a limit only if a window is said to be used up: both have other
/// reasons, and the headers stand on every answer. `None`: no limit, or none with a time.
pub(super) fn limit(status: u16, headers: &HeaderMap, body: &str, now: Time) -> Option<Told> {
    let sure = match status {
        429 => false,
        403 | 503 => true,
        _ => return None,
    };
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let told = |by: &str, at: Option<Time>| at.map(|at| Told { at, by: by.to_owned() });
    told("retry-after", text("retry-after").and_then(|value| retry_after(value, now)))
        .or_else(|| told("ratelimit", text("ratelimit").and_then(|value| rate_limit(value, now))))
        .or_else(|| latest(windows(headers, "ratelimit-reset", now), sure))
        .or_else(|| latest(windows(headers, "x-ratelimit-reset", now), sure))
        .or_else(|| latest(anthropic(headers, now), sure))
        .or_else(|| told("retryDelay", retry_delay(body).map(|span| now.after(span))))
        .or_else(|| {
            let github = headers.contains_key("x-github-request-id");
            // Its secondary limits are named in the message only; any other bare 403 is about permissions.
            let limited = github && (status == 429 || (status == 403 && body.contains("rate limit")));
            told("github", limited.then(|| now.after(GITHUB_WAIT)))
        })
}

/// Whole seconds, or an HTTP date in one of its three forms (RFC 9110, 5.6.7).
fn retry_after(value: &str, now: Time) -> Option<Time> {
    let seconds = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
    seconds.map(|seconds| now.after(Duration::from_secs(seconds))).or_else(|| http_date(value))
}

fn http_date(value: &str) -> Option<Time> {
    // The weekday adds nothing, and a wrong one is no reason to wait for nothing.
    let (_, rest) = value.split_once(' ')?;
    let rest = rest.trim_start();
    ["%d %b %Y %H:%M:%S GMT", "%d-%b-%y %H:%M:%S GMT", "%b %e %H:%M:%S %Y"].into_iter().find_map(|form| {
        let at = civil::DateTime::strptime(form, rest).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        u64::try_from(at.as_millisecond()).ok().map(Time::from_millis)
    })
}

/// `"burst";r=0;t=30, "daily";r=900;t=3600`: the last of the used-up ones to open.
fn rate_limit(value: &str, now: Time) -> Option<Time> {
    let window = |item: &str| {
        let mut parameters = item.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
        let number = |name: &str| {
            let (_, value) = parameters.clone().find(|(found, _)| *found == name)?;
            value.parse::<u64>().ok()
        };
        let seconds = number("t").filter(|_| number("r") == Some(0));
        parameters.next()?;
        seconds
    };
    value.split(',').filter_map(window).max().map(|seconds| now.after(Duration::from_secs(seconds)))
}

/// What is known of a window beside its reset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Something,
    Unknown,
    Nothing,
}

/// The last reset of the windows that are used up; else of those of which nothing else is known; else of all, as the
/// request may have been too large for what is left. `sure`: of those that are used up only.
fn latest(windows: Vec<(Left, Told)>, sure: bool) -> Option<Told> {
    let worst = windows.iter().map(|(left, _)| *left).max()?;
    let meant = windows.into_iter().filter(|(left, _)| *left == worst).map(|(_, told)| told);
    meant.max_by_key(|told| told.at).filter(|_| !sure || worst == Left::Nothing)
}

/// The windows whose resets begin with `prefix`: `x-ratelimit-reset`, `x-ratelimit-reset-tokens`.
fn windows(headers: &HeaderMap, prefix: &str, now: Time) -> Vec<(Left, Told)> {
    let resets = headers.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
    let window = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        let at = moment(value.to_str().ok()?.trim(), now)?;
        let remaining = name.as_str().replacen("reset", "remaining", 1);
        Some((left(headers, &remaining, "0"), Told { at, by: name.as_str().to_owned() }))
    };
    resets.filter_map(window).collect()
}

/// `anthropic-ratelimit-requests-reset`, and `anthropic-ratelimit-unified-5h-reset` of subscriptions, whose `-status` says
/// which of them refused.
fn anthropic(headers: &HeaderMap, now: Time) -> Vec<(Left, Told)> {
    let window = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        let name = name.as_str();
        let stem = name.strip_prefix("anthropic-ratelimit-")?.strip_suffix("-reset")?;
        let value = value.to_str().ok()?.trim();
        let dated = || u64::try_from(value.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok();
        let at = moment(value, now).or_else(|| dated().map(Time::from_millis))?;
        let beside = |what: &str| format!("anthropic-ratelimit-{stem}-{what}");
        let standing =
            left(headers, &beside("remaining"), "0").max(left(headers, &beside("status"), "rejected"));
        let known = [beside("remaining"), beside("status")].iter().any(|name| headers.contains_key(name));
        let standing = if known && standing == Left::Unknown { Left::Something } else { standing };
        Some((standing, Told { at, by: name.to_owned() }))
    };
    headers.iter().filter_map(window).collect()
}

fn left(headers: &HeaderMap, name: &str, none: &str) -> Left {
    match headers.get(name) {
        None => Left::Unknown,
        Some(value) if value.as_bytes().trim_ascii() == none.as_bytes() => Left::Nothing,
        Some(_) => Left::Something,
    }
}

/// Epoch milliseconds, epoch seconds or a delay in seconds, by magnitude; or a Go duration like `6m0s` or `12ms`.
fn moment(value: &str, now: Time) -> Option<Time> {
    let Ok(number) = value.parse::<f64>() else {
        return go_duration(value).map(|span| now.after(span));
    };
    let seconds = if number >= MILLIS_FROM { number / 1e3 } else { number };
    let span = Duration::try_from_secs_f64(seconds).ok()?;
    Some(if number >= SECONDS_FROM { Time::ZERO.after(span) } else { now.after(span) })
}

/// As Go's `time.Duration` prints one: numbers, also with a fraction, each with its unit.
fn go_duration(value: &str) -> Option<Duration> {
    let mut rest = value;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = after;
    }
    (!value.is_empty()).then_some(sum)
}

/// `google.rpc.RetryInfo`, somewhere in the error's details.
fn retry_delay(body: &str) -> Option<Duration> {
    fn find(value: &Value) -> Option<&str> {
        match value {
            Value::Object(fields) => {
                fields.get("retryDelay").and_then(Value::as_str).or_else(|| fields.values().find_map(find))
            }
            Value::Array(elements) => elements.iter().find_map(find),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
    go_duration(find(&serde_json::from_str(body).ok()?)?)
}

#[cfg(test)]
mod tests {
    use ureq::http::{HeaderName, HeaderValue};

    use super::*;

    /// 2026-11-21T02:00:00Z.
    const NOW: Time = Time::from_millis(1_795_226_400_000);

    /// Seconds from now, and who named them.
    fn told(status: u16, headers: &[(&str, &str)], body: &str) -> Option<(f64, String)> {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        };
        let told = limit(status, &headers.iter().map(pair).collect(), body, NOW)?;
        Some((NOW.until(told.at).as_secs_f64(), told.by))
    }

    #[track_caller]
    fn check(status: u16, headers: &[(&str, &str)], expected: Option<(f64, &str)>) {
        let expected = expected.map(|(seconds, by)| (seconds, by.to_owned()));
        assert_eq!(told(status, headers, ""), expected, "{status} {headers:?}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_in_three_forms() {
        for (value, seconds) in [
            ("120", 120.0),
            ("0", 0.0),
            ("Sat, 21 Nov 2026 02:10:00 GMT", 600.0),
            ("Saturday, 21-Nov-26 02:10:00 GMT", 600.0),
            ("Sat Nov 21 02:10:00 2026", 600.0),
            ("Tue Dec  1 02:00:00 2026", 864_000.0),
            ("Mon, 21 Nov 2026 02:10:00 GMT", 600.0),
        ] {
            check(429, &[("retry-after", value)], Some((seconds, "retry-after")));
        }
        for malformed in [
            "",
            "soon",
            "-5",
            "1.5",
            "21 Nov 2026",
            "Sat, 41 Nov 2026 02:10:00 GMT",
            "99999999999999999999999",
        ] {
            check(429, &[("retry-after", malformed)], None);
        }
        check(
            429,
            &[("retry-after", "18446744073709551615")],
            Some((NOW.until(Time::MAX).as_secs_f64(), "retry-after")),
        );
    }

    #[test]
    fn rate_limit_counts_the_windows_that_are_used_up() {
        for (value, seconds) in [
            (r#""default";r=0;t=30"#, Some(30.0)),
            (r#""burst";r=0;t=30, "daily";r=0;t=3600"#, Some(3600.0)),
            (r#""burst";r=0;t=30, "daily";r=900;t=3600"#, Some(30.0)),
            (r#""default"; r=0; t=30; pk=:cHsdsRa894==:"#, Some(30.0)),
            (r#""default";r=5;t=30"#, None),
            (r#""default";t=30"#, None),
            (r#""default";r=0;t=x"#, None),
            ("nonsense", None),
        ] {
            check(429, &[("RateLimit", value)], seconds.map(|seconds| (seconds, "ratelimit")));
        }
        check(429, &[("RateLimit-Reset", "30")], Some((30.0, "ratelimit-reset")));
    }

    #[test]
    fn an_x_ratelimit_reset_is_read_by_its_magnitude_or_as_a_go_duration() {
        for (value, seconds) in [
            ("1795226460000", Some(60.0)),
            ("1795226460", Some(60.0)),
            ("1795226460.5", Some(60.5)),
            ("60", Some(60.0)),
            ("6m0s", Some(360.0)),
            ("12ms", Some(0.012)),
            ("1h2m3.5s", Some(3723.5)),
            ("88\u{b5}s", None),
            ("6m0", None),
            ("m", None),
            ("NaN", None),
            ("-60", None),
        ] {
            check(
                429,
                &[("x-ratelimit-reset", value)],
                seconds.map(|seconds| (seconds, "x-ratelimit-reset")),
            );
        }
        assert_eq!(go_duration("88\u{b5}s"), Some(Duration::from_micros(88)));
    }

    #[test]
    fn the_window_that_is_used_up_counts() {
        let requests = ("x-ratelimit-reset-requests", "1s");
        let tokens = ("x-ratelimit-reset-tokens", "6m0s");
        let both = [
            requests,
            tokens,
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-remaining-tokens", "9"),
        ];
        check(429, &both, Some((1.0, "x-ratelimit-reset-requests")));
        // Too large for what is left: by then all of it is there.
        let none = [
            requests,
            tokens,
            ("x-ratelimit-remaining-requests", "9"),
            ("x-ratelimit-remaining-tokens", "9"),
        ];
        check(429, &none, Some((360.0, "x-ratelimit-reset-tokens")));
        check(429, &[requests, tokens], Some((360.0, "x-ratelimit-reset-tokens")));
    }

    #[test]
    fn anthropics_windows_are_dated_or_epoch_seconds() {
        let name = "anthropic-ratelimit-requests-reset";
        check(429, &[(name, "2026-11-21T02:01:00Z")], Some((60.0, name)));
        let tokens = "anthropic-ratelimit-tokens-reset";
        let used = [(name, "2026-11-21T02:01:00Z"), (tokens, "2026-11-21T02:05:00Z")];
        let left =
            [("anthropic-ratelimit-requests-remaining", "0"), ("anthropic-ratelimit-tokens-remaining", "7")];
        check(429, &[used, left].concat(), Some((60.0, name)));
        let (five, seven) = ("anthropic-ratelimit-unified-5h-reset", "anthropic-ratelimit-unified-7d-reset");
        let used = [(five, "1795230000"), (seven, "1795831200")];
        let status = [
            ("anthropic-ratelimit-unified-5h-status", "rejected"),
            ("anthropic-ratelimit-unified-7d-status", "allowed"),
        ];
        check(429, &[used, status].concat(), Some((3600.0, five)));
        check(
            429,
            &[("anthropic-ratelimit-unified-reset", "1795230000")],
            Some((3600.0, "anthropic-ratelimit-unified-reset")),
        );
        check(429, &[(name, "later")], None);
    }

    #[test]
    fn googles_delay_is_in_the_body() {
        let body = r#"{"error":{"code":429,"details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.07s"}]}}"#;
        assert_eq!(told(429, &[], body), Some((34.07, "retryDelay".to_owned())));
        assert_eq!(told(429, &[], &format!("[{body}]")), Some((34.07, "retryDelay".to_owned())));
        assert_eq!(told(429, &[], &body.replace("34.07s", "soon")), None);
        assert_eq!(told(429, &[], "retryDelay 34s"), None);
    }

    #[test]
    fn the_more_trusted_one_wins_and_a_malformed_one_is_passed_over() {
        let rest = [("ratelimit", r#""d";r=0;t=2"#), ("ratelimit-reset", "3"), ("x-ratelimit-reset", "4")];
        check(429, &[&[("retry-after", "1")], &rest[..]].concat(), Some((1.0, "retry-after")));
        check(429, &[&[("retry-after", "soon")], &rest[..]].concat(), Some((2.0, "ratelimit")));
        check(429, &rest[1..], Some((3.0, "ratelimit-reset")));
        check(429, &[rest[2], ("anthropic-ratelimit-tokens-reset", "5")], Some((4.0, "x-ratelimit-reset")));
    }

    #[test]
    fn a_403_or_503_is_a_limit_only_if_a_window_is_used_up() {
        for status in [403, 503] {
            check(status, &[("retry-after", "7")], Some((7.0, "retry-after")));
            let reset = ("x-ratelimit-reset", "1795226460");
            check(status, &[reset, ("x-ratelimit-remaining", "0")], Some((60.0, "x-ratelimit-reset")));
            check(status, &[reset, ("x-ratelimit-remaining", "4999")], None);
            check(status, &[reset], None);
            check(status, &[], None);
        }
        for status in [200, 400, 401, 500, 529] {
            check(status, &[("retry-after", "7")], None);
        }
    }

    #[test]
    fn github_without_a_time_wants_a_minute() {
        let github = [("x-github-request-id", "A:B"), ("x-ratelimit-remaining", "4999")];
        let minute = Some((60.0, "github".to_owned()));
        let secondary = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        assert_eq!(told(403, &github, secondary), minute);
        assert_eq!(told(429, &github, ""), minute);
        assert_eq!(told(403, &github, r#"{"message":"Resource not accessible by integration"}"#), None);
        assert_eq!(told(403, &[], secondary), None);
    }
}
