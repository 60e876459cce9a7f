//! What the journal says after a crash. Owns the difference between a torn tail, which is cut off (it was never
//! acknowledged), and damage, which is refused. Public for `fuzz/` alone.

use std::path::Path;

use super::commits::{Commits, Found};
use super::frame::{self, HEADER_BYTES, Header};
use super::segments::{self, Segment};
use crate::store::StoreError;

/// Where the journal ends.
#[derive(Debug)]
pub struct Tail {
    /// The newest segment; `None` in a new store.
    pub(super) segment: Option<Segment>,
    /// The end of its last good frame.
    pub end: u64,
    /// The sequence of the next commit.
    pub next: u64,
    /// Whether there is something behind `end` that was never acknowledged.
    pub torn: bool,
}

/// Hands every write after `checkpoint` to `apply`, in order, and answers where the journal ends.
pub fn replay(
    journal: &Path,
    seed: u32,
    checkpoint: u64,
    mut apply: impl FnMut(&[u8], Option<&[u8]>),
) -> Result<Tail, StoreError> {
    let segments = segments::list(journal)?;
    let start = segments.partition_point(|segment| segment.first <= checkpoint + 1).saturating_sub(1);
    let mut tail = Tail { segment: None, end: 0, next: 1, torn: false };
    for (nth, segment) in segments.iter().enumerate().skip(start) {
        let (missing, follows) = match tail.segment {
            None => (checkpoint + 1, segment.first <= checkpoint + 1),
            Some(_) => (tail.next, segment.first == tail.next),
        };
        if !follows {
            let reason =
                format!("the segment begins with commit {}, but {missing} is missing", segment.first);
            return Err(corrupt(segment, 0, reason));
        }
        let is_last = nth + 1 == segments.len();
        tail = read_segment(segment, seed, checkpoint, is_last, &mut apply)?;
    }
    if tail.next <= checkpoint {
        let reason =
            format!("the journal ends before commit {}, but the checkpoint is at {checkpoint}", tail.next);
        let segment = tail.segment.unwrap_or_else(|| Segment::new(journal, tail.next));
        return Err(corrupt(&segment, tail.end, reason));
    }
    Ok(tail)
}

fn read_segment(
    segment: &Segment,
    seed: u32,
    checkpoint: u64,
    is_last: bool,
    apply: &mut impl FnMut(&[u8], Option<&[u8]>),
) -> Result<Tail, StoreError> {
    let mut commits = Commits::open(segment, seed)?;
    while let Found::Commit(sequence, body) = commits.read()? {
        if sequence > checkpoint {
            // It was read as a body already.
            frame::decode(body, &mut *apply, |_| {});
        }
    }
    let (end, next) = (commits.offset, commits.next);
    let torn = commits.is_written()?;
    if torn {
        if let Some(sequence) = commits.later()? {
            return Err(
                commits.corrupt(format!("commit {next} is bad, but commit {sequence} after it is good"))
            );
        }
        if !is_last {
            return Err(commits.corrupt(format!("commit {next} is bad, and later segments follow")));
        }
        tracing::warn!(file = %segment.path.display(), offset = end, commit = next, "cut off a torn commit");
    }
    Ok(Tail { segment: Some(segment.clone()), end, next, torn })
}

/// Where a good frame is somewhere behind a bad one, and its sequence. What a header may say there is narrow, so hardly
/// any offset needs a checksum.
pub(super) fn later_frame(seed: u32, bytes: &[u8], bad: u64) -> Option<(usize, u64)> {
    let frames_max = (bytes.len() / HEADER_BYTES) as u64;
    // A segment is zeros from its last frame on.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.windows(HEADER_BYTES).take(written).enumerate().find_map(|(offset, header)| {
        let header = Header::read(header.try_into().ok()?);
        let plausible = header.sequence > bad && header.sequence - bad <= frames_max;
        plausible
            .then(|| frame::first(seed, bytes.get(offset..)?))
            .flatten()
            .map(|(header, _)| (offset, header.sequence))
    })
}

impl Tail {
    /// Refuses a journal that ends before a commit that is known to have been acknowledged: its end is not torn, but
    /// damaged, cut off or gone.
    pub(super) fn up_to(self, acknowledged: u64, journal: &Path) -> Result<Tail, StoreError> {
        if self.next > acknowledged {
            return Ok(self);
        }
        let reason = format!(
            "commit {} is bad or missing, but all up to commit {acknowledged} were acknowledged",
            self.next
        );
        let segment = self.segment.unwrap_or_else(|| Segment::new(journal, self.next));
        Err(corrupt(&segment, self.end, reason))
    }
}

fn corrupt(segment: &Segment, offset: u64, reason: String) -> StoreError {
    StoreError::Corrupt { file: segment.path.clone(), offset, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Batch;

    #[test]
    fn a_good_commit_behind_a_bad_one_is_found_however_old_the_store_is() {
        for bad in [1, 1_000_000, u64::MAX / 2] {
            let mut bytes = Vec::new();
            for sequence in [bad, bad + 1] {
                let mut frame = Vec::new();
                frame::encode(7, sequence, &Batch::default(), &mut frame).unwrap();
                bytes.extend(frame);
            }
            let second = bytes.len() / 2;
            bytes[second - 1] ^= 1;
            bytes.resize(4096, 0);
            assert_eq!(later_frame(7, &bytes, bad), Some((second, bad + 1)));
            assert_eq!(later_frame(8, &bytes, bad), None, "another store's is none");
            bytes[second + HEADER_BYTES] ^= 1;
            assert_eq!(later_frame(7, &bytes, bad), None);
        }
    }
}
