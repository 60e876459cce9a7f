//! A claim asks shard after shard, beginning with another one each time, until it has as much as it asks for. While there is
//! nothing it looks again when something moves here, and now and then for what moves elsewhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::ask::answer;
use super::super::claims::WAIT_MAX;
use super::{Asked, Front, IDEMPOTENCY_KEY, Refused, document};

/// How often other nodes' shards are asked while there is nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// However much moves here, not more often than this.
const LOOK_APART: Duration = Duration::from_millis(20);

pub(super) async fn claim(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let (body, mut fields) = asked.object()?;
    let most = fields.number("max")?.unwrap_or(1);
    let once = asked.headers.contains_key(IDEMPOTENCY_KEY);
    // Under a key the same shards are asked in the same order again, and none is waited for.
    let first = if once { 0 } else { front.turn.fetch_add(1, Ordering::Relaxed) };
    let wait = fields.span("wait")?.filter(|_| !once).unwrap_or_default().min(WAIT_MAX);
    let waiter = if wait.is_zero() { None } else { Some(front.feed.waiter()?) };
    let until = Instant::now() + wait;
    let mut elsewhere = Instant::now();
    loop {
        // Watching begins before the look, so nothing falls between the two.
        let moved = anything(front);
        let everywhere = Instant::now() >= elsewhere.min(until);
        if everywhere {
            elsewhere = Instant::now() + LOOK_EVERY;
        }
        let mut attempts: Vec<Json> = Vec::new();
        let (mut answered, mut later) = (false, None);
        for turn in 0..front.shards {
            let shard = first.wrapping_add(turn) % front.shards;
            if !everywhere && front.table.router(shard).is_none() {
                continue;
            }
            let left = most.saturating_sub(attempts.len() as u64);
            let mut part = body.clone();
            part.insert("max".to_owned(), json!(left));
            part.insert("wait".to_owned(), json!("0s"));
            let response = front.ask(shard, &asked.with_body(&Json::Object(part))).await;
            match document(response).await {
                Ok(mut told) => {
                    answered = true;
                    if let Some(Json::Array(more)) = told.get_mut("attempts").map(Json::take) {
                        attempts.extend(more);
                    }
                    if attempts.len() as u64 >= most {
                        break;
                    }
                }
                // A shard without an owner, or with too much to do, keeps nobody from the others.
                Err(Refused::There(response)) if is_for_later(response.status()) => later = Some(response),
                // What was claimed already is not to be lost.
                Err(_) if !attempts.is_empty() => break,
                Err(refused) => return Err(refused),
            }
        }
        let now = Instant::now();
        if !attempts.is_empty() || now >= until {
            drop(waiter);
            return match later.filter(|_| !answered) {
                Some(refused) => Err(Refused::There(refused)),
                None => Ok(answer(StatusCode::OK, json!({ "attempts": attempts }))),
            };
        }
        sleep_until((now + LOOK_APART).min(until)).await;
        timeout_at(elsewhere.min(until), moved).await.ok();
    }
}

fn is_for_later(status: StatusCode) -> bool {
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// Ends when something has moved, from now on, in a shard that is here.
fn anything(front: &Front) -> impl Future<Output = ()> + use<> {
    let mut watching = JoinSet::new();
    for (_, shared) in front.table.local() {
        let mut watch = shared.feed.watch();
        watching.spawn(async move { watch.anything().await });
    }
    async move {
        if watching.join_next().await.is_none() {
            // There is none.
            std::future::pending::<()>().await;
        }
    }
}
