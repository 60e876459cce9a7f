//! A new store made of a backup and of commits after it. It stands in a directory beside its own, `DIR.new`, until it is
//! whole and synced. Owns the order of segments from several directories, and what a gap between them means.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::archive;
use super::checkpoint::write_mark;
use super::commits::{Commits, Found};
use super::files::{failed, make_dir, sync_parent, sync_tree};
use super::overlay::Overlay;
use super::segments::{self, Segment};
use super::table::Table;
use super::{Options, format, frame};
use crate::store::StoreError;

/// Why a store cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Reading or writing failed, or a segment is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something is where the store is to be.
    #[error("{} is not empty: a store is restored into a directory that is not there yet", dir.display())]
    NotEmpty {
        /// There.
        dir: PathBuf,
    },
    /// An earlier restore was cut off.
    #[error("{} is what a restore left that was cut off: remove it, then restore again", dir.display())]
    LeftOver {
        /// There.
        dir: PathBuf,
    },
    /// No name to put the store under.
    #[error("{} has no name of its own: name a directory that is not there yet", dir.display())]
    Nameless {
        /// As it was named.
        dir: PathBuf,
    },
    /// No segments of the store that the backup was made of.
    #[error("{} holds no segments of store {seed:08x}, which the backup is of{there}", dir.display())]
    NoSegments {
        /// Where they should be.
        dir: PathBuf,
        /// The store's seed.
        seed: u32,
        /// What is there instead, if that can be said.
        there: String,
    },
    /// A segment is not as it was written, and not because it is being written to.
    #[error("{} is damaged at byte {offset}: {reason}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Commits between two that are there.
    #[error("commit {missing} is missing: {before} is there, and {} begins with {first}", file.display())]
    Gap {
        /// The first that is not there.
        missing: u64,
        /// The one before it.
        before: u64,
        /// The next one that is there.
        first: u64,
        /// Where it begins.
        file: PathBuf,
    },
}

/// A store that is being written.
pub struct Restoring {
    partial: Partial,
    table: Table,
    pending: Overlay,
}

impl Restoring {
    /// Begins a store that will be in `dir`, with a new seed.
    pub fn begin(dir: &Path) -> Result<Restoring, RestoreError> {
        let partial = Partial::make(dir)?;
        format::seed(&partial.path)?;
        let table = Table::open(partial.path.join("table"), Options::default().table_cache_bytes, 0)?;
        Ok(Restoring { partial, table, pending: Overlay::default() })
    }

    /// Sets or deletes a key.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        self.pending.set(key, value);
        if self.pending.active_bytes() >= Options::default().checkpoint_bytes { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.table.write_all(&self.pending.freeze())?;
        drop(self.pending.thaw());
        Ok(())
    }

    /// What was set is the state at `commit`; the next one will be the first of a new journal.
    pub fn finish(mut self, commit: u64) -> Result<Restored, StoreError> {
        self.flush()?;
        self.table.sync(commit)?;
        let Restoring { partial, table, .. } = self;
        drop(table);
        write_mark(&partial.path, commit)?;
        let journal = partial.path.join("journal");
        make_dir(&journal)?;
        Segment::new(&journal, commit + 1).create(Options::default().segment_bytes)?;
        Ok(Restored { partial })
    }
}

/// A store that is whole, and not in its place yet; it goes when it is dropped.
pub struct Restored {
    partial: Partial,
}

impl Restored {
    /// Where it can be opened, to be looked at.
    pub fn whereabouts(&self) -> &Path {
        &self.partial.path
    }

    /// Puts it where it belongs. It must be closed.
    pub fn put_in_place(mut self) -> Result<(), StoreError> {
        let Partial { dir, path, .. } = &self.partial;
        sync_tree(path)?;
        fs::rename(path, dir).map_err(failed("put in place", dir))?;
        sync_parent(dir)?;
        self.partial.kept = true;
        Ok(())
    }
}

/// `DIR.new`.
struct Partial {
    dir: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl Partial {
    fn make(dir: &Path) -> Result<Partial, RestoreError> {
        let Some(name) = dir.file_name() else { return Err(RestoreError::Nameless { dir: dir.to_owned() }) };
        match fs::read_dir(dir) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(RestoreError::NotEmpty { dir: dir.to_owned() });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(RestoreError::NotEmpty { dir: dir.to_owned() });
            }
            Err(error) => return Err(failed("list", dir)(error).into()),
        }
        let mut name = name.to_owned();
        name.push(".new");
        let path = dir.with_file_name(name);
        if path.exists() {
            return Err(RestoreError::LeftOver { dir: path });
        }
        make_dir(&path)?;
        Ok(Partial { dir: dir.to_owned(), path, kept: false })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!("{} stays: {error}", self.path.display());
        }
    }
}

/// Hands out what a commit's frame body writes, in order; `None` deletes. False if it is not such a body.
pub fn writes(body: &[u8], write: impl FnMut(&[u8], Option<&[u8]>)) -> bool {
    frame::decode(body, write, |_| {}).is_some()
}

/// Hands the commits after `after` to `take`, in order, as far as the segments in `dirs` have them, until it breaks.
/// Each is an archive, or a directory of segments; they may have the same ones. What follows the last good commit of
/// the newest segment was never acknowledged.
pub fn commits_after(
    dirs: &[PathBuf],
    seed: u32,
    after: u64,
    take: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> Result<(), RestoreError> {
    let mut all = Vec::new();
    for dir in dirs {
        all.extend(of_store(dir, seed)?);
    }
    all.sort_unstable();
    let newest_needless =
        all.iter().map(|segment| segment.first).filter(|first| *first <= after + 1).max().unwrap_or(0);
    let mut last = after;
    let mut bad: Option<(u64, RestoreError)> = None;
    for segment in all.iter().filter(|segment| segment.first >= newest_needless) {
        if segment.first > last + 1 {
            // Where a bad commit made the gap, that is the reason.
            let file = segment.path.clone();
            let gap = RestoreError::Gap { missing: last + 1, before: last, first: segment.first, file };
            return Err(bad.map_or(gap, |(_, damage)| damage));
        }
        let mut commits = Commits::open(segment, seed)?;
        loop {
            match commits.read()? {
                Found::Commit(sequence, _) if sequence <= last => {}
                Found::Commit(sequence, body) => {
                    if take(sequence, body).is_break() {
                        return Ok(());
                    }
                    last = sequence;
                }
                Found::End => break,
                Found::Bad => {
                    let (next, later) = (commits.next, commits.later()?);
                    let follows = later.map_or_else(
                        || "a later segment follows".to_owned(),
                        |later| format!("commit {later} after it is good"),
                    );
                    let reason = format!("commit {next} is bad, but {follows}");
                    let (file, offset) = (commits.path, commits.offset);
                    bad = Some((later.unwrap_or(next), RestoreError::Damaged { file, offset, reason }));
                    break;
                }
            }
        }
    }
    match bad {
        // A torn end is behind the last commit; this is not it.
        Some((later, damage)) if later > last + 1 => Err(damage),
        Some(_) | None => Ok(()),
    }
}

/// The segments of the store with this seed in `dir`.
fn of_store(dir: &Path, seed: u32) -> Result<Vec<Segment>, RestoreError> {
    let archived = archive::place(dir, seed);
    let place = if archived.is_dir() { archived } else { dir.to_owned() };
    let found = segments::list(&place)?;
    let mut known = found.iter().map(|segment| is_of_store(segment, seed));
    if known.any(|known| matches!(known, Ok(true) | Err(_))) {
        return Ok(found);
    }
    let there = match found.first() {
        Some(segment) => format!(": {} is another store's, or damaged", segment.path.display()),
        None => String::new(),
    };
    Err(RestoreError::NoSegments { dir: dir.to_owned(), seed, there })
}

/// Whether a segment begins with a commit of this store.
fn is_of_store(segment: &Segment, seed: u32) -> Result<bool, StoreError> {
    let mut commits = Commits::open(segment, seed)?;
    let found = matches!(commits.read()?, Found::Commit(..));
    Ok(found || commits.later()?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Backend as _, Batch, Local};

    /// The journal of 60 commits in segments of a few, and its seed.
    fn journal(dir: &Path) -> (PathBuf, u32) {
        let options = Options { segment_bytes: 512, ..Options::default() };
        let mut store = Local::open(dir, options).unwrap();
        for n in 1..=60_u8 {
            let mut batch = Batch::default();
            batch.put(vec![n], vec![n; 40]);
            store.commit(batch).unwrap();
        }
        (dir.join("journal"), format::read(dir).unwrap().unwrap())
    }

    fn taken(dirs: &[PathBuf], seed: u32, after: u64) -> Result<Vec<u64>, RestoreError> {
        let mut taken = Vec::new();
        commits_after(dirs, seed, after, &mut |sequence, _| {
            taken.push(sequence);
            ControlFlow::Continue(())
        })?;
        Ok(taken)
    }

    #[test]
    fn the_commits_after_any_one_are_handed_out_in_order_over_segments() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, seed) = journal(dir.path());
        assert!(segments::list(&journal).unwrap().len() > 5);
        for after in 0..=60 {
            assert_eq!(
                taken(std::slice::from_ref(&journal), seed, after).unwrap(),
                (after + 1..=60).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_segment_that_is_gone_is_missed_only_where_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, seed) = journal(dir.path());
        let all = segments::list(&journal).unwrap();
        fs::remove_file(&all[2].path).unwrap();
        let (gone, next) = (all[2].first, all[3].first);
        for after in 0..=60 {
            match taken(std::slice::from_ref(&journal), seed, after) {
                Ok(_) => assert!(after + 1 >= next, "{after}"),
                Err(RestoreError::Gap { missing, before, first, .. }) => {
                    assert!(after + 1 < next, "{after}");
                    let reached = after.max(gone - 1);
                    assert_eq!((missing, before, first), (reached + 1, reached, next));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn what_is_begun_and_not_put_in_place_leaves_nothing_and_a_file_is_no_place() {
        let dir = tempfile::tempdir().unwrap();
        drop(Restoring::begin(&dir.path().join("store")).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(Restoring::begin(&file), Err(RestoreError::NotEmpty { .. })));
    }
}
