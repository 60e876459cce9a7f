//! From a request to the engine and back: extractors, the one bridge from async to the engine's replies, and answers.

use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request as HttpRequest};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::{HOOK_BYTES_MAX, Shared};
use crate::engine::{Answer, Closed, Detail, Reply, Request};
use crate::model::RecordId;
use crate::shell::fields::Fields;
use crate::shell::problem::Problem;
use crate::shell::time;
use crate::shell::view::Document;

/// This many ids are shown when a prefix fits several.
const CANDIDATES_MAX: usize = 10;

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A body of at most this is read at once, of however many connections.
const SMALL_BYTES: usize = 64 << 10;

/// KiB of larger bodies that are read at once; what is read has not proven yet who sends it.
static LARGE: Semaphore = Semaphore::const_new(LARGE_KIB_MAX);
const LARGE_KIB_MAX: usize = 512 << 10;

/// Refusals of what may be asked again in a moment.
const LATER: [&str; 4] = ["queue_full", "claims_full", "waiting_full", "too_many_requests"];

/// A JSON body, or an empty one as `{}`.
pub(super) struct Input(pub Fields);

/// The query, read like a body.
pub(super) struct Params(pub Fields);

/// The part of the path that names something.
pub(super) struct Part(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Part, Problem> {
        let part = Path::<String>::from_request_parts(parts, state).await;
        let Path(part) = part.map_err(|rejection| Problem::field("path", rejection.body_text()))?;
        Ok(Part(part))
    }
}

impl<S: Send + Sync> FromRequest<S> for Input {
    type Rejection = Problem;
    async fn from_request(request: HttpRequest, state: &S) -> Result<Input, Problem> {
        let body = bytes(request, state).await?;
        Fields::parse(if body.is_empty() { b"{}" } else { &body }).map(Input)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params, Problem> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = query.map_err(|rejection| Problem::field("query", rejection.body_text()))?;
        Fields::query(pairs).map(Params)
    }
}

/// The whole body, if it keeps its limits.
pub(super) async fn bytes<S: Send + Sync>(request: HttpRequest, state: &S) -> Result<Bytes, Problem> {
    let room = room(&LARGE, request.body().size_hint().upper())?;
    let read = timeout(BODY_WITHIN, Bytes::from_request(request, state)).await;
    drop(room);
    let read = read.map_err(|_| {
        let within = time::format_span(BODY_WITHIN);
        Problem::new(408, "too_slow", format!("the body takes longer than {within}"))
    })?;
    read.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(413, "too_large", "the body is larger than this route takes")
        } else {
            Problem::field("body", rejection.body_text())
        }
    })
}

/// What a large body takes of the room while it is read; one of unknown length may become as large as any.
fn room(large: &Semaphore, length: Option<u64>) -> Result<Option<SemaphorePermit<'_>>, Problem> {
    let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(HOOK_BYTES_MAX);
    if length <= SMALL_BYTES {
        return Ok(None);
    }
    let kib = u32::try_from(length.min(HOOK_BYTES_MAX) >> 10).unwrap_or(u32::MAX);
    let detail = "too many large bodies are being read";
    large.try_acquire_many(kib).map(Some).map_err(|_| Problem::new(503, "busy", detail))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = answer(status, self.document());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE || LATER.contains(&self.code) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::INSUFFICIENT_STORAGE {
            // It is for somebody to make room, which takes its time.
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }
}

/// Asks the engine; waits without holding a thread.
pub(super) async fn ask(shared: &Shared, request: Request) -> Result<Answer, Problem> {
    let (answer, answered) = oneshot::channel();
    let reply: Reply = Box::new(move |durable| {
        // Nobody listens any more if the client hung up.
        answer.send(durable.into_inner()).ok();
    });
    shared.handle.send(request, reply)?;
    let answer = answered.await.map_err(|_| Closed::Stopped)?;
    Ok(answer?)
}

/// The engine answered with another shape than its request promises: a bug, told as one.
pub(super) fn unexpected() -> Problem {
    Problem::internal("the engine answered something else than it was asked", "shape of the answer")
}

/// A record with its work.
pub(super) async fn get(shared: &Shared, id: RecordId) -> Result<Detail, Problem> {
    let Answer::Detail(detail) = ask(shared, Request::Get { id }).await? else { return Err(unexpected()) };
    Ok(*detail)
}

/// The id that `text` is, or is the only beginning of.
pub(super) async fn resolve(shared: &Shared, text: &str) -> Result<RecordId, Problem> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let range = RecordId::prefixed(text).map_err(|error| Problem::not_found(error.to_string()))?;
    let asked = Request::Resolve { range, limit: CANDIDATES_MAX };
    let Answer::Ids(ids) = ask(shared, asked).await? else { return Err(unexpected()) };
    match ids.as_slice() {
        [] => Err(Problem::not_found(format!("no record begins with {text}"))),
        [id] => Ok(*id),
        several => {
            let candidates: Vec<String> = several.iter().map(ToString::to_string).collect();
            let detail = format!("{text} is not unique: {}", candidates.join(", "));
            Err(Problem::new(409, "ambiguous", detail).with("candidates", json!(candidates)))
        }
    }
}

/// A JSON answer.
pub(super) fn answer(status: StatusCode, document: impl Into<Document>) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], document.into().into_bytes()).into_response()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;
    use crate::model::{Rejected, Space};

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_to_its_end_is_given_up() {
        let body = axum::body::Body::from_stream(Silent);
        let problem = bytes(HttpRequest::new(body), &()).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (408, "too_slow"));
    }

    /// A body that never has anything more.
    struct Silent;

    impl futures_core::Stream for Silent {
        type Item = Result<Bytes, std::convert::Infallible>;
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Pending
        }
    }

    #[test]
    fn large_bodies_are_read_in_bounded_room_and_small_ones_beside_them() {
        let large = Semaphore::new(LARGE_KIB_MAX);
        let room = |length| room(&large, length);
        let taken: Vec<_> = std::iter::from_fn(|| room(None).ok()).take(100).collect();
        assert_eq!(taken.len(), (LARGE_KIB_MAX << 10) / HOOK_BYTES_MAX);
        assert_eq!(room(Some(HOOK_BYTES_MAX as u64)).unwrap_err().code, "busy");
        assert!(room(Some(0)).unwrap().is_none() && room(Some(64 << 10)).unwrap().is_none());
        drop(taken);
        assert!(room(None).unwrap().is_some());
    }

    #[test]
    fn who_may_come_back_is_told_when() {
        let full = Rejected::QueueFull { scope: "o/e".to_owned(), queued: 2, limit: 2 };
        let spent = Rejected::BudgetExhausted { used: 2, limit: 2 };
        let space = Space { store: "x".into(), free: 0, min_free: 1 };
        for (problem, status, after) in [
            (Problem::from(Rejected::StoreFull(space)), 507, Some("30")),
            (Problem::from(full), 429, Some("1")),
            (Problem::from(Closed::Full), 503, Some("1")),
            (Problem::from(Rejected::ClaimsFull { limit: 2 }), 429, Some("1")),
            (Problem::from(spent), 429, None),
        ] {
            let response = problem.into_response();
            assert_eq!(response.status(), status);
            let told = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(told, after);
        }
    }
}
