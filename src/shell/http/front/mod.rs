//! The front of a process that is one of several on a store: whichever node is asked, the shards answer.
//!
//! A request goes to the shard that its record, or its org, lives in, here or over HTTP to the node that owns it; one that is
//! about all shards goes to each, and `merge` makes one answer of theirs. A shard answers with the handlers of a store that
//! has one ([`super::bare`]), so nothing about a record is decided here.
//!
//! Absent on purpose: who owns what (`shell::cluster` keeps [`Table`] current), and retries. A shard without an owner is told
//! as that, and has one again within a lease.

mod claims;
mod events;
mod forward;
mod merge;
mod nodes;
mod place;
mod ready;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method as HttpMethod, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::on;
use serde_json::{Map, Value as Json, json};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use self::forward::Forward;
pub use self::forward::{NODE_HEADER, SHARD_HEADER};
pub use self::merge::Merged;
pub use self::nodes::{Nodes, REBALANCE_PATH, WINDOWS_PATH};
pub use self::table::Table;
use super::access::Caller;
use super::ask::{answer, bytes};
use super::loaded::Current;
use super::{
    Arriving, BODY_BYTES_MAX, Entrance, Exempt, Feed, HOOK_BYTES_MAX, Spread, backup, behind, dashboard,
    observe, system,
};
use crate::model::Runtime;
use crate::shell::fields::Fields;
use crate::shell::ids::Ids;
use crate::shell::problem::Problem;
use crate::shell::tokens::Tokens;

/// The longest answer of a shard that is merged with others'.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How long another node's answer may be in coming, and how much longer if it was asked to wait for something.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(60);

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What every request goes through.
pub struct Front {
    /// Who is let in.
    pub entrance: Arc<Entrance>,
    /// This node's name.
    pub node: String,
    /// As many as the store has.
    pub shards: u32,
    /// What the flows make of a trigger, which says where it lives.
    pub loaded: Current,
    /// By which nodes know each other.
    pub tokens: Tokens,
    /// What is where.
    pub table: Arc<Table>,
    /// Is told what another node knows of a window.
    pub learn: Box<dyn Fn(Runtime) + Send + Sync>,
    /// Asked to give back the shards that are more than this node's share.
    pub rebalance: Box<dyn Fn() + Send + Sync>,
    /// For those who wait here.
    pub feed: Feed,
    /// Where the next claim begins.
    turn: AtomicU32,
    ids: Ids,
    forward: Forward,
}

/// Refused here, or by a shard.
enum Refused {
    Here(Problem),
    There(Response),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused::Here(problem)
    }
}

/// What is asked of several shards: all of it but the body's end is known.
#[derive(Clone)]
struct Asked {
    method: HttpMethod,
    uri: Uri,
    headers: HeaderMap,
    caller: Option<Caller>,
    body: Bytes,
    /// How long its answer may be in coming.
    within: Duration,
}

impl Asked {
    async fn read(request: Request) -> Result<Asked, Problem> {
        let (mut method, uri) = (request.method().clone(), request.uri().clone());
        if method == HttpMethod::HEAD {
            // Of the answers to it, which end at their heads, none could be made. The router leaves the body out.
            method = HttpMethod::GET;
        }
        let headers = request.headers().clone();
        let caller = request.extensions().get().copied();
        let body = bytes(request, &()).await?;
        let waits = query(&uri, "wait").is_some();
        Ok(Asked { method, uri, headers, caller, body, within: ANSWER_WITHIN }.waiting(waits))
    }

    /// If it asks to wait for something, its answer takes longer.
    fn waiting(self, waits: bool) -> Asked {
        if waits { Asked { within: ANSWER_WITHIN + WAIT_MAX, ..self } } else { self }
    }

    /// Something else that is asked in the same name.
    fn get(&self, path_and_query: &str) -> Result<Asked, Problem> {
        let uri = path_and_query.parse().map_err(|error| Problem::field("path", error))?;
        Ok(Asked { method: HttpMethod::GET, uri, body: Bytes::new(), within: ANSWER_WITHIN, ..self.clone() })
    }

    fn with_body(&self, body: &Json) -> Asked {
        Asked { body: body.to_string().into(), ..self.clone() }
    }

    /// Its body; an empty one is an object without members.
    fn json(&self) -> Option<Json> {
        serde_json::from_slice(if self.body.is_empty() { b"{}" } else { &self.body }).ok()
    }

    /// The same, to be read as a shard reads it: what is wrong with it is said in the same words.
    fn fields(&self) -> Result<Fields, Problem> {
        Fields::parse(if self.body.is_empty() { b"{}" } else { &self.body })
    }

    /// Both.
    fn object(&self) -> Result<(Map<String, Json>, Fields), Problem> {
        let fields = self.fields()?;
        let Some(Json::Object(body)) = self.json() else {
            return Err(Problem::field("body", "expected a JSON object"));
        };
        Ok((body, fields))
    }

    /// The same, asked of others that the first who were asked do not know of. A key names one call of a shard, and a shard may
    /// be asked both times.
    fn again(&self) -> Asked {
        let mut asked = self.clone();
        let key = asked.headers.get(IDEMPOTENCY_KEY).map(|key| [key.as_bytes(), b"+"].concat());
        if let Some(Ok(key)) = key.map(|key| HeaderValue::from_bytes(&key)) {
            asked.headers.insert(IDEMPOTENCY_KEY, key);
        }
        asked
    }

    fn request(&self) -> Request {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        // It is made anew, and may be shorter or longer.
        request.headers_mut().remove(header::CONTENT_LENGTH);
        if let Some(caller) = self.caller {
            request.extensions_mut().insert(caller);
        }
        request
    }
}

impl Front {
    /// A front that knows of no shard yet.
    pub fn new(
        entrance: Entrance,
        node: String,
        shards: u32,
        loaded: Current,
        tokens: Tokens,
        nodes: Nodes,
    ) -> Front {
        let forward = Forward::new(tokens.node());
        let Nodes { learn, rebalance, feed } = nodes;
        let (entrance, table, ids) = (Arc::new(entrance), Arc::default(), Ids::default());
        let turn = AtomicU32::new(0);
        Front { entrance, node, shards, loaded, tokens, table, learn, rebalance, feed, turn, ids, forward }
    }

    /// Other nodes ask as often as they are asked.
    pub fn exempt(self: Arc<Front>) -> Exempt {
        Box::new(move |headers| headers.get(NODE_HEADER).is_some_and(|shown| self.is_node(shown)))
    }

    fn is_node(&self, shown: &HeaderValue) -> bool {
        shown.to_str().is_ok_and(|shown| self.tokens.is_node(shown))
    }

    /// Asks one shard, where it is.
    async fn ask(&self, shard: u32, asked: &Asked) -> Response {
        match (self.table.router(shard), self.table.owner(shard)) {
            (Some(router), _) => {
                let answered = router.oneshot(asked.request()).await;
                answered.unwrap_or_else(|never| match never {})
            }
            (None, Some(address)) => {
                let moved = Arc::clone(&self.table).moved(shard, address.clone());
                self.forward.to_shard(&address, shard, asked, moved).await
            }
            (None, None) => no_owner(shard).into_response(),
        }
    }

    /// Asks several shards at once, each its own; answers in the order of the shards.
    async fn each(self: &Arc<Front>, asked: BTreeMap<u32, Asked>) -> Vec<(u32, Response)> {
        let mut under_way = JoinSet::new();
        for (shard, asked) in asked {
            let front = Arc::clone(self);
            under_way.spawn(async move { (shard, front.ask(shard, &asked).await) });
        }
        let mut answers = under_way.join_all().await;
        answers.sort_by_key(|(shard, _)| *shard);
        answers
    }

    /// Asks all shards the same, and reads their answers; the first refusal is all of it. What changes something is told to
    /// nobody while a shard has no owner; what takes something away needs to be there in one shard only.
    async fn gather(self: &Arc<Front>, asked: &Asked) -> Result<(StatusCode, Vec<Json>), Refused> {
        let all = 0..self.shards;
        if asked.method != HttpMethod::GET {
            let is_free =
                |shard: &u32| self.table.router(*shard).is_none() && self.table.owner(*shard).is_none();
            if let Some(free) = all.clone().find(is_free) {
                return Err(no_owner(free).into());
            }
        }
        let mut answers = self.each(all.map(|shard| (shard, asked.clone())).collect()).await;
        if asked.method == HttpMethod::DELETE
            && answers.iter().any(|(_, answer)| answer.status().is_success())
        {
            answers.retain(|(_, answer)| answer.status() != StatusCode::NOT_FOUND);
        }
        read_all(answers).await
    }
}

async fn read_all(answers: Vec<(u32, Response)>) -> Result<(StatusCode, Vec<Json>), Refused> {
    let (mut status, mut documents) = (StatusCode::OK, Vec::with_capacity(answers.len()));
    for (_, response) in answers {
        status = response.status();
        documents.push(document(response).await?);
    }
    Ok((status, documents))
}

/// The JSON of an answer that is no refusal.
async fn document(response: Response) -> Result<Json, Refused> {
    if !response.status().is_success() {
        return Err(Refused::There(response));
    }
    let read = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
    let read = read.map_err(|error| unreadable(&error))?;
    Ok(serde_json::from_slice(&read).map_err(|error| unreadable(&error))?)
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!("the answer of a shard cannot be read: {error}");
    forward::unreachable("the node that owns a shard broke off its answer; try again")
}

fn no_owner(shard: u32) -> Problem {
    Problem::new(
        503,
        "no_owner",
        format!("shard {shard} has no owner now, and will have one shortly; try again"),
    )
}

/// The routes of a node.
pub fn router(front: Arc<Front>) -> Router {
    let entrance = Arc::clone(&front.entrance);
    let answers = |route: &super::Route| {
        let spread = route.spread;
        let answer =
            move |State(front): State<Arc<Front>>, request: Request| answered(front, spread, request);
        let longest = if spread == Spread::Of(Arriving::Hook) { HOOK_BYTES_MAX } else { BODY_BYTES_MAX };
        on(route.method.filter(), answer).layer(DefaultBodyLimit::max(longest))
    };
    behind(&entrance, answers, dashboard::assets().merge(nodes::routes()))
        .layer(from_fn_with_state(Arc::clone(&front), from_node))
        .with_state(front)
}

async fn answered(front: Arc<Front>, spread: Spread, request: Request) -> Response {
    match carry(&front, spread, request).await {
        Ok(response) | Err(Refused::There(response)) => response,
        Err(Refused::Here(problem)) => problem.into_response(),
    }
}

/// What another node forwards goes to its shard; it was let in there.
async fn from_node(State(front): State<Arc<Front>>, mut request: Request, next: Next) -> Response {
    let Some(shown) = request.headers().get(NODE_HEADER) else { return next.run(request).await };
    if !front.is_node(shown) {
        return Problem::new(401, "bad_token", "this is no node of this store").into_response();
    }
    if request.uri().path() == WINDOWS_PATH {
        return nodes::learn(&front, request).await.unwrap_or_else(Problem::into_response);
    }
    if request.uri().path() == REBALANCE_PATH {
        (front.rebalance)();
        return answer(StatusCode::ACCEPTED, json!({}));
    }
    let named = request.headers().get(SHARD_HEADER).and_then(|shard| shard.to_str().ok()?.parse().ok());
    let Some(shard) = named else { return Problem::field(SHARD_HEADER, "expected a shard").into_response() };
    // It is not forwarded again: who asked looks anew who owns it.
    let Some(router) = front.table.router(shard) else { return no_owner(shard).into_response() };
    let caller = forward::caller(request.headers());
    // What the routes here made of its path is not for those of the shard.
    *request.extensions_mut() = Extensions::new();
    request.extensions_mut().insert(caller);
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Carries a request to where it belongs.
async fn carry(front: &Arc<Front>, spread: Spread, request: Request) -> Result<Response, Refused> {
    match spread {
        Spread::Named => place::named(front, request).await,
        Spread::Of(arriving) => place::of_org(front, arriving, request).await,
        Spread::Items(list) => place::items(front, list, request).await,
        Spread::Pages => {
            let asked = Asked::read(request).await?;
            let (status, documents) = front.gather(&asked).await?;
            Ok(answer(status, merge::pages(documents, limit(&asked.uri))))
        }
        Spread::All(merged) => {
            let asked = Asked::read(request).await?;
            let (status, documents) = front.gather(&asked).await?;
            let mut all = merged.of(documents, limit(&asked.uri));
            if let (Merged::Status, Some(members)) = (merged, all.as_object_mut()) {
                members.insert("shards".to_owned(), json!(front.shards));
                members.insert("node".to_owned(), json!(front.node));
            }
            Ok(answer(status, all))
        }
        Spread::Redrive => place::redrive(front, request).await,
        Spread::StopRedrive => place::stop_redrive(front, request).await,
        Spread::Scope => place::scope(front, request).await,
        Spread::Claim => claims::claim(front, request).await,
        Spread::Events => events::events(front, request).await,
        Spread::Page => Ok(dashboard::page(request.headers().clone()).await),
        Spread::Alive => Ok(system::healthz().await),
        Spread::Contract => Ok(system::openapi().await),
        Spread::Ready => {
            Ok(observe::readyz_of(front.table.local(), ready::reasons(&front.node, &front.table)).await)
        }
        Spread::Metrics => {
            let own = ready::reasons(&front.node, &front.table);
            let metrics = &front.entrance.metrics;
            Ok(observe::metrics_of(front.table.local(), own, metrics, request.headers()).await?)
        }
        Spread::Nodes => Ok(nodes::list(front)),
        Spread::Rebalance => nodes::rebalance(front, request).await,
        Spread::Backup => Err(backup::not_in_files().into()),
        Spread::Clock => Err(system::wall_clock().into()),
    }
}

/// `?limit=` of a list.
fn limit(uri: &Uri) -> usize {
    query(uri, "limit").and_then(|text| text.parse().ok()).unwrap_or(super::records::LIMIT_DEFAULT)
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    let mut named = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    named.find(|(known, _)| known == name).map(|(_, text)| text.into_owned())
}
