//! Spans of attempts, received by a collector that is a small HTTP server here.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use super::exposition::value;
use super::scrape;
use super::server::{Server, directory};

const CLOCK: &[&str] = &["--test-clock", "2026-11-21T00:00:00Z"];

/// What was asked for: path, `traceparent`, body.
type Asked = (String, Option<String>, Value);

/// Answers every request with `{}`.
fn collector() -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, asks) = channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, asked) = (connection.unwrap(), asked.clone());
            thread::spawn(move || answer(&connection, &asked));
        }
    });
    (url, asks)
}

/// Until the other side has no more requests.
fn answer(connection: &TcpStream, asked: &Sender<Asked>) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let header = |name: &str| {
            let named = lines.iter().filter_map(|line| line.split_once(": "));
            named
                .filter(|(have, _)| have.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
                .next()
        };
        let mut body = vec![0; header("content-length").map_or(0, |bytes| bytes.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        asked.send((path, header("traceparent"), body)).ok()?;
        let mut out = connection;
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            .ok()?;
    }
}

/// The next spans, so many.
fn spans(asks: &Receiver<Asked>, count: usize) -> Vec<Value> {
    let mut spans = Vec::new();
    while spans.len() < count {
        let (path, _, body) = asks.recv().unwrap();
        assert_eq!(path, "/v1/traces");
        let resource = &body["resourceSpans"][0];
        let service = json!({"key": "service.name", "value": {"stringValue": "dwell"}});
        assert_eq!(resource["resource"]["attributes"][0], service);
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    spans
}

fn attribute(span: &Value, name: &str) -> Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == name);
    let value = &found.unwrap_or(&Value::Null)["value"];
    if value["stringValue"].is_string() { value["stringValue"].clone() } else { value["intValue"].clone() }
}

/// As an attempt is told of its span.
fn parent(span: &Value) -> String {
    format!("00-{}-{}-01", span["traceId"].as_str().unwrap(), span["spanId"].as_str().unwrap())
}

#[test]
fn all_attempts_of_a_record_are_one_trace_and_each_child_knows_its_span() {
    let (url, asks) = collector();
    let dir = directory(&format!("[log]\nlevel = \"error\"\n[telemetry]\notlp = \"{url}/\"\n"));
    let server = Server::start(dir.path(), CLOCK);
    let script = "printf %s $TRACEPARENT > $1/$DWELL_ATTEMPT; [ $DWELL_ATTEMPT = 2 ] || exit 75";
    let command = json!(["sh", "-c", script, "attempt", dir.path()]);
    let id = server.session(&json!({"runtime": "shell", "org": "acme", "action": {"command": command}}));
    server.until(&id, "backoff");
    server.advance("1m");
    server.until(&id, "completed");

    let spans = spans(&asks, 2);
    assert_eq!(spans[0]["traceId"], spans[1]["traceId"]);
    for (span, (attempt, outcome, code)) in spans.iter().zip([("1", "throttled", 2), ("2", "succeeded", 1)]) {
        let told = std::fs::read_to_string(dir.path().join(attempt)).unwrap();
        assert_eq!(told, parent(span));
        assert_eq!((&span["name"], &span["status"]["code"]), (&json!("shell"), &json!(code)));
        for (name, expected) in [
            ("dwell.record", id.as_str()),
            ("dwell.attempt", attempt),
            ("dwell.outcome", outcome),
            ("dwell.org", "acme"),
            ("dwell.runtime", "shell"),
        ] {
            assert_eq!(attribute(span, name), expected, "{span:#}");
        }
        assert_eq!(attribute(span, "dwell.flow"), Value::Null);
    }
    // The first began at 00:00, the second when its backoff was over.
    let began: Vec<u64> =
        spans.iter().map(|span| span["startTimeUnixNano"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(began[0], 1_795_219_200_000_000_000);
    assert!(began[1] >= began[0] + 30_000_000_000, "{began:?}");
    // What is sent is counted after its answer, which the stop waits for.
    server.terminate();
}

#[test]
fn an_http_attempt_hands_its_span_on() {
    let (url, asks) = collector();
    let (target, requests) = collector();
    let dir = directory(&format!("[log]\nlevel = \"error\"\n[telemetry]\notlp = \"{url}\"\n"));
    let server = Server::start(dir.path(), CLOCK);
    let action = json!({"http": {"url": format!("{target}/work")}});
    let id = server.session(&json!({"runtime": "http", "action": action, "payload": {}}));
    server.until(&id, "completed");
    let (path, told, _) = requests.recv().unwrap();
    assert_eq!((path.as_str(), told), ("/work", Some(parent(&spans(&asks, 1)[0]))));
}

#[test]
fn without_a_collector_nobody_is_told_and_with_one_that_is_away_spans_are_dropped() {
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let command = json!(["sh", "-c", "printf %s \"$TRACEPARENT\" > $1/told", "attempt"]);
    for (telemetry, dropped) in
        [(String::new(), 0.0), (format!("[telemetry]\notlp = \"http://{away}\"\n"), 1.0)]
    {
        let dir = directory(&telemetry);
        let mut server = Server::spawn(Server::command(dir.path(), CLOCK).stderr(Stdio::piped()));
        let mut argv = command.as_array().unwrap().clone();
        argv.push(json!(dir.path()));
        let id = server.session(&json!({"runtime": "shell", "action": {"command": argv}}));
        server.until(&id, "completed");
        let told = std::fs::read_to_string(dir.path().join("told")).unwrap();
        assert_eq!(told.is_empty(), telemetry.is_empty(), "{told}");
        if dropped > 0.0 {
            let said = BufReader::new(server.child.stderr.take().unwrap());
            let away = |line: String| line.contains("the collector takes no spans");
            assert!(said.lines().map(Result::unwrap).any(away));
        }
        assert_eq!(value(&scrape(&server), "dwell_spans_total", &[("result", "dropped")]), dropped);
        assert_eq!(value(&scrape(&server), "dwell_spans_total", &[("result", "sent")]), 0.0);
    }
}
