//! Codex's `exec --json`.
//!
//! Limits are prose only, in the error text that the CLI itself writes (`codex-rs/protocol/src/error.rs`), so the words
//! are looked for there and nowhere else; what the model says is never searched. Times stand there in the child's local
//! time, which is UTC because it is started with `TZ=UTC`. A lone `error` line is no end: the CLI reconnects, and says
//! so with such lines. It is remembered for a stream that ends without a terminal line.

use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil;
use jiff::tz::TimeZone;

use super::{Exit, Said, Stream, by_status, counts, ending, fields, object, renamed, silent, text};
use crate::model::{Fault, LimitReport, Report, Reset, Time, Usage, bounded, code};

/// In the text of a used-up window; some versions write the apostrophe of the words before it in another way.
const LIMIT: &str = "hit your usage limit";
/// Followed by a time, or by "later".
const TRY_AGAIN: &str = "try again at ";
/// Texts of what only the account's owner can change.
const NEEDS_OPERATOR: [&str; 5] = [
    "out of credits",
    "spend cap",
    "Quota exceeded",
    "access token could not be refreshed",
    "To use Codex with your ChatGPT plan",
];
/// Texts of a provider that is busy.
const BUSY: [&str; 2] = ["experiencing high demand", "is at capacity"];
/// What an HTTP status follows.
const STATUS_AFTER: [&str; 2] = ["last status: ", "unexpected status "];
/// Said on stderr of a thread it does not know.
const NO_THREAD: &str = "no rollout found for thread id";
/// A time of day this long ago is read as just past, not as tomorrow's: the text is read a little after it was written,
/// and the CLI names the day of any time that is not today's.
const JUST_PAST: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Cached input is part of the input, reasoning of the output. They are the whole thread's, its failed turns and earlier
/// processes included, and told when a turn completes; so one record is told them once.
const TOKENS: [&str; 2] = ["input_tokens", "output_tokens"];

/// What is added to a time that leaves its seconds out.
const ROUNDING: Duration = Duration::from_mins(1);

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Codex {
    spoke: bool,
    session: Option<String>,
    /// The last thing the agent said: the result, if the turn completes.
    answer: Option<String>,
    /// The last `error` line's text.
    error: Option<String>,
}

impl Stream for Codex {
    fn spoke(&self) -> bool {
        self.spoke
    }

    fn line(&mut self, line: &str, now: Time) -> Vec<Said> {
        let Some(fields) = fields(line) else { return vec![Said::Activity] };
        let Some(kind) = text(&fields, "type") else { return vec![Said::Activity] };
        self.spoke |= ["thread.", "turn.", "item."].iter().any(|family| kind.starts_with(family));
        let said = match kind {
            "thread.started" => {
                renamed(&mut self.session, text(&fields, "thread_id")).unwrap_or(Said::Activity)
            }
            "item.completed" => {
                let item = object(&fields, "item").filter(|item| text(item, "type") == Some("agent_message"));
                self.answer = item.and_then(|item| text(item, "text")).map(bounded).or(self.answer.take());
                Said::Activity
            }
            "error" => {
                self.error = text(&fields, "message").map(bounded);
                Said::Retrying
            }
            "turn.completed" => {
                let tokens = object(&fields, "usage").map_or(0, |usage| counts(usage, &TOKENS));
                let usage = Usage { tokens, ..Usage::default() };
                return ending(usage, Report::Succeeded { result: self.answer.take() });
            }
            "turn.failed" => {
                let told = object(&fields, "error").and_then(|error| text(error, "message"));
                let message = told.map(str::to_owned).or(self.error.take());
                Said::Finished(failed(message.as_deref().unwrap_or("turn.failed"), now))
            }
            _ => Said::Activity,
        };
        vec![said]
    }

    fn exited(self: Box<Self>, exit: Exit, errors: &str, now: Time) -> Report {
        if errors.contains(NO_THREAD) {
            return Report::NotResumable(Fault::new("not_resumable", errors));
        }
        self.error.map_or_else(|| silent(exit, errors), |error| failed(&error, now))
    }
}

/// What the CLI's error text says.
fn failed(message: &str, now: Time) -> Report {
    let says = |words: &&str| message.contains(*words);
    if message.contains(NO_THREAD) {
        return Report::NotResumable(Fault::new("not_resumable", message));
    }
    if message.contains(LIMIT) {
        let limit = LimitReport { reset: reset(message, now), ..LimitReport::default() };
        return Report::RateLimited(limit, Fault::new(code::RATE_LIMITED, message));
    }
    if NEEDS_OPERATOR.iter().any(says) {
        return Report::NeedsOperator(Fault::new("account", message));
    }
    if BUSY.iter().any(says) {
        return Report::Throttled(Fault::new("overloaded", message));
    }
    status(message)
        .and_then(|status| by_status(status, message))
        .unwrap_or_else(|| Report::Failed(Fault::new("agent_error", message)))
}

fn status(message: &str) -> Option<u64> {
    let after = STATUS_AFTER.iter().find_map(|words| message.split_once(words))?.1;
    after.get(..3)?.parse().ok()
}

/// `3:42 PM` is today's or tomorrow's, `Mar 10th, 2026 3:39 AM` names its day. Both leave the seconds out, so a minute
/// is added: waking early would only hit the limit again.
fn reset(message: &str, now: Time) -> Reset {
    let Some((_, rest)) = message.split_once(TRY_AGAIN) else { return Reset::Absent };
    // A proxy may wrap the text in JSON.
    let written = rest.split(['.', '"', '\\', '\n']).next().unwrap_or_default().trim();
    let named = dated(written).and_then(rounded_up);
    let moment =
        named.or_else(|| of_day(written, now).and_then(rounded_up).map(|at| at.max(now.after(ROUNDING))));
    moment.map_or_else(|| Reset::Unusable(bounded(written)), Reset::At)
}

fn rounded_up(at: civil::DateTime) -> Option<Time> {
    let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Time::from_millis(u64::try_from(at.as_millisecond()).ok()?).after(ROUNDING))
}

fn dated(written: &str) -> Option<civil::DateTime> {
    let (day, rest) = written.split_once(", ")?;
    let day = day.trim_end_matches(|c: char| c.is_ascii_lowercase());
    civil::DateTime::strptime("%b %d, %Y %I:%M %p", format!("{day}, {rest}")).ok()
}

fn of_day(written: &str, now: Time) -> Option<civil::DateTime> {
    let time = civil::Time::strptime("%I:%M %p", written).ok()?;
    let now = jiff::Timestamp::from_millisecond(i64::try_from(now.millis()).ok()?).ok()?;
    let now = TimeZone::UTC.to_datetime(now);
    let today = now.date().to_datetime(time);
    if today.checked_add(JUST_PAST).ok()? >= now { Some(today) } else { today.checked_add(1.day()).ok() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, reports, used};
    use super::*;

    const THREAD: &str = r#"{"type":"thread.started","thread_id":"0199a213-81c0-7800-8aa1-bbab2a035a53"}"#;
    const TURN: &str = r#"{"type":"turn.started"}"#;
    const MESSAGE: &str =
        r#"{"type":"item.completed","item":{"id":"item_3","type":"agent_message","text":"done"}}"#;
    const COMPLETED: &str = r#"{"type":"turn.completed","usage":{"input_tokens":24763,"cached_input_tokens":24448,"output_tokens":122}}"#;
    const UPGRADE: &str = "You've hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit \
        https://chatgpt.com/codex/settings/usage to purchase more credits or ";

    fn check(lines: &[&str], expected: &str) {
        assert_eq!(reports(Codex::default(), lines, 1, ""), expected, "{lines:#?}");
    }

    fn failure(message: &str) -> String {
        serde_json::json!({"type": "turn.failed", "error": {"message": message}}).to_string()
    }

    #[test]
    fn a_completed_turn_ends_with_the_last_message() {
        let command = r#"{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"ls","status":"in_progress"}}"#;
        let reasoning = r#"{"type":"item.completed","item":{"id":"item_0","type":"reasoning","text":"hm"}}"#;
        let thread = "session 0199a213-81c0-7800-8aa1-bbab2a035a53";
        check(
            &[THREAD, TURN, reasoning, command, MESSAGE, reasoning, COMPLETED],
            &format!("{thread}, succeeded done"),
        );
        check(&[THREAD, TURN, COMPLETED], &format!("{thread}, succeeded -"));
    }

    #[test]
    fn a_completed_turn_tells_the_tokens_of_the_thread() {
        assert_eq!(used(Codex::default(), &[THREAD, TURN, MESSAGE, COMPLETED]), [(24_763 + 122, 0, true)]);
        let without = COMPLETED.replace("usage", "other");
        assert_eq!(used(Codex::default(), &[&without]), []);
    }

    #[test]
    fn a_limit_without_a_day_is_the_next_such_time_and_a_minute() {
        // 2026-03-10T12:00:00Z
        let noon = Time::from_millis(1_773_144_000_000);
        for (written, expected) in [
            ("3:42 PM.", "2026-03-10T15:43:00Z"),
            ("12:00 PM.", "2026-03-10T12:01:00Z"),
            ("11:41 AM.", "2026-03-11T11:42:00Z"),
            ("12:10 AM.", "2026-03-11T00:11:00Z"),
            ("11:59 PM", "2026-03-11T00:00:00Z"),
            // Just past: nothing is gained by waiting for tomorrow.
            ("11:55 AM.", "2026-03-10T12:01:00Z"),
        ] {
            let millis = expected.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            let at = Reset::At(Time::from_millis(u64::try_from(millis).unwrap()));
            assert_eq!(reset(&format!("{UPGRADE}try again at {written}"), noon), at, "{written}");
        }
    }

    #[test]
    fn a_limit_may_name_its_day() {
        let told = failure(&format!("{UPGRADE}try again at Mar 10th, 2026 3:39 AM."));
        check(&[&told], "rate_limited 1773114000");
        let past = failure(&format!("{UPGRADE}try again at Mar 9th, 2026 3:39 AM."));
        check(&[&past], "rate_limited 1773027600");
        for day in ["Mar 1st", "Apr 2nd", "May 3rd", "Dec 31st"] {
            let message = format!("{UPGRADE}try again at {day}, 2027 12:00 AM.");
            assert!(matches!(reset(&message, NOW), Reset::At(_)), "{day}");
        }
    }

    #[test]
    fn a_limit_without_a_time_is_a_limit() {
        check(&[&failure("You've hit your usage limit. Try again later.")], "rate_limited");
        check(&[&failure(&format!("{UPGRADE}try again later."))], "rate_limited");
        check(&[&failure("You\u{2019}ve hit your usage limit for gpt-5.")], "rate_limited");
        check(&[&failure(&format!("{UPGRADE}try again at teatime."))], "rate_limited ?teatime");
        check(&[&failure(&format!("{UPGRADE}try again at 25:99 PM."))], "rate_limited ?25:99 PM");
    }

    #[test]
    fn a_limit_wrapped_in_json_by_a_proxy_is_read() {
        let inner = r#"{"type":"error","status":429,"error":{"message":"You've hit your usage limit. Try again or try again at 5:26 AM."}}"#;
        check(&[&failure(inner)], "rate_limited 1773120420");
    }

    #[test]
    fn the_clis_texts_name_their_cases() {
        for (message, expected) in [
            (
                "Your workspace is out of credits. Ask your workspace owner to refill.",
                "needs_operator account",
            ),
            ("You hit your spend cap set by the owner of your workspace.", "needs_operator account"),
            ("Quota exceeded. Check your plan and billing details.", "needs_operator account"),
            ("unexpected status 401 Unauthorized: Missing bearer", "needs_operator api_401"),
            ("exceeded retry limit, last status: 429 Too Many Requests, request id: r", "throttled api_429"),
            ("exceeded retry limit, last status: 503 Service Unavailable", "unavailable api_503"),
            (
                "We're currently experiencing high demand, which may cause temporary errors.",
                "throttled overloaded",
            ),
            ("Selected model is at capacity. Please try a different model.", "throttled overloaded"),
            ("unexpected status 400 Bad Request: no", "failed agent_error"),
            ("unexpected status é", "failed agent_error"),
            ("stream disconnected before completion", "failed agent_error"),
        ] {
            check(&[&failure(message)], expected);
        }
        check(&[r#"{"type":"turn.failed"}"#], "failed agent_error");
    }

    #[test]
    fn a_lone_error_is_no_end() {
        let reconnecting = r#"{"type":"error","message":"Reconnecting... 1/5 (stream disconnected)"}"#;
        assert_eq!(Codex::default().line(reconnecting, NOW), [Said::Retrying]);
        check(&[reconnecting, MESSAGE, COMPLETED], "succeeded done");
        let limited = r#"{"type":"error","message":"You've hit your usage limit. Try again later."}"#;
        check(&[limited], "rate_limited");
        check(&[limited, r#"{"type":"turn.failed","error":null}"#], "rate_limited");
    }

    #[test]
    fn what_the_model_says_is_only_talk() {
        let talk = MESSAGE.replace("done", "You've hit your usage limit. Try again at 3:42 PM.");
        check(&[&talk], "failed silent");
        check(&[&talk, MESSAGE, COMPLETED], "succeeded done");
    }

    #[test]
    fn an_unknown_thread_is_not_resumable() {
        let said =
            "Error: thread/resume: thread/resume failed: no rollout found for thread id 0199 (code -32600)";
        assert_eq!(reports(Codex::default(), &[], 1, said), "not_resumable not_resumable");
    }

    #[test]
    fn a_stream_without_an_end_is_silent_and_the_unknown_is_skipped() {
        check(&["not json", "[]", r#"{"type":"new.thing"}"#, r#"{"n":1}"#], "failed silent");
    }
}
