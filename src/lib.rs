//! dwell: an embedded, durable state-machine engine. Every agent session and every flow run is one persisted record
//! that moves through one explicit machine; every wait is a deadline on disk.
//!
//! The modules, in reading order. Each sees only what stands above it in its column of this list:
//!
//! - [`model`]   L0 the nouns: record, state, event, report, trigger, policy, ids, time
//! - [`machine`] L1 the rule, pure: `admit`, `step`, one file per family of events
//! - [`flow`]    L1 flow files: parse, validate, match, expand; pure
//! - [`pace`]    L1 who goes next: fair rotation, the burst gate, the ramp after a pause; pure
//! - [`store`]   L1 bytes and durability: backend, batch, codec, keys, `Durable`, the journal, sled, memory
//! - [`engine`]  L2 one thread: open, tick, inbox, indexes, dispatch; a file for each thing it decides (`hold` is what
//!   keeps a record waiting, and `why` says it)
//! - [`exec`]    L3 carries attempts out: child processes, agents' streams, http requests, captured logs
//! - [`shell`]   L4 the world: command line, configuration, clock, signals, HTTP
//!
//! Beside them, only with the feature of its name: `fixture`, which kills a server and looks what is left.
//!
//! `tests/tidy.rs` holds the layers as data and fails on a new edge.
//!
//! What must always be true is listed in `schema/states.md` (generated from [`machine`]) and in the README's
//! guarantees; `schema/decisions.md` says why things are as they are.

pub mod engine;
pub mod exec;
#[cfg(feature = "fixture")]
pub mod fixture;
pub mod flow;
pub mod machine;
pub mod model;
pub mod pace;
pub mod shell;
pub mod store;
