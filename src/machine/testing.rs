//! Records for the unit tests of this layer.

use crate::model::{Action, Budget, Policy, Record, RecordId, Submission, Time, Work};

/// A freshly admitted session at time 1,000,000,000 s.
pub(super) fn queued() -> Record {
    let submission = Submission {
        org: "o".into(),
        env: "e".into(),
        budget: Budget::calls(20),
        ..Submission::of(
            RecordId::session(1 << 90),
            "r".into(),
            Work::of(Action::Command { argv: vec!["true".to_owned()], cwd: None }),
        )
    };
    super::admit(submission, 1, Time::from_millis(1_000_000_000_000), &Policy::default()).0
}
