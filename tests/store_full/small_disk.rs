//! The real binary on a disk of 64 MiB (a tmpfs), which fills up, is made read-only, and has room again.
//!
//! To mount one takes root. Where that is refused these tests say so on stderr; what the disk does when it fails is then
//! shown by `failing` alone.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::server::{Answer, DWELL, Server, directory, request};

const CONFIG: &str = "[store]\nurl = \"file:disk/data\"\nsegment = \"4MiB\"\n[log]\nlevel = \"warn\"\n";
const CLOCK: &[&str] = &["--test-clock", "2026-11-21T00:00:00Z"];

/// A directory `disk` that is a filesystem of 64 MiB, unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None` where nobody may mount.
    fn mount() -> Option<Disk> {
        let dir = directory(CONFIG);
        let disk = dir.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&disk).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Disk { dir }),
            refused => {
                eprintln!(
                    "SKIPPED: no tmpfs of 64 MiB can be mounted here, so no disk was filled: {refused:?}"
                );
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn remount(&self, how: &str) {
        let disk = self.path().join("disk");
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status();
        assert!(done.unwrap().success());
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path().join("disk")).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Takes up the room, but for so much.
    fn fill(&self, leave: u64) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        while self.free() > leave {
            let piece = vec![1; usize::try_from((self.free() - leave).min(1 << 20)).unwrap()];
            if filler.write_all(&piece).is_err() {
                return;
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.path().join("disk/filler")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path().join("disk")).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.path().display());
        }
    }
}

fn create(server: &Server, key: &str) -> Option<Answer> {
    let body =
        json!({"runtime": "worker", "action": {"worker": "q"}, "key": key, "payload": "x".repeat(4_000)});
    request("POST", &format!("{}/v1/sessions", server.url), Some(&body))
}

/// A session that a worker has begun.
fn claimed(server: &Server) -> (String, u64) {
    let asked = json!({"worker": "me", "queue": "q", "max": 1, "wait": "0s", "lease": "3h"});
    let attempts = server.post("/v1/claims", &asked).body;
    let attempt = &attempts["attempts"][0];
    (attempt["id"].as_str().unwrap().to_owned(), attempt["attempt"].as_u64().unwrap())
}

fn report(server: &Server, (id, attempt): &(String, u64), more: &Value) -> Value {
    let mut body = json!({"attempt": attempt});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = server.post(&format!("/v1/records/{id}/reports"), &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Every session that was acknowledged is there, under its id.
fn all_there(server: &Server, acknowledged: &[(String, String)]) {
    for (key, id) in acknowledged {
        let found = server.get(&format!("/v1/sessions?key={key}")).body;
        assert_eq!(found["items"][0]["id"], json!(id), "{key}");
    }
}

#[test]
fn a_full_disk_takes_no_new_work_and_lets_the_rest_go_on_and_recovers_by_itself() {
    let Some(disk) = Disk::mount() else { return };
    let mut server = Server::logged(disk.path(), CLOCK);
    let mut acknowledged = Vec::new();
    for n in 0..200 {
        let answer = create(&server, &format!("k{n}")).unwrap();
        acknowledged.push((format!("k{n}"), answer.body["id"].as_str().unwrap().to_owned()));
    }
    let waiting = claimed(&server);
    report(&server, &waiting, &json!({"type": "rate_limited", "reset_at": "2026-11-21T01:30:00Z"}));

    disk.fill(2 << 20);
    let refused = (0..20_000).map_while(|n| {
        let answer = create(&server, &format!("more{n}")).unwrap();
        let refused = answer.status == 507;
        if !refused {
            assert_eq!(answer.status, 201, "{answer:?}");
            acknowledged.push((format!("more{n}"), answer.body["id"].as_str().unwrap().to_owned()));
        }
        Some(answer).filter(|_| !refused).map(drop)
    });
    refused.for_each(drop);
    let answer = create(&server, "late").unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (507, &json!("store_full")), "{answer:?}");
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("store disk/data has ") && detail.contains("store.min_free is 16 MiB"),
        "{detail}"
    );
    let ready = server.get("/readyz");
    let reason = json!({"code": "store_full", "detail": detail});
    assert_eq!((ready.status, &ready.body["reasons"][0]), (503, &reason));
    assert_eq!(server.get("/v1/status").body["disk"]["full"], true);
    let why = server.get("/v1/scopes/all/why").body;
    assert_eq!(why["rule"], "store_full", "{why}");
    let run = Command::new(DWELL)
        .args(["run", "--server", &server.url, "--detach", "--", "true"])
        .current_dir(disk.path())
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(
        run.status.code() == Some(1) && said.contains("new work is refused until there is room"),
        "{said}"
    );

    assert!(server.advance("90m") > 0);
    let resumed = claimed(&server);
    assert_eq!(resumed, (waiting.0, 2), "in its old place");
    server.kill();
    let mut server = Server::logged(disk.path(), CLOCK);
    all_there(&server, &acknowledged);
    assert_eq!(report(&server, &resumed, &json!({"type": "succeeded"}))["state"], "completed");
    assert_eq!(create(&server, "late").unwrap().status, 507);

    fs::remove_file(disk.filler()).unwrap();
    let answer = create(&server, "late").unwrap();
    assert_eq!(answer.status, 201, "without a restart: {answer:?}");
    assert_eq!(server.get("/readyz").status, 200);
    server.kill();
    all_there(&Server::start(disk.path(), CLOCK), &acknowledged);
    let log = disk.log();
    assert_eq!(log.matches("store.full").count(), 2, "once for each process: {log}");
}

#[test]
fn a_disk_filled_to_the_last_byte_ends_the_engine_in_the_end_and_loses_nothing() {
    let Some(disk) = Disk::mount() else { return };
    fs::write(disk.path().join("dwell.toml"), CONFIG.replace("4MiB", "1MiB")).unwrap();
    let server = Server::logged(disk.path(), CLOCK);
    let session = json!({"runtime": "worker", "action": {"worker": "q"}});
    let batch = server.post("/v1/sessions/batch", &json!({"sessions": vec![session; 1_000]}));
    assert_eq!(batch.status, 200, "{batch:?}");
    let asked = json!({"worker": "me", "queue": "q", "max": 1_000, "wait": "0s", "lease": "3h"});
    let attempts = server.post("/v1/claims", &asked).body["attempts"].as_array().unwrap().clone();
    disk.fill(0);
    // What is in use and the reserve take up a while of reports, and then there is nothing left.
    let mut completed = Vec::new();
    for some in attempts.chunks(20) {
        disk.fill(0);
        let result = "x".repeat(4_000);
        let reports = some.iter().map(
            |attempt| json!({"record": attempt["id"], "attempt": 1, "type": "succeeded", "result": result}),
        );
        let body = json!({"reports": reports.collect::<Vec<_>>()});
        match request("POST", &format!("{}/v1/reports", server.url), Some(&body)) {
            Some(answer) if answer.status == 200 => {
                completed.extend(some.iter().map(|attempt| attempt["id"].as_str().unwrap()));
            }
            Some(_) | None => break,
        }
    }
    let exit = server.ended();
    let log = disk.log();
    assert_eq!(exit.code(), Some(1), "{log}");
    let said = "the engine stopped; nothing acknowledged is lost, start dwell again: cannot ";
    assert!(log.contains(said) && log.contains("disk/data/") && log.contains("its disk is full"), "{log}");
    assert!(!completed.is_empty(), "{log}");

    fs::remove_file(disk.filler()).unwrap();
    let server = Server::start(disk.path(), CLOCK);
    for id in &completed {
        assert_eq!(server.get(&format!("/v1/records/{id}")).body["state"], "completed", "{id}");
    }
    assert_eq!(server.get("/v1/status").body["admitted"], 1_000);
    assert_eq!(create(&server, "late").unwrap().status, 201);
}

#[test]
fn a_disk_that_turns_read_only_ends_the_engine_and_nothing_starts_on_it() {
    let Some(disk) = Disk::mount() else { return };
    let server = Server::logged(disk.path(), CLOCK);
    let id = create(&server, "k").unwrap().body["id"].clone();
    // The kernel refuses to remount while files are open for writing, as a failing disk does not: `failing` has that.
    server.terminate();
    disk.remount("ro");
    let ended = Command::new(DWELL).args(["serve"]).args(CLOCK).current_dir(disk.path()).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && ended.stdout.is_empty(), "{said}");
    assert!(said.contains("cannot open disk/data/lock: Read-only file system"), "{said}");
    disk.remount("rw");
    let server = Server::start(disk.path(), CLOCK);
    assert_eq!(server.get("/v1/sessions?key=k").body["items"][0]["id"], id);
}
