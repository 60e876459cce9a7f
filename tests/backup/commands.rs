//! `dwell backup` and `dwell restore`, the real binary: what they leave behind, and what they refuse.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use dwell::shell::backup::read;
use serde_json::{Value, json};

use super::server::{DWELL, Server, directory, dwell};
use super::unpacked;

const START: &str = "2026-11-21T00:00:00Z";

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

#[track_caller]
fn ok(dir: &Path, args: &[&str]) -> String {
    let output = dwell(dir, args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(dir: &Path, args: &[&str]) -> String {
    let output = dwell(dir, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", said(&output));
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr).unwrap()
}

fn waiting(server: &Server, key: &str) -> String {
    server.session(&json!({"runtime": "worker", "action": {"worker": "q"}, "key": key, "payload": {"n": 1}}))
}

/// A server with one session that waits for a limit, and one that waits for a claim.
fn limited(dir: &Path) -> (Server, String) {
    let server = Server::start(dir, &["--test-clock", START]);
    let id = waiting(&server, "limited");
    let claimed = server.post("/v1/claims", &json!({"worker": "w", "queue": "q", "lease": "1h"}));
    assert_eq!(claimed.body["attempts"][0]["id"], json!(id));
    let report = json!({"attempt": 1, "type": "rate_limited", "reset_at": "2026-11-21T01:30:00.123Z"});
    assert_eq!(server.post(&format!("/v1/records/{id}/reports"), &report).status, 200);
    waiting(&server, "queued");
    (server, id)
}

#[test]
fn a_restored_store_goes_on_where_the_backup_was_taken() {
    let dir = directory("");
    let (mut server, id) = limited(dir.path());
    let line = ok(dir.path(), &["backup", "online"]);
    assert!(line.starts_with("backed up to online: 2 records, commit "), "{line}");
    waiting(&server, "after the backup");
    server.kill();

    let line = ok(dir.path(), &["restore", "online", "--data", "new/restored"]);
    let begun = "restored new/restored: commit ";
    assert!(line.starts_with(begun) && line.ends_with("Z; 1 queued, 1 rate_limited\n"), "{line}");
    ok(dir.path(), &["check", "--data", "new/restored"]);
    let server = Server::start(dir.path(), &["--test-clock", START, "--data", "new/restored"]);
    assert_eq!(server.get("/v1/sessions").body["items"].as_array().unwrap().len(), 2);
    let record = server.get(&format!("/v1/records/{id}")).body;
    assert_eq!(
        (&record["state"], &record["deadline"]),
        (&json!("rate_limited"), &json!("2026-11-21T01:30:00.123Z"))
    );
    let reset = |by: &str| {
        server.advance(by);
        server.get(&format!("/v1/records/{id}")).body["state"].clone()
    };
    assert_eq!(reset("5400122ms"), "rate_limited");
    assert_eq!(reset("1ms"), "queued");
    let again = server
        .post("/v1/sessions", &json!({"runtime": "worker", "action": {"worker": "q"}, "key": "queued"}));
    assert_eq!(again.body["duplicate"], true, "{again:?}");
}

#[test]
fn a_backup_without_a_server_is_the_same_as_one_with() {
    let dir = directory("");
    let (mut server, _) = limited(dir.path());
    ok(dir.path(), &["backup", "online"]);
    server.kill();
    let document: Value = serde_json::from_str(&ok(dir.path(), &["backup", "offline", "--json"])).unwrap();
    let piped = Command::new(DWELL).args(["backup", "-"]).current_dir(dir.path()).output().unwrap();
    assert!(said(&piped).contains("backed up to -: 2 records"), "{}", said(&piped));
    let read = |name: &str| unpacked(&fs::read(dir.path().join(name)).unwrap());
    let ((online, about), (offline, _)) = (read("online"), read("offline"));
    assert_eq!(online, offline);
    assert_eq!(online, unpacked(&piped.stdout).0);
    assert_eq!((&document["commit"], &document["records"]), (&json!(about.commit), &json!(2)));
}

#[test]
fn a_backup_is_its_owners_alone_and_replaces_nothing_unasked() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = directory("");
    let _server = Server::start(dir.path(), &[]);
    // What one that was cut off left behind.
    fs::write(dir.path().join("file.new"), "rest").unwrap();
    ok(dir.path(), &["backup", "file"]);
    let first = fs::read(dir.path().join("file")).unwrap();
    assert_eq!(fs::metadata(dir.path().join("file")).unwrap().permissions().mode() & 0o777, 0o600);
    let error = refused(dir.path(), &["backup", "file"]);
    assert_eq!(error, "dwell: file is there already: --force replaces it\n");
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), first);
    ok(dir.path(), &["backup", "file", "--force"]);
    assert!(!dir.path().join("file.new").exists());
    let error = refused(dir.path(), &["backup", "other", "--data", "nowhere"]);
    assert_eq!(error, "dwell: nowhere is no store: nothing to back up\n");
    assert!(!dir.path().join("nowhere").exists() && !dir.path().join("other.new").exists());
}

#[test]
fn a_damaged_backup_is_refused_before_anything_is_written() {
    let dir = directory("");
    drop(limited(dir.path()));
    ok(dir.path(), &["backup", "file"]);
    let whole = fs::read(dir.path().join("file")).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(dir.path().join("bad"), bytes).unwrap();
        let error = refused(dir.path(), &["restore", "bad", "--data", "restored"]);
        assert!(error.starts_with("dwell: bad: it "), "{what}: {error}");
        assert!(!dir.path().join("restored").exists() && !dir.path().join("restored.new").exists(), "{what}");
        error
    };
    for part in 0..100 {
        let cut = whole.len() * part / 100;
        let error = if part % 10 == 0 {
            check(&whole[..cut], "cut")
        } else {
            read(&mut &whole[..cut], &mut |_| Ok(())).unwrap_err().to_string()
        };
        let named: usize =
            error.split("at byte ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
        assert!(named <= cut, "cut at {cut}: {error}");
    }
    for part in 0..10 {
        let mut bytes = whole.clone();
        bytes[whole.len() * part / 10] ^= 0x10;
        check(&bytes, "flipped");
    }
    let newer = [b"dwell backup 7\n", &whole[15..]].concat();
    assert_eq!(check(&newer, "newer"), "dwell: bad: it says format 7: this build reads up to 1\n");
}

#[test]
fn a_store_is_restored_only_where_there_is_none() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    ok(dir.path(), &["backup", "file"]);
    let error = refused(dir.path(), &["restore", "file", "--data", "dwell-data"]);
    assert!(error.starts_with("dwell: dwell-data is not empty"), "{error}");
    let error = refused(dir.path(), &["restore", "file", "--data", "file"]);
    assert!(error.starts_with("dwell: file is not empty"), "{error}");
    fs::create_dir(dir.path().join("b.new")).unwrap();
    let error = refused(dir.path(), &["restore", "file", "--data", "b"]);
    assert!(error.starts_with("dwell: b.new is what a restore left that was cut off"), "{error}");
    assert!(dir.path().join("b.new").exists(), "it may be somebody's");
    drop(server);
    fs::create_dir(dir.path().join("empty")).unwrap();
    let line = ok(dir.path(), &["restore", "file", "--data", "empty/"]);
    assert!(line.ends_with("; no records\n"), "{line}");
    Server::start(dir.path(), &["--data", "empty"]);
}

/// A server that sends what it was given, then waits for `go_on`, then hangs up.
fn stuck(bytes: Vec<u8>, go_on: crossbeam_channel::Receiver<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        asked.take_while(|line| !line.is_empty()).for_each(drop);
        let length = bytes.len() * 2;
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").unwrap();
        stream.write_all(&bytes).unwrap();
        go_on.recv().ok();
    });
    url
}

#[test]
fn a_backup_that_breaks_off_leaves_no_file_under_its_name() {
    let dir = directory("");
    drop(limited(dir.path()));
    ok(dir.path(), &["backup", "whole"]);
    let whole = fs::read(dir.path().join("whole")).unwrap();

    // The server goes away, also after all of it but the last byte.
    for sent in [whole.len() / 2, whole.len() - 1] {
        let (hang_up, go_on) = crossbeam_channel::bounded(1);
        hang_up.send(()).unwrap();
        refused(dir.path(), &["backup", "file", "--server", &stuck(whole[..sent].to_vec(), go_on)]);
        assert!(!dir.path().join("file").exists() && !dir.path().join("file.new").exists());
    }

    // kill -9, when half of it has come.
    let (hang_up, go_on) = crossbeam_channel::bounded(1);
    let many = vec![7; 1 << 16];
    let url = stuck([&whole[..whole.len() / 2], &many].concat(), go_on);
    let mut child: Child = Command::new(DWELL)
        .args(["backup", "file", "--server", &url])
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = dir.path().join("file.new");
    while !partial.exists() && child.try_wait().unwrap().is_none() {
        thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(hang_up);
    assert!(partial.exists() && !dir.path().join("file").exists());
    ok(dir.path(), &["backup", "file"]);
    assert!(!partial.exists());
}
