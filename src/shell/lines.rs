//! What the log says of what was committed: a line for each transition, and for each runtime that is held or let go.
//! Absent on purpose: how lines look and where they go (`log`).

use super::time;
use crate::engine::{Flipped, Step};
use crate::model::{Runtime, Time, Transition};

/// The target of lines about records, for `log.level`: transitions at debug, dead letters at warn.
pub const RECORD: &str = "dwell::record";

/// The target of lines about runtimes: pauses at warn, their end at info.
pub const RUNTIME: &str = "dwell::runtime";

/// A transition, which is durable.
pub fn moved(transition: &Transition, step: &Step) {
    let Transition { id, to, attempt, detail, .. } = transition;
    let (org, flow, runtime) = (&*step.terms.org, step.terms.flow.as_deref(), &*step.terms.runtime);
    let event = &*transition.event;
    let detail = detail.as_deref().unwrap_or_default();
    if let Some(cause) = step.cause {
        let cause = cause.as_str();
        tracing::warn!(target: RECORD, record = %id, attempt, org, flow, runtime, event, state = %to, cause, "{detail}");
    } else {
        tracing::debug!(target: RECORD, record = %id, attempt, org, flow, runtime, event, state = %to, "{detail}");
    }
}

/// A runtime, or a model of one, as its row now is.
pub fn window(row: &Runtime, now: Time) {
    let runtime = &*row.name;
    match row.held_until(now) {
        Some(Time::MAX) => {
            tracing::warn!(target: RUNTIME, event = "runtime.paused", runtime, "nothing starts until it is resumed");
        }
        Some(until) => {
            let until = time::format(until);
            tracing::warn!(target: RUNTIME, event = "runtime.paused", runtime, until, "nothing starts until then");
        }
        None => tracing::info!(target: RUNTIME, event = "runtime.open", runtime, "it starts attempts again"),
    }
}

/// How a flip looks in the log, once it is durable.
pub fn flipped(flipped: &Flipped) {
    let Flipped { flow, from, to, woke } = flipped;
    let flow = flow.as_deref();
    if *woke {
        tracing::info!(flow, "dispatcher running: mode flip ({from} -> {to})");
    } else if from != to {
        tracing::info!(flow, "mode flip ({from} -> {to})");
    }
}
