//! L1, bytes and durability.
//!
//! Owns: the [`Backend`] seam and its implementations, what keys and values look like, and [`Durable`].
//! Absent on purpose: any idea of what a record means.

mod backend;
pub mod backup;
mod codec;
#[cfg(test)]
mod contract;
mod crash_point;
pub mod finding;
pub mod keys;
pub mod local;
pub mod memory;
pub mod postgres;
pub mod transfer;
mod writer;

pub use backend::{Backend, Batch, Direction, History, Pair};
pub use codec::{Debounced, KeptAnswer, ScheduleRow, Stored, Tally, Told};
pub use crash_point::{CRASH_AT, CRASH_POINTS, crash_point};
pub use finding::{Finding, Findings, Fix, Place, Severity};
pub use local::Local;
pub use memory::Memory;
pub use writer::{Begun, Durable, Writer};

use std::path::PathBuf;

/// What can be wrong with a store. All of it ends the engine; nothing is retried.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A fault injected by a test.
    #[error("injected fault")]
    Injected,
    /// A value of a layout this build does not know.
    #[error("{what} has layout version {found}: this build reads up to {newest}")]
    Version {
        /// Which kind of value.
        what: &'static str,
        /// Its version byte.
        found: u8,
        /// The newest version there is.
        newest: u8,
    },
    /// A number that stands for nothing.
    #[error("{found} is no {what} this build knows")]
    Number {
        /// Which enum.
        what: &'static str,
        /// The number.
        found: u8,
    },
    /// A value of fixed width that is not that wide.
    #[error("{what} is {found} bytes long, not {accepted}")]
    Length {
        /// Which kind of value.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it has to have.
        accepted: usize,
    },
    /// Bytes that are not a value of their layout.
    #[error("{what} does not decode: {reason}")]
    Value {
        /// Which kind of value.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The operating system refused something.
    #[error("cannot {doing} {}: {cause}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Its answer.
        cause: std::io::Error,
    },
    /// The disk has no room left.
    #[error(
        "cannot {doing} {}: its disk is full; make room there, or on a small disk set store.segment, \
         then start dwell again",
        path.display()
    )]
    Full {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("store {} is open in process {pid}", dir.display())]
    Locked {
        /// The store.
        dir: PathBuf,
        /// The other process, as it wrote itself down.
        pid: String,
    },
    /// The store was written by a newer build.
    #[error("{} says format {found}: this build reads up to {newest}", file.display())]
    Format {
        /// The file that says so.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format there is.
        newest: u32,
    },
    /// A file is not as it was written.
    #[error(
        "{} is damaged at byte {offset}: {reason}; see what `dwell check --repair` can save, or restore the last backup",
        file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The table (sled) failed or panicked.
    #[error("table {}: {reason}; see what `dwell check --repair` can save, or restore the last backup", dir.display())]
    Table {
        /// Its directory.
        dir: PathBuf,
        /// What it said.
        reason: String,
    },
    /// What should say where PostgreSQL is does not.
    #[error("store.url: {reason}")]
    Address {
        /// Why; never with the password.
        reason: String,
    },
    /// PostgreSQL failed, or says no.
    #[error("cannot {doing} the store in PostgreSQL: {reason}")]
    Postgres {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        reason: String,
    },
    /// The store in PostgreSQL was written by a newer build.
    #[error("the store in PostgreSQL has format {found}: this build reads up to {newest}")]
    Schema {
        /// Its format.
        found: i64,
        /// The newest format there is.
        newest: i64,
    },
    /// This process owns the shard no more: nothing is written, and nothing may be answered.
    #[error("shard {shard} is another's, or was out of reach for as long as its lease")]
    Fenced {
        /// Which.
        shard: u32,
    },
    /// The checkpoint thread is gone, and said no more than that.
    #[error("the checkpoint thread ended unexpectedly")]
    CheckpointLost,
    /// As [`StoreError::CheckpointLost`], the thread that appends to the journal.
    #[error("the journal thread ended unexpectedly")]
    JournalLost,
    /// More in one commit than a frame holds.
    #[error("a commit of {bytes} bytes: at most {accepted} are accepted")]
    BatchTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest one.
        accepted: usize,
    },
    /// It was closed while another thread read it.
    #[error("the store was closed meanwhile")]
    Closed,
    /// A view of a stopped store.
    #[error("a view of a stopped store is only read")]
    ReadOnly,
    /// An earlier commit failed; nothing more is written.
    #[error("an earlier commit failed: nothing more is written until the store is opened again")]
    Poisoned,
}

impl StoreError {
    /// Whether the disk failed, as it does for whoever writes to it next.
    fn is_of_the_disk(&self) -> bool {
        let eio = rustix::io::Errno::IO.raw_os_error();
        match self {
            StoreError::Full { .. } => true,
            StoreError::Io { cause, .. } => {
                cause.kind() == std::io::ErrorKind::ReadOnlyFilesystem || cause.raw_os_error() == Some(eio)
            }
            StoreError::Injected
            | StoreError::Version { .. }
            | StoreError::Number { .. }
            | StoreError::Length { .. }
            | StoreError::Value { .. }
            | StoreError::Locked { .. }
            | StoreError::Format { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Table { .. }
            | StoreError::Address { .. }
            | StoreError::Postgres { .. }
            | StoreError::Schema { .. }
            | StoreError::Fenced { .. }
            | StoreError::CheckpointLost
            | StoreError::JournalLost
            | StoreError::Closed
            | StoreError::ReadOnly
            | StoreError::BatchTooLarge { .. }
            | StoreError::Poisoned => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_a_failing_and_a_read_only_disk_are_of_the_disk() {
        let io = |cause| StoreError::Io { doing: "write", path: "f".into(), cause };
        let errno = |errno: rustix::io::Errno| io(io::Error::from_raw_os_error(errno.raw_os_error()));
        assert!(StoreError::Full { doing: "write", path: "f".into() }.is_of_the_disk());
        assert!(errno(rustix::io::Errno::IO).is_of_the_disk());
        assert!(errno(rustix::io::Errno::ROFS).is_of_the_disk());
        assert!(!errno(rustix::io::Errno::NOENT).is_of_the_disk());
        assert!(!StoreError::Poisoned.is_of_the_disk());
    }
}
