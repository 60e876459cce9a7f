//! The commits of a segment file read one by one, each as it was written; for who applies a journal or copies it.
//! Absent on purpose: what becomes of what follows a bad one (`replay` at open, `restore` from an archive).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::files::failed;
use super::frame::{self, HEADER_BYTES, Header};
use super::replay;
use super::segments::{self, Segment};
use crate::store::StoreError;

/// Looked at in one go for something that was written.
const PORTION_BYTES: usize = 1024 * 1024;

/// A segment, open where its next commit begins.
pub(super) struct Commits {
    file: File,
    pub(super) path: PathBuf,
    seed: u32,
    bytes: u64,
    /// Where the next commit begins.
    pub(super) offset: u64,
    /// Its sequence.
    pub(super) next: u64,
    body: Vec<u8>,
}

/// What there is where a commit should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// It, with the body of its frame.
    Commit(u64, &'a [u8]),
    /// Nothing was written there.
    End,
    /// Something else.
    Bad,
}

impl Commits {
    pub(super) fn open(segment: &Segment, seed: u32) -> Result<Commits, StoreError> {
        let file = File::open(&segment.path).map_err(failed("open", &segment.path))?;
        let bytes = file.metadata().map_err(failed("read", &segment.path))?.len();
        let path = segment.path.clone();
        Ok(Commits { file, path, seed, bytes, offset: 0, next: segment.first, body: Vec::new() })
    }

    /// The next commit; stays where it is if there is none.
    pub(super) fn read(&mut self) -> Result<Found<'_>, StoreError> {
        let mut header = [0; HEADER_BYTES];
        match self.file.read_exact_at(&mut header, self.offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Found::End),
            Err(error) => return Err(failed("read", &self.path)(error)),
        }
        let header = Header::read(header);
        if header.is_blank() {
            return Ok(Found::End);
        }
        if header.sequence != self.next || self.offset.saturating_add(header.frame_bytes()) > self.bytes {
            return Ok(Found::Bad);
        }
        self.body.resize(usize::try_from(header.body_bytes).unwrap_or(usize::MAX), 0);
        let at = self.offset + HEADER_BYTES as u64;
        self.file.read_exact_at(&mut self.body, at).map_err(failed("read", &self.path))?;
        if !header.vouches_for(self.seed, &self.body) {
            return Ok(Found::Bad);
        }
        if let Some(found) = frame::newer(&self.body) {
            let file = self.path.clone();
            return Err(StoreError::Format { file, found: found.into(), newest: frame::V1.into() });
        }
        if frame::decode(&self.body, |_, _| {}, |_| {}).is_none() {
            let reason = format!("commit {} is of a layout this build does not know", self.next);
            return Err(self.corrupt(reason));
        }
        self.offset += header.frame_bytes();
        self.next += 1;
        Ok(Found::Commit(header.sequence, &self.body))
    }

    /// Whether anything was written from where it stands on.
    pub(super) fn is_written(&self) -> Result<bool, StoreError> {
        let mut portion = vec![0; PORTION_BYTES];
        let mut at = self.offset;
        loop {
            let read = self.file.read_at(&mut portion, at).map_err(failed("read", &self.path))?;
            if portion.iter().take(read).any(|byte| *byte != 0) {
                return Ok(true);
            }
            if read == 0 {
                return Ok(false);
            }
            at += read as u64;
        }
    }

    /// The sequence of a good commit somewhere behind where it stands.
    pub(super) fn later(&self) -> Result<Option<u64>, StoreError> {
        let mut rest = vec![0; usize::try_from(self.bytes.saturating_sub(self.offset)).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut rest, self.offset).map_err(failed("read", &self.path))?;
        Ok(replay::later_frame(self.seed, &rest, self.next).map(|(_, sequence)| sequence))
    }

    /// What is wrong where it stands.
    pub(super) fn corrupt(&self, reason: String) -> StoreError {
        StoreError::Corrupt { file: self.path.clone(), offset: self.offset, reason }
    }
}

/// Hands the commits `after < sequence <= upto` of a journal to `take`, in order, until it answers false. All of them
/// must be there.
pub(super) fn between(
    journal: &Path,
    seed: u32,
    after: u64,
    upto: u64,
    mut take: impl FnMut(u64, &[u8]) -> bool,
) -> Result<(), StoreError> {
    let segments = segments::list(journal)?;
    let start = segments.partition_point(|segment| segment.first <= after + 1).saturating_sub(1);
    let mut next = after + 1;
    for segment in segments.iter().skip(start).take_while(|segment| segment.first <= upto) {
        let mut commits = Commits::open(segment, seed)?;
        while next <= upto {
            let (at, found) = (commits.next, commits.read()?);
            match found {
                Found::Commit(sequence, body) if sequence == next => {
                    if !take(sequence, body) {
                        return Ok(());
                    }
                    next += 1;
                }
                Found::Commit(sequence, _) if sequence < next => {}
                Found::End => break,
                Found::Commit(..) | Found::Bad => {
                    let reason = format!("commit {at} is not where it should be, or not as it was written");
                    return Err(commits.corrupt(reason));
                }
            }
        }
    }
    if next <= upto {
        let reason = format!("commit {next} is missing, but {upto} was acknowledged");
        return Err(StoreError::Corrupt { file: journal.to_owned(), offset: 0, reason });
    }
    Ok(())
}
