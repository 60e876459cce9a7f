//! Stores that older builds wrote: this build finds every record as that build said it was, goes on working with them,
//! and finds them again. `tests/fixtures/README.md` says how the stores were made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/at.rs"]
mod at;
#[path = "common/copied.rs"]
mod copied;
#[path = "common/filled.rs"]
mod filled;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use at::{ALL, At};
use copied::copy;
use dwell::engine::{Answer, Detail, Request, Settings};
use dwell::model::*;
use dwell::shell::{time, view};
use dwell::store::local::Options;
use dwell::store::{Backend, Direction, Local, Stored, keys};
use serde_json::Value;

/// Set to write the fixture of today's build, where it is not there. One that is there is never written.
const WRITE_NEW: &str = "DWELL_FIXTURE_WRITE_NEW";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A store to work in, and what the build that wrote it said of it.
fn copy_of(name: &str) -> (tempfile::TempDir, Value) {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture(name), dir.path());
    let said = fs::read_to_string(dir.path().join("said.json")).unwrap();
    fs::remove_file(dir.path().join("said.json")).unwrap();
    (dir, serde_json::from_str(&said).unwrap())
}

fn local(dir: &Path) -> Local {
    let options = Options { segment_bytes: 1 << 20, ..Options::default() };
    let mut store = Local::open(dir, options).unwrap();
    store.verified().unwrap();
    store
}

fn rows(store: &Local, kind: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let to = [kind.as_bytes(), &[0xff; 32]].concat();
    store.scan(kind.as_bytes(), &to, Direction::Ascending, ALL).unwrap()
}

/// Whether `found` says all that `said` says; it may say more, as newer builds do.
fn says(found: &Value, said: &Value) -> bool {
    match (found, said) {
        (Value::Object(found), Value::Object(said)) => {
            said.iter().all(|(name, said)| found.get(name).is_some_and(|found| says(found, said)))
        }
        (found, said) => found == said,
    }
}

#[track_caller]
fn assert_says(found: &Value, said: &Value) {
    assert!(says(found, said), "this build finds {found:#}\nwhere {said:#} was written");
}

fn items<'s>(said: &'s Value, what: &str) -> &'s [Value] {
    said[what].as_array().unwrap_or_else(|| panic!("no {what}"))
}

fn moment(said: &Value) -> Time {
    time::parse(said.as_str().unwrap()).unwrap()
}

/// With the runtimes the store was written with, and as many places.
fn settings(said: &Value) -> Settings {
    let runtimes = items(said, "runtimes").iter().map(|runtime| {
        let places = u32::try_from(runtime["concurrency"].as_u64().unwrap()).unwrap();
        (runtime["name"].as_str().unwrap().into(), places)
    });
    Settings { runtimes: runtimes.collect(), ..Settings::default() }
}

/// Every record of a store, read without an engine: whatever it does to them has not happened yet.
fn details(store: &Local) -> BTreeMap<RecordId, Detail> {
    let records = [rows(store, "r"), rows(store, "f")].concat();
    let detail = |(_, value): (Vec<u8>, Vec<u8>)| {
        let record = Record::decode(&value).unwrap();
        let work = store.get(&keys::work(record.id)).unwrap().expect("a record has its work");
        (record.id, Detail { record: record.into(), work: Work::decode(&work).unwrap().into() })
    };
    records.into_iter().map(detail).collect()
}

/// What was written is what is found: records with their work, triggers, history, names and deliveries.
fn holds_what_was_said(store: &Local, said: &Value) {
    let found = details(store);
    assert_eq!(found.len(), items(said, "records").len());
    for said in items(said, "records") {
        let id: RecordId = said["id"].as_str().unwrap().parse().unwrap();
        assert_says(&view::detail(&found[&id]).json(), said);
        if let Some(key) = said["key"].as_str() {
            let name = keys::name(said["org"].as_str().unwrap(), said["env"].as_str().unwrap(), key);
            assert_eq!(RecordId::decode(&store.get(&name).unwrap().unwrap()).unwrap(), id);
        }
    }
    let triggers: Vec<Trigger> =
        rows(store, "t").iter().map(|(_, value)| Trigger::decode(value).unwrap()).collect();
    assert_eq!(triggers.len(), items(said, "triggers").len());
    for said in items(said, "triggers") {
        let found = triggers.iter().find(|trigger| trigger.id.to_string() == said["id"]).unwrap();
        assert_says(&view::trigger_with_payload(found).json(), said);
        let Some(dedup) = &found.dedup else { continue };
        let delivery = store.get(&keys::delivery(&found.source, dedup)).unwrap().unwrap();
        assert_eq!(TriggerId::decode(&delivery).unwrap(), found.id);
    }
    let step = |(sequence, event): (u64, Vec<u8>)| {
        view::transition(sequence, &Transition::decode(&event).unwrap()).json()
    };
    let steps: Vec<Value> = store.history().read(0, 10_000).unwrap().into_iter().map(step).collect();
    assert_eq!(steps.len(), items(said, "history").len());
    for said in items(said, "history") {
        assert!(steps.iter().any(|found| says(found, said)), "the history lost {said:#}");
    }
}

#[test]
fn a_store_of_the_oldest_format_holds_what_its_own_build_said() {
    let (dir, said) = copy_of("store-v1");
    let format = || fs::read_to_string(dir.path().join("format")).unwrap();
    let (was, store) = (format(), local(dir.path()));
    assert_eq!([&was, &format()].map(|format| &format[..8]), ["dwell 1 ", "dwell 2 "]);
    assert_eq!(format()[8..16], was[8..16], "the seed is its own for ever");
    for kind in ["r", "f", "p", "t", "u"] {
        let rows = rows(&store, kind);
        assert!(
            !rows.is_empty() && rows.iter().all(|(_, value)| value[0] == 1),
            "{kind} is not of version 1"
        );
    }
    let states: BTreeSet<&str> =
        items(&said, "records").iter().map(|record| record["state"].as_str().unwrap()).collect();
    let all = StateName::ALL.iter().map(|state| state.as_str()).filter(|state| *state != "draining");
    assert_eq!(states, all.collect(), "a fixture has every state that a kill leaves");
    holds_what_was_said(&store, &said);

    let now = moment(&said["status"]["now"]);
    let mut at = At::open(store, settings(&said), now);
    let active = items(&said, "records").iter().filter(|record| record["state"] == "active");
    let active: BTreeSet<String> = active.map(|record| record["id"].to_string().replace('"', "")).collect();
    let survivors: BTreeSet<String> = at.survivors.iter().map(|left| left.id.to_string()).collect();
    assert_eq!(survivors, active);
    assert!(at.survivors.iter().all(|left| left.attempt == 1 && left.child.is_some()));

    let answer = at.ask(now, Request::Runtimes);
    let Ok(Answer::Runtimes(found)) = answer else { panic!("{answer:?}") };
    for said in items(&said, "runtimes") {
        let found = found.iter().find(|runtime| said["name"] == *runtime.runtime.name).unwrap();
        let mut said = said.clone();
        // What was outstanding is queued: it is asked after the first tick began.
        let interrupted = said["outstanding"].take();
        said["queued"] = (said["queued"].as_u64().unwrap() + interrupted.as_u64().unwrap()).into();
        said["outstanding"] = 0.into();
        assert_says(&view::runtime(found, now).json(), &said);
    }
    let answer = at.ask(now, Request::Status);
    let Ok(Answer::Status(found)) = answer else { panic!("{answer:?}") };
    let was = &said["status"];
    for (what, found) in [("admitted", found.admitted), ("attempts_started", found.attempts_started - 2)] {
        assert_eq!(was[what].as_u64(), Some(found), "{what}");
    }
}

#[test]
fn work_goes_on_in_a_store_of_the_oldest_format() {
    let (dir, said) = copy_of("store-v1");
    let start = moment(&said["status"]["now"]);
    let mut at = At::open(local(dir.path()), settings(&said), start);
    at.records(start);
    let interrupted: BTreeSet<(RecordId, u32)> = at.survivors.iter().map(|left| (left.id, 2)).collect();
    assert_eq!(
        at.started.iter().copied().collect::<BTreeSet<_>>(),
        interrupted,
        "they start again, no other"
    );

    // Each waits until its deadline, to the millisecond, and then goes on.
    let mut waits: Vec<(Time, RecordId)> = Vec::new();
    for record in items(&said, "records") {
        if ["rate_limited", "backoff"].contains(&record["state"].as_str().unwrap()) {
            waits.push((moment(&record["deadline"]), record["id"].as_str().unwrap().parse().unwrap()));
        }
    }
    waits.sort();
    assert_eq!(waits.len(), 5);
    for (deadline, id) in waits {
        let before = at.records(Time::from_millis(deadline.millis() - 1));
        assert_eq!(before[&id].deadline(), Some(deadline));
        at.records(deadline);
        let after = at.records(deadline);
        assert_eq!(after[&id].state.name(), StateName::Active, "{id} at {deadline:?}");
        assert_eq!(after[&id].attempt, before[&id].attempt + 1);
    }

    // Budgets, keys and deliveries mean what they meant.
    let now = at.now();
    let keyed = items(&said, "records").iter().find(|record| record["key"] == "works").unwrap();
    let id: RecordId = keyed["id"].as_str().unwrap().parse().unwrap();
    let answer = at.ask(now, Request::Charge { id, attempt: 2, calls: 17 });
    let Ok(Answer::Charged(Some(meter))) = answer else { panic!("{answer:?}") };
    assert_eq!((meter.used, meter.limit), (20, Some(20)), "3 were used before");
    let action = Action::Command { argv: vec!["true".into()], cwd: None };
    let again = Submission::of(RecordId::session(1 << 100), "shell".into(), Work::of(action));
    let again = Submission { key: Some("works".into()), ..again };
    let answer = at.ask(now, Request::Submit(Box::new(again)));
    let Ok(Answer::Admitted { detail, duplicate: true }) = answer else { panic!("{answer:?}") };
    assert_eq!(detail.record.id, id);

    let running = std::mem::take(&mut at.started);
    assert_eq!(running.len(), 7, "two were interrupted, five waited");
    for (id, attempt) in running {
        let report = Report::Succeeded { result: None };
        let answer = at.ask(now, Request::Report { id, attempt, report });
        let Ok(Answer::Record(record)) = answer else { panic!("{answer:?}") };
        assert_eq!(record.state, State::Completed { at: now });
    }
    let left = at.records(now);
    drop(at);

    let store = local(dir.path());
    let found = details(&store);
    assert_eq!(found.keys().collect::<Vec<_>>(), left.keys().collect::<Vec<_>>());
    for (id, detail) in &found {
        assert_eq!(*detail.record, left[id], "found again as it was left");
    }
    let version = |kind| rows(&store, kind).iter().map(|(_, value)| value[0]).collect::<BTreeSet<u8>>();
    assert_eq!(version("f"), [1, 2].into(), "what moved is of the newest version");
    assert_eq!(version("p"), [1].into(), "what did not move stays as it was");
}

/// Every kind of key, at the version that was the newest when the store was written.
#[test]
fn a_store_of_version_2_holds_what_its_own_build_said() {
    holds_every_kind("store-v2");
}

/// The same, with packs in its table.
#[test]
fn a_store_of_format_2_holds_what_its_own_build_said() {
    holds_every_kind("store-format-2");
    let (dir, _) = copy_of("store-format-2");
    let table = sled::Config::new().path(dir.path().join("table")).open().unwrap();
    let works = table.open_tree("p").unwrap();
    assert!(works.iter().values().any(|value| value.unwrap()[0] == 0), "it has packs");
}

fn holds_every_kind(name: &str) {
    let fixture = fixture(name);
    if std::env::var_os(WRITE_NEW).is_some() && !fixture.exists() {
        write(&fixture);
    }
    let (dir, mut said) = copy_of(name);
    let store = local(dir.path());
    let kinds: BTreeSet<char> = rows(&store, "").iter().map(|(key, _)| char::from(key[0])).collect();
    assert_eq!(kinds, "abcfikmnoprstuv".chars().collect());
    for (kind, version) in
        [("r", 2), ("p", 2), ("u", 2), ("t", 2), ("b\x01", 2), ("b\x02", 2), ("o", 1), ("v", 1)]
    {
        let rows = rows(&store, kind);
        assert!(!rows.is_empty() && rows.iter().all(|(_, value)| value[0] == version), "{kind:?}");
    }
    let states: BTreeSet<&str> =
        items(&said, "records").iter().map(|record| record["state"].as_str().unwrap()).collect();
    assert_eq!(states, StateName::ALL.iter().map(|state| state.as_str()).collect());
    holds_what_was_said(&store, &said);

    // What is not outstanding is as it was, and so is all around it.
    let now = moment(&said["now"]);
    let mut at = At::open(store, filled::settings(), now);
    let found = filled::said(&mut at, now);
    said["drains"][0]["outstanding"] = 0.into();
    for what in ["triggers", "drains", "redrives", "upcoming", "groups"] {
        for (found, said) in items(&found, what).iter().zip(items(&said, what)) {
            assert_says(found, said);
        }
        assert_eq!(items(&found, what).len(), items(&said, what).len(), "{what}");
    }
    let Ok(Answer::Told(told)) = at.ask(now, filled::once()) else { panic!("nothing was told") };
    assert_eq!((told.again, told.body), (true, b"paused".to_vec()));
}

/// Writes a fixture, small enough to be kept: without the zeros that files of the journal and of sled end in, but for
/// some that may be of what is there, and without what sled notes of its own log.
fn write(fixture: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let said = filled::fill(dir.path());
    copy(dir.path(), fixture);
    fs::remove_file(fixture.join("lock")).unwrap();
    for folder in ["journal", "table"] {
        for path in fs::read_dir(fixture.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            if path.file_stem().is_some_and(|stem| stem == "snap") {
                fs::remove_file(path).unwrap();
            } else if path.is_file() {
                let mut bytes = fs::read(&path).unwrap();
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.truncate(used + 16);
                fs::write(path, bytes).unwrap();
            }
        }
    }
    fs::write(fixture.join("said.json"), serde_json::to_string_pretty(&said).unwrap() + "\n").unwrap();
}
