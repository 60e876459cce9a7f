//! What waits and runs, env by env.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use super::ask::{Params, answer, ask, unexpected};
use super::records::limit;
use crate::engine::{Answer, EnvFilter, Filter, Request};
use crate::model::Name;
use crate::shell::problem::Problem;
use crate::shell::view;

/// Between the org and the env of a cursor; no name has one in it. An org alone is all of it.
const BETWEEN: char = '\t';

/// `GET /v1/queues`.
pub(super) async fn queues(
    State(shared): State<Arc<Shared>>,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let after = query.text("cursor")?.map(|text| {
        let (org, env) = text.split_once(BETWEEN).unwrap_or((&text, ""));
        (Name::from(org), Name::from(env))
    });
    let org = query.name("org")?.map(Name::from);
    let limit = limit(&mut query, Filter::LIMIT_MAX)?;
    query.finish()?;
    let asked = Request::Envs(EnvFilter { org, after, limit });
    let Answer::Envs(page) = ask(&shared, asked).await? else { return Err(unexpected()) };
    let next = page.next.map(|(org, env)| format!("{org}{BETWEEN}{env}"));
    Ok(answer(StatusCode::OK, view::list(page.envs.iter().map(view::env).collect(), next)))
}
