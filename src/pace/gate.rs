//! The burst gate: kill switch, then org enrolled or shadow mode, then the trip evaluator; one decision each time.
//!
//! Absent on purpose: how the evaluator counts (`trip`), where the org's flag is kept, and what a decision leads to.
//! Both look-ups are closures that are called at most once, so a test can count them and let them fail.

use crate::model::text_enum;

text_enum! {
    /// What is made of a trigger.
    Outcome {
        /// It goes the ordinary way.
        PassThrough = "pass_through",
        /// It goes the ordinary way, and would have been diverted outside of shadow mode.
        ShadowLog = "shadow_log",
        /// It waits in the burst lane.
        Mollify = "mollify",
    }
}

text_enum! {
    /// Why a decision is not the plain one.
    Reason {
        /// Too many calls of its env within the window; only on a diversion, real or shadow.
        PerEnvRate = "per_env_rate",
        /// A look-up failed, and the gate lets pass what it cannot judge.
        FailedOpen = "failed_open",
    }
}

/// The gate's own settings; an org's flag is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Off: nothing is looked up at all.
    pub enabled: bool,
    /// Judge every org, divert only those enrolled.
    pub shadow: bool,
}

/// What one evaluation decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<E> {
    /// Not too much, or nobody asked.
    Pass,
    /// Too much, but its org is not enrolled.
    Shadow,
    /// Too much.
    Divert,
    /// A look-up failed with this.
    FailedOpen(E),
}

impl<E> Decision<E> {
    /// What is made of the trigger.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Decision::Pass | Decision::FailedOpen(_) => Outcome::PassThrough,
            Decision::Shadow => Outcome::ShadowLog,
            Decision::Divert => Outcome::Mollify,
        }
    }

    /// What goes with the outcome into the count of decisions.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Decision::Pass => None,
            Decision::Shadow | Decision::Divert => Some(Reason::PerEnvRate),
            Decision::FailedOpen(_) => Some(Reason::FailedOpen),
        }
    }
}

/// Decides one trigger. `enrolled` says whether its org takes part, `tripped` whether its env is over the rate; the
/// latter counts the call, so it is called only where the answer matters.
pub fn decide<E>(
    switches: Switches,
    enrolled: impl FnOnce() -> Result<bool, E>,
    tripped: impl FnOnce() -> Result<bool, E>,
) -> Decision<E> {
    if !switches.enabled {
        return Decision::Pass;
    }
    let judged = enrolled().and_then(|enrolled| {
        let tripped = (enrolled || switches.shadow) && tripped()?;
        Ok((enrolled, tripped))
    });
    match judged {
        Ok((_, false)) => Decision::Pass,
        Ok((false, true)) => Decision::Shadow,
        Ok((true, true)) => Decision::Divert,
        Err(error) => Decision::FailedOpen(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The decision, and how often each look-up was called.
    fn asked(
        enabled: bool,
        shadow: bool,
        enrolled: Result<bool, &'static str>,
        tripped: Result<bool, &'static str>,
    ) -> (Decision<&'static str>, [u32; 2]) {
        let (flag, evaluator) = (Cell::new(0), Cell::new(0));
        let called = |count: &Cell<u32>| count.set(count.get() + 1);
        let decision = decide(
            Switches { enabled, shadow },
            || {
                called(&flag);
                enrolled
            },
            || {
                called(&evaluator);
                tripped
            },
        );
        (decision, [flag.get(), evaluator.get()])
    }

    #[test]
    fn all_sixteen_combinations_are_as_the_table_says() {
        use Outcome::{Mollify, PassThrough, ShadowLog};
        // enabled, shadow, org flag, tripped: outcome, calls of the evaluator.
        let table = [
            (0b0000, PassThrough, 0),
            (0b0001, PassThrough, 0),
            (0b0010, PassThrough, 0),
            (0b0011, PassThrough, 0),
            (0b0100, PassThrough, 0),
            (0b0101, PassThrough, 0),
            (0b0110, PassThrough, 0),
            (0b0111, PassThrough, 0),
            (0b1000, PassThrough, 0),
            (0b1001, PassThrough, 0),
            (0b1010, PassThrough, 1),
            (0b1011, Mollify, 1),
            (0b1100, PassThrough, 1),
            (0b1101, ShadowLog, 1),
            (0b1110, PassThrough, 1),
            (0b1111, Mollify, 1),
        ];
        for (bits, outcome, calls) in table {
            let bit = |at: u32| (bits >> at) & 1 == 1;
            let (decision, [_, evaluator]) = asked(bit(3), bit(2), Ok(bit(1)), Ok(bit(0)));
            assert_eq!((decision.outcome(), evaluator), (outcome, calls), "{bits:04b}");
            let diverted = outcome != PassThrough;
            assert_eq!(decision.reason(), diverted.then_some(Reason::PerEnvRate), "{bits:04b}");
        }
    }

    #[test]
    fn a_gate_that_is_off_looks_nothing_up() {
        for shadow in [false, true] {
            let (decision, calls) = asked(false, shadow, Err("flag"), Err("evaluator"));
            assert_eq!((decision, calls), (Decision::Pass, [0, 0]));
        }
    }

    #[test]
    fn a_failed_look_up_lets_the_trigger_pass_and_is_told_apart() {
        for shadow in [false, true] {
            let (decision, calls) = asked(true, shadow, Err("flag"), Ok(true));
            assert_eq!((&decision, calls), (&Decision::FailedOpen("flag"), [1, 0]), "shadow {shadow}");
            assert_eq!(
                (decision.outcome(), decision.reason()),
                (Outcome::PassThrough, Some(Reason::FailedOpen))
            );
            let (decision, calls) = asked(true, shadow, Ok(true), Err("evaluator"));
            assert_eq!((decision, calls), (Decision::FailedOpen("evaluator"), [1, 1]), "shadow {shadow}");
        }
    }
}
