//! Drained scopes: nothing of them starts, also after a restart, until an operator undrains them.
//!
//! Each is a durable row. What is outstanding when a scope is drained may finish until a deadline of its own, which
//! stands in its record; what waits is held by [`super::hold`].

use super::answer::Answer;
use super::core::Core;
use super::draft::{Draft, Fail};
use super::parked::HoldKey;
use super::ramp;
use crate::model::{Drain, Event, Name, RecordId, Rejected, Scope};
use crate::store::{Stored, keys};
use std::time::Duration;

/// As many scopes may be drained at a time.
pub const DRAINS_MAX: usize = 1_000;

/// A drained scope as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainView {
    /// Its durable row.
    pub drain: Drain,
    /// Attempts of it that are outstanding.
    pub outstanding: u64,
}

/// Holds a scope. What is outstanding of it has `timeout` to finish, else the configured time; draining again may
/// bring that deadline forward and never puts it off.
pub(super) fn drain(draft: &mut Draft<'_>, scope: &Scope, timeout: Option<Duration>) -> Result<Answer, Fail> {
    let held = draft.core.drains.get(scope).cloned();
    if held.is_none() {
        if let Scope::Runtime(name) = scope
            && !draft.core.settings.runtimes.contains_key(name)
        {
            return Err(Rejected::UnknownRuntime { name: name.clone() }.into());
        }
        if draft.core.drains.len() >= DRAINS_MAX {
            return Err(Rejected::DrainsFull { limit: DRAINS_MAX }.into());
        }
    }
    let until = draft.now.after(timeout.unwrap_or(draft.core.settings.drain_timeout));
    let drain = match held {
        Some(held) => Drain { until: until.min(held.until), ..held },
        None => Drain { scope: scope.clone(), since: draft.now, until },
    };
    draft.put(keys::drain(scope), drain.encode());
    draft.core.drains.insert(scope.clone(), drain.clone());
    if let Some(key) = parked_under(scope) {
        draft.core.index.hold(&key);
    }
    for id in outstanding(draft.core, scope) {
        draft.apply(id, &Event::Drain { until })?;
    }
    Ok(Answer::Drain(view(draft.core, drain)))
}

/// Lets a scope go: what is draining goes on under a fresh lease, unless another drained scope holds it too.
pub(super) fn undrain(draft: &mut Draft<'_>, scope: &Scope) -> Result<Answer, Fail> {
    let Some(drain) = draft.core.drains.remove(scope) else {
        return Err(Rejected::NotDrained { scope: scope.clone() }.into());
    };
    draft.delete(keys::drain(scope));
    if let Some(key) = parked_under(scope) {
        draft.core.index.free(key);
    }
    for runtime in held_by(draft.core, scope) {
        ramp::reopened(draft, &runtime);
    }
    for id in outstanding(draft.core, scope) {
        let core = &draft.core;
        let held = core.index.entry(id).is_none_or(|entry| {
            let covers =
                |scope: &Scope| scope.covers(entry.home.org(), entry.home.flow.as_ref(), &entry.home.runtime);
            // A stop is for what is dwell's own.
            let stops = core.draining.is_some() && entry.home.pull.is_none();
            stops || core.drains.keys().any(covers) || !entry.draining()
        });
        if !held {
            draft.apply(id, &Event::Undrain)?;
        }
    }
    Ok(Answer::Drain(view(draft.core, drain)))
}

/// Every drained scope.
pub(super) fn list(core: &Core) -> Vec<DrainView> {
    core.drains.values().map(|drain| view(core, drain.clone())).collect()
}

fn view(core: &Core, drain: Drain) -> DrainView {
    let outstanding = outstanding(core, &drain.scope).len() as u64;
    DrainView { drain, outstanding }
}

/// What is outstanding in a scope: never more than the runtimes' concurrency.
fn outstanding(core: &Core, scope: &Scope) -> Vec<RecordId> {
    let within = |id: &RecordId| {
        core.index.entry(*id).is_some_and(|entry| {
            scope.covers(entry.home.org(), entry.home.flow.as_ref(), &entry.home.runtime)
        })
    };
    core.index.outstanding().filter(within).collect()
}

/// The runtimes on which work of a scope was held: they come back as from a pause of their own.
fn held_by(core: &Core, scope: &Scope) -> Vec<Name> {
    match scope {
        Scope::All => core.settings.runtimes.keys().cloned().collect(),
        Scope::Runtime(name) => vec![Name::clone(name)],
        Scope::Flow(_) | Scope::Org(_) => {
            let lanes = core.index.lanes().filter(|(_, lane)| lane.parked > 0);
            lanes.map(|(name, _)| Name::clone(name)).collect()
        }
    }
}

/// What the scope's own hold parks its records under, if it does.
fn parked_under(scope: &Scope) -> Option<HoldKey> {
    match scope {
        Scope::Flow(name) => Some(HoldKey::Flow(Name::clone(name))),
        Scope::Org(name) => Some(HoldKey::Org(Name::clone(name))),
        Scope::All | Scope::Runtime(_) => None,
    }
}
