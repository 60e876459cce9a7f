//! Drained scopes: what is, drain, undrain.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::Shared;
use super::ask::{answer, ask, unexpected};
use super::once::Call;
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
    Path(scope): Path<String>,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    fields.finish()?;
    let scope: Scope = scope.parse().map_err(|error| Problem::field("scope", error))?;
    once.carry_out(&shared, Request::UndrainScope { scope }, show).await
}

fn show(answer: Answer) -> Option<(StatusCode, Value)> {
    let Answer::Drain(drain) = answer else { return None };
    Some((StatusCode::OK, view::drain(&drain)))
}
