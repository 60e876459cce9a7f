//! The number of every enum value on disk. Written by hand and never reused; the order of a declaration means
//! nothing here, and a new variant does not compile until it has a number.

use crate::model::{Cause, Lane, Measure, Mode, NoticeEvent, Source, StateName, Streak};
use crate::store::StoreError;

/// A value with a number of its own.
pub(super) trait Numbered: Copy {
    fn number(self) -> u8;
    fn numbered(number: u8) -> Result<Self, StoreError>;
}

macro_rules! numbers {
    ($type:ident, $what:literal: $($variant:ident = $number:literal),+ $(,)?) => {
        impl Numbered for $type {
            fn number(self) -> u8 {
                match self { $($type::$variant => $number,)+ }
            }

            fn numbered(number: u8) -> Result<Self, StoreError> {
                match number {
                    $($number => Ok($type::$variant),)+
                    found => Err(StoreError::Number { what: $what, found }),
                }
            }
        }
    };
}

numbers!(StateName, "state":
    Queued = 1,
    Active = 2,
    RateLimited = 3,
    Backoff = 4,
    Draining = 5,
    DeadLettered = 6,
    Completed = 7,
    Cancelled = 8,
);

numbers!(Cause, "cause":
    AttemptsExhausted = 1,
    Throttled = 2,
    TimedOut = 3,
    IngestionFailed = 4,
    Lost = 5,
    Invalid = 6,
    BudgetExhausted = 7,
    NeedsOperator = 8,
    Expired = 9,
);

numbers!(Lane, "lane": Ready = 1, Burst = 2);

numbers!(Mode, "mode": Off = 1, Shadow = 2, Live = 3);

numbers!(Source, "source of a reset time": Estimated = 1, Told = 2);

numbers!(Streak, "streak":
    Failed = 1,
    TimedOut = 2,
    Throttled = 3,
    IngestionFailed = 4,
    Lost = 5,
    Unavailable = 6,
);

numbers!(Measure, "measure": Calls = 1, Attempts = 2, Wall = 3, Tokens = 4, Cost = 5);

/// What kind of action a work holds; the variants of `Action` carry texts, so they are named here.
#[derive(Clone, Copy)]
pub(super) enum ActionName {
    Command,
    Agent,
    Http,
    Worker,
}

numbers!(ActionName, "action": Command = 1, Agent = 2, Http = 3, Worker = 4);

numbers!(NoticeEvent, "event of a notice":
    DeadLettered = 1,
    Completed = 2,
    BudgetSoft = 3,
    BudgetAsked = 4,
    RuntimePaused = 5,
    RuntimeResumed = 6,
    Stalled = 7,
    ModeChanged = 8,
);

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Numbered + PartialEq + std::fmt::Debug>(all: &[T]) {
        for value in all {
            assert_eq!(T::numbered(value.number()).unwrap(), *value);
        }
        let known = (0..=u8::MAX).filter(|number| T::numbered(*number).is_ok()).count();
        assert_eq!(known, all.len(), "{all:?}");
    }

    #[test]
    fn every_value_has_one_number_and_every_other_number_is_refused() {
        check(StateName::ALL);
        check(Cause::ALL);
        check(Lane::ALL);
        check(Mode::ALL);
        check(Source::ALL);
        check(Streak::ALL);
        check(NoticeEvent::ALL);
    }
}
