//! The backend for tests: a map. It can lose a commit, or land one without an answer, on request.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::backup::{self, Part};
use super::{Backend, Batch, Direction, History, Pair, StoreError};
use crate::model::Space;

/// What the next commit does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, and the commit says so.
    Lose,
    /// Everything is written, and the commit says it was not.
    LandUnanswered,
}

#[derive(Default)]
struct Disk {
    table: BTreeMap<Vec<u8>, Vec<u8>>,
    events: Vec<(u64, Vec<u8>)>,
    sequence: u64,
    /// Commits whose events are not history any more.
    released: u64,
    fault: Option<Fault>,
    space: Option<Space>,
}

/// A map behind the [`Backend`] seam. Clones share it, so a clone kept aside is the disk that survives a crash; after
/// a commit failed, only a clone can write.
#[derive(Default)]
pub struct Memory {
    disk: Arc<Mutex<Disk>>,
    failed: bool,
}

impl Clone for Memory {
    fn clone(&self) -> Memory {
        Memory { disk: Arc::clone(&self.disk), failed: false }
    }
}

impl Memory {
    /// An empty store.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Makes the next commit fail in this way.
    pub fn fail_next(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// Forgets the events up to this commit, as retention does.
    pub fn release(&self, through: u64) {
        let mut disk = self.lock();
        disk.released = disk.released.max(through.min(disk.sequence));
        let released = disk.released;
        disk.events.retain(|(sequence, _)| *sequence > released);
    }

    /// Says that there is so much room from now on.
    pub fn set_space(&self, space: Space) {
        self.lock().space = Some(space);
    }

    /// Takes back a fault that no commit has met yet.
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().table.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let disk = self.lock();
        let range =
            disk.table.range(from.to_vec()..to.to_vec()).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Ascending => range.take(limit).collect(),
            Direction::Descending => range.rev().take(limit).collect(),
        })
    }

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned);
        }
        let fault = self.lock().fault.take();
        self.failed = fault.is_some();
        if fault == Some(Fault::Lose) {
            return Err(StoreError::Injected);
        }
        let mut disk = self.lock();
        disk.sequence += 1;
        let sequence = disk.sequence;
        for (key, value) in &batch.writes {
            match value {
                Some(value) => disk.table.insert(key.clone(), value.clone()),
                None => disk.table.remove(key),
            };
        }
        disk.events.extend(batch.events.iter().map(|event| (sequence, event.clone())));
        if fault == Some(Fault::LandUnanswered) { Err(StoreError::Injected) } else { Ok(()) }
    }

    fn look(&mut self) -> Result<Option<Space>, StoreError> {
        Ok(self.lock().space.clone())
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::new(self.clone())
    }
}

impl backup::Base for Memory {
    fn hand_out(&self, take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>) -> Result<Option<u64>, StoreError> {
        let disk = self.lock();
        let rows = disk.table.iter().map(|(key, value)| Part::Row(key, value));
        let mut parts = std::iter::once(Part::Begin { seed: 0, since: disk.sequence }).chain(rows);
        Ok(parts.all(|part| take(part).is_continue()).then_some(disk.sequence))
    }
}

impl History for Memory {
    fn read(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let disk = self.lock();
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        for (sequence, event) in disk.events.iter().filter(|(sequence, _)| *sequence > after) {
            if found.len() >= limit && found.last().is_some_and(|(last, _)| last != sequence) {
                break;
            }
            found.push((*sequence, event.clone()));
        }
        Ok(found)
    }

    fn oldest(&self) -> Result<u64, StoreError> {
        Ok(self.lock().released + 1)
    }

    fn newest(&self) -> u64 {
        self.lock().sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[test]
    fn memory_keeps_the_contract() {
        let disk = Memory::new();
        contract::check(|| Box::new(disk.clone()));
        contract::check_failure(disk.clone(), || disk.fail_next(Fault::Lose));
        contract::check_failure(disk.clone(), || disk.fail_next(Fault::LandUnanswered));
    }

    #[test]
    fn an_unanswered_commit_is_there_and_a_lost_one_is_not() {
        for (fault, found) in [(Fault::Lose, None), (Fault::LandUnanswered, Some(b"v".to_vec()))] {
            let mut memory = Memory::new();
            let disk = memory.clone();
            disk.fail_next(fault);
            let mut batch = Batch::default();
            batch.put(b"k".to_vec(), b"v".to_vec());
            memory.commit(batch).unwrap_err();
            assert_eq!(disk.get(b"k").unwrap(), found, "{fault:?}");
        }
    }
}
