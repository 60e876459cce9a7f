//! Triggers by hand: waited for, listed page by page, and matched against today's flows once more.

use serde_json::{Value, json};

use super::server::{Server, directory, dwell, flows};

fn flow(name: &str) -> String {
    format!("name: {name}\non: {{ forge: {{ push: }} }}\nrun: {{ command: [echo, {name}, \"${{n}}\"] }}\n")
}

fn replay(server: &Server, id: &str, body: &Value) -> (u16, Value) {
    let answer = server.post(&format!("/v1/triggers/{id}/replay"), body);
    (answer.status, answer.body)
}

#[test]
fn only_a_forced_replay_makes_runs_and_they_are_those_of_today_s_flows() {
    let dir = directory("");
    flows(dir.path(), &[("old.yaml", &flow("old"))]);
    let server = Server::start(dir.path(), &[]);
    let body = json!({"source": "forge", "event": "push", "id": "d-1", "payload": {"n": 7}});
    let first = server.post("/v1/triggers", &body).body;
    let id = first["trigger"].as_str().unwrap().to_owned();
    assert_eq!(first["runs"].as_array().unwrap().len(), 1);
    drop(server);

    flows(dir.path(), &[("new.yaml", &flow("new"))]);
    let server = Server::start(dir.path(), &[]);
    let (status, duplicate) = replay(&server, &id, &json!({}));
    assert_eq!((status, &duplicate["duplicate"], &duplicate["trigger"]), (200, &json!(true), &json!(id)));
    assert_eq!(duplicate["runs"], first["runs"]);
    assert_eq!(server.get("/v1/runs").body["items"].as_array().unwrap().len(), 1, "nothing was made");

    let (status, forced) = replay(&server, &id[..20], &json!({"force": true}));
    assert_eq!((status, &forced["duplicate"]), (202, &json!(false)), "{forced:#}");
    let argv = |id: &Value| {
        let run = server.get(&format!("/v1/records/{}", id.as_str().unwrap())).body;
        assert_eq!(run["trigger"], forced["trigger"]);
        run["action"]["command"].clone()
    };
    let argvs: Vec<Value> = forced["runs"].as_array().unwrap().iter().map(argv).collect();
    assert_eq!(argvs, [json!(["echo", "new", "7"]), json!(["echo", "old", "7"])]);
    let again = server.get(&format!("/v1/triggers/{}", forced["trigger"].as_str().unwrap())).body;
    assert_eq!((&again["replay_of"], again.get("dedup")), (&json!(id), None));
    assert_eq!(again["payload"], json!({"n": 7}));

    // The delivery is still spent, and a second replay is one of its own.
    assert_eq!(server.post("/v1/triggers", &body).body["trigger"], id);
    assert_ne!(replay(&server, &id, &json!({"force": true})).1["trigger"], forced["trigger"]);
}

#[test]
fn a_replay_of_nothing_is_not_found() {
    let server = Server::start(directory("").path(), &[]);
    for (id, detail) in [("trg_01", "no trigger trg_01"), ("ses_01", "\"ses_01\" is no trigger")] {
        let (status, problem) = replay(&server, id, &json!({"force": true}));
        assert_eq!(status, 404);
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem:#}");
    }
}

#[test]
fn the_command_line_replays_and_shows_a_trigger() {
    let dir = directory("");
    flows(dir.path(), &[("old.yaml", &flow("old"))]);
    let _server = Server::start(dir.path(), &[]);
    std::fs::write(dir.path().join("payload.json"), "{\"n\": 1}").unwrap();
    let ran = |args: &[&str]| {
        let output = dwell(dir.path(), args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let made = ran(&["trigger", "forge", "push", "payload.json"]);
    let (id, _) = made.split_once('\n').unwrap();
    assert_eq!(ran(&["replay", id]), made);
    let forced = ran(&["replay", id, "--force", "--json"]);
    let forced: Value = serde_json::from_str(&forced).unwrap();
    let shown = ran(&["show", forced["trigger"].as_str().unwrap(), "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["replay_of"], &shown["payload"]["n"]), (&json!(id), &json!(1)));
}

#[test]
fn who_waits_is_answered_with_the_runs_at_their_end() {
    let dir = directory("");
    flows(dir.path(), &[("a.yaml", &flow("a")), ("b.yaml", &flow("b"))]);
    let server = Server::start(dir.path(), &[]);
    let body = json!({"source": "forge", "event": "push", "id": "d-1", "payload": {"n": 7}, "wait": "30s"});
    let answer = server.post("/v1/triggers", &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let records = answer.body["records"].as_array().unwrap();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["state"] == "completed"), "{records:#?}");
    let again = server.post("/v1/triggers", &body);
    assert_eq!((again.status, &again.body["records"]), (200, &answer.body["records"]));
    let nobody = json!({"source": "forge", "event": "tag", "wait": "30s"});
    assert_eq!(server.post("/v1/triggers", &nobody).body["records"], json!([]));
}

#[test]
fn triggers_page_by_their_cursor_newest_first() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let made: Vec<Value> = (0..5)
        .map(|n| {
            let body = json!({"source": "forge", "event": "push", "id": n.to_string()});
            server.post("/v1/triggers", &body).body["trigger"].clone()
        })
        .collect();
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = server.get(&format!("/v1/triggers{query}")).body;
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        query = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, made.into_iter().rev().collect::<Vec<_>>());
}
