//! Pull workers, on a whole engine over the memory backend and a manual clock.

use std::collections::BTreeMap;

use dwell::engine::{Answer, CLAIMS_WAITING_MAX, DISPATCHES_PER_TICK_MAX, Request};
use dwell::model::{Action, RecordId, Rejected, Submission, Work};

use super::common::{self, World, check, check_in};

#[test]
fn work_waits_for_a_claim_and_is_carried_out_by_who_claimed_it() {
    check(
        "submit a worker=q          -> a queued
         +1h                        ->
         claim me other max=10      -> me has nothing
         claim me q max=10 lease=5m -> a active/1, me has a/1 +5m
         claim you q                -> you has nothing
         a/1 charge 1               ->
         a/1 succeeded              -> a completed
         a/1 succeeded              -> rejected stale_attempt",
    );
}

#[test]
fn orgs_take_turns_and_an_env_keeps_its_order() {
    check(
        "submit a org=x worker=q runtime=shell -> a queued
         submit b org=x worker=q runtime=shell -> b queued
         submit c org=x worker=q runtime=shell -> c queued
         submit d org=y worker=q runtime=shell -> d queued
         claim me q max=2                      -> a active/1, d active/1, me has a/1 +1m and d/1 +1m
         submit e org=y worker=q runtime=shell -> e queued
         claim me q max=9                      -> b active/1, e active/1, c active/1, me has b/1 +1m and e/1 +1m and c/1 +1m",
    );
}

#[test]
fn runtimes_of_a_queue_take_turns_within_their_concurrency() {
    check(
        "submit a worker=q runtime=claude -> a queued
         submit b worker=q runtime=claude -> b queued
         submit c worker=q runtime=claude -> c queued
         submit d worker=q runtime=shell  -> d queued
         submit e worker=q runtime=shell  -> e queued
         claim me q                       -> a active/1, me has a/1 +1m
         claim me q max=9                 -> d active/1, b active/1, e active/1, me has d/1 +1m and b/1 +1m and e/1 +1m
         claim me q                       -> me has nothing
         claim me q wait=1h               ->
         a/1 succeeded                    -> a completed, c active/1, me has c/1 +1m",
    );
}

#[test]
fn a_waiting_claim_is_answered_in_the_tick_that_has_something_for_it() {
    check(
        "claim me q wait=20s   ->
         claim you q wait=20s  ->
         +10s                  ->
         submit a worker=other -> a queued
         submit b worker=q     -> b queued, b active/1, me has b/1 +1m
         +10s step             -> you has nothing
         submit c worker=q     -> c queued",
    );
}

#[test]
fn who_waits_longer_is_served_first() {
    let mut world = World::new();
    check_in(&mut world, "claim me q wait=1m ->");
    let submission = world.submission("a", &["worker=q"]);
    let requests = vec![Request::Submit(Box::new(submission)), world.claim("you", "q", &["max=9"])];
    assert_eq!(world.tick(requests).unwrap().1, "a queued, a active/1, me has a/1 +1m, you has nothing");
}

#[test]
fn nothing_is_claimed_for_who_is_gone() {
    check(
        "claim me q wait=1h  ->
         claim you q wait=1h ->
         gone me             ->
         submit a worker=q   -> a queued, a active/1, you has a/1 +1m
         submit b worker=q   -> b queued",
    );
}

#[test]
fn a_sign_of_life_renews_the_lease_and_silence_loses_it() {
    check(
        "submit a worker=q  -> a queued
         claim me q         -> a active/1, me has a/1 +1m
         +50s               ->
         a/1 heartbeat      ->
         +59s step          ->
         claim you q wait=5s ->
         +1s step           -> a queued, a active/2, you has a/2 +1m
         a/1 succeeded      -> rejected stale_attempt
         a/1 heartbeat      -> rejected stale_attempt
         a/1 charge 1       -> rejected stale_attempt
         a/2 succeeded      -> a completed",
    );
}

#[test]
fn three_lost_leases_in_a_row_are_a_dead_letter() {
    check(
        "submit a worker=q -> a queued
         claim me q        -> a active/1, me has a/1 +1m
         +1m               -> a queued
         claim me q        -> a active/2, me has a/2 +1m
         +1m               -> a queued
         claim me q        -> a active/3, me has a/3 +1m
         +1m               -> a dead_lettered
         redrive a         -> a queued
         claim me q        -> a active/4, me has a/4 +1m",
    );
}

#[test]
fn a_worker_goes_on_over_a_crash_under_its_lease() {
    check(
        "submit a worker=q -> a queued
         submit b          -> b queued, b active/1, start b/1 Original
         claim me q        -> a active/1, me has a/1 +1m
         claim you q wait=1h ->
         crash             -> b/1 was outstanding, b queued, b active/2, stop b/1, start b/2 Original
         +30s              ->
         a/1 heartbeat     ->
         +59s step         ->
         a/1 succeeded     -> a completed",
    );
}

#[test]
fn a_lease_that_ran_out_while_dwell_was_down_is_not_counted() {
    let mut world = World::new();
    check_in(&mut world, "submit a worker=q -> a queued");
    for attempt in 1..=4 {
        check_in(&mut world, &format!("claim me q -> a active/{attempt}, me has a/{attempt} +1m"));
        world.now = world.now.after(common::duration("1m"));
        check_in(
            &mut world,
            &format!(
                "crash               -> a queued
                 show a              -> queued/{attempt}, 0 in a row
                 a/{attempt} succeeded -> rejected stale_attempt"
            ),
        );
    }
}

#[test]
fn a_stop_answers_every_claim_and_leaves_the_workers_alone() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a worker=q   -> a queued
         claim me q lease=2h -> a active/1, me has a/1 +2h
         submit b            -> b queued, b active/1, start b/1 Original
         claim me q wait=1h  ->
         drain +30s          -> b draining +30s, me is rejected stopping
         submit c worker=q   -> c queued
         claim me q wait=1h  -> me is rejected stopping
         b/1 succeeded       -> b completed, stop b/1",
    );
    assert!(world.engine.as_ref().unwrap().drained(), "it waits for no worker");
    check_in(
        &mut world,
        "crash         ->
         +1h           ->
         a/1 succeeded -> a completed",
    );
}

#[test]
fn a_pause_of_its_runtime_holds_a_queue_and_a_waiting_claim_is_served_by_the_ramp_after_it() {
    check(
        "submit a worker=q        -> a queued
         submit b worker=q        -> b queued
         claim me q               -> a active/1, me has a/1 +1m
         a/1 session s-1          -> a active/1
         a/1 rate_limited +90m    -> a rate_limited +1h 30m
         claim me q max=2 wait=2h ->
         +89m step                ->
         +1m step                 -> a queued, a active/2, me has a/2 +1m LimitReset
         claim me q max=2 wait=2h ->
         +1s step                 -> b active/1, me has b/1 +1m
         pause claude +1h         ->
         submit c worker=q        -> c queued
         a/2 succeeded            -> a completed
         b/1 succeeded            -> b completed
         claim me q wait=2h       ->
         +1h step                 -> c active/1, me has c/1 +1m",
    );
}

#[test]
fn what_a_worker_gives_back_is_uncounted() {
    check(
        "submit a worker=q -> a queued
         claim me q        -> a active/1, me has a/1 +1m
         a/1 unavailable   -> a backoff +5s
         claim you q wait=1m ->
         +5s step          -> a queued, a active/2, you has a/2 +1m
         show a            -> active/2, 1 in a row",
    );
}

#[test]
fn what_is_drained_waits_for_its_scope_and_a_cancelled_attempt_reports_in_vain() {
    check(
        "submit a worker=q org=x -> a queued
         submit b worker=q org=y -> b queued
         drain org:x             ->
         claim me q max=9 wait=1h -> b active/1, me has b/1 +1m
         claim me q max=9 wait=1h ->
         cancel b                -> b cancelled
         b/1 succeeded           -> rejected stale_attempt
         undrain org:x           -> a active/1, me has a/1 +1m",
    );
}

/// Many sessions of one queue, without names.
fn submitted(world: &mut World, count: u128) {
    let submission = |n| {
        let work = Work::of(Action::Worker { queue: "q".into() });
        Request::Submit(Box::new(Submission::of(RecordId::session(n), "w".into(), work)))
    };
    world.tick((1..=count).map(submission).collect()).unwrap();
}

fn with_room(attempts: u32) -> World {
    let mut settings = World::new().settings;
    settings.runtimes = BTreeMap::from([("w".into(), attempts)]);
    World::with(settings)
}

#[test]
fn a_tick_starts_no_more_than_its_share_and_no_claim_goes_without_for_that() {
    let mut world = with_room(10_000);
    let max = DISPATCHES_PER_TICK_MAX;
    submitted(&mut world, max as u128 + 5);
    let claims = ["me", "you"].map(|worker| world.claim(worker, "q", &[&format!("max={max}")]));
    let (_, words) = world.tick(claims.into()).unwrap();
    assert_eq!((words.matches(" active/1").count(), words.matches("you").count()), (max, 0));
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), Some(world.now));
    let (_, words) = world.tick(Vec::new()).unwrap();
    assert_eq!((words.matches(" active/1").count(), words.matches("you has").count()), (5, 1), "{words}");
}

#[test]
fn as_many_claims_wait_as_may_and_who_is_gone_takes_no_place() {
    let mut world = with_room(1);
    let claims = (0..CLAIMS_WAITING_MAX).map(|n| world.claim(&format!("w{n}"), "q", &["wait=1h"])).collect();
    assert_eq!(world.tick(claims).unwrap().1, "");
    check_in(
        &mut world,
        "claim one q wait=1h -> one is rejected claims_full
         gone w7             ->
         claim one q wait=1h ->
         claim two q wait=1h -> two is rejected claims_full",
    );
    let views = world.tick(vec![Request::Queues]).unwrap().0;
    let Ok(Answer::Queues(views)) = &views[0] else { panic!("{views:?}") };
    let [view] = views.as_slice() else { panic!("{views:?}") };
    assert_eq!((view.queued, view.claims, view.asked_at), (0, CLAIMS_WAITING_MAX, Some(world.now)));
}

#[test]
fn a_claim_among_other_requests_takes_what_there_is() {
    let mut world = with_room(5);
    submitted(&mut world, 2);
    let mut each = |max: &str| {
        let claim = world.claim("me", "q", &[max, "wait=1h"]);
        let answers = world.tick(vec![Request::Each(vec![claim])]).unwrap().0.remove(0).unwrap();
        let Answer::Each(mut answers) = answers else { panic!("{answers:?}") };
        let Ok(Answer::Claimed(claimed)) = answers.remove(0) else { panic!("{answers:?}") };
        claimed.len()
    };
    assert_eq!([each("max=9"), each("max=9")], [2, 0]);
    world.tick(vec![Request::Drain { until: world.now }]).unwrap();
    let claim = world.claim("me", "q", &[]);
    let answers = world.tick(vec![Request::Each(vec![claim])]).unwrap().0.remove(0).unwrap();
    assert!(matches!(answers, Answer::Each(each) if matches!(each[0], Err(Rejected::Stopping))));
}

#[test]
fn a_claim_takes_no_more_than_fits_its_answer() {
    let mut world = with_room(9);
    let submission = |n| {
        let payload = vec![b' '; 5 << 20];
        let work = Work { payload, ..Work::of(Action::Worker { queue: "q".into() }) };
        Request::Submit(Box::new(Submission::of(RecordId::session(n), "w".into(), work)))
    };
    world.tick((1..=3).map(submission).collect()).unwrap();
    let claims = ["me", "you"].map(|worker| world.claim(worker, "q", &["max=9"]));
    let (_, words) = world.tick(claims.into()).unwrap();
    assert_eq!((words.matches(" +1m").count(), words.matches(" and ").count()), (3, 1), "{words}");
}

#[test]
fn a_worker_s_attempt_is_let_go_with_its_scope_also_while_dwell_stops() {
    check(
        "submit a worker=q    -> a queued
         claim me q           -> a active/1, me has a/1 +1m
         drain org:default +20s -> a draining +20s
         drain +30s           ->
         undrain org:default  -> a active/1
         +30s                 ->
         a/1 succeeded        -> a completed",
    );
}
