//! The backend for tests: a map. It can lose a commit, or land one without an answer, on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Backend, Batch, Direction, History, Pair, StoreError};

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
    fault: Option<Fault>,
}

/// A map behind the [`Backend`] seam. Clones share it, so a clone kept aside is the disk that survives a crash.
#[derive(Clone, Default)]
pub struct Memory {
    disk: Arc<Mutex<Disk>>,
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

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut disk = self.lock();
        let fault = disk.fault.take();
        if fault == Some(Fault::Lose) {
            return Err(StoreError::Injected);
        }
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

    fn history(&self) -> Arc<dyn History> {
        Arc::new(self.clone())
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
}
