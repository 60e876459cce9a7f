//! A node that stands still, seen from another one: nobody waits for it longer than its shards are its own.

use std::io::{BufRead as _, BufReader};
use std::thread;

use dwell::model::RecordId;
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// A lease, what is allowed beyond it, and how often is looked; far less than was asked to wait.
const IN_TIME: Duration = Duration::from_secs(40);

/// A session that lives in a shard of node 1, and its org.
fn there(cluster: &Cluster) -> (String, String) {
    let shards = cluster.node(0).get("/v1/nodes").body["shards"].clone();
    let orgs = (0..).map(|n| format!("org{n}"));
    let mut made = orgs.map(|org| (cluster.node(0).session(&work(&org, "k")), org));
    let is_there = |(id, _): &(String, String)| {
        let shard = id.parse::<RecordId>().unwrap().slot().shard(4);
        shards[shard as usize]["owner"] == "node1"
    };
    made.find(is_there).unwrap()
}

#[test]
fn who_asks_a_node_that_stands_still_is_answered_and_hears_the_next_owner() {
    let Some(cluster) = Cluster::with(SHORT, 2, 4) else { return };
    let (id, org) = there(&cluster);
    let (node, path) = (cluster.node(0), format!("/v1/records/{id}"));
    let seen = node.get(&path).body["updated_at"].as_str().unwrap().to_owned();
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(SOON)).build().into();
    let events = agent.get(format!("{}/v1/events", node.url)).call().unwrap();
    let mut events = BufReader::new(events.into_body().into_reader()).lines();
    assert!(events.next().unwrap().unwrap().starts_with("id: "), "it follows all shards");

    let begun = Clock::System.now();
    let refused = thread::scope(|scope| {
        let waits = scope.spawn(|| node.get(&format!("{path}?wait=50s&while={seen}")));
        kill_process(Pid::from_child(&cluster.node(1).child), Signal::STOP).unwrap();
        [node.get(&path), waits.join().unwrap()]
    });
    for refused in refused {
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (503, &json!("owner_unreachable")),
            "{refused:?}"
        );
    }
    let took = begun.until(Clock::System.now());
    assert!(took < IN_TIME, "{took:?}");

    assert_eq!(patiently(|| node.get(&path)).status, 200);
    let later = patiently(|| node.post("/v1/sessions", &work(&org, "later")));
    let later = format!("\"id\":\"{}\"", later.body["id"].as_str().unwrap());
    assert!(events.any(|line| line.unwrap().contains(&later)), "the stream goes on at the next owner");
}
