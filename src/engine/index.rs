//! The indexes: by id, deadline, queue place, runtime and state. All of it is derived from the live records, rebuilt
//! by one scan at open and never written.

mod entries;
mod entry;
mod lane;
mod places;

pub(super) use entries::Seat;
pub(super) use entry::{Entry, Kept};
pub(super) use lane::{Diverted, Lane};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::entries::Entries;
use self::entry::Homes;
use super::answer::Counts;
use super::envs::Envs;
use super::groups::{Groups, Member};
use super::hold::Narrow;
use super::letters::Letters;
use super::parked::Parked;
use super::queues::Queues;
use super::settings::{Settings, Shard};
use crate::model::{Lane as Queue, Name, Record, RecordId, StateName, Time};

/// The runtimes whose models have windows of their own.
fn by_model(settings: &Settings) -> BTreeSet<Name> {
    let by_model = settings.pacing.iter().filter(|(_, pacing)| pacing.by_model);
    by_model.map(|(name, _)| name.clone()).collect()
}

/// Everything derived.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Entries,
    /// How many of them hold a record that waits as itself.
    decoded: usize,
    /// As many are to.
    decoded_max: usize,
    homes: Homes,
    deadlines: BTreeSet<(Time, RecordId)>,
    lanes: BTreeMap<Name, Lane>,
    pub(super) queues: Queues,
    parked: Parked,
    groups: Groups,
    counts: Counts,
    envs: Envs,
    letters: Letters,
    order_max: u64,
    shard: Shard,
    /// Runtimes whose models have windows of their own.
    by_model: BTreeSet<Name>,
}

impl Index {
    /// Of no record.
    pub(super) fn new(settings: &Settings) -> Index {
        Index {
            by_model: by_model(settings),
            shard: settings.shard,
            decoded_max: settings.decoded_max,
            ..Index::default()
        }
    }

    /// No new place is one of these.
    pub(super) fn orders_taken(&mut self, upto: u64) {
        self.order_max = self.order_max.max(upto);
    }

    /// Goes on with other settings: what waits for a window of a runtime whose models have windows of their own now, or
    /// have none any more, waits for the one it would be limited by.
    pub(super) fn reload(&mut self, settings: &Settings) {
        self.decoded_max = settings.decoded_max;
        let after = by_model(settings);
        let before = std::mem::replace(&mut self.by_model, after.clone());
        for runtime in before.symmetric_difference(&after) {
            let Some(lane) = self.lanes.get_mut(runtime) else { continue };
            for id in std::mem::take(&mut lane.limited).into_values().flatten() {
                let model =
                    self.entries.seat(id).and_then(|seat| self.entries.get(seat)?.home.model.as_ref());
                let window = model.filter(|_| after.contains(runtime)).unwrap_or(runtime);
                lane.limited.entry(window.clone()).or_default().insert(id);
            }
        }
    }

    /// The row of the window that what runs there, and asks for the model of that row, is limited by.
    pub(super) fn window<'a>(&self, runtime: &'a Name, model: Option<&'a Name>) -> &'a Name {
        model.filter(|_| self.by_model.contains(runtime)).unwrap_or(runtime)
    }

    /// Makes the indexes say what `record` says, of which they know in `seat`, if they do; a finished record leaves them.
    /// Answers where they know of it from now on.
    pub(super) fn set(&mut self, seat: Option<Seat>, record: &Record) -> Option<Seat> {
        let left = seat.and_then(|seat| self.lift(seat, record.id));
        if !matches!(record.state.name(), StateName::Queued | StateName::Active | StateName::Draining)
            && let Some(lane) = self.lanes.get_mut(&record.runtime)
        {
            lane.unreleased(record.queue.as_ref(), record.id);
        }
        let member = Member::of(record);
        let was = left.as_ref().and_then(|left| left.member.as_ref());
        let changed = member.as_ref().or(was).map(|member| member.key.clone());
        let seat = if record.state.finished_at().is_none() {
            let entry = match left {
                // Its place in memory is used again.
                Some(mut left) => {
                    let Entry { home, kept, .. } = *left;
                    *left = Entry::of(record, member, home, kept);
                    left
                }
                None => Box::new(Entry::of(record, member, self.homes.of(record), Kept::Row(Box::default()))),
            };
            let seat = seat.unwrap_or_else(|| self.entries.enter(record.id));
            self.set_down(seat, record, entry);
            Some(seat)
        } else {
            if let Some(left) = left {
                self.entries.leave(record.id);
                self.homes.leave(&left.home);
                self.decoded -= usize::from(left.kept.is_extra());
            }
            None
        };
        if let Some(group) = changed {
            self.wake(&group);
        }
        seat
    }

    /// Takes in a live record that was found in this row and is not there yet.
    pub(super) fn found(&mut self, record: &Arc<Record>, row: &[u8]) {
        let (member, home) = (Member::of(record), self.homes.of(record));
        let group = member.as_ref().map(|member| member.key.clone());
        let seat = self.entries.enter(record.id);
        self.set_down(seat, record, Box::new(Entry::of(record, member, home, Kept::Row(Box::default()))));
        self.keep(seat, record, row);
        if let Some(group) = group {
            self.wake(&group);
        }
    }

    /// Keeps a live record as it is committed, in this row.
    pub(super) fn keep(&mut self, seat: Seat, record: &Arc<Record>, row: &[u8]) {
        let Some(entry) = self.entries.get_mut(seat) else { return };
        self.decoded -= usize::from(entry.kept.is_extra());
        // What is queued is soon read again, unless much is.
        let is_extra = record.state.lane().is_some() && self.decoded < self.decoded_max;
        let is_decoded = record.state.outstanding() || is_extra;
        entry.kept = if is_decoded { Kept::Record(Arc::clone(record)) } else { Kept::Row(row.into()) };
        self.decoded += usize::from(is_extra);
    }

    /// Puts an entry, which stands nowhere, where it says.
    fn set_down(&mut self, seat: Seat, record: &Record, mut entry: Box<Entry>) {
        if let Some((key, at)) = entry.group() {
            self.letters.insert(key, (at, record.id));
        }
        self.order_max = self.order_max.max(record.order);
        *self.counts.entry(entry.state).or_default() += 1;
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, record.id));
        }
        match entry.state {
            StateName::Active | StateName::Draining => {
                self.lane_mut(&entry.home.runtime).outstanding.insert(record.id);
            }
            StateName::RateLimited => {
                let window = self.window(&entry.home.runtime, entry.home.model.as_ref()).clone();
                let limited = &mut self.lane_mut(&entry.home.runtime).limited;
                limited.entry(window).or_default().insert(record.id);
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
        self.place(record.id, &mut entry);
        self.entries.put(seat, entry);
    }

    /// Takes an entry from everywhere it stands; its seat stays.
    fn lift(&mut self, seat: Seat, id: RecordId) -> Option<Box<Entry>> {
        debug_assert_eq!(self.entries.seat(id), Some(seat), "{id} sits elsewhere");
        let mut entry = self.entries.take(seat)?;
        self.displace(&mut entry);
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
        match entry.state {
            StateName::Active | StateName::Draining => {
                if let Some(lane) = self.lanes.get_mut(&entry.home.runtime) {
                    lane.outstanding.remove(&id);
                }
            }
            StateName::RateLimited => {
                let window = self.window(&entry.home.runtime, entry.home.model.as_ref()).clone();
                let lane = self.lane_mut(&entry.home.runtime);
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
        Some(entry)
    }

    /// The share of one runtime, which has one from now on.
    fn lane_mut(&mut self, runtime: &Name) -> &mut Lane {
        self.lanes.entry(runtime.clone()).or_default()
    }

    /// A new place at the end of the queue. No other shard gives it to a record: the two may be in one store some day.
    pub(super) fn next_order(&mut self) -> u64 {
        let Shard { number, count } = self.shard;
        let (number, count) = (u64::from(number), u64::from(count.max(1)));
        let next = self.order_max + 1;
        self.order_max = next + (number + count - next % count) % count;
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
        let lane = self.lanes.get(&entry.home.runtime)?;
        let rotation = match (entry.queue?, &entry.home.pull) {
            (Queue::Ready, Some(pull)) => return self.queues.place(pull, entry, max),
            (Queue::Ready, None) => &lane.queue,
            (Queue::Burst, pull) => &lane.burst.get(pull)?.waiting,
        };
        Some(rotation.place(entry.home.org(), entry.home.env(), entry.order, max))
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
        self.entries.get(self.entries.seat(id)?)
    }

    /// Where a live record is known.
    pub(super) fn seat(&self, id: RecordId) -> Option<Seat> {
        self.entries.seat(id)
    }

    /// A live record, as it was committed last.
    pub(super) fn kept(&self, seat: Seat) -> Option<&Kept> {
        self.entries.get(seat).map(|entry| &entry.kept)
    }

    /// How many are queued in an env, in both lanes.
    pub(super) fn queued(&self, org: &Name, env: &Name) -> u64 {
        self.envs.queued(org, env)
    }

    /// Live records up to and without `before`, newest first.
    pub(super) fn newest(&self, low: RecordId, before: RecordId) -> impl Iterator<Item = (RecordId, &Entry)> {
        self.entries.range(low, before).rev()
    }

    /// Live ids from `low` to `high`, both included.
    pub(super) fn ids(&self, low: RecordId, high: RecordId) -> impl Iterator<Item = RecordId> {
        self.entries.ids(low, high)
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
        self.outstanding().filter(|id| self.entry(*id).is_none_or(|entry| entry.home.pull.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;
    use crate::model::{Action, Event, Policy, Submission, Work};

    #[test]
    fn as_many_queued_records_are_held_decoded_as_may_be_and_all_that_are_outstanding() {
        let mut index = Index::new(&Settings { decoded_max: 2, ..Settings::default() });
        let work = || Work::of(Action::Agent { prompt: "p".to_owned(), cwd: None });
        let admitted = |n: u64| {
            let submission = Submission::of(RecordId::session(n.into()), "r".into(), work());
            Arc::new(machine::admit(submission, n, Time::ZERO, &Policy::default()).0)
        };
        let event = |record: &Record, event: &Event| {
            Arc::new(machine::step(record, event, Time::ZERO, &Policy::default()).unwrap().record)
        };
        let mut keep = |seat, record: &Arc<Record>| {
            let seat = index.set(seat, record);
            if let Some(seat) = seat {
                index.keep(seat, record, b"row");
            }
            let held = |seat: Seat| matches!(index.kept(seat), Some(Kept::Record(_)));
            (seat, seat.is_some_and(held), index.decoded)
        };
        let queued: Vec<_> = (1..=3).map(admitted).collect();
        let (one, decoded, count) = keep(None, &queued[0]);
        assert_eq!((decoded, count), (true, 1));
        let (two, decoded, count) = keep(None, &queued[1]);
        assert_eq!((decoded, count), (true, 2));
        let (three, decoded, count) = keep(None, &queued[2]);
        assert_eq!((decoded, count), (false, 2), "as its row");
        let started = event(&queued[2], &Event::Dispatch);
        assert_eq!(keep(three, &started), (three, true, 2), "outstanding");
        let started = event(&queued[0], &Event::Dispatch);
        assert_eq!(keep(one, &started), (one, true, 1), "its place is another's");
        let cancelled = event(&queued[1], &Event::Command(crate::model::Command::Cancel));
        assert_eq!(keep(two, &cancelled), (None, false, 0), "finished");
    }
}
