//! The records that a draft has changed so far. Absent on purpose: what a change owes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::index::Seat;
use crate::model::{Record, RecordId, Work};

/// One of them.
pub(super) struct Touched {
    /// As it was committed last; `None`: the draft admits it.
    pub(super) before: Option<Arc<Record>>,
    /// As the draft leaves it.
    pub(super) after: Arc<Record>,
    /// Where the indexes know of that, unless it is finished.
    pub(super) seat: Option<Seat>,
    /// What was asked for, if the draft admits it.
    pub(super) work: Option<Arc<Work>>,
}

/// All of them.
pub(super) struct Touches {
    list: Vec<Touched>,
    /// Where in the list each of them is.
    places: HashMap<RecordId, usize, BuildHasherDefault<Folded>>,
}

/// The hash of an id: dwell makes them, half of each at random, so that it is only spread over all bits.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(part) {
                *to = *from;
            }
            // Fibonacci hashing, whose high bits are mixed best.
            self.0 = (self.0.rotate_left(32) ^ u64::from_be_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

impl Touches {
    /// None, with room for so many.
    pub(super) fn with_capacity(expected: usize) -> Touches {
        Touches {
            list: Vec::with_capacity(expected),
            places: HashMap::with_capacity_and_hasher(expected, BuildHasherDefault::default()),
        }
    }

    pub(super) fn get(&self, id: RecordId) -> Option<&Touched> {
        self.list.get(*self.places.get(&id)?)
    }

    /// A record that is new.
    pub(super) fn admit(&mut self, after: Arc<Record>, seat: Option<Seat>, work: Work) {
        self.places.insert(after.id, self.list.len());
        self.list.push(Touched { before: None, after, seat, work: Some(Arc::new(work)) });
    }

    /// A record that was there changes once more; `before` counts the first time.
    pub(super) fn change(&mut self, before: Arc<Record>, after: Arc<Record>, seat: Option<Seat>) {
        match self.places.entry(after.id) {
            Entry::Occupied(place) => {
                if let Some(touched) = self.list.get_mut(*place.get()) {
                    (touched.after, touched.seat) = (after, seat);
                }
            }
            Entry::Vacant(place) => {
                place.insert(self.list.len());
                self.list.push(Touched { before: Some(before), after, seat, work: None });
            }
        }
    }

    /// The finished ones of a range, by id.
    pub(super) fn finished(&self, low: RecordId, high: RecordId) -> Vec<RecordId> {
        let finished = self.list.iter().filter(|touched| touched.after.state.finished_at().is_some());
        let mut ids: Vec<RecordId> = finished.map(|touched| touched.after.id).collect();
        ids.retain(|id| (low..=high).contains(id));
        ids.sort_unstable();
        ids
    }

    /// Hands all of them out, by id.
    pub(super) fn take(&mut self) -> Vec<Touched> {
        self.places.clear();
        let mut list = std::mem::take(&mut self.list);
        list.sort_unstable_by_key(|touched| touched.after.id);
        list
    }
}
