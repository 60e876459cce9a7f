//! The tables of bad ends and of the burst gate, a script a row, on a whole engine; and what they promise together.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dwell::engine::Outcome::{self, Mollify, PassThrough, ShadowLog};
use dwell::engine::{Answer, Org, Request, Settings, Switches};

use super::common::{self, World, check, check_in};

/// What a report does at its n-th time in a row, for every report that is a bad end: wait, what counts, when dead.
const BAD_ENDS: [&str; 9] = [
    // throttled: 30 s, dead at 5 in a row.
    "submit a      -> a queued, a active/1, start a/1 Original
         a/1 throttled -> a backoff +30s, stop a/1
         +30s          -> a queued, a active/2, start a/2 Original
         a/2 throttled -> a backoff +30s, stop a/2
         +30s          -> a queued, a active/3, start a/3 Original
         a/3 throttled -> a backoff +30s, stop a/3
         +30s          -> a queued, a active/4, start a/4 Original
         a/4 throttled -> a backoff +30s, stop a/4
         show a        -> backoff/4, 4 in a row
         +30s          -> a queued, a active/5, start a/5 Original
         a/5 throttled -> a dead_lettered, stop a/5
         show a        -> dead_lettered throttled/5, 0 in a row
         +24h step     ->",
    // timed_out: no wait, dead at 3 in a row.
    "submit a      -> a queued, a active/1, start a/1 Original
         a/1 timed_out -> a queued, a active/2, stop a/1, start a/2 Original
         a/2 timed_out -> a queued, a active/3, stop a/2, start a/3 Original
         a/3 timed_out -> a dead_lettered, stop a/3
         show a        -> dead_lettered timed_out/3, 0 in a row",
    // failed: 30 s doubling, dead at retry.attempts.
    "submit a   -> a queued, a active/1, start a/1 Original
         a/1 failed -> a backoff +30s, stop a/1
         +30s       -> a queued, a active/2, start a/2 Original
         a/2 failed -> a backoff +1m, stop a/2
         +1m        -> a queued, a active/3, start a/3 Original
         a/3 failed -> a backoff +2m, stop a/3
         +2m        -> a queued, a active/4, start a/4 Original
         a/4 failed -> a backoff +4m, stop a/4
         +4m        -> a queued, a active/5, start a/5 Original
         a/5 failed -> a dead_lettered, stop a/5
         show a     -> dead_lettered attempts_exhausted/5, 0 in a row",
    // ingestion_failed: 30 s, dead at 5 in a row of its own.
    "submit a             -> a queued, a active/1, start a/1 Original
         a/1 ingestion_failed -> a backoff +30s, stop a/1
         +30s                 -> a queued, a active/2, start a/2 Original
         a/2 failed           -> a backoff +30s, stop a/2
         +30s                 -> a queued, a active/3, start a/3 Original
         a/3 ingestion_failed -> a backoff +30s, stop a/3
         +30s                 -> a queued, a active/4, start a/4 Original
         a/4 ingestion_failed -> a backoff +30s, stop a/4
         +30s                 -> a queued, a active/5, start a/5 Original
         a/5 ingestion_failed -> a backoff +30s, stop a/5
         +30s                 -> a queued, a active/6, start a/6 Original
         a/6 ingestion_failed -> a dead_lettered, stop a/6
         show a               -> dead_lettered ingestion_failed/6, 0 in a row",
    // invalid: dead at once.
    "submit a    -> a queued, a active/1, start a/1 Original
         a/1 invalid -> a dead_lettered, stop a/1
         show a      -> dead_lettered invalid/1, 0 in a row",
    // unavailable: 5 s doubling up to 5 min, never dead.
    "submit a        -> a queued, a active/1, start a/1 Original
         a/1 unavailable -> a backoff +5s, stop a/1
         +5s             -> a queued, a active/2, start a/2 Original
         a/2 unavailable -> a backoff +10s, stop a/2
         +10s            -> a queued, a active/3, start a/3 Original
         a/3 unavailable -> a backoff +20s, stop a/3
         +20s            -> a queued, a active/4, start a/4 Original
         a/4 unavailable -> a backoff +40s, stop a/4
         +40s            -> a queued, a active/5, start a/5 Original
         a/5 unavailable -> a backoff +1m 20s, stop a/5
         +80s            -> a queued, a active/6, start a/6 Original
         a/6 unavailable -> a backoff +2m 40s, stop a/6
         +160s           -> a queued, a active/7, start a/7 Original
         a/7 unavailable -> a backoff +5m, stop a/7
         +5m             -> a queued, a active/8, start a/8 Original
         a/8 unavailable -> a backoff +5m, stop a/8",
    // rate_limited: until its reset, counted towards nothing.
    "submit a             -> a queued, a active/1, start a/1 Original
         a/1 rate_limited +5m -> a rate_limited +5m, stop a/1
         show a               -> rate_limited/1, 0 in a row
         +4m59s               ->
         +1s                  -> a queued, a active/2, start a/2 Original",
    // needs_operator: dead at once.
    "submit a           -> a queued, a active/1, start a/1 Original
         a/1 needs_operator -> a dead_lettered, stop a/1
         show a             -> dead_lettered needs_operator/1, 0 in a row",
    // unknown type: as failed.
    "submit a    -> a queued, a active/1, start a/1 Original
         a/1 unheard -> a backoff +30s, stop a/1
         +30s        -> a queued, a active/2, start a/2 Original
         a/2 unheard -> a backoff +1m, stop a/2
         +1m         -> a queued, a active/3, start a/3 Original
         a/3 unheard -> a backoff +2m, stop a/3
         +2m         -> a queued, a active/4, start a/4 Original
         a/4 unheard -> a backoff +4m, stop a/4
         +4m         -> a queued, a active/5, start a/5 Original
         a/5 unheard -> a dead_lettered, stop a/5
         show a      -> dead_lettered attempts_exhausted/5, 0 in a row",
];

#[test]
fn every_bad_end_waits_counts_and_ends_as_its_row_says() {
    for script in BAD_ENDS {
        check(script);
        // The same over a restart after every line.
        let mut world = World::new();
        for line in script.lines() {
            check_in(&mut world, line);
            if !line.contains("start") {
                check_in(&mut world, "crash ->");
            }
        }
    }
}

#[test]
fn an_unheard_report_keeps_its_text() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a    -> a queued, a active/1, start a/1 Original
         a/1 unheard -> a backoff +30s, stop a/1",
    );
    let id = world.id("a");
    let (answers, _) = world.tick(vec![Request::Get { id }]).unwrap();
    let Ok(Answer::Detail(detail)) = &answers[0] else { panic!("{answers:?}") };
    let fault = detail.record.last_error.as_ref().unwrap();
    assert_eq!(fault.code, "unknown_report");
    assert!(fault.message.contains("unheard") && fault.message.contains("raw words"), "{fault:?}");
}

/// Enabled, shadow, org flag; the outcome of a trigger within the rate and of one beyond it.
const GATE: [([Option<bool>; 3], [Outcome; 2]); 5] = [
    ([Some(false), None, None], [PassThrough, PassThrough]),
    ([Some(true), Some(false), Some(false)], [PassThrough, PassThrough]),
    ([Some(true), Some(true), Some(false)], [PassThrough, ShadowLog]),
    ([Some(true), Some(false), Some(true)], [PassThrough, Mollify]),
    ([Some(true), Some(true), Some(true)], [PassThrough, Mollify]),
];

#[test]
fn the_gate_decides_as_its_row_says_and_once_for_each_trigger() {
    let any = |given: Option<bool>| given.map_or(vec![false, true], |given| vec![given]);
    for ([enabled, shadow, flag], outcomes) in GATE {
        for (enabled, shadow, flag) in any(enabled).into_iter().flat_map(|enabled| {
            any(shadow)
                .into_iter()
                .flat_map(move |shadow| any(flag).into_iter().map(move |flag| (enabled, shadow, flag)))
        }) {
            let mut settings =
                Settings { runtimes: BTreeMap::from([("claude".into(), 0)]), ..Settings::default() };
            settings.burst.switches = Switches { enabled, shadow };
            settings.burst.rate.threshold = 1;
            settings.orgs = BTreeMap::from([("default".into(), Org { burst: flag, ..Org::default() })]);
            let mut world = World::with(settings);
            assert_eq!([1, 2].map(|n| outcome(&mut world, n)), outcomes, "{enabled} {shadow} {flag}");
            let (answers, _) = world.tick(vec![Request::Status]).unwrap();
            let Ok(Answer::Status(status)) = &answers[0] else { panic!("{answers:?}") };
            assert_eq!(status.burst.decisions.values().sum::<u64>(), 2, "one decision for each trigger");
        }
    }
}

fn outcome(world: &mut World, n: u128) -> Outcome {
    let run = world.submission(&n.to_string(), &[]);
    let trigger = common::trigger(n, world.now);
    let asked = Request::Trigger { trigger: Box::new(trigger), runs: vec![run], spool: false };
    let (answers, _) = world.tick(vec![asked]).unwrap();
    let Ok(Answer::Triggered(triggered)) = &answers[0] else { panic!("{answers:?}") };
    triggered.outcome
}

#[test]
fn a_success_clears_what_was_counted_so_eight_attempts_with_seven_throttles_are_alive() {
    // A success finishes a record, so what goes on after it is its rerun.
    let mut script = String::from("submit a -> a queued, a active/1, start a/1 Original\n");
    throttles(&mut script, "a", 1..=3);
    script.push_str(
        "a/4 succeeded -> a completed, stop a/4\nrerun a b -> b queued, b active/1, start b/1 Original\n",
    );
    throttles(&mut script, "b", 1..=4);
    script.push_str("show b -> active/5, 4 in a row");
    check(&script);
}

#[test]
fn a_hundred_times_unavailable_is_alive_and_then_five_throttles_are_dead() {
    let mut settings = World::new().settings;
    settings.policy.unavailable.max = Duration::from_secs(5);
    let mut script = String::from("submit a -> a queued, a active/1, start a/1 Original\n");
    for n in 1..=100 {
        let m = n + 1;
        write!(
            script,
            "a/{n} unavailable -> a backoff +5s, stop a/{n}\n+5s -> a queued, a active/{m}, start a/{m} Original\n"
        )
        .unwrap();
    }
    throttles(&mut script, "a", 101..=104);
    script.push_str(
        "a/105 throttled -> a dead_lettered, stop a/105\nshow a -> dead_lettered throttled/105, 0 in a row",
    );
    check_in(&mut World::with(settings), &script);
}

/// Each of these attempts is throttled and the next one starts.
fn throttles(script: &mut String, name: &str, attempts: std::ops::RangeInclusive<u32>) {
    for n in attempts {
        let m = n + 1;
        write!(
            script,
            "{name}/{n} throttled -> {name} backoff +30s, stop {name}/{n}
             +30s -> {name} queued, {name} active/{m}, start {name}/{m} Original\n"
        )
        .unwrap();
    }
}

#[test]
fn four_neighbours_of_a_poisoned_record_complete_while_it_dies() {
    check(
        "submit a      -> a queued, a active/1, start a/1 Original
         submit b      -> b queued, b active/1, start b/1 Original
         submit c      -> c queued
         submit d      -> d queued
         submit e      -> e queued
         a/1 throttled -> a backoff +30s, c active/1, stop a/1, start c/1 Original
         b/1 succeeded -> b completed, d active/1, stop b/1, start d/1 Original
         +30s          -> a queued
         c/1 succeeded -> c completed, a active/2, start a/2 Original, stop c/1
         a/2 throttled -> a backoff +30s, e active/1, stop a/2, start e/1 Original
         d/1 succeeded -> d completed, stop d/1
         e/1 succeeded -> e completed, stop e/1
         +30s          -> a queued, a active/3, start a/3 Original
         a/3 throttled -> a backoff +30s, stop a/3
         +30s          -> a queued, a active/4, start a/4 Original
         a/4 throttled -> a backoff +30s, stop a/4
         +30s          -> a queued, a active/5, start a/5 Original
         a/5 throttled -> a dead_lettered, stop a/5",
    );
}

#[test]
fn a_record_in_backoff_holds_up_no_other_and_goes_at_exactly_its_time() {
    let mut settings = World::new().settings;
    settings.policy.retry.curve.first = Duration::from_secs(300);
    settings.runtimes = BTreeMap::from([("claude".into(), 1)]);
    check_in(
        &mut World::with(settings),
        "submit a   -> a queued, a active/1, start a/1 Original
         submit b   -> b queued
         a/1 failed -> a backoff +5m, b active/1, stop a/1, start b/1 Original
         submit c   -> c queued
         b/1 succeeded -> b completed, c active/1, stop b/1, start c/1 Original
         c/1 succeeded -> c completed, stop c/1
         +299s      ->
         +999ms     ->
         +1ms       -> a queued, a active/2, start a/2 Original",
    );
}

/// The same on a real PostgreSQL, held against memory at each step.
#[test]
fn on_postgresql_it_is_no_different() {
    common::twin::on_postgres(&[
        every_bad_end_waits_counts_and_ends_as_its_row_says,
        an_unheard_report_keeps_its_text,
        the_gate_decides_as_its_row_says_and_once_for_each_trigger,
        a_success_clears_what_was_counted_so_eight_attempts_with_seven_throttles_are_alive,
        a_hundred_times_unavailable_is_alive_and_then_five_throttles_are_dead,
        four_neighbours_of_a_poisoned_record_complete_while_it_dies,
        a_record_in_backoff_holds_up_no_other_and_goes_at_exactly_its_time,
    ]);
}
