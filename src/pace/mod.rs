//! L1, who goes next. Pure: no clock, no disk, no knowledge of records beyond their id and place.
//!
//! Owns: the fair rotation. Absent on purpose: concurrency counts and pauses (`engine::dispatch` holds them against it).

mod rotation;

pub use rotation::Rotation;
