//! The real binary in hard times: much that is broken comes in at once, and much is due at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod corrupt_triggers;
mod downtime;
#[path = "../common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;
