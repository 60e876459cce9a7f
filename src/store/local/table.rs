//! sled, behind the journal: where everything older than the overlay is read from. This file and `tree` know sled.
//!
//! Nothing is asked of it that it does not keep. Its `flush` is `sync_file_range` on Linux, which is no promise to
//! survive power loss, so its files are synced here; and it relies on the order of its writes, so they are made to
//! write through. It panics on damaged files, so every use of it is caught.
//! Atomicity over keys is the journal's.

mod tree;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::iter::Peekable;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use self::tree::Tree;
use super::files::{failed, make_dir, sync_tree, write_through};
use super::lock;
use super::overlay::{Change, Changes};
use super::seal::{Contents, Seal, Verification};
use crate::store::{Direction, StoreError};

/// Keys and values as the table hands them out.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// What the operating system calls a full disk, for everybody or for this user.
const NO_ROOM: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// Written in one batch. sled's memory follows the size of its batches: 300,000 records in batches of 8,192 left 1.8 GB
/// resident, in batches of 64 0.2 GB (spec 4.2). But each batch makes it write twice and wakes all its threads.
pub(super) const VALUES_AT_ONCE_MAX: usize = 128;

/// A portion of a verification: what waits for its end waits for a millisecond or two.
const VALUES_VERIFIED_AT_ONCE: usize = 512;

/// The key, in sled's own default tree, of the [`Contents`].
const CONTENTS: &str = "contents";

pub(super) struct Table {
    dir: PathBuf,
    db: sled::Db,
    trees: Mutex<BTreeMap<u8, Tree>>,
    /// The last commit it had when it was opened, by its own account.
    sequence: u64,
}

impl Table {
    /// Opens the table in `dir`, which has all commits up to `checkpoint`; a new one has none. Whether it has all
    /// their rows, [`Table::verify`] says.
    pub(super) fn open(dir: PathBuf, cache_bytes: u64, checkpoint: u64) -> Result<Table, StoreError> {
        make_dir(&dir)?;
        prepare(&dir)?;
        // Without a flusher thread an idle store never wakes up; checkpoints flush.
        let config = sled::Config::new().path(&dir).cache_capacity(cache_bytes).flush_every_ms(None);
        let (db, trees, contents) = guarded(&dir, || {
            let db = config.open()?;
            let mut trees = BTreeMap::new();
            for name in db.tree_names() {
                if let [kind] = *name {
                    trees.insert(kind, Tree::open(&db, kind)?);
                }
            }
            let contents = db.get(CONTENTS)?.and_then(|bytes| Contents::decode(&bytes)).unwrap_or_default();
            Ok((db, trees, contents))
        })?;
        let batches = |kind| trees.get(kind).map_or(0, |tree| tree.seal.batches);
        let old = contents.trees.iter().find(|(kind, known)| batches(kind) < *known);
        if contents.sequence < checkpoint || old.is_some() {
            let reason =
                format!("rows are missing from it: it falls behind the checkpoint at commit {checkpoint}");
            return Err(StoreError::Table { dir, reason });
        }
        Ok(Table { dir, db, trees: Mutex::new(trees), sequence: contents.sequence })
    }

    /// The last commit that it said it had when it was opened; at or after the checkpoint it was opened for.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Never closes sled: at its end it writes what it holds back, and where it cannot it waits for that for ever. What
    /// it holds back the journal has. Its file stays locked until the process ends.
    pub(super) fn abandon(&self) {
        std::mem::forget((self.db.clone(), self.trees().clone()));
    }

    /// Begins to read all rows and to compare them with what was written.
    pub(super) fn verification(&self) -> Verification {
        Verification { kinds: self.trees().keys().copied().collect(), ..Verification::default() }
    }

    /// Reads the next rows. Answers whether those were the last ones; the table is whole then.
    pub(super) fn verify(&self, verification: &mut Verification) -> Result<bool, StoreError> {
        let Verification { kinds, last, found } = verification;
        let Some(kind) = kinds.last().copied() else { return Ok(true) };
        let Some(tree) = self.trees().get(&kind).cloned() else { return Ok(true) };
        let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let read = guarded(&self.dir, || {
            let (mut read, mut newest) = (0, None);
            for value in tree.values(from).take(VALUES_VERIFIED_AT_ONCE) {
                let (key, value) = value?;
                found.add(&key, &value);
                read += 1;
                newest = Some(key);
            }
            Ok((read, newest.map(|key| key.to_vec())))
        });
        let (read, newest) = read?;
        if read == VALUES_VERIFIED_AT_ONCE {
            *last = newest;
            return Ok(false);
        }
        if found.sum != tree.seal.sum {
            let reason = format!("rows of kind {:?} are missing from it or old", char::from(kind));
            return Err(StoreError::Table { dir: self.dir.clone(), reason });
        }
        kinds.pop();
        (*last, *found) = (None, Seal::default());
        Ok(kinds.is_empty())
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(tree) = self.trees().get(&kind(key)).cloned() else { return Ok(None) };
        guarded(&self.dir, || tree.get(key))
    }

    /// Hands `take` the rows of `from <= key < to` in the order of `direction`, until it answers or they end.
    pub(super) fn scan<T>(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        take: impl FnOnce(&mut dyn Iterator<Item = Row>) -> T,
    ) -> Result<T, StoreError> {
        let trees: Vec<Tree> =
            self.trees().range(kind(from)..=kind(to)).map(|(_, tree)| tree.clone()).collect();
        guarded(&self.dir, || {
            let (from, to) = (Bound::Included(from), Bound::Excluded(to));
            let mut trees: Vec<_> =
                trees.iter().map(|tree| tree.rows(from, to, direction)).collect::<sled::Result<_>>()?;
            if direction == Direction::Descending {
                trees.reverse();
            }
            let mut failure = None;
            let taken = take(&mut until_failed(trees.into_iter().flatten(), &mut failure));
            failure.map_or(Ok(taken), Err)
        })
    }

    /// The next rows after a key, of all kinds and in order of their keys, until they make up `bytes_max`; at least
    /// one if there is one. The table may be written to meanwhile.
    pub(super) fn portion(&self, after: Option<&[u8]>, bytes_max: usize) -> Result<Vec<Row>, StoreError> {
        let trees: Vec<Tree> =
            self.trees().range(after.map_or(0, kind)..).map(|(_, tree)| tree.clone()).collect();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        guarded(&self.dir, || {
            let (mut portion, mut bytes) = (Vec::new(), 0);
            for tree in &trees {
                for row in tree.rows(from, Bound::Unbounded, Direction::Ascending)? {
                    let (key, value) = row?;
                    bytes += key.len() + value.len();
                    portion.push((key, value));
                    if bytes >= bytes_max {
                        return Ok(portion);
                    }
                }
            }
            Ok(portion)
        })
    }

    /// Writes the next changes, as many as make up about so many of sled's values. Only one thread may, which also carries on
    /// the verification, if there is one.
    pub(super) fn write<'c>(
        &self,
        changes: &mut Peekable<impl Iterator<Item = Change<'c>>>,
        values_max: usize,
        mut verification: Option<&mut Verification>,
    ) -> Result<(), StoreError> {
        let mut left = values_max;
        while left > 0
            && let Some((first, _)) = changes.peek()
        {
            let kind = kind(first);
            let known = self.trees().get(&kind).cloned();
            let (tree, written) = guarded(&self.dir, || {
                let mut tree = known.map_or_else(|| Tree::open(&self.db, kind), Ok)?;
                let written = tree.write(changes, left, verification.as_deref_mut())?;
                Ok((tree, written))
            })?;
            self.trees().insert(kind, tree);
            left = left.saturating_sub(written);
        }
        Ok(())
    }

    /// Writes all changes.
    pub(super) fn write_all(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut changes = changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).peekable();
        while changes.peek().is_some() {
            self.write(&mut changes, VALUES_AT_ONCE_MAX, None)?;
        }
        Ok(())
    }

    /// Puts everything written so far on stable storage; with it the table has all commits up to `sequence`.
    pub(super) fn sync(&self, sequence: u64) -> Result<(), StoreError> {
        let trees = self.trees().iter().map(|(kind, tree)| (*kind, tree.seal.batches)).collect();
        guarded(&self.dir, || {
            self.db.insert(CONTENTS, Contents { sequence, trees }.encode())?;
            self.db.flush()
        })?;
        sync_tree(&self.dir)
    }

    fn trees(&self) -> std::sync::MutexGuard<'_, BTreeMap<u8, Tree>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes what is in `dir` ready for sled: it writes through, and what sled did not finish is gone, for sled would take it
/// for damaged: a snapshot, of which it needs none, and the `conf` of a table that was never made.
fn prepare(dir: &Path) -> Result<(), StoreError> {
    let is_made = dir.join("db").exists();
    let mut writes_through = write_through(dir)?;
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        let is_snapshot = path.extension().is_some_and(|extension| extension == "generating");
        if is_snapshot || (!is_made && path.ends_with("conf")) {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        } else {
            writes_through &= write_through(&path)?;
        }
    }
    // Who has the store's lock has this one too; but sled's threads may outlive a table by a moment, and so may a child
    // that shares its file.
    if let Ok(db) = File::open(dir.join("db")) {
        lock::wait_until_free(db).map_err(failed("lock", dir))?;
    }
    if !writes_through {
        tracing::warn!(
            dir = %dir.display(),
            "the file system cannot write through: a power cut during a checkpoint may damage the table"
        );
    }
    Ok(())
}

fn kind(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or(0)
}

/// The rows before the first failure, which is kept.
fn until_failed<'a>(
    rows: impl Iterator<Item = sled::Result<Row>> + 'a,
    failure: &'a mut Option<sled::Error>,
) -> impl Iterator<Item = Row> + 'a {
    rows.map_while(|row| match row {
        Ok(row) => Some(row),
        Err(error) => {
            *failure = Some(error);
            None
        }
    })
}

/// Uses sled; what it answers with an error or a panic comes back as an error of the table.
fn guarded<T>(dir: &Path, used: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(quieten);
    let failed = |reason: String| {
        // A panic has nothing but its text.
        if NO_ROOM.iter().any(|words| reason.contains(words)) {
            return StoreError::Full { doing: "write to", path: dir.to_owned() };
        }
        StoreError::Table { dir: dir.to_owned(), reason }
    };
    match catch_unwind(AssertUnwindSafe(used)) {
        Ok(answer) => answer.map_err(|error| failed(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(failed(format!("panicked: {}", text.unwrap_or("without a message"))))
        }
    }
}

/// Keeps what sled says while it panics from people: it comes to them as an error. Its own threads panic as well.
fn quieten() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let inside = panic.location().is_some_and(|at| at.file().contains("/sled-"));
        if inside {
            tracing::debug!("{panic}");
        } else {
            others(panic);
        }
    }));
}

#[cfg(test)]
mod tests;
