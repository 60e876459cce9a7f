//! Flow files, text in and text out: what is read, what is refused and where, and the runs that come of a trigger.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod refused;
mod runs;
mod when;

use dwell::flow::{Flow, parse};
use dwell::model::{Action, Policy, RecordId, Submission, Time, Trigger, TriggerId};
use serde_json::Value;

/// A whole flow around some more lines.
fn with(lines: &str) -> String {
    format!("name: f\non: {{ github: {{ push: }} }}\nrun: {{ command: [echo] }}\n{lines}\n")
}

/// The problems of a file, one a line; `ok` if there are none.
fn problems(text: &str) -> String {
    match parse("f.yaml", text) {
        Ok(_) => "ok".to_owned(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(problems(text), expected, "\n{text}");
}

#[track_caller]
fn check_line(line: &str, expected: &str) {
    check(&with(line), expected);
}

fn flow(text: &str) -> Flow {
    parse("f.yaml", text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

fn trigger(event: &str, action: Option<&str>, payload: &Value) -> Trigger {
    Trigger {
        id: TriggerId(7 << 80),
        at: Time::ZERO,
        source: "hub".into(),
        kind: "github".into(),
        event: event.to_owned(),
        action: action.map(str::to_owned),
        dedup: None,
        org: "o".into(),
        env: "e".into(),
        payload: payload.to_string().into_bytes(),
        replay_of: None,
        runs: Vec::new(),
    }
}

fn expand(text: &str, payload: &Value) -> Vec<Submission> {
    let trigger = trigger("push", None, payload);
    let mut n = 0;
    let next_id = || {
        n += 1;
        RecordId::run_of(TriggerId(7 << 80), n - 1)
    };
    flow(text).expand(&trigger, payload, &Policy::default(), next_id)
}

/// The argv of the one run, or its fault.
fn filled(template: &str, payload: &Value) -> String {
    let text = format!(
        "name: f\non: {{ github: {{ push: }} }}\nrun: {{ command: [echo, {}] }}",
        Value::from(template)
    );
    let [run] = <[Submission; 1]>::try_from(expand(&text, payload)).unwrap();
    if let Some(fault) = run.invalid {
        return format!("{}: {}", fault.code, fault.message);
    }
    let Action::Command { argv, .. } = run.work.action else { panic!("a command") };
    argv[1].clone()
}

const REVIEW: &str = include_str!("../../schema/examples/flows/review-on-request.yaml");
const COMMITS: &str = include_str!("../../schema/examples/flows/check-each-commit.yaml");
