//! Fair rotation: orgs take turns, the envs of an org take turns, and within an env the lowest order key goes first.
//!
//! The turn is remembered by key, not by position, so orgs that come and go cannot make it jump.

use std::collections::BTreeMap;

use crate::model::{Name, RecordId};

/// Waiting records in fair order. Insert, remove and take are logarithmic in orgs, envs and records.
#[derive(Debug, Default)]
pub struct Rotation {
    orgs: Ring<Ring<BTreeMap<u64, RecordId>>>,
    len: u64,
}

impl Rotation {
    /// How many wait.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a record at its place.
    pub fn insert(&mut self, org: &Name, env: &Name, order: u64, id: RecordId) {
        let place = self.orgs.entry(org).entry(env);
        if place.insert(order, id).is_none() {
            self.len += 1;
        }
    }

    /// Takes a record out; nothing happens if it is not there.
    pub fn remove(&mut self, org: &Name, env: &Name, order: u64) {
        let Some(envs) = self.orgs.members.get_mut(org) else { return };
        let Some(place) = envs.members.get_mut(env) else { return };
        if place.remove(&order).is_some() {
            self.len -= 1;
        }
        if place.is_empty() {
            envs.members.remove(env);
        }
        if envs.members.is_empty() {
            self.orgs.members.remove(org);
        }
    }

    /// Takes the record whose turn it is.
    pub fn take(&mut self) -> Option<RecordId> {
        let org = self.orgs.turn()?;
        let envs = self.orgs.members.get_mut(&org)?;
        let env = envs.turn()?;
        let (&order, &id) = envs.members.get(&env)?.first_key_value()?;
        self.remove(&org, &env, order);
        Some(id)
    }
}

/// Members by name, and whose turn it was last.
#[derive(Debug)]
struct Ring<T> {
    members: BTreeMap<Name, T>,
    last: Option<Name>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Ring { members: BTreeMap::new(), last: None }
    }
}

impl<T: Default> Ring<T> {
    fn entry(&mut self, name: &Name) -> &mut T {
        self.members.entry(name.clone()).or_default()
    }

    /// The next member after the last one served, by key, around the ring.
    fn turn(&mut self) -> Option<Name> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.last.clone().and_then(|last| {
            let mut later = self.members.range::<Name, _>((Excluded(last), Unbounded));
            later.next().map(|(name, _)| name.clone())
        });
        self.last = after.or_else(|| self.members.keys().next().cloned());
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(counts: &[(&str, &str, u64)]) -> Rotation {
        let mut rotation = Rotation::default();
        let mut order = 0;
        for (org, env, count) in counts {
            for _ in 0..*count {
                order += 1;
                rotation.insert(&(*org).into(), &(*env).into(), order, RecordId::session(u128::from(order)));
            }
        }
        rotation
    }

    fn take(rotation: &mut Rotation, count: usize) -> Vec<u128> {
        std::iter::from_fn(|| rotation.take()).take(count).map(|id| id.ulid).collect()
    }

    #[test]
    fn orgs_take_turns_and_an_env_keeps_its_order() {
        let mut rotation = filled(&[("a", "e", 3), ("b", "e", 2)]);
        assert_eq!(take(&mut rotation, 9), [1, 4, 2, 5, 3]);
        assert!(rotation.is_empty());
    }

    #[test]
    fn envs_of_an_org_take_turns_within_its_turns() {
        let mut rotation = filled(&[("a", "x", 2), ("a", "y", 2), ("b", "e", 2)]);
        assert_eq!(take(&mut rotation, 9), [1, 5, 3, 6, 2, 4]);
    }

    #[test]
    fn an_org_that_comes_or_goes_does_not_move_the_turn() {
        let mut rotation = filled(&[("a", "e", 2), ("c", "e", 2)]);
        assert_eq!(take(&mut rotation, 1), [1]);
        rotation.insert(&"b".into(), &"e".into(), 9, RecordId::session(9));
        assert_eq!(take(&mut rotation, 1), [9], "b stands between a and c");
        rotation.remove(&"c".into(), &"e".into(), 3);
        assert_eq!(take(&mut rotation, 9), [4, 2]);
    }

    #[test]
    fn a_light_org_is_served_within_one_round() {
        let mut rotation = filled(&[("h1", "e", 100), ("h2", "e", 100), ("h3", "e", 100), ("light", "e", 1)]);
        assert!(take(&mut rotation, 4).contains(&301));
    }
}
