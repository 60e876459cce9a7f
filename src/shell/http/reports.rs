//! What attempts say and take over HTTP: reports and charges.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::Shared;
use super::access::{Caller, bearer};
use super::ask::{Part, resolve};
use super::once::Call;
use super::records::show_record;
use crate::engine::{Answer, Request};
use crate::model::{LimitReport, Overage, Particulars, RecordId, Report, Time, Usage, bounded, code};
use crate::shell::fields::Fields;
use crate::shell::problem::Problem;
use crate::shell::view;

/// `POST /v1/records/{id}/reports`.
pub(super) async fn report(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Call { mut fields, once }: Call,
) -> Result<Response, Problem> {
    let id = resolve(&shared, &id).await?;
    let attempt = required_attempt(&mut fields)?;
    prove(&shared, caller, &headers, id, attempt)?;
    let report = read(fields, shared.clock.now())?;
    once.carry_out(&shared, Request::Report { id, attempt, report }, show_record).await
}

/// `POST /v1/records/{id}/charge`.
pub(super) async fn charge(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Call { mut fields, once }: Call,
) -> Result<Response, Problem> {
    let id = resolve(&shared, &id).await?;
    let attempt = required_attempt(&mut fields)?;
    prove(&shared, caller, &headers, id, attempt)?;
    let calls = fields.small("calls")?.unwrap_or(1);
    if calls == 0 {
        return Err(fields.problem("calls", "expected at least 1"));
    }
    fields.finish()?;
    let show = |answer| {
        let Answer::Charged(meter) = answer else { return None };
        Some((StatusCode::OK, view::charged(meter)))
    };
    once.carry_out(&shared, Request::Charge { id, attempt, calls }, show).await
}

/// Which attempt speaks.
pub(super) fn required_attempt(fields: &mut Fields) -> Result<u32, Problem> {
    fields.small("attempt")?.ok_or_else(|| fields.problem("attempt", "it is missing"))
}

/// Where no token is asked for, a wrong one is still a mistake worth telling: it belongs to another attempt.
fn prove(
    shared: &Shared,
    caller: Caller,
    headers: &HeaderMap,
    id: RecordId,
    attempt: u32,
) -> Result<(), Problem> {
    match (caller, bearer(headers)) {
        (Caller::Holder, _) | (Caller::Anyone, None) => Ok(()),
        (Caller::Attempt(..) | Caller::Anyone, token) => {
            is_token(shared, token.unwrap_or_default(), id, attempt)
        }
    }
}

/// Whether a token that was given is the right one.
pub(super) fn is_token(shared: &Shared, token: &str, id: RecordId, attempt: u32) -> Result<(), Problem> {
    if (shared.token_ok)(id, attempt, token) {
        return Ok(());
    }
    Err(Problem::new(401, "bad_token", format!("this is not the token of attempt {attempt} of {id}")))
}

/// What an attempt says.
pub(super) fn read(mut fields: Fields, now: Time) -> Result<Report, Problem> {
    let kind = fields.required("type")?;
    let raw = fields.raw();
    let said = Particulars {
        code: fields.name("code")?,
        message: fields.text("message")?,
        limit: limit(&mut fields, now)?,
        result: result(&mut fields),
        session: fields.text("id")?,
        // Anywhere else it would be passed over in silence.
        usage: if kind == "usage" { usage(&mut fields)? } else { Usage::default() },
    };
    let report = Report::named(&kind, said, &raw);
    // An unknown type may come with fields of its own; they are in the raw text.
    if !matches!(&report, Report::Failed(fault) if fault.code == code::UNKNOWN_REPORT) {
        fields.finish()?;
    }
    Ok(report)
}

fn usage(fields: &mut Fields) -> Result<Usage, Problem> {
    let tokens = fields.number("tokens")?.unwrap_or(0);
    Ok(Usage { tokens, cost: fields.dollars("cost_usd")?.unwrap_or(0), ..Usage::default() })
}

fn result(fields: &mut Fields) -> Option<String> {
    let value = fields.any("result")?;
    Some(bounded(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
}

fn limit(fields: &mut Fields, now: Time) -> Result<LimitReport, Problem> {
    let reset = fields.reset("reset_at", now);
    let overage = match fields.object("overage")? {
        None => None,
        Some(mut overage) => {
            let rejected = overage.text("status")?.as_deref() == Some("rejected");
            let read = Overage { rejected, reset: overage.reset("reset_at", now) };
            overage.finish()?;
            Some(read)
        }
    };
    Ok(LimitReport { reset, overage, using_overage: fields.flag("using_overage")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fault, Reset};

    fn parse(json: &str) -> Result<Report, String> {
        read(Fields::parse(json.as_bytes()).unwrap(), Time::ZERO).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_limit_is_read_with_its_overage() {
        let at = Time::from_millis(1_795_226_400_000);
        let report = parse(
            r#"{"type":"rate_limited","reset_at":1795226400,"message":"full","using_overage":false,
                "overage":{"status":"rejected","reset_at":"later"}}"#,
        );
        let overage = Some(Overage { rejected: true, reset: Reset::Unusable("later".to_owned()) });
        let limit = LimitReport { reset: Reset::At(at), overage, using_overage: false };
        assert_eq!(report, Ok(Report::RateLimited(limit, Fault::new("rate_limited", "full"))));
    }

    #[test]
    fn every_type_of_the_contract_is_known() {
        for kind in [
            "heartbeat",
            "usage",
            "succeeded",
            "failed",
            "timed_out",
            "throttled",
            "unavailable",
            "rate_limited",
            "limit_warning",
            "limit_cleared",
            "invalid",
            "ingestion_failed",
            "needs_operator",
        ] {
            let report = parse(&format!(r#"{{"type":"{kind}"}}"#)).unwrap();
            assert_eq!(report.name(), kind);
        }
    }

    #[test]
    fn usage_is_read_in_dollars() {
        let usage = Usage { tokens: 1200, cost: 40_000, ..Usage::default() };
        assert_eq!(parse(r#"{"type":"usage","tokens":1200,"cost_usd":0.04}"#), Ok(Report::Usage(usage)));
        for (json, detail) in [
            (r#"{"type":"usage","tokens":-1}"#, "tokens: expected a whole number from 0 on, not -1"),
            (r#"{"type":"usage","cost_usd":-0.1}"#, "cost_usd: expected an amount of dollars, not a number"),
            (r#"{"type":"usage","cost":1}"#, "cost: unknown field"),
            (r#"{"type":"succeeded","cost_usd":0.4}"#, "cost_usd: unknown field"),
        ] {
            assert_eq!(parse(json), Err(detail.to_owned()));
        }
    }

    #[test]
    fn an_unknown_type_counts_as_failed_and_keeps_its_text() {
        let expected = Report::Failed(Fault::new(
            "unknown_report",
            r#"unknown report "exploded": {"message":"boom","x":1}"#,
        ));
        assert_eq!(parse(r#"{"type":"exploded","message":"boom","x":1}"#), Ok(expected));
        assert_eq!(parse("{}"), Err("type: it is missing".to_owned()));
        assert_eq!(parse(r#"{"type":"heartbeat","x":1}"#), Err("x: unknown field".to_owned()));
    }

    #[test]
    fn a_result_may_be_text_or_json() {
        let text = Report::Succeeded { result: Some("done".to_owned()) };
        assert_eq!(parse(r#"{"type":"succeeded","result":"done"}"#), Ok(text));
        let json = Report::Succeeded { result: Some(r#"{"n":1}"#.to_owned()) };
        assert_eq!(parse(r#"{"type":"succeeded","result":{"n":1}}"#), Ok(json));
    }
}
