//! Dead letters in groups, and the paced redrives that are running.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::time::timeout;

use super::Shared;
use super::ask::{Params, Part, answer, ask, unexpected};
use super::once::Call;
use super::records::{WAIT_MAX, limit};
use crate::engine::{Answer, Filter, Request};
use crate::model::RedriveId;
use crate::shell::problem::Problem;
use crate::shell::view;

/// `GET /v1/dead-letters/groups`.
pub(super) async fn groups(
    State(shared): State<Arc<Shared>>,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let limit = limit(&mut query, Filter::LIMIT_MAX)?;
    query.finish()?;
    let Answer::Groups(groups) = ask(&shared, Request::Groups { limit }).await? else {
        return Err(unexpected());
    };
    Ok(answer(StatusCode::OK, view::list(groups.iter().map(view::group).collect(), None)))
}

/// `GET /v1/redrives`; with `?wait=1s` it answers after so long, for who follows them.
pub(super) async fn redrives(
    State(shared): State<Arc<Shared>>,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let wait = query.span("wait")?.unwrap_or_default().min(WAIT_MAX);
    query.finish()?;
    if wait > Duration::ZERO {
        let _waiter = shared.feed.waiter()?;
        let mut watching = shared.feed.watch();
        // Over early only if the server stops.
        timeout(wait, async { while watching.anything().await {} }).await.ok();
    }
    let Answer::Redrives(rows) = ask(&shared, Request::Redrives).await? else { return Err(unexpected()) };
    Ok(answer(StatusCode::OK, view::list(rows.iter().map(view::redrive).collect(), None)))
}

/// `DELETE /v1/redrives/{id}`: what it had done by then.
pub(super) async fn stop(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    fields.finish()?;
    let id: RedriveId = id.parse().map_err(|error: String| Problem::not_found(error))?;
    let show = |answer| {
        let Answer::Redrives(rows) = answer else { return None };
        Some((StatusCode::OK, view::redrive(rows.first()?)))
    };
    once.carry_out(&shared, Request::StopRedrive { id }, show).await
}
