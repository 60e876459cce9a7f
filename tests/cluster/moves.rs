//! A store that moves from files to PostgreSQL and back.

use std::fs;
use std::path::Path;

use dwell::store::postgres::{Member, Server, Shard, Shards};
use dwell::store::transfer::Writing;

use super::copied::copy;
use super::*;

/// One that an older build wrote: its ids say nothing of shards.
const OLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/store-v2");

/// What it says of itself, or why not.
fn transfer(mut command: Command) -> Result<Value, String> {
    let done = command.output().unwrap();
    if done.status.success() {
        return Ok(serde_json::from_slice(&done.stdout).unwrap());
    }
    Err(String::from_utf8(done.stderr).unwrap())
}

fn is_same(a: &Value, b: &Value) {
    assert_eq!((&a["rows"], &a["sha256"]), (&b["rows"], &b["sha256"]));
}

#[test]
fn an_old_store_moves_to_postgresql_is_found_there_record_by_record_and_moves_back() {
    let Some(mut cluster) = Cluster::made(4) else { return };
    let old = cluster.dir.path().join("old");
    copy(Path::new(OLD), &old);
    let (file, dir) = (cluster.dir.path().join("export"), old.display().to_string());
    let export = |cluster: &Cluster, more: &[&str]| {
        transfer(cluster.dwell(0, &[&["export", "--json", "--force", file.to_str().unwrap()], more].concat()))
    };
    let import = |cluster: &Cluster, more: &[&str]| {
        transfer(cluster.dwell(0, &[&["import", "--json", file.to_str().unwrap()], more].concat()))
    };
    let first = export(&cluster, &["--data", &dir]).unwrap();
    is_same(&import(&cluster, &[]).unwrap(), &first);
    is_same(&export(&cluster, &[]).unwrap(), &first);
    let twice = import(&cluster, &[]).unwrap_err();
    assert!(twice.contains("holds rows already"), "{twice}");

    let said: Value = serde_json::from_slice(&fs::read(Path::new(OLD).join("said.json")).unwrap()).unwrap();
    for node in [0, 1] {
        cluster.nodes.push(None);
        cluster.up(node);
        cluster.settled(|_| true);
    }
    let running = export(&cluster, &[]).unwrap_err();
    assert!(running.contains("stop all nodes first"), "{running}");
    cluster.known(0, 2);
    cluster.node(0).post("/v1/nodes/rebalance", &json!({}));
    cluster.settled(|counts| counts == [2, 2]);
    let records = said["records"].as_array().unwrap();
    assert!(records.len() > 10);
    for node in [0, 1] {
        for record in records {
            let id = record["id"].as_str().unwrap();
            let shown = cluster.node(node).get(&format!("/v1/records/{id}"));
            assert_eq!((shown.status, &shown.body["org"]), (200, &record["org"]), "{id}");
            let why = cluster.node(node).get(&format!("/v1/records/{id}/why"));
            assert_eq!(why.status, 200, "{why:?}");
        }
        for trigger in said["triggers"].as_array().unwrap() {
            let id = trigger["id"].as_str().unwrap();
            let shown = cluster.node(node).get(&format!("/v1/triggers/{id}"));
            assert_eq!((shown.status, &shown.body["org"]), (200, &trigger["org"]), "{id}");
        }
        let admitted = cluster.node(node).get("/v1/status").body["admitted"].as_u64();
        assert!(admitted >= said["status"]["admitted"].as_u64(), "and what fell due since");
    }
    cluster.nodes.iter_mut().for_each(|node| assert!(node.take().unwrap().terminate().success()));

    let back = export(&cluster, &[]).unwrap();
    let there = cluster.dir.path().join("back").display().to_string();
    is_same(&import(&cluster, &["--data", &there]).unwrap(), &back);
    is_same(&export(&cluster, &["--data", &there]).unwrap(), &back);
    let checked = cluster.dwell(0, &["check", "--data", &there]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_damaged_file_is_refused_before_anything_is_written() {
    let Some(cluster) = Cluster::made(2) else { return };
    let file = cluster.dir.path().join("export");
    let old = cluster.dir.path().join("old");
    copy(Path::new(OLD), &old);
    let export = ["export", "--json", file.to_str().unwrap(), "--data", old.to_str().unwrap()];
    transfer(cluster.dwell(0, &export)).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = cluster.dir.path().join("damaged");
    fs::write(&damaged, bytes).unwrap();
    let refused = transfer(cluster.dwell(0, &["import", damaged.to_str().unwrap()])).unwrap_err();
    assert!(refused.contains("damaged at byte"), "{refused}");
    let imported = transfer(cluster.dwell(0, &["import", "--json", file.to_str().unwrap()]));
    assert!(imported.is_ok(), "nothing was written before: {imported:?}");
}

#[test]
fn an_import_that_was_cut_off_is_not_served() {
    let Some(mut cluster) = Cluster::made(2) else { return };
    // As far as one comes that dies before it has written a row.
    let member = Member {
        name: "import".to_owned(),
        address: String::new(),
        lease: Duration::from_secs(10),
        history_age_max: Duration::MAX,
    };
    let server = Server::of(&cluster.postgres.url("postgres"), None, None).unwrap();
    let shards = Shards::open(server, member, Box::new(drop)).unwrap();
    let taken: Vec<_> = (0..2).map(|shard| shards.take(shard).unwrap().unwrap()).collect();
    let epochs: Vec<u64> = taken.iter().map(Shard::epoch).collect();
    drop(Writing::begin(taken).unwrap());
    (0..).zip(epochs).for_each(|(shard, epoch)| shards.give_back(shard, epoch).unwrap());

    cluster.nodes.push(None);
    cluster.up(0);
    let log = cluster.home(0).join("log");
    let refused = |shard: u32| {
        let said = fs::read_to_string(&log).unwrap();
        said.lines().any(|line| line.contains("was cut off") && line.contains(&format!("shard={shard}")))
    };
    until("both are refused", || refused(0) && refused(1));
    assert_eq!(cluster.node(0).get("/v1/status").status, 503);
}
