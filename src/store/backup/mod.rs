//! A backup: the rows of a store and what was committed while they were read, as one file that proves itself whole.
//!
//! Owns: the file's layout (`schema/keys.md`, "Backup file"), and [`Base`], what a store hands out for one. Nothing
//! stops while it is written: rows are read as they are, some older than others, and every commit that may have
//! touched one meanwhile follows. Writes are whole values, so rows and then commits, in order, are the store at the last
//! of these commits. Absent on purpose: files and their names, and what a row means.

mod read;
mod write;

use std::io;
use std::ops::ControlFlow;

pub use self::read::read;
pub use self::write::write;
use super::StoreError;
use crate::model::Time;

/// What a store hands out for a backup, to other threads and while it is written to.
pub trait Base: Send + Sync {
    /// Hands out a [`Part::Begin`], then every row, then every commit that rows may have of, in order; answers the
    /// last commit. Ends early if `take` breaks; then what was handed out is no backup, and the answer is `None`.
    fn hand_out(&self, take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>) -> Result<Option<u64>, StoreError>;
}

/// A part of a backup, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Once.
    Begin {
        /// What the store's journal frames are checked with; 0 where there is no journal.
        seed: u32,
        /// Every row has all commits up to this one.
        since: u64,
    },
    /// A key with a value that it had at some commit from `since` on.
    Row(&'a [u8], &'a [u8]),
    /// A commit after `since`: its sequence, and the body of its journal frame.
    Commit(u64, &'a [u8]),
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What the journal frames of its store are checked with; 0 where there is no journal.
    pub seed: u32,
    /// When it was begun.
    pub taken_at: Time,
    /// The dwell that wrote it.
    pub version: String,
    /// The commit whose state it holds.
    pub commit: u64,
    /// Rows in it.
    pub rows: u64,
    /// Commits in it.
    pub commits: u64,
    /// Its length.
    pub bytes: u64,
}

/// Why a backup could not be written or is not one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store it is made of, or goes into.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where it goes to, or comes from.
    #[error("cannot {doing} the backup: {cause}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The answer.
        cause: io::Error,
    },
    /// It does not begin like one.
    #[error("it is no backup of dwell: it does not begin with `dwell backup {FORMAT}`")]
    Foreign,
    /// It was written by a newer build.
    #[error("it says format {found}: this build reads up to {FORMAT}")]
    Format {
        /// Its format.
        found: u32,
    },
    /// A newer build wrote its commits otherwise.
    #[error("commit {commit} is of a layout this build does not know: it was written by dwell {version}")]
    Layout {
        /// Which.
        commit: u64,
        /// Who wrote it.
        version: String,
    },
    /// It is not as it was written.
    #[error("it is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
}

/// What this build writes, and the newest it reads.
const FORMAT: u32 = 1;

/// What a backup begins with, before its format in decimal and a line feed.
const MAGIC: &str = "dwell backup ";

/// Kind (1), length of the body (4), checksum (4).
const HEADER_BYTES: usize = 9;

/// The longest body of a block: the largest journal frame, with room.
const BLOCK_BYTES_MAX: u32 = 1 << 30 | 1 << 20;

/// Rows are gathered until they are this long.
const ROWS_BYTES: usize = 256 * 1024;

/// The length of a digest.
const DIGEST_BYTES: usize = 32;

/// What a block holds.
mod kind {
    pub(super) const ABOUT: u8 = b'A';
    pub(super) const ROWS: u8 = b'R';
    pub(super) const COMMIT: u8 = b'C';
    pub(super) const END: u8 = b'E';
}

/// Of a block at `offset`; a good block in another place is a bad one.
fn checksum(offset: u64, kind: u8, body: &[u8]) -> u32 {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&offset.to_be_bytes()), &[kind]);
    let length = (body.len() as u64).to_be_bytes();
    crc32c::crc32c_append(crc32c::crc32c_append(checksum, &length), body)
}

#[cfg(test)]
mod tests;
