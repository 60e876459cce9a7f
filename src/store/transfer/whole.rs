//! Every row of a store, in the order of keys.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use super::{ORDERS_TAKEN, UNFINISHED};
use crate::model::{Redrive, Runtime};
use crate::store::backup::{Base, Part};
use crate::store::{Backend, Direction, Pair, StoreError, Stored as _, Tally, keys};

/// Rows read from a shard at once: few enough that they come within a lease where each holds a large payload.
const ROWS_PER_SCAN: usize = 256;

/// A store that nobody writes to meanwhile.
pub struct Whole {
    shards: Vec<Box<dyn Backend>>,
}

/// Is handed each key with its value.
pub type TakeRow<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// How many rows, and what they are.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    /// So many.
    pub rows: u64,
    sum: Sha256,
}

impl Digest {
    /// Takes in the next row.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        for bytes in [key, value] {
            self.sum.update((bytes.len() as u64).to_be_bytes());
            self.sum.update(bytes);
        }
    }

    /// The SHA-256 of all rows, in hex.
    pub fn hex(&self) -> String {
        self.sum.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Whole {
    /// Of all its shards, in order; of a store in files it is one.
    pub fn of(shards: Vec<Box<dyn Backend>>) -> Whole {
        Whole { shards }
    }

    /// Each shard by itself.
    pub fn shards_mut(&mut self) -> impl Iterator<Item = &mut dyn Backend> {
        self.shards.iter_mut().map(|shard| &mut **shard as &mut dyn Backend)
    }

    /// As many as any shard has.
    pub fn commits(&self) -> u64 {
        self.shards.iter().map(|shard| shard.history().newest()).max().unwrap_or(0)
    }

    /// Every row once, in the order of keys, until `take` breaks; whether it came to the end.
    pub fn each(&self, take: TakeRow<'_>) -> Result<bool, StoreError> {
        let mut readers: Vec<Reader<'_>> = self.shards.iter().map(|shard| Reader::of(&**shard)).collect();
        loop {
            let mut least: Option<Vec<u8>> = None;
            for reader in &mut readers {
                if let Some((key, _)) = reader.peek()?
                    && least.as_ref().is_none_or(|least| key < least)
                {
                    least = Some(key.clone());
                }
            }
            let Some(key) = least else { return Ok(true) };
            let mut values = Vec::new();
            for reader in &mut readers {
                values.extend(reader.next_if(&key));
            }
            if [ORDERS_TAKEN, UNFINISHED].iter().any(|of_shards| key == keys::meta(of_shards)) {
                continue;
            }
            let value = joined(&key, values)?;
            if take(&key, &value).is_break() {
                return Ok(false);
            }
        }
    }

    /// Of all rows.
    pub fn digest(&self) -> Result<Digest, StoreError> {
        let mut digest = Digest::default();
        self.each(&mut |key, value| {
            digest.add(key, value);
            ControlFlow::Continue(())
        })?;
        Ok(digest)
    }
}

impl Base for Whole {
    fn hand_out(&self, take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>) -> Result<Option<u64>, StoreError> {
        let commit = self.commits();
        if take(Part::Begin { seed: 0, since: commit }).is_break() {
            return Ok(None);
        }
        let whole = self.each(&mut |key, value| take(Part::Row(key, value)))?;
        Ok(whole.then_some(commit))
    }
}

/// What the rows of several shards under one key are together.
fn joined(key: &[u8], values: Vec<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
    let mut values = values.into_iter();
    let first = values.next().unwrap_or_default();
    if values.len() == 0 {
        return Ok(first);
    }
    if key == keys::meta("tally") {
        let mut all = Tally::decode(&first)?;
        for value in values {
            all = all.joined(Tally::decode(&value)?);
        }
        return Ok(all.encode());
    }
    let among = |(from, to): keys::Range| (from.as_slice()..to.as_slice()).contains(&key);
    if among(keys::all_redrives()) {
        let rows = std::iter::once(first).chain(values);
        let rows = rows.map(|row| Redrive::decode(&row)).collect::<Result<Vec<_>, _>>()?;
        // From where the one that has come least far is: what others redrove from there on is dead no more.
        let least = rows.into_iter().min_by_key(|row| row.cursor);
        return Ok(least.map(|row| row.encode()).unwrap_or_default());
    }
    if among(keys::all_runtimes()) {
        let mut row = Runtime::decode(&first)?;
        for value in values {
            let other = Runtime::decode(&value)?;
            row = row.learned(&other);
            row.paused_until = row.paused_until.max(other.paused_until);
        }
        return Ok(row.encode());
    }
    // All shards were told the same.
    Ok(first)
}

/// The rows of one shard.
struct Reader<'a> {
    shard: &'a dyn Backend,
    read: VecDeque<Pair>,
    from: Vec<u8>,
    ended: bool,
}

impl<'a> Reader<'a> {
    fn of(shard: &'a dyn Backend) -> Reader<'a> {
        Reader { shard, read: VecDeque::new(), from: Vec::new(), ended: false }
    }

    fn peek(&mut self) -> Result<Option<&Pair>, StoreError> {
        if self.read.is_empty() && !self.ended {
            let rows = self.shard.scan(&self.from, keys::LAST, Direction::Ascending, ROWS_PER_SCAN)?;
            self.ended = rows.len() < ROWS_PER_SCAN;
            if let Some((last, _)) = rows.last() {
                self.from.clone_from(last);
                self.from.push(0);
            }
            self.read = rows.into();
        }
        Ok(self.read.front())
    }

    fn next_if(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.read.pop_front_if(|(found, _)| found == key).map(|(_, value)| value)
    }
}
