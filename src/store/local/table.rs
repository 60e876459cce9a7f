//! sled, behind the journal: where everything older than the overlay is read from. The one file that knows sled.
//!
//! Nothing is asked of it that it does not keep. Its `flush` is `sync_file_range` on Linux, which is no promise to
//! survive power loss, so its files are synced here. It panics on damaged files, so every use of it is caught.
//! Atomicity over keys is the journal's.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::files::sync_tree;
use super::overlay::Change;
use crate::store::{Direction, StoreError};

/// Keys and values as the table hands them out.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// The key, in sled's own default tree, of the last commit that the table has.
const SEQUENCE: &str = "sequence";

pub(super) struct Table {
    dir: PathBuf,
    db: sled::Db,
    /// One tree per kind byte; trees of a kind lie together on disk and in its cache.
    trees: Mutex<BTreeMap<u8, sled::Tree>>,
}

impl Table {
    /// Opens the table in `dir`, which has all commits up to `checkpoint`; a new one has none.
    ///
    /// Where sled's log is damaged, sled takes the damage for the torn end of the log and shows what stood before it.
    /// Each checkpoint's last write into the table is its sequence, so a table that was cut falls behind.
    pub(super) fn open(dir: PathBuf, cache_bytes: u64, checkpoint: u64) -> Result<Table, StoreError> {
        // Without a flusher thread an idle store never wakes up; checkpoints flush.
        let config = sled::Config::new().path(&dir).cache_capacity(cache_bytes).flush_every_ms(None);
        let (db, trees) = guarded(&dir, || {
            let db = config.open()?;
            let mut trees = BTreeMap::new();
            for name in db.tree_names() {
                if let [kind] = *name {
                    trees.insert(kind, db.open_tree([kind])?);
                }
            }
            Ok((db, trees))
        })?;
        let row = guarded(&dir, || db.get(SEQUENCE))?;
        let sequence = row.and_then(|row| row.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
        if sequence < checkpoint {
            let reason = format!("it has the commits up to {sequence} only, but the checkpoint is at {checkpoint}");
            return Err(StoreError::Table { dir, reason });
        }
        Ok(Table { dir, db, trees: Mutex::new(trees) })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(tree) = self.trees().get(&kind(key)).cloned() else { return Ok(None) };
        guarded(&self.dir, || Ok(tree.get(key)?.map(|value| value.to_vec())))
    }

    /// Hands `take` the rows of `from <= key < to` in the order of `direction`, until it answers or they end.
    pub(super) fn scan<T>(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        take: impl FnOnce(&mut dyn Iterator<Item = Row>) -> T,
    ) -> Result<T, StoreError> {
        let trees: Vec<sled::Tree> =
            self.trees().range(kind(from)..=kind(to)).map(|(_, tree)| tree.clone()).collect();
        guarded(&self.dir, || {
            let mut failure = None;
            let rows = trees.iter().map(|tree| tree.range(from..to));
            let taken = match direction {
                Direction::Ascending => take(&mut until_failed(rows.flatten(), &mut failure)),
                Direction::Descending => {
                    take(&mut until_failed(rows.rev().flat_map(Iterator::rev), &mut failure))
                }
            };
            failure.map_or(Ok(taken), Err)
        })
    }

    /// Writes changes of any kinds; those of one kind should lie together.
    pub(super) fn write(&self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        for changes in changes.chunk_by(|(a, _), (b, _)| kind(a) == kind(b)) {
            let Some((first, _)) = changes.first() else { continue };
            let tree = self.tree(kind(first))?;
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(*key, *value),
                    None => batch.remove(*key),
                }
            }
            guarded(&self.dir, || tree.apply_batch(batch))?;
        }
        Ok(())
    }

    /// Puts everything written so far on stable storage; with it the table has all commits up to `sequence`.
    pub(super) fn sync(&self, sequence: u64) -> Result<(), StoreError> {
        guarded(&self.dir, || {
            self.db.insert(SEQUENCE, &sequence.to_be_bytes())?;
            self.db.flush()
        })?;
        sync_tree(&self.dir)
    }

    fn tree(&self, kind: u8) -> Result<sled::Tree, StoreError> {
        if let Some(tree) = self.trees().get(&kind) {
            return Ok(tree.clone());
        }
        let tree = guarded(&self.dir, || self.db.open_tree([kind]))?;
        self.trees().insert(kind, tree.clone());
        Ok(tree)
    }

    fn trees(&self) -> std::sync::MutexGuard<'_, BTreeMap<u8, sled::Tree>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or(0)
}

/// The rows before the first failure, which is kept.
fn until_failed<'a>(
    rows: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>> + 'a,
    failure: &'a mut Option<sled::Error>,
) -> impl Iterator<Item = Row> + 'a {
    rows.map_while(|row| match row {
        Ok((key, value)) => Some((key.to_vec(), value.to_vec())),
        Err(error) => {
            *failure = Some(error);
            None
        }
    })
}

/// Uses sled; what it answers with an error or a panic comes back as an error of the table.
fn guarded<T>(dir: &Path, used: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let failed = |reason| StoreError::Table { dir: dir.to_owned(), reason };
    match catch_unwind(AssertUnwindSafe(used)) {
        Ok(answer) => answer.map_err(|error| failed(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(failed(format!("panicked: {}", text.unwrap_or("without a message"))))
        }
    }
}
