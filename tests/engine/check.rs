//! `dwell check` by what rows mean: whatever an engine writes is clean, whatever disagrees is found, and what can be put
//! right is clean afterwards and opens.

use std::collections::BTreeMap;
use std::time::Duration;

use dwell::engine::check::{Contents, check};
use dwell::engine::{Request, Settings};
use dwell::model::StateName::{Active, Backoff, Completed, DeadLettered, Queued};
use dwell::model::*;
use dwell::store::local::check::Watch;
use dwell::store::{Backend, Batch, Direction, Findings, Memory, Stored, Tally, Told, keys};

use super::common::{Dice, World};

/// Random lives whose rows are checked on the way; `DWELL_CHECK_SEEDS=10000` runs more.
const SEEDS: u64 = 20;
const LINES: u64 = 120;
const LINES_PER_CHECK: u64 = 4;

struct Nobody;

impl Watch for Nobody {
    fn progress(&mut self, _line: &str) {}
    fn event(&mut self, _sequence: u64, _bytes: &[u8], _findings: &mut Findings) {}
}

fn checked(disk: &dyn Backend, settings: &Settings) -> (Findings, Contents) {
    let mut findings = Findings::default();
    let contents = check(disk, &settings.policy, &mut Nobody, &mut findings).unwrap();
    (findings, contents)
}

fn words(findings: &Findings) -> Vec<String> {
    findings.kept().iter().map(|found| format!("{}: {}", found.place, found.what)).collect()
}

/// A line of a script about one of the latest records, or the next one.
fn line(dice: &mut Dice, made: &mut u64) -> String {
    let name = format!("n{}", made.saturating_sub(dice.roll(8)));
    let attempt = dice.roll(4);
    let option = dice.of(&[
        "",
        "key=k1",
        "key=k2 org=o",
        "budget=2",
        "expires=1h",
        "flow=f model=m",
        "worker=q runtime=shell",
        "flow=f group=g newest",
        "runtime=shell wall=1h",
        "silence=10m attempts=2",
    ]);
    let report = dice.of(&[
        "spawned",
        "spawned s1",
        "heartbeat",
        "session s2",
        "usage 0.4 5t",
        "succeeded",
        "failed",
        "timed_out",
        "throttled",
        "unavailable",
        "rate_limited +1h",
        "rate_limited",
        "rate_limited +900h",
        "limit_warning +1h",
        "limit_cleared",
        "invalid",
        "ingestion_failed",
        "needs_operator",
        "not_resumable",
        "charge 1",
    ]);
    let span = dice.of(&["1s", "1m", "1h", "9h", "200h"]);
    match dice.roll(16) {
        0..3 => {
            *made += 1;
            format!("submit n{made} {option}")
        }
        3..8 => format!("{name}/{attempt} {report}"),
        8 | 9 => format!("+{span}"),
        10 => format!("{} {name}", dice.of(&["cancel", "resume", "redrive"])),
        11 => format!("claim me q max=2 lease={span}"),
        12 => dice.of(&["drain org:o +30s", "undrain org:o", "pause shell +1h", "open shell"]).to_owned(),
        13 => {
            *made += 1;
            format!("once {} submit n{made}", dice.of(&["x", "y"]))
        }
        14 => {
            *made += 1;
            format!("trigger t{made} f g")
        }
        _ => dice.of(&["crash", "pace 10/s", "drain all", "undrain all"]).to_owned(),
    }
}

fn world() -> World {
    World::with(Settings {
        runtimes: BTreeMap::from([("claude".into(), 2), ("shell".into(), 8)]),
        retention: Duration::from_secs(150 * 3600),
        ..Settings::default()
    })
}

#[test]
fn whatever_an_engine_writes_is_clean() {
    let seeds = std::env::var("DWELL_CHECK_SEEDS").ok().map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let (mut records, mut purged) = (BTreeMap::new(), 0);
    for seed in 0..seeds {
        let (mut dice, mut world) = (Dice(seed), world());
        let (mut story, mut made) = (Vec::new(), 0);
        for nth in 1..=LINES {
            let line = line(&mut dice, &mut made);
            let said = world.does(&line);
            story.push(format!("{line} -> {said}"));
            if nth % LINES_PER_CHECK > 0 {
                continue;
            }
            let (findings, contents) = checked(&world.disk, &world.settings);
            assert_eq!(words(&findings), [""; 0], "seed {seed}:\n{}", story.join("\n"));
            assert!(contents.fixes.is_empty());
            for (state, count) in contents.records {
                *records.entry(state).or_insert(0) += count;
            }
        }
        let tally = world.disk.get(&keys::meta("tally")).unwrap();
        purged += tally.map_or(0, |row| Tally::decode(&row).unwrap().purged);
    }
    assert_eq!(records.len(), StateName::ALL.len(), "{records:?}");
    assert!(purged > 0, "nothing was ever purged");
}

/// A store with rows of every kind that others depend on.
fn full() -> Memory {
    let mut world = world();
    for line in [
        "submit a key=k",
        "submit b budget=2",
        "submit c worker=q runtime=shell",
        "submit d runtime=shell",
        "submit e runtime=shell",
        "submit f",
        "a/1 session s1",
        "a/1 usage 0.4",
        "b/1 charge 2",
        "b/1 rate_limited +1h",
        "a/1 succeeded",
        "cancel f",
        "+1h",
        "d/1 invalid",
        "e/1 failed",
        "claim me q lease=1h",
        "trigger t g",
        "once x submit h",
        "submit i",
        "submit j",
    ] {
        world.does(line);
    }
    let mut request = world.trigger("late", &["f"]);
    if let Request::Trigger { runs, .. } = &mut request {
        let quiet = Duration::from_secs(60);
        runs[0].debounce = Some(Debounce { key: "k".into(), quiet, max: quiet });
    }
    world.tick(vec![request]).unwrap();
    let mut told = Batch::default();
    told.put(keys::told(world.id("a")), Told { cost: 7 }.encode());
    world.disk.commit(told).unwrap();
    assert_eq!(words(&checked(&world.disk, &world.settings).0), [""; 0]);
    world.disk
}

fn rows(disk: &Memory) -> Vec<(Vec<u8>, Vec<u8>)> {
    disk.scan(&[], &[255; 100], Direction::Ascending, usize::MAX).unwrap()
}

fn of(rows: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Memory {
    let mut disk = Memory::new();
    disk.commit(Batch { writes: rows, events: Vec::new() }).unwrap();
    disk
}

/// The store with one row changed.
fn with(disk: &Memory, key: &[u8], value: Option<Vec<u8>>) -> Memory {
    let mut writes: Vec<_> = rows(disk).into_iter().map(|(key, value)| (key, Some(value))).collect();
    writes.push((key.to_vec(), value));
    of(writes)
}

#[test]
fn a_row_that_is_gone_is_found_and_put_right_if_nothing_is_lost() {
    let whole = full();
    let mut outcomes: BTreeMap<char, Vec<&str>> = BTreeMap::new();
    for (key, _) in rows(&whole) {
        let mut disk = with(&whole, &key, None);
        let (findings, contents) = checked(&disk, &Settings::default());
        let batch = Batch {
            writes: contents.fixes.into_iter().map(|fix| (fix.key, fix.new)).collect(),
            events: Vec::new(),
        };
        disk.commit(batch).unwrap();
        let left = checked(&disk, &Settings::default()).0;
        let outcome = match (findings.faults(), left.faults()) {
            (0, 0) => "not needed",
            (_, 0) => "put right",
            (_, _) => "told",
        };
        let outcomes = outcomes.entry(key[0].into()).or_default();
        if !outcomes.contains(&outcome) {
            outcomes.push(outcome);
        }
    }
    let expected = BTreeMap::from([
        // Its answer goes with its time, and the reverse.
        ('a', vec!["put right"]),
        // All three go.
        ('b', vec!["put right"]),
        ('c', vec!["not needed"]),
        ('f', vec!["put right"]),
        ('i', vec!["put right"]),
        ('m', vec!["put right"]),
        // The second is a delivery.
        ('n', vec!["put right"]),
        ('p', vec!["told"]),
        // The run of a trigger that is still there is missed, the others are not.
        ('r', vec!["put right", "told"]),
        ('t', vec!["put right"]),
        ('u', vec!["not needed"]),
    ]);
    assert_eq!(outcomes, expected);
}

#[test]
fn a_value_that_does_not_decode_is_damage_and_left_alone() {
    let whole = full();
    for (key, value) in rows(&whole).into_iter().filter(|(_, value)| !value.is_empty()) {
        for (broken, why) in [([&[9], &value[1..]].concat(), "layout version 9"), (value[..1].to_vec(), "")] {
            let (findings, contents) = checked(&with(&whole, &key, Some(broken)), &Settings::default());
            let words = words(&findings);
            assert!(!words.is_empty() && words.iter().any(|words| words.contains(why)), "{key:?}: {words:?}");
            assert!(contents.fixes.iter().all(|fix| fix.key != key), "{key:?}: {words:?}");
        }
    }
}

fn key(record: &mut Record, key: &str) {
    record.terms = Terms { key: Some(key.to_owned()), ..Terms::clone(&record.terms) }.into();
}

#[test]
fn what_must_always_be_true_is_told_where_it_is_not() {
    let whole = full();
    let find = |state: StateName| {
        let records = rows(&whole).into_iter().filter(|(key, _)| [b'r', b'f'].contains(&key[0]));
        let mut records = records.map(|(key, value)| (key, Record::decode(&value).unwrap()));
        records.find(|(_, record)| record.state.name() == state).unwrap()
    };
    let now = Tally::decode(&whole.get(&keys::meta("tally")).unwrap().unwrap()).unwrap().now;
    let later = now.after(Duration::from_secs(1));
    let check = |state: StateName, change: &dyn Fn(&mut Record), expected: &str| {
        let (key, mut record) = find(state);
        change(&mut record);
        let disk = with(&whole, &key, Some(record.encode()));
        let words = words(&checked(&disk, &Settings::default()).0);
        assert!(words.iter().any(|words| words.ends_with(expected)), "{expected:?} is not in {words:#?}");
    };
    check(Active, &|record| record.created_at = later, "it was admitted after the store's time");
    check(Active, &|record| record.updated_at = Time::ZERO, "it changed before it was admitted");
    check(Active, &|record| record.started_at = Some(later), "its attempt started after the store's time");
    check(
        Active,
        &|record| record.attempt = 0,
        "it is in a state that only an attempt leads to, and has made none",
    );
    check(Active, &|record| record.order = 3, "another record has its place 3 in the queue");
    check(Active, &|record| record.id = RecordId::session(7), "it holds ses_00000000000000000000000007");
    check(
        Active,
        &|record| {
            let used_up = Meter { used: 21, limit: Some(20), soft: None };
            record.budget = Budget::default().with(Measure::Calls, used_up);
        },
        "it used 21 of 20 calls",
    );
    check(
        Active,
        &|record| {
            record.state = State::Active { lease_until: later, ends_at: now, child: None };
        },
        "its lease is longer than its attempt may be",
    );
    check(
        Backoff,
        &|record| record.state = State::Backoff { until: Time::MAX, streak: Streak::Failed },
        "is further away than 11m; `dwell resume` ends the wait",
    );
    check(
        Backoff,
        &|record| record.streaks = Streaks::from_counts([9, 0, 0, 0, 0, 0]),
        "it failed more often in a row than it may",
    );
    check(
        Backoff,
        &|record| record.state = State::Completed { at: now },
        "it is completed and still among the live ones",
    );
    check(Backoff, &|record| record.shadow = true, "it is a shadow and not over");
    check(
        DeadLettered,
        &|record| record.streaks = Streaks::from_counts([1, 0, 0, 0, 0, 0]),
        "it ended and still counts a streak",
    );
    check(
        DeadLettered,
        &|record| record.state = State::DeadLettered { at: later, cause: Cause::Lost },
        "it ended after the store's time",
    );
    check(
        Completed,
        &|record| record.state = State::Queued { lane: Lane::Ready },
        "it is queued and among the finished ones",
    );
    check(Completed, &|record| key(record, "other"), "so its record would be made twice");
    check(Queued, &|record| key(record, "k"), "its name \"k\" leads to another record");
    check(
        Queued,
        &|record| {
            (record.state, record.attempt) = (State::Queued { lane: Lane::Burst }, 1);
        },
        "it has started and is in the burst lane",
    );
    let unknown = with(&whole, b"zzz", Some(vec![1]));
    let words = words(&checked(&unknown, &Settings::default()).0);
    assert_eq!(words, ["row of the unknown kind 'z': zz: this build does not know what it is"]);
}
