//! A whole engine on the memory backend and a manual clock, a theme a file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod behaviours;
mod bulk;
mod burst;
mod check;
mod claims;
mod clock;
mod groups;
mod hold;
mod letters;
mod limits;
mod modes;
mod notices;
mod scenarios;
mod why;

#[path = "../common/mod.rs"]
mod common;
