//! What the engine is told by configuration. None of it is durable.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Name, Policy};

/// Numbers and names the engine works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Every number the rules use.
    pub policy: Policy,
    /// Attempts allowed at once, by runtime. A runtime that is not here starts nothing.
    pub runtimes: BTreeMap<Name, u32>,
    /// How long finished records and accepted triggers are kept.
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            policy: Policy::default(),
            runtimes: BTreeMap::new(),
            retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// Arrivals taken into one tick, and so into one commit.
pub const ARRIVALS_PER_TICK_MAX: usize = 1024;
/// Due deadlines taken into one tick.
pub const DEADLINES_PER_TICK_MAX: usize = 1024;
/// Records freed by a cleared limit in one tick.
pub const CLEARS_PER_TICK_MAX: usize = 1024;
/// Attempts started in one tick.
pub const DISPATCHES_PER_TICK_MAX: usize = 1024;
/// Finished records, and triggers, purged in one tick.
pub const PURGES_PER_TICK_MAX: usize = 256;
/// Index entries looked at for one page of a list.
pub const VISITS_PER_PAGE_MAX: usize = 50_000;
/// Records read at a time while the store is opened.
pub const RECORDS_PER_SCAN: usize = 4096;
/// Requests that may wait for the engine; beyond them callers are told to come back.
pub const ARRIVALS_QUEUED_MAX: usize = 65_536;
