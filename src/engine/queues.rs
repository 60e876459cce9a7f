//! The queues that workers claim from: each holds its records by runtime, in fair rotation, and its runtimes take
//! turns. Derived like the rest of the index; a queue that is empty is not there.

use std::collections::BTreeMap;

use super::index::Entry;
use crate::model::{Name, RecordId};
use crate::pace::Rotation;

/// Every queue with records in it.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: BTreeMap<Name, Runtimes>,
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
        let rotation = rotations.entry(entry.runtime.clone()).or_default();
        rotation.insert(&entry.org, &entry.env, entry.order, id);
    }

    /// Takes a record out; nothing happens if it is not there.
    pub(super) fn remove(&mut self, queue: &Name, entry: &Entry) {
        self.with(queue, &entry.runtime, |rotation| rotation.remove(&entry.org, &entry.env, entry.order));
    }

    /// As [`Rotation::place`], of a record that waits in this queue.
    pub(super) fn place(&self, queue: &Name, entry: &Entry, max: usize) -> Option<(usize, usize)> {
        let rotation = self.queues.get(queue)?.rotations.get(&entry.runtime)?;
        Some(rotation.place(&entry.org, &entry.env, entry.order, max))
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

    /// The queues, by name.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.queues.keys()
    }

    /// How many wait in a queue.
    pub(super) fn len(&self, queue: &Name) -> u64 {
        self.queues.get(queue).map_or(0, |queue| queue.rotations.values().map(Rotation::len).sum())
    }
}
