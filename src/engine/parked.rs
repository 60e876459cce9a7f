//! Parked records: what a rotation yielded and a rule narrower than its runtime held. They stand outside the rotation
//! until the rule goes, so that a tick never looks at them.
//!
//! Derived and never written: after a restart they are in the rotation again, and parked anew at their turn.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::{GroupId, Turns};
use crate::model::{Name, RecordId};

/// What parked records wait for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HoldKey {
    /// The flow is undrained.
    Flow(Name),
    /// The org is undrained.
    Org(Name),
    /// The group has a place, for one that takes turns there.
    Group {
        /// Which.
        group: GroupId,
        /// Where it does.
        turns: Turns,
    },
    /// The row of the model it asks for is open.
    Model(Name),
}

/// Parked records by what they wait for, each in its order.
#[derive(Debug, Default)]
pub(super) struct Parked {
    waiting: BTreeMap<HoldKey, BTreeMap<u64, RecordId>>,
    /// Those whose rule is gone and who are not all back yet.
    freed: BTreeSet<HoldKey>,
}

impl Parked {
    pub(super) fn insert(&mut self, key: HoldKey, order: u64, id: RecordId) {
        self.waiting.entry(key).or_default().insert(order, id);
    }

    pub(super) fn remove(&mut self, key: &HoldKey, order: u64) {
        let Some(places) = self.waiting.get_mut(key) else { return };
        places.remove(&order);
        if places.is_empty() {
            self.waiting.remove(key);
            self.freed.remove(key);
        }
    }

    /// The rows of models that records wait for.
    pub(super) fn models(&self) -> impl Iterator<Item = &Name> {
        self.waiting.range(HoldKey::Model(Name::default())..).map_while(|(key, _)| match key {
            HoldKey::Model(row) => Some(row),
            HoldKey::Flow(_) | HoldKey::Org(_) | HoldKey::Group { .. } => None,
        })
    }

    /// The rule is gone: what waits for it goes back.
    pub(super) fn free(&mut self, key: HoldKey) {
        if self.waiting.contains_key(&key) {
            self.freed.insert(key);
        }
    }

    /// The rule is there again.
    pub(super) fn hold(&mut self, key: &HoldKey) {
        self.freed.remove(key);
    }

    /// The first in order that waits for `key`, with its order.
    pub(super) fn first(&self, key: &HoldKey) -> Option<(u64, RecordId)> {
        self.waiting.get(key)?.first_key_value().map(|(order, id)| (*order, *id))
    }

    /// What the parked records of a group wait for, rotation by rotation.
    pub(super) fn of_group(&self, group: &GroupId) -> Vec<HoldKey> {
        let from =
            HoldKey::Group { group: group.clone(), turns: Turns { runtime: Name::default(), pull: None } };
        let same = |key: &&HoldKey| matches!(key, HoldKey::Group { group: of, .. } if of == group);
        self.waiting.range(from..).map(|(key, _)| key).take_while(same).cloned().collect()
    }

    /// One that goes back: the first in order of a rule that is gone. It stays here until it is removed.
    pub(super) fn next_freed(&self) -> Option<RecordId> {
        self.first(self.freed.first()?).map(|(_, id)| id)
    }
}
