//! Modes: the table of flows and what becomes of their triggers, and the flips.
//!
//! The engine knows the modes, this process what is missing; what a flow's `dispatcher` does follows from both.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};
use tokio::task::block_in_place;

use super::Shared;
use super::ask::{Part, answer, ask, unexpected};
use super::once::{Call, Once};
use crate::engine::{Answer, Flip, FlowView, ModesView, Request, Target};
use crate::model::{Missing, Mode, Name, Origin, Time};
use crate::shell::fields::Fields;
use crate::shell::problem::Problem;
use crate::shell::time;
use crate::shell::view::{self, Document, Object};

/// What dwell does with the triggers of a flow, or of all flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dispatcher {
    /// Nothing: it is off.
    Idle,
    /// Its runs are admitted, or recorded in shadow.
    Running,
    /// It is live, and what it needs is not there.
    Blocked,
}

impl Dispatcher {
    const fn of(mode: Mode, lacks: bool) -> Dispatcher {
        match (mode, lacks) {
            (Mode::Off, _) => Dispatcher::Idle,
            (Mode::Live, true) => Dispatcher::Blocked,
            // What acts on nothing needs nothing.
            (Mode::Shadow, _) | (Mode::Live, false) => Dispatcher::Running,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Dispatcher::Idle => "idle",
            Dispatcher::Running => "running",
            Dispatcher::Blocked => "blocked",
        }
    }
}

/// The modes, and what is missing for them.
pub(super) struct Standings {
    modes: ModesView,
    missing: Vec<Missing>,
}

impl Standings {
    pub(super) async fn ask(shared: &Shared) -> Result<Standings, Problem> {
        let Answer::Modes(modes) = ask(shared, Request::Modes).await? else { return Err(unexpected()) };
        Ok(Standings { modes, missing: block_in_place(|| (shared.loaded.get().missing)()) })
    }

    /// What keeps live flows from acting.
    pub(super) fn blocked(&self) -> Vec<Missing> {
        self.modes.blocked(self.missing.clone())
    }

    fn dispatcher(&self) -> Dispatcher {
        if !self.blocked().is_empty() {
            return Dispatcher::Blocked;
        }
        let on = self.modes.flows.iter().any(|flow| flow.standing.mode != Mode::Off);
        if on { Dispatcher::Running } else { Dispatcher::Idle }
    }

    /// What `/v1/status` and `/v1/modes` say about all flows together.
    pub(super) fn summary(&self) -> Object {
        let blocked: Json = self.blocked().iter().map(view::missing).collect();
        Object::default().with("dispatcher", self.dispatcher().as_str()).with("blocked", blocked)
    }

    /// What is missing, as it is shown with each flow.
    fn by_flow(&self) -> BTreeMap<&Name, Vec<Json>> {
        let mut by_flow: BTreeMap<&Name, Vec<Json>> = BTreeMap::new();
        for Missing { flow, need, why } in &self.missing {
            by_flow.entry(flow).or_default().push(json!({ "need": need, "why": why }));
        }
        by_flow
    }
}

/// How a loaded flow stands, and what it lacks.
fn shown(flow: &FlowView, missing: &BTreeMap<&Name, Vec<Json>>) -> Object {
    let standing = &flow.standing;
    let missing = missing.get(&flow.name).cloned().unwrap_or_default();
    let dispatcher = Dispatcher::of(standing.mode, !missing.is_empty());
    let last = |at: Time, id: String| json!({ "at": time::format(at), "id": id });
    Object::default()
        .with("mode", standing.mode.as_str())
        .with("origin", flow.origin.as_str())
        .with("since", time::format(standing.since))
        .with("dispatcher", dispatcher.as_str())
        .with("missing", json!(missing))
        .maybe("last_trigger", standing.matched.map(|(at, id)| last(at, id.to_string())))
        .maybe("last_run", standing.started.map(|(at, id)| last(at, id.to_string())))
}

/// `GET /v1/modes`.
pub(super) async fn modes(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let standings = Standings::ask(&shared).await?;
    let origin = if standings.modes.named { Origin::Global } else { Origin::Default };
    let global = json!({ "mode": standings.modes.global.as_str(), "origin": origin.as_str() });
    let missing = standings.by_flow();
    let of = |flow: &FlowView| Object::default().with("name", &*flow.name).and(&shown(flow, &missing)).done();
    let flows: Vec<Document> = standings.modes.flows.iter().map(of).collect();
    Ok(answer(StatusCode::OK, standings.summary().with("global", global).with("flows", flows).done()))
}

/// `GET /v1/flows`.
pub(super) async fn flows(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let standings = Standings::ask(&shared).await?;
    let missing = standings.by_flow();
    let loaded = shared.loaded.get();
    let items = loaded.flows.iter().map(|row| {
        let item = Object::default()
            .with("name", &*row.name)
            .with("file", row.file.as_str())
            .with("on", row.on.clone())
            .with("runtime", &*row.runtime);
        match standings.modes.flow(&row.name) {
            Some(flow) => item.and(&shown(flow, &missing)).done(),
            None => item.done(),
        }
    });
    Ok(answer(StatusCode::OK, view::list(items.collect(), None)))
}

/// `PUT /v1/modes/global`.
pub(super) async fn global(
    State(shared): State<Arc<Shared>>,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    let (mode, force) = asked(fields)?;
    flip(&shared, once, Target::Global(mode), force).await
}

/// `PUT /v1/modes/flows/{name}`.
pub(super) async fn flow(
    State(shared): State<Arc<Shared>>,
    Part(name): Part,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    let (mode, force) = asked(fields)?;
    flip(&shared, once, Target::Flow(Name::from(name), Some(mode)), force).await
}

/// `DELETE /v1/modes/flows/{name}`: the override is taken back.
pub(super) async fn clear(
    State(shared): State<Arc<Shared>>,
    Part(name): Part,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    fields.finish()?;
    flip(&shared, once, Target::Flow(Name::from(name), None), false).await
}

fn asked(mut fields: Fields) -> Result<(Mode, bool), Problem> {
    let mode = fields.required("mode")?.parse().map_err(|error: String| fields.problem("mode", &error))?;
    let force = fields.flag("force")?;
    fields.finish()?;
    Ok((mode, force))
}

async fn flip(shared: &Shared, once: Once, target: Target, force: bool) -> Result<Response, Problem> {
    let missing = block_in_place(|| (shared.loaded.get().missing)());
    let asked = Request::Flip(Box::new(Flip { target, force, missing }));
    let show = |answer| {
        let Answer::Flipped(flipped) = answer else { return None };
        let (from, to) = (flipped.from.as_str(), flipped.to.as_str());
        Some((
            StatusCode::OK,
            Object::default().with("from", from).with("to", to).with("changed", from != to).done(),
        ))
    };
    once.carry_out(shared, asked, show).await
}
