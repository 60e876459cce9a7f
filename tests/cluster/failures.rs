//! Nodes that die, stop for a while, and come back; and a server that does.

use std::collections::BTreeSet;

use dwell::fixture::{Stop, guarded};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// A process that outlives whoever started it, and sees others of its record.
fn lasting(cluster: &Cluster, org: &str) -> Value {
    let argv = guarded(cluster.dir.path(), &["sleep", "1000"]);
    json!({ "runtime": "many", "org": org, "key": org, "action": { "command": argv, "cwd": "/" } })
}

/// Submits a session that has a key, as often as it takes, and answers with its id.
fn submitted(node: &Server, session: &Value) -> String {
    let told = patiently(|| node.post("/v1/sessions", session));
    assert!([200, 201].contains(&told.status), "{told:?}");
    told.body["id"].as_str().unwrap().to_owned()
}

fn signal(server: &Server, signal: Signal) {
    kill_process(Pid::from_child(&server.child), signal).unwrap();
}

/// What attempts saw of each other.
fn twice(cluster: &Cluster) -> String {
    std::fs::read_to_string(cluster.dir.path().join("twice")).unwrap_or_default()
}

/// Sessions of many orgs whose attempts run, by node 0.
fn running(cluster: &Cluster) -> Vec<String> {
    dwell::fixture::prepare_guard(cluster.dir.path()).unwrap();
    let sessions = (0..12).map(|n| lasting(cluster, &format!("org{n}")));
    let made: Vec<String> = sessions.map(|session| submitted(cluster.node(0), &session)).collect();
    all_run(cluster, &made, 0);
    made
}

/// Waits until an attempt of each is under way, and sees that none ran beside the one before it.
fn all_run(cluster: &Cluster, made: &[String], node: usize) {
    until("attempts run, each where its shard is now", || {
        let shown = made.iter().map(|id| patiently(|| cluster.node(node).get(&format!("/v1/records/{id}"))));
        shown.into_iter().all(|shown| shown.body["state"] == "active" && shown.body["started_at"].is_string())
    });
    assert_eq!(twice(cluster), "");
}

#[test]
fn a_killed_node_s_shards_are_owned_again_and_its_attempts_are_gone_before_they_run_again() {
    let Some(mut cluster) = Cluster::with(SHORT, 3, 6) else { return };
    let made = running(&cluster);
    for victim in [2, 1] {
        signal(cluster.node(victim), Signal::KILL);
        drop(cluster.nodes[victim].take());
        cluster.settled(|counts| counts[victim] == 0);
        all_run(&cluster, &made, 0);
    }
    // All of them are there, and whoever comes back has a share again.
    cluster.up(1);
    cluster.known(0, 2);
    cluster.node(1).post("/v1/nodes/rebalance", &json!({}));
    cluster.settled(|counts| counts[1] == 3);
    all_run(&cluster, &made, 1);
    for id in &made {
        let told = patiently(|| cluster.node(1).post(&format!("/v1/records/{id}/cancel"), &json!({})));
        assert_eq!(told.status, 200, "{told:?}");
    }
}

#[test]
fn a_node_that_was_stopped_for_longer_than_its_lease_is_fenced_and_comes_back() {
    let Some(cluster) = Cluster::with(SHORT, 2, 4) else { return };
    let made = running(&cluster);
    signal(cluster.node(1), Signal::STOP);
    until("its shards are the other's", || cluster.owned() == (vec![4, 0], 0));
    all_run(&cluster, &made, 0);
    let late: BTreeSet<String> = (0..20).map(|n| format!("late{n}")).collect();
    for key in &late {
        submitted(cluster.node(0), &work(key, key));
    }
    signal(cluster.node(1), Signal::CONT);
    // It answers, and with what the other one has.
    until("it answers for the owner", || {
        let told = cluster.node(1).get("/v1/sessions?limit=1000");
        told.status == 200 && ids(&told).len() == made.len() + late.len()
    });
    for key in &late {
        let again = patiently(|| cluster.node(1).post("/v1/sessions", &work(key, key)));
        assert_eq!((again.status, &again.body["duplicate"]), (200, &json!(true)), "{again:?}");
    }
    assert_eq!(twice(&cluster), "");
    let log = std::fs::read_to_string(cluster.home(1).join("log")).unwrap();
    assert!(log.contains("out of reach for as long as its lease"), "{log}");
    cluster.known(0, 2);
    cluster.node(1).post("/v1/nodes/rebalance", &json!({}));
    cluster.settled(|counts| counts == [2, 2]);
    all_run(&cluster, &made, 1);
}

#[test]
fn a_node_that_stops_hands_over_without_a_lease_to_wait_for() {
    let Some(mut cluster) = Cluster::with(ENDLESS, 2, 4) else { return };
    for n in 0..8 {
        cluster.node(0).session(&work(&format!("org{n}"), "k"));
    }
    let ended = cluster.nodes[1].take().unwrap().terminate();
    assert!(ended.success(), "{ended}");
    let (counts, _) = cluster.owned();
    cluster.settled(|counts| counts == [4, 0]);
    assert_eq!(ids(&cluster.node(0).get("/v1/sessions")).len(), 8, "{counts:?}");
    assert!(!cluster.home(1).join("dwell-data/address").exists());
    let nodes = cluster.node(0).get("/v1/nodes").body;
    cluster.known(0, 1);
    assert_eq!(nodes["items"][0]["here"], true);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_crashes_under_load() {
    let Some(mut cluster) = Cluster::with(SHORT, 2, 4) else { return };
    let mut made = BTreeSet::new();
    for round in 0..5 {
        for n in 0..20 {
            let work = work(&format!("org{}", n % 7), &format!("{round}/{n}"));
            made.insert(submitted(cluster.node(n % 2), &work));
        }
        cluster.postgres.restart(Stop::Immediate).unwrap();
    }
    for node in [0, 1] {
        let all = patiently(|| cluster.node(node).get("/v1/sessions?limit=1000"));
        assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), made);
    }
}

/// How many of the attempts that ever ran still do.
fn alive(cluster: &Cluster) -> usize {
    let noted = std::fs::read_dir(cluster.dir.path().join("alive")).unwrap();
    let is_there = |noted: &String| {
        let (pid, since) = noted.trim().split_once(' ').unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().collect()).unwrap_or_default();
        fields.first().is_some_and(|state| *state != "Z") && fields.get(19) == Some(&since)
    };
    let noted = noted.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
    noted.filter(|noted| !noted.is_empty()).filter(is_there).count()
}

#[test]
fn a_node_that_is_cut_off_has_stopped_its_attempts_before_its_lease_is_over() {
    let lease = Duration::from_secs(20);
    let Some(mut cluster) = Cluster::with("20s", 1, 2) else { return };
    let made = running(&cluster);
    until("all run", || alive(&cluster) == made.len());
    let url = cluster.node(0).url.clone();
    cluster.postgres.stop(Stop::Immediate).unwrap();
    let begun = Clock::System.now();
    // Every shard has something to commit, which waits for the server as long as it may.
    let asking: Vec<_> = (0..4)
        .map(|n| {
            let (url, body) = (format!("{url}/v1/sessions"), work(&format!("org{n}"), "late"));
            std::thread::spawn(move || super::server::request("POST", &url, Some(&body)))
        })
        .collect();
    until("all are stopped", || alive(&cluster) == 0);
    assert!(begun.until(Clock::System.now()) < lease, "before another node could start them again");
    for asked in asking {
        let answer = asked.join().unwrap();
        assert!(answer.is_none_or(|answer| answer.status >= 500), "nobody is told that it is kept");
    }
    until("the node says that it is cut off", || cluster.node(0).get("/readyz").status == 503);
    cluster.postgres.restart(Stop::Fast).unwrap();
    all_run(&cluster, &made, 0);
    until("and that it is not any more", || cluster.node(0).get("/readyz").status == 200);
}
