//! Room on the store's disk. While there is too little, new work is refused and what was taken in goes on: dispatch,
//! reports, resumes, redrives, debounced runs, and the notices that tell of it. A schedule's time waits, and is made up.
//!
//! It is derived from the disk at every tick, so it ends by itself. Absent on purpose: measuring (the store does).

use std::time::Duration;

use super::core::Core;
use crate::model::{Rejected, Space, Time};

/// While there is too little room, an idle engine looks again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Takes in how much room there is now.
pub(super) fn look(core: &mut Core, space: Option<Space>) {
    let was = short(core).is_some();
    core.space = space;
    match (&core.space, short(core).is_some()) {
        (Some(space), true) if !was => tracing::error!(event = "store.full", "{space}"),
        (Some(Space { store, .. }), false) if was => {
            tracing::info!(event = "store.roomy", "store {store} has room again: new work is taken");
        }
        (Some(_) | None, _) => {}
    }
}

/// The room, if it is too little for new work.
pub(super) fn short(core: &Core) -> Option<&Space> {
    core.space.as_ref().filter(|space| space.is_short())
}

/// Whether new work is taken.
pub(super) fn room(core: &Core) -> Result<(), Rejected> {
    short(core).map_or(Ok(()), |space| Err(Rejected::StoreFull(space.clone())))
}

/// When to look again although nothing happens.
pub(super) fn next_at(core: &Core) -> Option<Time> {
    short(core).map(|_| core.now.after(LOOK_EVERY))
}
