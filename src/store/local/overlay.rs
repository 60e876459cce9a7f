//! Committed changes that the table does not have yet, in memory and read before it.
//!
//! `active` takes every commit. A checkpoint freezes it: `frozen` is then shared with the checkpoint thread and still
//! read, until the table has it all. A key written five times in between reaches the table once.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use crate::model::head;
use crate::store::{Batch, Direction};

/// Keys with their newest value; `None` is deleted.
pub(super) type Changes = BTreeMap<Key, Option<Vec<u8>>>;

/// A key with its newest value.
pub(super) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// What a tree and its allocator add to each change, roughly; so that the bound means memory.
const CHANGE_BYTES: usize = 120;

/// A key in the order of its bytes. Their beginning stands beside them, as numbers: it tells nearly all keys apart, and the
/// way down the tree leads past many.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    head: (u64, u64, u64),
    bytes: Vec<u8>,
}

impl Key {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Key {
        let behind = |at| bytes.get(at..).unwrap_or_default();
        let head = (head(&bytes), head(behind(8)), head(behind(16)));
        Key { head, bytes }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Default)]
pub(super) struct Overlay {
    active: Changes,
    active_bytes: usize,
    frozen: Arc<Changes>,
    frozen_bytes: usize,
}

impl Overlay {
    /// Takes a committed batch in.
    pub(super) fn apply(&mut self, batch: Batch) {
        for (key, value) in batch.writes {
            self.take(key, value);
        }
    }

    /// Sets or deletes one key.
    pub(super) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.take(key.to_vec(), value.map(<[u8]>::to_vec));
    }

    fn take(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let (key_bytes, bytes) = (key.len(), value.as_ref().map_or(0, Vec::len));
        // One way down the tree: most keys are new to it.
        match self.active.insert(key.into(), value) {
            Some(old) => self.active_bytes -= old.map_or(0, |old| old.len()),
            None => self.active_bytes += key_bytes + CHANGE_BYTES,
        }
        self.active_bytes += bytes;
    }

    /// What is known here of `key`: nothing, its deletion, or its value.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        // Looked for as one of them, for numbers are compared sooner than bytes.
        let key = Key::from(key.to_vec());
        self.active.get(&key).or_else(|| self.frozen.get(&key))
    }

    /// Changes in `from <= key < to`, newest only, in the order of `direction`.
    pub(super) fn range<'a>(
        &'a self,
        from: &'a [u8],
        to: &'a [u8],
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Change<'a>> + 'a> {
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let (active, frozen) = (self.active.range::<[u8], _>(bounds), self.frozen.range::<[u8], _>(bounds));
        let plain = |(key, value): (&'a Key, &'a Option<Vec<u8>>)| (key.as_slice(), value.as_deref());
        match direction {
            Direction::Ascending => Box::new(Merge::new(active.map(plain), frozen.map(plain), direction)),
            Direction::Descending => {
                Box::new(Merge::new(active.rev().map(plain), frozen.rev().map(plain), direction))
            }
        }
    }

    /// Moves what is active to the frozen place, which must be empty, and shares it.
    pub(super) fn freeze(&mut self) -> Arc<Changes> {
        self.frozen = Arc::new(std::mem::take(&mut self.active));
        self.frozen_bytes = std::mem::take(&mut self.active_bytes);
        Arc::clone(&self.frozen)
    }

    /// Hands out what was frozen: the table has it.
    pub(super) fn thaw(&mut self) -> Arc<Changes> {
        self.frozen_bytes = 0;
        std::mem::take(&mut self.frozen)
    }

    /// Memory of what no checkpoint has taken on yet.
    pub(super) const fn active_bytes(&self) -> usize {
        self.active_bytes
    }

    /// Memory of all of it.
    pub(super) const fn bytes(&self) -> usize {
        self.active_bytes + self.frozen_bytes
    }
}

/// Two ordered lists as one; where both have a key, the newer one's counts.
pub(super) struct Merge<N: Iterator, O: Iterator> {
    newer: Peekable<N>,
    older: Peekable<O>,
    direction: Direction,
}

impl<N: Iterator, O: Iterator> Merge<N, O> {
    pub(super) fn new(newer: N, older: O, direction: Direction) -> Merge<N, O> {
        Merge { newer: newer.peekable(), older: older.peekable(), direction }
    }
}

impl<K: Ord, V, N: Iterator<Item = (K, V)>, O: Iterator<Item = (K, V)>> Iterator for Merge<N, O> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let order = match (self.newer.peek(), self.older.peek()) {
            (None, _) => return self.older.next(),
            (_, None) => return self.newer.next(),
            (Some((newer, _)), Some((older, _))) => newer.cmp(older),
        };
        let order = match self.direction {
            Direction::Ascending => order,
            Direction::Descending => order.reverse(),
        };
        match order {
            Ordering::Less => self.newer.next(),
            Ordering::Greater => self.older.next(),
            Ordering::Equal => {
                self.older.next();
                self.newer.next()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_their_bytes(
            one in vec(0..3_u8, 0..20), other in vec(0..3_u8, 0..20), same in vec(0..3_u8, 0..30),
        ) {
            for (one, other) in [(one.clone(), other.clone()), ([&same[..], &one].concat(), [same, other].concat())] {
                let expected = one.cmp(&other);
                prop_assert_eq!(Key::from(one).cmp(&Key::from(other)), expected);
            }
        }
    }

    #[test]
    fn the_bytes_of_what_is_active_follow_every_change() {
        let mut overlay = Overlay::default();
        let mut after = |key: &[u8], value: Option<&[u8]>| {
            overlay.set(key, value);
            overlay.active_bytes()
        };
        assert_eq!(after(b"a", Some(b"12345")), 1 + CHANGE_BYTES + 5);
        assert_eq!(after(b"a", Some(b"12")), 1 + CHANGE_BYTES + 2);
        assert_eq!(after(b"bb", None), 3 + 2 * CHANGE_BYTES + 2);
        assert_eq!(after(b"a", None), 3 + 2 * CHANGE_BYTES);
    }
}
