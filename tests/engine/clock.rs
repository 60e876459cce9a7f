//! Clocks that jump: set back by an hour, forward by a year, and a weekend in which nothing ran.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dwell::engine::{DEADLINES_PER_TICK_MAX, Pacing, Request};
use dwell::model::*;

use super::common::{World, check_in};

/// The wall clock is set, and nothing else happens.
fn set_back(world: &mut World, by: Duration) {
    world.now = Time::from_millis(world.now.millis() - u64::try_from(by.as_millis()).unwrap());
}

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn a_clock_set_back_by_an_hour_makes_nothing_early_and_loses_nothing_also_over_a_crash() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a runtime=shell -> a queued, a active/1, start a/1 Original
         submit b runtime=shell silence=10m -> b queued, b active/1, start b/1 Original
         a/1 failed             -> a backoff +30s, stop a/1",
    );
    set_back(&mut world, HOUR);
    check_in(
        &mut world,
        "b/1 heartbeat          ->
         crash                  -> b/1 was outstanding, b queued, b active/2, stop b/1, start b/2 Original
         +59m59s                ->
         +30s                   ->
         +1s                    -> a queued, a active/2, start a/2 Original
         a/2 succeeded          -> a completed, stop a/2
         +9m29s                 ->
         +1s                    -> b queued, b active/3, stop b/2, start b/3 Original",
    );
}

#[test]
fn what_waits_while_the_clock_is_behind_waits_from_the_latest_moment_that_was_seen() {
    let mut world = World::new();
    check_in(&mut world, "submit a -> a queued, a active/1, start a/1 Original");
    set_back(&mut world, HOUR);
    check_in(
        &mut world,
        "a/1 failed -> a backoff +1h 30s, stop a/1
         +1h29s     ->
         +1s        -> a queued, a active/2, start a/2 Original",
    );
}

#[test]
fn a_clock_forward_by_a_year_resumes_who_waited_in_order_and_each_once() {
    let mut world = World::new();
    world.settings.pacing = [("shell".into(), Pacing { ramp: false, ..Pacing::default() })].into();
    check_in(
        &mut world,
        "crash                     ->
         submit c runtime=shell    -> c queued, c active/1, start c/1 Original
         submit a runtime=shell    -> a queued, a active/1, start a/1 Original
         submit b runtime=shell    -> b queued, b active/1, start b/1 Original
         c/1 spawned s             -> c active/1, release c/1
         a/1 spawned s             -> a active/1, release a/1
         b/1 spawned s             -> b active/1, release b/1
         c/1 rate_limited +3h      -> c rate_limited +3h, stop c/1
         a/1 rate_limited +1h      -> a rate_limited +1h, stop a/1
         b/1 rate_limited +2h      -> b rate_limited +2h, stop b/1
         submit d runtime=shell expires=24h -> d queued
         submit e runtime=shell    -> e queued
         +8760h                    -> a queued, b queued, c queued, d dead_lettered, c active/2, a active/2, b active/2, e active/1, start c/2 LimitReset, start a/2 LimitReset, start b/2 LimitReset, start e/1 Original
         crash                     -> c/2 was outstanding, a/2 was outstanding, b/2 was outstanding, e/1 was outstanding, c queued, a queued, b queued, e queued, c active/3, a active/3, b active/3, e active/2, stop c/2, start c/3 Continue, stop a/2, start a/3 Continue, stop b/2, start b/3 Continue, stop e/1, start e/2 Original",
    );
}

#[test]
fn a_reset_a_year_away_strands_nobody() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a                 -> a queued, a active/1, start a/1 Original
         a/1 rate_limited +8760h  -> a rate_limited +8days, stop a/1
         +191h                    ->
         +1h                      -> a queued, a active/2, start a/2 Original",
    );
}

const RECORDS: u32 = 10_000;
const ORGS: u32 = 5;
const AT_ONCE: u32 = 100;

/// One of many: the orgs take turns by number.
fn one(number: u32) -> Submission {
    let action = Action::Command { argv: vec!["true".to_owned()], cwd: None };
    let id = RecordId::session(u128::from(number) + 1);
    Submission { org: org(number), ..Submission::of(id, "shell".into(), Work::of(action)) }
}

fn org(number: u32) -> Name {
    format!("o{}", number % ORGS).as_str().into()
}

/// So many records, all in backoff until one and the same moment.
fn ten_thousand_in_backoff() -> World {
    let mut settings = World::new().settings;
    settings.runtimes = [("shell".into(), RECORDS)].into();
    let mut world = World::with(settings);
    let numbers: Vec<u32> = (0..RECORDS).collect();
    for some in numbers.chunks(1_000) {
        let submits = some.iter().map(|number| Request::Submit(Box::new(one(*number))));
        world.tick(submits.collect()).unwrap();
    }
    for some in numbers.chunks(1_000) {
        let failed = |number: &u32| Request::Report {
            id: one(*number).id,
            attempt: 1,
            report: Report::Failed(Fault::new("exit_1", "words")),
        };
        world.tick(some.iter().map(failed).collect()).unwrap();
    }
    world.effects.clear();
    world
}

/// Whom the effects so far start, in order.
fn starts(world: &mut World) -> Vec<RecordId> {
    let mut started = Vec::new();
    for effect in std::mem::take(&mut world.effects) {
        if let Effect::Start(start) = effect {
            assert_eq!(start.attempt, 2, "{}", start.id);
            started.push(start.id);
        }
    }
    started
}

#[test]
fn ten_thousand_due_at_once_after_a_weekend_come_over_several_ticks_in_fair_order_and_each_once() {
    let mut world = ten_thousand_in_backoff();
    world.settings.runtimes = [("shell".into(), AT_ONCE)].into();
    world.engine = None;
    world.now = world.now.after(HOUR * 60);
    assert!(world.open().is_empty());

    let (mut requeued, mut ticks) = (0, 0);
    while requeued < RECORDS as usize {
        assert!(world.engine.as_ref().unwrap().next_wake().is_some_and(|at| at <= world.now));
        let (_, words) = world.tick(Vec::new()).unwrap();
        let now_due = words.matches(" queued").count();
        assert!((1..=DEADLINES_PER_TICK_MAX).contains(&now_due), "{now_due} in one tick");
        (requeued, ticks) = (requeued + now_due, ticks + 1);
    }
    assert_eq!(ticks, (RECORDS as usize).div_ceil(DEADLINES_PER_TICK_MAX));

    let mut running = starts(&mut world);
    let mut seen: BTreeSet<RecordId> = running.iter().copied().collect();
    let mut last: BTreeMap<u128, u128> = BTreeMap::new();
    while !running.is_empty() {
        assert!(running.len() <= AT_ONCE as usize, "{} at once", running.len());
        let mut turns: BTreeMap<u128, u32> = BTreeMap::new();
        for id in &running {
            let org = (id.ulid - 1) % u128::from(ORGS);
            *turns.entry(org).or_default() += 1;
            assert!(last.insert(org, id.ulid).is_none_or(|before| before < id.ulid), "{id} is out of order");
        }
        assert!(turns.values().all(|turns| *turns == AT_ONCE / ORGS), "{turns:?}");
        let report = |id: &RecordId| Request::Report {
            id: *id,
            attempt: 2,
            report: Report::Succeeded { result: None },
        };
        world.tick(running.iter().map(report).collect()).unwrap();
        running = starts(&mut world);
        assert!(running.iter().all(|id| seen.insert(*id)), "somebody started twice");
    }
    assert_eq!(seen.len(), RECORDS as usize);
}
