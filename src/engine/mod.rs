//! L2, the engine: one thread that decides, commits once, and releases.

mod request;

pub use request::{
    Answer, Arrival, Counts, Detail, Filter, Page, Reply, Request, RuntimeView, Status, Triggered,
};
