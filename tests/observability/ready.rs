//! `GET /readyz`: what it says while things are not as they should be. The full disk is in `tests/store_full`, a stop in
//! `tests/binary/serve.rs`.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::json;

use super::exposition::value;
use super::scrape;
use super::server::{Server, directory};

#[test]
fn an_archive_that_cannot_be_written_is_told_before_it_is_needed() {
    let dir = directory("[log]\nlevel = \"error\"\n[store]\narchive = \"archive\"\n");
    std::fs::write(dir.path().join("archive"), "in its way").unwrap();
    let mut server = Server::spawn(Server::command(dir.path(), &[]).stderr(Stdio::piped()));
    // The archive's own thread finds out, and says so.
    let mut said = BufReader::new(server.child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("the archive lacks a segment")));
    let ready = server.get("/readyz");
    assert_eq!((ready.status, &ready.body["ready"]), (200, &json!(true)), "work is taken as always");
    assert_eq!(ready.body["reasons"][0]["code"], "archive_failing");
    assert!(ready.body["reasons"][0]["detail"].as_str().unwrap().contains("archive"), "{ready:?}");
    let families = scrape(&server);
    assert_eq!(value(&families, "dwell_condition", &[("code", "archive_failing")]), 1.0);
    assert_eq!(value(&families, "dwell_condition", &[("code", "store_full")]), 0.0);
    assert_eq!(value(&families, "dwell_ready", &[]), 1.0);
}
