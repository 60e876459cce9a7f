//! Followers of the events, away and back.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Lines};

use serde_json::{Value, json};

use super::{Running, start};
use crate::engine::Request;
use crate::model::{Action, Command, RecordId, Submission, Work};

/// Reads transitions off a stream: their positions and what they say.
struct Following(Lines<BufReader<ureq::BodyReader<'static>>>);

impl Running {
    fn follow(&self, query: &str, last: Option<&str>) -> Following {
        let mut request = self.agent.get(format!("{}/v1/events{query}", self.url));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.call().unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Following(BufReader::new(response.into_body().into_reader()).lines())
    }
}

impl Iterator for Following {
    type Item = (String, Value);
    fn next(&mut self) -> Option<(String, Value)> {
        let mut id = String::new();
        loop {
            let line = self.0.next()?.unwrap();
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some((id, serde_json::from_str(data).unwrap()));
            }
        }
    }
}

#[test]
fn a_follower_away_for_ten_thousand_transitions_misses_none_and_sees_none_twice() {
    let dwell = start();
    dwell.post("/v1/runtimes/shell/pause", &json!({}));
    let mut following = dwell.follow("?after=0", None);
    let before = dwell.session(None);
    let (last, first) = following.next().unwrap();
    assert_eq!(first["id"], *before);
    drop(following);

    // Two transitions each, and several in a commit while the engine is behind.
    let submission = |n: u32| {
        Submission::of(
            RecordId::session(u128::from(n)),
            "shell".into(),
            Work::of(Action::Command { argv: vec!["true".to_owned()], cwd: None }),
        )
    };
    for n in 1..=5_000 {
        dwell.handle.send(Request::Submit(Box::new(submission(n))), Box::new(drop)).unwrap();
        let id = RecordId::session(u128::from(n));
        let cancel = Request::Command { id, command: Command::Cancel };
        dwell.handle.send(cancel, Box::new(drop)).unwrap();
    }
    dwell.handle.call(Request::Status).unwrap().unwrap();

    let seen: Vec<(String, Value)> = dwell.follow("?after=0", Some(&last)).take(10_000).collect();
    for (n, steps) in (1..=5_000).zip(seen.chunks(2)) {
        let id = RecordId::session(n).to_string();
        let words: Vec<&str> = steps.iter().map(|(_, step)| step["event"].as_str().unwrap()).collect();
        assert_eq!(words, ["admitted", "cancel"], "{id}");
        assert!(steps.iter().all(|(_, step)| step["id"] == *id), "{id}");
    }
    let positions: BTreeSet<&String> = seen.iter().map(|(id, _)| id).collect();
    assert_eq!(positions.len(), 10_000);

    let mut rest = dwell.follow("", Some(&seen.last().unwrap().0));
    let after = dwell.session(None);
    assert_eq!(rest.next().unwrap().1["id"], *after);
}

#[test]
fn a_follower_sees_what_it_asked_for_as_it_happens() {
    let dwell = start();
    let id = dwell.session(None);
    let mut following = dwell.follow(&format!("?record={id}&state=completed"), None);
    dwell.session(None);
    dwell.post(&format!("/v1/records/{id}/reports"), &json!({"attempt": 1, "type": "succeeded"}));
    let (_, step) = following.next().unwrap();
    assert_eq!((&step["id"], &step["to"]), (&json!(id), &json!("completed")));
    for (query, header, status) in [
        ("?after=x", None, 400),
        ("?after=1000", None, 400),
        ("", Some("x"), 400),
        ("?colour=red", None, 400),
    ] {
        let headers: Vec<(&str, &str)> = header.map(|text| ("Last-Event-ID", text)).into_iter().collect();
        assert_eq!(dwell.send("GET", &format!("/v1/events{query}"), &headers, b"").0, status, "{query}");
    }
}
