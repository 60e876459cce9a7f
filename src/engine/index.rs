//! The indexes: by id, deadline, queue place, runtime and state. All of it is derived from the live records, rebuilt
//! by one scan at open and never written.

mod lane;
mod places;

pub(super) use lane::{Diverted, Lane};

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Counts;
use super::envs::Envs;
use super::groups::{GroupId, Groups, Member, Turns};
use super::hold::Narrow;
use super::letters::{GroupKey, Letter, Letters};
use super::parked::{HoldKey, Parked};
use super::queues::Queues;
use super::settings::Settings;
use crate::model::{Lane as Queue, Name, Record, RecordId, Runtime, StateName, Time};

/// What the indexes know of one live record.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) org: Name,
    pub(super) env: Name,
    pub(super) flow: Option<Name>,
    pub(super) runtime: Name,
    /// The row of the model it asks for there.
    pub(super) model: Option<Name>,
    pub(super) state: StateName,
    /// Which of the two queues it stands in, if it is queued.
    pub(super) queue: Option<Queue>,
    /// Why it is parked outside that queue's rotation, if it is.
    parked: Option<Narrow>,
    /// The queue it is claimed from, if workers carry it out.
    pub(super) pull: Option<Name>,
    pub(super) order: u64,
    /// Its part in its group.
    pub(super) member: Option<Box<Member>>,
    deadline: Option<Time>,
    /// Boxed, because most records are alive.
    pub(super) letter: Option<Box<Letter>>,
}

impl Entry {
    /// Where a dead letter stands among the others.
    fn group(&self) -> Option<(GroupKey, Time)> {
        let letter = self.letter.as_ref()?;
        let (flow, runtime) = (self.flow.clone(), self.runtime.clone());
        let key = GroupKey { cause: letter.cause, flow, runtime, fingerprint: letter.fingerprint };
        Some((key, letter.at))
    }
}

impl Entry {
    /// Whether its attempt may finish and nothing new starts for it.
    pub(super) fn draining(&self) -> bool {
        self.state == StateName::Draining
    }

    /// Whether an attempt is outstanding.
    pub(super) const fn outstanding(&self) -> bool {
        matches!(self.state, StateName::Active | StateName::Draining)
    }

    /// The queue of workers it waits in, if it does.
    pub(super) fn waits_in(&self) -> Option<&Name> {
        self.pull.as_ref().filter(|_| self.queue.is_some())
    }

    /// Where it takes turns.
    pub(super) fn turns(&self) -> Turns {
        Turns { runtime: self.runtime.clone(), pull: self.pull.clone() }
    }

    /// What it waits for while it is parked for this.
    fn key(&self, narrow: Narrow) -> HoldKey {
        match narrow {
            Narrow::Flow => HoldKey::Flow(self.flow.clone().unwrap_or_default()),
            Narrow::Org => HoldKey::Org(self.org.clone()),
            Narrow::Model => HoldKey::Model(self.model.clone().unwrap_or_default()),
            Narrow::Group => {
                let group = self.member.as_ref().map(|member| member.key.clone());
                let none = || GroupId { flow: None, name: Name::default() };
                HoldKey::Group { group: group.unwrap_or_else(none), turns: self.turns() }
            }
        }
    }
}

/// The runtimes whose models have windows of their own.
fn by_model(settings: &Settings) -> BTreeSet<Name> {
    let by_model = settings.pacing.iter().filter(|(_, pacing)| pacing.by_model);
    by_model.map(|(name, _)| name.clone()).collect()
}

/// Everything derived.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<RecordId, Entry>,
    deadlines: BTreeSet<(Time, RecordId)>,
    lanes: BTreeMap<Name, Lane>,
    pub(super) queues: Queues,
    parked: Parked,
    groups: Groups,
    counts: Counts,
    envs: Envs,
    names: BTreeSet<Name>,
    letters: Letters,
    order_max: u64,
    /// Runtimes whose models have windows of their own.
    by_model: BTreeSet<Name>,
}

impl Index {
    /// Of no record.
    pub(super) fn new(settings: &Settings) -> Index {
        Index { by_model: by_model(settings), ..Index::default() }
    }

    /// Goes on with other settings: what waits for a window of a runtime whose models have windows of their own now, or
    /// have none any more, waits for the one it would be limited by.
    pub(super) fn reload(&mut self, settings: &Settings) {
        let after = by_model(settings);
        let before = std::mem::replace(&mut self.by_model, after.clone());
        for runtime in before.symmetric_difference(&after) {
            let Some(lane) = self.lanes.get_mut(runtime) else { continue };
            for id in std::mem::take(&mut lane.limited).into_values().flatten() {
                let model = self.entries.get(&id).and_then(|entry| entry.model.as_ref());
                let window = model.filter(|_| after.contains(runtime)).unwrap_or(runtime);
                lane.limited.entry(window.clone()).or_default().insert(id);
            }
        }
    }

    /// The row of the window that what runs there, and asks for the model of that row, is limited by.
    pub(super) fn window<'a>(&self, runtime: &'a Name, model: Option<&'a Name>) -> &'a Name {
        model.filter(|_| self.by_model.contains(runtime)).unwrap_or(runtime)
    }

    /// Makes the indexes say what `record` says; a finished record leaves them.
    pub(super) fn set(&mut self, record: &Record) {
        let left = self.remove(record.id);
        if !matches!(record.state.name(), StateName::Queued | StateName::Active | StateName::Draining)
            && let Some(lane) = self.lanes.get_mut(&record.runtime)
        {
            lane.with_burst(record.queue.as_ref(), |burst| {
                burst.released.remove(&record.id);
            });
        }
        let member = Member::of(record);
        let changed = member.as_ref().or(left.as_ref()).map(|member| member.key.clone());
        if record.state.finished_at().is_none() {
            self.insert(record, member);
        }
        if let Some(group) = changed {
            self.wake(&group);
        }
    }

    fn insert(&mut self, record: &Record, member: Option<Box<Member>>) {
        let entry = Entry {
            org: self.intern(&record.org),
            env: self.intern(&record.env),
            flow: record.flow.as_ref().map(|flow| self.intern(flow)),
            runtime: self.intern(&record.runtime),
            model: record.model.as_ref().map(|model| self.intern(&Runtime::of_model(&record.runtime, model))),
            state: record.state.name(),
            queue: record.state.lane(),
            parked: None,
            pull: record.queue.as_ref().map(|queue| self.intern(queue)),
            order: record.order,
            member,
            deadline: record.deadline(),
            letter: Letter::of(record).map(Box::new),
        };
        if let Some((key, at)) = entry.group() {
            self.letters.insert(key, (at, record.id));
        }
        self.order_max = self.order_max.max(record.order);
        *self.counts.entry(entry.state).or_default() += 1;
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, record.id));
        }
        let window = self.window(&entry.runtime, entry.model.as_ref()).clone();
        let lane = self.lanes.entry(entry.runtime.clone()).or_default();
        match entry.state {
            StateName::Active | StateName::Draining => {
                lane.outstanding.insert(record.id);
            }
            StateName::RateLimited => {
                lane.limited.entry(window).or_default().insert(record.id);
            }
            StateName::Queued
            | StateName::Backoff
            | StateName::DeadLettered
            | StateName::Completed
            | StateName::Cancelled => {}
        }
        self.groups.insert(record.id, &entry);
        self.envs.insert(&entry, record);
        self.queues.count(&entry);
        self.entries.insert(record.id, entry);
        self.place(record.id);
    }

    /// Answers what it was in its group.
    fn remove(&mut self, id: RecordId) -> Option<Box<Member>> {
        self.displace(id);
        let entry = self.entries.remove(&id)?;
        self.groups.remove(id, &entry);
        self.envs.remove(&entry);
        self.queues.discount(&entry);
        if let Some((key, at)) = entry.group() {
            self.letters.remove(key, (at, id));
        }
        if let Some(count) = self.counts.get_mut(&entry.state) {
            *count -= 1;
        }
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        let window = self.window(&entry.runtime, entry.model.as_ref()).clone();
        let lane = self.lanes.entry(entry.runtime).or_default();
        match entry.state {
            StateName::Active | StateName::Draining => {
                lane.outstanding.remove(&id);
            }
            StateName::RateLimited => {
                if let Some(waiting) = lane.limited.get_mut(&window) {
                    waiting.remove(&id);
                    if waiting.is_empty() {
                        lane.limited.remove(&window);
                    }
                }
            }
            StateName::Queued
            | StateName::Backoff
            | StateName::DeadLettered
            | StateName::Completed
            | StateName::Cancelled => {}
        }
        entry.member
    }

    /// One shared copy of each name, however many records bear it.
    fn intern(&mut self, name: &Name) -> Name {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        self.names.insert(name.clone());
        name.clone()
    }

    /// A new place at the end of the queue.
    pub(super) fn next_order(&mut self) -> u64 {
        self.order_max += 1;
        self.order_max
    }

    /// The earliest deadline.
    pub(super) fn first_deadline(&self) -> Option<(Time, RecordId)> {
        self.deadlines.first().copied()
    }

    /// The share of one runtime.
    pub(super) fn lane(&self, runtime: &Name) -> Option<&Lane> {
        self.lanes.get(runtime)
    }

    /// The share of every runtime that has or had records.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (&Name, &Lane)> {
        self.lanes.iter()
    }

    /// Where a queued record stands, or would: how many of its env go before it, counted up to `max`, and how many orgs
    /// take turns there.
    pub(super) fn standing(&self, entry: &Entry, max: usize) -> Option<(usize, usize)> {
        let lane = self.lanes.get(&entry.runtime)?;
        let rotation = match (entry.queue?, &entry.pull) {
            (Queue::Ready, Some(pull)) => return self.queues.place(pull, entry, max),
            (Queue::Ready, None) => &lane.queue,
            (Queue::Burst, pull) => &lane.burst.get(pull)?.waiting,
        };
        Some(rotation.place(&entry.org, &entry.env, entry.order, max))
    }

    /// The record of `runtime` whose turn it is.
    pub(super) fn peek(&self, runtime: &Name) -> Option<RecordId> {
        self.lanes.get(runtime)?.queue.peek()
    }

    /// Takes the record of `runtime` whose turn it is out of its queue; [`Index::set`] puts it where it then belongs.
    pub(super) fn take(&mut self, runtime: &Name, settings: &Settings) -> Option<RecordId> {
        self.lanes.get_mut(runtime)?.queue.take(|org| settings.org(org).weight)
    }

    /// As [`Index::take`], of those that wait to be claimed from `queue`.
    pub(super) fn take_claimable(
        &mut self,
        queue: &Name,
        runtime: &Name,
        settings: &Settings,
    ) -> Option<RecordId> {
        self.queues.take(queue, runtime, |org| settings.org(org).weight)
    }

    /// Takes the burst records of `runtime` that this tick releases; [`Index::set`] puts them where they then belong.
    pub(super) fn drain(&mut self, runtime: &Name, settings: &Settings) -> Vec<RecordId> {
        let Some(lane) = self.lanes.get_mut(runtime) else { return Vec::new() };
        lane.burst.values_mut().flat_map(|burst| burst.drain(settings)).collect()
    }

    /// A live record.
    pub(super) fn entry(&self, id: RecordId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// How many are queued in an env, in both lanes.
    pub(super) fn queued(&self, org: &Name, env: &Name) -> u64 {
        self.envs.queued(org, env)
    }

    /// Live records up to and without `before`, newest first.
    pub(super) fn newest(&self, low: RecordId, before: RecordId) -> impl Iterator<Item = (RecordId, &Entry)> {
        self.entries.range(low..before.max(low)).rev().map(|(id, entry)| (*id, entry))
    }

    /// Live ids from `low` to `high`, both included.
    pub(super) fn ids(&self, low: RecordId, high: RecordId) -> impl Iterator<Item = RecordId> {
        self.entries.range(low..=high.max(low)).map(|(id, _)| *id)
    }

    /// The dead letters.
    pub(super) const fn letters(&self) -> &Letters {
        &self.letters
    }

    /// What stands in each env.
    pub(super) const fn envs(&self) -> &Envs {
        &self.envs
    }

    /// Every concurrency group.
    pub(super) const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Live records by state.
    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Records with an outstanding attempt.
    pub(super) fn outstanding(&self) -> impl Iterator<Item = RecordId> {
        self.lanes.values().flat_map(|lane| lane.outstanding.iter().copied())
    }

    /// Those of them whose process is dwell's own; a worker's outlives dwell.
    pub(super) fn own(&self) -> impl Iterator<Item = RecordId> {
        self.outstanding().filter(|id| self.entry(*id).is_none_or(|entry| entry.pull.is_none()))
    }
}
