//! The dead letters: by age, and grouped by what they have in common. Part of the derived indexes, so it costs a read
//! nothing however many there are. No texts are kept: a group's sample is read from one of its records.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::request::Filter;
use crate::machine;
use crate::model::{Cause, Fingerprint, Name, Record, RecordId, State, Time};

/// What dead letters of one group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    pub(super) cause: Cause,
    pub(super) flow: Option<Name>,
    pub(super) runtime: Name,
    pub(super) fingerprint: Fingerprint,
}

/// What the indexes know of one dead letter, beside what they know of every record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    pub(super) at: Time,
    pub(super) cause: Cause,
    pub(super) fingerprint: Fingerprint,
    /// Whether the machine would redrive it.
    pub(super) redrivable: bool,
}

impl Letter {
    /// Of a record, if it is dead.
    pub(super) fn of(record: &Record) -> Option<Letter> {
        let State::DeadLettered { at, cause } = record.state else { return None };
        let fingerprint = Fingerprint::of(record.last_error.as_ref());
        Some(Letter { at, cause, fingerprint, redrivable: machine::redrivable(record) })
    }

    /// Whether the part of a filter that is about dead letters lets it through.
    pub(super) fn matches(&self, filter: &Filter) -> bool {
        filter.cause.is_none_or(|cause| cause == self.cause)
            && filter.fingerprint.is_none_or(|fingerprint| fingerprint == self.fingerprint)
    }
}

/// A place among the dead letters, by age.
pub(super) type Age = (Time, RecordId);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Letters {
    by_age: BTreeSet<Age>,
    groups: BTreeMap<GroupKey, BTreeSet<Age>>,
    /// The groups again, the largest first.
    ranking: BTreeSet<(Reverse<usize>, GroupKey)>,
}

impl Letters {
    pub(super) fn insert(&mut self, key: GroupKey, age: Age) {
        self.by_age.insert(age);
        self.regroup(key, |group| group.insert(age));
    }

    pub(super) fn remove(&mut self, key: GroupKey, age: Age) {
        self.by_age.remove(&age);
        self.regroup(key, |group| group.remove(&age));
    }

    fn regroup(&mut self, key: GroupKey, change: impl FnOnce(&mut BTreeSet<Age>) -> bool) {
        let mut group = self.groups.remove(&key).unwrap_or_default();
        self.ranking.remove(&(Reverse(group.len()), key.clone()));
        change(&mut group);
        if !group.is_empty() {
            self.ranking.insert((Reverse(group.len()), key.clone()));
            self.groups.insert(key, group);
        }
    }

    /// The groups with their members by age, the largest first.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&GroupKey, &BTreeSet<Age>)> {
        self.ranking.iter().filter_map(|(_, key)| self.groups.get_key_value(key))
    }

    /// Those that died by `until`, the longest dead first, from just after `cursor` on.
    pub(super) fn by_age(&self, cursor: Option<Age>, until: Time) -> impl Iterator<Item = Age> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = cursor.map_or(Unbounded, Excluded);
        self.by_age.range((from, Unbounded)).copied().take_while(move |(at, _)| *at <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(runtime: &str) -> GroupKey {
        let fingerprint = Fingerprint::of(None);
        GroupKey { cause: Cause::Lost, flow: None, runtime: runtime.into(), fingerprint }
    }

    fn age(n: u64) -> Age {
        (Time::from_millis(n), RecordId::session(u128::from(n)))
    }

    #[test]
    fn groups_come_by_size_and_an_empty_one_is_gone() {
        let mut letters = Letters::default();
        let shown = |letters: &Letters| -> Vec<(String, usize)> {
            letters.groups().map(|(key, group)| (key.runtime.to_string(), group.len())).collect()
        };
        letters.insert(key("a"), age(1));
        letters.insert(key("b"), age(2));
        letters.insert(key("b"), age(3));
        assert_eq!(shown(&letters), [("b".to_owned(), 2), ("a".to_owned(), 1)]);
        letters.remove(key("b"), age(2));
        letters.remove(key("b"), age(3));
        assert_eq!(shown(&letters), [("a".to_owned(), 1)]);
        assert_eq!(letters.by_age(None, Time::MAX).collect::<Vec<_>>(), [age(1)]);
    }

    #[test]
    fn ages_go_on_after_the_cursor_up_to_a_moment() {
        let mut letters = Letters::default();
        (1..=5).for_each(|n| letters.insert(key("a"), age(n)));
        let found: Vec<Age> = letters.by_age(Some(age(2)), Time::from_millis(4)).collect();
        assert_eq!(found, [age(3), age(4)]);
    }
}
