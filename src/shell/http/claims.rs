//! `/v1/claims`: what pull workers ask for.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use super::ask::{Params, answer, ask, unexpected};
use super::intake::required_name;
use super::once::Call;
use crate::engine::{Answer, Claim, Claimed, Filter, Request};
use crate::model::{Name, Prompt};
use crate::shell::fields::Fields;
use crate::shell::problem::Problem;
use crate::shell::view::{self, Document, Object};

/// The most attempts of one claim.
const ATTEMPTS_MAX: usize = Filter::LIMIT_MAX;

/// The longest a claim waits; a longer one waits for so long.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);

/// The lease of a claim that names none.
const LEASE: Duration = Duration::from_secs(60);

/// The shortest and the longest lease.
const LEASES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(24 * 3600)];

/// `POST /v1/claims`.
pub(super) async fn claim(
    State(shared): State<Arc<Shared>>,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    // Dropped with this request when its client hangs up: then nothing is claimed for it.
    let listening = Arc::new(());
    let claim = Claim { listener: Arc::downgrade(&listening), ..read(fields)? };
    let teller = Arc::clone(&shared);
    let show = move |answer| {
        let Answer::Claimed(claimed) = answer else { return None };
        let attempts: Vec<Document> = claimed.iter().map(|claimed| shown(&teller, claimed)).collect();
        Some((StatusCode::OK, Object::default().with("attempts", attempts).done()))
    };
    let answered = once.carry_out(&shared, Request::Claim(Box::new(claim)), show).await;
    drop(listening);
    answered
}

/// `GET /v1/claims`.
pub(super) async fn queues(
    State(shared): State<Arc<Shared>>,
    Params(query): Params,
) -> Result<Response, Problem> {
    query.finish()?;
    let Answer::Queues(queues) = ask(&shared, Request::Queues).await? else { return Err(unexpected()) };
    Ok(answer(StatusCode::OK, view::list(queues.iter().map(view::queue).collect(), None)))
}

fn read(mut fields: Fields) -> Result<Claim, Problem> {
    let [shortest, longest] = LEASES;
    let max = fields.number("max")?.map_or(Some(1), |max| usize::try_from(max).ok());
    let max = max.filter(|max| (1..=ATTEMPTS_MAX).contains(max));
    let lease = fields.span("lease")?.unwrap_or(LEASE);
    if !(shortest..=longest).contains(&lease) {
        return Err(fields.problem("lease", "expected 1s to 24h"));
    }
    let claim = Claim {
        worker: required_name(&mut fields, "worker")?,
        queue: Name::from(required_name(&mut fields, "queue")?),
        max: max.ok_or_else(|| fields.problem("max", &format!("expected 1 to {ATTEMPTS_MAX}")))?,
        wait: fields.span("wait")?.unwrap_or_default().min(WAIT_MAX),
        lease,
        listener: std::sync::Weak::new(),
    };
    fields.finish()?;
    Ok(claim)
}

fn shown(shared: &Shared, claimed: &Claimed) -> Document {
    let start = &claimed.start;
    let loaded = shared.loaded.get();
    let prompt = match start.prompt {
        Prompt::Original => None,
        Prompt::LimitReset => Some(loaded.prompts.limit_reset.as_str()),
        Prompt::Continue => Some(loaded.prompts.go_on.as_str()),
    };
    view::claimed(claimed, prompt, &(shared.token)(start.id, start.attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Result<Claim, String> {
        read(Fields::parse(json.as_bytes()).unwrap()).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_claim_is_read_whole_and_bounded() {
        let claim = asked(r#"{"worker":"me","queue":"q","max":10,"wait":"20s","lease":"5m"}"#).unwrap();
        assert_eq!((claim.worker.as_str(), &*claim.queue, claim.max), ("me", "q", 10));
        assert_eq!((claim.wait, claim.lease), (Duration::from_secs(20), Duration::from_secs(300)));
        let claim = asked(r#"{"worker":"me","queue":"q","wait":"2h"}"#).unwrap();
        assert_eq!((claim.max, claim.wait, claim.lease), (1, WAIT_MAX, LEASE));
        for (json, detail) in [
            (r#"{"queue":"q"}"#, "worker: it is missing"),
            (r#"{"worker":"me"}"#, "queue: it is missing"),
            (r#"{"worker":"me","queue":"q","max":0}"#, "max: expected 1 to 1000"),
            (r#"{"worker":"me","queue":"q","lease":"100ms"}"#, "lease: expected 1s to 24h"),
            (r#"{"worker":"me","queue":"q","lease":"25h"}"#, "lease: expected 1s to 24h"),
            (r#"{"worker":"me","queue":"q","queues":["r"]}"#, "queues: unknown field: did you mean queue"),
        ] {
            assert_eq!(asked(json).unwrap_err(), detail, "{json}");
        }
    }
}
