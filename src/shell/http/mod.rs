//! HTTP: routes, and the server that carries them. tokio and axum exist here and nowhere else.
//!
//! A handler reads, asks the engine through its `Handle`, and shows the answer. Absent on purpose: state of its own.

mod ask;
mod feed;
mod guard;
mod intake;
mod logs;
mod records;
mod reports;
mod system;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use feed::Feed;

use crate::engine::Handle;
use crate::model::{Name, RecordId, Submission, Transition, Trigger};
use crate::shell::clock::Clock;
use crate::shell::hook::{HookKind, Secret};
use crate::shell::ids::Ids;
use crate::shell::problem::Problem;

/// The longest body.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The longest webhook: what GitHub caps its payloads at
/// (<https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap>).
pub const HOOK_BYTES_MAX: usize = 25 << 20;

/// Threads that move bytes; deciding is the engine's.
const THREADS: usize = 2;

/// Whose webhooks a source takes.
pub struct Source {
    /// How they are proven and read.
    pub kind: HookKind,
    /// The kind's name, as triggers carry it.
    pub name: Name,
    /// Any of them may have signed.
    pub secrets: Vec<Secret>,
}

/// A flow as it is listed.
pub struct FlowRow {
    /// Its name.
    pub name: Name,
    /// The file it was read from.
    pub file: String,
    /// What starts it, a line for each source: `github: pull_request [review_requested]`.
    pub on: Vec<String>,
    /// The provider account of its runs.
    pub runtime: Name,
}

/// Whether this is the token of that attempt.
pub type TokenCheck = Box<dyn Fn(RecordId, u32, &str) -> bool + Send + Sync>;

/// The runs that the flows make of a trigger.
pub type Expand = Box<dyn Fn(&Trigger) -> Vec<Submission> + Send + Sync>;

/// Everything a handler may need.
pub struct Shared {
    /// The way to the engine.
    pub handle: Handle,
    /// Where `now` comes from.
    pub clock: Clock,
    /// Makes ids of sessions and triggers.
    pub ids: Ids,
    /// Publish every committed transition to it.
    pub feed: Feed,
    /// Where captured output is (`exec::logs`).
    pub logs: PathBuf,
    /// By the name in `/hooks/{source}`.
    pub sources: BTreeMap<Name, Source>,
    /// As they were loaded.
    pub flows: Vec<FlowRow>,
    /// `flow::Flow`s, applied.
    pub expand: Expand,
    /// Reads an event of the store's history.
    pub decode: fn(&[u8]) -> Option<Transition>,
    /// Made when the attempt was started.
    pub token_ok: TokenCheck,
}

/// Every route.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/hooks/{source}", post(intake::hook).layer(DefaultBodyLimit::max(HOOK_BYTES_MAX)))
        .route("/v1/triggers", get(system::triggers).post(intake::trigger))
        .route("/v1/sessions", get(records::sessions).post(intake::session))
        .route("/v1/runs", get(records::runs))
        .route("/v1/dead-letters", get(records::dead_letters))
        .route("/v1/records/{id}", get(records::show))
        .route("/v1/records/{id}/history", get(records::history))
        .route("/v1/records/{id}/logs", get(logs::logs))
        .route("/v1/records/{id}/cancel", post(records::cancel))
        .route("/v1/records/{id}/resume", post(records::resume))
        .route("/v1/records/{id}/redrive", post(records::redrive))
        .route("/v1/records/{id}/charge", post(reports::charge))
        .route("/v1/records/{id}/reports", post(reports::report))
        .route("/v1/runtimes", get(system::runtimes))
        .route("/v1/runtimes/{name}/pause", post(system::pause))
        .route("/v1/runtimes/{name}/resume", post(system::resume))
        .route("/v1/flows", get(system::flows))
        .route("/v1/status", get(system::status))
        .route("/v1/clock/advance", post(system::advance))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .fallback(async || Problem::not_found("there is no such route"))
        .method_not_allowed_fallback(async || {
            Problem::new(405, "method_not_allowed", "this route does not take that method")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(guard::guard))
        .with_state(shared)
}

/// A server on threads of its own.
pub struct Server {
    runtime: Runtime,
    serving: JoinHandle<io::Result<()>>,
    stop: oneshot::Sender<()>,
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Server {
    /// Serves on a listener that is bound already.
    pub fn start(listener: TcpListener, shared: Arc<Shared>) -> io::Result<Server> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("http")
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::clone(&shared));
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let serving = runtime.spawn(async move {
            // A dropped sender stops it as well.
            axum::serve(listener, router).with_graceful_shutdown(async { drop(stopped.await) }).await
        });
        Ok(Server { runtime, serving, stop, shared, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, lets long polls and followers go, and gives answers under way at most `grace`.
    pub fn stop(self, grace: Duration) {
        self.shared.feed.close();
        drop(self.stop);
        let ended = self.runtime.block_on(async { tokio::time::timeout(grace, self.serving).await });
        match ended {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the server ended badly"),
            Ok(Err(error)) => tracing::error!(%error, "the server's task panicked"),
            Err(_) => tracing::warn!("open connections are cut off"),
        }
        self.runtime.shutdown_background();
    }
}

#[cfg(test)]
mod tests;
