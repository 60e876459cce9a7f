//! The real binary as a server on a real store, spoken to over HTTP.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

pub const DWELL: &str = env!("CARGO_BIN_EXE_dwell");

/// A running `dwell serve`; killed with SIGKILL when dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
}

impl Server {
    /// Starts it on `<dir>/data` with `<dir>/dwell.toml` and a free port; returns when it accepts requests.
    pub fn start(dir: &Path, args: &[&str]) -> Server {
        Server::spawn(
            Command::new(DWELL).args(["serve", "--listen", "127.0.0.1:0"]).args(args).current_dir(dir),
        )
    }

    pub fn spawn(command: &mut Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = None;
        for line in stdout.lines() {
            let line = line.unwrap();
            if let Some(at) = line.find("http://127.0.0.1:") {
                url = line[at..]
                    .split_whitespace()
                    .next()
                    .map(|url| url.trim_end_matches([',', '/']).to_owned());
                break;
            }
        }
        let url = url.expect("the server says where it listens");
        Server { child, url }
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        request("GET", &format!("{}{path}", self.url), None).expect("an answer")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        request("POST", &format!("{}{path}", self.url), Some(body)).expect("an answer")
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

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A status and a JSON body (null when there is none).
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// One request; `None` when the server is not there (any more).
pub fn request(method: &str, url: &str, body: Option<&Value>) -> Option<Answer> {
    let bytes = body.map(Value::to_string).unwrap_or_default();
    send(method, url, &[("content-type", "application/json")], bytes.as_bytes())
}

/// One request with its headers and raw body.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(std::time::Duration::from_secs(60)))
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = agent.run(request.body(body.to_vec()).unwrap()).ok()?;
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().ok()?;
    Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
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
