//! The real binary as a server on a real store, spoken to over HTTP.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use dwell::fixture;
pub use dwell::fixture::{Answer, client};
use serde_json::Value;

pub const DWELL: &str = env!("CARGO_BIN_EXE_dwell");

/// The fixture's server, whose every request must be answered.
pub struct Server(fixture::Server);

impl Deref for Server {
    type Target = fixture::Server;
    fn deref(&self) -> &fixture::Server {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut fixture::Server {
        &mut self.0
    }
}

impl Server {
    /// Starts it on `<dir>/data` with `<dir>/dwell.toml` and a free port; returns when it accepts requests.
    pub fn start(dir: &Path, args: &[&str]) -> Server {
        Server::spawn(&mut Server::command(dir, args))
    }

    /// As [`Server::start`], with what it logs at the end of `<dir>/log`.
    pub fn logged(dir: &Path, args: &[&str]) -> Server {
        Server::spawn(&mut fixture::Server::logged(Server::command(dir, args), dir).unwrap())
    }

    /// How one is started, on a free port.
    pub fn command(dir: &Path, args: &[&str]) -> Command {
        let mut command = fixture::Server::command(Path::new(DWELL), dir);
        command.args(args);
        command
    }

    pub fn spawn(command: &mut Command) -> Server {
        Server(fixture::Server::spawn(command).expect("the server says where it listens"))
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    /// SIGTERM, without waiting for what comes of it.
    pub fn ask_to_stop(&self) {
        self.0.ask_to_stop().unwrap();
    }

    /// SIGTERM, and its exit.
    pub fn terminate(self) -> ExitStatus {
        self.ask_to_stop();
        self.ended()
    }

    /// Its exit, when it has come to it.
    pub fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        request("GET", &format!("{}{path}", self.url), None).expect("an answer")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        request("POST", &format!("{}{path}", self.url), Some(body)).expect("an answer")
    }

    /// A webhook with its headers and raw body.
    pub fn deliver(&self, source: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send("POST", &format!("{}/hooks/{source}", self.url), headers, body).expect("an answer")
    }

    /// Submits a session and answers with its id.
    pub fn session(&self, body: &Value) -> String {
        let answer = self.post("/v1/sessions", body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// The steps of a record's history.
    pub fn history(&self, id: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/records/{id}/history"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["items"].as_array().unwrap().clone()
    }

    /// One runtime, as it is listed.
    pub fn runtime(&self, name: &str) -> Value {
        let rows = self.get("/v1/runtimes").body;
        let row = rows["items"].as_array().unwrap().iter().find(|row| row["name"] == name);
        row.unwrap_or_else(|| panic!("no runtime {name}: {rows:#}")).clone()
    }

    /// Moves the test clock, and answers with the steps that records made.
    pub fn advance(&self, by: &str) -> u64 {
        let answer = self.post("/v1/clock/advance", &serde_json::json!({ "by": by }));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["transitions"].as_u64().unwrap()
    }

    /// Asks for the record until it is in `state`; each question waits in the server for a change.
    pub fn until(&self, id: &str, state: &str) -> Value {
        let mut record = self.get(&format!("/v1/records/{id}")).body;
        for _ in 0..200 {
            if record["state"] == state {
                return record;
            }
            let seen = record["updated_at"].as_str().unwrap().to_owned();
            record = self.get(&format!("/v1/records/{id}?wait=5s&while={seen}")).body;
        }
        panic!("{id} is not {state}: {record:#}");
    }
}

/// One request; `None` when the server is not there (any more).
pub fn request(method: &str, url: &str, body: Option<&Value>) -> Option<Answer> {
    fixture::request(method, url, body).ok()
}

/// One request with its headers and raw body.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    send_by(&client(), method, url, headers, body)
}

/// As [`send`], on a client that keeps its connection.
pub fn send_by(
    agent: &ureq::Agent,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    fixture::send(agent, method, url, headers, body).ok()
}

/// A directory with a `dwell.toml`, removed when dropped.
pub fn directory(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dwell.toml"), config).unwrap();
    dir
}

/// Runs the binary to its end.
pub fn dwell(dir: &Path, args: &[&str]) -> std::process::Output {
    Command::new(DWELL).args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

pub fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema/examples/webhooks").join(name);
    std::fs::read(path).unwrap()
}

/// The hex of a body's HMAC-SHA256, as GitHub and Forgejo sign.
pub fn hmac_hex(secret: &str, body: &[u8]) -> String {
    hmac_sha256(secret.as_bytes(), body).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn hmac_sha256(key: &[u8], body: &[u8]) -> Vec<u8> {
    use hmac::{KeyInit as _, Mac as _};
    let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.chain_update(body).finalize().into_bytes().to_vec()
}

/// Flow files under `<dir>/flows`.
pub fn flows(dir: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(dir.join("flows")).unwrap();
    for (name, text) in files {
        std::fs::write(dir.join("flows").join(name), text).unwrap();
    }
}
