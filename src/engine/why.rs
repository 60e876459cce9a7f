//! Why something does not start: one true answer, by the functions that decide dispatch ([`super::hold`]).
//!
//! It is asked before the tick's own deadlines and starts, so it says how the last tick left things; what nothing holds
//! starts in the very tick that is asked.

use std::collections::BTreeMap;

use super::core::Core;
use super::draft::{Draft, Fail};
use super::hold::{self, Hold};
use super::index::Entry;
use super::space;
use crate::model::{
    Cause, Mode, Name, Origin, Record, RecordId, Rejected, Scope, Source, Space, State, StateName, Time,
};

/// Records named by one answer.
pub const WHY_BY_MAX: usize = 10;
/// Places counted for one answer: who stands further back is told this many.
pub const WHY_PLACE_MAX: usize = 10_000;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One record.
    Record(RecordId),
    /// All that is in it.
    Scope(Scope),
}

/// The rule that decides when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// This holds it.
    Held(Hold),
    /// Nothing holds it, and it starts at its turn.
    Turn,
    /// Its own deadline: a provider's window, or a wait after a bad end.
    Deadline {
        /// When it is queued again.
        until: Time,
        /// Where a provider's time comes from.
        source: Option<Source>,
    },
    /// An attempt is outstanding; past the deadline it is presumed lost, or stopped if it is draining.
    Outstanding {
        /// The deadline.
        until: Time,
    },
    /// It waits for an operator.
    Dead(Cause),
    /// It is over.
    Finished,
    /// The flow does not act.
    Mode(Mode, Origin),
    /// Nothing holds the scope, but the store's disk has too little room for new work.
    StoreFull(Space),
    /// Nothing holds the scope.
    Open,
}

/// Where a queued record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of its env, before it; at most [`WHY_PLACE_MAX`].
    pub ahead_in_env: usize,
    /// Orgs that take turns on its runtime.
    pub orgs: usize,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Why {
    /// What was asked about.
    pub asked: Asked,
    /// A record's state.
    pub state: Option<StateName>,
    /// The runtime that is spoken of.
    pub runtime: Option<Name>,
    /// What decides.
    pub rule: Rule,
    /// Whose report made a pause, or who holds the places; at most [`WHY_BY_MAX`].
    pub by: Vec<RecordId>,
    /// The numbers behind it, by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// Of a queued record.
    pub place: Option<Place>,
    /// The first moment at which it could start, if time alone decides.
    pub earliest: Option<Time>,
}

/// What keeps it from starting.
pub(super) fn why(draft: &Draft<'_>, asked: Asked) -> Result<Why, Fail> {
    match asked {
        Asked::Record(id) => {
            let record = draft.record(id)?.ok_or_else(|| Rejected::NotFound { id: id.to_string() })?;
            Ok(of_record(draft.core, &record))
        }
        Asked::Scope(scope) => Ok(of_scope(draft.core, scope)?),
    }
}

fn of_record(core: &Core, record: &Record) -> Why {
    let rule = match record.state {
        State::Queued { .. } => {
            let held = core.index.entry(record.id).and_then(|entry| hold::of(core, entry));
            held.map_or(Rule::Turn, Rule::Held)
        }
        State::RateLimited { until, source } => Rule::Deadline { until, source: Some(source) },
        State::Backoff { until, .. } => Rule::Deadline { until, source: None },
        State::Active { lease_until, .. } => Rule::Outstanding { until: lease_until },
        State::Draining { until, .. } => Rule::Outstanding { until },
        State::DeadLettered { cause, .. } => Rule::Dead(cause),
        State::Completed { .. } | State::Cancelled { .. } => Rule::Finished,
    };
    let entry = core.index.entry(record.id).filter(|entry| entry.queue.is_some());
    let mut counters = BTreeMap::new();
    if entry.is_some() {
        counters = of_runtime(core, &record.runtime);
        counters.insert("queued_in_env", core.index.queued(&record.org, &record.env));
    }
    let standing = entry.and_then(|entry| core.index.standing(entry, WHY_PLACE_MAX));
    Why {
        asked: Asked::Record(record.id),
        state: Some(record.state.name()),
        runtime: Some(record.runtime.clone()),
        by: by(core, &rule, &record.runtime, entry),
        counters,
        place: standing.map(|(ahead_in_env, orgs)| Place { ahead_in_env, orgs }),
        earliest: earliest(core, &rule, &record.runtime),
        rule,
    }
}

fn of_scope(core: &Core, scope: Scope) -> Result<Why, Rejected> {
    let mut runtime = None;
    let held = match &scope {
        Scope::All => None,
        Scope::Runtime(name) => {
            if !core.settings.runtimes.contains_key(name) {
                return Err(Rejected::UnknownRuntime { name: name.clone() });
            }
            runtime = Some(name.clone());
            let busy = || hold::full(core, name).or_else(|| hold::ramping(core, name));
            hold::closed(core, name).or_else(busy)
        }
        Scope::Flow(name) => {
            if !core.settings.flows.contains_key(name) {
                return Err(Rejected::UnknownFlow { name: name.clone() });
            }
            hold::drained(core, || scope.clone())
        }
        Scope::Org(_) => hold::drained(core, || scope.clone()),
    };
    let mode = match &scope {
        Scope::Flow(name) => Some(core.mode(name)).filter(|(mode, _)| *mode != Mode::Live),
        Scope::All | Scope::Runtime(_) | Scope::Org(_) => None,
    };
    let rule = match (hold::everything(core).or(held), mode) {
        (Some(hold), _) => Rule::Held(hold),
        (None, Some((mode, origin))) => Rule::Mode(mode, origin),
        (None, None) => space::short(core).cloned().map_or(Rule::Open, Rule::StoreFull),
    };
    let none = Name::default();
    let named = runtime.as_ref().unwrap_or(&none);
    Ok(Why {
        state: None,
        by: by(core, &rule, named, None),
        counters: runtime.as_ref().map(|name| of_runtime(core, name)).unwrap_or_default(),
        place: None,
        earliest: earliest(core, &rule, named),
        asked: Asked::Scope(scope),
        runtime,
        rule,
    })
}

fn of_runtime(core: &Core, runtime: &Name) -> BTreeMap<&'static str, u64> {
    let lane = core.index.lane(runtime);
    let concurrency = core.settings.runtimes.get(runtime).copied().unwrap_or(0);
    BTreeMap::from([
        ("outstanding", lane.map_or(0, |lane| lane.outstanding.len() as u64)),
        ("concurrency", concurrency.into()),
        ("queued", lane.map_or(0, super::index::Lane::queued)),
        ("parked", lane.map_or(0, |lane| lane.parked)),
    ])
}

/// Whose report made the pause, or who holds the places that are missing.
fn by(core: &Core, rule: &Rule, runtime: &Name, entry: Option<&Entry>) -> Vec<RecordId> {
    let Rule::Held(hold) = rule else { return Vec::new() };
    let lane = core.index.lane(runtime);
    let some = |ids: Option<&std::collections::BTreeSet<RecordId>>| {
        ids.into_iter().flatten().take(WHY_BY_MAX).copied().collect()
    };
    match hold {
        Hold::Limited(pause) => pause.by.into_iter().collect(),
        Hold::Full { .. } => some(lane.map(|lane| &lane.outstanding)),
        Hold::Burst { .. } => {
            let pull = entry.and_then(|entry| entry.home.pull.clone());
            some(lane.and_then(|lane| Some(&lane.burst.get(&pull)?.released)))
        }
        Hold::Group { .. } => {
            let member = entry.and_then(|entry| entry.member.as_ref());
            some(member.and_then(|member| Some(&core.index.groups().get(&member.key)?.outstanding)))
        }
        Hold::Model(row) => row.limited.and_then(|pause| pause.by).into_iter().collect(),
        Hold::Stopping { .. }
        | Hold::Drained(_)
        | Hold::Paused { .. }
        | Hold::Unclaimed { .. }
        | Hold::Ramp { .. } => Vec::new(),
    }
}

fn earliest(core: &Core, rule: &Rule, runtime: &Name) -> Option<Time> {
    let opens = || core.runtimes.get(runtime).and_then(|row| row.held_until(core.now));
    let at = match rule {
        Rule::Held(Hold::Paused { .. } | Hold::Limited(_)) => opens(),
        Rule::Held(Hold::Model(row)) => row.held_until(core.now).max(opens()),
        Rule::Held(Hold::Ramp { until }) => Some(*until),
        Rule::Deadline { until, .. } => Some(*until).max(opens()),
        Rule::Turn => Some(core.now),
        Rule::Held(
            Hold::Stopping { .. }
            | Hold::Drained(_)
            | Hold::Burst { .. }
            | Hold::Group { .. }
            | Hold::Unclaimed { .. }
            | Hold::Full { .. },
        )
        | Rule::Outstanding { .. }
        | Rule::Dead(_)
        | Rule::Finished
        | Rule::Mode(..)
        | Rule::StoreFull(_)
        | Rule::Open => None,
    };
    at.filter(|at| *at < Time::MAX)
}
