//! What a flow says about time: schedules, and debounce.

use std::time::Duration;

use dwell::model::{Debounce, Policy, RecordId, Time};
use proptest::prelude::*;
use serde_json::json;

use super::{check, check_line, expand, flow, problems, trigger, with};

fn scheduled(schedule: &str) -> String {
    format!("name: f\non: {{ schedule: {schedule} }}\nrun: {{ command: [echo, \"${{scheduled_for}}\"] }}\n")
}

fn at(text: &str) -> Time {
    Time::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond().try_into().unwrap())
}

/// The next times of a schedule, in UTC.
#[track_caller]
fn comes(schedule: &str, after: &str, expected: &[&str]) {
    let flow = flow(&scheduled(schedule));
    let mut now = at(after);
    for expected in expected {
        now = flow.schedule().unwrap().next(now).unwrap();
        assert_eq!(now, at(expected), "{schedule}: expected {expected}, found {}", now.millis());
    }
}

#[test]
fn a_schedule_comes_at_its_times_and_never_twice_at_one() {
    comes(
        "{ cron: \"0 9 * * 1-5\" }",
        "2026-11-20T08:59:59.999Z",
        &["2026-11-20T09:00:00Z", "2026-11-23T09:00:00Z", "2026-11-24T09:00:00Z"],
    );
    comes(
        "{ cron: '*/20 * * * *' }",
        "2026-11-20T23:39:00Z",
        &["2026-11-20T23:40:00Z", "2026-11-21T00:00:00Z"],
    );
    comes("{ cron: '@daily' }", "2026-11-20T00:00:00Z", &["2026-11-21T00:00:00Z"]);
    comes(
        "{ cron: '0 0 29 2 *' }",
        "2026-11-20T00:00:00Z",
        &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
    );
}

#[test]
fn a_schedule_keeps_to_the_clock_of_its_zone() {
    let vienna = |cron: &str| format!("{{ cron: '{cron}', tz: Europe/Vienna }}");
    // Winter and summer.
    comes(
        &vienna("0 9 28,29 3 *"),
        "2026-03-01T00:00:00Z",
        &["2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"],
    );
    // 02:30 is skipped on 2026-03-29: the first moment after the gap, and once.
    comes(&vienna("30 2 * * *"), "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    // 02:30 is there twice on 2026-10-25: the first of both.
    comes(&vienna("30 2 * * *"), "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    // What comes every so often does so through the repeated hour.
    comes(
        &vienna("*/30 * * * *"),
        "2026-10-25T00:00:00Z",
        &["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"],
    );
}

#[test]
fn a_schedule_that_cannot_be_is_a_problem_with_its_place() {
    let cron = "minute, hour, day of month, month and day of week, like \"0 9 * * 1-5\"";
    for (schedule, expected) in [
        ("daily", "2:17: on.schedule is \"daily\": expected a mapping of cron, tz".to_owned()),
        ("{}", "2:17: key \"cron\" is missing: expected five fields like \"0 9 * * 1-5\"".to_owned()),
        (
            "{ cron: 5 }",
            "2:25: on.schedule.cron is 5: expected text: put it in quotes".to_owned(),
        ),
        (
            "{ cron: '0 9 * *' }",
            format!("2:25: on.schedule.cron is \"0 9 * *\": expected {cron} (pattern must have 5 fields when seconds are disallowed)"),
        ),
        (
            "{ cron: '0 9 * * 1-5 2026' }",
            format!("2:25: on.schedule.cron is \"0 9 * * 1-5 2026\": expected {cron} (pattern must have 5 fields when seconds are disallowed)"),
        ),
        (
            "{ cron: '61 9 * * *' }",
            format!("2:25: on.schedule.cron is \"61 9 * * *\": expected {cron} (number out of bounds)"),
        ),
        (
            "{ cron: '0 0 30 2 *' }",
            "2:25: on.schedule.cron is \"0 0 30 2 *\": expected a time that comes; this one never does".to_owned(),
        ),
        (
            "{ cron: '0 9 * * *', tz: Europe/Vinna }",
            "2:42: on.schedule.tz is \"Europe/Vinna\": expected a time zone of the IANA database, like Europe/Vienna"
                .to_owned(),
        ),
        (
            "{ cron: '0 9 * * *', timezone: UTC }",
            "2:38: unknown key \"timezone\" in on.schedule: expected one of cron, tz".to_owned(),
        ),
    ] {
        check(&scheduled(schedule), &format!("f.yaml:{expected}"));
    }
}

#[test]
fn a_schedule_s_trigger_starts_its_own_flow_and_no_other() {
    let flow = flow(&scheduled("{ cron: '0 9 * * *' }"));
    let payload = json!({"scheduled_for": "2026-11-21T09:00:00Z"});
    let mut due = trigger("cron", Some("f"), &payload);
    due.source = "schedule".into();
    let id = || RecordId::run_of(due.id, 0);
    assert_eq!(flow.expand(&due, &payload, &Policy::default(), id).len(), 1);
    let other = dwell::model::Trigger { action: Some("g".to_owned()), ..due.clone() };
    assert!(!flow.matches(&other, &payload));
    assert!(!flow.matches(&trigger("cron", Some("f"), &payload), &payload), "it is from another source");
    assert_eq!(flow.on(), ["schedule: 0 9 * * *"]);
}

#[test]
fn the_examples_about_time_are_flows() {
    let nightly = flow(include_str!("../../schema/examples/flows/nightly-report.yaml"));
    let next = nightly.schedule().unwrap().next(at("2026-11-20T12:00:00Z"));
    assert_eq!(next, Some(at("2026-11-23T08:00:00Z")));
    let deploy = include_str!("../../schema/examples/flows/deploy-when-quiet.yaml");
    let push = json!({"ref": "refs/heads/main", "after": "c0ffee", "repository": {"full_name": "acme/api"}});
    let run = &expand(deploy, &push)[0];
    assert_eq!(&*run.debounce.as_ref().unwrap().key, "acme/api refs/heads/main");
}

#[test]
fn each_run_has_the_debounce_key_of_its_own_item() {
    let text = with("for_each: \"commits[*]\"\ndebounce: { key: \"${branch}/${item.author}\", quiet: 10s }");
    let payload = json!({"branch": "main", "commits": [{"author": "a"}, {"author": "b"}]});
    let debounces: Vec<_> = expand(&text, &payload).into_iter().map(|run| run.debounce.unwrap()).collect();
    let of =
        |key: &str| Debounce { key: key.into(), quiet: Duration::from_secs(10), max: Duration::from_mins(5) };
    assert_eq!(debounces, [of("main/a"), of("main/b")]);
    let alone = expand(&with("debounce: { key: k }"), &json!({}));
    assert_eq!(alone[0].debounce.as_ref().unwrap().quiet, Duration::from_secs(30));
}

#[test]
fn a_run_whose_debounce_key_cannot_be_filled_does_not_wait() {
    let run = &expand(&with("debounce: { key: \"${branch}\" }"), &json!({}))[0];
    assert_eq!(run.debounce, None);
    let fault = run.invalid.as_ref().unwrap();
    assert_eq!(fault.message, "flow f: debounce.key: ${branch} is missing in the payload");
    let long = &expand(&with("debounce: { key: \"${b}\" }"), &json!({"b": "x".repeat(257)}))[0];
    assert!(long.invalid.as_ref().unwrap().message.contains("expected a name of 1 to 256 bytes"));
}

#[test]
fn a_debounce_that_cannot_be_is_a_problem_with_its_place() {
    check_line("debounce: { key: k, quiet: 10m }", "ok");
    check_line(
        "debounce: { quiet: 10s }",
        "f.yaml:4:11: key \"key\" is missing: expected what triggers of one run have in common",
    );
    check_line(
        "debounce: { key: k, quiet: 10m, max: 5m }",
        "f.yaml:4:38: debounce.max is \"5m\": expected at least debounce.quiet",
    );
    check_line(
        "debounce: { key: k, quite: 1s }",
        "f.yaml:4:21: unknown key \"quite\" in debounce: expected one of key, quiet, max (did you mean \"quiet\"?)",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_expression_is_read_or_refused(cron in "[-0-9*/,#LW?a-zA-Z@ ]{0,24}") {
        let text = scheduled(&json!({ "cron": cron }).to_string());
        if problems(&text) == "ok" {
            let now = at("2026-11-21T00:00:00Z");
            prop_assert!(flow(&text).schedule().unwrap().next(now).is_none_or(|next| next > now));
        }
    }
}
