//! Captured output: from an offset, and on while it grows.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Shared;
use super::ask::{Params, Part, get, resolve};
use crate::exec::logs;
use crate::model::{RecordId, StateName};
use crate::shell::problem::Problem;

/// Output that grows moves no record, so a follower looks at the file this often while it follows.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Read at once; a slow reader holds two of these.
const CHUNK_BYTES: usize = 64 << 10;

/// `GET /v1/records/{id}/logs?attempt=&offset=&follow=`: one attempt, or all of them in order. Following ends when
/// the attempt is over, or the record finished or dead-lettered.
pub(super) async fn logs(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let attempt = query.small("attempt")?;
    let offset = query.number("offset")?.unwrap_or(0);
    // A file's offsets are signed numbers.
    if i64::try_from(offset).is_err() {
        return Err(query.problem("offset", &format!("expected at most {}", i64::MAX)));
    }
    let follow = query.flag("follow")?;
    query.finish()?;
    let id = resolve(&shared, &id).await?;
    get(&shared, id).await?;
    let (chunks, stream) = mpsc::channel(1);
    let waiter = shared.feed.waiter()?;
    let reader = Reader { dir: shared.logs.clone(), shared, id, chunks, offset };
    tokio::spawn(async move {
        let _waiter = waiter;
        let read = match attempt {
            Some(attempt) => reader.one(attempt, follow).await,
            None => reader.all(follow).await,
        };
        // An error after the first byte can only end the stream; the log says why, unless dwell is stopping.
        if let Err(End::Failed(problem)) = read
            && problem.status != 503
        {
            tracing::warn!(%id, detail = problem.detail, "log stream ended early");
        }
    });
    let body = Body::from_stream(Chunks(stream));
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// A body that is what comes through a channel; it ends when the other side is dropped.
pub(super) struct Chunks(pub(super) mpsc::Receiver<Vec<u8>>);

impl Stream for Chunks {
    type Item = Result<Bytes, std::convert::Infallible>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|bytes| Ok(Bytes::from(bytes))))
    }
}

struct Reader {
    shared: Arc<Shared>,
    dir: PathBuf,
    id: RecordId,
    chunks: mpsc::Sender<Vec<u8>>,
    offset: u64,
}

enum End {
    /// The client hung up.
    HungUp,
    Failed(Problem),
}

impl From<Problem> for End {
    fn from(problem: Problem) -> End {
        End::Failed(problem)
    }
}

/// Where a record stands, as far as its output is concerned.
struct Standing {
    attempt: u32,
    outstanding: bool,
    /// Nothing more comes unless an operator acts.
    over: bool,
}

impl Reader {
    async fn one(mut self, attempt: u32, follow: bool) -> Result<(), End> {
        loop {
            // Asked before reading: what was written until it ended is then read for certain.
            let standing = self.standing().await?;
            self.drain(attempt).await?;
            let ended = standing.attempt > attempt || (standing.attempt == attempt && !standing.outstanding);
            if !follow || ended || standing.over || !self.pause().await {
                return Ok(());
            }
        }
    }

    async fn all(mut self, follow: bool) -> Result<(), End> {
        let mut attempt = 1;
        loop {
            let standing = self.standing().await?;
            self.drain(attempt).await?;
            if attempt < standing.attempt {
                attempt += 1;
                self.offset = 0;
                continue;
            }
            if !follow || standing.over || !self.pause().await {
                return Ok(());
            }
        }
    }

    /// Sends what is there of one attempt from the offset on.
    async fn drain(&mut self, attempt: u32) -> Result<(), End> {
        loop {
            let (dir, id, offset) = (self.dir.clone(), self.id, self.offset);
            let read =
                tokio::task::spawn_blocking(move || logs::read(&dir, id, attempt, offset, CHUNK_BYTES)).await;
            let failed = |error: &dyn std::fmt::Display| Problem::internal("the log cannot be read", error);
            let bytes =
                read.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?.unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            self.offset += bytes.len() as u64;
            self.chunks.send(bytes).await.map_err(|_| End::HungUp)?;
        }
    }

    async fn standing(&self) -> Result<Standing, End> {
        let record = get(&self.shared, self.id).await?.record;
        let over = match record.state.name() {
            StateName::DeadLettered | StateName::Completed | StateName::Cancelled => true,
            StateName::Queued
            | StateName::Active
            | StateName::RateLimited
            | StateName::Backoff
            | StateName::Draining => false,
        };
        Ok(Standing { attempt: record.attempt, outstanding: record.state.outstanding(), over })
    }

    /// Until there may be more; false if the server closes or the client hung up.
    async fn pause(&self) -> bool {
        let mut watching = self.shared.feed.watch();
        match timeout(LOOK_EVERY, watching.moved(self.id)).await {
            Ok(open) => open,
            Err(_) => !self.chunks.is_closed(),
        }
    }
}
