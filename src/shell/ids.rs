//! Makes the ids of sessions and triggers: ULIDs that grow, also within a millisecond, while this process lives.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use ulid::Ulid;

use crate::model::{RecordId, RedriveId, Slot, Time, TriggerId};

/// The maker; share one.
#[derive(Default)]
pub struct Ids {
    last: Mutex<u128>,
}

impl Ids {
    /// A session's of an org.
    pub fn session(&self, now: Time, slot: Slot) -> RecordId {
        RecordId::session(self.next(now)).in_slot(slot)
    }

    /// One of the kind of a record that is repeated, where that is.
    pub fn like(&self, repeated: RecordId, now: Time) -> RecordId {
        RecordId { ulid: self.next(now), ..repeated }.in_slot(repeated.slot())
    }

    /// A trigger's.
    pub fn trigger(&self, now: Time, slot: Slot) -> TriggerId {
        TriggerId(self.next(now)).in_slot(slot)
    }

    /// A paced redrive's.
    pub fn redrive(&self, now: Time) -> RedriveId {
        RedriveId(self.next(now))
    }

    /// Differs from all before it in what is not the slot.
    fn next(&self, now: Time) -> u128 {
        let fresh = Ulid::from_datetime(UNIX_EPOCH + Duration::from_millis(now.millis())).0;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // 2^64 ids within a millisecond carry over into the next one.
        *last = if fresh >> 80 > *last >> 80 { fresh } else { *last + (1 << 16) };
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_millisecond_grow() {
        let ids = Ids::default();
        let now = Time::from_millis(1_795_226_400_000);
        let slot = Slot::of("acme");
        let (a, b) = (ids.session(now, slot), ids.session(now, slot));
        assert!(a < b, "{a} {b}");
        assert_eq!((a.slot(), ids.like(a, now).slot(), ids.trigger(now, slot).slot()), (slot, slot, slot));
        assert_eq!(a.ulid >> 80, u128::from(now.millis()));
    }
}
