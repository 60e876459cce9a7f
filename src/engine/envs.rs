//! What waits and runs in each env of each org. Derived like every index; an env with nothing queued or outstanding is
//! not there.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::core::Core;
use super::index::Entry;
use super::request::Filter;
use crate::model::{Lane, Name, Record, Time};

/// One env of one org.
pub(super) type Place = (Name, Name);

/// What stands in one env.
#[derive(Debug, Default)]
struct Env {
    /// Queued, in order, each with when it was admitted.
    queued: BTreeMap<u64, Time>,
    burst: u64,
    parked: u64,
    outstanding: u64,
}

/// Every env with something in it.
#[derive(Debug, Default)]
pub(super) struct Envs(BTreeMap<Place, Env>);

/// Which envs to list.
#[derive(Clone, Debug, Default)]
pub struct EnvFilter {
    /// Of this tenant.
    pub org: Option<Name>,
    /// Behind this org and env.
    pub after: Option<(Name, Name)>,
    /// At most so many, and never more than [`Filter::LIMIT_MAX`].
    pub limit: usize,
}

/// An env as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvView {
    /// The tenant.
    pub org: Name,
    /// The environment.
    pub env: Name,
    /// Queued in the ready lane.
    pub ready: u64,
    /// Queued in the burst lane.
    pub burst: u64,
    /// Of both, those that a rule of their own holds: a drained flow or org, a busy group, a limited model.
    pub parked: u64,
    /// Attempts outstanding.
    pub outstanding: u64,
    /// When the first in order was admitted.
    pub oldest_at: Option<Time>,
    /// Turns that its org has in a round.
    pub weight: u32,
    /// Whether its bursts are diverted.
    pub enrolled: bool,
    /// Until when what it triggers counts as too fast.
    pub tripped_until: Option<Time>,
}

/// A page of envs.
#[derive(Clone, Debug, Default)]
pub struct EnvPage {
    /// By org and env.
    pub envs: Vec<EnvView>,
    /// Where to go on, if there may be more.
    pub next: Option<(Name, Name)>,
}

impl Envs {
    /// Takes a record in as what it is now.
    pub(super) fn insert(&mut self, entry: &Entry, record: &Record) {
        if entry.queue.is_none() && !entry.outstanding() {
            return;
        }
        let place = &entry.home.place;
        let env = match self.0.get_mut(place) {
            Some(env) => env,
            None => self.0.entry(place.clone()).or_default(),
        };
        env.outstanding += u64::from(entry.outstanding());
        if let Some(lane) = entry.queue {
            env.queued.insert(entry.order, record.created_at);
            env.burst += u64::from(lane == Lane::Burst);
        }
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        if entry.queue.is_none() && !entry.outstanding() {
            return;
        }
        let Some(env) = self.0.get_mut(&entry.home.place) else { return };
        env.outstanding -= u64::from(entry.outstanding());
        if env.queued.remove(&entry.order).is_some() {
            env.burst -= u64::from(entry.queue == Some(Lane::Burst));
        }
        if env.queued.is_empty() && env.outstanding == 0 {
            self.0.remove(&entry.home.place);
        }
    }

    /// A queued record is parked from now on, or no longer.
    pub(super) fn park(&mut self, entry: &Entry, parked: bool) {
        if let Some(env) = self.0.get_mut(&entry.home.place) {
            env.parked = if parked { env.parked + 1 } else { env.parked - 1 };
        }
    }

    /// How many are queued in an env, in both lanes.
    pub(super) fn queued(&self, org: &Name, env: &Name) -> u64 {
        self.0.get(&(org.clone(), env.clone())).map_or(0, |env| env.queued.len() as u64)
    }
}

/// A page of envs, by org and env.
pub(super) fn page(core: &Core, filter: &EnvFilter) -> EnvPage {
    let limit = filter.limit.clamp(1, Filter::LIMIT_MAX);
    let first = filter.org.clone().map(|org| (org, Name::default()));
    let from = match filter.after.clone().max(first) {
        Some(place) => Excluded(place),
        None => Unbounded,
    };
    let wanted = |((org, _), _): &(&Place, &Env)| filter.org.as_ref().is_none_or(|wanted| wanted == org);
    let mut found = core.index.envs().0.range((from, Unbounded)).take_while(wanted);
    let envs: Vec<EnvView> = found.by_ref().take(limit).map(|(place, env)| view(core, place, env)).collect();
    let last = envs.last().map(|last| (last.org.clone(), last.env.clone()));
    EnvPage { next: last.filter(|_| found.next().is_some()), envs }
}

fn view(core: &Core, (org, name): &Place, env: &Env) -> EnvView {
    EnvView {
        org: org.clone(),
        env: name.clone(),
        ready: env.queued.len() as u64 - env.burst,
        burst: env.burst,
        parked: env.parked,
        outstanding: env.outstanding,
        oldest_at: env.queued.first_key_value().map(|(_, at)| *at),
        weight: core.settings.org(org).weight,
        enrolled: core.settings.org(org).burst,
        tripped_until: core.gate.tripped_until(org, name, core.now),
    }
}
