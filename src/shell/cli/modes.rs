//! Modes: `dwell mode` and `dwell flow diff`.

use serde_json::{Value as Json, json};

use super::args::{Diff, Mode};
use super::client::{Client, escaped};
use super::exit::{Failure, NOT_FOUND};
use super::look::{brief, first_line, shown, text};
use super::out;
use crate::model;

/// The longest page that the server gives.
const PAGE_MAX: usize = 1_000;

/// `dwell mode`.
pub fn mode(client: &Client, args: &Mode) -> Result<(), Failure> {
    let (flow, mode) = match (&args.flow, &args.to) {
        // One word that is a mode is the mode of all.
        (Some(word), None) if !args.clear && word.parse::<model::Mode>().is_ok() => (None, Some(word)),
        (flow, mode) => (flow.as_ref(), mode.as_ref()),
    };
    let path = match flow {
        Some(flow) => format!("/v1/modes/flows/{}", escaped(flow)),
        None => "/v1/modes/global".to_owned(),
    };
    let flipped = match mode {
        Some(mode) => client.put(&path, &json!({ "mode": mode, "force": args.force }))?,
        None if args.clear => client.delete(&path)?,
        None => return table(client, flow, args.json),
    };
    if args.json {
        return out::json(&flipped);
    }
    let changed = if flipped.get("changed") == Some(&Json::Bool(true)) { "" } else { " (unchanged)" };
    let of = flow.map_or("all flows without a mode of their own", String::as_str);
    out::line(&format!("{of}: {} -> {}{changed}", text(&flipped, "from"), text(&flipped, "to")))
}

const FLOW: &[&str] = &["FLOW", "MODE", "NAMED BY", "SINCE", "DISPATCHER", "LAST TRIGGER", "LAST RUN", "WHY"];

/// The whole table, or one flow of it.
fn table(client: &Client, flow: Option<&String>, json: bool) -> Result<(), Failure> {
    let modes = client.get("/v1/modes")?;
    let mut flows = modes.get("flows").and_then(Json::as_array).cloned().unwrap_or_default();
    if let Some(name) = flow {
        flows.retain(|flow| text(flow, "name") == name);
        let Some(found) = flows.first() else {
            return Err(Failure { exit: NOT_FOUND, message: format!("no flow {name} is loaded") });
        };
        if json {
            return out::json(found);
        }
    } else if json {
        return out::json(&modes);
    } else {
        let global = modes.get("global").unwrap_or(&Json::Null);
        let (mode, origin) = (text(global, "mode"), text(global, "origin"));
        out::line(&format!("global: {mode} ({origin}), dispatcher: {}", text(&modes, "dispatcher")))?;
    }
    if flows.is_empty() {
        out::note("no flows are loaded");
        return Ok(());
    }
    out::table(FLOW, &flows.iter().map(row).collect::<Vec<_>>())
}

fn row(flow: &Json) -> Vec<String> {
    let last = |member: &str| flow.get(member).map(|last| brief(text(last, "at"))).unwrap_or_default();
    let why = flow.get("missing").and_then(Json::as_array).into_iter().flatten();
    let why: Vec<&str> = why.map(|missing| text(missing, "why")).collect();
    vec![
        text(flow, "name").to_owned(),
        text(flow, "mode").to_owned(),
        text(flow, "origin").to_owned(),
        brief(text(flow, "since")),
        text(flow, "dispatcher").to_owned(),
        last("last_trigger"),
        last("last_run"),
        why.join("; "),
    ]
}

/// `dwell flow diff`: each run that was only recorded, with what it would have done.
pub fn diff(client: &Client, args: &Diff) -> Result<(), Failure> {
    let runs = recorded(client, args)?;
    if args.json {
        return out::json(&json!({ "items": runs }));
    }
    if runs.is_empty() {
        out::note("nothing was recorded in shadow");
        return Ok(());
    }
    let row = |run: &Json| {
        let error = run.pointer("/last_error/message").and_then(Json::as_str).unwrap_or_default();
        let would = if error.is_empty() { action(run) } else { format!("nothing: {}", first_line(error)) };
        vec![
            text(run, "id").to_owned(),
            brief(text(run, "created_at")),
            text(run, "flow").to_owned(),
            format!("{}/{}", text(run, "org"), text(run, "env")),
            text(run, "runtime").to_owned(),
            would,
        ]
    };
    let heads = ["ID", "AT", "FLOW", "ORG/ENV", "RUNTIME", "WOULD HAVE RUN"];
    out::table(&heads, &runs.iter().map(row).collect::<Vec<_>>())
}

/// As many as are asked for, with what they were to do; what is in shadow may be rare, so a page may hold few.
fn recorded(client: &Client, args: &Diff) -> Result<Vec<Json>, Failure> {
    let of = args.flow.as_ref().map(|flow| format!("&flow={}", escaped(flow))).unwrap_or_default();
    let mut runs = Vec::new();
    let mut from = String::new();
    loop {
        let left = (args.limit as usize).saturating_sub(runs.len()).min(PAGE_MAX);
        if left == 0 {
            return Ok(runs);
        }
        let page = client.get(&format!("/v1/runs?shadow=true&limit={left}{of}{from}"))?;
        for run in page.get("items").and_then(Json::as_array).into_iter().flatten() {
            runs.push(client.get(&format!("/v1/records/{}", text(run, "id")))?);
        }
        match text(&page, "cursor") {
            "" => return Ok(runs),
            cursor => from = format!("&cursor={cursor}"),
        }
    }
}

/// What is in the action, without its kind.
fn action(run: &Json) -> String {
    let action = run.get("action").unwrap_or(&Json::Null);
    let agent =
        action.pointer("/agent/prompt").and_then(Json::as_str).map(|prompt| first_line(prompt).to_owned());
    let request = action.get("http").map(|http| format!("{} {}", text(http, "method"), text(http, "url")));
    agent.or(request).unwrap_or_else(|| shown(action.get("command").or(Some(action))))
}
