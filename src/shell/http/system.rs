//! What is not about one record: runtimes, what is upcoming, status, health, and the test clock.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::time::timeout;

use super::Shared;
use super::ask::{Input, Params, Part, answer, ask, unexpected};
use super::modes::Standings;
use super::once::{Call, Once};
use super::records::limit;
use crate::engine::{Answer, Filter, Request, Status};
use crate::model::{Name, Time};
use crate::shell::problem::Problem;
use crate::shell::{time, view};

/// An engine that takes longer than this to answer is not ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// The most blocked flows that are told.
const BLOCKED_MAX: usize = 100;

/// `GET /v1/runtimes`.
pub(super) async fn runtimes(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let now = shared.clock.now();
    let Answer::Runtimes(rows) = ask(&shared, Request::Runtimes).await? else { return Err(unexpected()) };
    let items = rows.iter().map(|row| view::runtime(row, now)).collect();
    Ok(answer(StatusCode::OK, view::list(items, None)))
}

/// `POST /v1/runtimes/{name}/pause`, optionally `{"until": .., "model": ..}`; without `until` until resumed, without `model` all of it.
pub(super) async fn pause(
    State(shared): State<Arc<Shared>>,
    Part(name): Part,
    Call { mut fields, once }: Call,
) -> Result<Response, Problem> {
    let now = shared.clock.now();
    let until = match fields.text("until")? {
        None => Time::MAX,
        Some(text) => {
            time::parse_relative(&text, now).map_err(|error| fields.problem("until", &error.to_string()))?
        }
    };
    if until <= now {
        return Err(fields.problem("until", "it is in the past"));
    }
    let model = fields.model("model")?;
    fields.finish()?;
    runtime(&shared, once, Request::PauseRuntime { name: Name::from(name), model, until }).await
}

/// `POST /v1/runtimes/{name}/resume`, optionally `{"model": ..}`.
pub(super) async fn resume(
    State(shared): State<Arc<Shared>>,
    Part(name): Part,
    Call { mut fields, once }: Call,
) -> Result<Response, Problem> {
    let model = fields.model("model")?;
    fields.finish()?;
    runtime(&shared, once, Request::ResumeRuntime { name: Name::from(name), model }).await
}

async fn runtime(shared: &Shared, once: Once, request: Request) -> Result<Response, Problem> {
    let now = shared.clock.now();
    let show = move |answer| {
        let Answer::Runtime(row) = answer else { return None };
        Some((StatusCode::OK, view::runtime(&row, now)))
    };
    let answered = once.carry_out(shared, request, show).await;
    // It is what the path names, not a field of a body.
    answered.map_err(|problem| {
        if problem.code == "unknown_runtime" { Problem { status: 404, ..problem } } else { problem }
    })
}

/// `GET /v1/upcoming`.
pub(super) async fn upcoming(
    State(shared): State<Arc<Shared>>,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let limit = limit(&mut query, Filter::LIMIT_MAX)?;
    query.finish()?;
    let asked = Request::Upcoming { limit };
    let Answer::Upcoming(upcoming) = ask(&shared, asked).await? else { return Err(unexpected()) };
    Ok(answer(StatusCode::OK, view::list(upcoming.iter().map(view::upcoming).collect(), None)))
}

/// `GET /v1/status`.
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let mut document = view::status(&ask_status(&shared).await?);
    if let Some(members) = document.as_object_mut() {
        members.extend(Standings::ask(&shared).await?.summary());
    }
    Ok(answer(StatusCode::OK, document))
}

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Response {
    answer(StatusCode::OK, json!({ "alive": true }))
}

/// `GET /readyz`: the engine answers, and takes new work. A blocked flow is told beside it: its triggers are still taken.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let asked = async { Ok((ask_status(&shared).await?, Standings::ask(&shared).await?)) };
    let reason = match timeout(READY_WITHIN, asked).await {
        Err(_) => format!("the engine does not answer within {}", time::format_span(READY_WITHIN)),
        Ok(Err::<_, Problem>(problem)) => problem.detail,
        Ok(Ok((status, standings))) => {
            let full = status.space.as_ref().filter(|space| space.is_short()).map(ToString::to_string);
            let draining = |until| format!("draining until {}", time::format(until));
            let Some(reason) = status.draining_until.map(draining).or(full) else {
                let reasons = [held(&status), blocked(&standings), refused_reload(&shared)].concat();
                return answer(StatusCode::OK, json!({ "ready": true, "reasons": reasons }));
            };
            reason
        }
    };
    answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "ready": false, "reasons": [reason] }))
}

/// What is taken in and not started, which is no reason to be called unready.
fn held(status: &Status) -> Vec<String> {
    let drains = status.drains.iter();
    drains.map(|drain| format!("{} is drained since {}", drain.scope, time::format(drain.since))).collect()
}

/// Flows whose runs are taken in and cannot be carried out.
fn blocked(standings: &Standings) -> Vec<String> {
    let blocked = standings.blocked();
    let told = blocked.iter().take(BLOCKED_MAX);
    told.map(|one| format!("flow {} is live and blocked: {}", one.flow, one.why)).collect()
}

/// A reload that changed nothing: what was loaded before it is in force.
fn refused_reload(shared: &Shared) -> Vec<String> {
    let last = shared.loaded.last_reload().into_iter();
    let refused = last.filter_map(|last| Some((time::format(last.at), last.refused?)));
    refused.map(|(at, why)| format!("not reloaded at {at}, what was loaded before goes on: {why}")).collect()
}

async fn ask_status(shared: &Shared) -> Result<Status, Problem> {
    let Answer::Status(status) = ask(shared, Request::Status).await? else { return Err(unexpected()) };
    Ok(*status)
}

/// `GET /openapi.yaml`: the contract of this build.
pub(super) async fn openapi() -> Response {
    // RFC 9512.
    ([(header::CONTENT_TYPE, "application/yaml")], super::OPENAPI).into_response()
}

/// The furthest a test clock is moved at once: it goes from deadline to deadline, and a schedule may have one a minute.
const ADVANCE_MAX: Duration = Duration::from_hours(366 * 24);

/// `POST /v1/clock/advance`: `{"by": "31s"}`; there is no such route on the wall clock.
pub(super) async fn advance(
    State(shared): State<Arc<Shared>>,
    Input(mut fields): Input,
) -> Result<Response, Problem> {
    if !shared.clock.is_test() {
        return Err(Problem::not_found("the clock can be moved only under --test-clock"));
    }
    let by = fields.span("by")?.ok_or_else(|| fields.problem("by", "it is missing"))?;
    if by > ADVANCE_MAX {
        let expected = format!("expected at most {}; go on from there", time::format_span(ADVANCE_MAX));
        return Err(fields.problem("by", &expected));
    }
    fields.finish()?;
    let handle = shared.handle.clone();
    let advanced = tokio::task::spawn_blocking(move || handle.advance(by)).await;
    let advanced = advanced.map_err(|error| Problem::internal("the clock was not moved", error))??;
    let document = json!({
        "now": time::format(advanced.now),
        "ticks": advanced.ticks,
        "transitions": advanced.transitions,
    });
    Ok(answer(StatusCode::OK, document))
}
