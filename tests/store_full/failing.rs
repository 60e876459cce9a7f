//! The real binary on a disk that refuses: the system calls fail as strace makes them, or the filesystem is read-only.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::server::{DWELL, Server, directory, request};

/// Small segments, so that the journal comes to the next one soon.
const CONFIG: &str = "[store]\nsegment = \"1MiB\"\nmin_free = \"0\"\n[log]\nlevel = \"error\"\n";

/// A server under strace with such a fault in all its system calls of that name; what it says goes to `<dir>/log`.
fn faulty(dir: &Path, fault: &str) -> Server {
    let calls = fault.split(':').next().unwrap();
    let mut command = Command::new("strace");
    command
        .args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={fault}")])
        .args([DWELL, "serve", "--listen", "127.0.0.1:0"])
        .current_dir(dir)
        .stderr(fs::File::create(dir.join("log")).unwrap());
    Server::spawn(&mut command)
}

/// Ends the server that strace started, should the test fail before it ended by itself: strace does not.
struct Orphaned<'a>(&'a Path);

impl Drop for Orphaned<'_> {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.0.join("dwell-data/lock")).unwrap_or_default();
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid.filter(|_| std::thread::panicking()) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

/// Creates sessions until the server is gone, and answers the ids of those that it acknowledged.
fn until_it_ends(server: &Server) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for n in 0..2_000 {
        let body = json!({"runtime": "worker", "action": {"worker": "q"}, "key": format!("k{n}"),
                          "payload": "x".repeat(20_000)});
        match request("POST", &format!("{}/v1/sessions", server.url), Some(&body)) {
            Some(answer) if answer.status == 201 => {
                acknowledged.push(answer.body["id"].as_str().unwrap().to_owned());
            }
            Some(answer) => {
                assert_eq!(answer.status, 503, "no success and no other refusal: {answer:?}");
                return acknowledged;
            }
            None => return acknowledged,
        }
    }
    panic!("the disk failed and the server goes on");
}

/// It ends with an error that says so in words, and all that it acknowledged is there after the next start.
fn ends_and_recovers(fault: &str, at_least: usize, words: &[&str]) {
    let dir = directory(CONFIG);
    let _orphaned = Orphaned(dir.path());
    let server = faulty(dir.path(), fault);
    let acknowledged = until_it_ends(&server);
    let exit = server.ended();
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(exit.code(), Some(1), "{log}");
    assert!(acknowledged.len() >= at_least, "{} were acknowledged: {log}", acknowledged.len());
    let said = "the engine stopped; nothing acknowledged is lost, start dwell again: cannot ";
    assert!(
        log.contains(said) && words.iter().all(|words| log.contains(words)) && log.contains("dwell-data/"),
        "{log}"
    );

    let server = Server::start(dir.path(), &[]);
    for id in &acknowledged {
        assert_eq!(server.get(&format!("/v1/records/{id}")).body["state"], "queued", "{id}");
    }
    server.session(&json!({"runtime": "worker", "action": {"worker": "q"}}));
}

#[test]
fn the_journal_goes_on_in_its_reserve_and_then_the_engine_ends() {
    // The first segment and the reserve are there, no other can be made: what two of them hold is acknowledged.
    ends_and_recovers(
        "fallocate:error=ENOSPC:when=3+",
        90,
        &["goes on in its reserve", "its disk is full; make room there"],
    );
}

#[test]
fn a_write_that_fails_ends_the_engine() {
    ends_and_recovers("pwrite64:error=EIO:when=20+", 5, &["Input/output error"]);
}

#[test]
fn a_sync_that_fails_ends_the_engine() {
    ends_and_recovers("fdatasync:error=EROFS:when=10+", 5, &["Read-only file system"]);
}

/// Runs `dwell serve` to its end, and answers what it said.
fn refused(dir: &Path) -> String {
    let ended = Command::new(DWELL)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    said
}

#[test]
fn a_store_that_cannot_be_written_to_is_refused_at_the_start() {
    let dir = directory(CONFIG);
    let id = Server::start(dir.path(), &[]).session(&json!({"runtime": "worker", "action": {"worker": "q"}}));
    let data = dir.path().join("dwell-data");
    fs::rename(data.join("lock"), data.join("lock.away")).unwrap();
    // Nobody may write a directory, root neither.
    fs::create_dir(data.join("lock")).unwrap();
    let said = refused(dir.path());
    assert!(said.contains("cannot open ./dwell-data/lock: Is a directory"), "{said}");
    fs::remove_dir(data.join("lock")).unwrap();
    let server = Server::start(dir.path(), &[]);
    assert_eq!(server.get(&format!("/v1/records/{id}")).body["state"], "queued");
}
