//! The log as JSON lines of a real server: what they say of records, and that a storm does not fill it.

use std::path::Path;

use serde_json::{Value, json};

use super::exposition::value;
use super::scrape;
use super::server::{Server, directory, flows};

const CLOCK: &[&str] = &["--test-clock", "2026-11-21T00:00:00Z"];

/// What a server that has ended said.
fn lines(dir: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(dir.join("log")).unwrap();
    let lines = log.lines().filter(|line| !line.starts_with("stopping:"));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Those which have these members.
fn with<'a>(lines: &'a [Value], members: &Value) -> Vec<&'a Value> {
    let members = members.as_object().unwrap();
    lines.iter().filter(|line| members.iter().all(|(name, value)| line[name] == *value)).collect()
}

#[test]
fn each_transition_has_a_line_that_says_whose_it_is() {
    let config = "[log]\nformat = \"json\"\nlevel = \"info,dwell::record=debug\"\n[retry]\nattempts = 1\n\
        [burst]\nthreshold = 1\n[orgs.acme]\nburst = true\n";
    let dir = directory(config);
    flows(dir.path(), &[("f.yaml", "name: f\non: { cli: { go: } }\norg: acme\nrun: { worker: q }\n")]);
    let server = Server::logged(dir.path(), CLOCK);
    let go = || server.post("/v1/triggers", &json!({"source": "cli", "event": "go"}));
    let id = go().body["runs"][0].as_str().unwrap().to_owned();
    let report = |attempt: u32, mut report: Value| {
        assert_eq!(server.post("/v1/claims", &json!({"worker": "me", "queue": "q"})).status, 200);
        report["attempt"] = json!(attempt);
        assert_eq!(server.post(&format!("/v1/records/{id}/reports"), &report).status, 200);
    };
    report(1, json!({"type": "rate_limited", "reset_at": "2026-11-21T01:30:00Z"}));
    server.advance("2h");
    report(2, json!({"type": "failed", "code": "broken", "message": "it is broken"}));
    // One too many, and so into the burst lane.
    let diverted = [go(), go()].map(|answer| answer.body["runs"][0].clone());
    let steps = server.history(&id);
    server.terminate();

    let lines = lines(dir.path());
    let of = with(&lines, &json!({"record": id, "target": "dwell::record"}));
    let told: Vec<_> = of.iter().map(|line| (line["event"].clone(), line["state"].clone())).collect();
    let happened: Vec<_> = steps.iter().map(|step| (step["event"].clone(), step["to"].clone())).collect();
    assert_eq!(told, happened);
    for line in &of {
        assert_eq!(
            (&line["flow"], &line["org"], &line["runtime"]),
            (&json!("f"), &json!("acme"), &json!("worker"))
        );
        let dead = line["state"] == "dead_lettered";
        assert_eq!(line["level"], if dead { "WARN" } else { "DEBUG" }, "{line}");
    }
    let dead = with(&lines, &json!({"level": "WARN", "record": id}));
    assert_eq!(
        (dead.len(), &dead[0]["attempt"], &dead[0]["cause"]),
        (1, &json!(2), &json!("attempts_exhausted"))
    );
    assert!(dead[0]["message"].as_str().unwrap().contains("it is broken"), "{}", dead[0]);
    let paused = with(&lines, &json!({"event": "runtime.paused", "runtime": "worker", "level": "WARN"}));
    assert_eq!((paused.len(), &paused[0]["until"]), (1, &json!("2026-11-21T01:30:00.000Z")));
    let burst =
        with(&lines, &json!({"event": "burst.diverted", "flow": "f", "org": "acme", "level": "INFO"}));
    assert_eq!(burst.iter().map(|line| &line["record"]).collect::<Vec<_>>(), [&diverted[1]]);
}

#[test]
fn a_storm_of_one_warning_is_cut_short_and_counted() {
    let config = "[log]\nformat = \"json\"\n[sources.gh]\nkind = \"github\"\nsecrets = [\"env:HOME\"]\n";
    let dir = directory(config);
    let server = Server::logged(dir.path(), CLOCK);
    for _ in 0..150 {
        assert_eq!(server.deliver("gh", &[], b"{}").status, 401);
    }
    let dropped = value(&scrape(&server), "dwell_log_lines_dropped_total", &[]);
    server.terminate();
    let lines = lines(dir.path());
    let refused = with(&lines, &json!({"message": "webhook refused", "level": "WARN"}));
    let at = |line: &Value| line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let took = at(refused[refused.len() - 1]).duration_since(at(refused[0]));
    // A machine that takes longer than a window for them has one more window, or several.
    let windows = usize::try_from(took.as_secs()).unwrap() / 10 + 1;
    assert!((100..=windows * 100).contains(&refused.len()), "{} lines", refused.len());
    assert_eq!(f64::from(u32::try_from(refused.len()).unwrap()) + dropped, 150.0);
}
