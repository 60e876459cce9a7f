//! L2, the engine: one thread that decides, commits once a tick, and then releases.
//!
//! Owns: the loop, the derived indexes, dispatch, dedup by name, the runtimes' pauses. Absent on purpose: clocks (`now`
//! is an argument), processes, sockets, and any wait of a record that is not a deadline in it or in a runtime's row.
//!
//! A tick: runtimes that opened unseen begin their ramp; purge; what was found interrupted at open; schedules and
//! debounced runs that are due; arrivals in order; due deadlines, earliest first; records freed by an open window;
//! parked records whose hold is gone; paced redrives; the burst drainer; fair dispatch; claims; notices; one commit;
//! release. Two events for one record fold into one write, and what is owed to the outside follows from the record
//! before and after.

mod answer;
mod arrivals;
mod budget;
mod burst;
pub mod check;
mod claims;
mod core;
mod debounce;
mod draft;
mod drains;
mod envs;
mod gate;
mod groups;
mod hold;
mod inbox;
mod index;
mod letters;
mod list;
mod modes;
mod moment;
mod notices;
mod once;
mod open;
mod paced;
mod parked;
mod payload;
mod pool;
mod purge;
mod queues;
mod ramp;
mod redrive;
mod reload;
mod request;
mod run;
mod schedule;
mod settings;
mod space;
mod stalls;
mod step;
mod tick;
mod touched;
mod why;
mod windows;

pub use self::core::EngineError;
pub use crate::pace::{Outcome, Rate, Reason, Switches};
pub use answer::{
    Answer, BurstStatus, Counts, Detail, Flipped, FlowView, Group, ModesView, Paced, Page, Redriven,
    RuntimeView, Status, Told, Triggered, Upcoming,
};
pub use claims::{CLAIMS_WAITING_MAX, Claim, Claimed, QueueView};
pub use drains::{DRAINS_MAX, DrainView};
pub use envs::{EnvFilter, EnvPage, EnvView};
pub use hold::Hold;
pub use inbox::{Advanced, Closed, Handle, Inbox, channel};
pub use moment::{Moment, census};
pub use notices::{NOTIFY, Notify};
pub use open::{Opening, Survivor};
pub use pool::Pool;
pub use request::{Arrival, Filter, Flip, Once, Redrives, Reply, Request, Target, Tell};
pub use run::{Clock, run};
pub use schedule::Timetable;
pub use settings::{
    ANSWER_BYTES_MAX, ANSWERED_FOR, ANSWERS_MAX, ARRIVALS_PER_TICK_MAX, ARRIVALS_QUEUED_MAX, Burst,
    CLEARS_PER_TICK_MAX, DEADLINES_PER_TICK_MAX, DEBOUNCED_BYTES_PER_TICK_MAX, DEBOUNCED_MAX,
    DEBOUNCED_PER_TICK_MAX, DECODED_MAX, DISPATCHES_PER_TICK_MAX, Flow, LETTERS_COUNTED_MAX,
    LETTERS_LOOKED_AT_PER_TICK_MAX, Org, PARKS_PER_TICK_MAX, PURGES_PER_TICK_MAX, Pacing, QUEUED_MAX,
    READS_PER_PAGE_MAX, RECORDS_PER_SCAN, REDRIVES_MAX, REDRIVES_PER_TICK_MAX, SCHEDULES_PER_TICK_MAX,
    Settings, Shard, VISITS_PER_PAGE_MAX,
};
pub use step::{Step, Wait};
pub use tick::{Decided, Engine, Released, UnderWay};
pub use why::{Asked, Place, Rule, WHY_BY_MAX, WHY_PLACE_MAX, Why};
pub use windows::MODELS_MAX;
