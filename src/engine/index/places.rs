//! Where a queued record stands: in a rotation of its runtime or of a queue of workers, or parked outside it.

use super::{Entry, Index, Narrow};
use crate::engine::groups::GroupId;
use crate::engine::parked::HoldKey;
use crate::model::{Lane, Name, RecordId};

impl Index {
    /// Puts a queued record that stands nowhere into its rotation, or behind the others of its group.
    pub(super) fn place(&mut self, id: RecordId, entry: &mut Entry) {
        let Some(queue) = entry.queue else { return };
        // The group counts once the burst gate has had its say.
        if let Some(member) = entry.member.as_ref().filter(|_| queue == Lane::Ready) {
            let turns = entry.turns();
            let parked = HoldKey::Group { group: member.key.clone(), turns: turns.clone() };
            if self.parked.first(&parked).is_some_and(|(first, _)| first < entry.order) {
                // The place that this one gave back is theirs first; `wake` follows.
                return self.set_aside(id, entry, Narrow::Group);
            }
            if !self.groups.room(&member.key, &turns) {
                match self.groups.behind(&member.key, &turns, entry.order) {
                    // The lower order goes first, also when it comes back from a wait.
                    Some(behind) => self.with(behind, |index, behind, entry| {
                        index.displace(entry);
                        index.set_aside(behind, entry, Narrow::Group);
                    }),
                    None => return self.set_aside(id, entry, Narrow::Group),
                }
            }
            self.groups.stands(id, entry);
        }
        let lane = self.lanes.entry(entry.home.runtime.clone()).or_default();
        match (queue, &entry.home.pull) {
            (Lane::Ready, Some(pull)) => {
                self.queues.insert(pull, entry, id);
                lane.claimable += 1;
            }
            (Lane::Ready, None) => lane.queue.insert(entry.home.org(), entry.home.env(), entry.order, id),
            (Lane::Burst, pull) => lane.with_burst(pull.as_ref(), |burst| {
                burst.waiting.insert(entry.home.org(), entry.home.env(), entry.order, id);
            }),
        }
    }

    /// Parks a record that stands nowhere.
    fn set_aside(&mut self, id: RecordId, entry: &mut Entry, narrow: Narrow) {
        entry.parked = Some(narrow);
        let lane = self.lane_mut(&entry.home.runtime);
        lane.unreleased(entry.home.pull.as_ref(), id);
        lane.parked += 1;
        self.envs.park(entry, true);
        self.parked.insert(entry.key(narrow), entry.order, id);
    }

    /// Takes a queued record out of where it stands, at no cost to its org.
    pub(super) fn displace(&mut self, entry: &mut Entry) {
        let Some(queue) = entry.queue else { return };
        let lane = self.lanes.entry(entry.home.runtime.clone()).or_default();
        if let Some(narrow) = entry.parked.take() {
            lane.parked -= 1;
            self.envs.park(entry, false);
            self.parked.remove(&entry.key(narrow), entry.order);
            return;
        }
        match (queue, &entry.home.pull) {
            (Lane::Ready, Some(pull)) => {
                self.queues.remove(pull, entry);
                lane.claimable -= 1;
            }
            (Lane::Ready, None) => lane.queue.remove(entry.home.org(), entry.home.env(), entry.order),
            (Lane::Burst, pull) => lane.with_burst(pull.as_ref(), |burst| {
                burst.waiting.remove(entry.home.org(), entry.home.env(), entry.order);
            }),
        }
        if queue == Lane::Ready {
            self.groups.leaves(entry);
        }
    }

    /// Changes where a live record stands.
    fn with(&mut self, id: RecordId, change: impl FnOnce(&mut Index, RecordId, &mut Entry)) {
        let Some(seat) = self.entries.seat(id) else { return };
        if let Some(mut entry) = self.entries.take(seat) {
            change(self, id, &mut entry);
            self.entries.put(seat, entry);
        }
    }

    /// Puts a record into its place anew.
    fn put_back(&mut self, id: RecordId) {
        self.with(id, |index, id, entry| {
            index.displace(entry);
            index.place(id, entry);
        });
    }

    /// Takes a record that stands in a rotation out of it, until what it waits for is there: [`Index::free`], or a
    /// place in its group. What the burst drainer released counts as ordinary work from then on.
    pub(in crate::engine) fn park(&mut self, id: RecordId, narrow: Narrow) {
        self.with(id, |index, id, entry| {
            index.displace(entry);
            index.set_aside(id, entry, narrow);
        });
        if let Some(group) = self.entry(id).and_then(|entry| Some(entry.member.as_ref()?.key.clone())) {
            self.wake(&group);
        }
    }

    /// What is parked under `key` waits for nothing any more.
    pub(in crate::engine) fn free(&mut self, key: HoldKey) {
        self.parked.free(key);
    }

    /// What is parked under `key` stays there.
    pub(in crate::engine) fn hold(&mut self, key: &HoldKey) {
        self.parked.hold(key);
    }

    /// The rows of models that parked records wait for.
    pub(in crate::engine) fn parked_models(&self) -> impl Iterator<Item = &Name> {
        self.parked.models()
    }

    /// Puts up to `max` freed records back into their place, lowest order first; answers whether there are more.
    pub(in crate::engine) fn unpark(&mut self, max: usize) -> bool {
        for _ in 0..max {
            let Some(id) = self.parked.next_freed() else { return false };
            self.put_back(id);
        }
        self.parked.next_freed().is_some()
    }

    /// Puts as many of a group back into their rotations as it has places, lowest order first; one that was parked while
    /// it had none may come before those that still stand there.
    pub(super) fn wake(&mut self, group: &GroupId) {
        for key in self.parked.of_group(group) {
            let HoldKey::Group { turns, .. } = &key else { continue };
            while let Some((order, id)) = self.parked.first(&key)
                && (self.groups.room(group, turns) || self.groups.overtakes(group, turns, order))
            {
                self.put_back(id);
            }
        }
    }
}
