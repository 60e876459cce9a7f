//! Drained scopes and what is held, through the real binary: over restarts, and from the command line.

use std::path::Path;

use serde_json::{Value, json};

use super::server::{Server, directory, dwell};

const CLAUDE: &str = "[runtimes.claude]\nadapter = \"plain\"\nargv = [\"true\"]\n";

/// What a command prints, which must go well.
fn said(dir: &Path, args: &[&str]) -> String {
    let output = dwell(dir, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn session(server: &Server, runtime: &str) -> String {
    server.session(&json!({"runtime": runtime, "action": {"command": ["true"], "cwd": "/"}}))
}

fn state(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/records/{id}")).body["state"].clone()
}

#[test]
fn a_drained_runtime_is_drained_until_it_is_undrained_also_after_a_kill() {
    let dir = directory(CLAUDE);
    let mut server = Server::start(dir.path(), &[]);
    assert_eq!(said(dir.path(), &["drain", "--runtime", "claude"]), "runtime:claude drained");
    server.kill();
    let server = Server::start(dir.path(), &[]);
    let held = session(&server, "claude");
    server.until(&session(&server, "shell"), "completed");
    assert_eq!(state(&server, &held), "queued");
    assert!(said(dir.path(), &["ls", "drains"]).contains("runtime:claude"));
    let scopes = said(dir.path(), &["ls", "scopes"]);
    assert!(scopes.contains("default/default"), "{scopes}");
    let words = "drained: runtime:claude is drained since ";
    assert!(said(dir.path(), &["why", &held]).starts_with(words));
    assert!(said(dir.path(), &["why", "runtime:claude"]).starts_with(words));
    assert_eq!(said(dir.path(), &["why", "runtime:shell"]).lines().next(), Some("open: nothing holds it"));
    let listed = said(dir.path(), &["ls", "--state", "queued"]);
    assert!(listed.contains(&held) && listed.ends_with("drained"), "{listed}");
    let ready = server.get("/readyz");
    assert_eq!((ready.status, &ready.body["ready"]), (200, &json!(true)));
    let reason = &ready.body["reasons"][0];
    assert_eq!(reason["code"], "scope_drained");
    assert!(reason["detail"].as_str().unwrap().starts_with("runtime:claude is drained since "));
    assert_eq!(said(dir.path(), &["undrain", "--runtime", "claude"]), "runtime:claude undrained");
    server.until(&held, "completed");
    let again = dwell(dir.path(), &["undrain", "--runtime", "claude"]);
    assert_eq!(again.status.code(), Some(3), "{again:?}");
}

#[test]
fn a_server_that_starts_paused_dispatches_nothing_of_what_waited_until_it_is_undrained() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let running =
        server.session(&json!({"runtime": "shell", "action": {"command": ["sleep", "1000"], "cwd": "/"}}));
    server.until(&running, "active");
    drop(server);
    let server = Server::start(dir.path(), &["--paused"]);
    assert_eq!(state(&server, &running), "queued");
    let waits = session(&server, "shell");
    drop(server);
    // It is as durable as any drain: another start, without the flag, holds as well.
    let server = Server::start(dir.path(), &[]);
    assert_eq!((state(&server, &running), state(&server, &waits)), (json!("queued"), json!("queued")));
    assert_eq!(server.get("/v1/status").body["drains"], json!(["all"]));
    assert_eq!(said(dir.path(), &["undrain", "--all"]), "all undrained");
    server.until(&running, "active");
    server.until(&waits, "completed");
}
