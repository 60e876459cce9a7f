//! Makes the ids of sessions and triggers: ULIDs that grow, also within a millisecond, while this process lives.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use crate::model::{RecordId, RedriveId, Time, TriggerId};

/// The maker; share one.
#[derive(Default)]
pub struct Ids {
    generator: Mutex<ulid::Generator>,
}

impl Ids {
    /// A session's.
    pub fn session(&self, now: Time) -> RecordId {
        RecordId::session(self.next(now))
    }

    /// One of the kind of a record that is repeated.
    pub fn like(&self, repeated: RecordId, now: Time) -> RecordId {
        RecordId { ulid: self.next(now), ..repeated }
    }

    /// A trigger's.
    pub fn trigger(&self, now: Time) -> TriggerId {
        TriggerId(self.next(now))
    }

    /// A paced redrive's.
    pub fn redrive(&self, now: Time) -> RedriveId {
        RedriveId(self.next(now))
    }

    fn next(&self, now: Time) -> u128 {
        let moment = UNIX_EPOCH + Duration::from_millis(now.millis());
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        // 2^80 ids within a millisecond carry over into the next one.
        generator.generate_from_datetime(moment).unwrap_or_else(ulid::Overflow::commit_overflow_increment).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_millisecond_grow() {
        let ids = Ids::default();
        let now = Time::from_millis(1_795_226_400_000);
        let (a, b) = (ids.session(now), ids.session(now));
        assert!(a < b, "{a} {b}");
        assert_eq!(a.ulid >> 80, u128::from(now.millis()));
    }
}
