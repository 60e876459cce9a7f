//! The main job, end to end on the real binary: a forge's payload starts runs, their agent hits a limit, everything
//! waits on disk, the process is killed, and the first due tick after a restart resumes the same provider session.
//! And the budgets of runs, across processes and crashes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::server::{self, Answer, DWELL, Server, directory, fixture, flows, hmac_hex};

/// Where the test clock starts, also in seconds since 1970.
const START: &str = "2026-11-21T00:00:00Z";
const START_EPOCH: u64 = 1_795_219_200;
/// The moment that is 90 minutes later.
const RESET: &str = "2026-11-21T01:30:00.000Z";

const SECRET: &str = "It's a Secret to Everybody";
const RESUME_PROMPT: &str = "Rate limit window has reset. Continue working on the task where you left off.";
const EXHAUSTED: &str = "rate-limit budget exhausted: used 20 of 20 mutating calls for this flow run";

/// A `dwell.toml` with a GitHub source, and a runtime for each scripted agent: its name, and the reset it names.
fn config(agents: &[(&str, Option<&str>)]) -> String {
    let mut text = format!(
        "[log]\nlevel = \"error\"\n[drain]\ntimeout = \"10ms\"\n[sources.gh]\nkind = \"github\"\nsecrets = [{:?}]\n",
        format!("plain:{SECRET}")
    );
    for (name, reset) in agents {
        text += &format!("[runtimes.{name}]\nadapter = \"claude\"\nargv = [{DWELL:?}, \"demo-agent\"]\n");
        text += &reset.map(|reset| format!("env = {{ DWELL_DEMO_RESET = {reset:?} }}\n")).unwrap_or_default();
    }
    text
}

/// A flow for the one GitHub payload of these tests, with what its runs do.
fn flow(name: &str, run: &str) -> String {
    format!(
        "name: {name}\non:\n  github: {{ pull_request: [review_requested] }}\nif:\n  \
         repository.full_name: Codertocat/Hello-World\nrun:\n  {run}\n"
    )
}

/// Delivers the payload, signed, and answers with the runs it started.
fn deliver(server: &Server, delivery: &str) -> Vec<String> {
    let body = fixture("pull_request.review_requested.json");
    let signature = format!("sha256={}", hmac_hex(SECRET, &body));
    let headers = [
        ("x-github-event", "pull_request"),
        ("x-github-delivery", delivery),
        ("x-hub-signature-256", signature.as_str()),
        ("content-type", "application/json"),
    ];
    let answer = server.deliver("gh", &headers, &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let runs = answer.body["runs"].as_array().unwrap();
    runs.iter().map(|run| run.as_str().unwrap().to_owned()).collect()
}

fn record(server: &Server, id: &str) -> Value {
    let answer = server.get(&format!("/v1/records/{id}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn status(server: &Server, member: &str) -> Value {
    server.get("/v1/status").body[member].clone()
}

/// `event -> state, attempt`, a line for each step.
fn story(server: &Server, id: &str) -> Vec<String> {
    let step = |step: &Value| {
        format!(
            "{} -> {}, {}",
            step["event"].as_str().unwrap(),
            step["to"].as_str().unwrap(),
            step["attempt"]
        )
    };
    server.history(id).iter().map(step).collect()
}

#[test]
fn a_limited_run_is_resumed_once_when_its_window_resets_whatever_was_killed_between() {
    let reset = (START_EPOCH + 90 * 60).to_string();
    let dir = directory(&config(&[("claude", Some(&reset))]));
    let agent = "agent: claude\n  prompt: \"Review ${repository.full_name}#${number}\"";
    flows(dir.path(), &[("a.yaml", &flow("review", agent)), ("b.yaml", &flow("review-again", agent))]);
    let serve = || Server::start(dir.path(), &["--test-clock", START]);

    let mut server = serve();
    let runs = deliver(&server, "d-1");
    assert_eq!(runs.len(), 2, "one for each flow");
    for run in &runs {
        server.until(run, "rate_limited");
    }
    let command = json!({"command": ["true"]});
    let held = server.session(&json!({"runtime": "claude", "action": command}));
    let free = server.session(&json!({"runtime": "shell", "action": command}));
    assert_eq!(server.until(&free, "completed")["attempt"], 1);

    // What must hold while they wait, before the kill and after it.
    let waiting = |server: &Server| -> Vec<Value> {
        let paused = server.runtime("claude");
        assert_eq!(
            (&paused["state"], &paused["held_until"]),
            (&json!("limited"), &json!(RESET)),
            "{paused:#}"
        );
        assert_eq!(paused["limited"]["estimated"], false);
        assert_eq!(server.runtime("shell")["state"], "open");
        let queued = record(server, &held);
        assert_eq!((&queued["state"], &queued["attempt"]), (&json!("queued"), &json!(0)), "{queued:#}");
        let wait = |run: &String| {
            let run = record(server, run);
            assert_eq!((&run["state"], &run["attempt"]), (&json!("rate_limited"), &json!(1)), "{run:#}");
            assert_eq!((&run["deadline"], &run["wait"]["until"]), (&json!(RESET), &json!(RESET)), "{run:#}");
            assert_eq!(run["wait"]["estimated"], false, "{run:#}");
            run
        };
        assert_eq!(status(server, "next_deadline"), RESET);
        assert_eq!(status(server, "attempts_started"), 3);
        assert_eq!(status(server, "outstanding"), 0);
        runs.iter().map(wait).collect()
    };
    let before = waiting(&server);
    server.kill();
    drop(server);

    let server = serve();
    assert_eq!(waiting(&server), before);
    assert_eq!(server.advance("89m59s"), 0, "nothing is due yet");
    assert_eq!(waiting(&server), before);

    server.advance("1s");
    assert_eq!(status(&server, "attempts_started"), 4, "the first second of the ramp starts one");
    server.advance("1s");
    assert_eq!(status(&server, "attempts_started"), 6, "one more for each that waited");
    for (run, before) in runs.iter().zip(&before) {
        let done = server.until(run, "completed");
        let session = before["resume_token"].as_str().unwrap();
        assert_eq!((&done["attempt"], done["resume_token"].as_str()), (&json!(2), Some(session)));
        assert_eq!(done["result"], format!("done: resumed {session} with {RESUME_PROMPT:?}"));
        let expected = [
            "admitted -> queued, 0",
            "dispatch -> active, 1",
            "spawned -> active, 1",
            "rate_limited -> rate_limited, 1",
            "elapsed -> queued, 1",
            "dispatch -> active, 2",
            "spawned -> active, 2",
            "succeeded -> completed, 2",
        ];
        assert_eq!(story(&server, run), expected);
    }
    assert_eq!(server.until(&held, "completed")["attempt"], 1);
    // The resumed agents were told `allowed` with a rejected overage, which is how accounts without credits look.
    assert_eq!(server.runtime("claude")["state"], "open");
    assert_eq!(status(&server, "attempts_started"), 6);
}

#[test]
fn a_restarted_test_clock_goes_on_where_time_was() {
    let reset = (START_EPOCH + 90 * 60).to_string();
    let dir = directory(&config(&[("claude", Some(&reset))]));
    let serve = || Server::start(dir.path(), &["--test-clock", START]);
    let mut server = serve();
    let agent = json!({"agent": {"prompt": "Fix it"}});
    let id = server.session(&json!({"runtime": "claude", "action": agent}));
    server.until(&id, "rate_limited");
    server.advance("30m");
    // A commit makes the time durable.
    let other = server.session(&json!({"runtime": "claude", "action": agent}));
    server.kill();
    drop(server);

    let server = serve();
    assert_eq!(status(&server, "now"), "2026-11-21T00:30:00.000Z");
    assert_eq!(server.advance("59m59s"), 0);
    assert_eq!(server.post(&format!("/v1/records/{other}/cancel"), &json!({})).status, 200);
    assert!(server.advance("1s") > 0, "the hour and a half is over");
    assert_eq!(server.until(&id, "completed")["attempt"], 2);
}

#[test]
fn allowed_with_a_rejected_overage_parks_nothing() {
    let dir = directory(&config(&[("claude", None)]));
    let server = Server::start(dir.path(), &["--test-clock", START]);
    let stream = [
        json!({"type": "system", "subtype": "init", "session_id": "s-1"}),
        json!({"type": "rate_limit_event", "session_id": "s-1", "rate_limit_info": {
            "status": "allowed", "resetsAt": START_EPOCH + 3600, "rateLimitType": "five_hour",
            "overageStatus": "rejected", "overageResetsAt": START_EPOCH + 86_400,
            "overageDisabledReason": "out_of_credits", "isUsingOverage": false,
        }}),
        json!({"type": "result", "subtype": "success", "is_error": false, "session_id": "s-1", "result": "done"}),
    ];
    std::fs::write(dir.path().join("stream"), stream.map(|line| line.to_string()).join("\n")).unwrap();
    let cat = json!({"command": ["cat", dir.path().join("stream")]});
    let id = server.session(&json!({"runtime": "claude", "action": cat}));
    let done = server.until(&id, "completed");
    assert_eq!((&done["result"], &done["resume_token"]), (&json!("done"), &json!("s-1")));
    assert!(story(&server, &id).iter().all(|step| !step.contains("limited")));
    let runtime = server.runtime("claude");
    assert_eq!((&runtime["state"], runtime.get("limited")), (&json!("open"), None));
}

#[test]
fn a_reset_that_cannot_be_used_strands_nothing() {
    // What is no time, or past, is an hour; what is too far away is eight days. All of it is marked as a guess.
    let (hour, week) = ("2026-11-21T01:00:00.000Z", "2026-11-29T00:00:00.000Z");
    let cases = [
        ("absent", None, hour, ""),
        ("words", Some("soon"), hour, "reset \"soon\" is not a time, treated as absent"),
        ("negative", Some("-1"), hour, "reset \"-1\" is not a time, treated as absent"),
        ("past", Some("1795219199"), hour, "reset time is not in the future, treated as absent"),
        ("far", Some("253402300799"), week, "further away than limits.max_wait, clamped to it"),
    ];
    let config = config(&cases.map(|(name, reset, _, _)| (name, reset)));
    let dir = directory(&config.replace("level = \"error\"", "level = \"warn\""));
    let mut server = Server::logged(dir.path(), &["--test-clock", START]);
    let agent = json!({"agent": {"prompt": "Fix it"}});
    let ids = cases.map(|(name, ..)| server.session(&json!({"runtime": name, "action": agent})));
    for (id, (name, _, until, _)) in ids.iter().zip(cases) {
        let wait = &server.until(id, "rate_limited")["wait"];
        assert_eq!((&wait["until"], &wait["estimated"]), (&json!(until), &json!(true)), "{name}");
        assert_eq!(server.runtime(name)["held_until"], until, "{name}");
    }
    server.kill();
    drop(server);
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    for (id, (name, _, _, warning)) in ids.iter().zip(cases) {
        let warned = log.lines().any(|line| line.contains(id) && line.contains(warning));
        assert_eq!(warned, !warning.is_empty(), "{name}: {log}");
    }

    let server = Server::logged(dir.path(), &["--test-clock", START]);
    server.advance("1h");
    for id in &ids[..4] {
        server.until(id, "completed");
    }
    server.advance("8d");
    server.until(&ids[4], "completed");
}

/// `dwell charge`, as the attempt would call it.
fn charge(dir: &Path, server: &Server, id: &str, attempt: u32) -> Output {
    let mut command = Command::new(DWELL);
    command.arg("charge").current_dir(dir).stdin(Stdio::null());
    command.env("DWELL_SERVER", &server.url).env("DWELL_ID", id).env("DWELL_ATTEMPT", attempt.to_string());
    command.output().unwrap()
}

#[track_caller]
fn admitted(output: &Output, used: u32) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{used} of 20\n"));
}

#[track_caller]
fn refused(output: &Output) {
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("dwell: {EXHAUSTED}\n"));
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// A run whose attempt goes on for longer than any test.
const ENDLESS: &str = "command: [sleep, \"600\"]";

#[test]
fn twenty_charges_pass_and_the_next_exits_75_in_each_run_by_itself() {
    let dir = directory(&config(&[]));
    let names = ["one", "two", "three"];
    for name in names {
        flows(dir.path(), &[(&format!("{name}.yaml"), &flow(name, ENDLESS))]);
    }
    let server = Server::start(dir.path(), &[]);
    let runs = deliver(&server, "d-1");
    let [first, second, third] = &runs[..] else { panic!("three flows match: {runs:?}") };
    for run in &runs {
        server.until(run, "active");
    }
    for used in 1..=20 {
        admitted(&charge(dir.path(), &server, first, 1), used);
    }
    refused(&charge(dir.path(), &server, first, 1));
    refused(&charge(dir.path(), &server, first, 1));
    let budget = |id: &str| record(&server, id)["budget"].clone();
    assert_eq!(budget(first), json!({"used": 20, "limit": 20}));
    assert_eq!((budget(second)["used"].as_u64(), budget(third)["used"].as_u64()), (Some(0), Some(0)));

    // The second takes thirty at once.
    let url = format!("{}/v1/records/{second}/charge", server.url);
    let body = json!({"attempt": 1, "calls": 1});
    let ask = || server::request("POST", &url, Some(&body)).unwrap();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..30).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (passed, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    let mut used: Vec<_> = passed.iter().map(|answer| answer.body["used"].as_u64().unwrap()).collect();
    used.sort_unstable();
    assert_eq!(used, (1..=20).collect::<Vec<_>>());
    for answer in &others {
        assert_eq!((answer.status, &answer.body["detail"]), (429, &json!(EXHAUSTED)), "{answer:?}");
    }
    admitted(&charge(dir.path(), &server, third, 1), 1);
    assert!(server.terminate().success());
}

#[test]
fn a_budget_goes_on_after_a_kill_with_what_was_left() {
    let dir = directory(&config(&[]));
    let mut server = Server::start(dir.path(), &[]);
    let sleep = json!({"command": ["sleep", "600"]});
    let id = server.session(&json!({"runtime": "shell", "action": sleep, "budget": 20}));
    server.until(&id, "active");
    for used in 1..=12 {
        admitted(&charge(dir.path(), &server, &id, 1), used);
    }
    server.kill();
    drop(server);

    let server = Server::start(dir.path(), &[]);
    assert_eq!(server.until(&id, "active")["attempt"], 2);
    assert_eq!(charge(dir.path(), &server, &id, 1).status.code(), Some(4), "the first attempt is over");
    for used in 13..=20 {
        admitted(&charge(dir.path(), &server, &id, 2), used);
    }
    refused(&charge(dir.path(), &server, &id, 2));
    assert!(server.terminate().success());
}

#[test]
fn an_attempt_that_ends_on_its_budget_waits_for_an_operator() {
    let dir = directory(&config(&[]));
    let script = format!("command: [sh, -c, 'while {DWELL} charge; do :; done; {DWELL} charge || exit $?']");
    flows(dir.path(), &[("spend.yaml", &flow("spend", &script))]);
    let server = Server::start(dir.path(), &[]);
    let runs = deliver(&server, "d-1");
    let dead = server.until(&runs[0], "dead_lettered");
    assert_eq!((&dead["cause"], &dead["attempt"]), (&json!("budget_exhausted"), &json!(1)), "{dead:#}");
    assert_eq!(dead["budget"], json!({"used": 20, "limit": 20}));
    assert!(dead["last_error"]["message"].as_str().unwrap().contains(EXHAUSTED), "{dead:#}");
}
