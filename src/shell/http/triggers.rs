//! Triggers that were accepted: the list, one with its payload, and what today's flows would make of it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Shared;
use super::ask::{Params, Part, answer, ask, unexpected};
use super::intake::expand;
use super::once::Call;
use super::records::{limit, word};
use crate::engine::{Answer, Filter, Outcome, Request, Triggered};
use crate::model::{Trigger, TriggerId};
use crate::shell::problem::Problem;
use crate::shell::view::{self, Document};

/// `GET /v1/triggers`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let limit = limit(&mut query, Filter::LIMIT_MAX)?;
    let before = word(&mut query, "cursor")?;
    query.finish()?;
    let triggers = triggers(&shared, Request::Triggers { before, limit }).await?;
    let next = triggers.last().filter(|_| triggers.len() == limit).map(|last| last.id.to_string());
    Ok(answer(StatusCode::OK, view::list(triggers.iter().map(view::trigger).collect(), next)))
}

/// `GET /v1/triggers/{id}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Params(query): Params,
) -> Result<Response, Problem> {
    query.finish()?;
    Ok(answer(StatusCode::OK, view::trigger_with_payload(&find(&shared, &id).await?)))
}

/// `POST /v1/triggers/{id}/replay`: `{"force"?: true}`. Without force it is the duplicate that it is.
pub(super) async fn replay(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Call { mut fields, once }: Call,
) -> Result<Response, Problem> {
    let force = fields.flag("force")?;
    fields.finish()?;
    let first = find(&shared, &id).await?;
    if !force {
        let duplicate = Triggered {
            trigger: first.id,
            duplicate: true,
            runs: first.runs,
            shadow: Vec::new(),
            off: Vec::new(),
            debounced: Vec::new(),
            outcome: Outcome::PassThrough,
        };
        return Ok(answer(StatusCode::OK, view::triggered(&duplicate, None)));
    }
    let at = shared.clock.now();
    let trigger = Trigger {
        id: shared.ids.trigger(at, first.id.slot()),
        at,
        dedup: None,
        replay_of: Some(first.id),
        runs: Vec::new(),
        ..first
    };
    let (trigger, runs) = expand(&shared.loaded, trigger);
    let asked = Request::Trigger { trigger: Box::new(trigger), runs, spool: false };
    once.carry_out(&shared, asked, show_triggered).await
}

fn show_triggered(answer: Answer) -> Option<(StatusCode, Document)> {
    let Answer::Triggered(triggered) = answer else { return None };
    Some((StatusCode::ACCEPTED, view::triggered(&triggered, None)))
}

/// The trigger whose id `text` is, or is the only beginning of.
async fn find(shared: &Shared, text: &str) -> Result<Trigger, Problem> {
    let wrong = || format!("{text:?} is no trigger: expected trg_ and up to 26 characters of a ULID");
    let (low, high) = TriggerId::prefixed(text).ok_or_else(|| Problem::not_found(wrong()))?;
    let mut found = triggers(shared, Request::FindTriggers { low, high }).await?.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(Problem::not_found(format!("no trigger {text}"))),
        (Some(trigger), None) => Ok(trigger),
        (Some(a), Some(b)) => {
            let candidates = [a.id.to_string(), b.id.to_string()];
            let detail = format!("{text} is not unique: {}, ..", candidates.join(", "));
            Err(Problem::new(409, "ambiguous", detail).with("candidates", json!(candidates)))
        }
    }
}

async fn triggers(shared: &Shared, request: Request) -> Result<Vec<Trigger>, Problem> {
    let Answer::Triggers(triggers) = ask(shared, request).await? else { return Err(unexpected()) };
    Ok(triggers)
}
