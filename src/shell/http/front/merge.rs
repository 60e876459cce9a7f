//! One answer of what several shards answer. Counts are added up; what all shards were told the same is said once; lists
//! keep the order that one shard's would have, and end where every shard has been looked at as far.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::model::{RecordId, TriggerId};

/// How answers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// A list of runtimes.
    Runtimes,
    /// One runtime.
    Runtime,
    /// A list of drained scopes.
    Drains,
    /// One of them.
    Drain,
    /// Queues of workers.
    Queues,
    /// Envs, by org and name.
    Envs,
    /// Groups of dead letters, the largest first.
    Groups,
    /// What stands in each list.
    Joined,
    /// What is due, the earliest first.
    Upcoming,
    /// A list of flows.
    Flows,
    /// The modes.
    Modes,
    /// A flip of one.
    Flip,
    /// How things are.
    Status,
}

type Object = Map<String, Json>;

impl Merged {
    /// What the shards' documents are together.
    pub(super) fn of(self, documents: Vec<Json>, limit: usize) -> Json {
        match self {
            Merged::Runtimes => list(by(&["name"], items(documents), runtime), None),
            Merged::Runtime => one(documents, runtime),
            Merged::Drains => list(by(&["scope"], items(documents), counted), None),
            Merged::Drain | Merged::Flip => one(documents, counted),
            Merged::Queues => list(by(&["queue"], items(documents), counted), None),
            Merged::Envs => envs(documents, limit),
            Merged::Groups => groups(documents, limit),
            Merged::Joined => list(items(documents), None),
            Merged::Upcoming => upcoming(documents, limit),
            Merged::Flows => list(by(&["name"], items(documents), flow), None),
            Merged::Modes => one(documents, modes),
            Merged::Status => one(documents, status),
        }
    }
}

fn list(items: Vec<Json>, cursor: Option<String>) -> Json {
    let cursor = cursor.map(|cursor| ("cursor".to_owned(), Json::from(cursor)));
    [("items".to_owned(), Json::from(items))].into_iter().chain(cursor).collect()
}

/// The items of a list.
pub(super) fn items_of(mut document: Json) -> Vec<Json> {
    match document.get_mut("items").map(Json::take) {
        Some(Json::Array(items)) => items,
        Some(_) | None => Vec::new(),
    }
}

fn items(documents: Vec<Json>) -> Vec<Json> {
    documents.into_iter().flat_map(items_of).collect()
}

fn text<'a>(document: &'a Json, name: &str) -> &'a str {
    document.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn number(document: &Json, name: &str) -> u64 {
    document.get(name).and_then(Json::as_u64).unwrap_or(0)
}

/// Joins what has these members in common, in the order of their texts.
fn by(names: &[&str], items: Vec<Json>, join: fn(&mut Object, Object)) -> Vec<Json> {
    let mut joined: BTreeMap<Vec<String>, Json> = BTreeMap::new();
    for item in items {
        let key = names.iter().map(|name| text(&item, name).to_owned()).collect();
        match (joined.get_mut(&key), item) {
            (Some(Json::Object(known)), Json::Object(more)) => join(known, more),
            (_, item) => drop(joined.insert(key, item)),
        }
    }
    joined.into_values().collect()
}

fn one(documents: Vec<Json>, join: fn(&mut Object, Object)) -> Json {
    by(&[], documents, join).pop().unwrap_or(Json::Null)
}

/// Adds up numbers, however deep, and keeps of lists each entry once; of the rest what was there first.
fn add(known: &mut Json, more: Json) {
    match (known, more) {
        (Json::Number(known), Json::Number(more)) => {
            if let (Some(a), Some(b)) = (known.as_u64(), more.as_u64()) {
                *known = (a + b).into();
            }
        }
        (Json::Object(known), Json::Object(more)) => add_members(known, more),
        (Json::Array(known), Json::Array(more)) => {
            for entry in more {
                if !known.contains(&entry) {
                    known.push(entry);
                }
            }
        }
        (Json::Bool(known), Json::Bool(more)) => *known |= more,
        (_, _) => {}
    }
}

fn add_members(known: &mut Object, more: Object) {
    for (name, value) in more {
        match known.get_mut(&name) {
            Some(there) => add(there, value),
            None => drop(known.insert(name, value)),
        }
    }
}

/// The earlier, or the later, of two moments as they are written.
fn keep(known: &mut Object, more: &mut Object, name: &str, later: bool) {
    let (Some(there), Some(other)) = (known.get(name).and_then(Json::as_str), more.remove(name)) else {
        return;
    };
    if other.as_str().is_some_and(|other| (other > there) == later) {
        known.insert(name.to_owned(), other);
    }
}

fn counted(known: &mut Object, mut more: Object) {
    for (name, later) in [("since", false), ("until", true), ("asked_at", true)] {
        keep(known, &mut more, name, later);
    }
    add_members(known, more);
}

/// What holds it is said by the shard that knows of the longest.
fn runtime(known: &mut Object, more: Object) {
    let held = |of: &Object| of.get("held_until").and_then(Json::as_str).map(str::to_owned);
    let counts = ["outstanding", "queued"].map(|name| {
        let of = |object: &Object| object.get(name).and_then(Json::as_u64).unwrap_or(0);
        (name, of(known) + of(&more))
    });
    if held(&more) > held(known) {
        *known = more;
    }
    for (name, count) in counts {
        known.insert(name.to_owned(), json!(count));
    }
}

/// The last trigger and run are those of the shard where they were last.
fn flow(known: &mut Object, mut more: Object) {
    for name in ["last_trigger", "last_run"] {
        let at = |of: &Object| of.get(name).map(|last| text(last, "at").to_owned());
        if at(&more) > at(known)
            && let Some(last) = more.remove(name)
        {
            known.insert(name.to_owned(), last);
        }
    }
}

fn modes(known: &mut Object, mut more: Object) {
    let flows = |of: &mut Object| match of.remove("flows") {
        Some(Json::Array(flows)) => flows,
        Some(_) | None => Vec::new(),
    };
    let mut joined = flows(known);
    joined.extend(flows(&mut more));
    known.insert("flows".to_owned(), by(&["name"], joined, flow).into());
}

fn status(known: &mut Object, mut more: Object) {
    match (known.get("next_deadline"), more.remove("next_deadline")) {
        (None, Some(other)) => drop(known.insert("next_deadline".to_owned(), other)),
        (Some(there), Some(other)) if other.as_str() < there.as_str() => {
            known.insert("next_deadline".to_owned(), other);
        }
        (_, _) => {}
    }
    keep(known, &mut more, "now", true);
    // All of them have the same flows.
    for name in ["dispatcher", "version"] {
        more.remove(name);
    }
    let decisions = |of: &mut Object| match of.get_mut("burst").and_then(|burst| burst.get_mut("decisions")) {
        Some(decisions) => std::mem::take(decisions),
        None => Json::Null,
    };
    let mut all = Vec::new();
    for of in [&mut *known, &mut more] {
        if let Json::Array(decisions) = decisions(of) {
            all.extend(decisions);
        }
    }
    add_members(known, more);
    if let Some(burst) = known.get_mut("burst").and_then(Json::as_object_mut) {
        burst.insert("decisions".to_owned(), by(&["outcome", "reason"], all, add_members).into());
    }
}

/// Records or triggers, newest first. A shard with more says how far it has looked: nothing behind that is shown yet.
pub(super) fn pages(documents: Vec<Json>, limit: usize) -> Json {
    let cursors = documents.iter().filter_map(|document| document.get("cursor")?.as_str());
    let looked = cursors.max_by_key(|cursor| order(cursor)).map(str::to_owned);
    let mut found = items(documents);
    found.sort_by_cached_key(|item| std::cmp::Reverse(order(text(item, "id"))));
    if let Some(looked) = &looked {
        found.retain(|item| order(text(item, "id")) >= order(looked));
    }
    let is_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().map(|item| text(item, "id").to_owned());
    list(found, if is_more { last } else { looked })
}

/// As lists of a shard have ids.
fn order(id: &str) -> (Option<RecordId>, Option<TriggerId>) {
    (id.parse().ok(), id.parse().ok())
}

/// By org and env, in the order of a shard's own list.
fn envs(documents: Vec<Json>, limit: usize) -> Json {
    let key = |item: &Json| format!("{}\t{}", text(item, "org"), text(item, "env"));
    let split = |key: &str| {
        let (org, env) = key.split_once('\t').unwrap_or((key, ""));
        (org.to_owned(), env.to_owned())
    };
    let cursors = documents.iter().filter_map(|document| document.get("cursor")?.as_str());
    let looked = cursors.min_by_key(|cursor| split(cursor)).map(str::to_owned);
    let mut found = items(documents);
    found.sort_by_cached_key(|item| split(&key(item)));
    if let Some(looked) = &looked {
        found.retain(|item| split(&key(item)) <= split(looked));
    }
    let is_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().map(key);
    list(found, if is_more { last } else { looked })
}

fn groups(documents: Vec<Json>, limit: usize) -> Json {
    let join = |known: &mut Object, mut more: Object| {
        let newest = |of: &Object| of.get("newest").and_then(Json::as_str).map(str::to_owned);
        if newest(&more) > newest(known)
            && let Some(example) = more.remove("example")
        {
            known.insert("example".to_owned(), example);
        }
        keep(known, &mut more, "oldest", false);
        keep(known, &mut more, "newest", true);
        add_members(known, more);
    };
    let mut found = by(&["cause", "flow", "runtime", "fingerprint"], items(documents), join);
    found.sort_by_key(|group| std::cmp::Reverse(number(group, "count")));
    found.truncate(limit);
    list(found, None)
}

fn upcoming(documents: Vec<Json>, limit: usize) -> Json {
    let mut found = items(documents);
    // What is never due comes last.
    found.sort_by_cached_key(|item| (item.get("due_at").is_none(), text(item, "due_at").to_owned()));
    found.truncate(limit);
    list(found, None)
}

/// What became of dead letters in each shard.
pub(super) fn redriven(documents: Vec<Json>) -> Json {
    let joined = names_of(&documents, "redrive");
    let none = json!({ "matched": 0, "redriven": 0, "ids": [] });
    let mut all = Some(one(documents, counted)).filter(Json::is_object).unwrap_or(none);
    if let Some(members) = all.as_object_mut() {
        members.insert("redrive".to_owned(), joined.map_or(Json::Null, Json::from));
    }
    all
}

/// A paced redrive that has a part in several shards.
pub(super) fn redrive(rows: Vec<Json>) -> Json {
    let joined = names_of(&rows, "id");
    let mut row = one(rows, counted);
    if let (Json::Object(row), Some(joined)) = (&mut row, joined) {
        row.insert("id".to_owned(), joined.into());
    }
    row
}

fn names_of(documents: &[Json], member: &str) -> Option<String> {
    let names: Vec<&str> =
        documents.iter().map(|document| text(document, member)).filter(|name| !name.is_empty()).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// Why nothing of a scope starts: what holds it in some shard, or nothing.
pub(super) fn why(documents: Vec<Json>) -> Json {
    let is_open = |document: &Json| text(document, "rule") == "open";
    let first = documents.first().cloned();
    documents.into_iter().find(|document| !is_open(document)).or(first).unwrap_or(Json::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> String {
        RecordId::session(n).to_string()
    }

    fn page(ids: &[u128], cursor: Option<u128>) -> Json {
        let items = ids.iter().map(|n| json!({ "id": id(*n) })).collect();
        list(items, cursor.map(id))
    }

    fn shown(document: &Json) -> (Vec<String>, Option<String>) {
        let ids = document["items"].as_array().unwrap().iter().map(|item| text(item, "id").to_owned());
        (ids.collect(), document["cursor"].as_str().map(str::to_owned))
    }

    #[test]
    fn a_page_ends_where_every_shard_was_looked_at() {
        let two = || vec![page(&[9, 5], Some(5)), page(&[8, 7, 2], None)];
        assert_eq!(shown(&pages(two(), 10)), (vec![id(9), id(8), id(7), id(5)], Some(id(5))));
        assert_eq!(shown(&pages(two(), 2)), (vec![id(9), id(8)], Some(id(8))));
        assert_eq!(shown(&pages(vec![page(&[2], None), page(&[3], None)], 2)), (vec![id(3), id(2)], None));
        // One that found nothing on its way is no reason to leave out what comes before it.
        assert_eq!(
            shown(&pages(vec![page(&[], Some(4)), page(&[6, 3], None)], 9)),
            (vec![id(6)], Some(id(4)))
        );
    }

    #[test]
    fn counts_are_added_up_and_what_all_say_is_said_once() {
        let of = |queued: u64, next: &str, passed: u64| {
            json!({ "version": "1", "now": "2026-01-01T00:00:00.000Z", "counts": { "queued": queued }, "drains": ["org:a"],
                "next_deadline": next, "burst": { "decisions": [{ "outcome": "pass", "count": passed }], "queued": 1 } })
        };
        let all = Merged::Status.of(vec![of(1, "b", 2), of(2, "a", 3)], 0);
        assert_eq!((&all["counts"]["queued"], &all["next_deadline"]), (&json!(3), &json!("a")));
        assert_eq!(all["burst"], json!({ "decisions": [{ "outcome": "pass", "count": 5 }], "queued": 2 }));
        assert_eq!((&all["drains"], &all["version"]), (&json!(["org:a"]), &json!("1")));
    }

    #[test]
    fn a_runtime_is_held_as_long_as_any_shard_knows_of() {
        let of = |state: &str, until: Option<&str>, outstanding: u64| {
            let mut row = json!({ "name": "r", "state": state, "concurrency": 5, "outstanding": outstanding, "queued": 1 });
            if let Some(until) = until {
                row["held_until"] = json!(until);
            }
            json!({ "items": [row] })
        };
        let all = Merged::Runtimes
            .of(vec![of("open", None, 1), of("limited", Some("b"), 2), of("limited", Some("a"), 0)], 0);
        let expected = json!({ "name": "r", "state": "limited", "concurrency": 5, "outstanding": 3, "queued": 3, "held_until": "b" });
        assert_eq!(all["items"], json!([expected]));
    }

    #[test]
    fn groups_of_one_kind_are_one_and_the_largest_comes_first() {
        let group = |fingerprint: &str, count: u64, newest: &str, example: &str| {
            json!({ "cause": "lost", "runtime": "r", "fingerprint": fingerprint, "count": count, "oldest": "1",
                "newest": newest, "example": example })
        };
        let lists = vec![
            json!({ "items": [group("a", 3, "2", "x"), group("b", 2, "2", "y")] }),
            json!({ "items": [group("b", 2, "3", "z")] }),
        ];
        let all = Merged::Groups.of(lists, 10);
        assert_eq!(all["items"][0], group("b", 4, "3", "z"));
        assert_eq!(all["items"][1], group("a", 3, "2", "x"));
    }

    #[test]
    fn envs_come_in_the_order_of_their_names_up_to_where_all_were_looked_at() {
        let env = |org: &str, env: &str| json!({ "org": org, "env": env });
        let lists = vec![
            json!({ "items": [env("a", "x"), env("c", "x")], "cursor": "c\tx" }),
            json!({ "items": [env("b", "x"), env("d", "x")] }),
        ];
        let all = Merged::Envs.of(lists, 5);
        assert_eq!(all, json!({ "items": [env("a", "x"), env("b", "x"), env("c", "x")], "cursor": "c\tx" }));
    }
}
