//! Commands that only look at one thing: show, history, why, logs; and how what they show is read.

use serde_json::{Value as Json, json};

use super::args::{Logs, One, Why};
use super::client::{Client, escaped};
use super::exit::Failure;
use super::out;

/// `dwell show`.
pub fn show(client: &Client, args: &One) -> Result<(), Failure> {
    let kind = if args.id.starts_with("trg_") { "triggers" } else { "records" };
    let record = client.get(&format!("/v1/{kind}/{}", escaped(&args.id)))?;
    if args.json {
        return out::json(&record);
    }
    // What a person asks first comes first; the rest follows by name.
    let first = [
        "id",
        "state",
        "cause",
        "wait",
        "last_error",
        "attempt",
        "runtime",
        "org",
        "env",
        "flow",
        "key",
        "task",
    ];
    let members = record.as_object().into_iter().flatten();
    let rest = members.clone().map(|(name, _)| name.as_str()).filter(|name| !first.contains(name));
    let rows: Vec<Vec<String>> = (first.into_iter().chain(rest))
        .filter_map(|name| Some(vec![name.to_owned(), shown(Some(record.get(name)?))]))
        .collect();
    out::table(&[], &rows)
}

/// `dwell history`.
pub fn history(client: &Client, args: &One) -> Result<(), Failure> {
    let steps = items(client, &format!("/v1/records/{}/history", escaped(&args.id)))?;
    if args.json {
        return out::json(&json!({ "items": steps }));
    }
    let row = |step: &Json| {
        let from = Some(text(step, "from")).filter(|from| !from.is_empty()).unwrap_or("-");
        vec![
            text(step, "at").to_owned(),
            text(step, "event").to_owned(),
            format!("{from} -> {}", text(step, "to")),
            shown(step.get("attempt")),
            brief(text(step, "deadline")),
            first_line(text(step, "detail")).to_owned(),
        ]
    };
    let heads = ["TIME", "EVENT", "FROM -> TO", "ATTEMPT", "DEADLINE", "DETAIL"];
    out::table(&heads, &steps.iter().map(row).collect::<Vec<_>>())
}

/// `dwell why`.
pub fn why(client: &Client, args: &Why) -> Result<(), Failure> {
    let scope = args.of == "all" || args.of.contains(':');
    let kind = if scope { "scopes" } else { "records" };
    let why = client.get(&format!("/v1/{kind}/{}/why", escaped(&args.of)))?;
    if args.json {
        return out::json(&why);
    }
    out::line(&format!("{}: {}", text(&why, "rule"), text(&why, "detail")))?;
    let ids = why.get("by").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    let counters = why.get("counters").and_then(Json::as_object).into_iter().flatten();
    let counters: Vec<String> = counters.map(|(name, count)| format!("{name} {count}")).collect();
    let place = why.get("place").map(|place| {
        let of = |name| shown(place.get(name));
        format!("{} of its env go first, {} orgs take turns", of("ahead_in_env"), of("orgs_in_rotation"))
    });
    let rows = [
        ("by", ids.collect::<Vec<_>>().join(" ")),
        ("place", place.unwrap_or_default()),
        ("counters", counters.join(", ")),
        ("earliest", brief(text(&why, "earliest"))),
    ];
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    out::table(&[], &rows.map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>())
}

/// What holds it that is queued; nothing if it goes at its turn, or went while this was asked.
pub fn held(client: &Client, id: &str) -> Option<String> {
    let why = client.get(&format!("/v1/records/{}/why", escaped(id))).ok()?;
    let held = text(&why, "state") == "queued" && text(&why, "rule") != "turn";
    held.then(|| format!("queued: {}", text(&why, "detail")))
}

/// `dwell logs`.
pub fn logs(client: &Client, args: &Logs) -> Result<(), Failure> {
    let attempt = args.attempt.map(|attempt| format!("&attempt={attempt}")).unwrap_or_default();
    let path = format!("/v1/records/{}/logs?follow={}{attempt}", escaped(&args.id), args.follow);
    out::copy(client.stream(&path)?).map_err(|error| Failure::failed(format!("the log broke off: {error}")))
}

/// The items of a list.
pub fn items(client: &Client, path: &str) -> Result<Vec<Json>, Failure> {
    match client.get(path)?.get_mut("items").map(Json::take) {
        Some(Json::Array(items)) => Ok(items),
        Some(_) | None => Err(Failure::failed("the server answered something else than a list")),
    }
}

/// A text member, or nothing.
pub fn text<'a>(item: &'a Json, name: &str) -> &'a str {
    item.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// A moment without its fraction; the last one there is means that only an operator ends the wait.
pub fn brief(moment: &str) -> String {
    if moment.starts_with("9999-12-31") {
        return "until resumed".to_owned();
    }
    moment.split_once('.').map_or_else(|| moment.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// A member as a person reads it.
pub fn shown(value: Option<&Json>) -> String {
    match value {
        None => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The first of several lines.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
