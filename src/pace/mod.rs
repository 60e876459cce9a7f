//! L1, who goes next, and who waits a little first. Pure: no clock, no disk, no knowledge of records beyond their id and
//! place.
//!
//! Owns: the fair rotation, the ramp after a pause, the burst gate and its trip evaluator. Absent on purpose:
//! concurrency counts and pauses (`engine` holds them against it), and what a decision of the gate leads to.

mod gate;
mod ramp;
mod rotation;
mod trip;

pub use gate::{Decision, Outcome, Reason, Switches, decide};
pub use ramp::{RAMP_STEP, Ramp, Started, ramp};
pub use rotation::Rotation;
pub use trip::{Crowded, ENVS_MAX, Rate, Trip};
