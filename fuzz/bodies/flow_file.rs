//! Any text as a flow file: a flow, or problems with their places; and what a flow makes of real webhooks is bounded.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use dwell::flow::{FAN_OUT_MAX, Flow, parse};
use dwell::model::{Policy, RecordId, Submission, TEXT_BYTES_MAX, Time, Trigger, TriggerId};
use serde_json::Value;

static DELIVERIES: LazyLock<[(Trigger, Value); 3]> = LazyLock::new(|| {
    [
        delivery("push", None, include_str!("../../schema/examples/webhooks/push.json")),
        delivery(
            "pull_request",
            Some("review_requested"),
            include_str!("../../schema/examples/webhooks/pull_request.review_requested.json"),
        ),
        delivery("ping", None, "null"),
    ]
});

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse("flows/f.yaml", &text) {
        Ok(flow) => {
            let runs = DELIVERIES.iter().flat_map(|(trigger, payload)| runs(&flow, trigger, payload));
            runs.for_each(|run| is_in_order(&run));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = text.split(['\n', '\r']).count() as u64 + 1;
            for problem in problems {
                assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem}");
                assert!(!problem.message.is_empty());
            }
        }
    }
}

fn delivery(event: &str, action: Option<&str>, payload: &str) -> (Trigger, Value) {
    let trigger = Trigger {
        id: TriggerId(7 << 80),
        at: Time::ZERO,
        source: "hub".into(),
        kind: "github".into(),
        event: event.to_owned(),
        action: action.map(str::to_owned),
        dedup: None,
        org: "acme".into(),
        env: "prod".into(),
        payload: payload.as_bytes().to_vec(),
        replay_of: None,
        runs: Vec::new(),
    };
    (trigger, serde_json::from_str(payload).unwrap())
}

fn runs(flow: &Flow, trigger: &Trigger, payload: &Value) -> Vec<Submission> {
    let mut n = 0..;
    let next_id = || RecordId::run_of(trigger.id, n.next().unwrap());
    let runs = flow.expand(trigger, payload, &Policy::default(), next_id);
    assert!(runs.is_empty() || flow.matches(trigger, payload));
    assert!(runs.len() <= FAN_OUT_MAX);
    let ids: BTreeSet<RecordId> = runs.iter().map(|run| run.id).collect();
    assert_eq!(ids.len(), runs.len());
    runs
}

fn is_in_order(run: &Submission) {
    for name in [&run.org, &run.env, &run.runtime] {
        assert!((1..=256).contains(&name.len()), "{name:?}");
    }
    assert!(run.work.task.as_ref().is_none_or(|task| task.len() <= TEXT_BYTES_MAX));
    assert!(run.invalid.as_ref().is_none_or(|fault| fault.message.len() <= TEXT_BYTES_MAX));
    serde_json::from_slice::<Value>(&run.work.payload).unwrap();
}
