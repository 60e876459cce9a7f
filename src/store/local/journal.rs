//! The promise: one frame written and synced per commit, one after the other. Owns the active segment. Absent on purpose:
//! retries. A sync that failed once may report success the next time although the pages are gone, so the first failure
//! is final.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::failed;
use super::frame;
use super::replay::Tail;
use super::reserve::Reserve;
use super::segments::Segment;
use crate::store::{Batch, StoreError, crash_point};

/// The end of the journal.
pub(super) struct Journal {
    dir: PathBuf,
    seed: u32,
    segment_bytes: u64,
    reserve: Arc<Reserve>,
    segment: Segment,
    file: Arc<File>,
    /// Bytes preallocated.
    room: u64,
    /// Where the next frame goes.
    end: u64,
    /// Up to where something was written: frames, then zeros.
    written: u64,
    /// The next frame's number.
    next: u64,
    frame: Vec<u8>,
}

impl Journal {
    /// Goes on after `tail`: whatever stands behind it in its segment is cut off, and all before it is synced, so
    /// that what was replayed is as durable as if it had been acknowledged.
    pub(super) fn resume(
        dir: PathBuf,
        seed: u32,
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
        let (file, frame) = (Arc::new(file), Vec::new());
        Ok(Journal { dir, seed, segment_bytes, reserve, segment, file, room, end, written: end, next, frame })
    }

    /// Writes `batch` and answers its sequence; durable is it once it was synced. Not to be called again before that, nor
    /// after an error.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(u64, Written), StoreError> {
        let sequence = self.next;
        frame::encode(self.seed, sequence, batch, &mut self.frame)?;
        let bytes = self.frame.len() as u64;
        self.make_room(bytes)?;
        self.write_ahead();
        crash_point("journal.before_write");
        self.file.write_all_at(&self.frame, self.end).map_err(failed("write", &self.segment.path))?;
        self.frame.clear();
        self.frame.shrink_to(FRAME_BYTES_KEPT);
        self.end += bytes;
        self.next += 1;
        Ok((sequence, Written { file: Arc::clone(&self.file), path: self.segment.path.clone() }))
    }

    /// Lets zeros follow a frame that goes where nothing was written yet. A sync of what was only allocated writes the
    /// file's extents as well, which makes it half as dear again; so most frames are to overwrite zeros.
    fn write_ahead(&mut self) {
        let after = self.end + self.frame.len() as u64;
        if after > self.written {
            self.written = self.room.min(after + ZEROS_AHEAD);
            let bytes = usize::try_from(self.written - self.end).unwrap_or(self.frame.len());
            self.frame.resize(bytes, 0);
        }
    }

    /// The first commit of the segment that is written to.
    pub(super) const fn segment_first(&self) -> u64 {
        self.segment.first
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
            self.file = Arc::new(self.create(bytes, room)?);
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

/// The file of a frame that was written and not synced.
pub(super) struct Written {
    file: Arc<File>,
    path: PathBuf,
}

impl Written {
    /// Puts the frame on stable storage.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        crash_point("journal.after_write");
        self.file.sync_data().map_err(failed("sync", &self.path))?;
        crash_point("journal.after_sync");
        Ok(())
    }
}

/// Zeros written behind a frame: few enough that their sync holds no commit up for long.
const ZEROS_AHEAD: u64 = 1024 * 1024;

/// The buffer kept from one commit to the next.
const FRAME_BYTES_KEPT: usize = 2 * 1024 * 1024;
