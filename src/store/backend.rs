//! The only seam under the engine: ordered bytes, committed whole.

use std::sync::Arc;

use super::StoreError;
use crate::model::Space;

/// Which end of a range a scan starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// What one commit changes, and the events it leaves in the history. Order matters: a later write of a key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// `None` deletes.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Kept in the journal as long as retention says, never in the table.
    pub events: Vec<Vec<u8>>,
}

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push((key, Some(value)));
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.writes.push((key, None));
    }

    /// Adds an event to the history.
    pub fn event(&mut self, bytes: Vec<u8>) {
        self.events.push(bytes);
    }

    /// Whether committing it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.events.is_empty()
    }
}

/// Ordered bytes.
pub trait Backend: Send + Sync {
    /// The value of `key` as of the last commit.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` pairs with `from <= key < to`, from the end that `direction` names.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError>;

    /// `Ok` only when the batch survives power loss, whole, and all before it. After an error nothing more is written.
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError>;

    /// Begins a commit that [`Backend::landed`] ends: the batch is read from here on, and is on its way to where it
    /// survives power loss. It may wait for those before.
    fn begin(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.commit(batch)
    }

    /// `Ok` only when all that was begun survives power loss, but for the latest so many.
    fn landed(&mut self, left: usize) -> Result<(), StoreError> {
        let _ = left;
        Ok(())
    }

    /// How much room there is where it writes, if it knows. It may use the occasion to make some.
    fn look(&mut self) -> Result<Option<Space>, StoreError> {
        Ok(None)
    }

    /// A reader of committed events that other threads may use.
    fn history(&self) -> Arc<dyn History>;
}

/// The events of all retained commits, in order.
pub trait History: Send + Sync {
    /// Events after `after` (exclusive; 0 is the beginning), oldest first, at most about `limit`, whole commits only.
    /// The first number of each is its commit's sequence.
    fn read(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// The sequence of the oldest commit whose events are retained; one more than the newest if none are.
    fn oldest(&self) -> Result<u64, StoreError>;

    /// The sequence of the latest commit; 0 before the first.
    fn newest(&self) -> u64;
}
