//! Commands that only look: ls, show, history, why, logs.

use serde_json::{Value as Json, json};

use super::args::{Logs, Ls, One, What, Why};
use super::client::{Client, escaped};
use super::exit::{Failure, USAGE};
use super::out;

/// `dwell ls`.
pub fn ls(client: &Client, args: &Ls) -> Result<(), Failure> {
    only_what_counts(args)?;
    let records = records_query(args);
    let items = match args.what {
        None => {
            let mut both = items(client, &format!("/v1/sessions?{records}"))?;
            both.extend(items(client, &format!("/v1/runs?{records}"))?);
            both.sort_by_key(|item| std::cmp::Reverse(text(item, "created_at").to_owned()));
            both.truncate(args.limit as usize);
            both
        }
        Some(What::Sessions) => items(client, &format!("/v1/sessions?{records}"))?,
        Some(What::Runs) => items(client, &format!("/v1/runs?{records}"))?,
        Some(What::Dead) if args.groups => {
            items(client, &format!("/v1/dead-letters/groups?limit={}", args.limit))?
        }
        Some(What::Redrives) => items(client, "/v1/redrives")?,
        Some(What::Dead) => items(client, &format!("/v1/dead-letters?{records}"))?,
        Some(What::Triggers) => items(client, &format!("/v1/triggers?limit={}", args.limit))?,
        Some(What::Upcoming) => items(client, &format!("/v1/upcoming?limit={}", args.limit))?,
        Some(What::Flows) => items(client, "/v1/flows")?,
        Some(What::Runtimes) => items(client, "/v1/runtimes")?,
        Some(What::Scopes) => {
            let org = args.org.as_deref().map(|org| format!("&org={}", escaped(org))).unwrap_or_default();
            items(client, &format!("/v1/queues?limit={}{org}", args.limit))?
        }
        Some(What::Drains) => items(client, "/v1/drains")?,
        Some(What::Queues) => items(client, "/v1/claims")?,
    };
    if args.json {
        return out::json(&json!({ "items": items }));
    }
    let rows = |row: fn(&Json) -> Vec<String>| items.iter().map(row).collect::<Vec<_>>();
    match args.what {
        Some(What::Dead) if args.groups => out::table(GROUP, &rows(group)),
        Some(What::Redrives) => out::table(REDRIVE, &rows(redrive)),
        None | Some(What::Sessions | What::Runs | What::Dead) => out::table(RECORD, &rows(record)),
        Some(What::Flows) => out::table(&["NAME", "MODE", "RUNTIME", "ON", "FILE"], &rows(flow)),
        Some(What::Runtimes) => out::table(RUNTIME, &items.iter().flat_map(runtime).collect::<Vec<_>>()),
        Some(What::Queues) => out::table(&["QUEUE", "QUEUED", "CLAIMS", "ASKED"], &rows(queue)),
        Some(What::Scopes) => out::table(ENV, &rows(env)),
        Some(What::Drains) => out::table(&["SCOPE", "SINCE", "UNTIL", "OUTSTANDING"], &rows(drain)),
        Some(What::Triggers) => {
            out::table(&["ID", "AT", "SOURCE", "EVENT", "ORG/ENV", "RUNS"], &rows(trigger))
        }
        Some(What::Upcoming) => out::table(&["DUE", "FLOW", "KIND", "WHAT"], &rows(upcoming)),
    }
}

/// Refuses a filter that the list does not know: without it the list would say something else than was asked.
fn only_what_counts(args: &Ls) -> Result<(), Failure> {
    let groups = args.groups && !matches!(args.what, Some(What::Dead));
    let records = matches!(args.what, None | Some(What::Sessions | What::Runs | What::Dead)) && !args.groups;
    let knows = |name: &&str| records || (*name == "org" && matches!(args.what, Some(What::Scopes)));
    let given = filters(args).into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name);
    let odd = given.chain(args.shadow.then_some("shadow")).find(|name| !knows(name));
    match odd.or(groups.then_some("groups")) {
        None => Ok(()),
        Some(name) => Err(Failure { exit: USAGE, message: format!("--{name} does not go with this list") }),
    }
}

const fn filters(args: &Ls) -> [(&'static str, &Option<String>); 9] {
    [
        ("state", &args.state),
        ("org", &args.org),
        ("env", &args.env),
        ("flow", &args.flow),
        ("runtime", &args.runtime),
        ("cause", &args.cause),
        ("fingerprint", &args.fingerprint),
        ("key", &args.key),
        ("label", &args.label),
    ]
}

fn records_query(args: &Ls) -> String {
    let mut query = format!("limit={}", args.limit);
    for (name, value) in filters(args) {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    if args.shadow {
        query.push_str("&shadow=true");
    }
    query
}

pub fn items(client: &Client, path: &str) -> Result<Vec<Json>, Failure> {
    match client.get(path)?.get_mut("items").map(Json::take) {
        Some(Json::Array(items)) => Ok(items),
        Some(_) | None => Err(Failure::failed("the server answered something else than a list")),
    }
}

const RECORD: &[&str] = &["ID", "STATE", "ATTEMPT", "ORG/ENV", "RUNTIME", "NAME", "UNTIL", "WHY"];

fn record(item: &Json) -> Vec<String> {
    let name = ["key", "flow"].into_iter().map(|name| text(item, name)).find(|name| !name.is_empty());
    let error = item.pointer("/last_error/message").and_then(Json::as_str).unwrap_or_default();
    let shadow = if item.get("shadow").is_some() { "shadow" } else { "" };
    let why = [shadow, text(item, "hold"), text(item, "cause"), first_line(error)];
    let why = why.into_iter().filter(|part| !part.is_empty());
    vec![
        text(item, "id").to_owned(),
        text(item, "state").to_owned(),
        shown(item.get("attempt")),
        scope(item),
        text(item, "runtime").to_owned(),
        name.unwrap_or_default().to_owned(),
        brief(text(item, "deadline")),
        why.collect::<Vec<_>>().join(": ").chars().take(60).collect(),
    ]
}

fn queue(item: &Json) -> Vec<String> {
    let [queued, claims] = ["queued", "claims"].map(|name| shown(item.get(name)));
    vec![text(item, "queue").to_owned(), queued, claims, brief(text(item, "asked_at"))]
}

const GROUP: &[&str] = &["COUNT", "CAUSE", "FLOW", "RUNTIME", "FINGERPRINT", "NEWEST", "EXAMPLE", "ERROR"];

fn group(item: &Json) -> Vec<String> {
    let mut row = vec![shown(item.get("count"))];
    row.extend(["cause", "flow", "runtime", "fingerprint"].map(|name| text(item, name).to_owned()));
    row.extend([brief(text(item, "newest")), text(item, "example").to_owned()]);
    row.push(text(item, "sample").chars().take(80).collect());
    row
}

const REDRIVE: &[&str] = &["ID", "RATE", "REDRIVEN", "NEXT", "OF"];

fn redrive(item: &Json) -> Vec<String> {
    let filters = ["cause", "flow", "runtime", "org", "env", "fingerprint"].into_iter();
    let filters = filters.map(|name| text(item, name)).filter(|value| !value.is_empty());
    vec![
        text(item, "id").to_owned(),
        text(item, "rate").to_owned(),
        super::paced::progress(item),
        brief(text(item, "next_at")),
        filters.collect::<Vec<_>>().join(" "),
    ]
}

fn flow(item: &Json) -> Vec<String> {
    let on = item.get("on").and_then(Json::as_array).into_iter().flatten().map(|event| shown(Some(event)));
    let on = on.collect::<Vec<_>>().join(", ");
    let [name, mode, runtime, file] =
        ["name", "mode", "runtime", "file"].map(|name| text(item, name).to_owned());
    vec![name, mode, runtime, on, file]
}

const RUNTIME: &[&str] = &["NAME", "STATE", "OUTSTANDING", "QUEUED", "HELD UNTIL", "SOURCE"];

/// A line for the runtime, and one for each model that is held by itself.
fn runtime(item: &Json) -> Vec<Vec<String>> {
    let name = text(item, "name");
    let models = item.get("models").and_then(Json::as_array).into_iter().flatten();
    let models = models.map(|model| account(model, format!("{name}/{}", text(model, "model"))));
    std::iter::once(account(item, name.to_owned())).chain(models).collect()
}

fn account(item: &Json, name: String) -> Vec<String> {
    let source = match text(item, "state") {
        "limited" => item.pointer("/limited/source").and_then(Json::as_str).unwrap_or_default(),
        "paused" => "operator",
        _ => "",
    };
    let outstanding =
        item.get("outstanding").map(|count| format!("{count} of {}", shown(item.get("concurrency"))));
    vec![
        name,
        text(item, "state").to_owned(),
        outstanding.unwrap_or_default(),
        shown(item.get("queued")),
        brief(text(item, "held_until")),
        source.to_owned(),
    ]
}

const ENV: &[&str] = &["ORG/ENV", "READY", "BURST", "PARKED", "OUTSTANDING", "OLDEST", "GATE"];

fn env(item: &Json) -> Vec<String> {
    let at = |pointer| shown(item.pointer(pointer));
    let gate = match (item.pointer("/gate/enrolled"), item.pointer("/gate/tripped_until")) {
        (Some(Json::Bool(true)), Some(until)) => format!("tripped until {}", brief(&shown(Some(until)))),
        (Some(Json::Bool(true)), None) => "open".to_owned(),
        (_, _) => String::new(),
    };
    vec![
        scope(item),
        at("/queued/ready"),
        at("/queued/burst"),
        at("/parked"),
        at("/outstanding"),
        brief(text(item, "oldest_at")),
        gate,
    ]
}

fn drain(item: &Json) -> Vec<String> {
    vec![
        text(item, "scope").to_owned(),
        brief(text(item, "since")),
        brief(text(item, "until")),
        shown(item.get("outstanding")),
    ]
}

fn trigger(item: &Json) -> Vec<String> {
    let event = [text(item, "event"), text(item, "action")];
    let event: Vec<&str> = event.into_iter().filter(|part| !part.is_empty()).collect();
    let runs = item.get("runs").and_then(Json::as_array).map_or(0, Vec::len);
    vec![
        text(item, "id").to_owned(),
        brief(text(item, "at")),
        text(item, "source").to_owned(),
        event.join(" "),
        scope(item),
        runs.to_string(),
    ]
}

fn upcoming(item: &Json) -> Vec<String> {
    let what = ["schedule", "key"].into_iter().map(|name| text(item, name)).find(|what| !what.is_empty());
    vec![
        brief(text(item, "due_at")),
        text(item, "flow").to_owned(),
        text(item, "kind").to_owned(),
        what.unwrap_or_default().to_owned(),
    ]
}

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

/// `dwell logs`.
pub fn logs(client: &Client, args: &Logs) -> Result<(), Failure> {
    let attempt = args.attempt.map(|attempt| format!("&attempt={attempt}")).unwrap_or_default();
    let path = format!("/v1/records/{}/logs?follow={}{attempt}", escaped(&args.id), args.follow);
    out::copy(client.stream(&path)?).map_err(|error| Failure::failed(format!("the log broke off: {error}")))
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

fn scope(item: &Json) -> String {
    format!("{}/{}", text(item, "org"), text(item, "env"))
}

/// The first of several lines.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
