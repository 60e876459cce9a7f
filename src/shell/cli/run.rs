//! `dwell run`: one durable session, followed to its end.

use std::thread;

use serde_json::{Map, Value as Json, json};

use super::act;
use super::args::{Place, Run};
use super::client::{Client, escaped};
use super::exit::{FAILED, Failure, TRY_LATER, USAGE};
use super::look::{held, text};
use super::nodes::files_only;
use super::out;
use crate::shell::serve;
use crate::shell::time;

/// How long the server may hold each question for news.
const WAIT: &str = "20s";

/// Submits, follows, and answers with the exit code: 0 if it completed.
pub fn run(place: &Place, args: &Run) -> anyhow::Result<u8> {
    if let Some(client) = Client::known(place)?
        && (place.server.is_some() || client.alive())
    {
        return Ok(follow(&client, args)?);
    }
    if args.detach {
        return Err(Failure::failed("--detach needs a running server; start one with: dwell serve").into());
    }
    let config = super::load(place, Vec::new())?;
    files_only(&config, "no node answers; start one with: dwell serve")?;
    out::note(&format!("no server for {}: one runs here until this ends", config.data.display()));
    serve::foreground_for_run(&config, &mut |url, token| {
        Ok(follow(&Client::to(url).with_token(Some(token.to_owned())), args)?)
    })
}

fn follow(client: &Client, args: &Run) -> Result<u8, Failure> {
    let record = client.post("/v1/sessions", &submission(args)?)?;
    let id = text(&record, "id").to_owned();
    let duplicate = record.get("duplicate") == Some(&Json::Bool(true));
    if duplicate {
        let key = text(&record, "key");
        out::note(&format!("session with key {key} is there already: {id}, {}", text(&record, "state")));
    }
    if args.detach {
        out::line(&id)?;
        return Ok(0);
    }
    if !duplicate {
        out::note(&format!("session {id}"));
    }
    let log = client.stream(&format!("/v1/records/{}/logs?follow=true", escaped(&id)))?;
    let copying = thread::spawn(move || out::copy(log));
    let ended = until_over(client, record)?;
    match copying.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => out::note(&format!("the log broke off: {error}; all of it: dwell logs {id}")),
        Err(_) => out::note(&format!("the log broke off; all of it: dwell logs {id}")),
    }
    Ok(ended)
}

fn submission(args: &Run) -> Result<Json, Failure> {
    let cwd =
        std::env::current_dir().map_err(|error| Failure::failed(format!("working directory: {error}")))?;
    let (action, default) = match (&args.prompt, &args.worker) {
        (Some(prompt), _) => (json!({ "agent": { "prompt": prompt, "cwd": cwd } }), "claude"),
        (None, Some(queue)) => (json!({ "worker": queue }), "worker"),
        (None, None) => (json!({ "command": args.argv, "cwd": cwd }), "shell"),
    };
    let mut labels = Map::new();
    for label in &args.label {
        let (name, value) = (label.split_once('=')).ok_or_else(|| Failure {
            exit: USAGE,
            message: format!("label {label:?}: expected name=value"),
        })?;
        labels.insert(name.to_owned(), json!(value));
    }
    let mut body = Map::from_iter([
        ("labels".to_owned(), Json::Object(labels)),
        ("action".to_owned(), action),
        ("runtime".to_owned(), json!(args.runtime.as_deref().unwrap_or(default))),
        ("budget".to_owned(), json!(args.budget)),
    ]);
    let texts = [
        ("key", &args.key),
        ("org", &args.org),
        ("env", &args.env),
        ("task", &args.task),
        ("model", &args.model),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(file) = &args.payload {
        body.insert("payload".to_owned(), act::payload(file)?);
    }
    Ok(Json::Object(body))
}

/// Says every wait on stderr; answers with the exit code once nothing more comes by itself.
fn until_over(client: &Client, mut record: Json) -> Result<u8, Failure> {
    let id = text(&record, "id").to_owned();
    let mut said = String::new();
    loop {
        let news = if text(&record, "state") == "queued" {
            held(client, &id).unwrap_or_default()
        } else {
            news(&record)
        };
        if news != said {
            if !news.is_empty() {
                out::note(&news);
            }
            said = news;
        }
        match text(&record, "state") {
            "completed" => {
                // What else wrote something has a log.
                if let Some(result) = record.get("result").filter(|_| record.get("queue").is_some()) {
                    out::line(result.as_str().map_or_else(|| result.to_string(), str::to_owned).as_str())?;
                }
                return Ok(0);
            }
            "dead_lettered" if text(&record, "cause") == "budget_exhausted" => return Ok(TRY_LATER),
            "dead_lettered" | "cancelled" => return Ok(FAILED),
            _ => {}
        }
        let seen = escaped(text(&record, "updated_at"));
        let path = format!("/v1/records/{}?wait={WAIT}&while={seen}", escaped(&id));
        record = client.get(&path).map_err(|failure| Failure {
            message: format!("{failure}; the session goes on with the next server: dwell logs -f {id}"),
            ..failure
        })?;
    }
}

/// What a waiting person wants to know; nothing while it runs.
fn news(record: &Json) -> String {
    let error = record.pointer("/last_error/message").and_then(Json::as_str).unwrap_or_default();
    let error = if error.is_empty() {
        record.pointer("/last_error/code").and_then(Json::as_str)
    } else {
        Some(error)
    };
    let error = error.unwrap_or("no reason given");
    let until = |member: &str| {
        let until = record.pointer(member).and_then(Json::as_str).unwrap_or_default();
        // Counted from the server's own time of the change, so that both clocks need not agree.
        match (time::parse(text(record, "updated_at")), time::parse(until)) {
            (Ok(from), Ok(then)) => format!("{} ({})", super::look::brief(until), time::relative(from, then)),
            (_, _) => until.to_owned(),
        }
    };
    match text(record, "state") {
        "rate_limited" => {
            let estimated = record.pointer("/wait/estimated") == Some(&Json::Bool(true));
            let source = if estimated { ", estimated" } else { "" };
            format!("rate limited until {}{source}", until("/wait/until"))
        }
        "backoff" => format!("attempt {} failed: {error}; next {}", attempt(record), until("/wait/until")),
        "draining" => "the server is stopping; the session goes on after its next start".to_owned(),
        "dead_lettered" => {
            let id = text(record, "id");
            if text(record, "cause") == "budget_exhausted" {
                return format!("dead-lettered, {error}; go on with: dwell budget {id} --add AMOUNT");
            }
            format!("dead-lettered, {}: {error}; try again with: dwell redrive {id}", text(record, "cause"))
        }
        "cancelled" => "cancelled".to_owned(),
        _ => String::new(),
    }
}

fn attempt(record: &Json) -> u64 {
    record.get("attempt").and_then(Json::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_with_its_end_and_where_that_comes_from() {
        let mut record = json!({
            "id": "ses_1", "state": "rate_limited", "attempt": 1, "updated_at": "2026-11-21T00:40:59.500Z",
            "wait": {"until": "2026-11-21T02:10:00.000Z", "estimated": false},
            "last_error": {"code": "exit_1", "message": ""},
        });
        assert_eq!(news(&record), "rate limited until 2026-11-21T02:10:00Z (in 1h 29m)");
        record["wait"]["estimated"] = json!(true);
        assert_eq!(news(&record), "rate limited until 2026-11-21T02:10:00Z (in 1h 29m), estimated");
        record["state"] = json!("backoff");
        assert_eq!(news(&record), "attempt 1 failed: exit_1; next 2026-11-21T02:10:00Z (in 1h 29m)");
        record["state"] = json!("dead_lettered");
        record["cause"] = json!("invalid");
        assert_eq!(news(&record), "dead-lettered, invalid: exit_1; try again with: dwell redrive ses_1");
        record["state"] = json!("active");
        assert_eq!(news(&record), "");
    }
}
