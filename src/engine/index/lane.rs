//! One runtime's share of the indexes.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::settings::Settings;
use crate::model::{Name, RecordId};
use crate::pace::Rotation;

/// One runtime's share.
#[derive(Debug, Default)]
pub(in crate::engine) struct Lane {
    /// Waiting for their turn.
    pub(in crate::engine) queue: Rotation,
    /// Waiting to be claimed; they stand in the queues of workers.
    pub(in crate::engine) claimable: u64,
    /// Held back by the burst gate, by who is to carry them out: dwell, or the workers of a queue. What one of them leaves
    /// waiting takes no place from another.
    pub(in crate::engine) burst: BTreeMap<Option<Name>, Diverted>,
    /// With an outstanding attempt.
    pub(in crate::engine) outstanding: BTreeSet<RecordId>,
    /// Waiting for a window of it, by the window's row.
    pub(in crate::engine) limited: BTreeMap<Name, BTreeSet<RecordId>>,
    /// Queued, and parked outside both rotations.
    pub(in crate::engine) parked: u64,
}

/// What the burst gate diverted.
#[derive(Debug, Default)]
pub(in crate::engine) struct Diverted {
    pub(in crate::engine) waiting: Rotation,
    /// Released by the drainer: queued, or with an outstanding attempt.
    pub(in crate::engine) released: BTreeSet<RecordId>,
}

impl Diverted {
    pub(super) fn drain(&mut self, settings: &Settings) -> Vec<RecordId> {
        let burst = &settings.burst;
        let mut room = (burst.drain_concurrency as usize).saturating_sub(self.released.len());
        let orgs = self.waiting.slice(room.min(burst.orgs_per_tick as usize));
        let mut drained = Vec::new();
        for (served, org) in orgs.iter().enumerate() {
            // Every org of the slice is served, so each that follows keeps a place.
            let following = orgs.len() - served - 1;
            let batch = burst.drain_batch.saturating_mul(settings.org(org).weight.max(1)) as usize;
            let ids = self.waiting.take_of(org, batch.clamp(1, room.saturating_sub(following).max(1)));
            room = room.saturating_sub(ids.len());
            self.released.extend(&ids);
            drained.extend(ids);
        }
        drained
    }
}

impl Lane {
    /// How many the burst gate holds back.
    pub(in crate::engine) fn diverted(&self) -> u64 {
        self.burst.values().map(|burst| burst.waiting.len()).sum()
    }

    /// Changes what was diverted for one who carries it out; nothing is kept of what is empty after it.
    pub(in crate::engine) fn with_burst(&mut self, pull: Option<&Name>, change: impl FnOnce(&mut Diverted)) {
        let burst = self.burst.entry(pull.cloned()).or_default();
        change(burst);
        if burst.waiting.is_empty() && burst.released.is_empty() {
            self.burst.remove(&pull.cloned());
        }
    }

    /// Counts one that the drainer released as ordinary work, if it is one.
    pub(in crate::engine) fn unreleased(&mut self, pull: Option<&Name>, id: RecordId) {
        if !self.burst.is_empty() {
            self.with_burst(pull, |burst| {
                burst.released.remove(&id);
            });
        }
    }

    /// Whether no record waits for or runs on the runtime.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.queued() == 0 && self.outstanding.is_empty() && self.limited.is_empty()
    }

    /// How many are queued on the runtime, parked or not.
    pub(in crate::engine) fn queued(&self) -> u64 {
        self.queue.len() + self.claimable + self.diverted() + self.parked
    }
}
