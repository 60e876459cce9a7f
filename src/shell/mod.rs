//! L4, the world: command line, configuration, clock, signals, HTTP.
//!
//! It talks to the engine through a `Handle` and never to the store. tokio and axum exist in `http` and nowhere else.

pub mod address;
pub mod backup;
mod budgets;
pub mod capabilities;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod demo_agent;
pub mod fields;
pub mod flows;
pub mod hex;
pub mod hook;
pub mod http;
pub mod ids;
pub mod keyring;
pub mod lines;
pub mod loading;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod problem;
pub mod ready;
pub mod reload;
pub mod serve;
pub mod service;
pub mod shard;
pub mod signals;
mod slip;
pub mod sources;
pub mod time;
pub mod timetable;
pub mod tokens;
pub mod traces;
pub mod view;
