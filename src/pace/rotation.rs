//! Fair rotation: orgs take turns, the envs of an org take turns, and within an env the lowest order key goes first.
//!
//! The turn is remembered by key, not by position: the next turn belongs to the first org after the last one served, so
//! orgs that come and go cannot make it jump, and between two turns of one org every other has at most one. An org of
//! weight `w` is served `w` times where another is served once.
//!
//! [`Rotation::take`] serves one record at a time, [`Rotation::slice`] the next few orgs at once. Going on after the
//! last org served says who is in a slice, and is fairest so: a light org waits at most orgs / slice. But it would pin
//! each of 8 orgs to one slot of a slice of 4 for ever. So the order within a slice, and only that, moves by one each
//! round; who is in it does not. Starting each slice one org after the start of the one before would move the slots as
//! well, but serves neighbours several times before the others once.

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

    /// How many of its env go before a record, counted up to `max`, and how many orgs take turns.
    pub fn place(&self, org: &Name, env: &Name, order: u64, max: usize) -> (usize, usize) {
        let env = self.orgs.members.get(org).and_then(|envs| envs.members.get(env));
        (env.map_or(0, |places| places.range(..order).take(max).count()), self.orgs.members.len())
    }

    /// Whose turn it is. Whoever is taken out by [`Rotation::remove`] instead of served costs its org no turn.
    pub fn peek(&self) -> Option<RecordId> {
        let envs = self.orgs.members.get(self.orgs.peek()?)?;
        let place = envs.members.get(envs.peek()?)?;
        place.first_key_value().map(|(_, id)| *id)
    }

    /// Takes the record whose turn it is. `weight` says how many turns a round an org has; 0 counts as 1.
    pub fn take(&mut self, weight: impl Fn(&Name) -> u32) -> Option<RecordId> {
        let org = self.orgs.turn(weight)?;
        self.take_of(&org, 1).pop()
    }

    /// The next orgs in rotation, each once, at most `max`. It is their turn: each must be served.
    pub fn slice(&mut self, max: usize) -> Vec<Name> {
        self.orgs.left = 0;
        let count = max.min(self.orgs.members.len());
        let turns = std::iter::repeat_with(|| self.orgs.turn(|_| 1));
        let mut orgs: Vec<Name> = turns.take(count).flatten().collect();
        orgs.rotate_left(self.orgs.round.checked_rem(count).unwrap_or(0));
        orgs
    }

    /// Takes up to `max` records of the env whose turn it is among the envs of `org`.
    pub fn take_of(&mut self, org: &Name, max: usize) -> Vec<RecordId> {
        let Some(envs) = self.orgs.members.get_mut(org) else { return Vec::new() };
        let Some(env) = envs.turn(|_| 1) else { return Vec::new() };
        let Some(place) = envs.members.get_mut(&env) else { return Vec::new() };
        let first = std::iter::from_fn(|| place.pop_first());
        let taken: Vec<RecordId> = first.take(max).map(|(_, id)| id).collect();
        self.len -= taken.len() as u64;
        if place.is_empty() {
            envs.members.remove(&env);
        }
        if envs.members.is_empty() {
            self.orgs.members.remove(org);
        }
        taken
    }
}

/// Members by name, and whose turn it was last.
#[derive(Debug)]
struct Ring<T> {
    members: BTreeMap<Name, T>,
    last: Option<Name>,
    /// Turns the last one still has before the next member's.
    left: u32,
    /// How often the turn came round to the first member.
    round: usize,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Ring { members: BTreeMap::new(), last: None, left: 0, round: 0 }
    }
}

impl<T: Default> Ring<T> {
    fn entry(&mut self, name: &Name) -> &mut T {
        self.members.entry(name.clone()).or_default()
    }

    /// The last one served, if it has turns left.
    fn again(&self) -> Option<&Name> {
        self.last.as_ref().filter(|last| self.left > 0 && self.members.contains_key(*last))
    }

    /// The next member by key after the last one served.
    fn after(&self) -> Option<&Name> {
        use std::ops::Bound::{Excluded, Unbounded};
        let last = self.last.as_ref()?;
        self.members.range::<Name, _>((Excluded(last), Unbounded)).next().map(|(name, _)| name)
    }

    /// Whose turn it is: the last one served while it has turns left, else the next member by key, around the ring.
    fn peek(&self) -> Option<&Name> {
        self.again().or_else(|| self.after()).or_else(|| self.members.keys().next())
    }

    /// As [`Ring::peek`], and it is served.
    fn turn(&mut self, weight: impl Fn(&Name) -> u32) -> Option<Name> {
        if let Some(again) = self.again().cloned() {
            self.left -= 1;
            return Some(again);
        }
        let after = self.after();
        let goes_round = after.is_none() && self.last.is_some();
        let next = after.or_else(|| self.members.keys().next())?.clone();
        self.round = self.round.wrapping_add(usize::from(goes_round));
        self.left = weight(&next).saturating_sub(1);
        self.last = Some(next.clone());
        Some(next)
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
        std::iter::from_fn(|| rotation.take(|_| 1)).take(count).map(|id| id.ulid).collect()
    }

    #[test]
    fn orgs_take_turns_and_an_env_keeps_its_order() {
        let mut rotation = filled(&[("a", "e", 3), ("b", "e", 2)]);
        assert_eq!(take(&mut rotation, 9), [1, 4, 2, 5, 3]);
        assert!(rotation.is_empty());
    }

    #[test]
    fn each_place_is_counted_once_and_knows_what_stands_before_it() {
        let mut rotation = filled(&[("a", "x", 3), ("a", "y", 1), ("b", "e", 1)]);
        let (org, env) = (Name::from("a"), Name::from("x"));
        assert_eq!((rotation.len(), rotation.is_empty()), (5, false));
        assert_eq!((rotation.place(&org, &env, 3, 9), rotation.place(&org, &env, 3, 1)), ((2, 2), (1, 2)));
        rotation.insert(&org, &env, 2, RecordId::session(2));
        assert_eq!(rotation.len(), 5, "it stands there already");
        rotation.remove(&org, &env, 2);
        rotation.remove(&org, &env, 2);
        assert_eq!((rotation.len(), rotation.place(&org, &env, 3, 9)), (4, (1, 2)));
    }

    #[test]
    fn envs_of_an_org_take_turns_within_its_turns() {
        let mut rotation = filled(&[("a", "x", 2), ("a", "y", 2), ("b", "e", 2)]);
        assert_eq!(take(&mut rotation, 9), [1, 5, 3, 6, 2, 4]);
    }

    #[test]
    fn a_record_taken_out_at_its_turn_costs_its_org_no_turn() {
        let mut rotation = filled(&[("a", "e", 1), ("b", "x", 2), ("b", "y", 1), ("c", "e", 1)]);
        assert_eq!(take(&mut rotation, 1), [1]);
        assert_eq!(rotation.peek(), Some(RecordId::session(2)));
        rotation.remove(&"b".into(), &"x".into(), 2);
        assert_eq!(rotation.peek(), Some(RecordId::session(3)));
        assert_eq!(take(&mut rotation, 9), [3, 5, 4]);
        assert_eq!(rotation.peek(), None);
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

    /// `orgs` orgs named in order, each with one env of `each` records.
    fn orgs(orgs: u32, each: u64) -> Rotation {
        let names: Vec<String> = (0..orgs).map(|n| format!("org{n:02}")).collect();
        filled(&names.iter().map(|name| (name.as_str(), "e", each)).collect::<Vec<_>>())
    }

    /// One tick: the next `cap` orgs, one record of each.
    fn tick(rotation: &mut Rotation, cap: usize) -> Vec<Name> {
        let orgs = rotation.slice(cap);
        for org in &orgs {
            assert_eq!(rotation.take_of(org, 1).len(), 1, "{org} is in the slice, so it is served");
        }
        orgs
    }

    #[test]
    fn a_tick_serves_as_many_orgs_as_the_slice_holds() {
        let mut rotation = orgs(20, 1);
        let mut served: Vec<Name> = (0..4)
            .flat_map(|_| {
                let orgs = tick(&mut rotation, 5);
                assert_eq!(orgs.len(), 5);
                orgs
            })
            .collect();
        served.sort_unstable();
        served.dedup();
        assert_eq!((served.len(), rotation.len()), (20, 0));
        assert_eq!(tick(&mut rotation, 5), Vec::<Name>::new());
    }

    #[test]
    fn twelve_orgs_in_slices_of_four_are_served_four_times_each_in_twelve_ticks() {
        let mut rotation = orgs(12, 100);
        let mut served: BTreeMap<Name, u32> = BTreeMap::new();
        for org in (0..12).flat_map(|_| tick(&mut rotation, 4)) {
            *served.entry(org).or_default() += 1;
        }
        assert_eq!(served.len(), 12);
        assert!(served.values().all(|count| *count == 4), "{served:?}");
    }

    #[test]
    fn each_of_eight_orgs_sees_every_slot_of_a_slice_of_four_in_eight_ticks() {
        let mut rotation = orgs(8, 100);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..8 {
            seen.extend(tick(&mut rotation, 4).into_iter().enumerate());
        }
        assert_eq!(seen.len(), 8 * 4);
    }

    #[test]
    fn a_light_org_behind_six_heavy_ones_is_served_within_four_ticks_wherever_the_turn_stands() {
        for stand in 0..7 {
            for light in ["a", "h3x", "z"] {
                let mut rotation = filled(&[
                    ("h1", "e", 100),
                    ("h2", "e", 100),
                    ("h3", "e", 100),
                    ("h4", "e", 100),
                    ("h5", "e", 100),
                    ("h6", "e", 100),
                ]);
                tick(&mut rotation, stand);
                rotation.insert(&light.into(), &"e".into(), 9_999, RecordId::session(0));
                let ticks = (1..=4).find(|_| tick(&mut rotation, 4).contains(&light.into()));
                assert!(ticks.is_some(), "{light} waits behind {stand}");
            }
        }
    }

    #[test]
    fn an_org_with_six_envs_drains_no_faster_than_one_with_one() {
        let mut rotation = filled(&[
            ("many", "e1", 100),
            ("many", "e2", 100),
            ("many", "e3", 100),
            ("many", "e4", 100),
            ("many", "e5", 100),
            ("many", "e6", 100),
            ("one", "e", 100),
        ]);
        let mut drained: BTreeMap<Name, usize> = BTreeMap::new();
        for _ in 0..20 {
            for org in rotation.slice(100) {
                *drained.entry(org.clone()).or_default() += rotation.take_of(&org, 3).len();
            }
        }
        assert_eq!(drained, BTreeMap::from([("many".into(), 60), ("one".into(), 60)]));
    }

    #[test]
    fn orgs_that_come_and_go_between_ticks_cost_nobody_a_turn() {
        let mut rotation = orgs(6, 400);
        let mut since: BTreeMap<Name, u32> = BTreeMap::new();
        let mut random = 1_u64;
        for order in 10_000..11_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // A guest stands anywhere among the six for one tick, served or not.
            let guest = Name::from(format!("org{:02}x", (random >> 33) % 6));
            rotation.insert(&guest, &"e".into(), order, RecordId::session(u128::from(order)));
            let served = tick(&mut rotation, 2);
            rotation.remove(&guest, &"e".into(), order);
            for n in 0..6 {
                let org = Name::from(format!("org{n:02}"));
                let waited = since.entry(org.clone()).or_default();
                *waited = if served.contains(&org) { 0 } else { *waited + 1 };
                // Six orgs and at most a guest for every one of them in between, two a tick.
                assert!(*waited <= 5, "{org} lost its turn");
            }
        }
    }

    #[test]
    fn an_org_of_weight_three_is_served_three_times_a_round() {
        let mut rotation = filled(&[("a", "e", 9), ("b", "e", 9), ("c", "e", 9)]);
        let weight = |org: &Name| if &**org == "b" { 3 } else { 0 };
        let served: Vec<u128> =
            std::iter::from_fn(|| rotation.take(weight)).take(10).map(|id| (id.ulid - 1) / 9).collect();
        assert_eq!(served, [0, 1, 1, 1, 2, 0, 1, 1, 1, 2]);
    }

    #[test]
    fn turns_left_by_an_org_that_goes_are_nobody_elses() {
        let mut rotation = filled(&[("a", "e", 1), ("b", "e", 2), ("c", "e", 2)]);
        let weight = |org: &Name| if &**org == "a" { 9 } else { 1 };
        let served: Vec<u128> =
            std::iter::from_fn(|| rotation.take(weight)).take(9).map(|id| id.ulid).collect();
        assert_eq!(served, [1, 2, 4, 3, 5]);
    }
}
