//! Pull workers against the real binary: many at once, the example in Python, and what becomes of those that go.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::server::{self, Server, client, directory, dwell, send_by};

const CLAIMERS: usize = 50;
const SESSIONS: usize = 5_000;
const BATCH: usize = 1_000;

/// Takes 10 at a time and reports them until all are done; answers with what it took.
fn claimer(url: &str, name: &str, done: &AtomicUsize) -> Vec<String> {
    let agent = client();
    let post = |path: &str, body: &Value| {
        let answer =
            send_by(&agent, "POST", &format!("{url}{path}"), &[], body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let mut taken = Vec::new();
    while done.load(Ordering::Relaxed) < SESSIONS {
        let claim = json!({"worker": name, "queue": "q", "max": 10, "wait": "1s", "lease": "5m"});
        let claimed = post("/v1/claims", &claim)["attempts"].take();
        let claimed = claimed.as_array().unwrap();
        let report = |attempt: &Value| {
            assert_eq!(attempt["attempt"], 1);
            json!({"record": attempt["id"], "attempt": 1, "token": attempt["token"], "type": "succeeded"})
        };
        let reports: Vec<Value> = claimed.iter().map(report).collect();
        if reports.is_empty() {
            continue;
        }
        for item in post("/v1/reports", &json!({ "reports": reports }))["items"].as_array().unwrap() {
            assert_eq!(item["record"]["state"], "completed", "{item}");
        }
        taken.extend(claimed.iter().map(|attempt| attempt["id"].as_str().unwrap().to_owned()));
        done.fetch_add(reports.len(), Ordering::Relaxed);
    }
    taken
}

#[test]
fn fifty_claimers_at_once_take_each_of_five_thousand_sessions_once() {
    let dir = directory("[log]\nlevel = \"warn\"\n");
    let server = Server::start(dir.path(), &[]);
    let done = AtomicUsize::new(0);
    let taken: Vec<String> = thread::scope(|scope| {
        let (url, done) = (&server.url, &done);
        let claimers: Vec<_> =
            (0..CLAIMERS).map(|n| scope.spawn(move || claimer(url, &format!("w{n}"), done))).collect();
        for _ in 0..SESSIONS / BATCH {
            let session = json!({"runtime": "worker", "action": {"worker": "q"}, "payload": {"n": 1}});
            let answer = server.post("/v1/sessions/batch", &json!({ "sessions": vec![session; BATCH] }));
            assert_eq!(answer.status, 200);
        }
        claimers.into_iter().flat_map(|claimer| claimer.join().unwrap()).collect()
    });
    assert_eq!(taken.len(), SESSIONS);
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), SESSIONS, "each was claimed once");
    let status = server.get("/v1/status").body;
    assert_eq!(
        (&status["counts"]["completed"], &status["attempts_started"]),
        (&json!(SESSIONS), &json!(SESSIONS))
    );
}

/// The commands under the README's heading about workers.
fn readme() -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = text.split("\n## Pull workers\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let block = section.split("```sh\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// The example of a worker in Python; killed with all it started when dropped.
struct Worker(Child);

impl Worker {
    fn start(dir: &Path, server: &Server, command: &[&str]) -> Worker {
        use std::os::unix::process::CommandExt as _;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/examples/worker.py");
        let child = Command::new("python3")
            .args([script.to_str().unwrap(), "reviews"])
            .current_dir(dir)
            .args(command)
            .env("DWELL_SERVER", &server.url)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn();
        Worker(child.expect("python3 is there"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        self.0.wait().unwrap();
    }
}

fn review(server: &Server) -> String {
    server.session(&json!({"runtime": "worker", "action": {"worker": "reviews"}, "payload": {"pr": 7}}))
}

/// Asks until so many claims wait.
fn claims_wait(server: &Server, claims: u32) {
    let waiting = || server.get("/v1/claims").body["items"][0]["claims"].clone();
    assert!((0..10_000).any(|_| waiting() == claims), "it never becomes {claims}");
}

fn claim(server: &Server, wait: &str) -> Vec<Value> {
    let claim = json!({"worker": "me", "queue": "reviews", "max": 10, "wait": wait});
    let answer = server.post("/v1/claims", &claim);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["attempts"].as_array().unwrap().clone()
}

#[test]
fn the_example_worker_carries_work_out_and_says_how_it_ended() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let _worker = Worker::start(dir.path(), &server, &["cat"]);
    let id = review(&server);
    let record = server.until(&id, "completed");
    assert_eq!((&record["result"], &record["attempt"]), (&json!({"pr": 7}), &json!(1)));
    let by = server.history(&id).iter().find(|step| step["event"] == "claim").unwrap()["detail"].clone();
    assert!(by.as_str().unwrap().starts_with("by "), "{by}");
}

#[test]
fn work_that_fails_in_the_example_worker_is_a_failure_with_its_code() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let _worker = Worker::start(dir.path(), &server, &["sh", "-c", "echo no such branch; exit 3"]);
    let record = server.until(&review(&server), "backoff");
    let error = json!({"code": "exit_3", "message": "no such branch\n"});
    assert_eq!(record["last_error"], error);
}

#[test]
fn the_work_of_a_killed_worker_is_claimable_after_its_lease_and_its_late_report_is_refused() {
    let dir = directory("");
    let server = Server::start(dir.path(), &["--test-clock", "2026-11-21T00:00:00Z"]);
    let worker = Worker::start(dir.path(), &server, &["sleep", "1000"]);
    let id = review(&server);
    server.until(&id, "active");
    drop(worker);
    server.advance("59s");
    assert_eq!(claim(&server, "0s"), Vec::<Value>::new(), "the lease still holds it");
    server.advance("1s");
    let again = claim(&server, "0s");
    assert_eq!((again[0]["id"].as_str(), &again[0]["attempt"]), (Some(id.as_str()), &json!(2)));
    let reports = format!("/v1/records/{id}/reports");
    let late = server.post(&reports, &json!({"attempt": 1, "type": "succeeded"}));
    assert_eq!((late.status, &late.body["code"]), (409, &json!("stale_attempt")));
    let done = server.post(&reports, &json!({"attempt": 2, "type": "succeeded"}));
    assert_eq!(done.body["state"], "completed");
}

#[test]
fn a_worker_goes_on_over_a_kill_and_a_stop_of_dwell() {
    let dir = directory("");
    let mut server = Server::start(dir.path(), &[]);
    let id = review(&server);
    let token = claim(&server, "20s")[0]["token"].clone();
    server.kill();
    let server = Server::start(dir.path(), &[]);
    assert_eq!(server.get(&format!("/v1/records/{id}")).body["state"], "active");
    let told = json!({"record": id, "attempt": 1, "token": token, "type": "heartbeat"});
    assert_eq!(server.post("/v1/reports", &json!({ "reports": [told] })).body["items"][0]["status"], 200);

    let url = server.url.clone();
    let waiting = thread::spawn(move || {
        let body = json!({"worker": "me", "queue": "reviews", "wait": "60s"});
        server::request("POST", &format!("{url}/v1/claims"), Some(&body)).unwrap()
    });
    claims_wait(&server, 1);
    assert!(server.terminate().success(), "it waits for no worker");
    let stopped = waiting.join().unwrap();
    assert_eq!((stopped.status, &stopped.body["code"]), (503, &json!("stopping")));

    let server = Server::start(dir.path(), &[]);
    let done = server.post(&format!("/v1/records/{id}/reports"), &json!({"attempt": 1, "type": "succeeded"}));
    assert_eq!((done.status, &done.body["state"]), (200, &json!("completed")));
}

#[test]
fn nothing_is_claimed_for_a_client_that_hung_up() {
    let dir = directory("");
    let server = Server::start(dir.path(), &["--test-clock", "2026-11-21T00:00:00Z"]);
    let mut hasty = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let body = r#"{"worker":"hasty","queue":"reviews","wait":"60s"}"#;
    write!(
        hasty,
        "POST /v1/claims HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    claims_wait(&server, 1);
    drop(hasty);
    claims_wait(&server, 0);
    let id = review(&server);
    assert_eq!(claim(&server, "0s")[0]["id"], id.as_str());
}

#[test]
fn a_claim_that_is_sent_twice_under_one_key_takes_once() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let ids = [review(&server), review(&server)];
    let body = json!({"worker": "me", "queue": "reviews", "wait": "20s"}).to_string();
    let url = format!("{}/v1/claims", server.url);
    let claim = || server::send("POST", &url, &[("Idempotency-Key", "k")], body.as_bytes()).unwrap().body;
    let first = claim();
    assert_eq!(first["attempts"][0]["id"], ids[0].as_str());
    assert_eq!(claim(), first);
    assert_eq!(server.get(&format!("/v1/records/{}", ids[1])).body["state"], "queued");
}

#[test]
fn the_requests_in_the_readme_are_a_workers_life() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let mut id = String::new();
    let mut states = Vec::new();
    for line in readme().lines() {
        let (path, body) = line.strip_prefix("curl -s localhost:7070").unwrap().split_once(" -d ").unwrap();
        let body = serde_json::from_str(body.trim_matches('\'')).unwrap();
        let answer = server.post(&path.replace("$ID", &id), &body);
        assert!(answer.status < 300, "{line}: {answer:?}");
        states.push(answer.body["state"].as_str().unwrap_or("claimed").to_owned());
        if let Some(named) = answer.body["id"].as_str() {
            id = named.to_owned();
        }
    }
    assert_eq!(states, ["queued", "claimed", "active", "completed"]);
}

#[test]
fn a_script_claims_and_reports_and_whoever_ran_it_sees_the_result() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    std::fs::write(dir.path().join("pr.json"), r#"{"pr": 7}"#).unwrap();
    let mut run = Command::new(server::DWELL)
        .args(["run", "--server", &server.url, "--worker", "reviews", "--payload", "pr.json"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let at = |args: &[&str]| {
        let output = dwell(dir.path(), &[&["--server", &server.url], args].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let claimed = at(&["claim", "reviews", "--wait", "20s", "--worker", "script"]);
    let [id, attempt, token, payload] = claimed.trim().split(' ').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((attempt, payload), ("1", r#"{"pr":7}"#));
    assert_eq!(at(&["claim", "reviews"]), "");
    assert_eq!(at(&["claim", "reviews", "--json"]), "{\n  \"attempts\": []\n}\n");
    let row = at(&["ls", "queues"]);
    assert!(row.lines().nth(1).unwrap().starts_with("reviews  0       0 "), "{row}");
    let wrong = dwell(
        dir.path(),
        &["--server", &server.url, "report", "heartbeat", "--id", id, "--attempt", "2", "--token", token],
    );
    assert!(!wrong.status.success());
    let said =
        ["report", "succeeded", "--id", id, "--attempt", attempt, "--token", token, "--message", "fine"];
    assert_eq!(at(&said), "completed\n");
    let mut result = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut result).unwrap();
    assert_eq!((result.as_str(), run.wait().unwrap().code()), ("fine\n", Some(0)));
}
