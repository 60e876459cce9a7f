//! Records, each with the rows that are its own: its work, its pointer once it is finished, its meter.

use std::time::Duration;

use super::cursor::{Cursor, Rows, first};
use super::{Checker, Contents};
use crate::model::{
    Action, Kind, Lane, Measure, Policy, Record, RecordId, State, Streak, Streaks, Time, Work,
};
use crate::store::{StoreError, Stored, Told, keys};

pub(super) fn check(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    finished(checker)?;
    let mut places = by_id(checker)?;
    places.sort_unstable();
    if places.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        shared_places(checker, &places)?;
    }
    Ok(())
}

/// Walks all kinds that have an id for a key side by side. Answers the places in the queue.
fn by_id(checker: &mut Checker<'_>) -> Result<Vec<u64>, StoreError> {
    let disk = checker.disk;
    let mut live = Cursor::new(Rows::small(disk, keys::all_live()), 1)?;
    let mut pointers = Cursor::new(Rows::small(disk, keys::all_pointers()), 1)?;
    let mut works = Cursor::new(Rows::large(disk, keys::all_work()), 1)?;
    let mut meters = Cursor::new(Rows::small(disk, keys::all_told()), 1)?;
    let mut places = Vec::new();
    while let Some(owner) = first(&[&live, &pointers, &works, &meters]) {
        let mut is_there = false;
        let mut record = None;
        if let Some(row) = live.take(&owner)? {
            let (key, value) = checker.count(row);
            is_there = true;
            record = live_record(checker, &key, &value)?;
            places.extend(record.as_ref().map(|record| record.order));
        }
        if let Some(row) = pointers.take(&owner)? {
            let (key, value) = checker.count(row);
            is_there |= pointer(checker, &key, value, is_there)?;
        }
        if !is_there && !checker.unpointed.is_empty() {
            let id = keys::live_id(&[b"r", owner.as_slice()].concat());
            is_there = id.is_some_and(|id| checker.unpointed.contains_key(&id));
        }
        match works.take(&owner)? {
            Some(row) => {
                let (key, value) = checker.count(row);
                work(checker, &key, value, is_there, record.as_ref());
            }
            None if is_there => {
                let key = [&b"p"[..], &owner].concat();
                checker.broken(&key, "it is missing, so no attempt can be started".to_owned());
            }
            None => {}
        }
        if let Some(row) = meters.take(&owner)? {
            let (key, value) = checker.count(row);
            if is_there {
                checker.decoded::<Told>(&key, &value);
            } else {
                checker.orphan(&key, value, "there is no such record");
            }
        }
    }
    Ok(places)
}

/// A row of `r`. Answers the record if it can be read.
fn live_record(checker: &mut Checker<'_>, key: &[u8], value: &[u8]) -> Result<Option<Record>, StoreError> {
    let Some(record) = checker.decoded::<Record>(key, value) else {
        checker.counted.unsure = true;
        return Ok(None);
    };
    checker.counted.add(&record);
    see(&mut checker.contents, &record);
    if keys::live(record.id) != key {
        checker.broken(key, format!("it holds {}", record.id));
    }
    if record.state.finished_at().is_some() {
        checker.broken(key, format!("it is {} and still among the live ones", record.state.name()));
    }
    for fault in faults(&record, checker.contents.now, checker.policy) {
        checker.broken(key, fault);
    }
    named(checker, key, &record)?;
    Ok(Some(record))
}

/// A row of `i`. Answers whether it leads to a record.
fn pointer(checker: &mut Checker<'_>, key: &[u8], value: Vec<u8>, is_live: bool) -> Result<bool, StoreError> {
    let (Some(id), Some(at)) = (keys::pointer_id(key), checker.decoded::<Time>(key, &value)) else {
        return Ok(true);
    };
    if checker.disk.get(&keys::finished(at, id))?.is_none() {
        checker.orphan(key, value, "there is no such record");
        return Ok(false);
    }
    if is_live {
        checker.broken(key, "the record is both live and finished".to_owned());
    }
    Ok(true)
}

/// A row of `p`.
fn work(checker: &mut Checker<'_>, key: &[u8], value: Vec<u8>, is_there: bool, record: Option<&Record>) {
    if !is_there {
        checker.orphan(key, value, "there is no such record");
        return;
    }
    let Some(work) = checker.decoded::<Work>(key, &value) else { return };
    let claimed_from = if let Action::Worker { queue } = work.action { Some(queue) } else { None };
    if record.is_some_and(|record| record.queue != claimed_from) {
        checker.broken(key, "it is for another queue of workers than its record".to_owned());
    }
}

/// Every row of `f`.
fn finished(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    for row in Rows::small(checker.disk, keys::all_finished()) {
        let (key, value) = checker.count(row?);
        let Some(record) = checker.decoded::<Record>(&key, &value) else {
            checker.counted.unsure = true;
            continue;
        };
        checker.counted.add(&record);
        see(&mut checker.contents, &record);
        let Some(at) = record.state.finished_at() else {
            checker.broken(&key, format!("it is {} and among the finished ones", record.state.name()));
            continue;
        };
        if keys::finished(at, record.id) != key {
            checker.broken(&key, format!("it holds {}, finished at {}", record.id, at.millis()));
            continue;
        }
        pointed(checker, &key, at, record.id)?;
        for fault in faults(&record, checker.contents.now, checker.policy) {
            checker.broken(&key, fault);
        }
        named(checker, &key, &record)?;
    }
    Ok(())
}

/// A finished record is found by its id.
fn pointed(checker: &mut Checker<'_>, key: &[u8], at: Time, id: RecordId) -> Result<(), StoreError> {
    let pointer = keys::pointer(id);
    match checker.disk.get(&pointer)? {
        None if checker.disk.get(&keys::live(id))?.is_some() => {
            checker.broken(key, "the record is both live and finished".to_owned());
        }
        None => {
            checker.unpointed.insert(id, at);
            checker.absent(&pointer, at.encode(), "it is missing, so the record is not found by its id");
        }
        Some(found) if found != at.encode() => {
            checker.broken(key, "its pointer names another time".to_owned());
        }
        Some(_) => {}
    }
    Ok(())
}

/// A record with a name is found by it.
fn named(checker: &mut Checker<'_>, key: &[u8], record: &Record) -> Result<(), StoreError> {
    // Runs are known by their trigger.
    let Some(own) = record.key.as_ref().filter(|_| record.kind() == Kind::Session) else { return Ok(()) };
    let name = keys::name(&record.org, &record.env, own);
    match checker.disk.get(&name)? {
        None => checker.absent(&name, record.id.encode(), "it is missing, so its record would be made twice"),
        Some(found) if found != record.id.encode() => {
            checker.broken(key, format!("its name {own:?} leads to another record"));
        }
        Some(_) => {}
    }
    Ok(())
}

/// Finds those who stand at the same place; only if there are any.
fn shared_places(checker: &mut Checker<'_>, places: &[u64]) -> Result<(), StoreError> {
    for row in Rows::small(checker.disk, keys::all_live()) {
        let (key, value) = row?;
        let Ok(record) = Record::decode(&value) else { continue };
        let first = places.partition_point(|place| *place < record.order);
        if places.get(first + 1) == Some(&record.order) {
            checker.broken(&key, format!("another record has its place {} in the queue", record.order));
        }
    }
    Ok(())
}

fn see(contents: &mut Contents, record: &Record) {
    let ended = record.state.finished_at();
    contents.latest = [Some(contents.latest), Some(record.created_at), record.started_at, ended]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or_default();
    *contents.records.entry(record.state.name()).or_default() += 1;
}

/// What is wrong with a record by itself.
fn faults(record: &Record, now: Time, policy: &Policy) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |is_wrong: bool, words: &str| {
        if is_wrong {
            faults.push(words.to_owned());
        }
    };
    fault(record.created_at > now, "it was admitted after the store's time");
    fault(record.updated_at < record.created_at, "it changed before it was admitted");
    fault(record.started_at.is_some_and(|at| at > now), "its attempt started after the store's time");
    fault(record.started_at.is_some() && record.attempt == 0, "it has a start and no attempt");
    match record.state {
        State::Queued { lane } => {
            fault(lane == Lane::Burst && record.attempt > 0, "it has started and is in the burst lane");
        }
        State::Active { lease_until, ends_at, .. } => {
            fault(lease_until > ends_at, "its lease is longer than its attempt may be");
        }
        State::Draining { .. } | State::RateLimited { .. } | State::Backoff { .. } => {}
        State::DeadLettered { at, .. } | State::Completed { at } | State::Cancelled { at } => {
            fault(at > now, "it ended after the store's time");
        }
    }
    let (ended, waits) = match record.state {
        State::DeadLettered { .. } | State::Completed { .. } => (true, false),
        State::Cancelled { .. } | State::Queued { .. } => (false, false),
        State::Active { .. } | State::Draining { .. } | State::RateLimited { .. } | State::Backoff { .. } => {
            (false, true)
        }
    };
    fault(waits && record.attempt == 0, "it is in a state that only an attempt leads to, and has made none");
    fault(ended && record.streaks != Streaks::default(), "it ended and still counts a streak");
    let failed = record.streaks.of(Streak::Failed);
    fault(failed > 0 && failed >= record.retry.attempts, "it failed more often in a row than it may");
    fault(record.shadow && !matches!(record.state, State::Completed { .. }), "it is a shadow and not over");
    for measure in [Measure::Calls, Measure::Attempts] {
        if let Some(meter) = record.budget.of(measure)
            && let Some(limit) = meter.limit.filter(|limit| meter.used > *limit)
        {
            faults.push(format!("it used {} of {limit} {measure}", meter.used));
        }
    }
    if let Some(longest) = longest(record, policy)
        && let Some(deadline) = record.deadline().filter(|at| *at > record.updated_at.after(longest))
    {
        faults.push(format!(
            "its deadline {} is further away than {}; `dwell resume` ends the wait",
            deadline.millis(),
            humantime::format_duration(longest)
        ));
    }
    faults
}

/// How far a deadline may be from the change that set it.
fn longest(record: &Record, policy: &Policy) -> Option<Duration> {
    let longer = |span: Duration, percent: u32| span.saturating_add(span.saturating_mul(percent) / 100);
    match record.state {
        State::Active { .. } | State::Draining { .. } => Some(record.timeouts.attempt),
        State::RateLimited { .. } => Some(policy.limits.max_wait.saturating_add(policy.limits.jitter)),
        State::Backoff { .. } => {
            let curves = [&record.retry.curve, &policy.resume, &policy.unavailable];
            let curves = curves.map(|curve| longer(curve.max.max(curve.first), curve.jitter_percent));
            curves.into_iter().chain([policy.throttled_wait, policy.ingestion_wait]).max()
        }
        State::Queued { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => None,
    }
}
