//! Rows into new shards. Each says that it is not to be served until all of them are there.

use super::{ORDERS_TAKEN, Place, Placing, UNFINISHED};
use crate::store::{Backend, Batch, Direction, StoreError, Stored as _, keys};

/// Rows in one commit.
const ROWS_PER_COMMIT_MAX: usize = 1_000;

/// A commit takes no more rows once it has this many bytes of them.
const BYTES_PER_COMMIT_MAX: usize = 1 << 20;

/// Whether nothing was ever written to a shard.
pub fn is_empty(shard: &dyn Backend) -> Result<bool, StoreError> {
    Ok(shard.scan(&[], keys::LAST, Direction::Ascending, 1)?.is_empty())
}

/// Whether somebody is writing a store into its shards, or was cut off at it.
pub fn is_unfinished(shard: &dyn Backend) -> Result<bool, StoreError> {
    Ok(shard.get(&keys::meta(UNFINISHED))?.is_some())
}

/// A store's shards while it is written into them.
pub struct Writing<B>(Vec<One<B>>);

impl<B: Backend> Writing<B> {
    /// Into these, which are empty.
    pub fn begin(shards: Vec<B>) -> Writing<B> {
        Writing(shards.into_iter().map(One::begin).collect())
    }

    /// Puts a row where it goes.
    pub fn put(&mut self, placing: &Placing, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match placing.of(key, value)? {
            Place::Shard(shard) => self.0.get_mut(shard as usize).map_or(Ok(()), |one| one.put(key, value)),
            Place::All => self.0.iter_mut().try_for_each(|one| one.put(key, value)),
            Place::Parted => Ok(()),
        }
    }

    /// All rows were put; the shards, to be looked at.
    pub fn finish(mut self, placing: &Placing) -> Result<Vec<B>, StoreError> {
        for (one, tally) in self.0.iter_mut().zip(placing.tallies()) {
            one.put(&keys::meta("tally"), &tally.encode())?;
            one.put(&keys::meta(ORDERS_TAKEN), &placing.order_max().encode())?;
            one.flush()?;
        }
        self.0.into_iter().map(One::finish).collect()
    }
}

struct One<B> {
    shard: B,
    batch: Batch,
    bytes: usize,
}

impl<B: Backend> One<B> {
    fn begin(shard: B) -> One<B> {
        let mut batch = Batch::default();
        batch.put(keys::meta(UNFINISHED), Vec::new());
        One { shard, batch, bytes: 0 }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.bytes += key.len() + value.len();
        self.batch.put(key.to_vec(), value.to_vec());
        let full = self.batch.writes.len() >= ROWS_PER_COMMIT_MAX || self.bytes >= BYTES_PER_COMMIT_MAX;
        if full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        self.shard.commit(&std::mem::take(&mut self.batch))
    }

    fn finish(mut self) -> Result<B, StoreError> {
        self.batch.delete(keys::meta(UNFINISHED));
        self.flush()?;
        Ok(self.shard)
    }
}
