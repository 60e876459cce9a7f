//! What a flow matches, and the runs that come of a trigger.

use std::time::Duration;

use dwell::flow::{FAN_OUT_BYTES_MAX, FAN_OUT_MAX, FILLED_BYTES_MAX, parse};
use dwell::model::{
    Action, Budget, Group, HttpRequest, Measure, Meter, Policy, RecordId, Submission, Trigger,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{COMMITS, REVIEW, expand, filled, flow, trigger, with};

#[test]
fn the_first_example_makes_one_run_for_the_reviewer_asked() {
    let flow = parse("review-on-request.yaml", REVIEW).unwrap();
    assert_eq!((&**flow.name(), &**flow.runtime()), ("review-on-request", "claude"));
    assert_eq!(flow.file(), "review-on-request.yaml");
    let payload = json!({
        "number": 7,
        "repository": { "full_name": "acme/api", "name": "api", "owner": { "login": "acme" } },
        "requested_reviewer": { "login": "bob" },
    });
    let trigger = trigger("pull_request", Some("review_requested"), &payload);
    let id = RecordId::run_of(trigger.id, 0);
    let [run] =
        <[Submission; 1]>::try_from(flow.expand(&trigger, &payload, &Policy::default(), || id)).unwrap();
    assert_eq!(run.id, id);
    assert_eq!((&*run.org, &*run.env, &*run.runtime), ("acme", "e", "claude"));
    assert_eq!((run.flow.as_deref(), run.trigger), (Some("review-on-request"), Some(trigger.id)));
    assert_eq!((run.budget, run.expires), (Budget::calls(20), Some(Duration::from_hours(24))));
    assert_eq!(run.retry, Some(Policy::default().retry));
    let timeouts = run.timeouts.unwrap();
    assert_eq!(
        (timeouts.attempt, timeouts.silence),
        (Duration::from_hours(2), Some(Duration::from_mins(10)))
    );
    assert_eq!(
        run.work.action,
        Action::Agent {
            prompt: "Review acme/api#7 for bob".to_owned(),
            cwd: Some("/srv/work/api".to_owned())
        }
    );
    assert_eq!(run.work.task.as_deref(), Some("Review acme/api#7"));
    assert_eq!(run.work.labels["repository"], "acme/api");
    assert_eq!(run.invalid, None);
    assert_eq!(run.work.payload, trigger.payload);
}

#[test]
fn the_second_example_makes_one_run_for_each_commit() {
    let payload = json!({
        "ref": "refs/heads/main", "deleted": false, "commits": [{ "id": "aaa" }, { "id": "bbb" }],
        "repository": { "clone_url": "https://hub/acme/api.git" },
    });
    let runs = expand(COMMITS, &payload);
    let ids: Vec<_> = (0..2).map(|n| RecordId::run_of(runs[0].trigger.unwrap(), n)).collect();
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), ids);
    let argv = ["/usr/local/bin/check-commit", "--", "https://hub/acme/api.git", "bbb"].map(str::to_owned);
    assert_eq!(runs[1].work.action, Action::Command { argv: argv.into(), cwd: None });
    assert_eq!((runs[1].work.labels["commit"].as_str(), runs[1].invalid.clone()), ("bbb", None));
    let seen: Value = serde_json::from_slice(&runs[1].work.payload).unwrap();
    assert_eq!(seen, json!({ "item": { "id": "bbb" }, "payload": payload }));
    assert!(expand(COMMITS, &json!({ "ref": "refs/tags/v1", "deleted": false, "commits": [1] })).is_empty());
}

#[test]
fn a_requests_url_and_headers_are_templates() {
    let text = "name: f\non: { github: { push: } }\nrun: { http: { url: \"http://h/${n}\", headers: { X-N: \"${n}\" } } }\n";
    let runs = expand(text, &json!({ "n": 17 }));
    assert_eq!(&*runs[0].runtime, "http");
    let headers = [("X-N".to_owned(), "17".to_owned())].into();
    let (url, method) = ("http://h/17".to_owned(), "POST".to_owned());
    assert_eq!(runs[0].work.action, Action::Http(HttpRequest { url, method, headers }));
}

#[test]
fn a_worker_names_its_queue_and_counts_towards_a_runtime() {
    let of = |run: &str| {
        let text = format!("name: f\non: {{ github: {{ push: }} }}\nrun: {run}\n");
        let run = expand(&text, &json!({ "n": 17 })).remove(0);
        (run.runtime.to_string(), run.work.action)
    };
    let queue = Action::Worker { queue: "reviews".into() };
    assert_eq!(of("{ worker: reviews }"), ("worker".to_owned(), queue.clone()));
    assert_eq!(of("{ worker: reviews, runtime: build }"), ("build".to_owned(), queue));
}

#[test]
fn what_is_sent_of_a_dead_letter_is_filled_and_one_without_an_address_is_told_by_the_run() {
    let text = "name: f\non: { github: { push: } }\nrun: { command: [echo, \"${n}\"] }\n\
                on_dead_letter: { http: { url: \"http://h/${m}\", headers: { X-M: \"${m}\" } } }\n";
    let runs = expand(text, &json!({ "n": 17, "m": "x" }));
    let headers = [("X-M".to_owned(), "x".to_owned())].into();
    let (url, method) = ("http://h/x".to_owned(), "POST".to_owned());
    let request = HttpRequest { url, method, headers };
    assert_eq!(runs[0].work.on_dead_letter, Some(request.clone()));
    let runs = expand(text, &json!({ "m": "x" }));
    assert_eq!(
        runs[0].work.on_dead_letter,
        Some(request),
        "a run that cannot be carried out is dead at once"
    );
    assert!(runs[0].invalid.is_some());
    let runs = expand(text, &json!({ "n": 17 }));
    assert_eq!(runs[0].work.on_dead_letter, None);
    assert!(runs[0].invalid.as_ref().unwrap().message.contains("on_dead_letter.http.url: ${m} is missing"));
}

#[test]
fn yaml_1_2_on_is_a_key_and_no_is_text() {
    let text = "name: no\non: { off: { yes: [on, no] } }\nrun: { command: [n] }";
    let flow = flow(text);
    assert_eq!(&**flow.name(), "no");
    let mut trigger = trigger("yes", Some("on"), &Value::Null);
    trigger.source = "off".into();
    assert!(flow.matches(&trigger, &Value::Null));
}

#[test]
fn an_alias_stands_for_its_value() {
    let text = with("org: &x acme\nenv: *x");
    let [run] = <[Submission; 1]>::try_from(expand(&text, &json!({}))).unwrap();
    assert_eq!((&*run.org, &*run.env), ("acme", "acme"));
}

#[test]
fn events_and_actions_are_matched_by_source_then_kind() {
    let matches = |on: &str, event: &str, action: Option<&str>| {
        let text = format!("name: f\non: {on}\nrun: {{ command: [x] }}");
        flow(&text).matches(&trigger(event, action, &Value::Null), &Value::Null)
    };
    // The trigger's source is hub, of kind github.
    for (on, event, action, expected) in [
        ("{ github: { push: } }", "push", None, true),
        ("{ github: { push: } }", "push", Some("x"), true),
        ("{ github: { push: '*' } }", "push", None, true),
        ("{ github: { push: } }", "pull", None, false),
        ("{ hub: { push: } }", "push", None, true),
        ("{ other: { push: } }", "push", None, false),
        ("{ github: { push: }, hub: { pull: } }", "push", None, false),
        ("{ github: { push: }, hub: { pull: } }", "pull", None, true),
        ("{ other: { pull: }, github: { push: , pull: [a] } }", "pull", Some("a"), true),
        ("{ github: { pull: [a, b] } }", "pull", Some("b"), true),
        ("{ github: { pull: [a, b] } }", "pull", Some("c"), false),
        ("{ github: { pull: [a, b] } }", "pull", None, false),
    ] {
        assert_eq!(matches(on, event, action), expected, "{on} {event} {action:?}");
    }
}

#[test]
fn conditions_hold_for_what_they_name_only() {
    let payload = json!({
        "ref": "refs/heads/main", "count": 3, "ratio": 1.0, "draft": false, "none": null,
        "labels": [{ "name": "bug" }, { "name": "p1" }], "big": 9_007_199_254_740_993_u64,
    });
    for (condition, expected) in [
        ("ref: refs/heads/main", true),
        ("ref: heads", false),
        ("ref: /heads/", true),
        ("ref: /^heads/", false),
        ("ref: /", false),
        ("ref: [a, /main$/]", true),
        ("ref: [a, b]", false),
        ("count: 3", true),
        ("count: 3.0", true),
        ("count: '3'", false),
        ("count: /3/", false),
        ("ratio: 1", true),
        ("big: 9007199254740992", false),
        ("draft: false", true),
        ("draft: true", false),
        ("draft: [true, false]", true),
        ("labels[0].name: bug", true),
        ("labels[1].name: bug", false),
        ("labels[*].name: p1", true),
        ("labels[*].name: p2", false),
        ("labels[2].name: p1", false),
        ("none: none", false),
        ("gone.gone: x", false),
        ("ref: /main/\n  count: 3", true),
        ("ref: /main/\n  count: 4", false),
    ] {
        let flow = flow(&with(&format!("if:\n  {condition}")));
        assert_eq!(flow.matches(&trigger("push", None, &payload), &payload), expected, "{condition}");
        assert_eq!(expand(&with(&format!("if:\n  {condition}")), &payload).len(), usize::from(expected));
    }
}

#[test]
fn templates_fill_text_as_it_is_and_the_rest_as_json() {
    let payload = json!({
        "s": "a \"b\" $(c) ${d}\n", "n": 7, "f": 1.5, "b": true, "o": { "k": [1, "x"] }, "l": [[1, 2], [3]],
        "a-b": { "@t": { "c:d": "deep" } }, "item": "payload's",
    });
    for (template, expected) in [
        ("plain", "plain"),
        ("${s}", "a \"b\" $(c) ${d}\n"),
        ("<${n}${b}${f}>", "<7true1.5>"),
        ("${o}", r#"{"k":[1,"x"]}"#),
        ("${o.k}", r#"[1,"x"]"#),
        ("${o.k[1]}", "x"),
        ("${l[0][1]}", "2"),
        ("${a-b.@t.c:d}", "deep"),
        ("$${s} $s $ $$ ${n}$", "${s} $s $ $$ 7$"),
        ("$$${n}", "$${n}"),
        ("${item}", "payload's"),
        ("${gone}", "template: flow f: run.command[1]: ${gone} is missing in the payload"),
        ("x${o.k[2]}", "template: flow f: run.command[1]: ${o.k[2]} is missing in the payload"),
        ("${s.x}", "template: flow f: run.command[1]: ${s.x} is missing in the payload"),
    ] {
        assert_eq!(filled(template, &payload), expected, "{template}");
    }
    assert_eq!(
        filled("${a}", &json!({ "a": null })),
        "template: flow f: run.command[1]: ${a} is null in the payload"
    );
    assert_eq!(filled("${[1].a}", &json!([0, { "a": 1 }])), "1");
}

#[test]
fn a_run_that_cannot_be_filled_is_invalid_and_keeps_its_place() {
    let text = "name: f\non: { github: { push: } }\norg: ${gone}\nrun: { agent: claude, prompt: \"do ${gone.too}\" }";
    let [run] = <[Submission; 1]>::try_from(expand(text, &json!({}))).unwrap();
    let fault = run.invalid.unwrap();
    assert_eq!(fault.code, "template");
    assert_eq!(
        fault.message,
        "flow f: org: ${gone} is missing in the payload; run.prompt: ${gone.too} is missing in the payload"
    );
    assert_eq!((&*run.org, &*run.env), ("o", "e"));
    assert_eq!(run.work.action, Action::Agent { prompt: "do ${gone.too}".to_owned(), cwd: None });
}

#[test]
fn an_agent_is_asked_for_the_model_that_the_flow_names() {
    let run = |model: &str, payload: Value| {
        let text = format!(
            "name: f\non: {{ github: {{ push: }} }}\nrun: {{ agent: claude, model: {model}, prompt: p }}"
        );
        expand(&text, &payload).remove(0)
    };
    assert_eq!(run("opus", json!({})).model.as_deref(), Some("opus"));
    assert_eq!(run("\"${m}\"", json!({ "m": "a/b" })).model.as_deref(), Some("a/b"));
    let flag = run("\"${m}\"", json!({ "m": "--dangerous" }));
    assert_eq!(flag.model, None);
    assert_eq!(
        flag.invalid.unwrap().message,
        "flow f: run.model: \"${m}\" becomes \"--dangerous\": expected 1 to 128 visible ASCII characters, the first not -"
    );
}

#[test]
fn a_group_is_named_by_the_payload_and_one_without_a_name_is_invalid() {
    let lines = "concurrency: { group: \"pr-${n}\", max: 2, cancel_in_progress: true, queue: 3 }";
    let run = |lines: &str, payload: Value| expand(&with(lines), &payload).remove(0);
    let group = Group { name: "pr-17".into(), max: 2, cancel_in_progress: true, queued_max: Some(3) };
    assert_eq!(run(lines, json!({ "n": 17 })).group, Some(group));
    let alone = Group { name: "all".into(), max: 1, cancel_in_progress: false, queued_max: None };
    assert_eq!(run("concurrency: { group: all }", json!({})).group, Some(alone));
    assert_eq!(run("", json!({})).group, None);
    let missing = run(lines, json!({})).invalid.unwrap();
    assert_eq!(missing.message, "flow f: concurrency.group: ${n} is missing in the payload");
    let long = run("concurrency: { group: \"${n}\" }", json!({ "n": "x".repeat(257) })).invalid.unwrap();
    assert!(long.message.ends_with("expected a name of 1 to 256 bytes without control characters"));
}

#[test]
fn what_no_process_or_tenant_can_be_is_invalid() {
    let fault = |lines: &str, payload: Value| {
        expand(&with(lines), &payload)[0].invalid.clone().map(|fault| fault.message).unwrap_or_default()
    };
    let name = "expected a name of 1 to 256 bytes without control characters";
    assert_eq!(
        fault("org: ${a}", json!({ "a": "" })),
        format!("flow f: org: \"${{a}}\" becomes \"\": {name}")
    );
    assert_eq!(
        fault("env: x${a}", json!({ "a": "\n" })),
        format!("flow f: env: \"x${{a}}\" becomes \"x\\n\": {name}")
    );
    assert_eq!(fault("org: ${a}", json!({ "a": "ok" })), "");
    assert_eq!(
        fault("task: ${a}", json!({ "a": "\0" })),
        "flow f: task: \"${a}\" becomes text with a NUL character in it"
    );
    let long = "x".repeat(FILLED_BYTES_MAX + 1);
    assert_eq!(
        fault("task: ${a}", json!({ "a": long })),
        "flow f: task: \"${a}\" becomes longer than 131071 bytes"
    );
    let cwd = |name: &str| {
        let text = "name: f\non: { github: { push: } }\nrun: { command: [x], cwd: \"/srv/${a}/w\" }";
        expand(text, &json!({ "a": name }))[0].invalid.clone().map(|fault| fault.message)
    };
    assert_eq!(cwd("api..v2"), None);
    assert_eq!(
        cwd("../../etc").as_deref(),
        Some("flow f: run.cwd: \"/srv/${a}/w\" becomes a path with .. in it")
    );
}

#[test]
fn the_policy_fills_in_what_the_flow_does_not_name() {
    let policy = Policy::default();
    let one = |lines: &str| expand(&with(lines), &json!({})).remove(0);
    let run = one("");
    assert_eq!((run.retry, run.timeouts, run.expires), (None, None, None));
    assert_eq!((&*run.runtime, run.budget, run.work.task), ("shell", Budget::calls(policy.run_budget), None));
    assert_eq!(one("budget: 0").budget, Budget::calls(0));
    assert_eq!(one("budget: unlimited").budget, Budget::default());
    assert_eq!(one("budget: null").budget, Budget::default());
    let meter = |limit, soft| Meter { used: 0, limit, soft };
    let named =
        one("budget: { wall: 2h, tokens: 100000, cost_usd: 1.5, soft: { calls: 8, cost_usd: 1 } }").budget;
    let calls = meter(Some(policy.run_budget.into()), Some(8));
    let all = Budget::default().with(Measure::Calls, calls).with(Measure::Wall, meter(Some(7_200_000), None));
    let all = all.with(Measure::Tokens, meter(Some(100_000), None));
    assert_eq!(named, all.with(Measure::Cost, meter(Some(1_500_000), Some(1_000_000))));
    let asks = one("budget: { calls: unlimited, attempts: 3, on_exhausted: ask }").budget;
    assert!(asks.ask && asks.of(Measure::Calls).is_none());
    assert_eq!(asks.of(Measure::Attempts), Some(meter(Some(3), None)));
    assert_eq!(one("budget: { calls: 7, on_exhausted: dead_letter }").budget, Budget::calls(7));
    let retry = one("retry: { attempts: 2, factor: 1.5 }").retry.unwrap();
    assert_eq!((retry.attempts, retry.curve.factor_percent), (2, 150));
    assert_eq!((retry.curve.first, retry.curve.max), (policy.retry.curve.first, policy.retry.curve.max));
    let retry = one("retry: { backoff: 1h, jitter: 0% }").retry.unwrap();
    assert_eq!((retry.curve.first, retry.curve.max), (Duration::from_hours(1), Duration::from_hours(1)));
    assert_eq!((retry.attempts, retry.curve.jitter_percent), (policy.retry.attempts, 0));
    let timeouts = one("timeout: { silence: 90 }").timeouts.unwrap();
    assert_eq!(
        (timeouts.attempt, timeouts.silence),
        (policy.timeouts.attempt, Some(Duration::from_secs(90)))
    );
    let run = one("timeout: { expires: 0.5 }");
    assert_eq!((run.timeouts, run.expires), (None, Some(Duration::from_millis(500))));
}

#[test]
fn the_payload_of_a_run_is_the_triggers_text() {
    let payload = json!({ "b": 1, "a": 2 });
    let mut trigger = trigger("push", None, &payload);
    trigger.payload = b"{ \"b\": 1.50,\n  \"a\": 2 }".to_vec();
    let run = |lines: &str, trigger: &Trigger| {
        let id = RecordId::run_of(trigger.id, 0);
        flow(&with(lines)).expand(trigger, &payload, &Policy::default(), || id).remove(0).work.payload
    };
    assert_eq!(run("", &trigger), trigger.payload);
    let payload = json!({ "l": ["x"] });
    trigger.payload = br#"{"l": ["x"]}"#.to_vec();
    let each = flow(&with("for_each: l[*]"));
    let runs = each.expand(&trigger, &payload, &Policy::default(), || RecordId::run_of(trigger.id, 0));
    assert_eq!(String::from_utf8_lossy(&runs[0].work.payload), r#"{"item":"x","payload":{"l": ["x"]}}"#);
}

#[test]
fn an_item_hides_the_payloads_own() {
    let text = "name: f\non: { github: { push: } }\nfor_each: l[*].x[*]\nrun: { command: [echo, \"${item}${item.a}${n}\"] }";
    let payload =
        json!({ "item": "hidden", "n": 1, "l": [{ "x": [{ "a": "p" }] }, { "x": [{ "a": "q" }] }, {}] });
    let argvs: Vec<_> = expand(text, &payload).into_iter().map(|run| run.work.action).collect();
    let argv = |last: &str| Action::Command { argv: vec!["echo".to_owned(), last.to_owned()], cwd: None };
    assert_eq!(argvs, [argv(r#"{"a":"p"}p1"#), argv(r#"{"a":"q"}q1"#)]);
    assert!(expand(text, &json!({ "l": [] })).is_empty());
    assert!(expand(text, &json!({})).is_empty());
}

#[test]
fn a_fan_out_beyond_its_bounds_is_one_run_that_says_so() {
    let text = with("for_each: l[*]");
    let numbers = |n: usize| json!({ "l": vec![0; n] });
    assert_eq!(expand(&text, &numbers(FAN_OUT_MAX)).len(), FAN_OUT_MAX);
    let runs = expand(&text, &numbers(FAN_OUT_MAX + 1));
    let [run] = <[Submission; 1]>::try_from(runs).unwrap();
    let fault = run.invalid.unwrap();
    assert_eq!(fault.code, "fan_out");
    assert_eq!(
        fault.message,
        "flow f: for_each: l[*] finds 1001 values with 2011009 bytes of payload: \
         expected at most 1000 values and 67108864 bytes"
    );
    let large = json!({ "l": [1, 2, 3], "text": "x".repeat(FAN_OUT_BYTES_MAX / 3) });
    let runs = expand(&text, &large);
    assert_eq!((runs.len(), runs[0].invalid.clone().unwrap().code.as_str()), (1, "fan_out"));
}

proptest! {
    #[test]
    fn any_template_fills_or_says_why(
        parts in prop::collection::vec(
            prop::sample::select(vec!["${a}", "${a.b[0]}", "${a.b[1].c}", "${x}", "${a.b[2]}", "$", "{", "}", "é"]),
            1..8,
        ),
    ) {
        let template = parts.concat();
        let text = with(&format!("task: {}", Value::from(template.as_str())));
        // ${é} is a path too, of a field that is not there.
        prop_assume!(!template.contains("$${") && !template.contains("${é") && parse("f.yaml", &text).is_ok());
        let [run] = <[Submission; 1]>::try_from(expand(&text, &json!({ "a": { "b": [1, { "c": "x" }] } }))).unwrap();
        let missing = template.contains("${x}") || template.contains("${a.b[2]}");
        prop_assert_eq!(run.invalid.is_some(), missing);
        prop_assert_eq!(run.work.task.unwrap().contains("${"), missing);
    }
}
