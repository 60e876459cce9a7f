//! What holds queued records back: drained scopes on a whole engine over the memory backend and a manual clock.

use dwell::engine::{Answer, DRAINS_MAX, EnvFilter, EnvPage, EnvView, PARKS_PER_TICK_MAX, Request};
use dwell::model::{Name, Scope};

use super::common::{World, check, check_in};

#[test]
fn a_drained_runtime_is_still_drained_after_a_crash() {
    check(
        "drain runtime:claude   ->
         submit a               -> a queued
         submit b runtime=shell -> b queued, b active/1, start b/1 Original
         crash                  -> b/1 was outstanding, b queued, b active/2, stop b/1, start b/2 Original
         drains                 -> runtime:claude until +30s, 0 outstanding
         +1h                    ->
         undrain runtime:claude -> a active/1, start a/1 Original",
    );
}

#[test]
fn a_drained_flow_holds_its_runs_and_no_others() {
    check(
        "drain flow:f           ->
         submit a flow=f        -> a queued
         submit b flow=g        -> b queued, b active/1, start b/1 Original
         submit c               -> c queued, c active/1, start c/1 Original
         crash                  -> b/1 was outstanding, c/1 was outstanding, b queued, c queued, b active/2, c active/2, stop b/1, start b/2 Original, stop c/1, start c/2 Original
         b/2 succeeded          -> b completed, stop b/2
         undrain flow:f         -> a active/1, start a/1 Original",
    );
}

#[test]
fn what_is_outstanding_may_finish_until_its_deadline() {
    check(
        "submit a org=o     -> a queued, a active/1, start a/1 Original
         submit b org=o     -> b queued, b active/1, start b/1 Original
         drain org:o +2m    -> a draining +2m, b draining +2m
         drains             -> org:o until +2m, 2 outstanding
         drain org:o +10m   ->
         drain org:o +1m    -> a draining +1m, b draining +1m
         a/1 failed         -> a backoff +30s, stop a/1
         +30s               -> a queued
         +30s               -> b queued, stop b/1
         undrain org:o      -> a active/2, start a/2 Original
         +1s                -> b active/2, start b/2 Original
         show b             -> active/2, 0 in a row",
    );
}

#[test]
fn what_is_draining_when_its_scope_is_undrained_goes_on_under_a_fresh_lease() {
    check(
        "submit a silence=10m   -> a queued, a active/1, start a/1 Original
         drain all +20m         -> a draining +20m
         +15m                   ->
         a/1 heartbeat          ->
         undrain all            -> a active/1
         +9m59s                 ->
         +1s                    -> a queued, a active/2, stop a/1, start a/2 Original",
    );
}

#[test]
fn two_scopes_that_hold_one_record_are_both_undrained_before_it_goes_on() {
    check(
        "submit a flow=f org=o -> a queued, a active/1, start a/1 Original
         drain flow:f          -> a draining +30s
         drain org:o           ->
         submit b flow=f org=o -> b queued
         undrain flow:f        ->
         undrain org:o         -> a active/1, b active/1, start b/1 Original",
    );
}

#[test]
fn a_scope_that_is_not_drained_cannot_be_undrained_and_a_runtime_must_be_there() {
    check(
        "undrain all         -> rejected not_drained
         drain runtime:none  -> rejected unknown_runtime
         drain flow:none     ->
         undrain flow:none   ->
         undrain flow:none   -> rejected not_drained",
    );
}

#[test]
fn a_stop_while_a_scope_is_drained_leaves_it_drained() {
    check(
        "drain org:o         ->
         submit a org=o      -> a queued
         drain +30s          ->
         undrain org:o       ->
         crash               -> a active/1, start a/1 Original",
    );
}

#[test]
fn what_a_drained_org_would_have_taken_goes_to_the_next_and_its_own_turn_is_not_lost() {
    check(
        "pause claude +1h       ->
         submit a org=o flow=f  -> a queued
         submit b org=o         -> b queued
         submit c org=p         -> c queued
         submit d org=p         -> d queued
         drain flow:f           ->
         open claude            -> b active/1, start b/1 Original
         +1s                    -> c active/1, start c/1 Original
         undrain flow:f         ->
         b/1 succeeded          -> b completed, a active/1, start a/1 Original, stop b/1",
    );
}

#[test]
fn a_parked_record_can_be_cancelled_and_expires() {
    check(
        "drain flow:f                 ->
         submit a flow=f expires=1h   -> a queued
         submit b flow=f              -> b queued
         submit c flow=f              -> c queued
         cancel b                     -> b cancelled
         +1h                          -> a dead_lettered
         undrain flow:f               -> c active/1, start c/1 Original",
    );
}

fn status(world: &mut World) -> dwell::engine::Status {
    let (answers, _) = world.tick(vec![Request::Status]).unwrap();
    match answers.into_iter().next() {
        Some(Ok(Answer::Status(status))) => *status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_drained_scope_costs_no_tick_anything_however_many_wait_in_it() {
    let mut world = World::new();
    check_in(&mut world, "drain org:o -> \n drain flow:f ->");
    let count = PARKS_PER_TICK_MAX + 10;
    for batch in (0..count).collect::<Vec<_>>().chunks(1000) {
        let requests = batch.iter().map(|n| {
            let submission = world.submission(&n.to_string(), &["org=o", "runtime=shell"]);
            Request::Submit(Box::new(submission))
        });
        let requests = requests.collect();
        world.tick(requests).unwrap();
    }
    // After a restart they are parked anew, as many a tick as may be.
    world.open();
    world.tick(Vec::new()).unwrap();
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), Some(world.now), "ten are left");
    world.tick(Vec::new()).unwrap();
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), None, "nothing is to be done");
    check_in(&mut world, "submit x org=p runtime=shell -> x queued, x active/1, start x/1 Original");
    let commits = status(&mut world).commits;
    assert_eq!(status(&mut world).commits, commits);
    // Undrained they come back, also a bounded number a tick.
    world.tick(vec![Request::UndrainScope { scope: Scope::Org(Name::from("o")) }]).unwrap();
    assert_eq!(status(&mut world).outstanding, 2, "x, and the first of a ramp");
    let queued = world.tick(vec![Request::Runtimes]).unwrap().0;
    let Some(Ok(Answer::Runtimes(rows))) = queued.into_iter().next() else { panic!("no runtimes") };
    let shell = rows.iter().find(|row| &*row.runtime.name == "shell").unwrap();
    assert_eq!(shell.queued, count as u64 - 1);
}

#[test]
fn no_more_scopes_are_drained_than_may_be() {
    let mut world = World::new();
    let drain = |n: usize| Request::DrainScope { scope: Scope::Flow(n.to_string().into()), timeout: None };
    let (answers, _) = world.tick((0..=DRAINS_MAX).map(drain).collect()).unwrap();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(status(&mut world).drains.len(), DRAINS_MAX);
}

fn envs(world: &mut World, filter: EnvFilter) -> EnvPage {
    let (answers, _) = world.tick(vec![Request::Envs(filter)]).unwrap();
    match answers.into_iter().next() {
        Some(Ok(Answer::Envs(page))) => page,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_env_tells_what_waits_is_parked_and_runs_in_it() {
    let mut world = World::new();
    let since = world.now;
    check_in(
        &mut world,
        "drain flow:f               ->
         submit a org=o env=x       -> a queued, a active/1, start a/1 Original
         submit b org=o env=x flow=f -> b queued
         +1m                        ->
         submit c org=o env=x       -> c queued, c active/1, start c/1 Original
         submit d org=o env=x       -> d queued
         submit e org=o env=y       -> e queued
         submit f org=p env=x       -> f queued",
    );
    let page = |limit, after| EnvFilter { org: None, after, limit };
    let first = envs(&mut world, page(1, None));
    let x = EnvView {
        org: "o".into(),
        env: "x".into(),
        ready: 2,
        burst: 0,
        parked: 1,
        weight: 1,
        outstanding: 2,
        oldest_at: Some(since),
        enrolled: false,
        tripped_until: None,
    };
    assert_eq!(first.envs, [x]);
    assert_eq!(first.next, Some(("o".into(), "x".into())));
    let rest = envs(&mut world, page(9, first.next));
    let names: Vec<(&str, &str, u64)> =
        rest.envs.iter().map(|view| (&*view.org, &*view.env, view.ready)).collect();
    assert_eq!((names, rest.next), (vec![("o", "y", 1), ("p", "x", 1)], None));
    let of_p = envs(&mut world, EnvFilter { org: Some("p".into()), after: None, limit: 9 });
    assert_eq!(of_p.envs.len(), 1);
    check_in(
        &mut world,
        "cancel f     -> f cancelled
         cancel b     -> b cancelled
         cancel d     -> d cancelled
         a/1 succeeded -> a completed, e active/1, stop a/1, start e/1 Original
         c/1 succeeded -> c completed, stop c/1",
    );
    let left = envs(&mut world, EnvFilter { limit: 9, ..EnvFilter::default() });
    assert_eq!(left.envs.len(), 1, "only e is there: {left:?}");
    assert_eq!((left.envs[0].ready, left.envs[0].outstanding, left.envs[0].oldest_at), (0, 1, None));
}
