//! The queues that workers claim from: each holds its records by runtime, in fair rotation, and its runtimes take
//! turns. Derived like the rest of the index; a queue that is empty is not there. Beside them it counts every record that
//! waits in a queue, also those that stand in no rotation: parked ones, and those the burst gate holds.

use std::collections::BTreeMap;

use super::index::Entry;
use crate::model::{Name, RecordId};
use crate::pace::Rotation;

/// Every queue with records in it, and how many wait in each.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: BTreeMap<Name, Runtimes>,
    waiting: BTreeMap<Name, u64>,
}

/// One queue.
#[derive(Debug, Default)]
struct Runtimes {
    rotations: BTreeMap<Name, Rotation>,
    /// Whose turn it was last.
    last: Option<Name>,
}

impl Queues {
    pub(super) fn insert(&mut self, queue: &Name, entry: &Entry, id: RecordId) {
        let rotations = &mut self.queues.entry(queue.clone()).or_default().rotations;
        let rotation = rotations.entry(entry.home.runtime.clone()).or_default();
        rotation.insert(entry.home.org(), entry.home.env(), entry.order, id);
    }

    /// Takes a record out; nothing happens if it is not there.
    pub(super) fn remove(&mut self, queue: &Name, entry: &Entry) {
        self.with(queue, &entry.home.runtime, |rotation| {
            rotation.remove(entry.home.org(), entry.home.env(), entry.order);
        });
    }

    /// As [`Rotation::place`], of a record that waits in this queue.
    pub(super) fn place(&self, queue: &Name, entry: &Entry, max: usize) -> Option<(usize, usize)> {
        let rotation = self.queues.get(queue)?.rotations.get(&entry.home.runtime)?;
        Some(rotation.place(entry.home.org(), entry.home.env(), entry.order, max))
    }

    /// The record of this queue and runtime whose turn it is.
    pub(super) fn peek(&self, queue: &Name, runtime: &Name) -> Option<RecordId> {
        self.queues.get(queue)?.rotations.get(runtime)?.peek()
    }

    /// Takes that record out, and it is served; the next turn is another runtime's.
    pub(super) fn take(
        &mut self,
        queue: &Name,
        runtime: &Name,
        weight: impl Fn(&Name) -> u32,
    ) -> Option<RecordId> {
        self.queues.get_mut(queue)?.last = Some(runtime.clone());
        self.with(queue, runtime, |rotation| rotation.take(weight))?
    }

    /// Does something to a rotation; what is empty after it goes.
    fn with<T>(
        &mut self,
        queue: &Name,
        runtime: &Name,
        change: impl FnOnce(&mut Rotation) -> T,
    ) -> Option<T> {
        let runtimes = self.queues.get_mut(queue)?;
        let rotation = runtimes.rotations.get_mut(runtime)?;
        let changed = change(rotation);
        if rotation.is_empty() {
            runtimes.rotations.remove(runtime);
        }
        if runtimes.rotations.is_empty() {
            self.queues.remove(queue);
        }
        Some(changed)
    }

    /// The runtimes of a queue, the one whose turn it is first.
    pub(super) fn runtimes(&self, queue: &Name) -> Vec<Name> {
        let Some(Runtimes { rotations, last }) = self.queues.get(queue) else { return Vec::new() };
        let mut names: Vec<Name> = rotations.keys().cloned().collect();
        let served = names.iter().take_while(|name| last.as_ref().is_some_and(|last| *name <= last)).count();
        names.rotate_left(served);
        names
    }

    /// Counts a record in, if it waits in a queue.
    pub(super) fn count(&mut self, entry: &Entry) {
        if let Some(pull) = entry.waits_in() {
            *self.waiting.entry(pull.clone()).or_default() += 1;
        }
    }

    /// Counts it out.
    pub(super) fn discount(&mut self, entry: &Entry) {
        let Some(pull) = entry.waits_in() else { return };
        if let Some(count) = self.waiting.get_mut(pull) {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(pull);
            }
        }
    }

    /// How many records wait in each queue, in a rotation or not.
    pub(super) const fn waiting(&self) -> &BTreeMap<Name, u64> {
        &self.waiting
    }

    /// The queues with something to claim, by name.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.queues.keys()
    }

    /// How many of a queue may be claimed.
    pub(super) fn len(&self, queue: &Name) -> u64 {
        self.queues.get(queue).map_or(0, |queue| queue.rotations.values().map(Rotation::len).sum())
    }
}
