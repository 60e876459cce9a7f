//! The entries of all live records: by id, and each in a seat that stays its own, so that who has found it once need not
//! look for it again. Absent on purpose: what an entry says.

use std::collections::BTreeMap;

use super::Entry;
use crate::model::RecordId;

/// Where the entry of a live record is, until it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Seat(u32);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_id: BTreeMap<RecordId, Seat>,
    /// Boxed, so that room for more is small. `None` while [`super::Index`] has the entry in its hands, and where none is.
    seats: Vec<Option<Box<Entry>>>,
    /// Where none is.
    free: Vec<Seat>,
}

impl Entries {
    /// The seat of a live record.
    pub(super) fn seat(&self, id: RecordId) -> Option<Seat> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&self, seat: Seat) -> Option<&Entry> {
        self.seats.get(seat.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, seat: Seat) -> Option<&mut Entry> {
        self.seats.get_mut(seat.0 as usize)?.as_deref_mut()
    }

    /// Takes the entry out; its seat stays its own.
    pub(super) fn take(&mut self, seat: Seat) -> Option<Box<Entry>> {
        self.seats.get_mut(seat.0 as usize)?.take()
    }

    /// Puts back what was taken.
    pub(super) fn put(&mut self, seat: Seat, entry: Box<Entry>) {
        if let Some(empty) = self.seats.get_mut(seat.0 as usize) {
            *empty = Some(entry);
        }
    }

    /// A seat for a record that has none.
    pub(super) fn enter(&mut self, id: RecordId) -> Seat {
        let seat = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            Seat(u32::try_from(self.seats.len() - 1).unwrap_or(u32::MAX))
        });
        let before = self.by_id.insert(id, seat);
        debug_assert_eq!(before, None, "{id} is there");
        seat
    }

    /// The seat is another's from now on.
    pub(super) fn leave(&mut self, id: RecordId) {
        self.free.extend(self.by_id.remove(&id));
    }

    /// The ids from `low` up to and without `before`, in order.
    pub(super) fn range(
        &self,
        low: RecordId,
        before: RecordId,
    ) -> impl DoubleEndedIterator<Item = (RecordId, &Entry)> {
        let found = self.by_id.range(low..before.max(low));
        found.filter_map(|(id, seat)| Some((*id, self.get(*seat)?)))
    }

    /// The ids from `low` to `high`, both included.
    pub(super) fn ids(&self, low: RecordId, high: RecordId) -> impl Iterator<Item = RecordId> {
        self.by_id.range(low..=high.max(low)).map(|(id, _)| *id)
    }
}
