//! Stalls: records wait for a runtime that nothing holds (no pause, no limit, no drained scope), and none has started on
//! it for `stalled_after`. Its places are all taken by attempts that do not end, no worker claims, or it is not configured.
//!
//! Since when is derived at open from when what waits began to wait, what is live last started, and a pause ended.

use std::collections::BTreeMap;

use super::core::Core;
use super::hold;
use super::notices::{NOTIFY, wanted};
use crate::model::{Name, NoticeEvent, Record, Runtime, StateName, Time, Transition};

/// One runtime with records that wait.
#[derive(Clone, Copy, Debug, Default)]
struct Stall {
    /// When the longest waiting began to wait; only used at open.
    waiting: Option<Time>,
    /// Since when none has started.
    since: Time,
    /// Whether it was told.
    told: bool,
}

/// By runtime.
#[derive(Debug, Default)]
pub(super) struct Stalls(BTreeMap<Name, Stall>);

impl Stalls {
    /// Takes a live record into account, at open.
    pub(super) fn see(&mut self, record: &Record) {
        let queued = (record.state.name() == StateName::Queued).then_some(record.updated_at);
        if queued.is_none() && record.started_at.is_none() {
            return;
        }
        let stall = self.0.entry(record.runtime.clone()).or_default();
        stall.waiting = [stall.waiting, queued].into_iter().flatten().min();
        stall.since = stall.since.max(record.started_at.unwrap_or_default());
    }

    /// All live records were seen. What waited for a pause to end waits for a start only since then.
    pub(super) fn seen(mut self, runtimes: &BTreeMap<Name, Runtime>, now: Time) -> Stalls {
        self.0.retain(|_, stall| stall.waiting.is_some());
        for (name, stall) in &mut self.0 {
            let row = runtimes.get(name);
            let ends = row
                .map(|row| [row.limited.map(|pause| pause.limit.until), row.paused_until, row.reopened_at]);
            let ended = ends.into_iter().flatten().flatten().filter(|end| *end <= now).max();
            stall.since = [stall.waiting.take(), ended, Some(stall.since)]
                .into_iter()
                .flatten()
                .max()
                .unwrap_or_default();
        }
        self
    }
}

/// If the step is a start, its runtime does not stall.
pub(super) fn started(core: &mut Core, step: &Transition) {
    if (step.from, step.to) == (Some(StateName::Queued), StateName::Active)
        && let Some(entry) = core.index.entry(step.id)
    {
        core.notices.stalls.0.remove(&entry.home.runtime);
    }
}

/// Those that have stalled for long enough by now and were not told.
pub(super) fn stalled(core: &mut Core) -> Vec<Name> {
    if !wanted(core, NoticeEvent::Stalled) {
        return Vec::new();
    }
    let waits = |name: &Name| {
        let lane = core.index.lane(name).filter(|_| &**name != NOTIFY);
        lane.is_some_and(|lane| !lane.queue.is_empty() || lane.claimable > 0)
            && hold::everything(core).is_none()
            && hold::closed(core, name).is_none()
    };
    let waiting: Vec<Name> =
        core.index.lanes().map(|(name, _)| name).filter(|name| waits(name)).cloned().collect();
    let (now, after) = (core.now, core.settings.stalled_after);
    let stalls = &mut core.notices.stalls.0;
    stalls.retain(|name, _| waiting.contains(name));
    let mut stalled = Vec::new();
    for name in waiting {
        let stall = stalls.entry(name.clone()).or_insert(Stall { since: now, ..Stall::default() });
        if !stall.told && stall.since.after(after) <= now {
            stall.told = true;
            stalled.push(name);
        }
    }
    stalled
}

/// When the next one will have stalled for long enough.
pub(super) fn next_at(core: &Core) -> Option<Time> {
    let stalls = core.notices.stalls.0.values().filter(|stall| !stall.told);
    stalls
        .filter(|_| wanted(core, NoticeEvent::Stalled))
        .map(|stall| stall.since.after(core.settings.stalled_after))
        .min()
}
