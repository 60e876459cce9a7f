//! The promise: one frame written and synced per commit, one after the other. Owns the active segment. Absent on purpose:
//! retries. A sync that failed once may report success the next time although the pages are gone, so the first failure
//! is final.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::failed;
use super::replay::Tail;
use super::reserve::Reserve;
use super::segments::Segment;
use crate::store::{StoreError, crash_point};

/// The end of the journal.
pub(super) struct Journal {
    dir: PathBuf,
    segment_bytes: u64,
    reserve: Arc<Reserve>,
    segment: Segment,
    file: File,
    /// Bytes preallocated.
    room: u64,
    /// Where the next frame goes.
    end: u64,
    /// Up to where something was written: frames, then zeros.
    written: u64,
    /// The next frame's number.
    next: u64,
}

impl Journal {
    /// Goes on after `tail`: whatever stands behind it in its segment is cut off, and all before it is synced, so
    /// that what was replayed is as durable as if it had been acknowledged.
    pub(super) fn resume(
        dir: PathBuf,
        segment_bytes: u64,
        reserve: Arc<Reserve>,
        tail: Tail,
    ) -> Result<Journal, StoreError> {
        let (segment, file) = if let Some(segment) = tail.segment {
            let opened = File::options().read(true).write(true).open(&segment.path);
            let file = opened.map_err(failed("open", &segment.path))?;
            if tail.torn {
                file.set_len(tail.end).map_err(failed("cut", &segment.path))?;
            }
            (segment, file)
        } else {
            let segment = Segment::new(&dir, tail.next);
            let file = segment.create(segment_bytes)?;
            (segment, file)
        };
        let there = file.metadata().map_err(failed("read", &segment.path))?.len();
        let room = match segment.grow(&file, segment_bytes.max(there)) {
            // Without more room in this segment the next commit needs another one, for which there is the reserve.
            Err(StoreError::Full { .. }) => {
                file.sync_all().map_err(failed("sync", &segment.path))?;
                there
            }
            grown => grown.map(|()| segment_bytes.max(there))?,
        };
        crash_point("open.after_cut");
        let (end, next) = (tail.end, tail.next);
        Ok(Journal { dir, segment_bytes, reserve, segment, file, room, end, written: end, next })
    }

    /// Puts the next commit's frame on stable storage. Not to be called again after an error.
    pub(super) fn append(&mut self, frame: &mut Vec<u8>) -> Result<Place, StoreError> {
        let (sequence, bytes) = (self.next, frame.len() as u64);
        self.make_room(bytes)?;
        self.write_ahead(frame);
        crash_point("journal.before_write");
        self.file.write_all_at(frame, self.end).map_err(failed("write", &self.segment.path))?;
        crash_point("journal.after_write");
        self.file.sync_data().map_err(failed("sync", &self.segment.path))?;
        crash_point("journal.after_sync");
        self.end += bytes;
        self.next += 1;
        Ok(Place { sequence, begins_segment: self.segment.first == sequence })
    }

    /// Lets zeros follow a frame that goes where nothing was written yet. A sync of what was only allocated writes the
    /// file's extents as well, which makes it half as dear again; so most frames are to overwrite zeros.
    fn write_ahead(&mut self, frame: &mut Vec<u8>) {
        let after = self.end + frame.len() as u64;
        if after > self.written {
            self.written = self.room.min(after + ZEROS_AHEAD);
            let bytes = usize::try_from(self.written - self.end).unwrap_or(frame.len());
            frame.resize(bytes, 0);
        }
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        if self.end + bytes <= self.room {
            return Ok(());
        }
        let room = self.segment_bytes.max(bytes);
        if self.end == 0 {
            self.segment.grow(&self.file, room)?;
        } else {
            self.segment = Segment::new(&self.dir, self.next);
            self.file = self.create(bytes, room)?;
            (self.end, self.written) = (0, 0);
        }
        self.room = self.file.metadata().map_err(failed("read", &self.segment.path))?.len();
        Ok(())
    }

    /// The file of a new segment: where the disk has no room for one, the reserve.
    fn create(&self, bytes: u64, room: u64) -> Result<File, StoreError> {
        match self.segment.create(room) {
            Err(full @ StoreError::Full { .. }) => {
                let reserved = self.reserve.take(&self.segment, bytes)?.ok_or(full)?;
                let path = self.segment.path.display();
                tracing::error!(segment = %path, "the disk is full: the journal goes on in its reserve");
                Ok(reserved)
            }
            other => other,
        }
    }
}

/// Where a frame stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Of its commit.
    pub(super) sequence: u64,
    /// It is the first of its segment.
    pub(super) begins_segment: bool,
}

/// Zeros written behind a frame: few enough that their sync holds no commit up for long.
const ZEROS_AHEAD: u64 = 1024 * 1024;
