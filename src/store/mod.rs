//! L1, bytes and durability.
//!
//! Owns: the [`Backend`] seam and its implementations, what keys and values look like, and [`Durable`].
//! Absent on purpose: any idea of what a record means.

mod backend;
pub mod memory;
mod writer;

pub use backend::{Backend, Batch, Direction, History, Pair};
pub use memory::Memory;
pub use writer::{Durable, Writer};

/// What can be wrong with a store. All of it ends the engine; nothing is retried.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A fault injected by a test.
    #[error("injected fault")]
    Injected,
}
