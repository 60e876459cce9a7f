//! Notices of the real binary, and a receiver on loopback that is down first.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Server, directory, dwell};

/// One request that came in.
#[derive(Debug)]
struct Came {
    path: String,
    key: String,
    body: Value,
}

/// Takes requests at `address` and answers each with 200, as long as the test runs.
fn receive(address: SocketAddr) -> Receiver<Came> {
    let listener = TcpListener::bind(address).expect("the port is free again");
    let (send, came) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let header = |name: &str| {
                let line = lines.iter().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
                line.map(|line| line[name.len() + 1..].trim().to_owned()).unwrap_or_default()
            };
            let mut body = vec![0; header("content-length").parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            let path = lines[0].split(' ').nth(1).unwrap().to_owned();
            let came =
                Came { path, key: header("idempotency-key"), body: serde_json::from_slice(&body).unwrap() };
            if send.send(came).is_err() {
                return;
            }
        }
    });
    came
}

#[test]
fn what_nobody_received_before_a_kill_arrives_after_it() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = directory(&format!(
        "[notify.ops]\nevents = [\"dead_lettered\"]\nhttp = {{ url = \"http://{address}/ops\" }}\n"
    ));
    let args = ["--test-clock", "2026-11-21T00:00:00Z"];
    let mut dwell = Server::start(dir.path(), &args);
    let id = dwell.session(&json!({
        "runtime": "shell", "action": {"command": ["sh", "-c", "echo no file 17 >&2; exit 65"]}, "labels": {"n": "1"},
        "on_dead_letter": {"http": {"url": format!("http://{address}/own")}},
    }));
    dwell.until(&id, "dead_lettered");
    let notices = dwell.get("/v1/sessions?runtime=notify").body;
    let notices: Vec<&Value> = notices["items"].as_array().unwrap().iter().collect();
    assert_eq!(notices.len(), 2, "{notices:#?}");
    let ids: Vec<String> = notices.iter().map(|notice| notice["id"].as_str().unwrap().to_owned()).collect();
    for notice in &ids {
        let record = dwell.until(notice, "backoff");
        assert_eq!(record["about"], id.as_str());
        assert_eq!(record["wait"]["reason"], "unavailable", "{record:#}");
    }
    dwell.kill();

    let came = receive(address);
    let dwell = Server::start(dir.path(), &args);
    dwell.advance("10m");
    let mut paths = Vec::new();
    for _ in 0..2 {
        let came = came.recv_timeout(Duration::from_secs(30)).expect("a notice arrives");
        assert!(ids.iter().any(|id| came.key == format!("{id}.2")), "{came:?}");
        assert_eq!((&came.body["event"], &came.body["id"]), (&json!("dead_lettered"), &json!(id)));
        assert_eq!((&came.body["cause"], &came.body["labels"]["n"]), (&json!("invalid"), &json!("1")));
        paths.push(came.path);
    }
    paths.sort_unstable();
    assert_eq!(paths, ["/ops", "/own"]);
    for notice in &ids {
        dwell.until(notice, "completed");
    }
}

#[test]
fn a_paced_redrive_that_is_followed_ends_by_itself() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let again = dir.path().join("again");
    let command = json!(["sh", "-c", "test -e again || exit 65"]);
    let ids: Vec<String> = (0..3)
        .map(|_| {
            server.session(&json!({"runtime": "shell", "action": {"command": command, "cwd": dir.path()}}))
        })
        .collect();
    for id in &ids {
        server.until(id, "dead_lettered");
    }
    std::fs::write(again, "").unwrap();
    let output = dwell(dir.path(), &["redrive", "--all", "--rate", "100/s"]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{out}{err}");
    assert!(out.starts_with("rdv_"), "{out}");
    assert_eq!(err, format!("3 matched\n{} is over\n", out.trim()));
    for id in &ids {
        server.until(id, "completed");
    }
}
