//! The real binary, busy, killed with SIGKILL again and again: whatever it acknowledged is there after each restart,
//! and no two attempts of one record are ever alive at once.
//!
//! `DWELL_CRASH_KILLS=1000 cargo test --release --test crash` kills more often.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use server::{Server, directory, request};

/// Notes that it runs, or that another attempt of its record still does, and then runs for ever.
const ATTEMPT: &str = r#"
    for other in "$1/alive/$DWELL_ID".*; do
        [ -e "$other" ] || continue
        state=$(cut -d' ' -f3 "/proc/$(cat "$other")/stat" 2>/dev/null)
        case "$state" in "" | Z | X) ;; *) echo "$other is $state beside $DWELL_ATTEMPT" >> "$1/twice" ;; esac
    done
    echo $$ > "$1/alive/$DWELL_ID.$DWELL_ATTEMPT"
    exec sleep 100000
"#;

/// What the server acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// Key to id.
    created: BTreeMap<String, String>,
    /// Calls charged, by id.
    charged: BTreeMap<String, u64>,
    /// Reported succeeded.
    completed: Vec<String>,
}

impl Acknowledged {
    fn add(&mut self, other: Acknowledged) {
        self.created.extend(other.created);
        self.charged.extend(other.charged);
        self.completed.extend(other.completed);
    }
}

fn attempt_of(url: &str, id: &str) -> Option<(String, u64)> {
    let record = request("GET", &format!("{url}/v1/records/{id}"), None)?.body;
    Some((record["state"].as_str()?.to_owned(), record["attempt"].as_u64()?))
}

/// One client: creates, charges, completes; notes what was answered, until the server is gone.
fn client(
    url: &str,
    dir: &Path,
    number: u64,
    known: &Mutex<Acknowledged>,
    answers: &AtomicU64,
    gone: &AtomicBool,
) {
    let script = json!(["sh", "-c", ATTEMPT, "attempt", dir]);
    for n in 0.. {
        if gone.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("{number}-{n}");
        let body = json!({"runtime": "shell", "key": key, "budget": 1000, "action": {"command": script}});
        let Some(answer) = request("POST", &format!("{url}/v1/sessions"), Some(&body)) else { return };
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        let id = answer.body["id"].as_str().unwrap().to_owned();
        known.lock().unwrap().created.insert(key, id.clone());
        answers.fetch_add(1, Ordering::Relaxed);
        let Some((state, attempt)) = attempt_of(url, &id) else { return };
        if state != "active" {
            continue;
        }
        let charge = json!({"attempt": attempt, "calls": 1});
        let Some(answer) = request("POST", &format!("{url}/v1/records/{id}/charge"), Some(&charge)) else {
            return;
        };
        if answer.status == 200 {
            known.lock().unwrap().charged.insert(id.clone(), answer.body["used"].as_u64().unwrap());
            answers.fetch_add(1, Ordering::Relaxed);
        }
        if n % 4 != 0 {
            let report = json!({"attempt": attempt, "type": "succeeded"});
            let Some(answer) = request("POST", &format!("{url}/v1/records/{id}/reports"), Some(&report))
            else {
                return;
            };
            if answer.status == 200 {
                known.lock().unwrap().completed.push(id);
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Makes room: of the sessions that run for ever only a few go on, and none waits before the new ones.
fn make_room(server: &Server) {
    for (state, keep) in [("queued", 0), ("active", 4)] {
        let records = server.get(&format!("/v1/sessions?state={state}&limit=1000")).body;
        for record in records["items"].as_array().unwrap().iter().skip(keep) {
            let id = record["id"].as_str().unwrap();
            let answer = server.post(&format!("/v1/records/{id}/cancel"), &json!({}));
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
}

/// Everything acknowledged is there, in a state that follows from it.
fn verify(server: &Server, known: &Acknowledged) {
    for (key, id) in &known.created {
        let answer = server.get(&format!("/v1/records/{id}"));
        assert_eq!(answer.status, 200, "acknowledged {id} (key {key}) is gone");
        assert_eq!(answer.body["key"], *key);
    }
    for (id, used) in &known.charged {
        let record = server.get(&format!("/v1/records/{id}")).body;
        assert!(record["budget"]["used"].as_u64().unwrap() >= *used, "a charge of {id} is gone: {record:#}");
    }
    for id in &known.completed {
        let record = server.get(&format!("/v1/records/{id}")).body;
        assert_eq!(record["state"], "completed", "the report of {id} is gone");
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_runs_twice() {
    let kills: u64 = std::env::var("DWELL_CRASH_KILLS").map_or(8, |text| text.parse().unwrap());
    let dir = directory("[runtimes.shell]\nconcurrency = 16\n[drain]\ntimeout = \"1s\"\n");
    std::fs::create_dir(dir.path().join("alive")).unwrap();
    let mut all = Acknowledged::default();
    for round in 0..kills {
        let mut server = Server::start(dir.path(), &[]);
        make_room(&server);
        let known = Mutex::new(Acknowledged::default());
        let (answers, gone) = (AtomicU64::new(0), AtomicBool::new(false));
        // The instant is drawn by counting answers, so a slow machine is not killed idle.
        let enough = 5 + (round * 7919) % 60;
        let url = server.url.clone();
        std::thread::scope(|scope| {
            let (url, known, answers, gone, dir) = (&url, &known, &answers, &gone, dir.path());
            let clients: Vec<_> = (0..3)
                .map(|number| {
                    scope.spawn(move || client(url, dir, round * 10 + number, known, answers, gone))
                })
                .collect();
            while answers.load(Ordering::Relaxed) < enough
                && !clients.iter().all(std::thread::ScopedJoinHandle::is_finished)
            {
                std::thread::yield_now();
            }
            server.kill();
            gone.store(true, Ordering::Relaxed);
        });
        let known = known.into_inner().unwrap();
        verify(&Server::start(dir.path(), &[]), &known);
        all.add(known);
    }
    let server = Server::start(dir.path(), &[]);
    let known = all;
    verify(&server, &known);
    assert!(!known.charged.is_empty() && !known.completed.is_empty(), "the server was hardly busy");
    let status: Value = server.get("/v1/status").body;
    eprintln!(
        "{kills} kills: {} created, {} charged, {} completed; {status}",
        known.created.len(),
        known.charged.len(),
        known.completed.len()
    );
    assert!(server.terminate().success());
    let twice = std::fs::read_to_string(dir.path().join("twice")).unwrap_or_default();
    let first: Vec<&str> = twice.lines().take(5).collect();
    assert!(first.is_empty(), "two attempts of one record were alive at once: {first:#?}");
    let left = std::fs::read_dir(dir.path().join("alive")).unwrap().filter(|entry| {
        let pid = std::fs::read_to_string(entry.as_ref().unwrap().path()).unwrap();
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
        comm.trim() == "sleep"
    });
    assert_eq!(left.count(), 0, "children outlive a clean stop");
}
