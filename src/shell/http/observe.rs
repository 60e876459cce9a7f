//! What dwell tells of itself to machines that ask again and again: `GET /readyz`, `GET /metrics`, and the count of
//! answers behind them. Absent on purpose: what is told (`shell::ready`, `shell::metrics`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request as HttpRequest, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value as Json, json};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::ask::{answer, ask, unexpected};
use super::modes::Standings;
use super::system::ask_status;
use super::{ROUTES, Shared};
use crate::engine::{Answer, Request, RuntimeView, Status};
use crate::model::Missing;
use crate::shell::metrics::{Looked, Metrics, OPENMETRICS, PLAIN, plain};
use crate::shell::problem::Problem;
use crate::shell::ready::{self, Code, Reason};
use crate::shell::time;
use crate::store::local::Figures;

/// An engine that takes longer than this to answer is not ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// What is known of the store's files now.
pub type FiguresNow = Box<dyn Fn() -> Option<Figures> + Send + Sync>;

/// What is told beside what the engine answers. By default of a server without files.
pub struct Observed {
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// The store's files; looks at them, so it may block.
    pub figures: FiguresNow,
}

impl Default for Observed {
    fn default() -> Observed {
        Observed { metrics: Arc::default(), figures: Box::new(|| None) }
    }
}

/// One look at everything.
struct Look {
    status: Option<Status>,
    runtimes: Vec<RuntimeView>,
    figures: Option<Figures>,
    reasons: Vec<Reason>,
}

async fn look(shared: &Shared) -> Look {
    let figures = block_in_place(|| (shared.observed.figures)());
    let silent = |code, detail| (None, Vec::new(), vec![Reason { code, detail }]);
    let (status, runtimes, reasons) = match timeout(READY_WITHIN, ask_engine(shared)).await {
        Err(_) => {
            let within = time::format_span(READY_WITHIN);
            silent(Code::EngineSilent, format!("the engine does not answer within {within}"))
        }
        Ok(Err(problem)) if problem.code == "stopping" => silent(Code::Stopping, problem.detail),
        Ok(Err(problem)) => silent(Code::EngineSilent, problem.detail),
        Ok(Ok((status, blocked, runtimes))) => {
            let reasons = ready::reasons(&status, &blocked, refused_reload(shared), figures.as_ref());
            (Some(status), runtimes, reasons)
        }
    };
    Look { status, runtimes, figures, reasons }
}

async fn ask_engine(shared: &Shared) -> Result<(Status, Vec<Missing>, Vec<RuntimeView>), Problem> {
    let status = ask_status(shared).await?;
    let blocked = Standings::ask(shared).await?.blocked();
    let Answer::Runtimes(runtimes) = ask(shared, Request::Runtimes).await? else { return Err(unexpected()) };
    Ok((status, blocked, runtimes))
}

/// A reload that changed nothing: what was loaded before it is in force.
fn refused_reload(shared: &Shared) -> Option<String> {
    let last = shared.loaded.last_reload()?;
    let (at, why) = (time::format(last.at), last.refused?);
    Some(format!("not reloaded at {at}, what was loaded before goes on: {why}"))
}

/// `GET /readyz`: whether new work is accepted, and everything that is not as it should be.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    readiness(&look(&shared).await.reasons)
}

/// The readiness of several shards of one process, which has reasons of its own.
pub(super) async fn readyz_of(shards: Vec<(u32, Arc<Shared>)>, own: Vec<Reason>) -> Response {
    readiness(&look_at(shards, own).await.reasons)
}

fn readiness(reasons: &[Reason]) -> Response {
    let ready = ready::is_ready(reasons);
    let told: Vec<Json> = reasons.iter().map(Reason::document).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, json!({ "ready": ready, "reasons": told }))
}

/// `GET /metrics`: OpenMetrics for who asks for it, as Prometheus does.
pub(super) async fn metrics(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    told(&look(&shared).await, &shared.observed.metrics, &headers)
}

/// The metrics of several shards of one process, which has reasons of its own.
pub(super) async fn metrics_of(
    shards: Vec<(u32, Arc<Shared>)>,
    own: Vec<Reason>,
    metrics: &Metrics,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    told(&look_at(shards, own).await, metrics, headers)
}

/// Each reason once, the process's own first.
async fn look_at(shards: Vec<(u32, Arc<Shared>)>, own: Vec<Reason>) -> Look {
    let mut all = Look { status: None, runtimes: Vec::new(), figures: None, reasons: own };
    for (_, shared) in shards {
        let Look { status, runtimes, figures: _, reasons } = look(&shared).await;
        all.status = match (all.status.take(), status) {
            (Some(known), Some(more)) => Some(known.joined(more)),
            (known, more) => known.or(more),
        };
        for row in runtimes {
            match all.runtimes.iter_mut().find(|known| known.runtime.name == row.runtime.name) {
                Some(known) => known.join(row),
                None => all.runtimes.push(row),
            }
        }
        for reason in reasons {
            if !all.reasons.contains(&reason) {
                all.reasons.push(reason);
            }
        }
    }
    all
}

fn told(look: &Look, metrics: &Metrics, headers: &HeaderMap) -> Result<Response, Problem> {
    let looked =
        Looked { status: look.status.as_ref(), runtimes: &look.runtimes, figures: look.figures.as_ref() };
    let text = metrics.encode(&looked, &look.reasons);
    let accepts = |name: &str| {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with(name))
    };
    let (kind, text) = if accepts("application/openmetrics-text") {
        (OPENMETRICS, text)
    } else {
        (PLAIN, text.and_then(|text| plain(&text)))
    };
    let text = text.map_err(|error| Problem::internal("the metrics cannot be written", error))?;
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// As what an answer is counted.
pub(super) struct Counted {
    method: &'static str,
    route: &'static str,
}

impl Counted {
    /// What asks for it.
    pub(super) fn of(request: &HttpRequest) -> Counted {
        let matched = request.extensions().get::<MatchedPath>();
        let route = matched.and_then(|path| ROUTES.iter().find(|route| route.path == path.as_str()));
        Counted { method: word(request.method()), route: route.map_or(OTHER, |route| route.path) }
    }

    /// Counts the answer.
    pub(super) fn answered(self, metrics: &Metrics, response: &Response) {
        metrics.answered(self.method, self.route, response.status().as_u16());
    }
}

/// A route that is none, and a method that no route takes: whoever asks must not name a series.
const OTHER: &str = "other";

fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => OTHER,
    }
}
