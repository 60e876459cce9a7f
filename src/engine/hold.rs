//! What holds a queued record back. Dispatch asks it before it starts anything, and whoever asks why is answered by
//! the same functions, so the two cannot disagree.
//!
//! Owns: every rule that keeps a queued record waiting, and its order. Absent on purpose: deadlines of records that are
//! not queued (they are in the record), and turns (`pace`): what nothing holds waits for its turn only.
//!
//! A rule is as wide as what it is asked of: all of dwell, a runtime, or single records. What only a single record's
//! rule holds is parked when its turn comes ([`Narrow`]), so that it costs the others no time.

use super::core::Core;
use super::index::Entry;
use crate::model::{Drain, Lane, Name, Pause, RecordId, Runtime, Scope, Time};

/// The rule that holds a queued record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// dwell is about to stop.
    Stopping {
        /// When what is outstanding is stopped.
        until: Time,
    },
    /// A scope it belongs to is drained.
    Drained(Drain),
    /// An operator paused its runtime; [`Time::MAX`] is until resumed.
    Paused {
        /// Until then.
        until: Time,
    },
    /// Its runtime's window is used up.
    Limited(Pause),
    /// The model it asks for is paused or limited on its runtime: that model's row.
    Model(Runtime),
    /// The burst gate diverted it, and as many as may be are released already.
    Burst {
        /// Released, and waiting for their start or outstanding.
        released: usize,
        /// As many as may be.
        max: u32,
    },
    /// As many attempts of its group as may be are outstanding.
    Group {
        /// Its name.
        name: Name,
        /// Outstanding in it.
        outstanding: usize,
        /// As many as may be.
        max: u32,
    },
    /// A worker would carry it out, and none asks for its queue.
    Unclaimed {
        /// The queue.
        queue: Name,
        /// When one asked for it last, since dwell was started.
        asked_at: Option<Time>,
    },
    /// Its runtime comes back from a pause, and has started as many as it may in this second.
    Ramp {
        /// When it may start more.
        until: Time,
    },
    /// As many attempts as may be are outstanding on its runtime.
    Full {
        /// Outstanding there.
        outstanding: u32,
        /// As many as may be; 0 also for a runtime that is not configured.
        concurrency: u32,
    },
}

/// A rule that holds single records while others of their runtime go: what it holds is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrow {
    /// The flow is drained.
    Flow,
    /// The org is drained.
    Org,
    /// The group has no place.
    Group,
    /// The model is held.
    Model,
}

impl Hold {
    /// A stable word for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Hold::Stopping { .. } => "stopping",
            Hold::Drained(_) => "drained",
            Hold::Paused { .. } => "runtime_paused",
            Hold::Limited(_) => "runtime_limited",
            Hold::Model(_) => "model",
            Hold::Unclaimed { .. } => "unclaimed",
            Hold::Burst { .. } => "burst",
            Hold::Group { .. } => "group_busy",
            Hold::Ramp { .. } => "ramp",
            Hold::Full { .. } => "concurrency",
        }
    }

    /// Whether it holds single records, and by what.
    pub(super) const fn narrow(&self) -> Option<Narrow> {
        match self {
            Hold::Drained(Drain { scope: Scope::Flow(_), .. }) => Some(Narrow::Flow),
            Hold::Drained(Drain { scope: Scope::Org(_), .. }) => Some(Narrow::Org),
            Hold::Group { .. } => Some(Narrow::Group),
            Hold::Model(_) => Some(Narrow::Model),
            Hold::Stopping { .. }
            | Hold::Drained(Drain { scope: Scope::All | Scope::Runtime(_), .. })
            | Hold::Paused { .. }
            | Hold::Limited(_)
            | Hold::Burst { .. }
            | Hold::Unclaimed { .. }
            | Hold::Ramp { .. }
            | Hold::Full { .. } => None,
        }
    }
}

/// What holds a queued record now; `None`: it waits for its turn only. What an operator decided is named first, and
/// last what passes by itself soonest.
pub(super) fn of(core: &Core, entry: &Entry) -> Option<Hold> {
    entry.queue?;
    everything(core)
        .or_else(|| closed(core, &entry.home.runtime))
        .or_else(|| single(core, entry))
        .or_else(|| burst(core, entry))
        .or_else(|| unclaimed(core, entry))
        .or_else(|| full(core, &entry.home.runtime))
        .or_else(|| ramping(core, &entry.home.runtime))
}

/// What holds all of dwell.
pub(super) fn everything(core: &Core) -> Option<Hold> {
    if let Some(until) = core.draining {
        return Some(Hold::Stopping { until });
    }
    drained(core, || Scope::All)
}

/// What holds all of a runtime, however few are outstanding on it.
pub(super) fn closed(core: &Core, runtime: &Name) -> Option<Hold> {
    drained(core, || Scope::Runtime(runtime.clone())).or_else(|| {
        let row = core.runtimes.get(runtime)?;
        if let Some(until) = row.paused_until.filter(|until| *until > core.now) {
            return Some(Hold::Paused { until });
        }
        row.limited.filter(|pause| pause.limit.until > core.now).map(Hold::Limited)
    })
}

/// Whether a runtime has no place for one more attempt.
pub(super) fn full(core: &Core, runtime: &Name) -> Option<Hold> {
    let concurrency = core.settings.runtimes.get(runtime).copied().unwrap_or(0);
    let outstanding = core.index.lane(runtime).map_or(0, |lane| lane.outstanding.len());
    let outstanding = u32::try_from(outstanding).unwrap_or(u32::MAX);
    let outstanding = match &core.pool {
        None => Some(outstanding).filter(|outstanding| *outstanding >= concurrency),
        Some(pool) => pool.full(runtime, concurrency),
    };
    outstanding.map(|outstanding| Hold::Full { outstanding, concurrency })
}

/// Whether a runtime has used up what its ramp lets it start now.
pub(super) fn ramping(core: &Core, runtime: &Name) -> Option<Hold> {
    core.ramp(runtime).filter(|ramp| ramp.left == 0).map(|ramp| Hold::Ramp { until: ramp.next })
}

/// What holds this record while others of its runtime go.
pub(super) fn single(core: &Core, entry: &Entry) -> Option<Hold> {
    let flow = entry.home.flow.as_ref().and_then(|flow| drained(core, || Scope::Flow(flow.clone())));
    flow.or_else(|| drained(core, || Scope::Org(entry.home.org().clone())))
        .or_else(|| model(core, entry))
        .or_else(|| group(core, entry))
}

/// Whether the model it asks for is held.
fn model(core: &Core, entry: &Entry) -> Option<Hold> {
    let row = core.runtimes.get(entry.home.model.as_ref()?)?;
    row.held_until(core.now).map(|_| Hold::Model(row.clone()))
}

/// Whether its group has no place for it, which counts once the burst gate has had its say.
fn group(core: &Core, entry: &Entry) -> Option<Hold> {
    let key = &entry.member.as_ref().filter(|_| entry.queue == Some(Lane::Ready))?.key;
    let group = core.index.groups().get(key)?;
    let hold = Hold::Group { name: key.name.clone(), outstanding: group.outstanding.len(), max: group.max() };
    (group.places() == 0).then_some(hold)
}

/// Why the record whose turn it is is to be parked instead.
pub(super) fn parks(core: &Core, id: RecordId) -> Option<Narrow> {
    single(core, core.index.entry(id)?)?.narrow()
}

/// Whether it waits for the drainer, which has no place for it.
fn burst(core: &Core, entry: &Entry) -> Option<Hold> {
    if entry.queue != Some(Lane::Burst) {
        return None;
    }
    let max = core.settings.burst.drain_concurrency;
    let burst = core.index.lane(&entry.home.runtime).and_then(|lane| lane.burst.get(&entry.home.pull));
    let released = burst.map_or(0, |burst| burst.released.len());
    Some(Hold::Burst { released, max })
}

/// Whether it waits for a worker, and none for it.
fn unclaimed(core: &Core, entry: &Entry) -> Option<Hold> {
    let queue = entry.home.pull.as_ref()?;
    let nobody = core.claims.waiting(queue) == 0;
    nobody.then(|| Hold::Unclaimed { queue: queue.clone(), asked_at: core.claims.asked_at(queue) })
}

/// Whether this scope itself is drained. Mostly none is, so it is made only where one may be.
pub(super) fn drained(core: &Core, scope: impl FnOnce() -> Scope) -> Option<Hold> {
    if core.drains.is_empty() {
        return None;
    }
    core.drains.get(&scope()).cloned().map(Hold::Drained)
}
