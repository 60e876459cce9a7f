//! Token files: where one is needed, and how it comes into force.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::server::{DWELL, Server, directory, dwell};
use super::{ask, exposed, tokens};

fn said(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

fn serve(dir: &Path, listen: &str) -> (i32, String) {
    said(&dwell(dir, &["serve", "--listen", listen]))
}

/// What a command prints on stdout, if it does well.
fn printed(dir: &Path, args: &[&str]) -> String {
    let output = dwell(dir, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn beyond_loopback_nothing_is_served_without_a_token_file() {
    let dir = directory("");
    let (code, said) = serve(dir.path(), "0.0.0.0:0");
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("make one with: dwell token add --scope admin"), "{said}");
    assert!(!dir.path().join("dwell-data").exists(), "a store was made");
    fs::write(dir.path().join("dwell.toml"), "[server]\nlisten = \"[::]:0\"\n").unwrap();
    assert_eq!(self::said(&dwell(dir.path(), &["config", "check"])).0, 78);
    printed(dir.path(), &["token", "add"]);
    assert_eq!(self::said(&dwell(dir.path(), &["config", "check"])).0, 0);
}

#[test]
fn all_of_loopback_is_served_without_one() {
    let dir = directory("");
    let mut command = Command::new(DWELL);
    command.args(["serve", "--listen", "127.0.0.2:0"]).current_dir(dir.path());
    let server = Server::spawn(&mut command);
    assert_eq!(ask(&server, "GET", "/v1/status", None, b"").status, 200);
}

#[test]
fn a_token_file_that_others_can_read_is_refused_and_so_is_one_that_is_named_and_not_there() {
    let dir = directory("");
    tokens(dir.path());
    let file = dir.path().join("dwell-data/tokens");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let (code, said) = serve(dir.path(), listen);
        assert_eq!(code, 78, "{said}");
        assert!(
            said.contains("can be read or written by others than its owner (mode 644): chmod 600"),
            "{said}"
        );
    }
    fs::write(dir.path().join("dwell.toml"), "[server]\ntoken_file = \"elsewhere\"\n").unwrap();
    let (code, said) = serve(dir.path(), "127.0.0.1:0");
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("there is no token file elsewhere"), "{said}");
}

#[test]
fn the_first_token_closes_a_running_server_and_a_revoked_one_opens_it_no_more() {
    let dir = directory("");
    let server =
        Server::spawn(Command::new(DWELL).args(["serve", "--listen", "127.0.0.1:0"]).current_dir(dir.path()));
    let status = |token: Option<&str>| ask(&server, "GET", "/v1/status", token, b"").status;
    assert_eq!(status(None), 200);
    let token = printed(dir.path(), &["token", "add", "--name", "me", "--expires", "1h"]);
    assert_eq!((status(None), status(Some(&token))), (401, 200));
    let listed = printed(dir.path(), &["token", "ls"]);
    assert!(listed.contains("me") && listed.contains("read") && !listed.contains(&token), "{listed}");
    assert_eq!(printed(dir.path(), &["token", "revoke", "me"]), "token me is revoked");
    assert_eq!((status(None), status(Some(&token))), (401, 401));
    assert_eq!(said(&dwell(dir.path(), &["token", "revoke", "me"])).0, 3);
}

#[test]
fn the_command_line_shows_the_token_it_is_given() {
    let dir = directory("");
    let [read, operate, _] = tokens(dir.path());
    let _server = Server::spawn(&mut exposed(dir.path()));
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(DWELL);
        command.args(args).current_dir(dir.path()).envs(env.iter().copied()).stdin(Stdio::null());
        said(&command.output().unwrap())
    };
    let file = dir.path().join("token");
    fs::write(&file, format!("{read}\n")).unwrap();
    let (code, told) = run(&["ls", "--token-file", "token"], &[]);
    assert_eq!(code, 1);
    assert!(told.contains("token can be read or written by others"), "{told}");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(&["ls", "--token-file", "token"], &[]).0, 0);
    assert_eq!(run(&["ls"], &[("DWELL_TOKEN_FILE", "token")]).0, 0);
    let (code, told) = run(&["ls"], &[]);
    assert!(code == 1 && told.contains("a token is needed"), "{told}");
    let (code, told) = run(&["run", "--detach", "--", "true"], &[("DWELL_TOKEN", &read)]);
    assert!(code == 1 && told.contains("this takes the scope operate; the token has read"), "{told}");
    assert_eq!(run(&["run", "--", "true"], &[("DWELL_TOKEN", &operate)]).0, 0);
}

#[test]
fn a_command_in_the_foreground_needs_no_token_for_the_server_it_starts() {
    let dir = directory("");
    tokens(dir.path());
    assert_eq!(printed(dir.path(), &["run", "--", "echo", "hi"]), "hi");
}

#[test]
fn an_attempt_charges_and_reports_with_the_token_it_is_given() {
    let dir = directory("");
    let [_, operate, _] = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    // What else it asks for is not its to ask.
    let script = format!("{DWELL} charge && {DWELL} show $DWELL_ID >/dev/null && ! {DWELL} ls");
    let body =
        serde_json::json!({ "runtime": "shell", "action": { "command": ["sh", "-c", script] }, "budget": 2 });
    let made = ask(&server, "POST", "/v1/sessions", Some(&operate), body.to_string().as_bytes());
    let id = made.body["id"].as_str().unwrap();
    let path = |record: &serde_json::Value| {
        let seen = record["updated_at"].as_str().unwrap();
        format!("/v1/records/{id}?wait=20s&while={seen}")
    };
    let mut record = made.body.clone();
    for _ in 0..20 {
        if record["state"] == "completed" {
            break;
        }
        record = ask(&server, "GET", &path(&record), Some(&operate), b"").body;
    }
    assert_eq!((&record["state"], &record["budget"]["used"]), (&"completed".into(), &1.into()), "{record:#}");
}

#[test]
fn a_store_is_for_its_owner_alone_and_one_that_others_can_get_at_is_told() {
    let dir = directory("");
    let data = dir.path().join("dwell-data");
    let started = || {
        let server = Server::logged(dir.path(), &[]);
        assert!(server.terminate().success());
        fs::read_to_string(dir.path().join("log")).unwrap()
    };
    let log = started();
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!log.contains("others can get at"), "{log}");
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    let log = started();
    assert!(log.contains("(mode 755): chmod 700"), "{log}");
}
