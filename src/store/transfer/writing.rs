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
    /// Into these, which are empty. Before the first row is written none of them is served.
    pub fn begin(shards: Vec<B>) -> Result<Writing<B>, StoreError> {
        Ok(Writing(shards.into_iter().map(One::begin).collect::<Result<_, _>>()?))
    }

    /// Puts a row where it goes.
    pub fn put(&mut self, placing: &Placing, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match placing.of(key, value)? {
            Place::Shard(shard) => self.0.get_mut(shard as usize).map_or(Ok(()), |one| one.put(key, value)),
            Place::All => self.0.iter_mut().try_for_each(|one| one.put(key, value)),
            Place::Parted => Ok(()),
        }
    }

    /// All rows were put; the shards, to be looked at before they are [`serve`]d.
    pub fn finish(mut self, placing: &Placing) -> Result<Vec<B>, StoreError> {
        for (one, tally) in self.0.iter_mut().zip(placing.tallies()) {
            one.put(&keys::meta("tally"), &tally.encode())?;
            one.put(&keys::meta(ORDERS_TAKEN), &placing.order_max().encode())?;
            one.flush()?;
        }
        Ok(self.0.into_iter().map(|one| one.shard).collect())
    }
}

/// What was written into a shard is whole.
pub fn serve(shard: &mut dyn Backend) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.delete(keys::meta(UNFINISHED));
    shard.commit(batch)
}

struct One<B> {
    shard: B,
    batch: Batch,
    bytes: usize,
}

impl<B: Backend> One<B> {
    fn begin(mut shard: B) -> Result<One<B>, StoreError> {
        let mut batch = Batch::default();
        batch.put(keys::meta(UNFINISHED), Vec::new());
        shard.commit(batch)?;
        Ok(One { shard, batch: Batch::default(), bytes: 0 })
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.bytes += key.len() + value.len();
        self.batch.put(key.to_vec(), value.to_vec());
        let full = self.batch.writes.len() >= ROWS_PER_COMMIT_MAX || self.bytes >= BYTES_PER_COMMIT_MAX;
        if full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        self.shard.commit(std::mem::take(&mut self.batch))
    }
}
