//! `dwell ls`: every list there is.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::args::{Ls, What};
use super::client::{Client, escaped};
use super::exit::{Failure, UNREACHABLE, USAGE};
use super::look::{brief, first_line, items, shown, text};
use super::table::{self, Paper};
use super::{near, out};
use crate::model::Time;
use crate::shell::clock::Clock;
use crate::shell::time;

/// The longest page that the server gives.
const PAGE_MAX: usize = 1_000;

/// How often a watched list is asked for.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// `dwell ls`.
pub fn ls(client: &Client, args: &Ls) -> Result<(), Failure> {
    only_what_counts(args)?;
    if args.watch {
        return watch(client, args);
    }
    let listed = Listed::read(client, args)?;
    if args.json {
        return out::json(&json!({ "items": listed.items, "more": listed.cut() }));
    }
    let paper = Paper::stdout();
    table(args, &listed.items, paper).iter().try_for_each(|line| out::line(line))?;
    if listed.cut() {
        out::note(&listed.more(client)?);
    }
    if listed.items.is_empty() {
        of_nothing(client, args);
    }
    Ok(())
}

/// The list anew each second, as much of it as the terminal holds. Asked for by the clock and not at each event: its times
/// count down anyway, and so a busy server is asked no more often than an idle one.
fn watch(client: &Client, args: &Ls) -> Result<(), Failure> {
    let mut seen = false;
    loop {
        let paper = Paper::stdout();
        let Some((_, height)) = paper.size else {
            return Err(Failure { exit: USAGE, message: "--watch is for a terminal".to_owned() });
        };
        let listed = match Listed::read(client, args) {
            // It may be on its way back.
            Err(gone) if seen && gone.exit == UNREACHABLE => {
                out::redraw(&[gone.message])?;
                pass(WATCH_EVERY);
                continue;
            }
            listed => listed?,
        };
        seen = true;
        let mut lines = table(args, &listed.items, paper);
        // The last line stays free for the cursor.
        let room = height.saturating_sub(2).max(1);
        let hidden = lines.len().saturating_sub(room);
        lines.truncate(room);
        if hidden > 0 || listed.cut() {
            lines.push("... and more".to_owned());
        }
        out::redraw(&lines)?;
        pass(WATCH_EVERY);
    }
}

fn pass(span: Duration) {
    // Nothing is sent: it waits.
    crossbeam_channel::after(span).recv().ok();
}

/// What was asked for, and where each of its lists goes on.
struct Listed {
    items: Vec<Json>,
    /// Left out of what was read.
    left_out: usize,
    /// Path and cursor of each list that goes on.
    rest: Vec<(String, String)>,
}

impl Listed {
    fn read(client: &Client, args: &Ls) -> Result<Listed, Failure> {
        let mut listed = Listed { items: Vec::new(), left_out: 0, rest: Vec::new() };
        let limit = args.limit as usize;
        let records = format!("?{}", records_query(args));
        match args.what {
            None => {
                listed.page(client, &format!("/v1/sessions{records}"), limit)?;
                listed.page(client, &format!("/v1/runs{records}"), limit)?;
                listed.items.sort_by_key(|item| std::cmp::Reverse(text(item, "created_at").to_owned()));
            }
            Some(What::Sessions) => listed.page(client, &format!("/v1/sessions{records}"), limit)?,
            Some(What::Runs) => listed.page(client, &format!("/v1/runs{records}"), limit)?,
            Some(What::Dead) if args.groups => listed.page(client, "/v1/dead-letters/groups?", limit)?,
            Some(What::Dead) => listed.page(client, &format!("/v1/dead-letters{records}"), limit)?,
            Some(What::Triggers) => listed.page(client, "/v1/triggers?", limit)?,
            Some(What::Upcoming) => listed.page(client, "/v1/upcoming?", limit)?,
            Some(What::Scopes) => {
                let org = args.org.as_deref().map(|org| format!("org={}&", escaped(org)));
                listed.page(client, &format!("/v1/queues?{}", org.unwrap_or_default()), limit)?;
            }
            // These are shown whole.
            Some(What::Redrives) => return Listed::whole(client, "/v1/redrives"),
            Some(What::Flows) => return Listed::whole(client, "/v1/flows"),
            Some(What::Runtimes) => return Listed::whole(client, "/v1/runtimes"),
            Some(What::Drains) => return Listed::whole(client, "/v1/drains"),
            Some(What::Queues) => return Listed::whole(client, "/v1/claims"),
        }
        listed.left_out = listed.items.len().saturating_sub(limit);
        listed.items.truncate(limit);
        Ok(listed)
    }

    fn whole(client: &Client, path: &str) -> Result<Listed, Failure> {
        Ok(Listed { items: items(client, path)?, left_out: 0, rest: Vec::new() })
    }

    /// Reads one more than `limit`, to know whether there are more, page by page: a page may hold less than was asked for,
    /// and go on all the same.
    fn page(&mut self, client: &Client, path: &str, limit: usize) -> Result<(), Failure> {
        let all = self.items.len() + limit + 1;
        let mut from = String::new();
        loop {
            let asked = (all - self.items.len()).min(PAGE_MAX);
            let (items, cursor) = read(client, &format!("{path}limit={asked}{from}"))?;
            self.items.extend(items);
            let Some(cursor) = cursor else { return Ok(()) };
            if self.items.len() >= all {
                self.rest.push((path.to_owned(), cursor));
                return Ok(());
            }
            from = format!("&cursor={}", escaped(&cursor));
        }
    }

    const fn cut(&self) -> bool {
        self.left_out > 0
    }

    /// How many more there are, as far as one page of each list says, and how to see them.
    fn more(&self, client: &Client) -> Result<String, Failure> {
        let (mut more, mut at_least) = (self.left_out, "");
        for (path, cursor) in &self.rest {
            let (items, cursor) =
                read(client, &format!("{path}limit={PAGE_MAX}&cursor={}", escaped(cursor)))?;
            more += items.len();
            if cursor.is_some() {
                at_least = "more than ";
            }
        }
        let (shown, all) = (self.items.len(), self.items.len() + more);
        Ok(format!("{shown} shown, {at_least}{more} more: --limit {all}, or a filter"))
    }
}

fn read(client: &Client, path: &str) -> Result<(Vec<Json>, Option<String>), Failure> {
    let mut page = client.get(path)?;
    let cursor = page.get("cursor").and_then(Json::as_str).map(str::to_owned);
    match page.get_mut("items").map(Json::take) {
        Some(Json::Array(items)) => Ok((items, cursor)),
        Some(_) | None => Err(Failure::failed("the server answered something else than a list")),
    }
}

/// An empty list may be one of a name that was mistyped.
fn of_nothing(client: &Client, args: &Ls) {
    let named =
        [(near::Kind::Flow, &args.flow), (near::Kind::Runtime, &args.runtime), (near::Kind::Org, &args.org)];
    for (kind, name) in named {
        if let Some(name) = name
            && let Some(near) = near::nearest(client, kind, name)
        {
            out::note(&format!("nothing of {name}; did you mean {near}"));
        }
    }
}

/// How a moment is shown.
#[derive(Clone, Copy)]
struct When(Option<Time>);

impl When {
    /// From now, where a person looks; as it is, where it is kept.
    fn on(paper: Paper, args: &Ls) -> When {
        When(paper.size.filter(|_| !args.absolute).map(|_| Clock::System.now()))
    }

    fn show(self, moment: &str) -> String {
        match (self.0, time::parse(moment)) {
            (Some(now), Ok(then)) => time::relative(now, then),
            (_, _) => brief(moment),
        }
    }
}

fn table(args: &Ls, items: &[Json], paper: Paper) -> Vec<String> {
    let when = When::on(paper, args);
    let rows = |row: fn(&Json, When) -> Vec<String>| items.iter().map(|item| row(item, when)).collect();
    let (heads, rows): (&[&str], Vec<Vec<String>>) = match args.what {
        Some(What::Dead) if args.groups => (GROUP, rows(group)),
        Some(What::Redrives) => (REDRIVE, rows(redrive)),
        None | Some(What::Sessions | What::Runs | What::Dead) => (RECORD, rows(record)),
        Some(What::Flows) => (&["NAME", "MODE", "RUNTIME", "ON", "FILE"], rows(flow)),
        Some(What::Runtimes) => (RUNTIME, items.iter().flat_map(|item| runtime(item, when)).collect()),
        Some(What::Queues) => (&["QUEUE", "QUEUED", "CLAIMS", "ASKED"], rows(queue)),
        Some(What::Scopes) => (ENV, rows(env)),
        Some(What::Drains) => (&["SCOPE", "SINCE", "UNTIL", "OUTSTANDING"], rows(drain)),
        Some(What::Triggers) => (&["ID", "AT", "SOURCE", "EVENT", "ORG/ENV", "RUNS"], rows(trigger)),
        Some(What::Upcoming) => (&["DUE", "FLOW", "KIND", "WHAT"], rows(upcoming)),
    };
    table::lines(heads, &rows, paper)
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
    let mut query = String::new();
    for (name, value) in filters(args) {
        if let Some(value) = value {
            query.push_str(&format!("{name}={}&", escaped(value)));
        }
    }
    if args.shadow {
        query.push_str("shadow=true&");
    }
    query
}

const RECORD: &[&str] = &["ID", "STATE", "ATTEMPT", "ORG/ENV", "RUNTIME", "NAME", "UNTIL", "WHY"];

fn record(item: &Json, when: When) -> Vec<String> {
    let name = ["key", "flow"].into_iter().map(|name| text(item, name)).find(|name| !name.is_empty());
    // While an attempt is outstanding nothing is waited for: what ended the one before is in its history.
    let waits = item.get("last_error").filter(|_| !["active", "draining"].contains(&text(item, "state")));
    let error = waits.map(|error| text(error, "message")).unwrap_or_default();
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
        when.show(text(item, "deadline")),
        why.collect::<Vec<_>>().join(": "),
    ]
}

fn queue(item: &Json, when: When) -> Vec<String> {
    let [queued, claims] = ["queued", "claims"].map(|name| shown(item.get(name)));
    vec![text(item, "queue").to_owned(), queued, claims, when.show(text(item, "asked_at"))]
}

const GROUP: &[&str] = &["COUNT", "CAUSE", "FLOW", "RUNTIME", "FINGERPRINT", "NEWEST", "EXAMPLE", "ERROR"];

fn group(item: &Json, when: When) -> Vec<String> {
    let mut row = vec![shown(item.get("count"))];
    row.extend(["cause", "flow", "runtime", "fingerprint"].map(|name| text(item, name).to_owned()));
    row.extend([when.show(text(item, "newest")), text(item, "example").to_owned()]);
    row.push(first_line(text(item, "sample")).to_owned());
    row
}

const REDRIVE: &[&str] = &["ID", "RATE", "REDRIVEN", "NEXT", "OF"];

fn redrive(item: &Json, when: When) -> Vec<String> {
    let filters = ["cause", "flow", "runtime", "org", "env", "fingerprint"].into_iter();
    let filters = filters.map(|name| text(item, name)).filter(|value| !value.is_empty());
    vec![
        text(item, "id").to_owned(),
        text(item, "rate").to_owned(),
        super::paced::progress(&[item]),
        when.show(text(item, "next_at")),
        filters.collect::<Vec<_>>().join(" "),
    ]
}

fn flow(item: &Json, _: When) -> Vec<String> {
    let on = item.get("on").and_then(Json::as_array).into_iter().flatten().map(|event| shown(Some(event)));
    let on = on.collect::<Vec<_>>().join(", ");
    let [name, mode, runtime, file] =
        ["name", "mode", "runtime", "file"].map(|name| text(item, name).to_owned());
    vec![name, mode, runtime, on, file]
}

const RUNTIME: &[&str] = &["NAME", "STATE", "OUTSTANDING", "QUEUED", "HELD UNTIL", "SOURCE"];

/// A line for the runtime, and one for each model that is held by itself.
fn runtime(item: &Json, when: When) -> Vec<Vec<String>> {
    let name = text(item, "name");
    let models = item.get("models").and_then(Json::as_array).into_iter().flatten();
    let models = models.map(|model| account(model, format!("{name}/{}", text(model, "model")), when));
    std::iter::once(account(item, name.to_owned(), when)).chain(models).collect()
}

fn account(item: &Json, name: String, when: When) -> Vec<String> {
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
        when.show(text(item, "held_until")),
        source.to_owned(),
    ]
}

const ENV: &[&str] = &["ORG/ENV", "READY", "BURST", "PARKED", "OUTSTANDING", "OLDEST", "GATE"];

fn env(item: &Json, when: When) -> Vec<String> {
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
        when.show(text(item, "oldest_at")),
        gate,
    ]
}

fn drain(item: &Json, when: When) -> Vec<String> {
    vec![
        text(item, "scope").to_owned(),
        when.show(text(item, "since")),
        when.show(text(item, "until")),
        shown(item.get("outstanding")),
    ]
}

fn trigger(item: &Json, when: When) -> Vec<String> {
    let event = [text(item, "event"), text(item, "action")];
    let event: Vec<&str> = event.into_iter().filter(|part| !part.is_empty()).collect();
    let runs = item.get("runs").and_then(Json::as_array).map_or(0, Vec::len);
    vec![
        text(item, "id").to_owned(),
        when.show(text(item, "at")),
        text(item, "source").to_owned(),
        event.join(" "),
        scope(item),
        runs.to_string(),
    ]
}

fn upcoming(item: &Json, when: When) -> Vec<String> {
    let what = ["schedule", "key"].into_iter().map(|name| text(item, name)).find(|what| !what.is_empty());
    vec![
        when.show(text(item, "due_at")),
        text(item, "flow").to_owned(),
        text(item, "kind").to_owned(),
        what.unwrap_or_default().to_owned(),
    ]
}

fn scope(item: &Json) -> String {
    format!("{}/{}", text(item, "org"), text(item, "env"))
}
