//! The command line, and what it asks, on a store of several shards.

use std::path::Path;

use super::copied::copy;
use super::*;

/// One that an older build wrote: its ids say nothing of shards.
const OLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/store-v2");

const ORGS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What a command says on stdout.
fn said(cluster: &Cluster, args: &[&str]) -> String {
    let done = cluster.dwell(0, args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A dead letter of each org.
fn dead(cluster: &Cluster) -> Vec<String> {
    let node = cluster.node(1);
    let made: Vec<String> = ORGS.iter().map(|org| node.session(&work(org, "k"))).collect();
    let claim = json!({ "worker": "w", "queue": "q", "max": 100 });
    let claimed = node.post("/v1/claims", &claim).body["attempts"].as_array().unwrap().clone();
    let report = |attempt: &Value| json!({ "record": attempt["id"], "attempt": attempt["attempt"], "type": "needs_operator" });
    let reports: Vec<Value> = claimed.iter().map(report).collect();
    let told = node.post("/v1/reports", &json!({ "reports": reports }));
    assert!(told.body["items"].as_array().unwrap().iter().all(|item| item["status"] == 200), "{told:?}");
    assert_eq!(claimed.len(), made.len());
    made
}

#[test]
fn the_command_line_knows_records_by_id_and_redrives_them_at_a_pace_in_all_shards() {
    let Some(cluster) = Cluster::start(2, 4) else { return };
    let made = dead(&cluster);
    let node = cluster.node(0);
    let letters = || ids(&node.get("/v1/dead-letters")).len();
    for id in &made {
        let shown: Value = serde_json::from_str(&said(&cluster, &["show", id, "--json"])).unwrap();
        assert_eq!((&shown["id"], &shown["state"]), (&json!(id), &json!("dead_lettered")));
        let head = server::request("HEAD", &format!("{}/v1/records/{id}", node.url), None).unwrap();
        assert_eq!(head.status, 200);
    }
    assert_eq!(server::request("HEAD", &format!("{}/v1/sessions", node.url), None).unwrap().status, 200);
    assert_eq!(node.get("/readyz").status, 200);

    // Of all shards, of one, and stopped by its name whatever it is.
    let name = said(&cluster, &["redrive", "--all", "--rate", "1/h", "--detach"]);
    assert!(name.contains(','), "{name}");
    assert_eq!(ids(&node.get("/v1/redrives")).len(), name.split(',').count());
    let stopped = said(&cluster, &["redrive", "--stop", &name]);
    assert!(stopped.starts_with(&format!("{name} stopped")), "{stopped}");
    assert!(ids(&node.get("/v1/redrives")).is_empty());
    let of_one = node.post("/v1/dead-letters/redrive", &json!({ "rate": "1/h", "org": "a" }));
    let one = &node.get("/v1/redrives").body["items"][0];
    assert_eq!((&one["id"], &one["rate"]), (&of_one.body["redrive"], &json!("1/h")), "{of_one:?}");
    said(&cluster, &["redrive", "--stop", one["id"].as_str().unwrap()]);
    // Followed to its end.
    assert!(letters() >= 4);
    said(&cluster, &["redrive", "--all", "--rate", "4/s"]);
    assert_eq!(letters(), 0);

    said(&cluster, &["drain", "--all", "--json"]);
    assert!(said(&cluster, &["undrain", "--all"]).ends_with("undrained"));
    let again = server::request("DELETE", &format!("{}/v1/drains/all", node.url), None).unwrap();
    assert_eq!((again.status, &again.body["code"]), (404, &json!("not_drained")));
    said(&cluster, &["rebalance"]);
    assert_eq!(node.post("/v1/clock/advance", &json!({ "by": "1s" })).status, 404);
}

#[test]
fn a_redrive_is_refused_as_a_shard_refuses_it() {
    let Some(cluster) = Cluster::start(1, 4) else { return };
    let redrive = |asked: Value| {
        let answer = cluster.node(0).post("/v1/dead-letters/redrive", &asked);
        (answer.status, answer.body["field"].as_str().map(str::to_owned))
    };
    for (field, wrong) in [
        ("limit", json!("many")),
        ("limit", json!(0)),
        ("cursor", json!(7)),
        ("ids", json!("ses_1")),
        ("rate", json!(1)),
    ] {
        assert_eq!(redrive(json!({ field: wrong })), (400, Some(field.to_owned())), "{wrong}");
    }
    for nothing in [json!({ "ids": [] }), json!({ "limit": "7" }), json!({})] {
        assert_eq!(redrive(nothing), (202, None));
    }
}

#[test]
fn a_list_finds_records_whose_ids_say_nothing() {
    let Some(mut cluster) = Cluster::made(4) else { return };
    let (old, file) = (cluster.dir.path().join("old"), cluster.dir.path().join("export"));
    copy(Path::new(OLD), &old);
    let (old, file) = (old.to_str().unwrap(), file.to_str().unwrap());
    said(&cluster, &["export", file, "--data", old]);
    said(&cluster, &["import", file]);
    cluster.nodes.push(None);
    cluster.up(0);
    cluster.settled(|_| true);
    let text = std::fs::read(Path::new(OLD).join("said.json")).unwrap();
    let records = serde_json::from_slice::<Value>(&text).unwrap()["records"].as_array().unwrap().clone();
    let report = |record: &Value| json!({ "record": record["id"], "attempt": 99, "type": "heartbeat" });
    let mut reports: Vec<Value> = records.iter().map(report).collect();
    reports.push(json!({ "record": "ses_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "attempt": 1, "type": "heartbeat" }));
    let body = json!({ "reports": reports }).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
    let tell = || {
        let url = format!("{}/v1/reports", cluster.node(0).url);
        server::send("POST", &url, &headers, body.as_bytes()).unwrap().body["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    let told = tell();
    assert_eq!(told.len(), records.len() + 1);
    let (unknown, known) = told.split_last().unwrap();
    assert_eq!(unknown["status"], 404);
    assert!(known.iter().all(|item| item["status"] == 409), "{known:#?}");
    assert_eq!(tell(), told, "under a key it is told once");

    let dead: Vec<&Value> = records
        .iter()
        .filter(|record| record["state"] == "dead_lettered")
        .map(|record| &record["id"])
        .collect();
    let asked = json!({ "ids": dead, "dry_run": true });
    let matched = cluster.node(0).post("/v1/dead-letters/redrive", &asked);
    assert_eq!((dead.len(), &matched.body["matched"]), (2, &json!(2)), "{matched:?}");
}
