//! Records for the unit tests of this layer.

use crate::model::{Action, Policy, Record, RecordId, Submission, Time, Work};

/// A freshly admitted session at time 1,000,000,000 s.
pub(super) fn queued() -> Record {
    let submission = Submission {
        id: RecordId::session(1 << 90),
        org: "o".into(),
        env: "e".into(),
        key: None,
        flow: None,
        trigger: None,
        rerun_of: None,
        runtime: "r".into(),
        budget: Some(20),
        retry: None,
        timeouts: None,
        expires: None,
        work: Work {
            action: Action::Command { argv: vec!["true".to_owned()], cwd: None },
            payload: Vec::new(),
            task: None,
            labels: std::collections::BTreeMap::new(),
        },
        invalid: None,
    };
    super::admit(submission, 1, Time::from_millis(1_000_000_000_000), &Policy::default()).0
}
