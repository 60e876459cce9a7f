//! The journal read as history, by other threads, through their own file handles; up to what is synced.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::failed;
use super::frame::{self, HEADER_BYTES, Header};
use super::segments::{self, Segment};
use crate::store::{History, StoreError};

/// Reads committed events.
pub(super) struct Reader {
    journal: PathBuf,
    seed: u32,
    /// The last commit that is on stable storage.
    synced: Arc<AtomicU64>,
    /// Where the last read ended, so that a follower does not walk a segment again for each event.
    last: Mutex<Option<Place>>,
}

/// A commit as it was read.
struct Commit {
    bytes: u64,
    events: Vec<Vec<u8>>,
}

/// A commit's place.
#[derive(Clone, Copy)]
struct Place {
    /// The segment, by its first sequence.
    segment: u64,
    offset: u64,
    sequence: u64,
}

impl Reader {
    pub(super) fn new(journal: PathBuf, seed: u32, synced: Arc<AtomicU64>) -> Reader {
        Reader { journal, seed, synced, last: Mutex::new(None) }
    }

    /// Where to start in `segment` on the way to `wanted`.
    fn start(&self, segment: &Segment, wanted: u64) -> Place {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|last| last.segment == segment.first && last.sequence <= wanted).unwrap_or(Place {
            segment: segment.first,
            offset: 0,
            sequence: segment.first,
        })
    }

    /// The events of one commit, or only its size if it is not wanted; `None` at the end of the segment.
    fn commit_at(
        &self,
        segment: &Segment,
        file: &File,
        place: Place,
        is_wanted: bool,
    ) -> Result<Option<Commit>, StoreError> {
        let corrupt = |reason: &str| StoreError::Corrupt {
            file: segment.path.clone(),
            offset: place.offset,
            reason: format!("commit {} {reason}", place.sequence),
        };
        let mut header = [0; HEADER_BYTES];
        match file.read_exact_at(&mut header, place.offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(failed("read", &segment.path)(error)),
        }
        let header = Header::read(header);
        if header.is_blank() {
            return Ok(None);
        }
        if header.sequence != place.sequence {
            return Err(corrupt("is not where it should be"));
        }
        let mut events = Vec::new();
        if is_wanted {
            let size = file.metadata().map_err(failed("read", &segment.path))?.len();
            if place.offset.saturating_add(header.frame_bytes()) > size {
                return Err(corrupt("is longer than its segment"));
            }
            let mut body = vec![0; usize::try_from(header.body_bytes).unwrap_or(usize::MAX)];
            let at = place.offset + HEADER_BYTES as u64;
            file.read_exact_at(&mut body, at).map_err(failed("read", &segment.path))?;
            if !header.vouches_for(self.seed, &body) {
                return Err(corrupt("does not match its checksum"));
            }
            frame::decode(&body, |_, _| {}, |event| events.push(event.to_vec()))
                .ok_or_else(|| corrupt("is of a layout this build does not know"))?;
        }
        Ok(Some(Commit { bytes: header.frame_bytes(), events }))
    }
}

impl History for Reader {
    fn read(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let synced = self.synced.load(Ordering::Acquire);
        let mut found = Vec::new();
        if after >= synced || limit == 0 {
            return Ok(found);
        }
        let segments = segments::list(&self.journal)?;
        let (mut next, mut reached) = (after + 1, None);
        let start = segments.partition_point(|segment| segment.first <= after + 1).saturating_sub(1);
        for segment in segments.iter().skip(start).take_while(|segment| segment.first <= synced) {
            let file = match File::open(&segment.path) {
                Ok(file) => file,
                // Retention was faster; what it removed is not history any more, nor is what came before that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    found.clear();
                    reached = None;
                    continue;
                }
                Err(error) => return Err(failed("open", &segment.path)(error)),
            };
            if reached.is_some_and(|reached: Place| reached.sequence != segment.first) {
                break;
            }
            let mut place = self.start(segment, after + 1);
            while place.sequence <= synced && found.len() < limit {
                let wanted = place.sequence > after;
                let Some(commit) = self.commit_at(segment, &file, place, wanted)? else { break };
                found.extend(commit.events.into_iter().map(|event| (place.sequence, event)));
                place.offset += commit.bytes;
                place.sequence += 1;
            }
            next = place.sequence;
            reached = Some(place);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
            if found.len() >= limit {
                return Ok(found);
            }
        }
        if next <= synced {
            let reason = format!("commit {next} is missing, but {synced} was acknowledged");
            let (file, offset) = match reached {
                Some(at) => (Segment::new(&self.journal, at.segment).path, at.offset),
                None => (self.journal.clone(), 0),
            };
            return Err(StoreError::Corrupt { file, offset, reason });
        }
        Ok(found)
    }

    fn oldest(&self) -> Result<u64, StoreError> {
        let newest = self.newest();
        let segments = segments::list(&self.journal)?;
        Ok(segments.first().map_or(newest + 1, |segment| segment.first))
    }

    fn newest(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }
}
