//! The indexes: by id, deadline, queue place, runtime and state. All of it is derived from the live records, rebuilt
//! by one scan at open and never written.

use std::collections::{BTreeMap, BTreeSet};

use super::request::Counts;
use crate::model::{Name, Record, RecordId, StateName, Time};
use crate::pace::Rotation;

/// What the indexes know of one live record.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) org: Name,
    pub(super) env: Name,
    pub(super) flow: Option<Name>,
    pub(super) runtime: Name,
    pub(super) state: StateName,
    order: u64,
    deadline: Option<Time>,
}

/// One runtime's share.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Waiting for their turn.
    pub(super) queue: Rotation,
    /// With an outstanding attempt.
    pub(super) outstanding: BTreeSet<RecordId>,
    /// Waiting for its window.
    pub(super) limited: BTreeSet<RecordId>,
}

impl Lane {
    /// Whether no record waits for or runs on the runtime.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.outstanding.is_empty() && self.limited.is_empty()
    }
}

/// Everything derived.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<RecordId, Entry>,
    deadlines: BTreeSet<(Time, RecordId)>,
    lanes: BTreeMap<Name, Lane>,
    counts: Counts,
    names: BTreeSet<Name>,
    order_max: u64,
}

impl Index {
    /// Makes the indexes say what `record` says; a finished record leaves them.
    pub(super) fn set(&mut self, record: &Record) {
        self.remove(record.id);
        if record.state.finished_at().is_some() {
            return;
        }
        let entry = Entry {
            org: self.intern(&record.org),
            env: self.intern(&record.env),
            flow: record.flow.as_ref().map(|flow| self.intern(flow)),
            runtime: self.intern(&record.runtime),
            state: record.state.name(),
            order: record.order,
            deadline: record.deadline(),
        };
        self.order_max = self.order_max.max(record.order);
        *self.counts.entry(entry.state).or_default() += 1;
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, record.id));
        }
        let lane = self.lanes.entry(entry.runtime.clone()).or_default();
        match entry.state {
            StateName::Queued => lane.queue.insert(&entry.org, &entry.env, entry.order, record.id),
            StateName::Active | StateName::Draining => {
                lane.outstanding.insert(record.id);
            }
            StateName::RateLimited => {
                lane.limited.insert(record.id);
            }
            StateName::Backoff | StateName::DeadLettered | StateName::Completed | StateName::Cancelled => {}
        }
        self.entries.insert(record.id, entry);
    }

    fn remove(&mut self, id: RecordId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(count) = self.counts.get_mut(&entry.state) {
            *count -= 1;
        }
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        let lane = self.lanes.entry(entry.runtime).or_default();
        match entry.state {
            StateName::Queued => lane.queue.remove(&entry.org, &entry.env, entry.order),
            StateName::Active | StateName::Draining => {
                lane.outstanding.remove(&id);
            }
            StateName::RateLimited => {
                lane.limited.remove(&id);
            }
            StateName::Backoff | StateName::DeadLettered | StateName::Completed | StateName::Cancelled => {}
        }
    }

    /// One shared copy of each name, however many records bear it.
    fn intern(&mut self, name: &Name) -> Name {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        self.names.insert(name.clone());
        name.clone()
    }

    /// A new place at the end of the queue.
    pub(super) fn next_order(&mut self) -> u64 {
        self.order_max += 1;
        self.order_max
    }

    /// The earliest deadline.
    pub(super) fn first_deadline(&self) -> Option<(Time, RecordId)> {
        self.deadlines.first().copied()
    }

    /// The share of one runtime.
    pub(super) fn lane(&self, runtime: &Name) -> Option<&Lane> {
        self.lanes.get(runtime)
    }

    /// The share of every runtime that has or had records.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (&Name, &Lane)> {
        self.lanes.iter()
    }

    /// Takes the record of `runtime` whose turn it is out of its queue; [`Index::set`] puts it where it then belongs.
    pub(super) fn take(&mut self, runtime: &Name) -> Option<RecordId> {
        self.lanes.get_mut(runtime)?.queue.take(|_| 1)
    }

    /// Live records up to and without `before`, newest first.
    pub(super) fn newest(&self, low: RecordId, before: RecordId) -> impl Iterator<Item = (RecordId, &Entry)> {
        self.entries.range(low..before.max(low)).rev().map(|(id, entry)| (*id, entry))
    }

    /// Live ids from `low` to `high`, both included.
    pub(super) fn ids(&self, low: RecordId, high: RecordId) -> impl Iterator<Item = RecordId> {
        self.entries.range(low..=high.max(low)).map(|(id, _)| *id)
    }

    /// Live records by state.
    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Records with an outstanding attempt.
    pub(super) fn outstanding(&self) -> impl Iterator<Item = RecordId> {
        self.lanes.values().flat_map(|lane| lane.outstanding.iter().copied())
    }
}
