//! Back to a moment, and a store whose table is gone: a backup and the journal after it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::server::{Server, directory, dwell};

/// A server whose base backup is of its very beginning; then a session each minute, named after it.
fn a_session_a_minute(dir: &Path, count: u32) -> Server {
    let server = Server::start(dir, &["--test-clock", "2026-11-21T10:00:00Z"]);
    session(&server, "0");
    assert!(dwell(dir, &["backup", "base"]).status.success());
    for minute in 1..=count {
        server.advance("1m");
        session(&server, &minute.to_string());
    }
    server
}

fn session(server: &Server, key: &str) -> String {
    server.session(&json!({"runtime": "worker", "action": {"worker": "q"}, "key": key}))
}

/// What restoring with these arguments makes: the document, or what was said.
fn restored(dir: &Path, name: &str, args: &[&str]) -> Result<Value, String> {
    let output = dwell(dir, &[&["restore", "base", "--json", "--data", name], args].concat());
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    assert!(!dir.join(name).exists(), "it is there all the same");
    Err(String::from_utf8(output.stderr).unwrap())
}

const JOURNAL: &str = "dwell-data/journal";

fn queued(dir: &Path, name: &str, until: &str) -> u64 {
    let document = restored(dir, name, &["--segments", JOURNAL, "--until", until]).unwrap();
    document["states"]["queued"].as_u64().unwrap()
}

#[test]
fn until_is_the_last_commit_at_or_before_a_moment() {
    let dir = directory("");
    let mut server = a_session_a_minute(dir.path(), 6);
    server.kill();
    for (until, count) in
        [("10:00:00Z", 1), ("10:00:59.999Z", 1), ("10:01:00Z", 2), ("12:05:00+02:00", 6), ("23:59:59Z", 7)]
    {
        assert_eq!(queued(dir.path(), until, &format!("2026-11-21T{until}")), count, "{until}");
    }
    let args = ["--segments", JOURNAL, "--until", "2026-11-21T09:59:59Z"];
    let early = restored(dir.path(), "early", &args).unwrap_err();
    assert!(
        early.contains("of 2026-11-21T10:00:00.000Z, which is after 2026-11-21T09:59:59.000Z"),
        "{early}"
    );
}

#[test]
fn a_store_whose_table_is_damaged_comes_back_from_its_backup_and_its_journal() {
    let dir = directory("");
    let server = a_session_a_minute(dir.path(), 3);
    server.terminate();
    for entry in fs::read_dir(dir.path().join("dwell-data/table")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, [0x55; 4096]).unwrap();
        }
    }
    let refused = dwell(dir.path(), &["backup", "late"]);
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.starts_with("dwell: table ") && refused.contains("restore the last backup"), "{refused}");

    let document = restored(dir.path(), "rebuilt", &["--segments", JOURNAL]).unwrap();
    assert_eq!(
        (&document["states"], &document["at"]),
        (&json!({"queued": 4}), &json!("2026-11-21T10:03:00.000Z"))
    );
    let checked = dwell(dir.path(), &["check", "--data", "rebuilt"]);
    assert!(checked.status.success(), "{checked:?}");
    let server = Server::start(dir.path(), &["--data", "rebuilt", "--test-clock", "2026-11-21T10:00:00Z"]);
    assert_eq!(server.get("/v1/sessions").body["items"].as_array().unwrap().len(), 4);
    assert_eq!(server.get("/v1/sessions?key=3").body["items"].as_array().unwrap().len(), 1);
}

/// The segments of the journal, oldest first.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir.join(JOURNAL)).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = entries.collect();
    segments.sort_unstable();
    segments
}

#[test]
fn what_does_not_follow_the_backup_is_refused_in_words() {
    let dir = directory("");
    a_session_a_minute(dir.path(), 3).kill();
    let document = restored(dir.path(), "all", &["--segments", JOURNAL]).unwrap();
    let last = document["commit"].as_u64().unwrap();

    let other = directory("");
    a_session_a_minute(other.path(), 2).kill();
    let foreign = other.path().join(JOURNAL);
    let error = restored(dir.path(), "new", &["--segments", foreign.to_str().unwrap()]).unwrap_err();
    assert!(error.contains("holds no segments of store") && error.contains("another store's"), "{error}");

    // Zeros and rubbish behind the last commit were never acknowledged; a bad one before a good one was.
    let segment = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes.truncate(1 << 16);
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let with = |at: usize, what: u8| {
        let mut bytes = bytes.clone();
        bytes[at] ^= what;
        fs::write(&segment, bytes).unwrap();
        restored(dir.path(), &format!("{at}"), &["--segments", JOURNAL])
    };
    assert_eq!(with(end + 40, 0x77).unwrap()["commit"], json!(last));
    assert_eq!(with(end - 1, 0x77).unwrap()["commit"], json!(last - 1));
    let error = with(end * 3 / 4, 0x77).unwrap_err();
    assert!(error.contains(" is damaged at byte ") && error.contains("after it is good"), "{error}");
    let until = error.trim().rsplit(' ').next().unwrap();
    let document = restored(dir.path(), "good", &["--segments", JOURNAL, "--until", until]).unwrap();
    assert!(document["commit"].as_u64().unwrap() < last, "{document}");

    fs::rename(&segment, segment.with_file_name(format!("{:020}.log", 1_000))).unwrap();
    let error = restored(dir.path(), "gap", &["--segments", JOURNAL]).unwrap_err();
    assert!(error.contains("holds no segments of store") || error.contains("is missing"), "{error}");
}
