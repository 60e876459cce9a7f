//! What an attempt finds in its environment, and what it does not: a real child of a real server that a service manager
//! started, with everything such a one brings.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::server::{DWELL, Server, directory, send};

const CONFIG: &str = "[sources.gh]\nkind = \"github\"\nsecrets = [\"env:WEBHOOK\"]\n\
     [notify.ops]\nevents = [\"stalled\"]\n\
     http = { url = \"http://127.0.0.1:9/\", headers = { Authorization = \"env:CHANNEL\" } }\n\
     [runtimes.own]\nenv = { WEBHOOK = \"of-the-runtime\" }\n";

/// What dwell has and no attempt of it gets, each with `planted` in it.
const DWELLS: [&str; 7] = [
    "WEBHOOK",
    "CHANNEL",
    "CREDENTIALS_DIRECTORY",
    "WATCHDOG_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "DWELL_LOG_LEVEL",
];

/// A server that was handed a socket, and all of [`DWELLS`]; and the socket, as the kernel names it.
fn activated(dir: &Path) -> (Server, String) {
    let pass = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" serve 3<&0 0</dev/null";
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let named = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", pass, DWELL]).current_dir(dir).stdin(OwnedFd::from(socket));
    command.envs(DWELLS.map(|name| (name, "planted=error"))).env("ORDINARY", "is-inherited");
    (Server::spawn(&mut command), named.to_str().unwrap().to_owned())
}

/// What a command prints that runs there.
fn printed(server: &Server, runtime: &str, argv: &[&str]) -> String {
    let id = server.session(&json!({ "runtime": runtime, "action": { "command": argv } }));
    server.until(&id, "completed");
    // The output of a command is text, which no document is.
    let url = format!("{}/v1/records/{id}/logs", server.url);
    let answer = ureq::get(&url).call().unwrap().body_mut().read_to_string();
    answer.unwrap()
}

#[test]
fn no_attempt_inherits_a_secret_or_a_word_of_the_service_manager() {
    let dir = directory(CONFIG);
    let (server, socket) = activated(dir.path());
    let env = printed(&server, "shell", &["env"]);
    assert!(env.contains("ORDINARY=is-inherited") && env.contains("DWELL_TOKEN="), "{env}");
    assert!(!env.contains("planted") && !env.contains("LISTEN_") && !env.contains("WATCHDOG_"), "{env}");
    let env = printed(&server, "own", &["env"]);
    assert!(env.contains("WEBHOOK=of-the-runtime"), "what a runtime is given by name is its own: {env}");
    assert!(!env.contains("planted"), "{env}");
    let files = printed(&server, "shell", &["sh", "-c", "readlink /proc/$$/fd/*; true"]);
    assert!(files.contains("pipe:") && !files.contains(&socket), "it holds dwell's port: {files}");
}

#[test]
fn a_secret_that_a_reload_names_is_withheld_and_one_that_it_names_no_more_stays_so() {
    let dir = directory("");
    let (server, _) = activated(dir.path());
    assert!(
        printed(&server, "shell", &["env"]).contains("WEBHOOK=planted"),
        "nobody said that it is a secret"
    );
    for config in [CONFIG, ""] {
        fs::write(dir.path().join("dwell.toml"), config).unwrap();
        kill_process(Pid::from_child(&server.child), Signal::HUP).unwrap();
        // A source that is there asks for its signature.
        let status = if config.is_empty() { 404 } else { 401 };
        while send("POST", &format!("{}/hooks/gh", server.url), &[], b"{}").unwrap().status != status {}
        let env = printed(&server, "shell", &["env"]);
        assert!(!env.contains("WEBHOOK"), "{env}");
    }
}
