//! `schema/openapi.yaml` is what the server does: the same routes, and real answers of the real binary that keep to it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};

use dwell::shell::http::{Access, Method, OPENAPI, ROUTES};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonschema::Validator;
use serde_json::{Value, json};

use super::server::{Server, directory};

const CONFIG: &str = r#"
[sources.gh]
kind = "github"
secrets = ["plain:secret"]
"#;

const FLOW: &str = "
name: deploy
on: { github: { push: '*' } }
run: { command: [sh, -c, 'exit 65'] }
";

/// It is off, and could not be live.
const LOST: &str = "
name: lost
on: { elsewhere: { push: '*' } }
mode: off
run: { command: ['true'], runtime: nowhere }
";

const TIDY: &str = "
name: tidy
on: { cli: { deploy: }, schedule: { cron: '0 0 1 1 *' } }
debounce: { key: k }
run: { command: ['true'] }
";

/// The document as JSON.
fn document() -> Value {
    serde_saphyr::from_str(OPENAPI).unwrap()
}

fn word(method: Method) -> &'static str {
    match method {
        Method::Get => "get",
        Method::Post => "post",
        Method::Put => "put",
        Method::Delete => "delete",
    }
}

/// Every operation of the document: method, path, and what it says.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    found
}

/// What a reference stands for.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        None => value,
        Some(reference) => {
            let found = document.pointer(reference.strip_prefix('#').unwrap());
            found.unwrap_or_else(|| panic!("{reference} is not there"))
        }
    }
}

/// A validator of one schema of the document, with formats.
fn validator(document: &Value, schema: &Value) -> Validator {
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    jsonschema::draft202012::options().should_validate_formats(true).build(&whole).unwrap()
}

fn hold(document: &Value, schema: &Value, value: &Value, what: &str) {
    let faults: Vec<String> = (validator(document, schema).iter_errors(value))
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{what} answers {value:#}, which is not as documented: {faults:#?}");
}

#[test]
fn routes_and_document_are_the_same_set() {
    let routes: BTreeSet<(String, String)> =
        ROUTES.iter().map(|route| (word(route.method).to_owned(), route.path.to_owned())).collect();
    assert_eq!(routes.len(), ROUTES.len(), "a route is there twice");
    let documented: BTreeSet<(String, String)> =
        operations(&document()).into_iter().map(|(method, path, _)| (method, path)).collect();
    assert_eq!(routes, documented);
}

#[test]
fn routes_and_document_ask_for_the_same_tokens() {
    let document = document();
    for route in ROUTES {
        let told = match route.access {
            Access::Open => json!([]),
            Access::Signed => json!([{ "signature": [] }]),
            Access::Holder(right) => json!([{ "token": [right.as_str()] }]),
            Access::Attempt(right) => json!([{ "token": [right.as_str()] }, { "attemptToken": [] }]),
        };
        let operation = &document["paths"][route.path][word(route.method)];
        let documented = operation.get("security").unwrap_or(&document["security"]);
        assert_eq!(*documented, told, "{:?} {}", route.method, route.path);
    }
}

#[test]
fn every_operation_has_its_own_id_and_its_path_s_parameters() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (_, path, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
        assert!(operation["responses"]["default"].is_object(), "{path} says nothing about refusals");
        let none = Vec::new();
        let declared: BTreeSet<String> = operation["parameters"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .map(|parameter| resolved(&document, parameter))
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        let named: BTreeSet<String> =
            path.split('{').skip(1).map(|part| part.split('}').next().unwrap().to_owned()).collect();
        assert_eq!(declared, named, "{path}");
    }
}

/// What changes something and is not named by its caller: a webhook has its delivery id, a lost claim its lease, and the
/// test clock is nobody's. Nodes that have their share give back nothing, however often they are asked.
const WITHOUT_KEY: &[&str] = &["/hooks/{source}", "/v1/claims", "/v1/clock/advance", "/v1/nodes/rebalance"];

#[test]
fn every_operation_that_changes_something_takes_an_idempotency_key() {
    let document = document();
    for (method, path, operation) in operations(&document).iter().filter(|(method, ..)| method != "get") {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let mut named = parameters.map(|parameter| &resolved(&document, parameter)["name"]);
        let taken = named.any(|name| name == "Idempotency-Key");
        assert_ne!(taken, WITHOUT_KEY.contains(&path.as_str()), "{method} {path}");
    }
}

/// The data of the first event of a stream, which goes on.
fn first_event(body: ureq::Body) -> String {
    let mut lines = BufReader::new(body.into_reader()).lines().map(Result::unwrap);
    lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap()
}

/// A server whose every answer is held against the document.
struct Checked {
    document: Value,
    server: Server,
    agent: ureq::Agent,
    /// Operations that answered well at least once.
    seen: RefCell<BTreeSet<String>>,
}

impl Checked {
    fn start(dir: &std::path::Path) -> Checked {
        let server = Server::start(dir, &["--test-clock", "2026-11-21T00:00:00Z", "--flows", "."]);
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Checked { document: document(), server, agent, seen: RefCell::default() }
    }

    /// Asks `path` with `names` filled in; what comes back, once it is found to be as documented.
    fn ask(&self, method: &str, path: &str, names: &[&str], query: &str, body: &Value) -> (u16, Value) {
        let operation = &self.document["paths"][path][method];
        assert!(operation.is_object(), "{method} {path} is not documented");
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.send(method, path, names, query, &[], &bytes);
        if answer.0 < 300 && !body.is_null() {
            hold(&self.document, schema, body, &format!("what {method} {path} accepts"));
        }
        answer
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        names: &[&str],
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Value) {
        let filled = names.iter().fold(path.to_owned(), |filled, name| {
            let (open, close) = (filled.find('{').unwrap(), filled.find('}').unwrap());
            format!("{}{name}{}", &filled[..open], &filled[close + 1..])
        });
        let uri = format!("{}{filled}{query}", self.server.url);
        let mut request = ureq::http::Request::builder().method(method.to_uppercase().as_str()).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(body).unwrap()).unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let text = if kind == "text/event-stream" {
            first_event(response.into_body())
        } else if kind == "application/octet-stream" {
            format!("{} bytes", response.body_mut().read_to_vec().unwrap().len())
        } else {
            response.body_mut().read_to_string().unwrap()
        };

        let what = format!("{method} {filled}{query} ({status})");
        let responses = &self.document["paths"][path][method]["responses"];
        let documented = responses.get(status.to_string()).unwrap_or(&responses["default"]);
        let content = &resolved(&self.document, documented)["content"][&kind];
        assert!(content.is_object(), "{what} answers {kind}, which is not documented: {text}");
        if status < 300 {
            self.seen.borrow_mut().insert(format!("{method} {path}"));
        }
        if kind == "text/event-stream" {
            let transition = json!({ "$ref": "#/components/schemas/Transition" });
            hold(&self.document, &transition, &serde_json::from_str(&text).unwrap(), &what);
        }
        if !kind.ends_with("json") {
            return (status, Value::String(text));
        }
        let value = serde_json::from_str(&text).unwrap();
        hold(&self.document, &content["schema"], &value, &what);
        (status, value)
    }

    fn get(&self, path: &str, names: &[&str], query: &str) -> Value {
        let (status, value) = self.ask("get", path, names, query, &Value::Null);
        assert_eq!(status, 200, "{path}{query}: {value:#}");
        value
    }

    fn post(&self, path: &str, names: &[&str], body: &Value) -> (u16, Value) {
        self.ask("post", path, names, "", body)
    }

    fn session(&self, body: &Value) -> String {
        let (status, record) = self.post("/v1/sessions", &[], body);
        assert_eq!(status, 201, "{record:#}");
        record["id"].as_str().unwrap().to_owned()
    }
}

fn sleeper() -> Value {
    json!({
        "runtime": "shell", "action": {"command": ["sleep", "1000"], "cwd": "/"}, "org": "o", "env": "e",
        "task": "t", "budget": 2, "payload": {"n": 1}, "labels": {"team": "red"}, "expires": "24h",
        "concurrency": {"group": "sleepers", "max": 9, "cancel_in_progress": false, "queue": 9},
        "on_dead_letter": {"http": {"url": "http://127.0.0.1:9/", "headers": {"X-Key": "secret"}}},
    })
}

/// Sessions in every state that waits for nobody, through every route about one record.
fn records(dwell: &Checked) {
    const ONE: &str = "/v1/records/{id}";
    const CHARGE: &str = "/v1/records/{id}/charge";
    const REPORTS: &str = "/v1/records/{id}/reports";
    let a = dwell.session(&sleeper());
    let keyed = json!({"runtime": "shell", "action": {"command": ["sleep", "1000"]}, "key": "k"});
    let b = dwell.session(&keyed);
    assert_eq!(dwell.post("/v1/sessions", &[], &keyed).1["duplicate"], true);
    dwell.get(ONE, &[&a], "?wait=1s");
    assert_eq!(dwell.post(CHARGE, &[&a], &json!({"attempt": 1, "calls": 2})).0, 200);
    assert_eq!(dwell.post(CHARGE, &[&a], &json!({"attempt": 1})).0, 429);
    let topped = dwell.post("/v1/records/{id}/budget", &[&a], &json!({"add": 1, "of": "calls"})).1;
    assert_eq!(topped["budget"]["limit"], 3);
    assert_eq!(dwell.post("/v1/records/{id}/budget", &[&a], &json!({"add": "1h", "of": "wall"})).0, 422);
    assert_eq!(dwell.post(CHARGE, &[&b], &json!({"attempt": 1})).1, json!({"used": null, "limit": null}));
    let used = json!({"attempt": 1, "type": "usage", "tokens": 1200, "cost_usd": 0.04});
    assert_eq!(dwell.post(REPORTS, &[&a], &used).1["budget"]["cost_usd"]["used"], 0.04);
    let limits = json!({
        "calls": 20, "attempts": 5, "wall": "2h", "tokens": 100_000, "cost_usd": 1.5,
        "soft": {"calls": 8, "attempts": 4, "wall": 3600, "tokens": 1, "cost_usd": 1}, "on_exhausted": "ask",
    });
    let action = json!({"command": ["sleep", "1000"]});
    dwell.session(&json!({"runtime": "shell", "action": action, "budget": limits}));
    let soft =
        dwell.session(&json!({"runtime": "shell", "action": action, "budget": {"soft": {"calls": 1}}}));
    assert_eq!(dwell.post(CHARGE, &[&soft], &json!({"attempt": 1})).1, json!({"used": 1, "limit": null}));
    dwell.get(ONE, &[&soft], "");
    let told = json!({"attempt": 1, "type": "session", "id": "s-1"});
    assert_eq!(dwell.post(REPORTS, &[&a], &told).1["resume_token"], "s-1");
    let limited = json!({
        "attempt": 1, "type": "rate_limited", "reset_at": "2026-11-21T01:00:00Z", "message": "full",
        "using_overage": false, "overage": {"status": "rejected", "reset_at": 1_795_222_800},
    });
    assert_eq!(dwell.post(REPORTS, &[&a], &limited).1["state"], "rate_limited");
    assert_eq!(dwell.post(REPORTS, &[&a], &limited).0, 409);
    dwell.get(ONE, &[&a], "");
    dwell.get("/v1/runtimes", &[], "");
    let advanced = dwell.post("/v1/clock/advance", &[], &json!({"by": "90m"}));
    assert_eq!(advanced.0, 200);
    let failed = json!({"attempt": 2, "type": "failed", "code": "c", "message": "m"});
    assert_eq!(dwell.post(REPORTS, &[&a], &failed).1["state"], "backoff");
    dwell.get(ONE, &[&a], "");
    assert_eq!(dwell.post("/v1/records/{id}/resume", &[&a], &json!({})).1["lane"], "ready");
    let invalid = json!({"attempt": 3, "type": "invalid"});
    assert_eq!(dwell.post(REPORTS, &[&a], &invalid).1["cause"], "invalid");
    assert_eq!(dwell.get("/v1/dead-letters", &[], "")["items"].as_array().unwrap().len(), 1);
    assert_eq!(dwell.post("/v1/records/{id}/redrive", &[&a], &json!({})).0, 200);
    let done = json!({"attempt": 4, "type": "succeeded", "result": {"pr": 7}});
    assert_eq!(dwell.post(REPORTS, &[&a], &done).1["state"], "completed");
    assert_eq!(dwell.post("/v1/records/{id}/cancel", &[&b], &Value::Null).1["state"], "cancelled");
    assert_eq!(dwell.post("/v1/records/{id}/cancel", &[&b], &json!({})).0, 409);
    let (status, rerun) = dwell.post("/v1/records/{id}/rerun", &[&a], &json!({}));
    assert_eq!((status, &rerun["rerun_of"]), (201, &json!(a)));
    let http =
        json!({ "http": {"url": "http://127.0.0.1:9/", "method": "PUT", "headers": {"X-Key": "secret"}} });
    dwell.session(&json!({"runtime": "shell", "action": http}));
    let batch = json!({ "sessions": [sleeper(), keyed] });
    let (status, batched) = dwell.post("/v1/sessions/batch", &[], &batch);
    let statuses: Vec<u64> =
        batched["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!((status, statuses), (200, vec![201, 200]));
    let c = &batched["items"][0]["record"]["id"];
    let reports = json!({ "reports": [
        {"record": c, "attempt": 1, "type": "succeeded"},
        {"record": c, "attempt": 1, "type": "heartbeat"},
    ] });
    let (_, reported) = dwell.post("/v1/reports", &[], &reports);
    assert_eq!(reported["items"][0]["record"]["state"], "completed");
    assert_eq!(reported["items"][1]["problem"]["code"], "stale_attempt");
    let nothing = json!({
        "ids": [a], "cause": "invalid", "flow": "f", "runtime": "shell", "org": "o", "env": "e", "older": "1h",
        "dry_run": true, "limit": 10, "cursor": b,
    });
    assert_eq!(dwell.post("/v1/dead-letters/redrive", &[], &nothing).1["matched"], 0);
    redrives(dwell);
    for id in [&a, &b] {
        dwell.get(ONE, &[id], "");
        assert!(!dwell.get("/v1/records/{id}/history", &[id], "")["items"].as_array().unwrap().is_empty());
        dwell.get("/v1/records/{id}/logs", &[id], "?attempt=1&offset=0&follow=false");
    }
    assert_eq!(dwell.ask("get", ONE, &["ses_"], "", &Value::Null).1["code"], "ambiguous");
    let page = dwell.get("/v1/sessions", &[], "?limit=1");
    dwell.get("/v1/sessions", &[], &format!("?limit=1&cursor={}", page["cursor"].as_str().unwrap()));
}

/// A dead letter in its group, and a paced redrive of it that is stopped.
fn redrives(dwell: &Checked) {
    const REDRIVE: &str = "/v1/dead-letters/redrive";
    let id = dwell.session(&json!({"runtime": "shell", "action": {"command": ["sleep", "1000"]}}));
    let fault = json!({"attempt": 1, "type": "invalid", "code": "c", "message": "no file 17"});
    assert_eq!(dwell.post("/v1/records/{id}/reports", &[&id], &fault).0, 200);
    let groups = dwell.get("/v1/dead-letters/groups", &[], "?limit=10");
    let group = &groups["items"][0];
    assert_eq!((&group["sample"], &group["example"]), (&json!("c: no file #"), &json!(id)));
    let asked = json!({
        "fingerprint": group["fingerprint"], "cause": "invalid", "runtime": "shell", "org": "default",
        "env": "default", "older": "0s", "rate": "5/m",
    });
    let (status, begun) = dwell.post(REDRIVE, &[], &asked);
    assert_eq!((status, &begun["matched"], &begun["redriven"]), (202, &json!(1), &json!(0)));
    let running = dwell.get("/v1/redrives", &[], "");
    assert_eq!(running["items"][0]["id"], begun["redrive"]);
    let (_, none) = dwell.post(REDRIVE, &[], &json!({"cause": "lost", "rate": "5/m"}));
    assert_eq!(none["redrive"], Value::Null);
    let name = begun["redrive"].as_str().unwrap();
    let stop = |status| {
        let answer = dwell.ask("delete", "/v1/redrives/{id}", &[name], "", &Value::Null);
        assert_eq!(answer.0, status, "{}", answer.1);
    };
    stop(200);
    stop(404);
    for wrong in
        [json!({"rate": "5"}), json!({"rate": "5/m", "ids": [id]}), json!({"rate": "5/m", "limit": 5})]
    {
        assert_eq!(dwell.post(REDRIVE, &[], &wrong).0, 400, "{wrong}");
    }
}

/// A worker's life: it takes what there is, resumes what waited for a window, and finds nothing more.
fn claims(dwell: &Checked) {
    let claim = json!({"worker": "me", "queue": "q", "max": 2, "wait": "1s", "lease": "5m"});
    let id = dwell.session(&json!({
        "runtime": "worker", "action": {"worker": "q"}, "payload": {"n": 1}, "task": "t", "labels": {"team": "red"},
    }));
    let taken = dwell.post("/v1/claims", &[], &claim).1["attempts"][0].clone();
    assert_eq!((&taken["id"], &taken["payload"]), (&json!(id), &json!({"n": 1})), "{taken:#}");
    let told = json!({"attempt": 1, "type": "session", "id": "s-1"});
    assert_eq!(dwell.post("/v1/records/{id}/reports", &[&id], &told).0, 200);
    let limited = json!({"attempt": 1, "type": "rate_limited", "reset_at": "+1m"});
    assert_eq!(dwell.post("/v1/records/{id}/reports", &[&id], &limited).0, 200);
    assert_eq!(dwell.post("/v1/clock/advance", &[], &json!({"by": "1m"})).0, 200);
    let taken = dwell.post("/v1/claims", &[], &claim).1["attempts"][0].clone();
    assert_eq!((&taken["resume_token"], &taken["attempt"]), (&json!("s-1"), &json!(2)), "{taken:#}");
    assert!(taken["prompt"].as_str().unwrap().contains("reset"), "{taken:#}");
    let done =
        json!({"reports": [{"record": id, "attempt": 2, "token": taken["token"], "type": "succeeded"}]});
    assert_eq!(dwell.post("/v1/reports", &[], &done).1["items"][0]["status"], 200);
    let nothing = json!({"worker": "me", "queue": "q"});
    assert_eq!(dwell.post("/v1/claims", &[], &nothing).1, json!({"attempts": []}));
    let queues = dwell.get("/v1/claims", &[], "");
    assert_eq!((&queues["items"][0]["queue"], &queues["items"][0]["queued"]), (&json!("q"), &json!(0)));
}

/// What is not about one record.
fn the_rest(dwell: &Checked) {
    let body = br#"{"ref":"refs/heads/main"}"#;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"secret").unwrap();
    mac.update(body);
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("sha256={digest}");
    let headers =
        [("x-github-event", "push"), ("x-github-delivery", "d-1"), ("x-hub-signature-256", &signature)];
    for status in [202, 200] {
        let answer = dwell.send("post", "/hooks/{source}", &["gh"], "", &headers, body);
        assert_eq!((answer.0, answer.1["runs"].as_array().unwrap().len()), (status, 1), "{}", answer.1);
    }
    assert_eq!(dwell.send("post", "/hooks/{source}", &["gh"], "", &[], body).0, 401);
    let by_hand = json!({
        "source": "cli", "event": "deploy", "action": "now", "id": "d-2", "org": "o", "env": "e",
        "payload": {"n": 1},
    });
    let (status, triggered) = dwell.post("/v1/triggers", &[], &by_hand);
    assert_eq!((status, &triggered["debounced"][0]["key"]), (202, &json!("k")));
    let id = triggered["trigger"].as_str().unwrap();
    assert_eq!(dwell.get("/v1/triggers/{id}", &[id], "")["payload"], json!({"n": 1}));
    assert_eq!(dwell.post("/v1/triggers/{id}/replay", &[id], &json!({})).0, 200);
    let (status, replayed) = dwell.post("/v1/triggers/{id}/replay", &[id], &json!({"force": true}));
    assert_eq!(status, 202);
    let replayed = dwell.get("/v1/triggers/{id}", &[replayed["trigger"].as_str().unwrap()], "");
    assert_eq!(replayed["replay_of"], id);
    assert_eq!(dwell.ask("get", "/v1/triggers/{id}", &["trg_"], "", &Value::Null).1["code"], "ambiguous");
    assert_eq!(dwell.post("/v1/triggers", &[], &by_hand).0, 200);
    for path in ["/v1/triggers", "/v1/runs", "/v1/flows", "/v1/upcoming"] {
        assert!(!dwell.get(path, &[], "")["items"].as_array().unwrap().is_empty(), "{path}");
    }
    dwell.get("/v1/events", &[], "?after=0");
    for path in ["/v1/status", "/healthz", "/readyz"] {
        dwell.get(path, &[], "");
    }
    let pause = dwell.post("/v1/runtimes/{name}/pause", &["shell"], &json!({"until": "+1h"}));
    assert_eq!(pause.1["state"], "paused");
    assert_eq!(dwell.post("/v1/runtimes/{name}/resume", &["shell"], &json!({})).1["state"], "open");
    let model = json!({"model": "opus"});
    assert_eq!(dwell.post("/v1/runtimes/{name}/pause", &["shell"], &model).1["models"][0]["model"], "opus");
    assert_eq!(dwell.post("/v1/runtimes/{name}/resume", &["shell"], &model).1["models"], Value::Null);
    drains(dwell);
    assert_eq!(dwell.get("/openapi.yaml", &[], ""), OPENAPI);
    assert!(dwell.get("/metrics", &[], "").as_str().unwrap().contains("# TYPE dwell_ready gauge\n"));
    dwell.get("/v1/backup", &[], "");
    assert!(dwell.get("/", &[], "").as_str().unwrap().contains("<title>dwell</title>"));
}

fn drains(dwell: &Checked) {
    let all = json!({"scope": "all", "timeout": "1m"});
    assert_eq!(dwell.post("/v1/drains", &[], &all).1["scope"], "all");
    assert_eq!(dwell.get("/v1/drains", &[], "")["items"].as_array().unwrap().len(), 1);
    assert_eq!(dwell.get("/v1/status", &[], "")["drains"], json!(["all"]));
    assert_eq!(dwell.get("/readyz", &[], "")["reasons"].as_array().unwrap().len(), 1);
    let held = dwell.session(&sleeper());
    assert_eq!(dwell.get("/v1/records/{id}/why", &[&held], "")["rule"], "drained");
    let listed = dwell.get("/v1/sessions", &[], "?state=queued");
    assert!(listed["items"].as_array().unwrap().iter().any(|item| item["hold"] == "drained"), "{listed:#}");
    let queues = dwell.get("/v1/queues", &[], "?limit=1");
    assert_eq!(queues["items"].as_array().unwrap().len(), 1);
    for scope in ["all", "runtime:shell", "flow:deploy", "org:o"] {
        assert_eq!(dwell.get("/v1/scopes/{scope}/why", &[scope], "")["rule"], "drained");
    }
    for status in [200, 404] {
        assert_eq!(dwell.ask("delete", "/v1/drains/{scope}", &["all"], "", &Value::Null).0, status);
    }
    assert_eq!(dwell.ask("delete", "/v1/drains/{scope}", &["some"], "", &Value::Null).0, 400);
}

/// Every flip, and what a flow in shadow makes of a trigger.
fn modes(dwell: &Checked) {
    const FLOW: &str = "/v1/modes/flows/{name}";
    let put = |path: &str, names: &[&str], body: Value| dwell.ask("put", path, names, "", &body);
    assert_eq!(put("/v1/modes/global", &[], json!({"mode": "off"})).1["to"], "off");
    let flipped = put(FLOW, &["deploy"], json!({"mode": "shadow", "force": false}));
    assert_eq!(flipped, (200, json!({"from": "off", "to": "shadow", "changed": true})));
    let push = json!({"source": "gh", "event": "push"});
    assert_eq!(dwell.post("/v1/triggers", &[], &push).1["shadow"], json!(["deploy"]));
    let shadowed = dwell.get("/v1/runs", &[], "?shadow=true");
    assert_eq!(shadowed["items"][0]["shadow"], true, "{shadowed:#}");
    let modes = dwell.get("/v1/modes", &[], "");
    assert_eq!(modes["flows"][0]["origin"], "override", "{modes:#}");
    assert!(modes["flows"][0]["last_trigger"]["id"].is_string(), "{modes:#}");
    assert_eq!(dwell.ask("delete", FLOW, &["deploy"], "", &Value::Null).1["to"], "off");
    assert_eq!(dwell.post("/v1/triggers", &[], &push).1["off"], json!(["deploy"]));
    let refused = put(FLOW, &["lost"], json!({"mode": "live"}));
    assert_eq!((refused.0, &refused.1["code"]), (409, &json!("capabilities_missing")), "{}", refused.1);
    assert_eq!(put(FLOW, &["nobody"], json!({"mode": "off"})).0, 404);
}

/// A request that each refusal answers to.
fn refusals(dwell: &Checked) {
    let table = [
        ("get", "/v1/records/{id}", vec!["nonsense"], "", Value::Null, 404),
        ("get", "/v1/sessions", vec![], "?limit=0", Value::Null, 400),
        ("get", "/v1/sessions", vec![], "?colour=red", Value::Null, 400),
        ("post", "/v1/sessions", vec![], "", json!({"runtime": "shell"}), 400),
        ("post", "/v1/sessions", vec![], "", json!({"runtime": "x", "action": {"command": ["a"]}}), 422),
        ("post", "/v1/runtimes/{name}/pause", vec!["x"], "", json!({}), 404),
        ("post", "/v1/triggers", vec![], "", json!({"source": "x"}), 400),
        ("get", "/v1/nodes", vec![], "", Value::Null, 501),
        ("post", "/v1/nodes/rebalance", vec![], "", json!({}), 501),
    ];
    for (method, path, names, query, body, status) in table {
        assert_eq!(dwell.ask(method, path, &names, query, &body).0, status, "{method} {path}{query} {body}");
    }
    let remote = dwell.send("get", "/v1/status", &[], "", &[("Origin", "https://evil.example")], b"");
    assert_eq!(remote.1["code"], "not_local");
}

#[test]
fn real_answers_are_as_documented_and_every_operation_answers() {
    let dir = directory(CONFIG);
    std::fs::write(dir.path().join("deploy.yaml"), FLOW).unwrap();
    std::fs::write(dir.path().join("lost.yaml"), LOST).unwrap();
    std::fs::write(dir.path().join("tidy.yaml"), TIDY).unwrap();
    let dwell = Checked::start(dir.path());
    records(&dwell);
    claims(&dwell);
    the_rest(&dwell);
    modes(&dwell);
    refusals(&dwell);
    let all: BTreeSet<String> =
        operations(&dwell.document).into_iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    // Of nodes a store in files has none: asked they were, and refused as documented.
    let answered: BTreeSet<String> =
        all.into_iter().filter(|operation| !operation.contains("/v1/nodes")).collect();
    assert_eq!(*dwell.seen.borrow(), answered);
}

/// A value that a parameter's schema takes.
fn example(document: &Value, schema: &Value) -> String {
    let schema = resolved(document, schema);
    if let Some(values) = schema["enum"].as_array() {
        return values[0].as_str().unwrap().to_owned();
    }
    match (schema["type"].as_str(), schema["format"].as_str(), schema["pattern"].as_str()) {
        (Some("integer"), _, _) => "1".to_owned(),
        (Some("boolean"), _, _) => "false".to_owned(),
        (_, Some("date-time"), _) => "2026-11-21T00:00:00Z".to_owned(),
        (_, _, Some(pattern)) if pattern.starts_with("^[0-9]") => "0".to_owned(),
        (_, _, Some(pattern)) if pattern.starts_with("^trg") => "trg_00000000000000000000000001".to_owned(),
        (_, _, Some(_)) => "ses_00000000000000000000000001".to_owned(),
        (None, _, _) => "1".to_owned(),
        (Some(_), _, _) => "text".to_owned(),
    }
}

#[test]
fn every_documented_query_parameter_is_taken() {
    let dir = directory("");
    let dwell = Checked::start(dir.path());
    let id = dwell.session(&json!({"runtime": "shell", "action": {"command": ["true"]}}));
    let mut taken = 0;
    for (method, path, operation) in operations(&dwell.document) {
        for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
            let parameter = resolved(&dwell.document, parameter);
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str().unwrap();
                let value = match name {
                    "record" => id.clone(),
                    "event" => "dispatch".to_owned(),
                    "label" => "team=red".to_owned(),
                    "fingerprint" => "0".repeat(16),
                    _ => example(&dwell.document, &parameter["schema"]),
                };
                // A stream begins at once with what is there.
                let start = if path == "/v1/events" && name != "after" { "after=0&" } else { "" };
                let query = format!("?{start}{name}={value}");
                let names: &[&str] = if path.contains("{id}") { &[&id] } else { &[] };
                let (status, answer) = dwell.ask(&method, &path, names, &query, &Value::Null);
                assert_eq!(status, 200, "{method} {path}{query}: {answer}");
                taken += 1;
            }
        }
    }
    assert!(taken > 20, "only {taken} parameters");
}
