//! Nodes among each other: who is there, who owns what, and what they tell each other.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use super::super::Feed;
use super::super::ask::{answer, bytes};
use super::{Asked, Front, Refused};
use crate::model::Runtime;
use crate::shell::problem::Problem;
use crate::store::Stored as _;

/// Where a node is told what another knows of a window. Only nodes get there.
pub const WINDOWS_PATH: &str = "/v1/nodes/windows";

/// Where a node is told to give back what is more than its share.
pub const REBALANCE_PATH: &str = "/v1/nodes/rebalance";

/// What a front does with what it is told by other nodes, and of them.
pub struct Nodes {
    /// Of a window.
    pub learn: Box<dyn Fn(Runtime) + Send + Sync>,
    /// To give back what is more than its share.
    pub rebalance: Box<dyn Fn() + Send + Sync>,
    /// For those who wait.
    pub feed: Feed,
}

/// What only nodes ask; `from_node` has answered it where one did.
pub(super) fn routes() -> Router<Arc<Front>> {
    let refused = async |_: State<Arc<Front>>| {
        Problem::new(401, "no_token", "only nodes of this store ask this").into_response()
    };
    Router::new().route(WINDOWS_PATH, post(refused))
}

/// What another node knows of a window.
pub(super) async fn learn(front: &Front, request: Request) -> Result<Response, Problem> {
    let row = Runtime::decode(&bytes(request, &()).await?).map_err(|error| Problem::field("body", error))?;
    (front.learn)(row);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Every node, with what it owns.
pub(super) fn list(front: &Front) -> Response {
    let view = front.table.view();
    let owned = |name: &str| {
        let of = |owned: &&crate::store::postgres::Owned| {
            owned.owner.as_ref().is_some_and(|owner| owner.name == name)
        };
        view.shards.iter().filter(of).map(|owned| owned.shard).collect::<Vec<_>>()
    };
    let items: Vec<Json> = (view.nodes.iter())
        .map(|node| {
            json!({ "node": node.name, "address": node.address, "here": node.name == front.node, "shards": owned(&node.name) })
        })
        .collect();
    let shards: Vec<Json> = (view.shards.iter())
        .map(|owned| {
            let owner = owned.owner.as_ref().map(|owner| owner.name.as_str());
            json!({
                "shard": owned.shard,
                "owner": owner,
                "epoch": owned.epoch,
                "commits": owned.sequence,
                "lease_ms": owned.left,
            })
        })
        .collect();
    answer(StatusCode::OK, json!({ "items": items, "shards": shards }))
}

/// Lets every node give back what is more than its share; says of those that are not reached, once the others are told.
pub(super) async fn rebalance(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    (front.rebalance)();
    let mut telling = JoinSet::new();
    for node in front.table.view().nodes.iter().filter(|node| node.name != front.node).cloned() {
        let (front, asked) = (Arc::clone(front), asked.clone());
        telling.spawn(async move {
            let told = front.forward.to_node(&node.address, &asked).await;
            let told =
                told.and_then(|status| if status.is_success() { Ok(()) } else { Err(status.to_string()) });
            told.err().map(|error| {
                tracing::warn!(node = node.name, "a node is not told: {error}");
                node.name
            })
        });
    }
    let mut missed: Vec<String> = telling.join_all().await.into_iter().flatten().collect();
    missed.sort_unstable();
    if missed.is_empty() {
        return Ok(answer(StatusCode::ACCEPTED, json!({})));
    }
    let detail = format!("not reached: {}; every other node is told", missed.join(", "));
    Err(Problem::new(503, "node_unreachable", detail).into())
}
