//! Gemini CLI's `--output-format stream-json`.
//!
//! An error result is named by the class of the error (`packages/core/src/utils/googleQuotaErrors.ts`), and its text is
//! read only for the time in it. A class that names nothing here is left to the exit code, which the CLI makes of the
//! error too: its own numbers, or the HTTP status cut to a byte (429 is 173). `error` lines are warnings and loop
//! detections: alive, and no end.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Exit, Said, Stream, counts, ended, ending, fields, object, renamed, silent, text};
use crate::model::{Fault, LimitReport, Report, Reset, TEXT_BYTES_MAX, Time, Usage, bounded, code};

/// What a delay follows in the text of a quota error; each has one.
const DELAY_AFTER: [&str; 3] = ["Please retry in ", "Suggested retry after ", "will reset after "];
/// Said on stderr of a session it does not know, with the exit code of a bad input.
const NO_SESSION: &str = "Error resuming session";

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    spoke: bool,
    session: Option<String>,
    /// What the agent has said since it last used a tool: the result, if it succeeds.
    answer: String,
    /// An error result that its class does not explain.
    error: Option<Fault>,
}

impl Stream for Gemini {
    fn spoke(&self) -> bool {
        self.spoke
    }

    fn line(&mut self, line: &str, now: Time) -> Vec<Said> {
        let Some(fields) = fields(line) else { return vec![Said::Activity] };
        let said = match text(&fields, "type") {
            Some("init") => renamed(&mut self.session, text(&fields, "session_id")),
            Some("message") => {
                let content = text(&fields, "content").filter(|_| text(&fields, "role") == Some("assistant"));
                if self.answer.len() < TEXT_BYTES_MAX {
                    self.answer.push_str(content.unwrap_or_default());
                }
                None
            }
            Some("tool_use") => {
                self.answer.clear();
                None
            }
            Some("result") => {
                self.spoke = true;
                return self.finished(&fields, now);
            }
            Some("tool_result" | "error") => None,
            _ => return vec![Said::Activity],
        };
        self.spoke = true;
        vec![said.unwrap_or(Said::Activity)]
    }

    fn exited(self: Box<Self>, exit: Exit, errors: &str, _now: Time) -> Report {
        let message = self.error.as_ref().map_or_else(|| ended(exit, errors), |error| error.message.clone());
        let fault = |code: &str| Fault::new(code, &message);
        match exit.code {
            Some(42) if errors.contains(NO_SESSION) => Report::NotResumable(fault("not_resumable")),
            Some(41) => Report::NeedsOperator(fault("exit_41")),
            Some(42) => Report::Invalid(fault("exit_42")),
            Some(53) => Report::Failed(fault("turn_limit")),
            Some(173) => Report::Throttled(fault("api_429")),
            _ => self.error.map_or_else(|| silent(exit, errors), Report::Failed),
        }
    }
}

impl Gemini {
    fn finished(&mut self, fields: &Map<String, Value>, now: Time) -> Vec<Said> {
        // Each process counts anew, also one that resumes.
        let tokens = object(fields, "stats").map_or(0, |stats| counts(stats, &["total_tokens"]));
        let usage = Usage { tokens, ..Usage::default() };
        match self.result(fields, now) {
            Some(report) => ending(usage, report),
            None if usage.is_nothing() => vec![Said::Activity],
            None => vec![Said::Used(usage)],
        }
    }

    /// `None` if it is left to the exit code.
    fn result(&mut self, fields: &Map<String, Value>, now: Time) -> Option<Report> {
        if text(fields, "status") == Some("success") {
            let answer = Some(bounded(&self.answer)).filter(|answer| !answer.is_empty());
            return Some(Report::Succeeded { result: answer });
        }
        let error = object(fields, "error");
        let told = |name| error.and_then(|error| text(error, name)).unwrap_or_default();
        self.failed(told("type"), told("message"), now)
    }

    fn failed(&mut self, class: &str, message: &str, now: Time) -> Option<Report> {
        let fault = |code: &str| Fault::new(code, message);
        let report = match class {
            "TerminalQuotaError" | "RetryableQuotaError" => {
                let limit = LimitReport { reset: reset(message, now), ..LimitReport::default() };
                Report::RateLimited(limit, fault(code::RATE_LIMITED))
            }
            "FatalAuthenticationError"
            | "UnauthorizedError"
            | "ForbiddenError"
            | "ValidationRequiredError" => Report::NeedsOperator(fault(class)),
            "FatalInputError" | "BadRequestError" => Report::Invalid(fault(class)),
            "FatalTurnLimitedError" => Report::Failed(fault("turn_limit")),
            _ => {
                self.error = Some(fault(if class.is_empty() { "agent_error" } else { class }));
                return None;
            }
        };
        Some(report)
    }
}

/// `34.074824224s`, `60s` or `8h42m34s`, from now.
fn reset(message: &str, now: Time) -> Reset {
    let Some((_, rest)) = DELAY_AFTER.iter().find_map(|words| message.split_once(words)) else {
        return Reset::Absent;
    };
    let written = rest.split([' ', ',', '\n', '"']).next().unwrap_or_default().trim_end_matches('.');
    delay(written).map_or_else(|| Reset::Unusable(bounded(written)), |span| Reset::At(now.after(span)))
}

fn delay(written: &str) -> Option<Duration> {
    let seconds = written.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
    let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.or_else(|| humantime::parse_duration(written).ok())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, reports, used};
    use super::*;

    const INIT: &str = r#"{"type":"init","timestamp":"2026-03-10T00:00:00.000Z","session_id":"g1","model":"gemini-2.5-pro"}"#;
    const USER: &str = r#"{"type":"message","timestamp":"t","role":"user","content":"do it"}"#;
    const DELTA: &str =
        r#"{"type":"message","timestamp":"t","role":"assistant","content":"do","delta":true}"#;
    const TOOL: &str =
        r#"{"type":"tool_use","timestamp":"t","tool_name":"read_file","tool_id":"t1","parameters":{}}"#;
    const TOOLED: &str = r#"{"type":"tool_result","timestamp":"t","tool_id":"t1","status":"error","error":{"type":"x","message":"m"}}"#;
    const WARNING: &str = r#"{"type":"error","timestamp":"t","severity":"warning","message":"Loop detected, stopping execution"}"#;
    const SUCCESS: &str =
        r#"{"type":"result","timestamp":"t","status":"success","stats":{"total_tokens":10,"duration_ms":5}}"#;

    fn check(lines: &[&str], exit: i32, expected: &str) {
        assert_eq!(reports(Gemini::default(), lines, exit, ""), expected, "{lines:#?}");
    }

    fn failure(class: &str, message: &str) -> String {
        let error = serde_json::json!({"type": class, "message": message});
        serde_json::json!({"type": "result", "status": "error", "error": error, "stats": {}}).to_string()
    }

    #[test]
    fn a_success_brings_what_was_said_since_the_last_tool() {
        let rest = DELTA.replace("\"do\"", "\"ne\"");
        check(
            &[INIT, USER, DELTA, TOOL, TOOLED, WARNING, DELTA, &rest, SUCCESS],
            0,
            "session g1, succeeded done",
        );
        check(&[INIT, USER, SUCCESS], 0, "session g1, succeeded -");
    }

    #[test]
    fn a_result_tells_its_tokens_and_whether_it_is_the_end() {
        assert_eq!(used(Gemini::default(), &[INIT, SUCCESS]), [(10, 0, true)]);
        let stats = r#""stats":{"total_tokens":7}"#;
        let told = |class| failure(class, "m").replace(r#""stats":{}"#, stats);
        assert_eq!(used(Gemini::default(), &[&told("TerminalQuotaError")]), [(7, 0, true)]);
        assert_eq!(
            used(Gemini::default(), &[&told("Error")]),
            [(7, 0, false)],
            "the exit code says the rest"
        );
        assert_eq!(Gemini::default().line(&failure("Error", "m"), NOW), [Said::Activity]);
    }

    #[test]
    fn quota_errors_are_limits_with_the_delay_they_name() {
        let terminal = |message: &str| failure("TerminalQuotaError", message);
        check(&[&terminal("You have exhausted your daily quota on this model.")], 1, "rate_limited");
        let told =
            terminal("You have exhausted your capacity on this model. Your quota will reset after 8h42m34s.");
        check(&[&told], 1, "rate_limited 1773132154");
        let retryable = |message: &str| failure("RetryableQuotaError", message);
        check(&[&retryable("Quota exceeded.\nPlease retry in 34.074824224s.")], 1, "rate_limited 1773100834");
        check(&[&retryable("Quota exceeded.\nSuggested retry after 60s.")], 1, "rate_limited 1773100860");
        check(&[&retryable("Please retry in a while")], 1, "rate_limited ?a");
        check(&[&retryable("Please retry in -5s")], 1, "rate_limited ?-5s");
        check(&[&retryable("no hint")], 1, "rate_limited");
    }

    #[test]
    fn error_classes_name_their_cases() {
        for (class, expected) in [
            ("FatalAuthenticationError", "needs_operator FatalAuthenticationError"),
            ("FatalInputError", "invalid FatalInputError"),
            ("FatalTurnLimitedError", "failed turn_limit"),
        ] {
            check(&[&failure(class, "m")], 1, expected);
        }
    }

    #[test]
    fn an_unexplained_error_is_what_the_exit_code_says() {
        let error = failure("Error", "[API Error: something]");
        check(&[&error], 1, "failed Error");
        check(&[&error], 173, "throttled api_429");
        check(&[r#"{"type":"result","status":"error"}"#], 1, "failed agent_error");
    }

    #[test]
    fn exit_codes_name_their_cases_where_no_result_is_told() {
        for (exit, expected) in [
            (41, "needs_operator exit_41"),
            (42, "invalid exit_42"),
            (53, "failed turn_limit"),
            (173, "throttled api_429"),
            (52, "failed silent"),
            (0, "failed silent"),
        ] {
            check(&[], exit, expected);
        }
    }

    #[test]
    fn an_unknown_session_is_not_resumable() {
        let said = "Error resuming session: Invalid session identifier \"g9\".";
        assert_eq!(reports(Gemini::default(), &[], 42, said), "not_resumable not_resumable");
    }

    #[test]
    fn talk_about_limits_is_only_talk() {
        let talk = DELTA.replace("\"do\"", "\"Please retry in 34.07s: TerminalQuotaError\"");
        check(&[&talk, TOOL, SUCCESS], 0, "succeeded -");
    }

    #[test]
    fn the_unknown_is_skipped() {
        check(&["Loaded cached credentials.", "[]", r#"{"type":"new"}"#, SUCCESS], 0, "succeeded -");
    }
}
