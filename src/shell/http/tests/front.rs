//! A node's front, on shards of this process.

use axum::http::HeaderMap;

use super::super::front::{Front, NODE_HEADER, Nodes, router};
use super::*;
use crate::shell::tokens::Tokens;

struct Node {
    shards: Vec<Running>,
    front: Arc<Front>,
    http: Running,
}

/// One of two shards, of which the first so many are open.
fn node(open: usize) -> Node {
    let shards: Vec<Running> = (0..open).map(|_| start()).collect();
    let whole = start();
    let (shared, tokens) = (Arc::clone(&whole.shared), Tokens::of_key(&[7; 32]).unwrap());
    let nodes = Nodes { learn: Box::new(drop), rebalance: Box::new(|| {}), feed: Feed::default() };
    let loaded = shared.loaded.clone();
    let front = Arc::new(Front::new(shared.entrance(), "here".to_owned(), 2, loaded, tokens, nodes));
    for (shard, running) in (0..).zip(&shards) {
        front.table.open(shard, Arc::clone(&running.shared));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (routes, exempt) = (router(Arc::clone(&front)), Arc::clone(&front).exempt());
    let server = Server::serve(listener, routes, Limits::default(), exempt, Box::new(|| {})).unwrap();
    let http = Running { url: format!("http://{}", server.address()), _server: server, ..whole };
    Node { shards, front, http }
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[test]
fn what_changes_something_is_told_to_nobody_while_a_shard_has_no_owner() {
    let Node { shards, http: node, .. } = node(1);
    for (path, body) in [
        ("/v1/runtimes/shell/pause", json!({})),
        ("/v1/drains", json!({ "scope": "all" })),
        ("/v1/dead-letters/redrive", json!({ "rate": "1/s" })),
    ] {
        assert_eq!(code(&node.post(path, &body)), (503, "no_owner"), "{path}");
    }
    assert_eq!(shards[0].get("/v1/runtimes").1["items"][0]["state"], "open");
    assert_eq!(shards[0].get("/v1/drains").1["items"], json!([]));
    // A claim, and what is about the shard that is there, goes on.
    assert_eq!(node.post("/v1/claims", &json!({ "worker": "w", "queue": "q" })).0, 200);
    let told = node.get("/readyz");
    assert_eq!(
        (told.0, &told.1["reasons"][0]["code"]),
        (503, &json!("store_unreachable")),
        "it never looked"
    );
}

#[test]
fn what_is_taken_back_needs_to_be_in_one_shard_only() {
    let Node { shards, http: node, .. } = node(2);
    assert_eq!(shards[1].post("/v1/drains", &json!({ "scope": "org:a" })).0, 200);
    assert_eq!(node.get("/v1/drains").1["items"].as_array().unwrap().len(), 1);
    let undrain = || node.send("DELETE", "/v1/drains/org%3Aa", &[], b"");
    assert_eq!(undrain().0, 200);
    assert_eq!(undrain().0, 404);
    assert_eq!(node.send("HEAD", "/v1/drains", &[], b""), (200, String::new()));
}

#[test]
fn only_who_proves_to_be_a_node_may_ask_any_number() {
    let front = node(0).front;
    let shown = |proof: String| HeaderMap::from_iter([(NODE_HEADER, proof.parse().unwrap())]);
    let other = Tokens::of_key(&[8; 32]).unwrap();
    let (proven, wrong) = (shown(front.tokens.node()), shown(other.node()));
    let exempt = front.exempt();
    assert!(exempt(&proven));
    assert!(!exempt(&wrong) && !exempt(&shown("x".to_owned())) && !exempt(&HeaderMap::new()));
}
