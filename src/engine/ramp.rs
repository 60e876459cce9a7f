//! Runtimes that come back from a pause: each starts a few attempts a second at first.
//!
//! When a runtime opened follows from its row. What it started in the current second is counted in memory only, so a
//! crash may let one second's share start once more (`pace::ramp` has the rule).

use super::core::Core;
use super::draft::Draft;
use super::hold;
use crate::model::{Name, Runtime, Time};
use crate::pace::{self, RAMP_STEP, Ramp};

impl Core {
    /// Where a runtime is in its ramp, with what other shards of the process have started; `None`: it has none.
    pub(super) fn ramp(&self, runtime: &Name) -> Option<Ramp> {
        let ramp = self.own_ramp(runtime)?;
        Some(self.pool.as_ref().map_or(ramp, |pool| pool.ramp(runtime, ramp)))
    }

    /// The same if this were the only one.
    pub(super) fn own_ramp(&self, runtime: &Name) -> Option<Ramp> {
        // Most were never closed, and it is asked in every tick.
        let since = self.opened_at(runtime)?;
        if !self.settings.pacing(runtime).ramp {
            return None;
        }
        let concurrency = self.settings.runtimes.get(runtime).copied().unwrap_or(0);
        let started = self.started.get(runtime).copied().unwrap_or_default();
        pace::ramp(since, self.now, concurrency, started)
    }

    /// Counts a start, if it is one of a ramp.
    pub(super) fn count_start(&mut self, runtime: &Name) {
        if let Some(Ramp { next, .. }) = self.own_ramp(runtime) {
            let started = self.started.entry(runtime.clone()).or_default();
            *started = started.one_more(next);
        }
    }

    /// When the first runtime that only its ramp keeps from starting something may go on.
    pub(super) fn ramp_wake(&self) -> Option<Time> {
        if hold::everything(self).is_some() {
            return None;
        }
        let waiting = self.index.lanes().filter(|(_, lane)| self.startable(lane)).map(|(name, _)| name);
        let room = |name: &&Name| hold::closed(self, name).is_none() && hold::full(self, name).is_none();
        // A model that opens begins the ramp anew.
        let opens = |name: &Name| self.models(name).filter_map(|row| row.held_until(self.now)).min();
        let next = |name: &Name| Some(opens(name).unwrap_or(Time::MAX).min(self.ramp(name)?.next));
        waiting.filter(room).filter_map(next).min()
    }
}

/// Begins the ramp of a runtime: something wider than its own pauses held it until now.
pub(super) fn reopened(draft: &mut Draft<'_>, runtime: &Name) {
    let row = draft.core.runtime(runtime);
    draft.set_runtime(Runtime { reopened_at: Some(draft.now), ..row });
}

/// Begins the ramps of runtimes that opened unseen since `seen`, while dwell or its machine slept: what waits there now
/// would wake in one instant.
pub(super) fn late(draft: &mut Draft<'_>, seen: Time) {
    let (core, now) = (&draft.core, draft.now);
    let unseen = |name: &Name| core.opened_at(name).is_some_and(|at| at > seen && at.after(RAMP_STEP) <= now);
    let waiting = core.index.lanes().filter(|(_, lane)| lane.queued() > 0 || !lane.limited.is_empty());
    let late: Vec<Name> = waiting.map(|(name, _)| name).filter(|name| unseen(name)).cloned().collect();
    for name in late {
        reopened(draft, &name);
    }
}
