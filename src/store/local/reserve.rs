//! A spare segment, kept for when the disk has no room for the next one: `journal/reserve`.
//!
//! It is made anew when there is room again. Absent on purpose: what it is for, which the journal knows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{failed, sync_dir};
use super::segments::Segment;
use super::space::Gauge;
use crate::store::StoreError;

/// The spare segment. One thread takes it, another makes it.
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    gauge: Arc<Gauge>,
    turn: Mutex<()>,
}

impl Reserve {
    pub(super) fn new(journal: &Path, bytes: u64, gauge: Arc<Gauge>) -> Reserve {
        Reserve { path: journal.join("reserve"), bytes, gauge, turn: Mutex::default() }
    }

    /// Turns it into `segment`, if it is there and at least `bytes` long. It holds nothing but zeros.
    pub(super) fn take(&self, segment: &Segment, bytes: u64) -> Result<Option<File>, StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes_there()? < bytes {
            return Ok(None);
        }
        fs::rename(&self.path, &segment.path).map_err(failed("rename", &self.path))?;
        if let Some(journal) = self.path.parent() {
            sync_dir(journal)?;
        }
        let opened = File::options().read(true).write(true).open(&segment.path);
        opened.map(Some).map_err(failed("open", &segment.path))
    }

    /// Makes it, if it is not there and leaves room for as much again.
    pub(super) fn make(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes_there()? == self.bytes || !self.gauge.has(self.bytes.saturating_mul(2)) {
            return Ok(());
        }
        let unfinished = self.path.with_extension("new");
        remove(&unfinished)?;
        // Not yet of any place in the journal.
        let spare = Segment { first: 0, path: unfinished.clone() };
        if let Err(error) = spare.create(self.bytes) {
            remove(&unfinished)?;
            return Err(error);
        }
        fs::rename(&unfinished, &self.path).map_err(failed("rename", &unfinished))?;
        self.path.parent().map_or(Ok(()), sync_dir)
    }

    fn bytes_there(&self) -> Result<u64, StoreError> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(failed("read", &self.path)(error)),
        }
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
