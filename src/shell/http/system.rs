//! What is not about one record: runtimes, what is upcoming, status, whether it is alive, and the test clock.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::Shared;
use super::ask::{Input, Params, Part, answer, ask, unexpected};
use super::modes::Standings;
use super::once::{Call, Once};
use super::records::limit;
use crate::engine::{Answer, Filter, Request, Status};
use crate::model::{Name, Time};
use crate::shell::problem::Problem;
use crate::shell::{time, view};

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

/// `/v1/nodes`, of a store in files.
pub(super) async fn nodes() -> Problem {
    Problem::new(
        501,
        "one_node",
        "this store is in files, so one process has all of it; several nodes share one in PostgreSQL",
    )
}

/// `GET /v1/status`.
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let status = ask_status(&shared).await?;
    let flows = Standings::ask(&shared).await?.summary();
    Ok(answer(StatusCode::OK, view::status(&status, &flows)))
}

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Response {
    answer(StatusCode::OK, json!({ "alive": true }))
}

/// How things are.
pub(super) async fn ask_status(shared: &Shared) -> Result<Status, Problem> {
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

/// What cannot be moved.
pub(super) fn wall_clock() -> Problem {
    Problem::not_found("the clock can be moved only under --test-clock")
}

/// `POST /v1/clock/advance`: `{"by": "31s"}`; there is no such route on the wall clock.
pub(super) async fn advance(
    State(shared): State<Arc<Shared>>,
    Input(mut fields): Input,
) -> Result<Response, Problem> {
    if !shared.clock.is_test() {
        return Err(wall_clock());
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
