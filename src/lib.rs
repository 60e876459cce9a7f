//! dwell: an embedded, durable state-machine engine. Every agent session and every flow run is one persisted record
//! that moves through one explicit machine; every wait is a deadline on disk.
//!
//! The modules, in reading order. Each sees only what stands above it in its column of this list:
//!
//! - [`model`]   L0 the nouns: record, state, event, report, trigger, policy, ids, time
//! - [`machine`] L1 the rule, pure: `admit`, `step`, one file per family of events
//! - [`flow`]    L1 flow files: parse, validate, match, expand; pure
//! - [`pace`]    L1 who goes next: fair rotation, the burst gate, the ramp after a pause; pure
//! - [`store`]   L1 bytes and durability: backend, batch, codec, keys, `Durable`, the journal, sled, memory,
//!   PostgreSQL
//! - [`engine`]  L2 one thread: open, tick, inbox, indexes, dispatch; a file for each thing it decides (`hold` is what
//!   keeps a record waiting, and `why` says it)
//! - [`exec`]    L3 carries attempts out: child processes, agents' streams, http requests, captured logs
//! - [`shell`]   L4 the world: command line, configuration, clock, signals, HTTP; `shard` is an engine with all that works
//!   beside it, `cluster` a node of several, `http::front` what it answers with
//!
//! Beside them, only with the feature of its name: `fixture`, which kills a server and looks what is left.
//!
//! `tests/tidy.rs` holds the layers as data and fails on a new edge.
//!
//! What must always be true is listed in `schema/states.md` (generated from [`machine`]) and in the README's
//! guarantees; `schema/decisions.md` says why things are as they are.
//!
//! # Embedding it
//!
//! The engine needs no shell: it is called with the time and with what was asked, and hands out what to do once that is
//! durable. Here the clock is a number, and the executor a function. [`engine::run`] is this loop for a thread of its
//! own, with an [`engine::Handle`] to ask it from others.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::error::Error;
//! use std::sync::mpsc;
//! use std::time::Duration;
//!
//! use dwell::engine::{Answer, Arrival, Engine, Request, Settings};
//! use dwell::model::{
//!     Action, Effect, Fault, LimitReport, RecordId, Report, Reset, Start, StateName, Submission, Time, Work,
//! };
//! use dwell::store::{Durable, Local, local::Options};
//!
//! /// The executor: what an attempt has to report. Its provider's window is used up, and resets after 90 minutes.
//! fn carry_out(start: &Start, now: Time) -> Vec<Report> {
//!     if start.session.is_some() {
//!         return vec![Report::Succeeded { result: Some("reviewed".to_owned()) }];
//!     }
//!     let reset = Reset::At(now.after(Duration::from_secs(90 * 60)));
//!     let limit = LimitReport { reset, ..LimitReport::default() };
//!     vec![
//!         Report::Session { id: "conversation 1".to_owned() },
//!         Report::RateLimited(limit, Fault::new("window_used_up", "try again later")),
//!     ]
//! }
//!
//! /// Ticks at one moment until nothing is left to do at it.
//! fn settle(mut engine: Engine, now: Time, mut arrivals: Vec<Arrival>) -> Result<Engine, Box<dyn Error>> {
//!     loop {
//!         let (next, released) = engine.tick(now, arrivals)?;
//!         for (reply, answer) in released.replies.each().map(Durable::split) {
//!             reply.into_inner()(answer);
//!         }
//!         arrivals = Vec::new();
//!         for effect in released.effects.into_inner() {
//!             if let Effect::Start(start) = effect {
//!                 arrivals.extend(carry_out(&start, now).into_iter().map(|report| {
//!                     let request = Request::Report { id: start.id, attempt: start.attempt, report };
//!                     Arrival { request, reply: Box::new(drop) }
//!                 }));
//!             }
//!         }
//!         if arrivals.is_empty() {
//!             return Ok(next);
//!         }
//!         engine = next;
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     let dir = tempfile::tempdir()?;
//!     let open = |now: Time| -> Result<Engine, Box<dyn Error>> {
//!         let store = Local::open(dir.path(), Options { segment_bytes: 1 << 20, ..Options::default() })?;
//!         let runtimes = BTreeMap::from([("provider".into(), 5)]); // so many attempts at once
//!         let (opening, survivors) =
//!             Engine::open(Box::new(store), Settings { runtimes, ..Settings::default() }, now)?;
//!         // An executor with processes stops here what a crash left running of them.
//!         assert!(survivors.into_inner().is_empty());
//!         Ok(opening.survivors_stopped())
//!     };
//!
//!     let noon = Time::from_millis(1_795_262_400_000);
//!     let id = RecordId::session(1);
//!     let work = Work::of(Action::Agent { prompt: "review #7".to_owned(), cwd: None });
//!     let request = Request::Submit(Box::new(Submission::of(id, "provider".into(), work)));
//!     let engine = settle(open(noon)?, noon, vec![Arrival { request, reply: Box::new(drop) }])?;
//!     let reset = noon.after(Duration::from_secs(90 * 60));
//!     assert_eq!(engine.next_wake(), Some(reset));
//!     drop(engine); // a crash is no different
//!
//!     let early = noon.after(Duration::from_secs(60));
//!     let engine = settle(open(early)?, early, Vec::new())?;
//!     assert_eq!(engine.next_wake(), Some(reset), "the deadline is what was stored");
//!
//!     let engine = settle(engine, reset, Vec::new())?;
//!     let (tell, told) = mpsc::channel();
//!     let reply = Box::new(move |answer: Durable<_>| tell.send(answer.into_inner()).unwrap());
//!     settle(engine, reset, vec![Arrival { request: Request::Get { id }, reply }])?;
//!     let Ok(Answer::Detail(detail)) = told.recv()? else { panic!("it was asked for") };
//!     assert_eq!((detail.record.state.name(), detail.record.attempt), (StateName::Completed, 2));
//!     Ok(())
//! }
//! ```

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
