//! A disk that is full, fails, or is read-only: new work is refused, what was taken in goes on as far as it can, and
//! nothing acknowledged is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
mod engine;
mod failing;
#[path = "../common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;
mod small_disk;
