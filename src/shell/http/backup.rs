//! `GET /v1/backup`: all of the store as it is, while it is served.

use std::io::{self, BufWriter, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_core::Stream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::Shared;
use super::ask::Params;
use crate::shell::problem::Problem;
use crate::store::backup::{self, Base};

/// Backups written at once. Each keeps segments of the journal until it is through.
const BACKUPS_MAX: usize = 2;

/// A reader that takes nothing for this long is let go, and with it the segments that are kept for it.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// Sent at once; a slow reader holds two of these.
const CHUNK_BYTES: usize = 256 << 10;

/// What backups are made of, and how many are being made.
pub struct Backups {
    base: Arc<dyn Base>,
    free: Arc<Semaphore>,
}

impl Backups {
    /// Of this store.
    pub fn of(base: Arc<dyn Base>) -> Backups {
        Backups { base, free: Arc::new(Semaphore::new(BACKUPS_MAX)) }
    }
}

/// `GET /v1/backup`. A body that breaks off is no backup, and says so itself: it has no end.
pub(super) async fn backup(
    State(shared): State<Arc<Shared>>,
    Params(query): Params,
) -> Result<Response, Problem> {
    query.finish()?;
    let backups = shared.backups.as_ref().ok_or_else(not_in_files)?;
    let free = Arc::clone(&backups.free).try_acquire_owned();
    let place = free.map_err(|_| {
        let detail = format!("{BACKUPS_MAX} backups are being written: at most that many at once");
        Problem::new(429, "backups_running", detail)
    })?;
    let (chunks, mut stream) = mpsc::channel(1);
    let (base, taken_at) = (Arc::clone(&backups.base), shared.clock.now());
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let sent = Sent { runtime, chunks, _place: place };
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, sent);
        if let Err(error) = backup::write(&*base, taken_at, env!("CARGO_PKG_VERSION"), &mut out) {
            tracing::warn!("a backup ended early: {error}");
            let (sent, _) = out.into_parts();
            let broken = io::Error::other(error.to_string());
            // Whoever read it may be gone, which is why it ended then.
            sent.runtime.block_on(timeout(STALLED_MAX, sent.chunks.send(Err(broken)))).ok();
        }
    });
    // A store that cannot be read is told as that, and not by a body that breaks off.
    let first = match stream.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(Problem::internal("the store cannot be read", error)),
        None => return Err(Problem::internal("the store cannot be read", "nothing was written")),
    };
    let body = Body::from_stream(Backup { first: Some(first), rest: stream });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// Of a store that this is not for.
pub(super) fn not_in_files() -> Problem {
    let detail = "this store is in PostgreSQL: back it up with what PostgreSQL has for that";
    Problem::new(501, "not_in_files", detail)
}

/// The writer's end.
struct Sent {
    runtime: Handle,
    chunks: mpsc::Sender<io::Result<Vec<u8>>>,
    _place: OwnedSemaphorePermit,
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.runtime.block_on(timeout(STALLED_MAX, self.chunks.send(Ok(bytes.to_vec()))));
        match sent {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody has read on for a minute")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reader's end. An error breaks the connection off.
struct Backup {
    first: Option<Vec<u8>>,
    rest: mpsc::Receiver<io::Result<Vec<u8>>>,
}

impl Stream for Backup {
    type Item = io::Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Bytes::from(first)))),
            None => self.rest.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Bytes::from))),
        }
    }
}
