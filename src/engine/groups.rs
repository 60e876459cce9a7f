//! Concurrency groups: records that share a bound on outstanding attempts, by flow and name.
//!
//! Owns: who of a group is alive, waits, stands in a rotation or is outstanding, and whom a newer one supersedes.
//! Derived like every index. The bound is that of the newest member, so an edited flow counts for what waits already.
//!
//! A record that stands in a rotation has a place of the group for sure; the others of that rotation are
//! parked behind it ([`super::parked`]). So nothing in a rotation waits for its group while its runtime goes on, and a
//! member that is held elsewhere keeps no place from the others once its turn has come, and none while it waits for a
//! deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::Core;
use super::draft::{Draft, Fail};
use super::index::Entry;
use super::settings::SUPERSEDED_PER_REQUEST_MAX;
use crate::model::{Event, Name, Record, RecordId, StateName};

/// Which group: names are a flow's own, and those of sessions nobody's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId {
    pub(super) flow: Option<Name>,
    pub(super) name: Name,
}

/// Where records take turns: a runtime's own rotation, or its part of a queue of workers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turns {
    pub(super) runtime: Name,
    pub(super) pull: Option<Name>,
}

/// A record's part in its group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) key: GroupId,
    max: u32,
    /// It never started.
    fresh: bool,
}

impl Member {
    /// What `record` is in its group, if it has one.
    pub(super) fn of(record: &Record) -> Option<Box<Member>> {
        let group = record.group.as_ref()?;
        let key = GroupId { flow: record.flow.clone(), name: group.name.clone() };
        Some(Box::new(Member { key, max: group.max, fresh: record.attempt == 0 }))
    }
}

/// One group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Neither finished nor dead-lettered, in order, each with its bound.
    live: BTreeMap<u64, (RecordId, u32)>,
    /// Queued and never started, in order.
    waiting: BTreeMap<u64, RecordId>,
    /// With an outstanding attempt.
    pub(super) outstanding: BTreeSet<RecordId>,
    /// Who stands in each rotation, in order.
    standing: BTreeMap<Turns, BTreeMap<u64, RecordId>>,
}

impl Group {
    /// As many may be outstanding.
    pub(super) fn max(&self) -> u32 {
        self.live.last_key_value().map_or(0, |(_, (_, max))| *max)
    }

    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.outstanding.is_empty() && self.standing.is_empty()
    }

    /// How many more could start than are outstanding.
    pub(super) fn places(&self) -> usize {
        (self.max() as usize).saturating_sub(self.outstanding.len())
    }
}

/// Every group that has a live record.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<GroupId, Group>);

impl Groups {
    pub(super) fn get(&self, key: &GroupId) -> Option<&Group> {
        self.0.get(key)
    }

    /// Takes a record in as what it is now; where it stands is told by [`Groups::stands`].
    pub(super) fn insert(&mut self, id: RecordId, entry: &Entry) {
        let Some(member) = &entry.member else { return };
        if entry.state == StateName::DeadLettered {
            return;
        }
        let group = self.0.entry(member.key.clone()).or_default();
        group.live.insert(entry.order, (id, member.max));
        if entry.state == StateName::Queued && member.fresh {
            group.waiting.insert(entry.order, id);
        }
        if entry.outstanding() {
            group.outstanding.insert(id);
        }
    }

    pub(super) fn remove(&mut self, id: RecordId, entry: &Entry) {
        let Some(member) = &entry.member else { return };
        let Some(group) = self.0.get_mut(&member.key) else { return };
        group.live.remove(&entry.order);
        group.waiting.remove(&entry.order);
        group.outstanding.remove(&id);
        if group.is_empty() {
            self.0.remove(&member.key);
        }
    }

    /// Whether one more of the group may stand there.
    pub(super) fn room(&self, key: &GroupId, turns: &Turns) -> bool {
        let standing = |group: &Group| group.standing.get(turns).map_or(0, BTreeMap::len);
        self.0.get(key).is_none_or(|group| standing(group) < group.places())
    }

    /// Who stands there and is to wait for one of a lower order.
    pub(super) fn behind(&self, key: &GroupId, turns: &Turns, order: u64) -> Option<RecordId> {
        let (last, id) = self.0.get(key)?.standing.get(turns)?.last_key_value()?;
        (*last > order).then_some(*id)
    }

    /// Whether one of that order has a place before somebody who stands there.
    pub(super) fn overtakes(&self, key: &GroupId, turns: &Turns, order: u64) -> bool {
        self.0.get(key).is_some_and(|group| group.places() > 0) && self.behind(key, turns, order).is_some()
    }

    /// A record stands in its rotation from now on.
    pub(super) fn stands(&mut self, id: RecordId, entry: &Entry) {
        let Some(member) = &entry.member else { return };
        let group = self.0.entry(member.key.clone()).or_default();
        group.standing.entry(entry.turns()).or_default().insert(entry.order, id);
    }

    /// And no longer does.
    pub(super) fn leaves(&mut self, entry: &Entry) {
        let Some(member) = &entry.member else { return };
        let Some(group) = self.0.get_mut(&member.key) else { return };
        if let Some(standing) = group.standing.get_mut(&entry.turns()) {
            standing.remove(&entry.order);
            if standing.is_empty() {
                group.standing.remove(&entry.turns());
            }
        }
        if group.is_empty() {
            self.0.remove(&member.key);
        }
    }
}

/// Cancels whom the records just admitted by one request supersede. They spare each other.
pub(super) fn supersede(draft: &mut Draft<'_>, admitted: &[Arc<Record>]) -> Result<(), Fail> {
    let mut left = SUPERSEDED_PER_REQUEST_MAX;
    for record in admitted {
        let gone = superseded(draft.core, record, admitted, left);
        left -= gone.len();
        for id in gone {
            draft.apply(id, &Event::Superseded { by: record.id })?;
        }
    }
    Ok(())
}

/// The oldest of the group: beyond its bound if a newer one is to replace them, else those beyond what may wait.
fn superseded(core: &Core, new: &Record, admitted: &[Arc<Record>], max: usize) -> Vec<RecordId> {
    // One that is recorded only, or cannot be carried out, takes nobody's place.
    let Some(member) = Member::of(new).filter(|_| new.state.lane().is_some()) else { return Vec::new() };
    let (Some(asked), Some(group)) = (&new.group, core.index.groups().get(&member.key)) else {
        return Vec::new();
    };
    if asked.cancel_in_progress {
        let beyond = group.live.len().saturating_sub(asked.max as usize).min(max);
        // One request admits in order, so what stands before its first is of earlier ones.
        let first = admitted.first().map_or(new.order, |first| first.order);
        return group.live.range(..first).map(|(_, (id, _))| *id).take(beyond).collect();
    }
    let Some(queued_max) = asked.queued_max else { return Vec::new() };
    let may_wait = group.places().saturating_add(queued_max as usize);
    let beyond = group.waiting.len().saturating_sub(may_wait).min(max);
    group.waiting.values().copied().take(beyond).collect()
}
