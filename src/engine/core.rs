//! What the engine holds in memory between two ticks. Absent on purpose: what decides (`tick` and its passes).

use std::collections::BTreeMap;

use super::claims::Claims;
use super::debounce::Debounces;
use super::gate::Gate;
use super::index::{Index, Lane};
use super::modes::Modes;
use super::notices::Notices;
use super::pool;
use super::purge::Oldest;
use super::schedule::Schedules;
use super::settings::Settings;
use super::space;
use super::step;
use crate::model::{
    Drain, Name, Record, RecordId, Redrive, RedriveId, Runtime, Scope, Space, StateName, Time,
};
use crate::pace::Started;
use crate::store::{StoreError, Tally, keys};

/// What ends the engine. The process restarts and recovers; nothing was released that is not durable.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds something that cannot be.
    #[error("record {0} is inconsistent: {1}; see what `dwell check` finds, or restore the backup")]
    Inconsistent(RecordId, &'static str),
}

/// All the engine holds in memory; everything but counters since open and the claims that wait is derived from the
/// store.
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) index: Index,
    pub(super) gate: Gate,
    pub(super) modes: Modes,
    pub(super) runtimes: BTreeMap<Name, Runtime>,
    /// What runtimes on a ramp have started lately.
    pub(super) started: BTreeMap<Name, Started>,
    pub(super) drains: BTreeMap<Scope, Drain>,
    pub(super) claims: Claims,
    pub(super) tally: Tally,
    /// Paced redrives that are running; each is a row.
    pub(super) redrives: BTreeMap<RedriveId, Redrive>,
    pub(super) notices: Notices,
    pub(super) now: Time,
    /// When the latest tick was; before the first one since open, the latest that committed something.
    pub(super) seen: Time,
    /// Found outstanding at open.
    pub(super) interrupted: Vec<RecordId>,
    /// Set when the engine is about to stop.
    pub(super) draining: Option<Time>,
    /// What retention waits for.
    pub(super) oldest: Oldest,
    /// Answers kept under idempotency keys.
    pub(super) answers: u64,
    /// Flows that start by the clock.
    pub(super) schedules: Schedules,
    /// Runs that wait for the end of their triggers.
    pub(super) debounces: Debounces,
    /// Room on the store's disk, if it is known.
    pub(super) space: Option<Space>,
    /// The places it shares with the engines of other shards.
    pub(super) pool: Option<pool::Member>,
    /// A pass reached its limit; the rest is done next tick.
    pub(super) more: bool,
    pub(super) ticks: u64,
    pub(super) commits: u64,
}

impl Core {
    /// A runtime's row; one never written is open.
    pub(super) fn runtime(&self, name: &Name) -> Runtime {
        self.runtimes.get(name).cloned().unwrap_or_else(|| Runtime::open(name.clone()))
    }

    /// Whether something would start on a runtime if nothing held it: what waits for a claim only if one waits for it.
    pub(super) fn startable(&self, lane: &Lane) -> bool {
        !lane.queue.is_empty() || lane.claimable > 0 && self.claims.any()
    }

    /// Takes a place on a runtime that has one, unless another shard was first.
    pub(super) fn take_place(&self, runtime: &Name) -> bool {
        let concurrency = self.settings.runtimes.get(runtime).copied().unwrap_or(0);
        self.pool.as_ref().is_none_or(|pool| pool.take(runtime, concurrency, self.own_ramp(runtime)))
    }

    /// How many more finished records are there than are kept.
    pub(super) fn crowd(&self) -> u64 {
        if self.oldest.finished.is_empty() {
            return 0;
        }
        self.finished().saturating_sub(self.settings.finished_max.into())
    }

    /// Finished records there are.
    pub(super) const fn finished(&self) -> u64 {
        (self.tally.completed + self.tally.cancelled).saturating_sub(self.tally.purged)
    }

    /// Keeps the tally of what starts, ends and finishes.
    pub(super) fn count(&mut self, before: &Record, after: &Record) {
        self.tally.attempts_ended += u64::from(step::ends(before, after));
        self.tally.attempts_started += u64::from(after.attempt - before.attempt);
        self.tally.completed += u64::from(after.state.name() == StateName::Completed);
        self.tally.cancelled += u64::from(after.state.name() == StateName::Cancelled);
        if let Some(at) = after.state.finished_at() {
            self.oldest.finished.add((at, after.id), &keys::finished(at, after.id));
        }
    }
}

impl Core {
    /// The next moment at which time alone admits something.
    pub(super) fn next_upcoming(&self) -> Option<Time> {
        // A schedule's time waits for room.
        let schedules = self.schedules.first().filter(|_| space::short(self).is_none());
        [schedules, self.debounces.first()].into_iter().flatten().min()
    }
}
