//! Every route: what is asked how, by whom, and who answers. Absent on purpose: the answers.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::front::Merged;
use super::{
    Access, HOOK_BYTES_MAX, Shared, backup, bulk, claims, dashboard, drains, events, intake, letters, logs,
    modes, observe, queues, records, reports, system, triggers,
};
use crate::shell::keyring::Right;

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
    pub(super) const fn filter(self) -> MethodFilter {
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
    pub(super) answer: fn(MethodFilter) -> MethodRouter<Arc<Shared>>,
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
    /// Nobody: it is the wall's.
    Clock,
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

/// Every route there is; `schema/openapi.yaml` describes each, and `tests/binary/openapi.rs` holds the two together.
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
        .spread(Spread::Clock)
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
