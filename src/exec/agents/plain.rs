//! Any program: dwell's own protocol on stdout, one JSON object a line, and the exit code.
//!
//! `{"dwell":"<report>", ...}` takes the report names of `POST /v1/records/{id}/reports` with the same fields. The
//! stream of the daemon the design comes from is read as well: `turn.rate_limit` and `turn.error`.

use serde_json::{Map, Value};

use super::{Exit, Said, Standing, counts, dollars, ended, reset_of, text};
use crate::model::{self, Fault, LimitReport, Overage, Report, Usage, bounded, code};

/// Reads a line of the protocol; `None` if it is none.
pub fn line(line: &str) -> Option<Said> {
    // Most lines are no JSON, or an agent's: a look at the text spares parsing them twice.
    if !line.trim_start().starts_with('{') || !(line.contains("\"dwell\"") || line.contains("\"turn.")) {
        return None;
    }
    let Value::Object(fields) = serde_json::from_str(line).ok()? else { return None };
    if let Some(Value::String(kind)) = fields.get("dwell") {
        return Some(said(report_of(kind, &fields)));
    }
    match text(&fields, "type")? {
        "turn.rate_limit" => turn_rate_limit(&fields),
        "turn.error" => {
            let message = text(&fields, "detail").unwrap_or("turn.error");
            Some(Said::Finished(Report::Failed(Fault::new("turn_error", message))))
        }
        _ => None,
    }
}

fn said(report: Report) -> Said {
    match report {
        Report::Heartbeat | Report::Spawned { .. } => Said::Activity,
        Report::Session { id } => Said::Started { session: id },
        Report::Usage(usage) => Said::Used(usage),
        Report::LimitWarning(limit) => {
            Said::Limit { standing: Standing::Rejected, limit: LimitReport { using_overage: true, ..limit } }
        }
        Report::LimitCleared => Said::Limit { standing: Standing::Allowed, limit: LimitReport::default() },
        Report::Succeeded { .. }
        | Report::Failed(_)
        | Report::TimedOut(_)
        | Report::Throttled(_)
        | Report::Unavailable(_)
        | Report::RateLimited(..)
        | Report::Invalid(_)
        | Report::IngestionFailed(_)
        | Report::NeedsOperator(_)
        | Report::NotResumable(_) => Said::Finished(report),
    }
}

/// A report by its name, with `code`, `message`, `result`, `id`, for `usage` `tokens` and `cost_usd`, and for limits `reset_at`, `overage{status,reset_at}`
/// and `using_overage`. Odd fields are passed over: a tool's slip must not lose its report.
pub fn report_of(kind: &str, fields: &Map<String, Value>) -> Report {
    let message = text(fields, "message").or_else(|| text(fields, "error")).unwrap_or(kind);
    let said = model::Particulars {
        code: text(fields, "code").map(str::to_owned),
        message: Some(message.to_owned()),
        limit: limit(fields),
        result: fields.get("result").and_then(written),
        session: text(fields, "id").filter(|id| !id.is_empty()).map(str::to_owned),
        usage: Usage {
            tokens: counts(fields, &["tokens"]),
            cost: dollars(fields, "cost_usd").unwrap_or(0),
            ..Usage::default()
        },
    };
    Report::named(kind, said, &serde_json::to_string(fields).unwrap_or_default())
}

/// What the exit code says: the sysexits(3) numbers that name a case, else success or failure.
pub fn exited(exit: Exit, errors: &str) -> Report {
    let message = ended(exit, errors);
    match (exit.code, exit.signal) {
        (Some(0), _) => Report::Succeeded { result: None },
        (Some(75), _) => Report::Throttled(Fault::new(code::EXIT_75, &message)),
        (Some(65), _) => Report::Invalid(Fault::new("exit_65", &message)),
        (Some(78), _) => Report::NeedsOperator(Fault::new("exit_78", &message)),
        (Some(other), _) => Report::Failed(Fault::new(&format!("exit_{other}"), &message)),
        (None, Some(signal)) => Report::Failed(Fault::new(&format!("signal_{signal}"), &message)),
        (None, None) => Report::Failed(Fault::new(code::SILENT, &message)),
    }
}

/// A text as it is, anything else as JSON.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(bounded(text)),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Some(bounded(&other.to_string()))
        }
    }
}

fn limit(fields: &Map<String, Value>) -> LimitReport {
    let overage = fields.get("overage").and_then(Value::as_object).map(|overage| Overage {
        rejected: text(overage, "status") == Some("rejected"),
        reset: reset_of(overage.get("reset_at")),
    });
    let using_overage = fields.get("using_overage").and_then(Value::as_bool).unwrap_or(false);
    LimitReport { reset: reset_of(fields.get("reset_at")), overage, using_overage }
}

/// There a rejection that no overage carries is the turn's end, so it is the result.
fn turn_rate_limit(fields: &Map<String, Value>) -> Option<Said> {
    let overage = fields.get("overage").and_then(Value::as_object).map(|overage| Overage {
        rejected: text(overage, "status") == Some("rejected"),
        reset: reset_of(overage.get("resetAt")),
    });
    let using_overage = fields.get("isUsingOverage").and_then(Value::as_bool).unwrap_or(false);
    let limit = LimitReport { reset: reset_of(fields.get("resetAt")), overage, using_overage };
    let standing = match text(fields, "status")? {
        "allowed" => Standing::Allowed,
        "allowed_warning" => Standing::Warning,
        "rejected" if using_overage => Standing::Rejected,
        "rejected" => {
            let fault = Fault::new(code::RATE_LIMITED, "turn.rate_limit: rejected");
            return Some(Said::Finished(Report::RateLimited(limit, fault)));
        }
        _ => return Some(Said::Activity),
    };
    Some(Said::Limit { standing, limit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reset, Time};

    fn check(text: &str, expected: impl Into<Option<Report>>) {
        assert_eq!(line(text).and_then(Said::report), expected.into(), "{text}");
    }

    #[test]
    fn every_report_can_be_printed_as_a_line() {
        let fault = |code: &str| Fault::new(code, "m");
        check(
            r#"{"dwell":"succeeded","result":{"a":1}}"#,
            Some(Report::Succeeded { result: Some("{\"a\":1}".into()) }),
        );
        check(
            r#"{"dwell":"succeeded","result":"ok"}"#,
            Some(Report::Succeeded { result: Some("ok".into()) }),
        );
        check(r#"{"dwell":"succeeded"}"#, Some(Report::Succeeded { result: None }));
        check(r#"{"dwell":"failed","code":"c","message":"m"}"#, Some(Report::Failed(fault("c"))));
        check(r#"{"dwell":"timed_out","message":"m"}"#, Some(Report::TimedOut(fault("timed_out"))));
        check(r#"{"dwell":"throttled","message":"m"}"#, Some(Report::Throttled(fault("throttled"))));
        check(r#"{"dwell":"unavailable","message":"m"}"#, Some(Report::Unavailable(fault("unavailable"))));
        check(r#"{"dwell":"invalid","message":"m"}"#, Some(Report::Invalid(fault("invalid"))));
        check(
            r#"{"dwell":"ingestion_failed","error":"m"}"#,
            Some(Report::IngestionFailed(fault("ingestion_failed"))),
        );
        check(
            r#"{"dwell":"needs_operator","message":"m"}"#,
            Some(Report::NeedsOperator(fault("needs_operator"))),
        );
        check(
            r#"{"dwell":"not_resumable","message":"m"}"#,
            Some(Report::NotResumable(fault("not_resumable"))),
        );
        check(r#"{"dwell":"session","id":"s1"}"#, Some(Report::Session { id: "s1".into() }));
        let usage = Usage { tokens: 1200, cost: 40_000, ..Usage::default() };
        check(r#"{"dwell":"usage","tokens":1200,"cost_usd":0.04}"#, Some(Report::Usage(usage)));
        let nothing = r#"{"dwell":"usage","tokens":-1,"cost_usd":"much"}"#;
        check(nothing, Some(Report::Usage(Usage::default())));
        check(r#"{"dwell":"limit_cleared"}"#, Some(Report::LimitCleared));
        assert_eq!(line(r#"{"dwell":"heartbeat"}"#), Some(Said::Activity));
    }

    #[test]
    fn a_limit_line_carries_both_windows() {
        let text = r#"{"dwell":"rate_limited","reset_at":"2026-11-21T02:10:00Z","message":"m",
            "overage":{"status":"rejected","reset_at":1795227000}}"#;
        let limit = LimitReport {
            reset: Reset::At(Time::from_millis(1_795_227_000_000)),
            overage: Some(Overage { rejected: true, reset: Reset::At(Time::from_millis(1_795_227_000_000)) }),
            using_overage: false,
        };
        check(text, Some(Report::RateLimited(limit, Fault::new("rate_limited", "m"))));
        let warning =
            LimitReport { reset: Reset::Unusable("soon".into()), overage: None, using_overage: true };
        check(r#"{"dwell":"limit_warning","reset_at":"soon"}"#, Some(Report::LimitWarning(warning)));
    }

    #[test]
    fn an_unknown_report_fails_with_its_raw_text() {
        let Some(Said::Finished(Report::Failed(fault))) = line(r#"{"dwell":"exploded","n":1}"#) else {
            panic!()
        };
        assert_eq!(fault.code, "unknown_report");
        assert!(fault.message.contains(r#"{"dwell":"exploded","n":1}"#));
    }

    #[test]
    fn what_is_not_the_protocol_is_left_alone() {
        for text in ["", "hello", "{\"dwell\"", "[\"dwell\"]", r#"{"type":"result"}"#, r#"{"a":"\"dwell\""}"#]
        {
            assert_eq!(line(text), None, "{text}");
        }
    }

    #[test]
    fn the_daemons_turns_are_read() {
        let reset = Reset::At(Time::from_millis(1_775_646_000_000));
        let overage = Some(Overage { rejected: true, reset: Reset::Absent });
        let limit = LimitReport { reset: reset.clone(), overage, using_overage: false };
        let rejected = r#"{"type":"turn.rate_limit","status":"rejected","resetAt":"2026-04-08T11:00:00.000Z",
            "overage":{"status":"rejected"},"isUsingOverage":false}"#;
        check(
            rejected,
            Some(Report::RateLimited(limit, Fault::new("rate_limited", "turn.rate_limit: rejected"))),
        );
        let on_overage =
            r#"{"type":"turn.rate_limit","status":"rejected","resetAt":1775646000,"isUsingOverage":true}"#;
        check(
            on_overage,
            Some(Report::LimitWarning(LimitReport { reset, overage: None, using_overage: true })),
        );
        check(r#"{"type":"turn.rate_limit","status":"allowed"}"#, Some(Report::LimitCleared));
        check(r#"{"type":"turn.rate_limit","status":"allowed","isUsingOverage":true}"#, None);
        check(
            r#"{"type":"turn.error","detail":"boom"}"#,
            Some(Report::Failed(Fault::new("turn_error", "boom"))),
        );
    }

    #[test]
    fn exit_codes_name_their_cases() {
        let by = |code| exited(Exit { code: Some(code), signal: None }, "");
        assert_eq!(by(0), Report::Succeeded { result: None });
        assert_eq!(by(75), Report::Throttled(Fault::new("exit_75", "exited with 75")));
        assert_eq!(by(65).name(), "invalid");
        assert_eq!(by(78).name(), "needs_operator");
        assert_eq!(by(3), Report::Failed(Fault::new("exit_3", "exited with 3")));
        let missing = exited(Exit { code: Some(127), signal: None }, "dwell: cannot run x: not found");
        let said = "exited with 127: dwell: cannot run x: not found";
        assert_eq!(missing, Report::Failed(Fault::new("exit_127", said)));
        let killed = exited(Exit { code: None, signal: Some(9) }, "");
        assert_eq!(killed, Report::Failed(Fault::new("signal_9", "ended by signal 9")));
    }
}
