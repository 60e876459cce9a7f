//! L1, bytes and durability.
//!
//! Owns: the [`Backend`] seam and its implementations, what keys and values look like, and [`Durable`].
//! Absent on purpose: any idea of what a record means.

mod backend;
mod codec;
pub mod keys;
pub mod memory;
mod writer;

pub use backend::{Backend, Batch, Direction, History, Pair};
pub use codec::{Stored, Tally};
pub use memory::Memory;
pub use writer::{Durable, Writer};

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
}
