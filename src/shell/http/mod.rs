//! HTTP: routes, and the server that carries them. tokio and axum exist here and nowhere else.
//!
//! A handler reads, asks the engine through its `Handle`, and shows the answer. Absent on purpose: state of its own.

mod access;
mod ask;
mod backup;
mod bulk;
mod claims;
mod connections;
mod dashboard;
mod door;
mod drains;
mod events;
mod feed;
pub mod front;
mod guard;
mod intake;
mod letters;
mod loaded;
mod logs;
mod modes;
mod observe;
mod once;
mod queues;
mod rates;
mod records;
mod reports;
mod routes;
mod system;
mod triggers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use access::Access;
pub use backup::Backups;
use door::Door;
pub use feed::Feed;
pub use loaded::{Current, Loaded, Reload};
use observe::Counted;
pub use observe::{FiguresNow, Observed};
pub use rates::Exempt;
pub use routes::{Arriving, Method, ROUTES, Route, Spread};

use self::rates::Rates;
use crate::engine::Handle;
use crate::model::{Missing, Name, RecordId, Submission, Transition, Trigger};
use crate::shell::clock::Clock;
use crate::shell::hook::{HookKind, Secret};
use crate::shell::ids::Ids;
use crate::shell::keyring::Keyring;
use crate::shell::metrics::Metrics;
use crate::shell::problem::Problem;

/// The longest body.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The longest webhook: what GitHub caps its payloads at
/// (<https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap>).
pub const HOOK_BYTES_MAX: usize = 25 << 20;

/// The contract: every route with what it takes and answers, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../../../schema/openapi.yaml");

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
pub type TokenCheck = Arc<dyn Fn(RecordId, u32, &str) -> bool + Send + Sync>;

/// What decides whether a request is let in, whichever shard it is about.
pub struct Entrance {
    /// Which store is served, as [`address::store_header`](crate::shell::address::store_header) has it.
    pub store: String,
    /// Where `now` comes from.
    pub clock: Clock,
    /// Made when an attempt was started.
    pub token_ok: TokenCheck,
    /// Whose requests are carried out.
    pub keyring: Arc<Keyring>,
    /// Where answers are counted.
    pub metrics: Arc<Metrics>,
}

/// The runs that the flows make of a trigger.
pub type Expand = Box<dyn Fn(&Trigger) -> Vec<Submission> + Send + Sync>;

/// What flows need to act and is not there now.
pub type MissingNow = Box<dyn Fn() -> Vec<Missing> + Send + Sync>;

/// Everything a handler may need.
pub struct Shared {
    /// The way to the engine.
    pub handle: Handle,
    /// Which store it serves, as [`address::store_header`](crate::shell::address::store_header) has it.
    pub store: String,
    /// Where `now` comes from.
    pub clock: Clock,
    /// Makes ids of sessions and triggers.
    pub ids: Ids,
    /// Publish every committed transition to it.
    pub feed: Feed,
    /// What is told to machines, beside what the engine answers.
    pub observed: Observed,
    /// What backups are made of; `None`: of a store that is backed up by other means.
    pub backups: Option<Backups>,
    /// Where captured output is (`exec::logs`).
    pub logs: PathBuf,
    /// What a reload replaces.
    pub loaded: Current,
    /// Reads an event of the store's history.
    pub decode: fn(&[u8]) -> Option<Transition>,
    /// Made when the attempt was started.
    pub token_ok: TokenCheck,
    /// Whose requests are carried out.
    pub keyring: Arc<Keyring>,
    /// How much at once.
    pub limits: Limits,
    /// Makes the token of an attempt, for who claimed it.
    pub token: Box<dyn Fn(RecordId, u32) -> String + Send + Sync>,
}

impl Shared {
    fn entrance(&self) -> Entrance {
        Entrance {
            store: self.store.clone(),
            clock: self.clock.clone(),
            token_ok: Arc::clone(&self.token_ok),
            keyring: Arc::clone(&self.keyring),
            metrics: Arc::clone(&self.observed.metrics),
        }
    }
}

/// How much a server takes at once, of what anybody who reaches it can bring about.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections.
    pub connections: usize,
    /// Requests a second of one address that is not loopback.
    pub peer_rate: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 4096, peer_rate: 1000 }
    }
}

/// The words to resume a provider's session with.
pub struct Prompts {
    /// When its window has reset.
    pub limit_reset: String,
    /// When it was interrupted, or failed.
    pub go_on: String,
}

/// The routes with what holds for all of them.
pub fn router(shared: Arc<Shared>) -> Router {
    let entrance = Arc::new(shared.entrance());
    let answers = |route: &Route| (route.answer)(route.method.filter());
    behind(&entrance, answers, dashboard::assets()).with_state(shared)
}

/// The routes of one shard of several: whoever asks has come through a [`front`].
pub fn bare(shared: Arc<Shared>) -> Router {
    let add = |router: Router<Arc<Shared>>, route: &Route| {
        router.route(route.path, (route.answer)(route.method.filter()))
    };
    ROUTES.iter().fold(Router::new(), add).with_state(shared)
}

/// The routes, as `answers` has them, behind an entrance.
fn behind<S: Clone + Send + Sync + 'static>(
    entrance: &Arc<Entrance>,
    answers: impl Fn(&Route) -> MethodRouter<S>,
    beside: Router<S>,
) -> Router<S> {
    ROUTES
        .iter()
        .fold(beside, |router, route| {
            let check = from_fn_with_state((Arc::clone(entrance), route.access), access::check);
            router.route(route.path, answers(route).route_layer(check))
        })
        .fallback(async || Problem::not_found("there is no such route"))
        .method_not_allowed_fallback(async || {
            Problem::new(405, "method_not_allowed", "this route does not take that method")
        })
        .layer(from_fn_with_state(Arc::clone(entrance), around))
}

/// What holds for every request, whichever route it takes. One layer: axum makes each of them anew for each request.
async fn around(State(entrance): State<Arc<Entrance>>, mut request: Request, next: Next) -> Response {
    let counted = Counted::of(&request);
    let has_body = !request.body().is_end_stream();
    let mut response = match guard::admit(&entrance, &request) {
        Ok(()) => {
            DefaultBodyLimit::max(BODY_BYTES_MAX).apply(&mut request);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    guard::see_off(has_body, &mut response);
    counted.answered(&entrance.metrics, &response);
    guard::plain(&mut response);
    response
}

/// A server on threads of its own.
pub struct Server {
    /// Threads that move bytes, each with its own connections; the first one also accepts. Deciding is the engine's.
    runtimes: [Runtime; 2],
    serving: JoinHandle<()>,
    door: oneshot::Sender<()>,
    stop: oneshot::Sender<()>,
    let_go: LetGo,
    address: SocketAddr,
}

/// Lets everybody go who waits for news.
pub type LetGo = Box<dyn Fn() + Send + Sync>;

impl Server {
    /// Serves a store on a listener that is bound already.
    pub fn start(listener: TcpListener, shared: Arc<Shared>) -> io::Result<Server> {
        let (router, limits) = (router(Arc::clone(&shared)), shared.limits);
        let nobody: Exempt = Box::new(|_| false);
        Server::serve(listener, router, limits, nobody, Box::new(move || shared.feed.close()))
    }

    /// Serves these routes on a listener that is bound already.
    pub fn serve(
        listener: TcpListener,
        router: Router,
        limits: Limits,
        exempt: Exempt,
        let_go: LetGo,
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtimes = [thread()?, thread()?];
        let [accepting, _] = &runtimes;
        let threads = runtimes.iter().map(|runtime| runtime.handle().clone()).collect();
        let (stop, stopped) = oneshot::channel();
        let (listener, door) = {
            let _context = accepting.enter();
            Door::open(tokio::net::TcpListener::from_std(listener)?)
        };
        let rates = Arc::new(Rates::of(limits.peer_rate, exempt));
        let seats = limits.connections;
        let serving = accepting.spawn(connections::serve(listener, router, seats, rates, threads, stopped));
        Ok(Server { runtimes, serving, door, stop, let_go, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more; who has connected has `settle` left to send a request. Then lets long polls and followers
    /// go, and gives answers under way at most `grace`.
    pub fn stop(self, settle: Duration, grace: Duration) {
        let [accepting, _] = &self.runtimes;
        drop(self.door);
        accepting.block_on(async { tokio::time::sleep(settle).await });
        (self.let_go)();
        drop(self.stop);
        let ended = accepting.block_on(async { tokio::time::timeout(grace, self.serving).await });
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the server's task panicked"),
            Err(_) => tracing::warn!("open connections are cut off"),
        }
        self.runtimes.into_iter().for_each(Runtime::shutdown_background);
    }
}

/// One that may block for a moment (`block_in_place`): another one takes its place.
fn thread() -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("http").enable_all().build()
}

#[cfg(test)]
mod tests;
