//! What the engine is told by configuration. None of it is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::notices::Notify;
use super::pool::Pool;
use super::schedule::Timetable;
use crate::model::{Mode, Name, Policy, Slot};
use crate::pace::{Rate, Switches};

/// Numbers and names the engine works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Every number the rules use.
    pub policy: Policy,
    /// Attempts allowed at once, by runtime. A runtime that is not here starts nothing.
    pub runtimes: BTreeMap<Name, u32>,
    /// What differs for a runtime; one that is not here has the defaults.
    pub pacing: BTreeMap<Name, Pacing>,
    /// How long finished records and accepted triggers are kept.
    pub retention: Duration,
    /// Finished records kept; beyond them the oldest go before their time.
    pub finished_max: u32,
    /// How long what is outstanding may take when its scope is drained.
    pub drain_timeout: Duration,
    /// Records that may be queued in all; beyond them callers are told to come back.
    pub queued_max: u32,
    /// The burst gate and its drainer.
    pub burst: Burst,
    /// What differs for an org; one that is not here has the defaults.
    pub orgs: BTreeMap<Name, Org>,
    /// Every flow that is loaded.
    pub flows: BTreeMap<Name, Flow>,
    /// The mode of flows that nobody named one for.
    pub mode: Mode,
    /// Who is told what, by name.
    pub notify: BTreeMap<Name, Notify>,
    /// How long records may wait for a runtime that nothing holds while none starts on it.
    pub stalled_after: Duration,
    /// How long a flow must have been in shadow before it goes live; zero asks for nothing.
    pub min_shadow: Duration,
    /// What starts by itself, by flow.
    pub schedules: BTreeMap<Name, Arc<dyn Timetable>>,
    /// Which part of a store this is.
    pub shard: Shard,
    /// What it shares with the engines of the other parts in this process, for good.
    pub pool: Option<Pool>,
    /// As many queued records are held decoded, for who is queued among few is soon read again; more are held as their rows,
    /// which take less room.
    pub decoded_max: usize,
}

/// Which shard of a store an engine has; by default all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0 on.
    pub number: u32,
    /// So many there are.
    pub count: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Shard { number: 0, count: 1 }
    }
}

impl Shard {
    /// Whether what has this slot lives here.
    pub fn has(self, slot: Slot) -> bool {
        slot.shard(self.count) == self.number
    }

    /// The slot of what is of no org; it is in this shard.
    pub fn own_slot(self) -> Slot {
        Slot(u16::try_from(self.number).unwrap_or_default())
    }

    /// Whether what happens to all shards alike is told of here.
    pub const fn tells(self) -> bool {
        self.number == 0
    }
}

/// What the engine knows of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// As its file names it.
    pub mode: Option<Mode>,
}

/// The burst gate and its drainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// The gate's own switches.
    pub switches: Switches,
    /// How fast an env may call.
    pub rate: Rate,
    /// Records of an org that are released in one tick, times its weight.
    pub drain_batch: u32,
    /// Released records of a runtime, or of a queue of workers there, that may wait for their start or be outstanding.
    pub drain_concurrency: u32,
    /// Orgs of a runtime that are served in one tick.
    pub orgs_per_tick: u32,
}

impl Default for Burst {
    fn default() -> Self {
        Burst {
            switches: Switches { enabled: true, shadow: false },
            rate: Rate::default(),
            drain_batch: 10,
            drain_concurrency: 50,
            orgs_per_tick: 500,
        }
    }
}

/// One tenant's own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Org {
    /// Whether its bursts are diverted.
    pub burst: bool,
    /// Turns it has a round.
    pub weight: u32,
    /// Records that may be queued in each of its envs.
    pub queued_max: u32,
}

impl Default for Org {
    fn default() -> Self {
        Org { burst: false, weight: 1, queued_max: QUEUED_MAX }
    }
}

/// How one runtime is held by limits, and comes back after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Whether it starts a few a second at first.
    pub ramp: bool,
    /// Whether a limit that is reported of a model is that model's only.
    pub by_model: bool,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing { ramp: true, by_model: false }
    }
}

impl Settings {
    /// How a runtime is paced.
    pub fn pacing(&self, runtime: &Name) -> Pacing {
        self.pacing.get(runtime).copied().unwrap_or_default()
    }

    /// An org's settings.
    pub fn org(&self, name: &Name) -> Org {
        self.orgs.get(name).copied().unwrap_or_default()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            policy: Policy::default(),
            runtimes: BTreeMap::new(),
            pacing: BTreeMap::new(),
            retention: Duration::from_secs(7 * 24 * 3600),
            finished_max: FINISHED_MAX,
            drain_timeout: Duration::from_secs(30),
            queued_max: QUEUED_MAX,
            burst: Burst::default(),
            orgs: BTreeMap::new(),
            flows: BTreeMap::new(),
            mode: Mode::Live,
            notify: BTreeMap::new(),
            stalled_after: Duration::from_secs(15 * 60),
            min_shadow: Duration::ZERO,
            schedules: BTreeMap::new(),
            shard: Shard::default(),
            pool: None,
            decoded_max: DECODED_MAX,
        }
    }
}

/// Queued records held decoded unless somebody says otherwise: a few MB.
pub const DECODED_MAX: usize = 10_000;

/// Records that may be queued unless configuration says otherwise: ten times what an engine is laid out for.
pub const QUEUED_MAX: u32 = 10_000_000;
/// Finished records kept unless configuration says otherwise.
pub const FINISHED_MAX: u32 = 10_000_000;
/// Arrivals taken into one tick, and so into one commit.
pub const ARRIVALS_PER_TICK_MAX: usize = 1024;
/// A tick takes no more arrivals once it holds this many bytes of payload.
pub const TICK_BYTES_MAX: usize = 64 << 20;
/// What a rerun is taken to hold: the largest payload there is, a webhook's of 25 MiB, and its action.
pub const RERUN_BYTES: usize = 26 << 20;
/// The most bytes of payload in one request: a trigger with all the runs it makes.
pub const REQUEST_BYTES_MAX: usize = 256 << 20;
/// Bytes of payload that may wait for the engine; beyond them callers are told to come back.
pub const WAITING_BYTES_MAX: usize = 512 << 20;
/// Due deadlines taken into one tick.
pub const DEADLINES_PER_TICK_MAX: usize = 1024;
/// Records freed by a cleared limit in one tick.
pub const CLEARS_PER_TICK_MAX: usize = 1024;
/// Attempts started in one tick.
pub const DISPATCHES_PER_TICK_MAX: usize = 1024;
/// Records parked in one tick, and records put back into the rotation.
pub const PARKS_PER_TICK_MAX: usize = 4096;
/// Records cancelled for newer ones of their group by one request.
pub const SUPERSEDED_PER_REQUEST_MAX: usize = 4096;
/// Finished records, and triggers, purged in one tick.
pub const PURGES_PER_TICK_MAX: usize = 256;
/// Flows and runtimes, times events and who is told, that are told apart at one time.
pub const NOTICES_MAX: usize = 1_000;
/// Paced redrives that may run at once.
pub const REDRIVES_MAX: usize = 16;
/// Dead letters that one paced redrive redrives in one tick.
pub const REDRIVES_PER_TICK_MAX: usize = 256;
/// Dead letters that one paced redrive looks at in one tick.
pub const LETTERS_LOOKED_AT_PER_TICK_MAX: usize = 4_096;
/// Dead letters that are looked at to say how many a paced redrive is about.
pub const LETTERS_COUNTED_MAX: usize = 50_000;
/// Index entries looked at for one page of a list.
pub const VISITS_PER_PAGE_MAX: usize = 50_000;
/// Records read for one page of a list: a filter on what the index does not hold ends the page here.
pub const READS_PER_PAGE_MAX: usize = 2_000;
/// Flows, or things they lack, that a refused flip tells of.
pub const FLIP_FAULTS_MAX: usize = 100;
/// Records read at a time while the store is opened.
pub const RECORDS_PER_SCAN: usize = 4096;
/// So many times as many are read ahead.
pub const PAGES_AHEAD_MAX: usize = 2;
/// Requests that may wait for the engine; beyond them callers are told to come back.
pub const ARRIVALS_QUEUED_MAX: usize = 65_536;
/// How long the first answer to a call is kept under its idempotency key.
pub const ANSWERED_FOR: Duration = Duration::from_hours(24);
/// Answers kept at once; beyond them the oldest go before their time.
pub const ANSWERS_MAX: u64 = 1_000_000;
/// The longest answer that is kept; of a longer one only that it was given.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Schedules that fire in one tick.
pub const SCHEDULES_PER_TICK_MAX: usize = 256;
/// Runs that may wait for the end of their triggers; beyond them a run of a new key is admitted at once.
pub const DEBOUNCED_MAX: usize = 100_000;
/// Debounced runs admitted in one tick.
pub const DEBOUNCED_PER_TICK_MAX: usize = 1024;
/// A tick admits no more debounced runs once it has put this many bytes for them into its commit.
pub const DEBOUNCED_BYTES_PER_TICK_MAX: usize = 64 << 20;
