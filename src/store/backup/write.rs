//! Writes a backup, front to back; nothing is held in memory but one block.

use std::io::Write;
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use super::{
    About, BackupError, Base, DIGEST_BYTES, FORMAT, HEADER_BYTES, MAGIC, Part, ROWS_BYTES, checksum, kind,
};
use crate::model::Time;
use crate::store::StoreError;

/// Writes all of `base` to `out`, as a backup that was begun at `taken_at` by dwell `version`.
pub fn write(
    base: &dyn Base,
    taken_at: Time,
    version: &str,
    out: &mut dyn Write,
) -> Result<About, BackupError> {
    let about =
        About { seed: 0, taken_at, version: version.to_owned(), commit: 0, rows: 0, commits: 0, bytes: 0 };
    let mut blocks = Blocks { out, sum: Sha256::new(), about, gathered: Vec::new() };
    let magic = format!("{MAGIC}{FORMAT}\n");
    blocks.raw(magic.as_bytes())?;
    let mut failure = None;
    let commit = base.hand_out(&mut |part| match blocks.part(part) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match (failure, commit) {
        (Some(error), _) => Err(error),
        (None, Some(commit)) => blocks.end(commit),
        (None, None) => Err(StoreError::Closed.into()),
    }
}

struct Blocks<'a> {
    out: &'a mut dyn Write,
    sum: Sha256,
    about: About,
    /// Rows that are not written yet.
    gathered: Vec<u8>,
}

impl Blocks<'_> {
    fn part(&mut self, part: Part<'_>) -> Result<(), BackupError> {
        match part {
            Part::Begin { seed, since } => {
                self.about.seed = seed;
                let mut body = seed.to_be_bytes().to_vec();
                body.extend_from_slice(&since.to_be_bytes());
                body.extend_from_slice(&self.about.taken_at.millis().to_be_bytes());
                body.extend_from_slice(self.about.version.as_bytes());
                self.block(kind::ABOUT, &body)
            }
            Part::Row(key, value) => {
                self.about.rows += 1;
                for bytes in [key, value] {
                    self.gathered.extend_from_slice(&narrow(bytes.len()).to_be_bytes());
                    self.gathered.extend_from_slice(bytes);
                }
                if self.gathered.len() >= ROWS_BYTES { self.rows() } else { Ok(()) }
            }
            Part::Commit(sequence, frame) => {
                self.rows()?;
                self.about.commits += 1;
                self.block(kind::COMMIT, &[&sequence.to_be_bytes()[..], frame].concat())
            }
        }
    }

    fn rows(&mut self) -> Result<(), BackupError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.gathered);
        self.block(kind::ROWS, &rows)?;
        rows.clear();
        rows.shrink_to(2 * ROWS_BYTES);
        self.gathered = rows;
        Ok(())
    }

    fn block(&mut self, kind: u8, body: &[u8]) -> Result<(), BackupError> {
        let mut header = [0; HEADER_BYTES];
        let (length, checksum) = (narrow(body.len()), checksum(self.about.bytes, kind, body));
        header
            .copy_from_slice(&[&[kind][..], &length.to_be_bytes()[..], &checksum.to_be_bytes()[..]].concat());
        self.raw(&header)?;
        self.raw(body)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.sum.update(bytes);
        self.about.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|cause| BackupError::Io { doing: "write", cause })
    }

    fn end(mut self, commit: u64) -> Result<About, BackupError> {
        self.rows()?;
        self.about.commit = commit;
        let digest: [u8; DIGEST_BYTES] = std::mem::take(&mut self.sum).finalize().into();
        let counts = [commit, self.about.rows, self.about.commits].map(u64::to_be_bytes).concat();
        self.block(kind::END, &[&counts[..], &digest[..]].concat())?;
        self.out.flush().map_err(|cause| BackupError::Io { doing: "write", cause })?;
        Ok(self.about)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "keys, values and frames are far below 4 GiB")]
const fn narrow(length: usize) -> u32 {
    length as u32
}
