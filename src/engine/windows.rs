//! Windows: the rows that hold a runtime's pauses. One is the account's and holds all of the runtime; beside it there is
//! one for each model that was limited or paused by itself (`claude/opus`), and holds only what asks for that model.
//!
//! Which row a report is about is configuration (`limit_scope`); what a row holds is not, so a window that was told of
//! a model is waited for also after that is changed. A row that holds nothing any more stays until its place is needed:
//! when it opened is what the ramp begins with.

use std::ops::Bound::{Excluded, Unbounded};

use super::core::Core;
use super::draft::Draft;
use super::parked::HoldKey;
use crate::model::{Name, Record, Runtime, Time};
use crate::store::keys;

/// As many models of a runtime may be held at a time; a limit of one more is its account's.
pub const MODELS_MAX: usize = 100;

impl Core {
    /// The rows of a runtime's models, by name.
    pub(super) fn models<'a>(&'a self, runtime: &'a str) -> impl Iterator<Item = &'a Runtime> {
        let rows = self.runtimes.range::<str, _>((Excluded(runtime), Unbounded)).map(|(_, row)| row);
        // Beside `claude/opus` there may be `claude-two`.
        let of = move |row: &&Runtime| Runtime::model_of(&row.name).is_some_and(|(of, _)| of == runtime);
        rows.take_while(move |row| row.name.starts_with(runtime)).filter(of)
    }

    /// When a runtime, or a model of it, was last let go.
    pub(super) fn opened_at(&self, runtime: &Name) -> Option<Time> {
        let account = self.runtimes.get(runtime);
        let rows = account.into_iter().chain(self.models(runtime));
        rows.filter_map(|row| row.opened_at(self.now)).max()
    }

    /// The row that a report of this record about its window is about.
    pub(super) fn window(&self, record: &Record) -> Name {
        let model = record.model.as_ref().map(|model| Runtime::of_model(&record.runtime, model));
        self.index.window(&record.runtime, model.as_ref()).clone()
    }

    /// When whatever still waits for a window is freed, if the window opens by itself: each record's own jitter has had
    /// its say by then. `None`: the window is open.
    pub(super) fn frees_at(&self, window: &Name) -> Option<Time> {
        let until = self.runtimes.get(window)?.limited?.limit.until;
        Some(until.after(self.settings.policy.limits.jitter))
    }

    /// When the first window of those that records wait for opens, however they wait.
    pub(super) fn window_wake(&self) -> Option<Time> {
        let held = |row: &Name| self.runtimes.get(row)?.held_until(self.now);
        let limited = self.index.lanes().flat_map(|(_, lane)| lane.limited.keys());
        let parked = self.index.parked_models().filter_map(held);
        limited.filter_map(|window| self.frees_at(window)).chain(parked).min()
    }
}

/// Whether there is, or can be, a row of this name. One that holds nothing any more makes room for it.
pub(super) fn room(draft: &mut Draft<'_>, row: &Name) -> bool {
    let core = &mut *draft.core;
    let Some((runtime, _)) = Runtime::model_of(row) else { return true };
    if core.runtimes.contains_key(row) || core.models(runtime).count() < MODELS_MAX {
        return true;
    }
    let open = core.models(runtime).find(|row| row.held_until(core.now).is_none());
    let Some(open) = open.map(|row| row.name.clone()) else { return false };
    core.runtimes.remove(&open);
    draft.delete(keys::runtime(&open));
    true
}

/// Lets what is parked for a model go back to its turn if the model is open, and stay where it is if not.
pub(super) fn unpark(draft: &mut Draft<'_>) {
    let core = &mut *draft.core;
    let parked: Vec<Name> = core.index.parked_models().cloned().collect();
    for row in parked {
        let held = core.runtimes.get(&row).is_some_and(|row| row.held_until(core.now).is_some());
        let key = HoldKey::Model(row);
        if held {
            core.index.hold(&key);
        } else {
            core.index.free(key);
        }
    }
}
