//! A whole store as rows in the order of their keys, however many shards it has, and where each row goes in another.
//!
//! Owns: what rows of several shards are together, and what of one row becomes which shard's. Absent on purpose: history,
//! which stays with the store that made it, and files (`backup` has the layout).

mod placing;
mod whole;
mod writing;

pub use placing::{Place, Placing};
pub use whole::{Digest, TakeRow, Whole};
pub use writing::{Writing, is_empty, is_unfinished, serve};

/// The name of a shard's meta row with the highest place in the queue of any shard that it came with.
pub const ORDERS_TAKEN: &str = "orders_taken";

/// What stands in each shard while a store is written into it: it is not to be served before all of it is there.
pub const UNFINISHED: &str = "importing";
