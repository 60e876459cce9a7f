//! L1, the rule. `step(record, event, now, policy)` says what an event makes of a record, or refuses it.
//!
//! Owns: every transition of the state machine, one file per family of events, and what a change owes to the outside.
//! Absent on purpose: clocks, randomness, disk, other records. The same arguments always give the same answer.

mod admit;
mod attempt;
mod backoff;
mod budget;
mod burst;
mod command;
mod elapsed;
mod limit;
mod owed;
#[cfg(test)]
mod testing;

pub use admit::{admit, admit_held, shadow};
pub use budget::{crossed, written};
pub use burst::divert;
pub use command::redrivable;
pub use limit::{merge, resolve};
pub use owed::{Owed, owed};

use crate::model::{Command, Event, Limit, Policy, Record, Rejected, State, Time};

/// What an accepted event makes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The record after it; equal to the one before when the event changes nothing.
    pub record: Record,
    /// What it says about the record's runtime.
    pub runtime: Option<RuntimeChange>,
    /// Something in the report that could not be used as it was, for the log.
    pub warning: Option<String>,
}

/// What a report says about the runtime it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeChange {
    /// Its window is used up.
    Limited(Limit),
    /// Its window is open.
    Cleared,
}

impl Next {
    const fn to(record: Record) -> Next {
        Next { record, runtime: None, warning: None }
    }
}

/// What `event` makes of `record` at `now`, or why it does not apply. Pure and total.
pub fn step(record: &Record, event: &Event, now: Time, policy: &Policy) -> Result<Next, Rejected> {
    let next = match event {
        Event::Dispatch => attempt::dispatch(record, now),
        Event::Claim { worker: _, lease } => attempt::claim(record, *lease, now),
        Event::Report { attempt, report } => attempt::report(record, *attempt, report, now, policy),
        Event::Charge { attempt, calls } => budget::charge(record, *attempt, *calls),
        Event::Elapsed => elapsed::elapsed(record, now, policy),
        Event::Interrupted => elapsed::interrupted(record),
        Event::LimitCleared => limit::cleared(record),
        Event::Drain { until } => command::drain(record, *until),
        Event::Undrain => command::undrain(record, now),
        Event::Command(Command::Cancel) => command::cancel(record, now),
        Event::Command(Command::ResumeNow) => command::resume_now(record),
        Event::Command(Command::Redrive) => command::redrive(record),
        Event::TopUp { measure, amount } => budget::top_up(record, *measure, *amount, now),
        Event::BurstDrained => burst::drained(record),
        Event::Superseded { .. } => command::supersede(record, now),
    };
    let mut next = next?;
    budget::settle(record, event, &mut next.record, now);
    Ok(next)
}

/// `record` with another state.
fn moved(record: &Record, state: State) -> Record {
    Record { state, ..record.clone() }
}

/// Refuses an event that the record's state does not take.
fn illegal(record: &Record, event: &'static str, hint: &'static str) -> Rejected {
    Rejected::Illegal { id: record.id, event, state: record.state.name(), hint }
}
