//! Segments kept beyond retention: each that is written to no more is linked, or copied, into
//! `<archive>/<seed, 8 hex digits>/` before it may be removed from the journal. A restored store has another seed, so its
//! segments never meet those of the store it was made from.
//!
//! Runs in a thread of its own, because an archive may be far away: commits never wait for it. What it cannot keep now
//! it tries again with the next checkpoint, and the journal keeps it until then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use super::files::{failed, make_dir, sync_dir};
use super::retention::Holds;
use super::segments::{self, Segment};
use crate::store::StoreError;

/// Where the segments of the store with this seed lie in an archive.
pub(super) fn place(archive: &Path, seed: u32) -> PathBuf {
    archive.join(format!("{seed:08x}"))
}

/// The store's end of the thread.
pub(super) struct Archiver {
    nudges: Option<Sender<()>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Archiver {
    /// Starts it; it begins with what is there.
    pub(super) fn start(
        journal: &Path,
        archive: &Path,
        seed: u32,
        holds: Arc<Holds>,
    ) -> Result<Archiver, StoreError> {
        let (nudges, inbox) = bounded(1);
        let closing = Arc::new(AtomicBool::new(false));
        let place = place(archive, seed);
        let thread = Thread { journal: journal.to_owned(), place, holds, closing: Arc::clone(&closing) };
        let run = move || {
            thread.pass();
            while inbox.recv().is_ok() {
                thread.pass();
            }
        };
        let spawned = std::thread::Builder::new().name("archive".to_owned()).spawn(run);
        let thread = Some(spawned.map_err(failed("start an archive thread for", journal))?);
        Ok(Archiver { nudges: Some(nudges), closing, thread })
    }

    /// There may be something to keep.
    pub(super) fn nudge(&self) {
        // A full channel says the same already.
        self.nudges.as_ref().map(|nudges| nudges.try_send(()).unwrap_or_default()).unwrap_or_default();
    }
}

impl Drop for Archiver {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.nudges = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the archive thread panicked");
        }
    }
}

struct Thread {
    journal: PathBuf,
    place: PathBuf,
    holds: Arc<Holds>,
    closing: Arc<AtomicBool>,
}

impl Thread {
    fn pass(&self) {
        let failure = self.keep_all().err().map(|error| error.to_string());
        self.holds.archive_failed(failure.clone());
        if let Some(failure) = failure {
            tracing::error!("the archive lacks a segment, which stays in the journal: {failure}");
        }
    }

    fn keep_all(&self) -> Result<(), StoreError> {
        // Also while there is nothing to keep: an archive that cannot be written is told before it is needed.
        make_dir(&self.place)?;
        let segments = segments::list(&self.journal)?;
        let Some((_, sealed)) = segments.split_last() else { return Ok(()) };
        for segment in sealed {
            if self.closing.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.keep(segment)?;
            self.holds.archived(segment.first + 1);
        }
        Ok(())
    }

    fn keep(&self, segment: &Segment) -> Result<(), StoreError> {
        let kept = Segment::new(&self.place, segment.first).path;
        if kept.exists() {
            return Ok(());
        }
        match fs::hard_link(&segment.path, &kept) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(failed("keep", &kept)(error));
            }
            // Another file system, or one without links.
            Err(_) => copy(&segment.path, &kept)?,
        }
        sync_dir(&self.place)
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let partial = to.with_extension("new");
    fs::copy(from, &partial).map_err(failed("write", &partial))?;
    fs::File::open(&partial).and_then(|file| file.sync_all()).map_err(failed("sync", &partial))?;
    fs::rename(&partial, to).map_err(failed("replace", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_on_another_file_system_is_copied_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("1.log"), dir.path().join("kept.log"));
        fs::write(&from, [7; 5_000]).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), [7; 5_000]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(copy(&dir.path().join("gone.log"), &to).is_err());
    }
}
