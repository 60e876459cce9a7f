//! sled, behind the journal: where everything older than the overlay is read from. The one file that knows sled.
//!
//! Nothing is asked of it that it does not keep. Its `flush` is `sync_file_range` on Linux, which is no promise to
//! survive power loss, so its files are synced here; and it relies on the order of its writes, so they are made to
//! write through. It panics on damaged files, so every use of it is caught.
//! Atomicity over keys is the journal's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::{Bound, RangeBounds};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use super::files::{failed, make_dir, sync_tree, write_through};
use super::lock;
use super::overlay::Change;
use super::seal::{Contents, Seal, Verification};
use crate::store::{Direction, StoreError};

/// Keys and values as the table hands them out.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// What the operating system calls a full disk, for everybody or for this user.
const NO_ROOM: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// A portion of a verification: what waits for its end waits for a millisecond or two.
const ROWS_VERIFIED_AT_ONCE: usize = 512;

/// The key, in sled's own default tree, of the [`Contents`].
const CONTENTS: &str = "contents";

/// One kind byte's rows; they lie together on disk and in the cache.
#[derive(Clone)]
struct Tree {
    kind: u8,
    sled: sled::Tree,
    seal: Seal,
}

impl Tree {
    /// The rows in `range`, without the seal.
    fn rows<'a, R: RangeBounds<&'a [u8]>>(
        &self,
        range: R,
    ) -> impl DoubleEndedIterator<Item = sled::Result<(sled::IVec, sled::IVec)>> + use<'a, R> {
        let seal_key = seal_key(self.kind);
        self.sled.range(range).filter(move |row| row.as_ref().map_or(true, |(key, _)| *key != seal_key))
    }
}

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
                    let sled = db.open_tree([kind])?;
                    let seal = sled.get(seal_key(kind))?.and_then(|bytes| Seal::decode(&bytes));
                    trees.insert(kind, Tree { kind, sled, seal: seal.unwrap_or_default() });
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
            for row in tree.rows((from, Bound::Unbounded)).take(ROWS_VERIFIED_AT_ONCE) {
                let (key, value) = row?;
                found.add(&key, &value);
                read += 1;
                newest = Some(key);
            }
            Ok((read, newest.map(|key| key.to_vec())))
        });
        let (read, newest) = read?;
        if read == ROWS_VERIFIED_AT_ONCE {
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
        guarded(&self.dir, || Ok(tree.sled.get(key)?.map(|value| value.to_vec())))
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
            let mut failure = None;
            let ranges = trees.iter().map(|tree| tree.rows(from..to));
            let taken = match direction {
                Direction::Ascending => take(&mut until_failed(ranges.flatten(), &mut failure)),
                Direction::Descending => {
                    take(&mut until_failed(ranges.rev().flat_map(Iterator::rev), &mut failure))
                }
            };
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
            for row in trees.iter().flat_map(|tree| tree.rows((from, Bound::Unbounded))) {
                let (key, value) = row?;
                bytes += key.len() + value.len();
                portion.push((key.to_vec(), value.to_vec()));
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(portion)
        })
    }

    /// Writes changes of any kinds; those of one kind should lie together. Only one thread may, which also carries on the
    /// verification, if there is one.
    pub(super) fn write(
        &self,
        changes: &[Change<'_>],
        mut verification: Option<&mut Verification>,
    ) -> Result<(), StoreError> {
        for changes in changes.chunk_by(|(a, _), (b, _)| kind(a) == kind(b)) {
            let Some((first, _)) = changes.first() else { continue };
            let kind = kind(first);
            let known = self.trees().get(&kind).cloned();
            let tree = guarded(&self.dir, || {
                let mut tree = match known {
                    Some(tree) => tree,
                    None => Tree { kind, sled: self.db.open_tree([kind])?, seal: Seal::default() },
                };
                let mut batch = sled::Batch::default();
                for (key, value) in changes {
                    let old = tree.sled.get(key)?;
                    tree.seal.change((key, *value), old.as_deref());
                    if let Some(verification) = &mut verification {
                        verification.change(kind, (key, *value), old.as_deref());
                    }
                    match value {
                        Some(value) => batch.insert(*key, *value),
                        None => batch.remove(*key),
                    }
                }
                tree.seal.batches += 1;
                batch.insert(&seal_key(kind), &tree.seal.encode());
                tree.sled.apply_batch(batch)?;
                Ok(tree)
            })?;
            self.trees().insert(kind, tree);
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

/// The key of a tree's seal: no key of its kind, for those begin with the kind (or are empty, in the tree of 0).
fn seal_key(kind: u8) -> [u8; 1] {
    [!kind]
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
mod tests {
    use super::*;

    #[test]
    fn a_table_says_how_far_it_is_and_counts_the_batches_of_each_kind() {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=3_u64 {
            let table = Table::open(dir.path().join("table"), 1 << 20, n - 1).unwrap();
            assert_eq!(table.sequence(), n - 1);
            table.write(&[(b"p", Some(b"x")), (b"ra", Some(b"x")), (b"rb", None)], None).unwrap();
            table.sync(n).unwrap();
            let batches: Vec<u64> = table.trees().values().map(|tree| tree.seal.batches).collect();
            assert_eq!(batches, [n, n]);
        }
        assert_ne!(seal_key(b'p'), seal_key(b'r'));
    }

    /// Writes in every place relative to how far it is: what was read, what is not yet, other kinds, and a new one.
    #[test]
    fn a_verification_goes_on_over_what_is_written_meanwhile_and_finds_what_is_missing() {
        let rows = u32::try_from(ROWS_VERIFIED_AT_ONCE * 3).unwrap();
        let key = |kind: u8, n: u32| [&[kind][..], &n.to_be_bytes()].concat();
        for damaged in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let table = Table::open(dir.path().join("table"), 1 << 20, 0).unwrap();
            for kind in [b'p', b'r'] {
                let keys: Vec<_> = (0..rows).map(|n| key(kind, n)).collect();
                let changes: Vec<Change<'_>> = keys.iter().map(|key| (&key[..], Some(&b"old"[..]))).collect();
                table.write(&changes, None).unwrap();
            }
            if damaged {
                table.trees().get(&b'p').unwrap().sled.remove(key(b'p', 7)).unwrap();
            }
            let mut verification = table.verification();
            let (mut portions, mut verified) = (0, table.verify(&mut verification));
            while let Ok(false) = verified {
                portions += 1;
                for (kind, n) in
                    [(b'p', portions), (b'r', portions), (b'r', rows - portions), (b'x', portions)]
                {
                    let (changed, gone, fresh) = (key(kind, n), key(kind, n + 100), key(kind, rows + n));
                    let changes: [Change<'_>; 3] =
                        [(&changed, Some(b"new")), (&gone, None), (&fresh, Some(b"fresh"))];
                    table.write(&changes, Some(&mut verification)).unwrap();
                }
                verified = table.verify(&mut verification);
            }
            assert!(portions > 4, "it is done in portions");
            let missing =
                verified.is_err_and(|error| error.to_string().contains("rows of kind 'p' are missing"));
            assert_eq!(missing, damaged);
        }
    }
}
