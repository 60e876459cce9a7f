//! dwell was down for a weekend, and all that fell due meanwhile is due at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::{Server, directory};

const RECORDS: usize = 2_000;
const CONFIG: &str = "[runtimes.worker]\nramp = \"off\"\n[log]\nlevel = \"error\"\n";

/// Up to 1,000 claimed attempts.
fn claim(server: &Server) -> Vec<Value> {
    let asked = json!({"worker": "me", "queue": "q", "max": 1_000, "wait": "0s", "lease": "1h"});
    let answer = server.post("/v1/claims", &asked);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["attempts"].as_array().unwrap().clone()
}

/// One report for each attempt, all taken.
fn report(server: &Server, attempts: &[Value], of: impl Fn(usize) -> Value) {
    let reports = attempts.iter().enumerate().map(|(n, attempt)| {
        let mut report = of(n);
        report["record"] = attempt["id"].clone();
        report["attempt"] = attempt["attempt"].clone();
        report
    });
    let answer = server.post("/v1/reports", &json!({"reports": reports.collect::<Vec<_>>()}));
    let items = answer.body["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["status"] == 200), "{answer:?}");
}

#[test]
fn what_fell_due_in_a_weekend_goes_on_once_and_at_once() {
    let dir = directory(CONFIG);
    let server = Server::start(dir.path(), &["--test-clock", "2026-11-20T18:00:00Z"]);
    let session = json!({"runtime": "worker", "action": {"worker": "q"}});
    let mut ids = BTreeSet::new();
    for _ in 0..RECORDS / 1_000 {
        let answer = server.post("/v1/sessions/batch", &json!({"sessions": vec![session.clone(); 1_000]}));
        assert_eq!(answer.status, 200, "{answer:?}");
        ids.extend(
            answer.body["items"].as_array().unwrap().iter().map(|item| item["record"]["id"].to_string()),
        );
    }
    let attempts: Vec<Value> =
        std::iter::repeat_with(|| claim(&server)).take(RECORDS / 1_000).flatten().collect();
    assert_eq!((ids.len(), attempts.len()), (RECORDS, RECORDS));
    for some in attempts.chunks(1_000) {
        // Over the whole weekend, a minute apart.
        report(&server, some, |n| {
            let (hour, minute) = (n / 60 % 24, n % 60);
            json!({"type": "rate_limited", "reset_at": format!("2026-11-21T{hour:02}:{minute:02}:00Z")})
        });
    }
    assert_eq!(claim(&server), [] as [Value; 0], "nothing is due");
    assert_eq!(server.get("/v1/status").body["counts"]["rate_limited"], RECORDS);
    assert!(server.terminate().success());

    let server = Server::start(dir.path(), &["--test-clock", "2026-11-23T08:00:00Z"]);
    assert_eq!(server.get("/readyz").status, 200);
    let resumed: Vec<Value> =
        std::iter::repeat_with(|| claim(&server)).take(RECORDS / 1_000).flatten().collect();
    let once: BTreeSet<String> = resumed.iter().map(|attempt| attempt["id"].to_string()).collect();
    assert_eq!(once, ids, "each of them, and none twice");
    assert!(resumed.iter().all(|attempt| attempt["attempt"] == 2));
    assert_eq!(claim(&server), [] as [Value; 0]);
    for some in resumed.chunks(1_000) {
        report(&server, some, |_| json!({"type": "succeeded"}));
    }
    assert_eq!(server.get("/v1/status").body["counts"]["completed"], RECORDS);
}
