//! The embedded backend: a write-ahead journal in front of sled (spec 4.2).
//!
//! A commit is one frame in the journal and one fdatasync; from then on it is read from the overlay, until a
//! checkpoint has brought it into the table. Owns a directory:
//!
//! ```text
//! lock         who has it open
//! format       the version of these files, and the seed of their checksums
//! journal/     the promise, and the history
//!   reserve    a spare segment, for when the disk is full
//! acknowledged a commit up to which the journal reaches at least
//! checkpoint   how much of the journal the table has
//! table/       sled
//! ```
//!
//! Absent on purpose: retries. Whatever fails, the store is closed and opened again.

mod appender;
mod archive;
mod base;
pub mod check;
mod checkpoint;
mod commits;
mod files;
mod format;
mod frame;
mod history;
mod journal;
mod lock;
mod mark;
mod options;
mod overlay;
mod pack;
pub mod replay;
mod reserve;
pub mod restore;
mod retention;
mod seal;
mod segments;
mod space;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::appender::{Appender, UNDER_WAY_MAX};
use self::archive::Archiver;
pub use self::base::{Base, Figures};
use self::checkpoint::Checkpointer;
use self::history::Reader;
use self::journal::{Journal, Place};
pub use self::lock::Lock;
pub use self::options::Options;
use self::overlay::{Merge, Overlay};
use self::reserve::Reserve;
use self::retention::{Holds, Retention};
use self::space::Gauge;
pub use self::space::{Filesystem, Measure};
use self::table::Table;
use super::{Backend, Batch, Direction, History, Pair, StoreError};
use crate::model::Space;

/// What a checkpoint may add to the table for each byte of the overlay, and besides. Most is added where one row of many packs
/// changes, 4.4 times as much, for each pack is written anew.
const TABLE_BYTES_PER_BYTE: u64 = 6;
const TABLE_BYTES: u64 = 4 * 1024 * 1024;

/// While there is too little room, some is made at most this often.
const RELEASE_EVERY: Duration = Duration::from_secs(1);

/// A store in a directory of its own. Dropping it closes it: what no checkpoint has taken, the next open replays.
pub struct Local {
    options: Options,
    /// Of the journal's checksums.
    seed: u32,
    appender: Appender,
    overlay: Overlay,
    /// When this process first changed something in the active overlay.
    oldest: Option<Instant>,
    checkpointer: Checkpointer,
    gauge: Arc<Gauge>,
    /// When room was made last for want of it.
    released: Option<Instant>,
    table: Arc<Table>,
    synced: Arc<AtomicU64>,
    history: Arc<Reader>,
    archiver: Option<Archiver>,
    base: Base,
    /// The file that says how far the journal reaches at least.
    promise: PathBuf,
    /// Set by the first failure: nothing is written after it.
    failed: bool,
    /// Whether that was the disk's doing.
    disk_failed: bool,
    _lock: Lock,
}

impl Local {
    /// Opens the store in `dir`, or makes one there. On return everything that any process ever acknowledged is
    /// readable, and durable.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Format`] if it is newer than this build,
    /// [`StoreError::Corrupt`] or [`StoreError::Table`] if it is damaged.
    pub fn open(dir: &Path, options: Options) -> Result<Local, StoreError> {
        files::make_dir(dir)?;
        let lock = Lock::take(dir)?;
        let seed = format::seed(dir)?;
        let checkpoint = checkpoint::read_mark(dir)?;
        let journal_dir = dir.join("journal");
        files::make_dir(&journal_dir)?;
        // What the table has and what it has not yet lie in different files, and each takes its time to read.
        let (table, replayed) = std::thread::scope(|scope| {
            let replayed = scope.spawn(|| {
                let mut overlay = Overlay::default();
                let set = |key: &[u8], value: Option<&[u8]>| overlay.set(key, value);
                let tail = replay::replay(&journal_dir, seed, checkpoint, set)?;
                Ok::<_, StoreError>((overlay, tail))
            });
            let table = Table::open(dir.join("table"), options.table_cache_bytes, checkpoint);
            (table, replayed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let table = Arc::new(table?);
        let (overlay, tail) = replayed?;
        // What does not open is left to the build that wrote it.
        format::raise(dir)?;
        // A process that died while it made a file may not have come to this.
        files::sync_dir(dir)?;
        files::sync_dir(&journal_dir)?;
        let promise = mark::acknowledged(dir);
        let acknowledged = mark::read(&promise)?;
        let tail = tail.up_to(acknowledged, &journal_dir)?;
        let newest = tail.next - 1;
        let synced = Arc::new(AtomicU64::new(newest));
        let gauge = Arc::new(Gauge::new(dir, options.min_free, options.measure.clone()));
        let reserve = Arc::new(Reserve::new(&journal_dir, options.segment_bytes, Arc::clone(&gauge)));
        let journal =
            Journal::resume(journal_dir.clone(), options.segment_bytes, Arc::clone(&reserve), tail)?;
        if newest > acknowledged {
            promised(&promise, newest);
        }

        let holds = Arc::new(Holds::new(checkpoint, options.archive.is_some()));
        let archiver = options
            .archive
            .as_deref()
            .map(|archive| Archiver::start(&journal_dir, archive, seed, Arc::clone(&holds)))
            .transpose()?;
        let (measured, segment_bytes) = (Arc::clone(&gauge), options.segment_bytes);
        let retention = Retention {
            journal: journal_dir.clone(),
            bytes_max: options.history_bytes_max,
            age_max: options.history_age_max,
            holds: Arc::clone(&holds),
            lacking: Box::new(move || measured.lacking(segment_bytes)),
        };
        let checkpointer = Checkpointer::start(dir, checkpoint, Arc::clone(&table), retention, reserve)?;
        let base = Base {
            journal: journal_dir.clone(),
            seed,
            table: Arc::clone(&table),
            verified: Arc::clone(&checkpointer.verified),
            holds,
            synced: Arc::clone(&synced),
            closing: Arc::clone(&checkpointer.closing),
        };
        let history = Arc::new(Reader::new(journal_dir, seed, Arc::clone(&synced)));
        Ok(Local {
            options,
            seed,
            appender: Appender::start(dir, journal)?,
            overlay,
            oldest: None,
            checkpointer,
            gauge,
            released: None,
            table,
            synced,
            history,
            archiver,
            base,
            promise,
            failed: false,
            disk_failed: false,
            _lock: lock,
        })
    }

    /// What a backup is made of, for other threads, as long as the store is open. It waits until the table was verified,
    /// which begins with the first commit or look at the disk.
    pub fn base(&self) -> Base {
        self.base.clone()
    }

    /// Waits until all of the table was read and compared with what was written, which goes on beside the first
    /// commits after an open. A commit refuses a table that turned out damaged; this tells without one.
    ///
    /// # Errors
    /// [`StoreError::Table`] if rows are missing or old.
    pub fn verified(&mut self) -> Result<(), StoreError> {
        let verified = self.checkpointer.verify().and_then(|()| self.checkpointer.whole());
        let settled = verified.and_then(|()| self.settle());
        self.noted(settled)
    }

    /// Takes note of a failure, after which nothing is written.
    fn noted<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &answer {
            self.failed = true;
            self.disk_failed |= error.is_of_the_disk();
        }
        answer
    }

    /// Waits for the checkpoint under way, if there is one.
    fn settle(&mut self) -> Result<(), StoreError> {
        if self.checkpointer.is_under_way() {
            self.checkpointer.wait()?;
            self.checkpointer.let_go(self.overlay.thaw())?;
        }
        Ok(())
    }

    /// Carries one step of a commit out, unless one before it failed.
    fn guarded<T>(
        &mut self,
        step: impl FnOnce(&mut Local) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned);
        }
        let done = step(self);
        self.noted(done)
    }

    /// The frame of a batch, which is read from here on.
    fn take_in(&mut self, batch: Batch) -> Result<Vec<u8>, StoreError> {
        self.checkpointer.verify()?;
        self.take_ended()?;
        while self.checkpointer.is_under_way() && self.overlay.active_bytes() >= self.bytes_allowed() {
            if self.checkpointer.come_on()? {
                self.checkpointer.let_go(self.overlay.thaw())?;
            }
        }
        if self.overlay.bytes() >= self.options.overlay_bytes_max && !self.has_room_for_checkpoint() {
            return Err(StoreError::Full { doing: "checkpoint", path: self.table.dir().to_owned() });
        }
        let mut frame = self.appender.buffer();
        let sequence = self.acknowledged() + self.appender.under_way() as u64 + 1;
        frame::encode(self.seed, sequence, &batch, &mut frame)?;
        self.overlay.apply(batch);
        Ok(frame)
    }

    /// How much commits may add while a checkpoint is under way: more as it comes on, so that who is faster than it waits for a
    /// little of it at each commit, and not for all of it at one.
    fn bytes_allowed(&self) -> usize {
        let least = self.options.checkpoint_bytes;
        // The other half is what is being brought into the table.
        least + self.checkpointer.share((self.options.overlay_bytes_max / 2).saturating_sub(least))
    }

    /// Waits until at most so many frames are on their way.
    fn land(&mut self, left: usize) -> Result<(), StoreError> {
        while self.appender.under_way() > left {
            let place = self.appender.wait()?;
            self.acknowledge(place)?;
        }
        Ok(())
    }

    /// The latest commit that is durable for certain.
    fn acknowledged(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Takes note that one more commit is durable, and begins a checkpoint if one is due.
    fn acknowledge(&mut self, Place { sequence, begins_segment }: Place) -> Result<(), StoreError> {
        self.synced.store(sequence, Ordering::Release);
        if begins_segment {
            promised(&self.promise, sequence);
        }
        // What is on its way is in the overlay, and not to come into the table before it is durable.
        let is_due = self.appender.under_way() == 0 && self.is_checkpoint_due();
        let begins = is_due && self.has_room_for_checkpoint();
        if begins {
            self.oldest = None;
            self.checkpointer.begin(sequence, self.overlay.freeze())?;
        } else if is_due {
            self.make_room()?;
        } else if self.overlay.active_bytes() >= self.options.checkpoint_bytes {
            // The next one would be due.
            self.checkpointer.hurry();
        }
        // With each checkpoint as well, for what could not be kept before.
        if let Some(archiver) = self.archiver.as_ref().filter(|_| begins_segment || begins) {
            archiver.nudge();
        }
        Ok(())
    }

    fn take_ended(&mut self) -> Result<(), StoreError> {
        if self.checkpointer.has_ended()? {
            self.checkpointer.let_go(self.overlay.thaw())?;
        }
        Ok(())
    }

    /// sled has no answer to a full disk, so it is not to meet one.
    fn has_room_for_checkpoint(&self) -> bool {
        let overlay = self.overlay.active_bytes() as u64;
        self.gauge.has(overlay.saturating_mul(TABLE_BYTES_PER_BYTE).saturating_add(TABLE_BYTES))
    }

    /// Lets go of history that the disk has no room for, unless that was tried a moment ago.
    fn make_room(&mut self) -> Result<(), StoreError> {
        if self.checkpointer.is_under_way() {
            // It makes room as it ends.
            self.checkpointer.hurry();
            return Ok(());
        }
        if self.released.is_some_and(|at| at.elapsed() < RELEASE_EVERY) {
            return Ok(());
        }
        self.released = Some(now());
        self.checkpointer.release()
    }

    fn is_checkpoint_due(&mut self) -> bool {
        if self.overlay.active_bytes() == 0 {
            return false;
        }
        let is_old = self.oldest.get_or_insert_with(now).elapsed() >= self.options.checkpoint_age_max;
        let is_big = self.overlay.active_bytes() >= self.options.checkpoint_bytes;
        (is_old || is_big) && !self.checkpointer.is_under_way()
    }
}

impl Drop for Local {
    /// Whoever closes it knows where it ends: a journal that ends earlier when it is opened was damaged since.
    fn drop(&mut self) {
        if !self.failed {
            promised(&self.promise, self.synced.load(Ordering::Acquire));
        }
        // sled fails as well then.
        if self.disk_failed || !self.gauge.has(TABLE_BYTES) {
            self.table.abandon();
        }
    }
}

impl Backend for Local {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.overlay.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.table.get(key),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        scan(&self.overlay, &self.table, (from, to), direction, limit)
    }

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.guarded(|store| {
            store.land(0)?;
            let frame = store.take_in(batch)?;
            let place = store.appender.append(frame)?;
            store.acknowledge(place)
        })
    }

    fn begin(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.guarded(|store| {
            // A checkpoint begins while none is on its way.
            let left = if store.is_checkpoint_due() { 0 } else { UNDER_WAY_MAX - 1 };
            store.land(left)?;
            let frame = store.take_in(batch)?;
            store.appender.begin(frame)
        })
    }

    fn landed(&mut self, left: usize) -> Result<(), StoreError> {
        self.guarded(|store| store.land(left))
    }

    fn look(&mut self) -> Result<Option<Space>, StoreError> {
        if !self.failed {
            let begun = self.checkpointer.verify();
            self.noted(begun)?;
        }
        let space = self.gauge.lately();
        if !self.failed && space.as_ref().is_some_and(Space::is_short) {
            let made = self.take_ended().and_then(|()| self.make_room());
            self.noted(made)?;
        }
        Ok(space)
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::clone(&self.history) as Arc<dyn History>
    }
}

/// The rows of a table as the overlay changes them.
fn scan(
    overlay: &Overlay,
    table: &Table,
    (from, to): (&[u8], &[u8]),
    direction: Direction,
    limit: usize,
) -> Result<Vec<Pair>, StoreError> {
    if from >= to {
        return Ok(Vec::new());
    }
    let changes = overlay.range(from, to, direction);
    let changes = changes.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
    table.scan(from, to, direction, |rows| {
        let rows = rows.map(|(key, value)| (key, Some(value)));
        let merged = Merge::new(changes, rows, direction);
        merged.filter_map(|(key, value)| Some((key, value?))).take(limit).collect()
    })
}

/// Writes down what is acknowledged. It is a bound from below, so an older one will do where the disk is full.
fn promised(path: &Path, sequence: u64) {
    if let Err(error) = mark::write(path, sequence) {
        tracing::warn!("what is acknowledged is not written down: {error}");
    }
}

/// Paces checkpoints and decides nothing else.
#[expect(
    clippy::disallowed_methods,
    reason = "when a checkpoint runs is no rule; the file layer keeps its own time"
)]
fn now() -> Instant {
    Instant::now()
}
