//! Followers of the real binary, over a SIGKILL of the server.

use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use super::server::{Server, directory};

/// Positions and steps after `last`, up to the one that completes `id`.
fn until_completed(server: &Server, last: &str, id: &str) -> Vec<(String, String)> {
    let agent = ureq::Agent::new_with_defaults();
    let request = agent.get(format!("{}/v1/events", server.url)).header("Last-Event-ID", last);
    let lines = BufReader::new(request.call().unwrap().into_body().into_reader()).lines();
    let (mut found, mut at) = (Vec::new(), String::new());
    for line in lines.map(Result::unwrap) {
        if let Some(position) = line.strip_prefix("id: ") {
            position.clone_into(&mut at);
        }
        if let Some(data) = line.strip_prefix("data: ") {
            let step: Value = serde_json::from_str(data).unwrap();
            found.push((at.clone(), format!("{} {}", step["id"].as_str().unwrap(), step["to"])));
            if step["id"] == id && step["to"] == "completed" {
                return found;
            }
        }
    }
    panic!("the stream ended after {found:#?}");
}

#[test]
fn positions_mean_the_same_after_a_kill() {
    let dir = directory("");
    let mut server = Server::start(dir.path(), &[]);
    let body = json!({"runtime": "shell", "action": {"command": ["true"]}});
    let session = |server: &Server| {
        let id = server.post("/v1/sessions", &body).body["id"].as_str().unwrap().to_owned();
        server.until(&id, "completed");
        id
    };
    let a = session(&server);
    let before = until_completed(&server, "0", &a);
    server.kill();

    let server = Server::start(dir.path(), &[]);
    assert_eq!(until_completed(&server, "0", &a), before);
    let b = session(&server);
    for (nth, (last, _)) in before.iter().enumerate() {
        let after = until_completed(&server, last, &b);
        assert_eq!(after[..before.len() - nth - 1], before[nth + 1..], "after {last}");
        assert!(after.iter().filter(|(_, step)| step.starts_with(&b)).count() >= 3, "{after:#?}");
    }
}
