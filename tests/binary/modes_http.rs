//! Modes on the real binary: flips over HTTP and on the command line, and what a start and a status say of them.

use std::path::Path;

use serde_json::{Value, json};

use super::server::{Answer, Server, directory, dwell, flows, request};

const OFF: &str = "[flows]\nmode = \"off\"\n";

/// It leaves a mark in the working directory of the server.
const DEPLOY: &str = "
name: deploy
on: { hub: { push: } }
run: { command: [touch, deployed] }
";

/// On a runtime that is not there unless a test configures it.
const REVIEW: &str = "
name: review
on: { hub: { push: } }
run: { command: [touch, reviewed], runtime: farm }
";

fn put(dwell: &Server, path: &str, body: &Value) -> Answer {
    request("PUT", &format!("{}{path}", dwell.url), Some(body)).unwrap()
}

fn push(dwell: &Server) -> Value {
    let answer = dwell.post("/v1/triggers", &json!({"source": "hub", "event": "push"}));
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body
}

fn flow(dwell: &Server, name: &str) -> Value {
    let flows = dwell.get("/v1/flows").body;
    flows["items"].as_array().unwrap().iter().find(|flow| flow["name"] == name).unwrap().clone()
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap()
}

#[test]
fn all_is_off_at_boot_and_a_flip_makes_the_next_event_a_run_without_a_restart() {
    let dir = directory(OFF);
    flows(dir.path(), &[("deploy.yaml", DEPLOY)]);
    let dwell = Server::logged(dir.path(), &[]);
    assert_eq!(dwell.get("/v1/status").body["dispatcher"], "idle");
    let refused = push(&dwell);
    assert_eq!((&refused["runs"], &refused["off"]), (&json!([]), &json!(["deploy"])));
    let flipped = put(&dwell, "/v1/modes/global", &json!({"mode": "live"}));
    assert_eq!(flipped.body, json!({"from": "off", "to": "live", "changed": true}));
    let run = push(&dwell)["runs"][0].as_str().unwrap().to_owned();
    dwell.until(&run, "completed");
    assert!(dir.path().join("deployed").exists());
    let deploy = flow(&dwell, "deploy");
    assert_eq!((&deploy["mode"], &deploy["origin"]), (&json!("live"), &json!("global")));
    assert_eq!((&deploy["dispatcher"], &deploy["last_run"]["id"]), (&json!("running"), &json!(run)));
    let flipped = put(&dwell, "/v1/modes/global", &json!({"mode": "live"}));
    assert_eq!(flipped.body["changed"], false);
    assert!(dwell.terminate().success());
    assert_eq!(log(dir.path()).matches("dispatcher running: mode flip (off -> live)").count(), 1);
}

#[test]
fn a_hundred_flips_and_one_event_make_one_run_also_after_a_kill() {
    let dir = directory(OFF);
    flows(dir.path(), &[("deploy.yaml", DEPLOY)]);
    let mut dwell = Server::start(dir.path(), &[]);
    for n in 0..100 {
        let mode = if n % 2 == 0 { "off" } else { "live" };
        assert_eq!(put(&dwell, "/v1/modes/flows/deploy", &json!({"mode": mode})).status, 200);
    }
    dwell.kill();
    let dwell = Server::start(dir.path(), &[]);
    assert_eq!(flow(&dwell, "deploy")["origin"], "override");
    let run = push(&dwell)["runs"][0].as_str().unwrap().to_owned();
    dwell.until(&run, "completed");
    assert_eq!(dwell.get("/v1/runs").body["items"].as_array().unwrap().len(), 1);
    let status = dwell.get("/v1/status").body;
    assert_eq!((&status["attempts_started"], &status["outstanding"]), (&json!(1), &json!(0)));
}

#[test]
fn what_cannot_act_does_not_go_live_and_all_stays_as_it_was() {
    let dir = directory(OFF);
    let lost = "
name: lost
on: { gh: { push: } }
run: { command: [no-such-program] }
";
    flows(dir.path(), &[("deploy.yaml", DEPLOY), ("lost.yaml", lost), ("review.yaml", REVIEW)]);
    let config = format!("{OFF}[sources.gh]\nkind = \"github\"\nsecrets = [\"file:secret\"]\n");
    std::fs::write(dir.path().join("dwell.toml"), config).unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret").unwrap();
    let dwell = Server::start(dir.path(), &["--test-clock", "2026-11-21T00:00:00Z"]);
    std::fs::remove_file(dir.path().join("secret")).unwrap();
    let seen = || {
        let mut status = dwell.get("/v1/status").body;
        status.as_object_mut().unwrap().remove("ticks");
        (status, dwell.get("/v1/modes").body)
    };
    let before = seen();
    for (path, lacking) in [
        ("/v1/modes/flows/review", vec!["runtime farm"]),
        ("/v1/modes/flows/lost", vec!["program no-such-program", "secret of gh"]),
        ("/v1/modes/global", vec!["program no-such-program", "secret of gh", "runtime farm"]),
    ] {
        let refused = put(&dwell, path, &json!({"mode": "live", "force": true}));
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("capabilities_missing")));
        let missing = refused.body["missing"].as_array().unwrap();
        let needs: Vec<&str> = missing.iter().map(|missing| missing["need"].as_str().unwrap()).collect();
        assert_eq!(needs, lacking, "{path}: {refused:?}");
    }
    assert_eq!(seen(), before);
    assert_eq!(push(&dwell)["off"], json!(["deploy", "review"]));
    assert_eq!(put(&dwell, "/v1/modes/flows/deploy", &json!({"mode": "live"})).status, 200);
    assert_eq!(put(&dwell, "/v1/modes/flows/nobody", &json!({"mode": "live"})).status, 404);
    assert_eq!(put(&dwell, "/v1/modes/global", &json!({"mode": "on"})).status, 400);
}

#[test]
fn a_live_flow_that_cannot_act_starts_loudly_and_loses_no_event() {
    let dir = directory("");
    flows(dir.path(), &[("deploy.yaml", DEPLOY), ("review.yaml", REVIEW)]);
    let dwell = Server::logged(dir.path(), &[]);
    assert!(log(dir.path()).contains("ERROR") && log(dir.path()).contains("flow review is live and blocked"));
    let status = dwell.get("/v1/status").body;
    assert_eq!(status["dispatcher"], "blocked");
    let why = "runtime farm is not configured";
    assert_eq!(status["blocked"], json!([{"flow": "review", "need": "runtime farm", "why": why}]));
    let ready = dwell.get("/readyz");
    let reason = json!({"code": "flow_blocked", "detail": format!("flow review is live and blocked: {why}")});
    assert_eq!((ready.status, ready.body), (200, json!({"ready": true, "reasons": [reason]})));
    assert_eq!(flow(&dwell, "deploy")["dispatcher"], "running");
    assert_eq!(flow(&dwell, "review")["dispatcher"], "blocked");
    let runs = push(&dwell)["runs"].clone();
    dwell.until(runs[0].as_str().unwrap(), "completed");
    dwell.until(runs[1].as_str().unwrap(), "queued");
    assert!(dwell.terminate().success());

    std::fs::write(dir.path().join("dwell.toml"), "[runtimes.farm]\n").unwrap();
    let dwell = Server::start(dir.path(), &[]);
    dwell.until(runs[1].as_str().unwrap(), "completed");
    assert!(dir.path().join("reviewed").exists());
    assert_eq!(dwell.get("/v1/status").body["dispatcher"], "running");
}

#[test]
fn shadow_acts_on_nothing_and_shows_what_it_would_do() {
    let dir = directory("[flows]\nmode = \"shadow\"\n[cutover]\nmin_shadow = \"24h\"\n");
    flows(dir.path(), &[("deploy.yaml", DEPLOY), ("review.yaml", REVIEW)]);
    let server = Server::start(dir.path(), &["--test-clock", "2026-11-21T00:00:00Z"]);
    let said = |args: &[&str]| {
        let output = dwell(dir.path(), args);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = said(&["trigger", "hub", "push"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{out}{err}");
    assert!(err.contains("flow deploy is in shadow"), "{err}");
    server.advance("1h");
    let run = out.lines().nth(1).unwrap();
    let shown: Value = serde_json::from_str(&said(&["show", run, "--json"]).1).unwrap();
    assert_eq!((&shown["state"], &shown["shadow"]), (&json!("completed"), &json!(true)));
    assert_eq!((&shown["attempt"], &shown["budget"]["used"]), (&json!(0), &json!(0)));
    let diff: Value = serde_json::from_str(&said(&["flow", "diff", "deploy", "--json"]).1).unwrap();
    assert_eq!(diff["items"], json!([shown]));
    assert_eq!(shown["action"], json!({"command": ["touch", "deployed"]}));
    let (_, table, _) = said(&["flow", "diff"]);
    assert!(
        table.contains(r#"["touch","deployed"]"#) && table.contains(r#"["touch","reviewed"]"#),
        "{table}"
    );
    assert!(said(&["ls", "runs", "--shadow"]).1.contains("shadow"));
    let history = server.history(run);
    assert_eq!((history.len(), &history[0]["event"]), (1, &json!("shadowed")));
    assert_eq!(server.get("/v1/status").body["attempts_started"], 0);
    assert!(!dir.path().join("deployed").exists());

    let (code, _, err) = said(&["mode", "deploy", "live"]);
    assert!(code == 4 && err.contains("not in shadow for cutover.min_shadow yet: deploy"), "{code} {err}");
    server.advance("23h");
    assert_eq!(said(&["mode", "deploy", "live"]).1, "deploy: shadow -> live\n");
    let live = push(&server)["runs"][0].as_str().unwrap().to_owned();
    server.until(&live, "completed");
    assert!(dir.path().join("deployed").exists());
}

#[test]
fn the_command_line_says_and_sets_modes() {
    let dir = directory(OFF);
    flows(dir.path(), &[("deploy.yaml", DEPLOY), ("review.yaml", REVIEW)]);
    let _server = Server::start(dir.path(), &["--test-clock", "2026-11-21T00:00:00Z"]);
    let said = |args: &[&str]| {
        let output = dwell(dir.path(), args);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout) + &text(output.stderr))
    };
    assert_eq!(said(&["mode", "shadow"]).1, "all flows without a mode of their own: off -> shadow\n");
    assert_eq!(said(&["mode", "deploy", "live"]).1, "deploy: shadow -> live\n");
    assert_eq!(said(&["mode", "deploy", "live"]).1, "deploy: live -> live (unchanged)\n");
    let flipped: Value = serde_json::from_str(&said(&["mode", "review", "off", "--json"]).1).unwrap();
    assert_eq!(flipped, json!({"from": "shadow", "to": "off", "changed": true}));
    let (_, table) = said(&["mode"]);
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
    let since = "2026-11-21T00:00:00Z";
    assert_eq!(words[0], ["global:", "shadow", "(global),", "dispatcher:"], "{table}");
    assert_eq!(words[2..], [["deploy", "live", "override", since], ["review", "off", "override", since]]);
    assert_eq!(said(&["mode", "review", "--clear"]).1, "review: off -> shadow\n");
    let one: Value = serde_json::from_str(&said(&["mode", "review", "--json"]).1).unwrap();
    assert_eq!((&one["mode"], &one["dispatcher"]), (&json!("shadow"), &json!("running")));
    let (code, refused) = said(&["mode", "review", "live"]);
    assert!(code == 4 && refused.contains("flow review: runtime farm is not configured"), "{refused}");
    assert_eq!(said(&["mode", "nobody"]).0, 3);
    assert_eq!(said(&["mode", "nobody", "off"]).0, 3);
    assert_eq!(said(&["mode", "deploy", "on"]).0, 2);
    assert_eq!(said(&["mode", "--clear"]).0, 2);
}
