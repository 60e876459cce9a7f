//! What a change owes to the outside: a function of the record before and after, so that recovery is the same function
//! applied to nothing and what was found.

use crate::model::{Child, Record};

/// What an executor must do because of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// End what is left of this attempt.
    pub stop: Option<(u32, Option<Child>)>,
    /// Start the outstanding attempt.
    pub start: bool,
    /// Let the held child of the outstanding attempt run.
    pub release: bool,
}

/// What the change from `before` to `after` owes.
pub fn owed(before: Option<&Record>, after: &Record) -> Owed {
    // A worker's process is not dwell's to start or stop.
    if after.queue.is_some() {
        return Owed::default();
    }
    let was = before.filter(|record| record.state.outstanding());
    let held = was.filter(|was| after.state.outstanding() && was.attempt == after.attempt);
    let Some(same) = held else {
        return Owed {
            stop: was.map(|was| (was.attempt, was.state.child())),
            start: after.state.outstanding() && after.state.child().is_none(),
            release: false,
        };
    };
    Owed { stop: None, start: false, release: same.state.child().is_none() && after.state.child().is_some() }
}
