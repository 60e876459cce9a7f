//! A claim asks shard after shard, beginning with another one each time, until it has as much as it asks for. While there is
//! nothing it looks again when something moves here, and now and then for what moves elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::super::ask::answer;
use super::super::claims::WAIT_MAX;
use super::{Asked, Front, Refused, document};
use crate::shell::time;

/// How often other nodes' shards are asked while there is nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// However much moves here, not more often than this.
const LOOK_APART: Duration = Duration::from_millis(20);

/// Where the next claim begins.
static TURN: AtomicU32 = AtomicU32::new(0);

pub(super) async fn claim(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let Some(Json::Object(body)) = asked.json() else { return Ok(front.ask(0, asked.request()).await) };
    let once = asked.headers.contains_key("idempotency-key");
    let wait = body.get("wait").and_then(Json::as_str).and_then(|text| time::parse_span(text).ok());
    // Under a key the same shards are asked in the same order again.
    let first = if once { 0 } else { TURN.fetch_add(1, Ordering::Relaxed) };
    let until = Instant::now() + wait.filter(|_| !once).unwrap_or_default().min(WAIT_MAX);
    let most = body.get("max").and_then(Json::as_u64).unwrap_or(1);
    let waiter = if wait.is_some() && !once { Some(front.feed.waiter()?) } else { None };
    loop {
        // Watching begins before the look, so nothing falls between the two.
        let moved = anything(front);
        let mut attempts: Vec<Json> = Vec::new();
        for turn in 0..front.shards {
            let left = most.saturating_sub(attempts.len() as u64);
            if left == 0 && most > 0 {
                break;
            }
            let mut part = body.clone();
            part.insert(
                "max".to_owned(),
                body.get("max")
                    .map_or(json!(left), |max| if max.is_u64() { json!(left) } else { max.clone() }),
            );
            part.insert("wait".to_owned(), json!("0s"));
            if wait.is_none() {
                // What is no span is refused as that.
                part.remove("wait");
                part.extend(body.get("wait").map(|wait| ("wait".to_owned(), wait.clone())));
            }
            let shard = (first.wrapping_add(turn)) % front.shards;
            let response = front.ask(shard, asked.with_body(&Json::Object(part)).request()).await;
            match document(response).await {
                Ok(mut told) => {
                    if let Some(Json::Array(more)) = told.get_mut("attempts").map(Json::take) {
                        attempts.extend(more);
                    }
                }
                // What was claimed already is not to be lost, and a shard without an owner keeps nobody from the others.
                Err(Refused::There(response)) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {}
                Err(_) if !attempts.is_empty() => break,
                Err(refused) => return Err(refused),
            }
        }
        let now = Instant::now();
        if !attempts.is_empty() || now >= until {
            drop(waiter);
            return Ok(answer(StatusCode::OK, json!({ "attempts": attempts })));
        }
        let left = until - now;
        sleep(LOOK_APART.min(left)).await;
        timeout(LOOK_EVERY.min(left), moved).await.ok();
    }
}

/// Ends when something has moved in a shard that is here.
async fn anything(front: &Arc<Front>) {
    let mut watching = JoinSet::new();
    for (_, shared) in front.table.local() {
        let mut watch = shared.feed.watch();
        watching.spawn(async move { watch.anything().await });
    }
    if watching.join_next().await.is_none() {
        // There is none.
        std::future::pending::<()>().await;
    }
}
