//! Concurrency groups on a whole engine over the memory backend and a manual clock.

use dwell::engine::{Answer, Request, Settings};
use dwell::model::{RecordId, Submission};

use super::common::{self, World, check, check_in};

#[test]
fn no_more_of_a_group_run_at_once_than_its_bound_and_the_oldest_goes_next() {
    check(
        "submit a group=g runtime=shell -> a queued, a active/1, start a/1 Original
         submit b group=g runtime=shell -> b queued
         submit c group=g runtime=shell -> c queued
         submit d group=h runtime=shell -> d queued, d active/1, start d/1 Original
         submit e runtime=shell         -> e queued, e active/1, start e/1 Original
         a/1 succeeded                  -> a completed, b active/1, stop a/1, start b/1 Original
         submit f group=g runtime=shell -> f queued
         b/1 invalid                    -> b dead_lettered, c active/1, stop b/1, start c/1 Original
         c/1 succeeded                  -> c completed, f active/1, stop c/1, start f/1 Original",
    );
}

#[test]
fn a_group_is_its_flow_s_own() {
    check(
        "submit a group=g flow=x runtime=shell -> a queued, a active/1, start a/1 Original
         submit b group=g flow=y runtime=shell -> b queued, b active/1, start b/1 Original
         submit c group=g runtime=shell        -> c queued, c active/1, start c/1 Original
         submit d group=g flow=x runtime=shell -> d queued",
    );
}

#[test]
fn a_bound_above_one_is_kept_over_a_crash() {
    check(
        "submit a group=g max=2 runtime=shell -> a queued, a active/1, start a/1 Original
         submit b group=g max=2 runtime=shell -> b queued, b active/1, start b/1 Original
         submit c group=g max=2 runtime=shell -> c queued
         crash                                -> a/1 was outstanding, b/1 was outstanding, a queued, b queued, a active/2, b active/2, stop a/1, start a/2 Original, stop b/1, start b/2 Original
         b/2 succeeded                        -> b completed, c active/1, stop b/2, start c/1 Original",
    );
}

#[test]
fn who_is_queued_anew_takes_no_place_from_one_of_its_group_that_is_before_it() {
    check(
        "submit a group=g runtime=shell -> a queued, a active/1, start a/1 Original
         submit b group=g runtime=shell -> b queued
         a/1 failed                     -> a backoff +30s, b active/1, stop a/1, start b/1 Original
         +30s                           -> a queued
         b/1 timed_out                  -> b queued, a active/2, start a/2 Original, stop b/1
         a/2 succeeded                  -> a completed, b active/2, stop a/2, start b/2 Original",
    );
}

#[test]
fn who_waits_for_a_deadline_holds_no_place_of_its_group() {
    check(
        "submit a group=g runtime=shell -> a queued, a active/1, start a/1 Original
         submit b group=g runtime=shell -> b queued
         a/1 failed                     -> a backoff +30s, b active/1, stop a/1, start b/1 Original
         +30s                           -> a queued
         submit c group=g runtime=shell -> c queued
         b/1 succeeded                  -> b completed, a active/2, start a/2 Original, stop b/1",
    );
}

#[test]
fn whoever_is_next_and_goes_away_leaves_its_place_to_the_following() {
    check(
        "submit x                      -> x queued, x active/1, start x/1 Original
         submit y                      -> y queued, y active/1, start y/1 Original
         submit a group=g              -> a queued
         submit b group=g              -> b queued
         submit c group=g              -> c queued
         cancel a                      -> a cancelled
         x/1 succeeded                 -> x completed, b active/1, stop x/1, start b/1 Original
         y/1 succeeded                 -> y completed, stop y/1
         cancel b                      -> b cancelled, c active/1, stop b/1, start c/1 Original",
    );
}

#[test]
fn a_member_that_another_rule_holds_keeps_no_place_from_the_others() {
    check(
        "drain org:o                         ->
         pause claude +1h                    ->
         submit a group=g org=o runtime=shell -> a queued
         submit b group=g                     -> b queued
         submit c group=g runtime=shell       -> c queued, c active/1, start c/1 Original
         undrain org:o                        ->
         c/1 succeeded                        -> c completed, a active/1, start a/1 Original, stop c/1
         open claude                          ->
         a/1 succeeded                        -> a completed, b active/1, stop a/1, start b/1 Original",
    );
}

#[test]
fn a_member_that_met_a_full_group_at_its_turn_goes_before_later_ones_once_there_is_a_place() {
    check(
        "submit w                              -> w queued, w active/1, start w/1 Original
         pause claude +1h                      ->
         submit a group=g max=2 env=x          -> a queued
         submit b group=g max=2 env=y          -> b queued
         submit c group=g max=2 runtime=shell  -> c queued, c active/1, start c/1 Original
         submit d group=g max=2 runtime=shell  -> d queued, d active/1, start d/1 Original
         submit e env=x                        -> e queued
         open claude                           -> e active/1, start e/1 Original
         c/1 succeeded                         -> c completed, stop c/1
         e/1 succeeded                         -> e completed, stop e/1
         +1s                                   -> a active/1, start a/1 Original",
    );
}

#[test]
fn a_member_that_no_worker_claims_keeps_no_place_from_one_of_another_queue() {
    check(
        "submit a group=g worker=p -> a queued
         submit b group=g worker=q -> b queued
         submit c group=g          -> c queued, c active/1, start c/1 Original
         c/1 succeeded             -> c completed, stop c/1
         claim me q                -> b active/1, me has b/1 +1m
         claim you p               -> you has nothing
         b/1 succeeded             -> b completed
         claim you p               -> a active/1, you has a/1 +1m",
    );
}

#[test]
fn a_newer_one_cancels_what_is_in_progress_and_says_so() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a group=g newest -> a queued, a active/1, start a/1 Original
         submit b group=g newest -> b queued, a cancelled, b active/1, stop a/1, start b/1 Original
         b/1 rate_limited +1h    -> b rate_limited +1h, stop b/1
         submit c group=g newest -> c queued, b cancelled
         submit d group=g newest -> d queued, c cancelled
         submit e group=h newest -> e queued
         a/1 succeeded           -> rejected stale_attempt
         open claude             -> d active/1, start d/1 Original
         +1s                     -> e active/1, start e/1 Original",
    );
}

#[test]
fn with_a_bound_of_two_the_newest_two_stay() {
    check(
        "submit a group=g max=2 newest runtime=shell -> a queued, a active/1, start a/1 Original
         submit b group=g max=2 newest runtime=shell -> b queued, b active/1, start b/1 Original
         submit c group=g max=2 newest runtime=shell -> c queued, a cancelled, c active/1, stop a/1, start c/1 Original",
    );
}

#[test]
fn beyond_the_queue_the_oldest_that_never_started_is_cancelled() {
    check(
        "submit a group=g queue=1 runtime=shell -> a queued, a active/1, start a/1 Original
         submit b group=g queue=1 runtime=shell -> b queued
         submit c group=g queue=1 runtime=shell -> c queued, b cancelled
         a/1 rate_limited +1h                   -> a rate_limited +1h, stop a/1
         submit d group=g queue=1 runtime=shell -> d queued
         submit e group=g queue=1 runtime=shell -> e queued, c cancelled
         +1h                                    -> a queued, a active/2, start a/2 Original
         submit f group=g queue=1 runtime=shell -> f queued, d cancelled, e cancelled",
    );
}

#[test]
fn a_queue_of_none_drops_what_comes_while_the_group_is_busy() {
    check(
        "submit a group=g queue=0 runtime=shell -> a queued, a active/1, start a/1 Original
         submit b group=g queue=0 runtime=shell -> b queued, b cancelled
         a/1 succeeded                          -> a completed, stop a/1
         submit c group=g queue=0 runtime=shell -> c queued, c active/1, start c/1 Original",
    );
}

fn trigger(world: &World, number: u128, runs: Vec<Submission>) -> Request {
    let trigger = common::trigger(number, world.now);
    Request::Trigger { trigger: Box::new(trigger), runs, spool: true }
}

#[test]
fn runs_of_one_trigger_spare_each_other_and_cancel_those_of_an_earlier_one() {
    let mut world = World::new();
    let options = ["group=g", "newest", "flow=f", "runtime=shell"];
    let runs =
        |world: &mut World, names: [&str; 2]| names.map(|name| world.submission(name, &options)).into();
    let first: Vec<Submission> = runs(&mut world, ["a", "b"]);
    let second: Vec<Submission> = runs(&mut world, ["c", "d"]);
    let request = trigger(&world, 1, first);
    let (_, said) = world.tick(vec![request]).unwrap();
    assert_eq!(said, "a queued, b queued, a active/1, start a/1 Original");
    let request = trigger(&world, 2, second);
    let (_, said) = world.tick(vec![request]).unwrap();
    assert_eq!(
        said,
        "c queued, d queued, a cancelled, b cancelled, c active/1, stop a/1, start c/1 Original"
    );
}

#[test]
fn a_group_of_ten_thousand_waiting_costs_each_tick_no_more_than_one() {
    let runtimes = std::collections::BTreeMap::from([("shell".into(), 100)]);
    let mut world = World::with(Settings { runtimes, ..Settings::default() });
    for batch in 0..10 {
        let request = |world: &mut World, n: u32| {
            let name = format!("{batch}-{n}");
            Request::Submit(Box::new(world.submission(&name, &["group=g", "runtime=shell"])))
        };
        let requests = (0..1000).map(|n| request(&mut world, n)).collect();
        world.tick(requests).unwrap();
    }
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), Some(attempt_bound(&world)));
    let (first, second) = (world.id("0-0"), world.id("0-1"));
    let report = |id: RecordId| Request::Report {
        id,
        attempt: 1,
        report: dwell::model::Report::Succeeded { result: None },
    };
    let (answers, said) = world.tick(vec![report(first)]).unwrap();
    assert!(matches!(answers[0], Ok(Answer::Record(_))));
    assert_eq!(said, "0-0 completed, 0-1 active/1, stop 0-0/1, start 0-1/1 Original");
    let (_, said) = world.tick(vec![report(second)]).unwrap();
    assert_eq!(said, "0-1 completed, 0-2 active/1, stop 0-1/1, start 0-2/1 Original");
}

/// The only deadline there is: of the one attempt that is outstanding.
fn attempt_bound(world: &World) -> dwell::model::Time {
    world.now.after(std::time::Duration::from_secs(7200))
}

/// The same on a real PostgreSQL, held against memory at each step.
#[test]
fn on_postgresql_it_is_no_different() {
    common::twin::on_postgres(&[
        no_more_of_a_group_run_at_once_than_its_bound_and_the_oldest_goes_next,
        a_group_is_its_flow_s_own,
        a_bound_above_one_is_kept_over_a_crash,
        who_is_queued_anew_takes_no_place_from_one_of_its_group_that_is_before_it,
        who_waits_for_a_deadline_holds_no_place_of_its_group,
        whoever_is_next_and_goes_away_leaves_its_place_to_the_following,
        a_member_that_another_rule_holds_keeps_no_place_from_the_others,
        a_member_that_met_a_full_group_at_its_turn_goes_before_later_ones_once_there_is_a_place,
        a_member_that_no_worker_claims_keeps_no_place_from_one_of_another_queue,
        a_newer_one_cancels_what_is_in_progress_and_says_so,
        with_a_bound_of_two_the_newest_two_stay,
        beyond_the_queue_the_oldest_that_never_started_is_cancelled,
        a_queue_of_none_drops_what_comes_while_the_group_is_busy,
        runs_of_one_trigger_spare_each_other_and_cancel_those_of_an_earlier_one,
        a_group_of_ten_thousand_waiting_costs_each_tick_no_more_than_one,
    ]);
}
