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
use axum::routing::{MethodFilter, MethodRouter, on};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use access::Access;
pub use backup::Backups;
use door::Door;
pub use feed::Feed;
use front::Merged;
pub use loaded::{Current, Loaded, Reload};
use observe::Counted;
pub use observe::{FiguresNow, Observed};

use self::rates::Rates;
use crate::engine::Handle;
use crate::model::{Missing, Name, RecordId, Submission, Transition, Trigger};
use crate::shell::clock::Clock;
use crate::shell::hook::{HookKind, Secret};
use crate::shell::ids::Ids;
use crate::shell::keyring::{Keyring, Right};
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

/// How a route is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Changes.
    Post,
    /// Makes it so.
    Put,
    /// Takes away.
    Delete,
}

impl Method {
    const fn filter(self) -> MethodFilter {
        match self {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Delete => MethodFilter::DELETE,
        }
    }
}

/// One route: what is asked how, and who answers.
pub struct Route {
    /// Who answers where a store has several shards.
    pub spread: Spread,
    /// How.
    pub method: Method,
    /// What, with `{names}` for the parts that vary.
    pub path: &'static str,
    /// By whom, where tokens are in force.
    pub access: Access,
    answer: fn(MethodFilter) -> MethodRouter<Arc<Shared>>,
}

impl Route {
    const fn new(
        method: Method,
        path: &'static str,
        answer: fn(MethodFilter) -> MethodRouter<Arc<Shared>>,
    ) -> Route {
        Route { spread: Spread::Named, method, path, access: Access::usual(method), answer }
    }

    /// One that asks for something else than its method lets expect.
    const fn access(self, access: Access) -> Route {
        Route { access, ..self }
    }

    /// One that is not about the record or trigger in its path.
    const fn spread(self, spread: Spread) -> Route {
        Route { spread, ..self }
    }
}

/// What arrives, and says by itself whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arriving {
    /// A session: its org.
    Session,
    /// A trigger: the org of what the flows make of it.
    Trigger,
    /// A webhook: as a trigger.
    Hook,
}

/// Who answers a route where a store has several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The shard of `{id}`.
    Named,
    /// The shard of whose it is.
    Of(Arriving),
    /// Of each item of this list, its own.
    Items(&'static str),
    /// All: a page of records or triggers, newest first.
    Pages,
    /// All, and their answers become one.
    All(Merged),
    /// As many as it takes for dead letters to be redriven.
    Redrive,
    /// All that have a part of a paced redrive.
    StopRedrive,
    /// Whichever holds a scope.
    Scope,
    /// As many as it takes for a claim.
    Claim,
    /// All, as one stream.
    Events,
    /// The dashboard.
    Page,
    /// The process.
    Alive,
    /// Nobody: it is a text.
    Contract,
    /// This node's.
    Ready,
    /// This node's.
    Metrics,
    /// Who is there.
    Nodes,
    /// Every node.
    Rebalance,
    /// Nobody: it is PostgreSQL's.
    Backup,
}

const fn get(path: &'static str, answer: fn(MethodFilter) -> MethodRouter<Arc<Shared>>) -> Route {
    Route::new(Method::Get, path, answer)
}

const fn post(path: &'static str, answer: fn(MethodFilter) -> MethodRouter<Arc<Shared>>) -> Route {
    Route::new(Method::Post, path, answer)
}

const fn put(path: &'static str, answer: fn(MethodFilter) -> MethodRouter<Arc<Shared>>) -> Route {
    Route::new(Method::Put, path, answer)
}

const fn delete(path: &'static str, answer: fn(MethodFilter) -> MethodRouter<Arc<Shared>>) -> Route {
    Route::new(Method::Delete, path, answer)
}

/// Every route there is; `schema/openapi.yaml` describes each, and `tests/openapi.rs` holds the two together.
pub const ROUTES: &[Route] = &[
    post("/hooks/{source}", |method| on(method, intake::hook).layer(DefaultBodyLimit::max(HOOK_BYTES_MAX)))
        .access(Access::Signed)
        .spread(Spread::Of(Arriving::Hook)),
    get("/v1/triggers", |method| on(method, triggers::list)).spread(Spread::Pages),
    get("/v1/triggers/{id}", |method| on(method, triggers::show)),
    post("/v1/triggers/{id}/replay", |method| on(method, triggers::replay)),
    post("/v1/triggers", |method| on(method, intake::trigger)).spread(Spread::Of(Arriving::Trigger)),
    get("/v1/sessions", |method| on(method, records::sessions)).spread(Spread::Pages),
    post("/v1/sessions", |method| on(method, intake::session)).spread(Spread::Of(Arriving::Session)),
    post("/v1/sessions/batch", |method| on(method, bulk::sessions)).spread(Spread::Items("sessions")),
    get("/v1/claims", |method| on(method, claims::queues)).spread(Spread::All(Merged::Queues)),
    post("/v1/claims", |method| on(method, claims::claim)).spread(Spread::Claim),
    post("/v1/reports", |method| on(method, bulk::reports)).spread(Spread::Items("reports")),
    get("/v1/runs", |method| on(method, records::runs)).spread(Spread::Pages),
    get("/v1/dead-letters", |method| on(method, records::dead_letters)).spread(Spread::Pages),
    post("/v1/dead-letters/redrive", |method| on(method, bulk::redrive)).spread(Spread::Redrive),
    get("/v1/dead-letters/groups", |method| on(method, letters::groups)).spread(Spread::All(Merged::Groups)),
    get("/v1/redrives", |method| on(method, letters::redrives)).spread(Spread::All(Merged::Joined)),
    delete("/v1/redrives/{id}", |method| on(method, letters::stop)).spread(Spread::StopRedrive),
    get("/v1/records/{id}", |method| on(method, records::show)).access(Access::Attempt(Right::Read)),
    get("/v1/records/{id}/why", |method| on(method, records::why)),
    get("/v1/records/{id}/history", |method| on(method, records::history)),
    get("/v1/records/{id}/logs", |method| on(method, logs::logs)),
    post("/v1/records/{id}/cancel", |method| on(method, records::cancel)),
    post("/v1/records/{id}/resume", |method| on(method, records::resume)),
    post("/v1/records/{id}/redrive", |method| on(method, records::redrive)),
    post("/v1/records/{id}/rerun", |method| on(method, records::rerun)),
    post("/v1/records/{id}/budget", |method| on(method, records::budget)),
    post("/v1/records/{id}/charge", |method| on(method, reports::charge))
        .access(Access::Attempt(Right::Operate)),
    post("/v1/records/{id}/reports", |method| on(method, reports::report))
        .access(Access::Attempt(Right::Operate)),
    get("/v1/runtimes", |method| on(method, system::runtimes)).spread(Spread::All(Merged::Runtimes)),
    post("/v1/runtimes/{name}/pause", |method| on(method, system::pause))
        .spread(Spread::All(Merged::Runtime)),
    post("/v1/runtimes/{name}/resume", |method| on(method, system::resume))
        .spread(Spread::All(Merged::Runtime)),
    get("/v1/drains", |method| on(method, drains::list)).spread(Spread::All(Merged::Drains)),
    post("/v1/drains", |method| on(method, drains::drain)).spread(Spread::All(Merged::Drain)),
    delete("/v1/drains/{scope}", |method| on(method, drains::undrain)).spread(Spread::All(Merged::Drain)),
    get("/v1/queues", |method| on(method, queues::queues)).spread(Spread::All(Merged::Envs)),
    get("/v1/scopes/{scope}/why", |method| on(method, drains::why)).spread(Spread::Scope),
    get("/v1/events", |method| on(method, events::events)).spread(Spread::Events),
    get("/v1/flows", |method| on(method, modes::flows)).spread(Spread::All(Merged::Flows)),
    get("/v1/modes", |method| on(method, modes::modes)).spread(Spread::All(Merged::Modes)),
    put("/v1/modes/global", |method| on(method, modes::global))
        .spread(Spread::All(Merged::Flip))
        .access(Access::Holder(Right::Admin)),
    put("/v1/modes/flows/{name}", |method| on(method, modes::flow))
        .spread(Spread::All(Merged::Flip))
        .access(Access::Holder(Right::Admin)),
    delete("/v1/modes/flows/{name}", |method| on(method, modes::clear))
        .spread(Spread::All(Merged::Flip))
        .access(Access::Holder(Right::Admin)),
    get("/v1/upcoming", |method| on(method, system::upcoming)).spread(Spread::All(Merged::Upcoming)),
    get("/v1/backup", |method| on(method, backup::backup))
        .spread(Spread::Backup)
        .access(Access::Holder(Right::Admin)),
    get("/v1/status", |method| on(method, system::status)).spread(Spread::All(Merged::Status)),
    post("/v1/clock/advance", |method| on(method, system::advance))
        .spread(Spread::All(Merged::Drain))
        .access(Access::Holder(Right::Admin)),
    get("/v1/nodes", |method| on(method, system::nodes)).spread(Spread::Nodes),
    post("/v1/nodes/rebalance", |method| on(method, system::nodes))
        .spread(Spread::Rebalance)
        .access(Access::Holder(Right::Admin)),
    get("/healthz", |method| on(method, system::healthz)).spread(Spread::Alive).access(Access::Open),
    get("/readyz", |method| on(method, observe::readyz)).spread(Spread::Ready).access(Access::Open),
    get("/metrics", |method| on(method, observe::metrics)).spread(Spread::Metrics),
    get("/openapi.yaml", |method| on(method, system::openapi)).spread(Spread::Contract).access(Access::Open),
    get("/", |method| on(method, dashboard::page)).spread(Spread::Page).access(Access::Open),
];

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
        Server::serve(listener, router, limits, Box::new(move || shared.feed.close()))
    }

    /// Serves these routes on a listener that is bound already.
    pub fn serve(listener: TcpListener, router: Router, limits: Limits, let_go: LetGo) -> io::Result<Server> {
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
        let rates = Arc::new(Rates::of(limits.peer_rate));
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
