//! opencode's `run --format json`.
//!
//! A step that finishes with reason `stop` is the end; with `tool-calls` another one follows. An `error` is no end,
//! since opencode retries steps and goes on; it is remembered until the next step. The exit code says nothing: 0 comes
//! with an empty stdout as well (a session that is not known, for one), 1 with a session that went on and ended well.

use serde_json::{Map, Value};

use super::{Exit, Said, Stream, by_status, counts, dollars, ending, fields, object, renamed, silent, text};
use crate::model::{Fault, Report, Time, Usage, bounded};

/// Said on stderr of a session it does not know.
const NO_SESSION: &str = "Session not found";

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Opencode {
    spoke: bool,
    session: Option<String>,
    /// The last text the agent said: the result, if it ends well.
    answer: Option<String>,
    /// The last error, until another step begins or ends.
    error: Option<Report>,
}

impl Stream for Opencode {
    fn spoke(&self) -> bool {
        self.spoke
    }

    fn line(&mut self, line: &str, _now: Time) -> Vec<Said> {
        let Some(fields) = fields(line) else { return vec![Said::Activity] };
        let part = object(&fields, "part");
        let said = match text(&fields, "type") {
            Some("step_start") => {
                self.error = None;
                vec![Said::Activity]
            }
            Some("text") => {
                self.answer = part.and_then(|part| text(part, "text")).map(bounded);
                vec![Said::Activity]
            }
            Some("tool_use") => vec![Said::Activity],
            Some("step_finish") => {
                self.error = None;
                let usage = part.map(usage).unwrap_or_default();
                match part.and_then(|part| text(part, "reason")) {
                    Some("stop") => ending(usage, Report::Succeeded { result: self.answer.take() }),
                    _ if usage.is_nothing() => vec![Said::Activity],
                    _ => vec![Said::Used(usage)],
                }
            }
            Some("error") => {
                self.error = Some(failed(&fields));
                vec![Said::Retrying]
            }
            _ => return vec![Said::Activity],
        };
        self.spoke = true;
        let started = renamed(&mut self.session, text(&fields, "sessionID"));
        started.into_iter().chain(said).collect()
    }

    fn exited(self: Box<Self>, exit: Exit, errors: &str, _now: Time) -> Report {
        if errors.contains(NO_SESSION) {
            return Report::NotResumable(Fault::new("not_resumable", errors));
        }
        self.error.unwrap_or_else(|| silent(exit, errors))
    }
}

/// What one step used: its `cost`, and its `tokens`, of which input and output leave out what the others count.
fn usage(part: &Map<String, Value>) -> Usage {
    let tokens = object(part, "tokens").map_or(0, |tokens| {
        let cached = object(tokens, "cache").map_or(0, |cache| counts(cache, &["read", "write"]));
        counts(tokens, &["input", "output", "reasoning"]).saturating_add(cached)
    });
    Usage { tokens, cost: dollars(part, "cost").unwrap_or(0), ..Usage::default() }
}

/// `error{name, data{message, statusCode}}`, and from version 2 on `error{type, message, status}`.
fn failed(fields: &Map<String, Value>) -> Report {
    let none = Map::new();
    let error = object(fields, "error").unwrap_or(&none);
    let data = object(error, "data").unwrap_or(error);
    let name = text(error, "name").or_else(|| text(error, "type")).unwrap_or("agent_error");
    let message = text(data, "message").or_else(|| text(error, "message")).unwrap_or(name);
    let status = data.get("statusCode").or_else(|| data.get("status")).and_then(Value::as_u64);
    let by_status = status.and_then(|status| by_status(status, message));
    by_status.unwrap_or_else(|| match name {
        "ProviderAuthError" => Report::NeedsOperator(Fault::new(name, message)),
        _ => Report::Failed(Fault::new(name, message)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, reports, used};
    use super::*;

    const START: &str = r#"{"type":"step_start","timestamp":1767036059338,"sessionID":"ses_4947","part":{"id":"prt_1","sessionID":"ses_4947","messageID":"msg_1","type":"step-start","snapshot":"71db"}}"#;
    const TOOL: &str = r#"{"type":"tool_use","timestamp":1767036060000,"sessionID":"ses_4947","part":{"id":"prt_2","type":"tool","tool":"bash","state":{"status":"completed"}}}"#;
    const CALLS: &str = r#"{"type":"step_finish","timestamp":1767036061199,"sessionID":"ses_4947","part":{"id":"prt_3","reason":"tool-calls","type":"step-finish","cost":0.001,"tokens":{"input":671,"output":8}}}"#;
    const TEXT: &str = r#"{"type":"text","timestamp":1767036064268,"sessionID":"ses_4947","part":{"id":"prt_4","type":"text","text":"done","time":{"start":1,"end":2}}}"#;
    const STOP: &str = r#"{"type":"step_finish","timestamp":1767036064273,"sessionID":"ses_4947","part":{"id":"prt_5","reason":"stop","type":"step-finish","cost":0.001}}"#;
    const SESSION: &str = "session ses_4947";

    fn check(lines: &[&str], expected: &str) {
        assert_eq!(reports(Opencode::default(), lines, 0, ""), expected, "{lines:#?}");
    }

    fn api_error(status: u64) -> String {
        format!(
            r#"{{"type":"error","timestamp":1786886419607,"error":{{"name":"APIError","data":{{"message":"m","statusCode":{status},"isRetryable":false}}}}}}"#
        )
    }

    #[test]
    fn the_step_that_stops_is_the_end_and_one_with_tool_calls_is_not() {
        check(&[START, TOOL, CALLS, START, TEXT, STOP], &format!("{SESSION}, succeeded done"));
        check(&[START, TOOL, CALLS], &format!("{SESSION}, failed silent"));
    }

    #[test]
    fn an_empty_stdout_is_silent_also_with_exit_0() {
        check(&[], "failed silent");
    }

    #[test]
    fn an_error_ends_it_unless_another_step_follows() {
        let transport = r#"{"type":"error","timestamp":1,"sessionID":"ses_4947","error":{"type":"provider.transport","message":"ECONNRESET","status":200}}"#;
        check(&[START, transport], &format!("{SESSION}, failed provider.transport"));
        check(&[START, transport, START, TEXT, STOP], &format!("{SESSION}, succeeded done"));
        assert_eq!(Opencode::default().line(&api_error(429), NOW), [Said::Retrying]);
    }

    #[test]
    fn each_step_tells_what_it_used() {
        assert_eq!(used(Opencode::default(), &[START, CALLS, STOP]), [(679, 1_000, false), (0, 1_000, true)]);
        let all = r#""tokens":{"input":1,"output":20,"reasoning":300,"cache":{"read":4000,"write":50000}}"#;
        let calls = CALLS.replace(r#""tokens":{"input":671,"output":8}"#, all);
        assert_eq!(used(Opencode::default(), &[&calls]), [(54_321, 1_000, false)]);
        let nothing = CALLS.replace("0.001", "-1").replace("tokens", "other");
        assert_eq!(used(Opencode::default(), &[&nothing]), []);
    }

    #[test]
    fn errors_name_their_cases() {
        for (status, expected) in [
            (401, "needs_operator api_401"),
            (402, "needs_operator api_402"),
            (404, "failed APIError"),
            (429, "throttled api_429"),
            (503, "unavailable api_503"),
            (529, "throttled api_529"),
        ] {
            check(&[&api_error(status)], expected);
        }
        let quota =
            r#"{"type":"error","error":{"type":"provider.quota","message":"more credits","status":402}}"#;
        check(&[quota], "needs_operator api_402");
        let auth = r#"{"type":"error","error":{"name":"ProviderAuthError","data":{"providerID":"x","message":"no key"}}}"#;
        check(&[auth], "needs_operator ProviderAuthError");
        let unknown = r#"{"type":"error","error":{"name":"UnknownError","data":{"message":"Unexpected server error."}}}"#;
        check(&[unknown], "failed UnknownError");
        check(&[r#"{"type":"error"}"#], "failed agent_error");
    }

    #[test]
    fn an_unknown_session_is_not_resumable() {
        let said = "NotFoundError: NotFoundError\n data: {\n  message: \"Session not found: ses_4947\",\n},";
        assert_eq!(reports(Opencode::default(), &[], 0, said), "not_resumable not_resumable");
    }

    #[test]
    fn talk_about_errors_is_only_talk_and_the_unknown_is_skipped() {
        let talk = TEXT.replace("done", "Session not found: 429 rate limit");
        check(&[START, &talk], &format!("{SESSION}, failed silent"));
        check(
            &["plain", "[]", r#"{"type":"new","sessionID":"ses_1"}"#, STOP],
            &format!("{SESSION}, succeeded -"),
        );
    }
}
