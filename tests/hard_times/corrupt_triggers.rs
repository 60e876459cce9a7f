//! A thousand triggers that are corrupt in every way, and good ones among them.

use std::fs;

use serde_json::{Value, json};

use crate::server::{Answer, Server, client, directory, flows, hmac_hex, send_by};

const SECRET: &str = "It's a Secret to Everybody";
const CORRUPT: usize = 1_000;
/// One in so many is good.
const GOOD_EVERY: usize = 25;

/// What the whole of it may take: memory in KiB, and bytes of log for each trigger.
const MEMORY_KIB_MAX: u64 = 256 << 10;
const LOG_BYTES_MAX: usize = 1_000;
const LOG_LINE_BYTES_MAX: usize = 4_000;

const CONFIG: &str = r#"
[sources.gh]
kind = "github"
secrets = ["plain:It's a Secret to Everybody"]
"#;

const FLOW: &str = "
name: push
on: { github: { push: } }
run: { command: ['true', '${repository.full_name}'] }
";

/// What is sent, and how it is to be answered.
struct Sent {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
}

fn delivery(id: &str, body: Vec<u8>, status: u16) -> Sent {
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("x-github-event", "push".to_owned()),
        ("x-github-delivery", id.to_owned()),
        ("x-hub-signature-256", format!("sha256={}", hmac_hex(SECRET, &body))),
    ];
    Sent { path: "/hooks/gh", headers, body, status }
}

fn by_hand(body: Vec<u8>, status: u16) -> Sent {
    let headers = vec![("content-type", "application/json".to_owned())];
    Sent { path: "/v1/triggers", headers, body, status }
}

fn good(n: usize) -> Vec<u8> {
    json!({"repository": {"full_name": format!("acme/{n}")}}).to_string().into_bytes()
}

/// The kinds of corruption, in turn; 202 makes a run that cannot be carried out.
fn corrupt(n: usize) -> Sent {
    let id = format!("corrupt-{n}");
    let named = |name: Value| json!({"repository": {"full_name": name}}).to_string().into_bytes();
    match n % 12 {
        0 => delivery(&id, b"{}".to_vec(), 202),
        1 => delivery(&id, named(Value::Null), 202),
        2 => delivery(&id, br#"{"repository": {"full_na"#.to_vec(), 400),
        3 => delivery(&id, "[".repeat(50_000).into_bytes(), 400),
        4 => delivery(&id, b"{\"repository\": {\"full_name\": \"\xff\xfe\"}}".to_vec(), 400),
        5 => {
            let mut unproven = delivery(&id, good(n), 401);
            unproven.body.push(b' ');
            unproven
        }
        6 => Sent { headers: Vec::new(), ..delivery(&id, good(n), 401) },
        7 => delivery(&id, named(json!("nul\0nul")), 202),
        // Of the good one before all others.
        8 => delivery("good-0", good(n), 200),
        9 => by_hand(br#"{"source": "gh", "event": "push", "surprise": 1}"#.to_vec(), 400),
        10 => by_hand(json!({"source": "x".repeat(100_000), "event": "e"}).to_string().into_bytes(), 400),
        _ => by_hand(
            json!({"source": "gh", "event": "e", "payload": "x".repeat(1 << 20)}).to_string().into_bytes(),
            413,
        ),
    }
}

fn memory_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn a_thousand_corrupt_triggers_are_answered_by_what_is_wrong_and_delay_nothing() {
    let dir = directory(CONFIG);
    flows(dir.path(), &[("push.yaml", FLOW)]);
    let server = Server::logged(dir.path(), &[]);
    let client = client();
    let send = |sent: &Sent| -> Answer {
        let headers: Vec<_> = sent.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send_by(&client, "POST", &format!("{}{}", server.url, sent.path), &headers, &sent.body)
            .expect("an answer")
    };
    let (mut runs, mut dead) = (Vec::new(), Vec::new());
    for n in 0..CORRUPT {
        if n % GOOD_EVERY == 0 {
            let answer = send(&delivery(&format!("good-{n}"), good(n), 202));
            assert_eq!(answer.status, 202, "{answer:?}");
            runs.push(answer.body["runs"][0].as_str().unwrap().to_owned());
        }
        let sent = corrupt(n);
        let answer = send(&sent);
        assert_eq!(answer.status, sent.status, "corrupt {n}: {answer:?}");
        if sent.status == 202 {
            dead.push(answer.body["runs"][0].as_str().unwrap().to_owned());
        }
    }
    for run in &runs {
        server.until(run, "completed");
    }
    for run in &dead {
        let record = server.until(run, "dead_lettered");
        assert_eq!(record["cause"], "invalid", "{record:#}");
    }
    let status = server.get("/v1/status").body;
    let made = (runs.len() + dead.len()) as u64;
    assert_eq!(status["admitted"], made, "{status:#}");
    assert_eq!((&status["counts"]["queued"], &status["counts"]["active"]), (&json!(0), &json!(0)));

    let memory = memory_kib(&server);
    assert!(memory < MEMORY_KIB_MAX, "{memory} KiB");
    assert!(server.terminate().success());
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.len() < CORRUPT * LOG_BYTES_MAX, "{} bytes of log", log.len());
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(longest < LOG_LINE_BYTES_MAX, "a line of {longest} bytes");
}
