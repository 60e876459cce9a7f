//! Claude Code's `--output-format stream-json --verbose`.
//!
//! Only typed fields are read, and of the prose only the first words of a terminal `is_error` result, which are how
//! versions before the typed status name a used-up window. A rejection is remembered, not told: the terminal result
//! or the process's end tells it, for the agent may still be served (from overage, or because the window opened).
//! The exit code says nothing (0 or 1 by version).

use serde_json::{Map, Value};

use super::reset::written;
use super::{
    Exit, Said, Standing, Stream, by_status, counts, dollars, ending, fields, object, renamed, reset_of,
    silent, text,
};
use crate::model::{Fault, LimitReport, Overage, Report, Reset, Time, Usage, bounded, code};

/// How the CLI begins the text of a result that a used-up window ended.
const LIMIT_TEXTS: [&str; 4] = ["You've hit your", "You've reached your", "You're out of ", LIMIT_REACHED];
/// An old form; the reset follows as `|<epoch seconds>`.
const LIMIT_REACHED: &str = "Claude AI usage limit reached";
/// Said of a session id it does not know, in `errors` of the result and on stderr.
const NO_CONVERSATION: &str = "No conversation found with session ID";

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Claude {
    spoke: bool,
    session: Option<String>,
    /// The last rejection, until something is served again.
    rejected: Option<LimitReport>,
    /// The kind of the last assistant message, if that was an API error.
    error: Option<String>,
    /// What the session's own meter showed before, in millionths of a dollar.
    told: u64,
    /// Whether that meter goes on from there, by the version that `system/init` names.
    goes_on: bool,
}

/// The first version whose `total_cost_usd` goes on over a resume; before it each process counted from zero.
const GOES_ON_SINCE: [u64; 3] = [2, 1, 277];

impl Stream for Claude {
    fn spoke(&self) -> bool {
        self.spoke
    }

    fn line(&mut self, line: &str, _now: Time) -> Vec<Said> {
        let Some(fields) = fields(line) else { return vec![Said::Activity] };
        let Some(kind) = text(&fields, "type") else { return vec![Said::Activity] };
        match (kind, text(&fields, "subtype")) {
            ("system", Some("init")) => {
                self.spoke = true;
                self.goes_on = text(&fields, "claude_code_version").is_some_and(goes_on);
                let session = text(&fields, "session_id");
                vec![renamed(&mut self.session, session).unwrap_or(Said::Activity)]
            }
            ("system", Some("api_retry")) => vec![Said::Retrying],
            ("rate_limit_event", _) => {
                self.spoke = true;
                vec![self.limit(&fields)]
            }
            ("assistant", _) => {
                self.spoke = true;
                self.error = text(&fields, "error").map(bounded);
                vec![Said::Activity]
            }
            ("result", _) => {
                self.spoke = true;
                let usage = self.usage(&fields);
                ending(usage, self.finished(&fields))
            }
            _ => vec![Said::Activity],
        }
    }

    fn exited(self: Box<Self>, exit: Exit, errors: &str, _now: Time) -> Report {
        if let Some(limit) = self.rejected {
            let message = "the window is used up, and no result followed";
            return Report::RateLimited(limit, Fault::new(code::RATE_LIMITED, message));
        }
        if errors.lines().any(|line| line.contains(NO_CONVERSATION)) {
            return Report::NotResumable(Fault::new("not_resumable", errors));
        }
        self.error.and_then(|kind| by_kind(&kind, errors)).unwrap_or_else(|| silent(exit, errors))
    }
}

impl Claude {
    /// Goes on with a session whose own meter showed that much.
    pub fn resuming(told: u64) -> Claude {
        Claude { told, ..Claude::default() }
    }

    /// Tokens are the process's own in every version; money may be the whole session's. A meter that shows less than
    /// before began anew.
    fn usage(&self, fields: &Map<String, Value>) -> Usage {
        const TOKENS: [&str; 4] =
            ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
        let tokens = object(fields, "usage").map_or(0, |usage| counts(usage, &TOKENS));
        let total = dollars(fields, "total_cost_usd");
        let before = if self.goes_on { self.told } else { 0 };
        let cost = total.map_or(0, |total| total.checked_sub(before).unwrap_or(total));
        Usage { tokens, cost, session_cost: total, ..Usage::default() }
    }

    fn limit(&mut self, fields: &Map<String, Value>) -> Said {
        let Some(told) = fields.get("rate_limit_info").and_then(Value::as_object) else {
            return Said::Activity;
        };
        let overage =
            (told.contains_key("overageStatus") || told.contains_key("overageResetsAt")).then(|| Overage {
                rejected: text(told, "overageStatus") == Some("rejected"),
                reset: reset_of(told.get("overageResetsAt")),
            });
        let using_overage = told.get("isUsingOverage").and_then(Value::as_bool).unwrap_or(false);
        let limit = LimitReport { reset: reset_of(told.get("resetsAt")), overage, using_overage };
        let standing = match text(told, "status") {
            // `overageStatus: rejected` beside it is the normal state of accounts without credits.
            Some("allowed") => Standing::Allowed,
            Some("allowed_warning") => Standing::Warning,
            Some("rejected") => Standing::Rejected,
            _ => return Said::Activity,
        };
        let stops = standing == Standing::Rejected && !using_overage;
        self.rejected = stops.then(|| limit.clone());
        Said::Limit { standing, limit }
    }

    /// The terminal line. `subtype: success` with `is_error: true` happens, so the subtype alone proves nothing good;
    /// `error_*` without the flag happens too.
    fn finished(&mut self, fields: &Map<String, Value>) -> Report {
        let subtype = text(fields, "subtype").unwrap_or_default();
        let failed = fields.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        if !failed && !subtype.starts_with("error") {
            return Report::Succeeded { result: text(fields, "result").map(bounded) };
        }
        let errors: Vec<&str> = fields
            .get("errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let message = text(fields, "result").map_or_else(|| errors.join("\n"), str::to_owned);
        let status = fields.get("api_error_status").and_then(Value::as_u64);
        let limit_text = is_limit(&message) || errors.iter().any(|error| is_limit(error));

        if errors.iter().any(|error| error.contains(NO_CONVERSATION)) {
            return Report::NotResumable(Fault::new("not_resumable", &errors.join("\n")));
        }
        let rejected = self.rejected.take();
        if limit_text || (rejected.is_some() && matches!(status, None | Some(429))) {
            let limit = with_text(rejected.unwrap_or_default(), &message);
            return Report::RateLimited(limit, Fault::new(code::RATE_LIMITED, &message));
        }
        let by_status = status.and_then(|status| by_status(status, &message));
        let by_kind = || self.error.take().and_then(|kind| by_kind(&kind, &message));
        by_status.or_else(by_kind).unwrap_or_else(|| {
            let code = match status {
                Some(status) => format!("api_{status}"),
                None if subtype.starts_with("error") => subtype.to_owned(),
                None => "agent_error".to_owned(),
            };
            Report::Failed(Fault::new(&code, if message.is_empty() { subtype } else { &message }))
        })
    }
}

fn goes_on(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let version = [(); 3].map(|()| numbers.next().unwrap_or(0));
    version >= GOES_ON_SINCE
}

fn is_limit(message: &str) -> bool {
    // Some versions print a typographic apostrophe.
    let start: String = message.chars().take(40).map(|c| if c == '\u{2019}' { '\'' } else { c }).collect();
    LIMIT_TEXTS.iter().any(|prefix| start.starts_with(prefix))
}

/// The old form's reset, where the typed one is missing.
fn with_text(limit: LimitReport, message: &str) -> LimitReport {
    match (&limit.reset, message.strip_prefix(LIMIT_REACHED).and_then(|rest| rest.strip_prefix('|'))) {
        (Reset::Absent | Reset::Unusable(_), Some(epoch)) => {
            LimitReport { reset: written(epoch.trim()), ..limit }
        }
        (Reset::Absent | Reset::Unusable(_) | Reset::At(_), _) => limit,
    }
}

/// `assistant.error`: where the status is not told.
fn by_kind(kind: &str, message: &str) -> Option<Report> {
    let fault = Fault::new(kind, if message.is_empty() { kind } else { message });
    match kind {
        "rate_limit" => Some(Report::RateLimited(LimitReport::default(), fault)),
        "overloaded" => Some(Report::Throttled(fault)),
        "server_error" => Some(Report::Unavailable(fault)),
        "authentication_failed" | "billing_error" | "oauth_org_not_allowed" => {
            Some(Report::NeedsOperator(fault))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, reports};
    use super::*;

    const INIT: &str = r#"{"type":"system","subtype":"init","cwd":"/w","session_id":"s1","tools":[]}"#;
    const ALLOWED: &str = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"allowed","resetsAt":1771390800,
        "rateLimitType":"five_hour","overageStatus":"rejected","overageDisabledReason":"org_level_disabled",
        "isUsingOverage":false},"uuid":"u","session_id":"s1"}"#;
    const REJECTED: &str = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1771390800,
        "rateLimitType":"five_hour","overageStatus":"rejected","overageResetsAt":1772323200,"isUsingOverage":false}}"#;
    const OVERAGE: &str = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1771390800,
        "overageStatus":"allowed","isUsingOverage":true}}"#;
    const SUCCESS: &str = r#"{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"done","session_id":"s1"}"#;
    const LIMITED: &str = r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":429,
        "result":"You've hit your limit · resets 5am (UTC)","session_id":"s1"}"#;

    fn check(lines: &[&str], expected: &str) {
        assert_eq!(reports(Claude::default(), lines, 1, ""), expected, "{lines:#?}");
    }

    fn result(rest: &str) -> String {
        format!(r#"{{"type":"result","subtype":"success","is_error":true,{rest}}}"#)
    }

    #[test]
    fn allowed_without_overage_clears_and_says_nothing_else() {
        check(&[INIT, ALLOWED, SUCCESS], "session s1, limit_cleared, succeeded done");
        let warning = ALLOWED.replace("\"allowed\"", "\"allowed_warning\"");
        check(&[&warning, SUCCESS], "succeeded done");
        let on_overage = ALLOWED.replace("\"isUsingOverage\":false", "\"isUsingOverage\":true");
        check(&[&on_overage, SUCCESS], "succeeded done");
    }

    #[test]
    fn a_limit_stop_is_a_rejection_and_then_an_error_result() {
        check(&[INIT, REJECTED, LIMITED], "session s1, rate_limited 1771390800");
        check(
            &[REJECTED, &result(r#""api_error_status":null,"result":"stopped""#)],
            "rate_limited 1771390800",
        );
    }

    /// A result with what it used, of a version that is named in `system/init`.
    fn told(version: &str, told: u64, members: &str) -> Vec<Said> {
        let mut claude = Claude::resuming(told);
        let init =
            INIT.replace(r#""session_id""#, &format!(r#""claude_code_version":"{version}","session_id""#));
        assert!(init.contains(version));
        claude.line(&init, NOW);
        claude.line(&SUCCESS.replacen('{', &format!("{{{members},"), 1), NOW)
    }

    #[test]
    fn a_result_tells_first_what_the_process_used() {
        let members = r#""total_cost_usd":0.4,"usage":{"input_tokens":10,"output_tokens":20,
            "cache_creation_input_tokens":300,"cache_read_input_tokens":4000,"service_tier":"standard"}"#;
        let [Said::Used(usage), Said::Finished(Report::Succeeded { .. })] = told("2.1.221", 0, members)[..]
        else {
            panic!()
        };
        let expected = Usage { tokens: 4330, cost: 400_000, of_end: true, session_cost: Some(400_000) };
        assert_eq!(usage, expected);
    }

    #[test]
    fn a_meter_that_goes_on_over_a_resume_is_read_from_where_it_stood() {
        let total = r#""total_cost_usd":0.386463"#;
        for (version, before, cost) in [
            ("2.1.276", 363_044, 386_463),
            ("2.1.277", 363_044, 23_419),
            ("2.2.0", 363_044, 23_419),
            ("3.0.0-beta", 363_044, 23_419),
            ("2.1.278", 0, 386_463),
            ("2.1.278", 386_463, 0),
            // It began anew.
            ("2.1.278", 500_000, 386_463),
            ("unheard of", 363_044, 386_463),
        ] {
            let Said::Used(usage) = &told(version, before, total)[0] else { panic!("{version}") };
            assert_eq!((usage.cost, usage.session_cost), (cost, Some(386_463)), "{version} after {before}");
        }
    }

    #[test]
    fn what_is_no_usage_is_not_counted() {
        for members in [
            r#""total_cost_usd":-1"#,
            r#""total_cost_usd":"much","usage":{"input_tokens":-5,"output_tokens":1.5}"#,
            r#""usage":[1]"#,
        ] {
            let said = told("2.1.278", 5, members);
            assert!(matches!(said[..], [Said::Finished(_)]), "{members}: {said:?}");
        }
    }

    #[test]
    fn a_limit_stop_brings_both_windows() {
        let mut claude = Claude::default();
        claude.line(REJECTED, NOW);
        let [Said::Finished(Report::RateLimited(limit, fault))] = &claude.line(LIMITED, NOW)[..] else {
            panic!()
        };
        let overage = Overage { rejected: true, reset: Reset::At(Time::from_millis(1_772_323_200_000)) };
        assert_eq!(limit.overage, Some(overage));
        assert_eq!((fault.code.as_str(), limit.using_overage), ("rate_limited", false));
    }

    #[test]
    fn a_rejection_is_told_by_the_end_of_the_process() {
        check(&[INIT, REJECTED], "session s1, rate_limited 1771390800");
    }

    #[test]
    fn a_rejection_that_is_served_after_all_is_no_stop() {
        check(&[REJECTED, SUCCESS], "succeeded done");
        check(&[REJECTED, ALLOWED], "limit_cleared, failed silent");
        check(&[REJECTED, OVERAGE], "limit_warning, failed silent");
    }

    #[test]
    fn a_rejection_on_overage_is_a_warning() {
        check(&[OVERAGE, SUCCESS], "limit_warning, succeeded done");
    }

    #[test]
    fn a_reset_that_is_no_time_travels_as_it_stood() {
        for (value, raw) in [("\"soon\"", "soon"), ("-1", "-1")] {
            let rejected = REJECTED.replace("1771390800", value);
            check(&[&rejected, LIMITED], &format!("rate_limited ?{raw}"));
        }
        let millis = REJECTED.replace("1771390800", "1771390800123");
        check(&[&millis], "rate_limited 1771390800");
    }

    #[test]
    fn limit_texts_of_an_error_result_are_limits() {
        for text in
            ["You've reached your weekly limit", "You\u{2019}ve hit your limit", "You're out of extra usage"]
        {
            check(&[&result(&format!(r#""result":"{text}""#))], "rate_limited");
        }
        let old = result(r#""result":"Claude AI usage limit reached|1771390800""#);
        check(&[&old], "rate_limited 1771390800");
        check(&[&result(r#""result":"Claude AI usage limit reached|later""#)], "rate_limited ?later");
    }

    #[test]
    fn talk_about_limits_is_only_talk() {
        let talk =
            r#"{"type":"assistant","message":{"content":[{"type":"text","text":"You've hit your limit"}]}}"#;
        check(&[talk, SUCCESS], "succeeded done");
        let said = SUCCESS.replace("done", "You've hit your limit");
        check(&[&said], "succeeded You've hit your limit");
        check(&[&result(r#""result":"I said: You've hit your limit""#)], "failed agent_error");
    }

    #[test]
    fn statuses_name_their_cases() {
        for (status, expected) in [
            (401, "needs_operator api_401"),
            (402, "needs_operator api_402"),
            (403, "needs_operator api_403"),
            (429, "throttled api_429"),
            (529, "throttled api_529"),
            (500, "unavailable api_500"),
            (503, "unavailable api_503"),
            (400, "failed api_400"),
        ] {
            check(&[&result(&format!(r#""api_error_status":{status},"result":"API Error""#))], expected);
        }
    }

    #[test]
    fn error_kinds_count_where_no_status_is_told() {
        for (kind, expected) in [
            ("authentication_failed", "needs_operator authentication_failed"),
            ("billing_error", "needs_operator billing_error"),
            ("overloaded", "throttled overloaded"),
            ("server_error", "unavailable server_error"),
            ("rate_limit", "rate_limited"),
            ("invalid_request", "failed agent_error"),
        ] {
            let assistant = format!(r#"{{"type":"assistant","error":"{kind}","message":{{}}}}"#);
            check(&[&assistant, &result(r#""result":"API Error""#)], expected);
        }
        check(&[r#"{"type":"assistant","error":"overloaded"}"#], "throttled overloaded");
        check(&[r#"{"type":"assistant","error":"overloaded"}"#, r#"{"type":"assistant"}"#], "failed silent");
    }

    #[test]
    fn an_unknown_session_is_not_resumable() {
        let result = r#"{"type":"result","subtype":"error_during_execution","is_error":true,"num_turns":0,
            "errors":["No conversation found with session ID: 1b"],"session_id":"1b"}"#;
        check(&[result], "not_resumable not_resumable");
        let on_stderr = reports(Claude::default(), &[], 1, "No conversation found with session ID: 1b");
        assert_eq!(on_stderr, "not_resumable not_resumable");
    }

    #[test]
    fn an_error_subtype_is_an_error_also_without_the_flag() {
        let turns = r#"{"type":"result","subtype":"error_max_turns","is_error":false,"num_turns":9}"#;
        check(&[turns], "failed error_max_turns");
    }

    #[test]
    fn a_retry_is_no_failure_and_the_unknown_is_skipped() {
        let retry = r#"{"type":"system","subtype":"api_retry","attempt":1,"error_status":529}"#;
        assert_eq!(Claude::default().line(retry, NOW), [Said::Retrying]);
        check(&[retry, "not json", r#"{"type":"new"}"#, r#"{"n":1}"#, "[]", SUCCESS], "succeeded done");
        check(&[r#"{"type":"rate_limit_event"}"#, SUCCESS], "succeeded done");
    }

    #[test]
    fn the_newest_session_id_is_kept_and_told_when_it_changes() {
        let second = INIT.replace("s1", "s2");
        check(&[INIT, INIT, &second, SUCCESS], "session s1, session s2, succeeded done");
    }

    #[test]
    fn a_stream_without_a_result_is_silent() {
        check(&[INIT], "session s1, failed silent");
        check(&[], "failed silent");
    }
}
