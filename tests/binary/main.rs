//! The real binary from outside, a theme a file. Some of them begin with the same on an engine in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod budgets;
mod debounce;
mod drained;
mod events;
mod idempotency;
mod main_job;
mod models;
mod modes_http;
mod newer;
mod openapi;
mod pages;
mod pull_workers;
mod reload;
mod repair;
mod schedules;
mod serve;
mod service;
mod telling;
mod triggers;
mod webhooks;

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/manager.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod manager;
#[path = "../common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;
