//! What a backup is made of, read beside the engine: rows of the table as checkpoints leave them, then the commits that
//! they may lack. A commit waits for nothing here; only segments stay that would be removed.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::commits;
use super::files::failed;
use super::retention::{Hold, Holds};
use super::segments;
use super::table::Table;
use crate::store::StoreError;
use crate::store::backup::{self, Part};

/// Rows that are read from the table at once, in bytes.
const PORTION_BYTES: usize = 1024 * 1024;

/// The way to the rows and commits of a store, for other threads; of use as long as the store is open.
#[derive(Clone)]
pub struct Base {
    pub(super) journal: PathBuf,
    pub(super) seed: u32,
    pub(super) table: Arc<Table>,
    /// Whether the table was found whole when it was read through after the open.
    pub(super) verified: Arc<OnceLock<bool>>,
    pub(super) holds: Arc<Holds>,
    /// The last commit that is on stable storage.
    pub(super) synced: Arc<AtomicU64>,
    pub(super) closing: Arc<AtomicBool>,
}

/// How a store stands on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What the segments of the journal take.
    pub journal_bytes: u64,
    /// Commits that the table does not have yet: the next open replays them.
    pub checkpoint_lag: u64,
    /// Why the archive lacks a segment, if it does.
    pub archive_failure: Option<String>,
}

impl Base {
    /// A look at the journal's directory: for who asks now and then.
    pub fn figures(&self) -> Result<Figures, StoreError> {
        let mut journal_bytes = 0;
        for segment in segments::list(&self.journal)? {
            match std::fs::metadata(&segment.path) {
                Ok(metadata) => journal_bytes += metadata.len(),
                // Retention went over it since.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("read", &segment.path)(error)),
            }
        }
        let (checkpoint, archive_failure) = self.holds.told();
        let checkpoint_lag = self.synced.load(Ordering::Acquire).saturating_sub(checkpoint);
        Ok(Figures { journal_bytes, checkpoint_lag, archive_failure })
    }
}

impl backup::Base for Base {
    fn hand_out(&self, take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>) -> Result<Option<u64>, StoreError> {
        if !self.verified.wait() {
            let reason = "rows are missing from it or old".to_owned();
            return Err(StoreError::Table { dir: self.table.dir().to_owned(), reason });
        }
        let hold = Hold::take(&self.holds);
        if take(Part::Begin { seed: self.seed, since: hold.since }).is_break() {
            return Ok(None);
        }
        let mut last: Option<Vec<u8>> = None;
        loop {
            if self.closing.load(Ordering::Relaxed) {
                return Err(StoreError::Closed);
            }
            let rows = self.table.portion(last.as_deref(), PORTION_BYTES)?;
            for (key, value) in &rows {
                if take(Part::Row(key, value)).is_break() {
                    return Ok(None);
                }
            }
            match rows.into_iter().last() {
                Some((key, _)) => last = Some(key),
                None => break,
            }
        }
        // Read after the last row, so that no row can have a later commit.
        let upto = self.synced.load(Ordering::Acquire);
        let mut whole = true;
        commits::between(&self.journal, self.seed, hold.since, upto, |sequence, body| {
            whole = take(Part::Commit(sequence, body)).is_continue();
            whole
        })?;
        Ok(whole.then_some(upto))
    }
}
