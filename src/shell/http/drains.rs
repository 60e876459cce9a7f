//! Scopes: which are drained, drain, undrain, and why nothing of one starts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use super::ask::{Part, answer, ask, unexpected};
use super::once::Call;
use crate::engine::{Answer, Asked, Request, Rule, Why};
use crate::model::Scope;
use crate::shell::problem::Problem;
use crate::shell::view::{self, Document};

/// `GET /v1/drains`.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let Answer::Drains(drains) = ask(&shared, Request::Drains).await? else { return Err(unexpected()) };
    Ok(answer(StatusCode::OK, view::list(drains.iter().map(view::drain).collect(), None)))
}

/// `POST /v1/drains`: `{"scope": "runtime:claude", "timeout"?: "30s"}`.
pub(super) async fn drain(
    State(shared): State<Arc<Shared>>,
    Call { mut fields, once }: Call,
) -> Result<Response, Problem> {
    let scope = fields.required("scope")?;
    let scope: Scope = scope.parse().map_err(|error| Problem::field("scope", error))?;
    let timeout = fields.span("timeout")?;
    fields.finish()?;
    once.carry_out(&shared, Request::DrainScope { scope, timeout }, show).await
}

/// `DELETE /v1/drains/{scope}`: answers what it was.
pub(super) async fn undrain(
    State(shared): State<Arc<Shared>>,
    Part(scope): Part,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    fields.finish()?;
    let scope: Scope = scope.parse().map_err(|error| Problem::field("scope", error))?;
    once.carry_out(&shared, Request::UndrainScope { scope }, show).await
}

fn show(answer: Answer) -> Option<(StatusCode, Document)> {
    let Answer::Drain(drain) = answer else { return None };
    Some((StatusCode::OK, view::drain(&drain)))
}

/// `GET /v1/scopes/{scope}/why`. A flow that nothing holds waits for its runtime, if for anything.
pub(super) async fn why(State(shared): State<Arc<Shared>>, Part(scope): Part) -> Result<Response, Problem> {
    let scope: Scope = scope.parse().map_err(|error| Problem::field("scope", error))?;
    let named = |problem: Problem| {
        if problem.status == 422 { Problem { status: 404, ..problem } } else { problem }
    };
    let ask_of = async |scope: Scope| {
        let asked = ask(&shared, Request::Why(Asked::Scope(scope))).await.map_err(named)?;
        let Answer::Why(why) = asked else { return Err(unexpected()) };
        Ok(*why)
    };
    let mut why = ask_of(scope.clone()).await?;
    if let (Scope::Flow(name), Rule::Open) = (&scope, &why.rule)
        && let Some(flow) = shared.loaded.get().flows.iter().find(|flow| flow.name == *name)
    {
        let of_runtime = ask_of(Scope::Runtime(flow.runtime.clone())).await?;
        why = Why { asked: why.asked, ..of_runtime };
    }
    Ok(answer(StatusCode::OK, view::why(&why)))
}
