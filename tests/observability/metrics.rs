//! `GET /metrics` of a real server: what the README says of it, the format, and what is counted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::exposition::{Family, Labels, value};
use super::server::{Server, directory, flows};
use super::{scrape, scraped, scraped_as};

pub const CONFIG: &str = "[log]\nlevel = \"error\"\n[retry]\nattempts = 1\n[sources.gh]\nkind = \"github\"\n\
    secrets = [\"plain:secret\"]\n";
const CLOCK: &[&str] = &["--test-clock", "2026-11-21T00:00:00Z"];

/// A server on which something has happened to every metric.
pub fn busy(dir: &std::path::Path) -> Server {
    let server = Server::start(dir, CLOCK);
    let worker = json!({"runtime": "worker", "action": {"worker": "q"}});
    let id = server.session(&worker);
    assert_eq!(server.post("/v1/claims", &json!({"worker": "me", "queue": "q"})).status, 200);
    let report = json!({"attempt": 1, "type": "rate_limited", "reset_at": "2026-11-21T01:30:00Z"});
    assert_eq!(server.post(&format!("/v1/records/{id}/reports"), &report).status, 200);
    server.advance("1h");
    server
}

/// Every series there is: its sample with its labels.
fn series(families: &[Family]) -> BTreeSet<(String, Labels)> {
    families.iter().flat_map(|family| family.series.keys().cloned()).collect()
}

#[test]
fn the_readme_s_table_is_what_is_told() {
    let dir = directory(CONFIG);
    let server = busy(dir.path());
    scrape(&server);
    let families = scrape(&server);
    let told: BTreeSet<Vec<String>> = (families.iter())
        .map(|family| {
            let labels: Vec<String> = family.labels().iter().map(|label| format!("`{label}`")).collect();
            let help = family.help.trim_end_matches('.');
            [&format!("`{}`", family.queried()), &family.kind, &family.unit, &labels.join(" "), help]
                .map(ToString::to_string)
                .to_vec()
        })
        .collect();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let table =
        readme.split("| metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n").nth(1);
    let rows = table.unwrap().lines().take_while(|line| line.starts_with('|'));
    let rows: BTreeSet<Vec<String>> = rows
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    let missing: Vec<_> = told.difference(&rows).map(|row| format!("| {} |", row.join(" | "))).collect();
    let surplus: Vec<_> = rows.difference(&told).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing:\n{}\nnot told: {surplus:#?}",
        missing.join("\n")
    );
}

#[test]
fn the_text_keeps_the_rules_of_its_content_type() {
    let dir = directory(CONFIG);
    let (kind, text) = scraped(&busy(dir.path()));
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(super::parse(&text).unwrap().len() > 20);
}

#[test]
fn who_does_not_ask_for_openmetrics_is_told_the_same_in_the_older_text() {
    let dir = directory(CONFIG);
    let server = busy(dir.path());
    let (kind, text) = scraped_as(&server, "*/*");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let told: BTreeSet<&str> =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(name, _)| name).collect();
    let newer = scraped(&server).1;
    for line in newer.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split_once(' ').unwrap().0;
        // That count began with the first answer.
        assert!(told.contains(name) || name.starts_with("dwell_http_requests"), "{name} is missing");
    }
    // Each sample follows what is said of it, under its own name.
    let mut said = "";
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            said = name;
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(name == said || of_histogram == Some(said), "{line} after the type of {said}");
        }
    }
}

#[test]
fn a_thousand_orgs_tell_no_more_series_than_one() {
    let dir = directory(CONFIG);
    let server = busy(dir.path());
    let work = |org: String| json!({"runtime": "worker", "org": org, "env": org, "action": {"worker": org}, "labels": {"l": org}});
    let batch = |orgs: std::ops::Range<usize>| {
        let sessions: Vec<_> = orgs.map(|org| work(format!("org-{org}"))).collect();
        assert_eq!(server.post("/v1/sessions/batch", &json!({ "sessions": sessions })).status, 200);
    };
    batch(0..1);
    scrape(&server);
    let one = series(&scrape(&server));
    (0..10).for_each(|hundred| batch(hundred * 100 + 1..hundred * 100 + 101));
    let families = scrape(&server);
    assert_eq!(value(&families, "dwell_records", &[("state", "queued")]), 1_001.0);
    let more: Vec<_> = series(&families).difference(&one).cloned().collect();
    assert!(more.is_empty(), "{more:#?}");
}

#[test]
fn what_happened_is_counted() {
    let dir = directory(CONFIG);
    let server = busy(dir.path());
    let held = scrape(&server);
    let runtime = [("runtime", "worker")];
    assert_eq!(value(&held, "dwell_runtime_paused", &runtime), 1.0);
    assert_eq!(value(&held, "dwell_runtime_paused", &[("runtime", "shell")]), 0.0);
    assert_eq!(value(&held, "dwell_records", &[("state", "rate_limited")]), 1.0);
    assert_eq!(value(&held, "dwell_wait_duration_seconds_count", &[("cause", "rate_limited")]), 0.0);
    assert_eq!(value(&held, "dwell_ready", &[]), 1.0);

    // It waited from 00:00 to 01:30.
    server.advance("31m");
    let id = server.get("/v1/sessions").body["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(server.post("/v1/claims", &json!({"worker": "me", "queue": "q"})).status, 200);
    let open = scrape(&server);
    assert_eq!(value(&open, "dwell_attempts_open", &runtime), 1.0);
    let failed = json!({"attempt": 2, "type": "failed", "code": "x"});
    assert_eq!(server.post(&format!("/v1/records/{id}/reports"), &failed).status, 200);
    server.get("/nowhere/at/all");
    let after = scrape(&server);
    for (sample, labels, expected) in [
        ("dwell_wait_duration_seconds_sum", &[("cause", "rate_limited")][..], 5_400.0),
        ("dwell_wait_duration_seconds_count", &[("cause", "rate_limited")], 1.0),
        ("dwell_deadline_lateness_seconds_count", &[], 1.0),
        ("dwell_deadline_lateness_seconds_sum", &[], 0.0),
        ("dwell_dead_letters_total", &[("cause", "attempts_exhausted")], 1.0),
        ("dwell_dead_letters_total", &[("cause", "expired")], 0.0),
        ("dwell_transitions_total", &[("event", "claim"), ("state", "active")], 2.0),
        ("dwell_transitions_total", &[("event", "failed"), ("state", "dead_lettered")], 1.0),
        ("dwell_records", &[("state", "dead_lettered")], 1.0),
        ("dwell_attempts_open", &runtime, 0.0),
        ("dwell_attempts_started_total", &[], 2.0),
        ("dwell_attempts_ended_total", &[], 2.0),
        ("dwell_runtime_paused", &runtime, 0.0),
        (
            "dwell_http_requests_total",
            &[("method", "POST"), ("route", "/v1/records/{id}/reports"), ("status", "2xx")],
            2.0,
        ),
        ("dwell_http_requests_total", &[("method", "GET"), ("route", "other"), ("status", "4xx")], 1.0),
    ] {
        let found = value(&after, sample, labels);
        // Two changes of a record in one instant are a millisecond apart.
        assert!((found - expected).abs() < 0.01, "{sample} {labels:?} is {found}, not {expected}");
    }
    for sample in ["dwell_commit_duration_seconds_count", "dwell_tick_duration_seconds_count"] {
        assert!(value(&after, sample, &[]) > value(&held, sample, &[]), "{sample}");
    }
    assert!(value(&after, "dwell_journal_bytes", &[]) > 0.0);
    assert!(value(&after, "dwell_checkpoint_lag_commits", &[]) > 0.0);
}

#[test]
fn the_burst_gate_tells_what_it_decides() {
    let burst = "[burst]\nthreshold = 1\nhold = \"10m\"\n[orgs.default]\nburst = true\n";
    let dir = directory(&format!("{CONFIG}{burst}"));
    flows(dir.path(), &[("f.yaml", "name: f\non: { cli: { go: } }\nrun: { worker: q }\n")]);
    let server = Server::start(dir.path(), CLOCK);
    for _ in 0..3 {
        assert_eq!(server.post("/v1/triggers", &json!({"source": "cli", "event": "go"})).status, 202);
    }
    let families = scrape(&server);
    let found: BTreeMap<_, _> = ["pass_through", "mollify"]
        .map(|outcome| {
            let reason = if outcome == "mollify" { "per_env_rate" } else { "none" };
            let labels = [("outcome", outcome), ("reason", reason)];
            (outcome, value(&families, "dwell_burst_decisions_total", &labels))
        })
        .into();
    assert_eq!(found, BTreeMap::from([("pass_through", 1.0), ("mollify", 2.0)]));
    assert_eq!(value(&families, "dwell_burst_tripped_envs", &[]), 1.0);
    server.advance("10m");
    assert_eq!(value(&scrape(&server), "dwell_burst_tripped_envs", &[]), 0.0);
}
