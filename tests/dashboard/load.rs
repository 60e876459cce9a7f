//! A server with something of everything, for people to look at.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::server::{Server, directory, flows, request};

const CONFIG: &str = r#"
[runtimes.claude]
concurrency = 1000
[runtimes.reviews]
adapter = "plain"
argv = ["true"]
concurrency = 1000
[orgs.acme]
burst = true
weight = 3
[cutover]
min_shadow = "24h"
[log]
level = "warn"
"#;

const REVIEW: &str = "
name: review
on: { cli: { review: } }
run: { worker: q, runtime: reviews }
";

const REPORT: &str = "
name: report
on: { cli: { report: } }
mode: shadow
run: { command: ['true'] }
";

const LOST: &str = "
name: lost
on: { cli: { lost: } }
mode: off
run: { command: ['true'], runtime: nowhere }
";

/// A directory to serve from, with flows.
pub fn place() -> tempfile::TempDir {
    let dir = directory(CONFIG);
    flows(dir.path(), &[("review.yaml", REVIEW), ("report.yaml", REPORT), ("lost.yaml", LOST)]);
    dir
}

pub fn serve(dir: &Path, args: &[&str]) -> Server {
    Server::start(dir, &[&["--flows", "flows"], args].concat())
}

/// A session that a worker is to claim.
pub fn session(server: &Server, task: &str) -> String {
    let action = json!({"worker": "q"});
    server.session(&json!({"runtime": "claude", "action": action, "task": task, "key": task, "budget": 20, "payload": {"n": 1}}))
}

/// Claims what waits, at most so many.
pub fn claim(server: &Server, max: u32) -> Vec<Value> {
    let asked = json!({"worker": "w", "queue": "q", "max": max, "lease": "1h"});
    server.post("/v1/claims", &asked).body["attempts"].as_array().unwrap().clone()
}

/// Reports on an attempt.
pub fn report(server: &Server, attempt: &Value, mut report: Value) {
    report["attempt"] = attempt["attempt"].clone();
    let answer = server.post(&format!("/v1/records/{}/reports", attempt["id"].as_str().unwrap()), &report);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Records in every state that a worker can bring about; answers with a dead one.
pub fn fill(server: &Server) -> String {
    for org in ["acme", "globex"] {
        let session = json!({"runtime": "claude", "action": {"worker": "q"}, "org": org, "budget": 20, "payload": {"n": 1}});
        server.post("/v1/sessions/batch", &json!({"sessions": vec![session; 40]}));
    }
    let taken = claim(server, 40);
    let reports = [
        json!({"type": "succeeded", "result": {"ok": true}}),
        json!({"type": "failed", "code": "exit_1", "message": "three tests are red"}),
        json!({"type": "throttled", "message": "busy"}),
        json!({"type": "invalid", "code": "bad_prompt", "message": "the prompt is empty"}),
        json!({"type": "heartbeat"}),
    ];
    for (attempt, said) in taken.iter().zip(reports.iter().cycle()) {
        report(server, attempt, said.clone());
    }
    for event in ["review", "report", "lost"] {
        server.post("/v1/triggers", &json!({"source": "cli", "event": event, "payload": {}}));
    }
    server.post("/v1/runtimes/reviews/pause", &json!({"until": "+90m"}));
    server.get("/v1/dead-letters?limit=1").body["items"][0]["id"].as_str().unwrap().to_owned()
}

/// What `seen` does while the server takes in, starts and ends sessions as fast as it can.
pub fn under_load(server: &Server, seen: impl FnOnce()) {
    /// Ends the load also when what is seen is not what was expected.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (url, over) = (server.url.as_str(), &over);
        scope.spawn(move || {
            let session = json!({"runtime": "claude", "action": {"worker": "q"}, "org": "acme"});
            while !over.load(Ordering::Relaxed) {
                let post = |path: &str, body: &Value| {
                    request("POST", &format!("{url}{path}"), Some(body)).unwrap().body
                };
                post("/v1/sessions/batch", &json!({"sessions": vec![&session; 50]}));
                let claimed = post("/v1/claims", &json!({"worker": "w", "queue": "q", "max": 50}));
                let ended = claimed["attempts"].as_array().unwrap().iter();
                let reports: Vec<Value> = ended
                    .map(|of| json!({"record": of["id"], "attempt": of["attempt"], "type": "succeeded"}))
                    .collect();
                if !reports.is_empty() {
                    post("/v1/reports", &json!({ "reports": reports }));
                }
            }
        });
        let _ends = Ends(over);
        seen();
    });
}
