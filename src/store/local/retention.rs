//! How long segments are kept as history once recovery needs them no more, and what holds them back beyond that:
//! backups under way, and an archive that does not have them yet.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::files::{failed, sync_dir};
use super::segments::{self, Segment};
use crate::store::{StoreError, crash_point};

/// The bounds of the history beyond what recovery needs.
pub(super) struct Retention {
    pub(super) journal: PathBuf,
    pub(super) bytes_max: u64,
    pub(super) age_max: Duration,
    pub(super) holds: Arc<Holds>,
    /// Asked how much has to go, whatever the bounds say, for the next segment to leave enough room.
    pub(super) lacking: Box<dyn Fn() -> u64 + Send>,
}

/// What holds segments back.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// The last commit that the table has for certain, as far as retention was told.
    checkpoint: u64,
    /// Of each backup under way the last commit that it does not need.
    backups: Vec<u64>,
    /// Segments that begin before this commit are in the archive; `None`: there is no archive.
    archived: Option<u64>,
    /// Why the archive lacks what it should have, if it does.
    archive_failure: Option<String>,
}

impl Holds {
    /// As a store is opened, with everything up to `checkpoint` in its table.
    pub(super) fn new(checkpoint: u64, has_archive: bool) -> Holds {
        let archived = has_archive.then_some(0);
        Holds(Mutex::new(Held { checkpoint, archived, ..Held::default() }))
    }

    /// The archive has all segments that begin before commit `first`.
    pub(super) fn archived(&self, first: u64) {
        self.lock().archived = Some(first);
    }

    /// How the archive's latest attempt to keep everything ended: `Some` is why it did not.
    pub(super) fn archive_failed(&self, failure: Option<String>) {
        self.lock().archive_failure = failure;
    }

    /// The last commit that the table has for certain, and why the archive lacks something.
    pub(super) fn told(&self) -> (u64, Option<String>) {
        let held = self.lock();
        (held.checkpoint, held.archive_failure.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps every commit that rows read from now on may lack; until it is dropped.
pub(super) struct Hold {
    holds: Arc<Holds>,
    /// What is read from the table from now on has this commit, and all before it.
    pub(super) since: u64,
}

impl Hold {
    pub(super) fn take(holds: &Arc<Holds>) -> Hold {
        let mut held = holds.lock();
        let since = held.checkpoint;
        held.backups.push(since);
        Hold { holds: Arc::clone(holds), since }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.holds.lock();
        if let Some(at) = held.backups.iter().position(|since| *since == self.since) {
            held.backups.swap_remove(at);
        }
    }
}

impl Retention {
    /// Removes the oldest segments, as far as every commit in them is at or before `checkpoint`, nothing holds them,
    /// and the bounds say so, or the disk has too little room: to take work in matters more than to remember. Age is
    /// counted from the last write of a segment to the last write of the journal: no clock is asked, and an idle store
    /// forgets nothing.
    pub(super) fn release(&self, checkpoint: u64) -> Result<(), StoreError> {
        // Held to the end, so that no backup begins that needs what is being removed.
        let mut held = self.holds.lock();
        held.checkpoint = checkpoint;
        let needed = held.backups.iter().copied().fold(checkpoint, u64::min);
        let archived = held.archived.unwrap_or(u64::MAX);
        let segments = segments::list(&self.journal)?;
        let covered = |nth, segment: &Segment| {
            segment.first < archived
                && segments.get(nth + 1).is_some_and(|next: &Segment| next.first <= needed + 1)
        };
        let mut kept_bytes = 0;
        let mut newest = None;
        let mut surplus = 0;
        for (nth, segment) in segments.iter().enumerate().rev() {
            let metadata = fs::metadata(&segment.path).map_err(failed("read", &segment.path))?;
            let written = metadata.modified().map_err(failed("read", &segment.path))?;
            kept_bytes += metadata.len();
            let age = age(written, *newest.get_or_insert(written));
            if covered(nth, segment) && (kept_bytes > self.bytes_max || age > self.age_max) {
                surplus = nth + 1;
                break;
            }
        }
        for segment in segments.iter().take(surplus) {
            self.remove(segment)?;
        }
        for (nth, segment) in segments.iter().enumerate().skip(surplus) {
            if !covered(nth, segment) || (self.lacking)() == 0 {
                break;
            }
            let path = segment.path.display();
            tracing::warn!(segment = %path, "the disk is nearly full: history goes before its time");
            self.remove(segment)?;
        }
        Ok(())
    }

    fn remove(&self, segment: &Segment) -> Result<(), StoreError> {
        crash_point("checkpoint.before_release");
        fs::remove_file(&segment.path).map_err(failed("remove", &segment.path))?;
        // One after another on any disk, so that a power cut leaves no gap in the history.
        sync_dir(&self.journal)
    }
}

fn age(written: SystemTime, newest: SystemTime) -> Duration {
    newest.duration_since(written).unwrap_or_default()
}
