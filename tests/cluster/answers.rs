//! Whichever node is asked, the answer is the same.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};

use serde_json::json;

use super::*;

/// Orgs that live in several shards of four.
const ORGS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// As many sessions of each org, by either node in turn.
fn fill(cluster: &Cluster, each: usize) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    for (n, org) in ORGS.iter().cycle().take(ORGS.len() * each).enumerate() {
        made.insert(cluster.node(n % 2).session(&work(org, &format!("k{n}"))));
    }
    made
}

#[test]
fn lists_and_records_are_the_same_from_either_node() {
    let Some(cluster) = Cluster::start(2, 4) else { return };
    assert_eq!(cluster.owned(), (vec![2, 2], 0));
    let made = fill(&cluster, 3);
    for node in [0, 1] {
        let node = cluster.node(node);
        let all = ids(&node.get("/v1/sessions?limit=1000"));
        assert!(all.is_sorted_by(|a, b| a > b), "newest first");
        assert_eq!(all.iter().cloned().collect::<BTreeSet<_>>(), made);
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = node.get(&format!("/v1/sessions?limit=7{cursor}"));
            paged.extend(ids(&page));
            let Some(next) = page.body["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(paged, all, "page by page it is the same");
        for id in &made {
            let shown = node.get(&format!("/v1/records/{id}"));
            assert_eq!((shown.status, shown.body["id"].as_str()), (200, Some(id.as_str())));
            assert_eq!(node.get(&format!("/v1/records/{id}/history")).status, 200);
        }
        let status = node.get("/v1/status").body;
        assert_eq!((&status["counts"]["queued"], &status["admitted"]), (&json!(24), &json!(24)));
        let envs = node.get("/v1/queues").body;
        let orgs: Vec<&str> =
            envs["items"].as_array().unwrap().iter().map(|env| env["org"].as_str().unwrap()).collect();
        assert_eq!(orgs, ORGS);
        // The beginning of an id that only one has, and one that all have.
        let id = made.first().unwrap();
        assert_eq!(node.get(&format!("/v1/records/{}", &id[..id.len() - 1])).body["id"], id.as_str());
        assert_eq!(node.get("/v1/records/ses_01").status, 409);
        assert_eq!(node.get("/v1/records/ses_7ZZZZZZZZZZZZZZZZZZZZZZZZZ").status, 404);
    }
    let again = cluster.node(1).post("/v1/sessions", &work("a", "k0"));
    assert_eq!(
        (again.status, &again.body["duplicate"]),
        (200, &json!(true)),
        "a key is one org's on every node"
    );
}

#[test]
fn workers_get_all_there_is_and_report_to_any_node() {
    let Some(cluster) = Cluster::start(2, 4) else { return };
    let made = fill(&cluster, 4);
    let mut claimed = BTreeSet::new();
    for turn in 0.. {
        let claim = json!({ "worker": "w", "queue": "q", "max": 5, "wait": "1s" });
        let answer = cluster.node(turn % 2).post("/v1/claims", &claim);
        assert_eq!(answer.status, 200, "{answer:?}");
        let attempts = answer.body["attempts"].as_array().unwrap();
        assert!(attempts.len() <= 5);
        if attempts.is_empty() {
            break;
        }
        let report = |attempt: &Value| {
            assert!(claimed.insert(attempt["id"].as_str().unwrap().to_owned()));
            json!({ "record": attempt["id"], "attempt": attempt["attempt"], "token": attempt["token"], "type": "succeeded" })
        };
        let reports: Vec<Value> = attempts.iter().map(report).collect();
        let told = cluster.node((turn + 1) % 2).post("/v1/reports", &json!({ "reports": reports }));
        let fine = told.body["items"].as_array().unwrap().iter().all(|item| item["status"] == 200);
        assert!(told.status == 200 && fine, "{told:?}");
    }
    assert_eq!(claimed, made);
    assert_eq!(cluster.node(0).get("/v1/status").body["counts"]["completed"], 32);
    // A wait in seconds is one wait, not one of each shard; what is none is refused as that.
    let (begun, asked) = (Clock::System.now(), json!({ "worker": "w", "queue": "q", "wait": 2 }));
    let answer = cluster.node(0).post("/v1/claims", &asked);
    assert_eq!((answer.status, &answer.body["attempts"]), (200, &json!([])), "{answer:?}");
    let took = begun.until(Clock::System.now());
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&took), "{took:?}");
    for wrong in
        [json!({ "wait": "soon" }), json!({ "wait": -1 }), json!({ "max": "few" }), json!({ "max": 0 })]
    {
        let mut asked = json!({ "worker": "w", "queue": "q" });
        asked.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let answer = cluster.node(0).post("/v1/claims", &asked);
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("bad_request")), "{answer:?}");
    }
    let batch: Vec<Value> = ORGS.iter().map(|org| work(org, "batch")).collect();
    let told = cluster.node(0).post("/v1/sessions/batch", &json!({ "sessions": batch }));
    let orgs: Vec<&str> = told.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["record"]["org"].as_str().unwrap())
        .collect();
    assert_eq!(orgs, ORGS, "each in its place");
}

#[test]
fn what_holds_is_said_to_every_shard_from_any_node() {
    let Some(cluster) = Cluster::start(2, 4) else { return };
    let made = fill(&cluster, 1);
    let [one, two] = [0, 1].map(|node| cluster.node(node));
    let nothing = || {
        let claim = json!({ "worker": "w", "queue": "q", "max": 100 });
        let answer = one.post("/v1/claims", &claim);
        assert_eq!(answer.body["attempts"], json!([]), "{answer:?}");
    };
    assert_eq!(one.post("/v1/runtimes/many/pause", &json!({})).status, 200);
    assert_eq!(two.runtime("many")["state"], "paused");
    assert_eq!(two.runtime("many")["queued"], 8);
    nothing();
    assert_eq!(two.post("/v1/runtimes/many/resume", &json!({})).status, 200);
    assert_eq!(one.runtime("many")["state"], "open");

    assert_eq!(two.post("/v1/drains", &json!({ "scope": "all" })).status, 200);
    assert_eq!(one.get("/v1/drains").body["items"].as_array().unwrap().len(), 1);
    nothing();
    assert_eq!(one.get("/v1/scopes/all/why").body["rule"], "drained");
    assert_eq!(server::request("DELETE", &format!("{}/v1/drains/all", one.url), None).unwrap().status, 200);

    // One org's limit is every shard's.
    let claimed =
        two.post("/v1/claims", &json!({ "worker": "w", "queue": "q", "max": 1 })).body["attempts"][0].clone();
    let id = claimed["id"].as_str().unwrap().to_owned();
    let limited = json!({ "attempt": claimed["attempt"], "type": "rate_limited", "reset_at": "+1h" });
    let told = one.post(&format!("/v1/records/{id}/reports"), &limited);
    assert_eq!(told.status, 200, "{told:?}");
    // The shards hear of it when it is durable.
    until("every shard knows the window", || {
        made.iter()
            .filter(|other| **other != id)
            .all(|other| two.get(&format!("/v1/records/{other}/why")).body["rule"] == "runtime_limited")
    });
    nothing();
    assert_eq!(one.get("/v1/modes").status, 200);
    assert_eq!(one.get("/v1/backup").status, 501);
}

#[test]
fn budgets_and_groups_hold_whichever_node_is_asked() {
    let Some(cluster) = Cluster::start(2, 4) else { return };
    for org in ["a", "b", "c", "d", "e"] {
        let nodes = [0, 1, 0].map(|node| cluster.node(node));
        let submit = |node: &Server, key: &str| {
            let mut body = work(org, key);
            body["budget"] = json!({ "calls": 2 });
            body["concurrency"] = json!({ "group": org, "max": 1 });
            node.session(&body)
        };
        let (first, second) = (submit(nodes[1], "first"), submit(nodes[0], "second"));
        let claim = |node: &Server| {
            let claim = json!({ "worker": "w", "queue": "q", "max": 10 });
            node.post("/v1/claims", &claim).body["attempts"].as_array().unwrap().clone()
        };
        let claimed = claim(nodes[0]);
        assert_eq!((claimed.len(), &claimed[0]["id"]), (1, &json!(first)), "{claimed:?}");
        assert!(claim(nodes[1]).is_empty());
        for node in [0, 1] {
            let why = cluster.node(node).get(&format!("/v1/records/{second}/why"));
            assert_eq!(why.body["rule"], "group_busy", "{why:?}");
        }
        let charges = nodes.map(|node| {
            let charge = json!({ "attempt": 1, "calls": 1 });
            let told = node.post(&format!("/v1/records/{first}/charge"), &charge);
            (told.status, told.body["code"].clone())
        });
        assert_eq!(charges, [(200, Value::Null), (200, Value::Null), (429, json!("budget_exhausted"))]);
        for node in [0, 1] {
            let shown = cluster.node(node).get(&format!("/v1/records/{first}")).body;
            assert_eq!([&shown["budget"]["used"], &shown["budget"]["limit"]], [2, 2]);
        }
        let done = json!({ "attempt": 1, "type": "succeeded" });
        assert_eq!(nodes[1].post(&format!("/v1/records/{first}/reports"), &done).status, 200);
        assert_eq!(claim(nodes[1])[0]["id"], json!(second));
    }
}

#[test]
fn events_of_all_shards_are_one_stream_that_goes_on_where_it_was_left() {
    let Some(cluster) = Cluster::start(2, 4) else { return };
    let follow = |node: usize, after: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
        let url = format!("{}/v1/events?after={after}", cluster.node(node).url);
        BufReader::new(agent.get(&url).call().unwrap().into_body().into_reader()).lines()
    };
    let from = "0:0,1:0,2:0,3:0";
    let made = fill(&cluster, 2);
    let (mut seen, mut position) = (Vec::new(), from.to_owned());
    // Half of it from one node, the rest from the other.
    for (node, upto) in [(0, made.len() / 2), (1, made.len())] {
        let mut stream = follow(node, &position);
        let mut last = None;
        while seen.len() < upto {
            let line = stream.next().unwrap().unwrap();
            if let Some(data) = line.strip_prefix("data: ") {
                let step: Value = serde_json::from_str(data).unwrap();
                last = Some(step["id"].as_str().unwrap().to_owned());
            } else if let Some(id) = line.strip_prefix("id: ") {
                position = id.to_owned();
                seen.extend(last.take());
            }
        }
    }
    let each: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!((seen.len(), each), (made.len(), made), "each once");
}

#[test]
fn a_webhook_and_its_runs_live_where_their_org_does() {
    let Some(mut cluster) = Cluster::start(1, 4) else { return };
    let flows = cluster.home(0).join("flows");
    std::fs::create_dir_all(&flows).unwrap();
    let flow = "name: hook\non: { test: { e: } }\norg: ${who}\nrun: { command: [\"true\"] }\n";
    std::fs::write(flows.join("hook.yaml"), flow).unwrap();
    assert!(cluster.nodes[0].take().unwrap().terminate().success());
    cluster.up(0);
    cluster.settled(|_| true);
    let node = cluster.node(0);
    for org in ORGS {
        let trigger = json!({ "source": "test", "event": "e", "id": org, "payload": { "who": org } });
        let told = node.post("/v1/triggers", &trigger);
        assert_eq!(told.status, 202, "{told:?}");
        let again = node.post("/v1/triggers", &trigger);
        assert_eq!(
            (again.status, &again.body["duplicate"], &again.body["runs"]),
            (200, &json!(true), &told.body["runs"])
        );
        let run = told.body["runs"][0].as_str().unwrap();
        let session = node.session(&work(org, "same"));
        assert_eq!(run[run.len() - 3..], session[session.len() - 3..], "the slot of {org}");
        assert_eq!(node.get(&format!("/v1/records/{run}")).body["org"], org);
        assert_eq!(node.get(&format!("/v1/triggers/{}", told.body["trigger"].as_str().unwrap())).status, 200);
    }
    assert_eq!(node.get("/v1/flows").body["items"][0]["name"], "hook");
}
