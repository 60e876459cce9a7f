//! Drained scopes: what is, drain, undrain.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use super::ask::{Input, answer, ask, unexpected};
use crate::engine::{Answer, Request};
use crate::model::Scope;
use crate::shell::problem::Problem;
use crate::shell::view;

/// `GET /v1/drains`.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let Answer::Drains(drains) = ask(&shared, Request::Drains).await? else { return Err(unexpected()) };
    Ok(answer(StatusCode::OK, view::list(drains.iter().map(view::drain).collect(), None)))
}

/// `POST /v1/drains`: `{"scope": "runtime:claude", "timeout"?: "30s"}`.
pub(super) async fn drain(
    State(shared): State<Arc<Shared>>,
    Input(mut fields): Input,
) -> Result<Response, Problem> {
    let scope = fields.required("scope")?;
    let scope: Scope = scope.parse().map_err(|error| Problem::field("scope", error))?;
    let timeout = fields.span("timeout")?;
    fields.finish()?;
    one(&shared, Request::DrainScope { scope, timeout }).await
}

/// `DELETE /v1/drains/{scope}`: answers what it was.
pub(super) async fn undrain(
    State(shared): State<Arc<Shared>>,
    Path(scope): Path<String>,
) -> Result<Response, Problem> {
    let scope: Scope = scope.parse().map_err(|error| Problem::field("scope", error))?;
    one(&shared, Request::UndrainScope { scope }).await
}

async fn one(shared: &Shared, request: Request) -> Result<Response, Problem> {
    let Answer::Drain(drain) = ask(shared, request).await? else { return Err(unexpected()) };
    Ok(answer(StatusCode::OK, view::drain(&drain)))
}
