//! What is refused, where, and in which words.

use dwell::flow::{FLOW_BYTES_MAX, load, parse};
use proptest::prelude::*;

use super::{check, check_line, problems, with};

#[test]
fn every_problem_of_a_file_is_told_with_its_place() {
    let text = "\
name: Review
on:
  github: { push: 3 }
budgets: 20
retry:
  atempts: 5
  jitter: 200%
timeout: { attempt: soon }
run:
  agent: claude
  prompt: \"see ${a..b}\"
concurrency: { max: 0 }
";
    let expected = r#"
f.yaml:1:7: name is "Review": expected up to 64 lower-case letters, digits and - _ .
f.yaml:3:19: on.github.push is 3: expected a list of actions, or "*" or nothing for any
f.yaml:4:1: unknown key "budgets": expected one of name, on, if, for_each, debounce, org, env, mode, concurrency, budget, retry, timeout, run, on_dead_letter, labels, task (did you mean "budget"?)
f.yaml:6:3: unknown key "atempts" in retry: expected one of attempts, backoff, factor, max, jitter (did you mean "attempts"?)
f.yaml:7:11: retry.jitter is "200%": expected whole percents from 0% to 100%
f.yaml:8:21: timeout.attempt is "soon": expected a duration like 90s or 1h 30m, or a number of seconds, from 1ms to 366 days
f.yaml:11:11: run.prompt: "a..b" is not a path: a field is empty, expected fields and elements like a.b[0].c or a[*].c
f.yaml:12:14: key "concurrency.group" is missing: expected the name that runs share, like pr-${number}
f.yaml:12:21: concurrency.max is 0: expected a whole number from 1 to 10000"#;
    check(text, expected.trim_start());
}

#[test]
fn what_is_sent_of_a_dead_letter_is_one_request() {
    check_line(
        "on_dead_letter: { https: {} }",
        "f.yaml:4:17: key \"http\" is missing: expected the request that tells of it\n\
         f.yaml:4:19: unknown key \"https\" in on_dead_letter: expected one of http (did you mean \"http\"?)",
    );
    check_line(
        "on_dead_letter: { http: { method: post } }",
        "f.yaml:4:25: key \"url\" is missing: expected where the request goes\n\
         f.yaml:4:35: on_dead_letter.http.method is \"post\": expected one of POST, PUT, PATCH, GET, HEAD, DELETE",
    );
}

#[test]
fn keys_that_come_later_are_refused_not_ignored() {}

#[test]
fn a_mode_is_one_of_three_words() {
    use dwell::model::Mode;
    let mode = |line: &str| parse("f.yaml", &with(line)).map(|flow| flow.mode()).ok();
    assert_eq!(mode(""), Some(None));
    // Off is no boolean here.
    for (word, read) in [("off", Mode::Off), ("shadow", Mode::Shadow), ("live", Mode::Live)] {
        assert_eq!(mode(&format!("mode: {word}")), Some(Some(read)));
    }
    check_line("mode: on", "f.yaml:4:7: mode is \"on\": expected off, shadow or live");
    check_line("mode: true", "f.yaml:4:7: mode is true: expected text: put it in quotes");
}

#[test]
fn what_is_missing_is_named() {
    let all = "\
f.yaml:1:1: key \"name\" is missing: expected the flow's own, unique name
f.yaml:1:1: key \"on\" is missing: expected sources, each with the events that start a run
f.yaml:1:1: key \"run\" is missing: expected an agent, a command, a request or a worker";
    check("{}", all);
    let keys = "name, on, if, for_each, debounce, org, env, mode, concurrency, budget, retry, timeout, run, on_dead_letter, labels, task";
    check("", &format!("f.yaml:1:1: the file is empty: expected a mapping of {keys}"));
    check("- x", &format!("f.yaml:1:1: the file is a list: expected a mapping of {keys}"));
}

#[test]
fn a_run_is_an_agent_a_command_a_request_or_a_worker() {
    let run = |run: &str| problems(&format!("name: f\non: {{ a: {{ b: }} }}\nrun: {run}"));
    assert_eq!(run("{ agent: claude, prompt: go, cwd: /w }"), "ok");
    assert_eq!(run("{ command: [make, \"\"], cwd: /w, runtime: build }"), "ok");
    assert_eq!(run("{ agent: claude, model: \"${m}\", prompt: go }"), "ok");
    for (other, column) in [("command: [x]", 22), ("http: { url: u }", 26), ("worker: q", 19)] {
        let misplaced = format!("f.yaml:3:{column}: key \"run.model\" goes with run.agent only");
        assert_eq!(run(&format!("{{ {other}, model: m }}")), misplaced);
    }
    assert_eq!(
        run("{}"),
        "f.yaml:3:6: run has neither agent, command, http nor worker: expected one of them"
    );
    assert_eq!(
        run("{ agent: a, prompt: p, command: [x] }"),
        "f.yaml:3:6: run has both agent and command: expected one of them"
    );
    assert_eq!(
        run("{ http: { url: \"http://h/${a}\", method: PUT, headers: { A: b } }, runtime: api }"),
        "ok"
    );
    assert_eq!(
        run("{ http: { url: u }, command: [x] }"),
        "f.yaml:3:6: run has both command and http: expected one of them"
    );
    assert_eq!(run("{ worker: reviews, runtime: build }"), "ok");
    assert_eq!(
        run("{ worker: Reviews, cwd: /w }"),
        "f.yaml:3:16: run.worker is \"Reviews\": expected up to 64 lower-case letters, digits and - _ .\n\
         f.yaml:3:25: key \"run.cwd\" goes with run.agent or run.command only"
    );
    assert_eq!(
        run("{ worker: q, http: { url: u } }"),
        "f.yaml:3:6: run has both http and worker: expected one of them"
    );
    assert_eq!(
        run("{ http: { methods: PUT }, cwd: /w }"),
        "f.yaml:3:14: key \"url\" is missing: expected where the request goes\n\
         f.yaml:3:16: unknown key \"methods\" in run.http: expected one of url, method, headers (did you mean \"method\"?)\n\
         f.yaml:3:32: key \"run.cwd\" goes with run.agent or run.command only"
    );
    assert_eq!(
        run("{ http: { url: u, method: BREW } }"),
        "f.yaml:3:32: run.http.method is \"BREW\": expected one of POST, PUT, PATCH, GET, HEAD, DELETE"
    );
    assert_eq!(
        run("{ agent: a }"),
        "f.yaml:3:6: key \"prompt\" is missing: expected what the agent is asked"
    );
    assert_eq!(
        run("{ agent: a, prompt: p, runtime: b }"),
        "f.yaml:3:29: key \"run.runtime\" goes with run.command, run.http or run.worker only"
    );
    assert_eq!(
        run("{ command: [x], prompt: p }"),
        "f.yaml:3:22: key \"run.prompt\" goes with run.agent only"
    );
    for (command, seen) in [("ls -l", "\"ls -l\""), ("[]", "a list")] {
        let expected = "a list of a program and its arguments, as it is never given to a shell";
        assert_eq!(
            run(&format!("{{ command: {command} }}")),
            format!("f.yaml:3:17: run.command is {seen}: expected {expected}")
        );
    }
    assert_eq!(
        run("{ command: [x, 5] }"),
        "f.yaml:3:21: run.command[1] is 5: expected text: put it in quotes"
    );
    assert_eq!(
        run("{ command: [\"\"] }"),
        "f.yaml:3:18: run.command[0]: empty text: expected some, or no such key"
    );
}

#[test]
fn sources_and_events_are_mappings() {
    let on = |on: &str| problems(&format!("name: f\non: {on}\nrun: {{ command: [x] }}"));
    assert_eq!(
        on("{}"),
        "f.yaml:2:5: on is a mapping: expected a mapping of sources, each with its events: {github: {push: }}"
    );
    assert_eq!(
        on("{ github: }"),
        "f.yaml:2:13: on.github is empty: expected a mapping of events to actions: {pull_request: [opened]}"
    );
    assert_eq!(
        on("{ GitHub: { push: } }"),
        "f.yaml:2:7: on: \"GitHub\" is not a source: expected the name of one, or a kind like github"
    );
    assert_eq!(on("{ a: { b: [1] } }"), "f.yaml:2:16: on.a.b is 1: expected text: put it in quotes");
}

#[test]
fn numbers_and_durations_have_bounds() {
    let at = |what: &str| format!("f.yaml:4:{what}");
    check_line(
        "retry: { attempts: 0 }",
        &at("20: retry.attempts is 0: expected a whole number from 1 to 1000"),
    );
    check_line("retry: { factor: 0.5 }", &at("18: retry.factor is 0.5: expected a number from 1 to 100"));
    check_line(
        "retry: { backoff: 1m, max: 30 }",
        &at("28: retry.max is 30: expected at least retry.backoff"),
    );
    check_line("retry: { backoff: 0, factor: 1.5, max: 8d, jitter: 0% }", "ok");
    let duration = "expected a duration like 90s or 1h 30m, or a number of seconds";
    check_line(
        "timeout: { expires: 0s }",
        &at(&format!("21: timeout.expires is \"0s\": {duration}, from 1ms to 366 days")),
    );
    check_line(
        "timeout: { attempt: 2y }",
        &at(&format!("21: timeout.attempt is \"2y\": {duration}, from 1ms to 366 days")),
    );
    check_line(
        "retry: { backoff: -3 }",
        &at(&format!("19: retry.backoff is -3: {duration}, from 0s to 366 days")),
    );
    for budget in ["many", "-1", "1.5", "4294967296", "[1]"] {
        let seen = if budget == "many" { "\"many\"" } else { budget };
        let seen = if budget == "[1]" { "a list" } else { seen };
        check_line(
            &format!("budget: {budget}"),
            &at(&format!("9: budget is {seen}: expected a number of calls, or unlimited")),
        );
    }
    let above = "expected a number above 0";
    for (budget, problem) in [
        (
            "{ dollars: 1 }",
            "11: unknown key \"dollars\" in budget: expected one of calls, attempts, wall, tokens, cost_usd, soft, on_exhausted",
        ),
        ("{ cost_usd: 0 }", &format!("21: budget.cost_usd is 0: {above}")),
        ("{ cost_usd: -1 }", &format!("21: budget.cost_usd is -1: {above}")),
        ("{ tokens: 1.5 }", &format!("19: budget.tokens is 1.5: {above}")),
        ("{ attempts: 0 }", "21: budget.attempts is 0: expected a whole number from 1 to 4294967295"),
        ("{ calls: many }", "18: budget.calls is \"many\": expected a number of calls, or unlimited"),
        (
            "{ soft: { usd: 1 } }",
            "19: unknown key \"usd\" in budget.soft: expected one of calls, attempts, wall, tokens, cost_usd",
        ),
        ("{ tokens: 5, soft: { tokens: 6 } }", "38: budget.soft.tokens is beyond budget.tokens"),
        ("{ calls: 5, soft: { calls: 6 } }", "36: budget.soft.calls is beyond budget.calls"),
        ("{ on_exhausted: wait }", "25: budget.on_exhausted is \"wait\": expected dead_letter or ask"),
    ] {
        check_line(&format!("budget: {budget}"), &at(problem));
    }
}

#[test]
fn yaml_that_is_not_accepted_names_the_place() {
    check_line("name: g", "f.yaml:4:1: key \"name\" is here a second time: expected it once");
    let both = "\
f.yaml:4:1: key \"name\" is here a second time: expected it once
f.yaml:5:1: unknown key \"later\"";
    assert!(problems(&with("name: g\nlater: {}")).starts_with(both));
    check_line(
        "retry: {attempts: 1, attempts: 2}",
        "f.yaml:4:22: key \"attempts\" is here a second time: expected it once",
    );
    check("name: f\n---\nname: g\n", "f.yaml:3:1: a second document: expected one flow a file");
    assert!(problems("name: [").starts_with("f.yaml:1:"));
    check_line("task: !shell x", "f.yaml:4:14: not YAML as it is accepted here: unsupported tag `!shell`");
    check_line(
        "task: *nothing",
        "f.yaml:4:7: not YAML as it is accepted here: alias references unknown anchor",
    );
    let merge = "f.yaml:4:1: unknown key \"<<\": expected one of name";
    assert!(problems(&with("<<: {budget: 1}")).starts_with(merge));
}

#[test]
fn a_file_cannot_take_all_memory() {
    let nine = |of: &str| [of; 9].join(", ");
    let mut bomb = vec![format!("a: &a [{}]", nine("x"))];
    bomb.extend(('a'..='k').zip('b'..='l').map(|(a, b)| format!("{b}: &{b} [{}]", nine(&format!("*{a}")))));
    let bomb = bomb.join("\n");
    let much = "more than a flow can need: expected at most 50000 values, 16 deep";
    assert!(problems(&bomb).ends_with(much), "{}", problems(&bomb));
    let deep = |n: usize| format!("name: {}{}", "[".repeat(n), "]".repeat(n));
    assert!(problems(&deep(20)).ends_with(much), "{}", problems(&deep(20)));
    assert!(problems(&deep(10_000)).ends_with("recursion limit exceeded"));
    let long = " ".repeat(FLOW_BYTES_MAX + 1);
    check(&long, "f.yaml:1:1: a file of 1048577 bytes: expected at most 1048576");
    let many: Vec<_> = (0..500).map(|n| format!("k{n}: 1")).collect();
    assert_eq!(problems(&many.join("\n")).lines().count(), 100);
}

#[test]
fn a_condition_that_cannot_be_is_a_problem() {
    check_line("if: { a: /(/ }", "f.yaml:4:10: if.a: /(/ is not a regular expression: unclosed group");
    check_line(
        "if: { a: }",
        "f.yaml:4:8: if.a is empty: expected text, a /regular expression/, a number, true or false, \
         or a list of them",
    );
    check_line(
        "if:\n  a[: 1",
        "f.yaml:5:3: if: \"a[\" is not a path: a [ without its ], expected fields and elements like a.b[0].c \
         or a[*].c",
    );
    check_line(
        "for_each: a.b",
        "f.yaml:4:11: for_each is \"a.b\": expected a path to every element of a list: with [*]",
    );
}

#[test]
fn a_malformed_template_is_a_problem_with_a_line() {
    check_line("task: ${a", "f.yaml:4:7: task: a ${ without its }: expected ${path}, or $${ for the text ${");
    check_line("task: ${a[*]}", "f.yaml:4:7: task: ${a[*]} may be many values: expected one, without [*]");
    let path = "expected fields and elements like a.b[0].c or a[*].c";
    for (template, what) in [
        ("${}", "\"\" is not a path: a field is empty"),
        ("${a|b}", "\"a|b\" is not a path: a field has '|' in it"),
        ("${a[x]}", "\"a[x]\" is not a path: neither a number nor * in []"),
        ("${a[0]b}", "\"a[0]b\" is not a path: a [ without its ]"),
    ] {
        check_line(&format!("task: {template}"), &format!("f.yaml:4:7: task: {what}, {path}"));
    }
    check_line(
        "labels: { A: x }",
        "f.yaml:4:11: labels.A is not a label's name: expected up to 64 lower-case letters, digits and - _ .",
    );
    check_line("org: ''", "f.yaml:4:6: org: empty text: expected some, or no such key");
}

#[test]
fn two_flows_of_one_name_are_refused() {
    let named = |name: &str| with("").replace("name: f", &format!("name: {name}"));
    let flows = load([("a.yaml", named("a")), ("b.yaml", named("b"))]).unwrap();
    assert_eq!(flows.iter().map(|flow| flow.name().to_string()).collect::<Vec<_>>(), ["a", "b"]);
    let files = [("a.yaml", named("a")), ("bad.yaml", named("B")), ("c.yaml", named("a"))];
    let problems: Vec<_> = load(files).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "bad.yaml:1:7: name is \"B\": expected up to 64 lower-case letters, digits and - _ .",
            "c.yaml:1:7: name \"a\" is taken by a.yaml:1",
        ]
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        prop_assert!(parse("f.yaml", &text).is_err_and(|problems| !problems.is_empty()));
    }

    #[test]
    fn any_value_under_any_key_is_read_or_refused(
        key in "(name|on|if|for_each|debounce|org|env|budget|retry|timeout|run|labels|task|mode)",
        value in "[-a-z0-9 \\[\\]{}:,.*$&!|>'\"%@/\\n#~]{0,60}",
    ) {
        for text in [with(&format!("{key}: {value}")), format!("{key}: {value}")] {
            if let Err(problems) = parse("f.yaml", &text) {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| problem.line > 0 && problem.column > 0));
            }
        }
    }
}
