//! The routes on a real engine over a store in memory; the tests play the executor.

mod bulk;
mod events;
mod front;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::engine::{self, Engine, Released, Settings};
use crate::model::{StateName, Time};
use crate::shell::time;
use crate::store::{Backend as _, Memory, Stored as _};

/// A transition of session `id` as two bytes: its id and its attempt.
pub(super) fn decode(bytes: &[u8]) -> Option<Transition> {
    let [id, attempt] = bytes.try_into().ok()?;
    Some(Transition {
        at: Time::ZERO,
        id: RecordId::session(u128::from(id)),
        event: "dispatch".into(),
        from: None,
        to: StateName::Active,
        attempt: u32::from(attempt),
        deadline: None,
        detail: None,
    })
}

struct Hand(Clock);

impl engine::Clock for Hand {
    fn now(&self) -> Time {
        self.0.now()
    }
    fn arm(&self, _at: Option<Time>) {}
    fn advance_to(&self, at: Time) {
        self.0.advance_to(at);
    }
}

struct Running {
    url: String,
    shared: Arc<Shared>,
    handle: Handle,
    logs: TempDir,
    agent: ureq::Agent,
    _server: Server,
}

fn start() -> Running {
    let clock = Clock::test(time::parse("2026-11-21T00:00:00Z").unwrap());
    let store = Memory::new();
    let (handle, inbox) = engine::channel(store.history());
    let logs = tempfile::tempdir().unwrap();
    let kind = "github".parse().unwrap();
    let source = Source { kind, name: "github".into(), secrets: Vec::new() };
    let shared = Arc::new(Shared {
        handle,
        store: String::from("here"),
        clock: clock.clone(),
        ids: Ids::default(),
        feed: Feed::default(),
        observed: Observed::default(),
        backups: Some(Backups::of(Arc::new(store.clone()))),
        logs: logs.path().to_owned(),
        loaded: Current::new(Loaded {
            sources: BTreeMap::from([("gh".into(), source)]),
            flows: Vec::new(),
            missing: Box::new(Vec::new),
            expand: Box::new(|_| Vec::new()),
            prompts: Prompts { limit_reset: "it has reset".to_owned(), go_on: "go on".to_owned() },
        }),
        decode: |bytes| Transition::decode(bytes).ok(),
        token_ok: Arc::new(|_, _, token| token == "right"),
        keyring: Arc::default(),
        limits: Limits::default(),
        token: Box::new(|_, _| "right".to_owned()),
    });
    let (feed, handle) = (Arc::clone(&shared), shared.handle.clone());
    thread::spawn(move || {
        let settings = Settings { runtimes: BTreeMap::from([("shell".into(), 2)]), ..Settings::default() };
        let (opening, _) = Engine::open(Box::new(store), settings, clock.now()).unwrap();
        let mut release = |released: Released| {
            for (reply, result) in released.replies.each().map(crate::store::Durable::split) {
                reply.into_inner()(result);
            }
            for transition in released.transitions.into_inner() {
                feed.feed.publish(&transition);
            }
        };
        engine::run(opening.survivors_stopped(), &inbox, &Hand(clock), &mut release, &mut || {}).unwrap();
    });
    let server = Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::clone(&shared)).unwrap();
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    Running { url: format!("http://{}", server.address()), shared, handle, logs, agent, _server: server }
}

impl Running {
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(body).unwrap()).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.send("GET", path, &[], b"");
        (status, serde_json::from_str(&text).unwrap())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.send("POST", path, &[], body.to_string().as_bytes());
        (status, serde_json::from_str(&text).unwrap())
    }

    fn session(&self, budget: Option<u32>) -> String {
        let body = json!({"runtime": "shell", "action": {"command": ["true"]}, "budget": budget});
        let (status, record) = self.post("/v1/sessions", &body);
        assert_eq!(status, 201, "{record}");
        record["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_key_makes_one_session() {
    let dwell = start();
    let body = json!({"runtime": "shell", "action": {"command": ["true"]}});
    let send =
        || dwell.send("POST", "/v1/sessions", &[("Idempotency-Key", "k")], body.to_string().as_bytes());
    let (first, again) = (send(), send());
    assert_eq!((first.0, again.0), (201, 200));
    let (first, again): (Value, Value) =
        (serde_json::from_str(&first.1).unwrap(), serde_json::from_str(&again.1).unwrap());
    assert_eq!(first["id"], again["id"]);
    assert_eq!((first.get("duplicate"), &again["duplicate"]), (None, &json!(true)));
    assert_eq!(dwell.get("/v1/sessions?key=k").1["items"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_is_told_as_a_problem() {
    let dwell = start();
    let id = dwell.session(None);
    let absent = "ses_7ZZZZZZZZZZZZZZZZZZZZZZZZZ";
    let table = [
        ("GET", "/nowhere".to_owned(), "", 404, "not_found"),
        ("DELETE", "/v1/status".to_owned(), "", 405, "method_not_allowed"),
        ("GET", "/v1/records/ses_%FF".to_owned(), "", 400, "bad_request"),
        ("GET", format!("/v1/records/{absent}"), "", 404, "not_found"),
        ("GET", "/v1/records/nonsense".to_owned(), "", 404, "not_found"),
        ("GET", "/v1/sessions?limit=x".to_owned(), "", 400, "bad_request"),
        ("POST", "/v1/sessions".to_owned(), "{", 400, "bad_request"),
        (
            "POST",
            "/v1/sessions".to_owned(),
            r#"{"runtime":"x","action":{"command":["a"]}}"#,
            422,
            "unknown_runtime",
        ),
        ("POST", format!("/v1/records/{id}/redrive"), "", 409, "illegal_transition"),
        ("POST", format!("/v1/records/{id}/charge"), r#"{"attempt":9}"#, 409, "stale_attempt"),
        ("POST", "/v1/runtimes/x/pause".to_owned(), "", 404, "unknown_runtime"),
        ("POST", "/hooks/x".to_owned(), "{}", 404, "not_found"),
        ("POST", "/hooks/gh".to_owned(), "{}", 401, "bad_signature"),
    ];
    for (method, path, body, status, code) in table {
        let (found, text) = dwell.send(method, &path, &[], body.as_bytes());
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((found, document["code"].as_str()), (status, Some(code)), "{method} {path}: {text}");
        assert_eq!(document["status"], status, "{text}");
    }
}

#[test]
fn a_body_beyond_its_limit_is_too_large_and_webhooks_may_be_larger() {
    let dwell = start();
    let large = vec![b' '; BODY_BYTES_MAX + 1];
    assert_eq!(dwell.send("POST", "/v1/sessions", &[], &large).0, 413);
    assert_eq!(dwell.send("POST", "/hooks/gh", &[], &large).0, 401);
    assert_eq!(dwell.send("POST", "/hooks/gh", &[], &vec![b' '; HOOK_BYTES_MAX + 1]).0, 413);
}

#[test]
fn the_charge_beyond_the_budget_is_refused_in_its_own_words() {
    let dwell = start();
    let id = dwell.session(Some(20));
    let path = format!("/v1/records/{id}/charge");
    for used in 1..=20 {
        assert_eq!(dwell.post(&path, &json!({"attempt": 1})), (200, json!({"used": used, "limit": 20})));
    }
    let (status, problem) = dwell.post(&path, &json!({"attempt": 1, "calls": 1}));
    assert_eq!((status, &problem["code"]), (429, &json!("budget_exhausted")));
    let text = "rate-limit budget exhausted: used 20 of 20 mutating calls for this flow run";
    assert_eq!(problem["detail"], text);
    assert_eq!(dwell.get(&format!("/v1/records/{id}")).1["budget"]["used"], 20);
    let free = dwell.session(None);
    let charged = dwell.post(&format!("/v1/records/{free}/charge"), &json!({"attempt": 1}));
    assert_eq!(charged, (200, json!({"used": null, "limit": null})));
}

#[test]
fn a_wrong_token_is_refused_and_none_is_accepted() {
    let dwell = start();
    let path = format!("/v1/records/{}/reports", dwell.session(None));
    let body = br#"{"attempt":1,"type":"heartbeat"}"#;
    for (headers, status) in [
        (vec![("Authorization", "Bearer wrong")], 401),
        (vec![("Authorization", "right")], 401),
        (vec![("Authorization", "Bearer right")], 200),
        (vec![], 200),
    ] {
        assert_eq!(dwell.send("POST", &path, &headers, body).0, status, "{headers:?}");
    }
}

#[test]
fn a_long_poll_answers_when_its_record_moves() {
    let dwell = start();
    let id = dwell.session(None);
    let seen = dwell.get(&format!("/v1/records/{id}")).1;
    let path = format!("/v1/records/{id}?wait=50s&while={}", seen["updated_at"].as_str().unwrap());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| dwell.get(&path));
        assert_eq!(dwell.post(&format!("/v1/records/{id}/cancel"), &json!({})).0, 200);
        assert_eq!(waiting.join().unwrap().1["state"], "cancelled");
    });
}

#[test]
fn a_prefix_finds_its_record_and_an_ambiguous_one_names_the_candidates() {
    let dwell = start();
    let (a, b) = (dwell.session(None), dwell.session(None));
    assert_eq!(dwell.get(&format!("/v1/records/{}", &a[..a.len()])).1["id"], *a);
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(dwell.get(&format!("/v1/records/{}", &b[..=common])).1["id"], *b);
    let (status, problem) = dwell.get(&format!("/v1/records/{}", &a[..common]));
    assert_eq!((status, &problem["code"]), (409, &json!("ambiguous")));
    assert_eq!(problem["candidates"], json!([a, b]));
}

#[test]
fn history_tells_every_step_of_one_record() {
    let dwell = start();
    let id = dwell.session(None);
    dwell.session(None);
    dwell.post(&format!("/v1/records/{id}/reports"), &json!({"attempt": 1, "type": "succeeded"}));
    let items = dwell.get(&format!("/v1/records/{id}/history")).1["items"].clone();
    let steps: Vec<(&str, &str)> = (items.as_array().unwrap().iter())
        .map(|step| (step["event"].as_str().unwrap(), step["to"].as_str().unwrap()))
        .collect();
    assert_eq!(steps, [("admitted", "queued"), ("dispatch", "active"), ("succeeded", "completed")]);
}

#[test]
fn logs_are_ranged_and_a_follower_ends_with_the_record() {
    let dwell = start();
    let id = dwell.session(None);
    let dir = dwell.logs.path().join(&id);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("1.log"), "one\ntwo\n").unwrap();
    let logs = |query: &str| dwell.send("GET", &format!("/v1/records/{id}/logs{query}"), &[], b"").1;
    assert_eq!(logs(""), "one\ntwo\n");
    assert_eq!(logs("?attempt=1&offset=4"), "two\n");
    assert_eq!(logs("?attempt=2"), "");
    assert_eq!(logs("?offset=9223372036854775807"), "");
    assert!(logs("?offset=9223372036854775808").contains("offset: expected at most"));
    thread::scope(|scope| {
        let following = scope.spawn(|| (logs("?follow=true"), logs("?follow=true&attempt=1")));
        dwell.post(&format!("/v1/records/{id}/reports"), &json!({"attempt": 1, "type": "succeeded"}));
        assert_eq!(following.join().unwrap(), ("one\ntwo\n".to_owned(), "one\ntwo\n".to_owned()));
    });
}

#[test]
fn the_test_clock_moves_and_says_what_happened() {
    let dwell = start();
    let id = dwell.session(None);
    let report = json!({"attempt": 1, "type": "rate_limited", "reset_at": "2026-11-21T01:30:00Z"});
    let (_, record) = dwell.post(&format!("/v1/records/{id}/reports"), &report);
    assert_eq!(record["wait"]["until"], "2026-11-21T01:30:00.000Z");
    let runtimes = dwell.get("/v1/runtimes").1;
    assert_eq!(runtimes["items"][0]["state"], "limited");
    let (status, advanced) = dwell.post("/v1/clock/advance", &json!({"by": "90m"}));
    assert_eq!((status, &advanced["now"]), (200, &json!("2026-11-21T01:30:00.000Z")));
    let record = dwell.get(&format!("/v1/records/{id}")).1;
    assert_eq!((&record["state"], &record["attempt"]), (&json!("active"), &json!(2)));
}

#[test]
fn an_operator_pauses_and_resumes_a_runtime() {
    let dwell = start();
    let (_, paused) = dwell.post("/v1/runtimes/shell/pause", &json!({"until": "+90m"}));
    assert_eq!(
        (&paused["state"], &paused["paused_until"]),
        (&json!("paused"), &json!("2026-11-21T01:30:00.000Z"))
    );
    let id = dwell.session(None);
    assert_eq!(dwell.get(&format!("/v1/records/{id}")).1["state"], "queued");
    assert_eq!(dwell.post("/v1/runtimes/shell/resume", &json!({})).1["state"], "open");
    assert_eq!(dwell.get(&format!("/v1/records/{id}")).1["state"], "active");
    assert_eq!(dwell.post("/v1/runtimes/shell/pause", &json!({"until": "2020-01-01T00:00:00Z"})).0, 400);
}

#[test]
fn a_trigger_is_accepted_once() {
    let dwell = start();
    let body = json!({"source": "cli", "event": "deploy", "id": "d-1", "payload": {"n": 1}});
    let (first, again) = (dwell.post("/v1/triggers", &body), dwell.post("/v1/triggers", &body));
    assert_eq!((first.0, again.0), (202, 200));
    assert_eq!(first.1["trigger"], again.1["trigger"]);
    assert_eq!((&first.1["outcome"], &first.1["runs"]), (&json!("pass_through"), &json!([])));
    assert_eq!(dwell.get("/v1/triggers").1["items"][0]["dedup"], "d-1");
}

#[test]
fn a_refusal_ends_the_connection_if_there_may_be_a_body_that_nobody_reads() {
    let dwell = start();
    let ends = |method: &str, path: &str, body: &[u8]| {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", dwell.url));
        let response = dwell.agent.run(request.body(body).unwrap()).unwrap();
        response.headers().get("connection").is_some_and(|value| value == "close")
    };
    assert!(ends("POST", "/hooks/x", b"{}"));
    assert!(ends("POST", "/nowhere", b"{}"));
    assert!(!ends("GET", "/nowhere", b""));
    assert!(!ends("POST", "/v1/claims", br#"{"worker":"w","queue":"q"}"#));
}

#[test]
fn pages_of_other_origins_are_kept_out() {
    let dwell = start();
    assert_eq!(dwell.send("POST", "/v1/sessions", &[("Origin", "https://evil.example")], b"{}").0, 403);
    assert_eq!(dwell.send("GET", "/v1/status", &[("Host", "evil.example:7070")], b"").0, 403);
    assert_eq!(dwell.send("GET", "/v1/status", &[("Host", "localhost:7070")], b"").0, 200);
    assert_eq!(dwell.send("GET", "/readyz", &[], b"").0, 200);
    assert_eq!(dwell.send("GET", "/healthz", &[], b"").0, 200);
}
