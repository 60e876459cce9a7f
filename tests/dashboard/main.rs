//! The dashboard in a real browser, against the real binary: what is seen, clicked and typed, and what comes of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod acts;
mod browser;
mod life;
mod load;
mod page;
#[path = "../common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;
mod tabs;
mod tokens;
mod views;
