//! Persist before notify on the real binary, read from its system calls under strace: between the journal's write of a
//! create and its 201 there is an fdatasync that returned 0, and so there is between the commit of a start and the
//! execve of its child. And a sync that fails is final: no success is answered, dwell ends, and a restart has everything
//! that was acknowledged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use server::{DWELL, Server, directory, request};

const CREATES: usize = 4;

/// A server under strace, which does not take it along when it is killed.
struct Traced(Server);

impl Traced {
    /// To the traced process, strace's first child, if it is still there.
    fn signal(&self, signal: Signal) {
        let strace = self.0.child.id();
        let children = std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children"));
        let pid = children.ok().and_then(|pids| pids.split_whitespace().next()?.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            kill_process(pid, signal).unwrap();
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// How one is started.
fn traced(dir: &Path, options: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "4096", "-o"]).arg(dir.join("trace")).args(options);
    command.arg(DWELL).args(["serve", "--listen", "127.0.0.1:0"]).current_dir(dir);
    command
}

fn create(server: &Server, n: usize) -> Option<Value> {
    let marker = format!("marker-{n}.");
    let body = json!({"runtime": "shell", "key": marker, "action": {"command": ["true", marker]}});
    let answer = request("POST", &format!("{}/v1/sessions", server.url), Some(&body))?;
    (answer.status == 201).then_some(answer.body)
}

/// Pid and call of each line, where a call that was cut in two counts when it ended, with how it began.
fn calls(trace: &str) -> Vec<String> {
    let mut begun: std::collections::BTreeMap<&str, &str> = std::collections::BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        if let Some(begin) = call.strip_suffix("<unfinished ...>") {
            // A write and an execve count when they begin, a sync when it has returned.
            if !call.trim_start().starts_with("fdatasync") {
                calls.push(format!("{pid} {begin}"));
            }
            begun.insert(pid, begin);
        } else if call.contains(" resumed>") {
            let begin = begun.remove(pid).unwrap_or_default();
            if begin.trim_start().starts_with("fdatasync") {
                calls.push(format!("{pid} {begin}{}", call.split_once("resumed>").unwrap().1));
            }
        } else {
            calls.push(line.to_owned());
        }
    }
    calls
}

#[test]
fn every_answer_and_every_start_follows_the_sync_of_its_commit() {
    let dir = directory("");
    let options = ["-e", "trace=pwrite64,fdatasync,sendto,write,writev,execve"];
    let mut server = Traced(Server::spawn(&mut traced(dir.path(), &options)));
    for n in 0..CREATES {
        let record = create(&server.0, n).expect("a create is taken");
        server.0.until(record["id"].as_str().unwrap(), "completed");
    }
    server.signal(Signal::TERM);
    assert!(server.0.child.wait().unwrap().success());

    let trace = std::fs::read_to_string(dir.path().join("trace")).unwrap();
    let calls = calls(&trace);
    let find = |from: usize, wanted: &dyn Fn(&str) -> bool, what: &str| {
        let found = calls[from..].iter().position(|call| wanted(call));
        from + found.unwrap_or_else(|| panic!("no {what} after line {from}:\n{trace}"))
    };
    let is_sync =
        |call: &str| call.contains("fdatasync(") && call.contains("/journal/") && call.ends_with("= 0");
    let mut from = 0;
    for n in 0..CREATES {
        let marker = format!("marker-{n}.");
        let is_write =
            |call: &str| call.contains("pwrite64(") && call.contains("/journal/") && call.contains(&marker);
        // The create and its start are one commit; who the child is, is the next one that names the record.
        let admitted = find(from, &is_write, "journal write of the create");
        let synced = find(admitted, &is_sync, "fdatasync of the create");
        let identified = find(admitted + 1, &is_write, "journal write of the child");
        let named = find(identified, &is_sync, "fdatasync of the child");
        let answered = find(from, &|call| call.contains("HTTP/1.1 201"), "201");
        let held = find(from, &|call| is_exec(call, &marker) && call.contains("\"hold\""), "held child");
        let released =
            find(from, &|call| is_exec(call, &marker) && !call.contains("\"hold\""), "released child");
        assert!(synced < answered, "201 of {marker} left before its commit was synced:\n{trace}");
        assert!(synced < held, "the child of {marker} was spawned before its start was synced:\n{trace}");
        assert!(named < released, "{marker} ran before its child was known:\n{trace}");
        from = released.max(answered) + 1;
    }
}

fn is_exec(call: &str, marker: &str) -> bool {
    call.contains("execve(") && call.contains(marker)
}

#[test]
fn a_failed_sync_is_final_and_a_restart_recovers() {
    for failing in [1, 4] {
        let dir = directory("[runtimes.shell]\nconcurrency = 1\n");
        // Counted for each thread by itself: the engine's syncs are the commits.
        let inject = format!("inject=fdatasync:error=EIO:when={failing}+");
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = traced(dir.path(), &["-e", "trace=fdatasync", "-e", &inject]);
        let mut taken = Vec::new();
        match dwell::fixture::Server::spawn(command.stderr(log).stdin(Stdio::null())) {
            // The very first commit is in the first tick, before anybody can ask.
            Err(_) => assert_eq!(failing, 1),
            Ok(mut server) => {
                for n in 0..CREATES * 4 {
                    let url = format!("{}/v1/sessions", server.url);
                    let body = json!({"runtime": "shell", "key": format!("k{n}"), "action": {"worker": "q"}});
                    match request("POST", &url, Some(&body)) {
                        Some(answer) if answer.status == 201 => taken.push(answer.body["id"].clone()),
                        Some(answer) => {
                            assert!(answer.status >= 500, "{answer:?}");
                            break;
                        }
                        None => break,
                    }
                }
                assert_eq!(taken.is_empty(), failing == 1);
                assert!(taken.len() < failing, "{} were taken, and sync {failing} failed", taken.len());
                assert_eq!(server.child.wait().unwrap().code(), Some(1));
            }
        }
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(log.contains("sync") && log.contains("Input/output error"), "{log}");

        let server = Server::start(dir.path(), &[]);
        for id in &taken {
            assert_eq!(server.get(&format!("/v1/records/{}", id.as_str().unwrap())).status, 200);
        }
        assert!(create(&server, 0).is_some());
    }
}
