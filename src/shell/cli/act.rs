//! Commands that change something: trigger, replay, cancel, resume, redrive, charge, report, runtime, drain.

use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::args::{Charge, Drain, Many, One, Redrive, Replay, Report, Runtime, Trigger, Undrain};
use super::client::{Client, escaped};
use super::exit::{Failure, NOT_FOUND, USAGE};
use super::look::{brief, held, items, text};
use super::near;
use super::{out, paced};

/// `dwell trigger`.
pub fn trigger(client: &Client, args: &Trigger) -> Result<(), Failure> {
    let mut body = Map::new();
    let members = [
        ("source", Some(&args.source)),
        ("event", Some(&args.event)),
        ("action", args.action.as_ref()),
        ("id", args.id.as_ref()),
        ("org", args.org.as_ref()),
        ("env", args.env.as_ref()),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(file) = &args.file {
        let payload = payload(file)?;
        // As a forge's webhook: the payload names the action.
        if let Some(action) = payload.get("action").filter(|action| action.is_string()) {
            body.entry("action").or_insert_with(|| action.clone());
        }
        body.insert("payload".to_owned(), payload);
    }
    triggered(&client.post("/v1/triggers", &Json::Object(body))?, args.json)
}

/// `dwell replay`.
pub fn replay(client: &Client, args: &Replay) -> Result<(), Failure> {
    let path = format!("/v1/triggers/{}/replay", escaped(&args.id));
    triggered(&client.post(&path, &json!({ "force": args.force }))?, args.json)
}

/// What became of a trigger.
fn triggered(answer: &Json, json: bool) -> Result<(), Failure> {
    if json {
        return out::json(answer);
    }
    if answer.get("duplicate") == Some(&Json::Bool(true)) {
        out::note("already accepted: nothing new was made");
    }
    out::line(text(answer, "trigger"))?;
    let runs = answer.get("runs").and_then(Json::as_array).map_or(&[] as &[Json], Vec::as_slice);
    let flows = |member: &str| {
        answer.get(member).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
    };
    for flow in flows("off") {
        out::note(&format!("flow {flow} is off: it made no run"));
    }
    for flow in flows("shadow") {
        out::note(&format!("flow {flow} is in shadow: what it would have run is recorded, and is not run"));
    }
    let debounced = answer.get("debounced").and_then(Json::as_array).map_or(&[] as &[Json], Vec::as_slice);
    for held in debounced {
        let (flow, due) = (text(held, "flow"), brief(text(held, "due_at")));
        out::note(&format!("flow {flow} waits for more of them; it runs at {due}"));
    }
    if runs.is_empty() && debounced.is_empty() && flows("off").next().is_none() {
        out::note("no flow matches it: it made no runs");
    }
    for run in runs {
        out::line(run.as_str().unwrap_or_default())?;
    }
    Ok(())
}

/// The JSON in a file; `-` is stdin.
pub fn payload(file: &Path) -> Result<Json, Failure> {
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(file).map(|content| bytes = content)
    };
    let usage = |message: String| Failure { exit: USAGE, message: format!("{}: {message}", file.display()) };
    read.map_err(|error| usage(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| usage(error.to_string()))
}

/// `dwell cancel|resume ID...`.
pub fn command(client: &Client, command: &str, args: &Many) -> Result<(), Failure> {
    each(client, command, &args.ids, args.json)
}

/// All are tried; the last refusal is what it exits with.
fn each(client: &Client, command: &str, ids: &[String], json: bool) -> Result<(), Failure> {
    let mut refused = None;
    let mut records = Vec::new();
    for id in ids {
        match client.post(&format!("/v1/records/{}/{command}", escaped(id)), &json!({})) {
            Ok(record) if json => records.push(record),
            Ok(record) => {
                let (id, state) = (text(&record, "id"), text(&record, "state"));
                out::line(&format!("{id} {state}"))?;
                if state == "queued"
                    && let Some(held) = held(client, id)
                {
                    out::note(&held);
                }
            }
            Err(failure) => {
                if let Some(earlier) = refused.replace(failure) {
                    out::note(&format!("dwell: {earlier}"));
                }
            }
        }
    }
    if json {
        out::json(&json!({ "items": records }))?;
    }
    refused.map_or(Ok(()), Err)
}

/// `dwell redrive`: ids alone are told one by one why they do not go; with a filter it is whatever matches, page by
/// page.
pub fn redrive(client: &Client, args: &Redrive) -> Result<(), Failure> {
    let mut body = Map::new();
    let filters = [
        ("cause", &args.cause),
        ("flow", &args.flow),
        ("runtime", &args.runtime),
        ("org", &args.org),
        ("older", &args.older),
        ("fingerprint", &args.fingerprint),
    ];
    if let Some(id) = &args.stop {
        return paced::stop(client, id, args.json);
    }
    for (name, value) in filters {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(rate) = &args.rate {
        body.insert("rate".to_owned(), json!(rate));
        return paced::begin(client, args, body);
    }
    if body.is_empty() && !args.all && !args.dry_run {
        return each(client, "redrive", &args.ids, args.json);
    }
    if !args.ids.is_empty() {
        body.insert("ids".to_owned(), json!(args.ids));
    }
    body.insert("dry_run".to_owned(), json!(args.dry_run));
    let mut ids = Vec::new();
    loop {
        let answer = client.post("/v1/dead-letters/redrive", &Json::Object(body.clone()))?;
        ids.extend(answer.get("ids").and_then(Json::as_array).into_iter().flatten().cloned());
        let Some(cursor) = answer.get("cursor") else { break };
        body.insert("cursor".to_owned(), cursor.clone());
        let done = if args.dry_run { "matched" } else { "redriven" };
        out::progress(&format!("{} {done} so far", ids.len()));
    }
    out::progress("");
    let redriven = if args.dry_run { 0 } else { ids.len() };
    if args.json {
        return out::json(&json!({ "matched": ids.len(), "redriven": redriven, "ids": ids }));
    }
    for id in &ids {
        out::line(id.as_str().unwrap_or_default())?;
    }
    out::note(&format!("{} matched, {redriven} redriven", ids.len()));
    Ok(())
}

/// `dwell rerun`.
pub fn rerun(client: &Client, args: &One) -> Result<(), Failure> {
    let record = client.post(&format!("/v1/records/{}/rerun", escaped(&args.id)), &json!({}))?;
    if args.json { out::json(&record) } else { out::line(text(&record, "id")) }
}

/// `dwell charge`.
pub fn charge(client: &Client, args: &Charge) -> Result<(), Failure> {
    let path = format!("/v1/records/{}/charge", escaped(&args.attempt.id));
    let answer = client.post(&path, &json!({ "attempt": args.attempt.attempt, "calls": args.calls }))?;
    match (answer.get("used").and_then(Json::as_u64), answer.get("limit").and_then(Json::as_u64)) {
        (Some(used), Some(limit)) => out::line(&format!("{used} of {limit}")),
        (_, _) => out::line("unlimited"),
    }
}

/// `dwell report`.
pub fn report(client: &Client, args: &Report) -> Result<(), Failure> {
    let path = format!("/v1/records/{}/reports", escaped(&args.attempt.id));
    let attempt = args.attempt.attempt;
    if let Some(session) = &args.session {
        client.post(&path, &json!({ "attempt": attempt, "type": "session", "id": session }))?;
        if args.outcome == "session" {
            return Ok(());
        }
    }
    let mut body =
        Map::from_iter([("attempt".to_owned(), json!(attempt)), ("type".to_owned(), json!(args.outcome))]);
    // What a success says is its result.
    let message = if args.outcome == "succeeded" { "result" } else { "message" };
    for (name, value) in [(message, &args.message), ("code", &args.code), ("reset_at", &args.reset_at)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    for (name, value) in
        [("tokens", args.tokens.map(Json::from)), ("cost_usd", args.cost_usd.map(Json::from))]
    {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    }
    let record = client.post(&path, &Json::Object(body))?;
    out::line(text(&record, "state"))
}

/// Those fields that were given.
fn given<const N: usize>(fields: [(&str, &Option<String>); N]) -> Json {
    let given = fields.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?))));
    Json::Object(given.collect())
}

/// `dwell runtime pause|resume`.
pub fn runtime(client: &Client, command: &Runtime) -> Result<(), Failure> {
    let (row, model, json) = match command {
        Runtime::Pause { name, model, until, json } => {
            let body = given([("until", until), ("model", model)]);
            (client.post(&format!("/v1/runtimes/{}/pause", escaped(name)), &body)?, model, *json)
        }
        Runtime::Resume { name, model, json } => {
            let body = given([("model", model)]);
            (client.post(&format!("/v1/runtimes/{}/resume", escaped(name)), &body)?, model, *json)
        }
    };
    if json {
        return out::json(&row);
    }
    let (name, state, until) = match model {
        None => (text(&row, "name").to_owned(), text(&row, "state"), text(&row, "held_until")),
        Some(model) => {
            // Only those that are held are there.
            let held = row.get("models").and_then(Json::as_array).into_iter().flatten();
            let held = held.into_iter().find(|row| text(row, "model") == model);
            let (state, until) =
                held.map_or(("open", ""), |row| (text(row, "state"), text(row, "held_until")));
            (format!("{}/{model}", text(&row, "name")), state, until)
        }
    };
    if until.is_empty() {
        return out::line(&format!("{name} {state}"));
    }
    let until = brief(until);
    let until = until.strip_prefix("until ").unwrap_or(&until);
    out::line(&format!("{name} {state} until {until}"))
}

/// `dwell drain`.
pub fn drain(client: &Client, args: &Drain) -> Result<(), Failure> {
    if let Some(flow) = args.scope.flow.as_ref().filter(|_| !args.force) {
        let loaded = items(client, "/v1/flows")?.iter().any(|row| text(row, "name") == flow);
        if !loaded {
            let near = near::nearest(client, near::Kind::Flow, flow);
            let near = near.map_or_else(String::new, |near| format!("did you mean {near}; "));
            let message = format!("no flow {flow} is loaded: {near}--force drains it all the same");
            return Err(Failure { exit: NOT_FOUND, message });
        }
    }
    let body = json!({ "scope": args.scope.text(), "timeout": args.timeout });
    let row = client.post("/v1/drains", &body)?;
    // Not refused: an org may be drained before its first work comes.
    if let Some(org) = &args.scope.org
        && let Some(near) = near::nearest(client, near::Kind::Org, org)
    {
        out::note(&format!("org {org} has no work that waits or runs; did you mean {near}"));
    }
    if args.json {
        return out::json(&row);
    }
    let outstanding = row.get("outstanding").and_then(Json::as_u64).unwrap_or(0);
    let until = brief(text(&row, "until"));
    let left =
        if outstanding == 0 { String::new() } else { format!(", {outstanding} outstanding until {until}") };
    out::line(&format!("{} drained{left}", text(&row, "scope")))
}

/// `dwell undrain`.
pub fn undrain(client: &Client, args: &Undrain) -> Result<(), Failure> {
    let row = client.delete(&format!("/v1/drains/{}", escaped(args.scope.text())))?;
    if args.json { out::json(&row) } else { out::line(&format!("{} undrained", text(&row, "scope"))) }
}
