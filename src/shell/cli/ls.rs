//! `dwell ls`: every list there is.

use serde_json::{Value as Json, json};

use super::args::{Ls, What};
use super::client::{Client, escaped};
use super::exit::{Failure, USAGE};
use super::look::{brief, first_line, items, shown, text};
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

fn scope(item: &Json) -> String {
    format!("{}/{}", text(item, "org"), text(item, "env"))
}
