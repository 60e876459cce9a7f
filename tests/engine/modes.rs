//! Modes: what a flow's mode makes of triggers, who names it, and that a flip is durable and in force at once.

use std::time::Duration;

use dwell::engine::{Answer, Filter, Flow, Request, Settings};
use dwell::model::*;
use dwell::store::{Backend as _, Direction};

use super::common::{World, check_in};

/// Flows f and g, and global mode `mode` by configuration; one attempt of claude at a time.
fn world(mode: Mode) -> World {
    world_with(mode, &[("f", None), ("g", None)], Duration::ZERO)
}

fn world_with(mode: Mode, flows: &[(&str, Option<Mode>)], min_shadow: Duration) -> World {
    let flows = flows.iter().map(|(name, mode)| (Name::from(*name), Flow { mode: *mode })).collect();
    let runtimes = [("claude".into(), 2)].into();
    let mut settings = Settings { runtimes, flows, mode, min_shadow, ..Settings::default() };
    settings.policy.retry.curve.jitter_percent = 0;
    World::with(settings)
}

fn check(mode: Mode, script: &str) {
    check_in(&mut world(mode), script);
}

#[test]
fn a_flip_is_in_force_for_the_next_trigger() {
    check(
        Mode::Off,
        "
        trigger t f g -> off f g
        mode f live -> from off to live, woke
        trigger u f g -> off g, u.f queued, u.f active/1, start u.f/1 Original
        mode live -> from off to live
        trigger v f g -> v.f queued, v.g queued, v.f active/1, start v.f/1 Original
        mode off -> from live to off
        trigger w f g -> off g, w.f queued
        mode f off -> from live to off
        trigger x f g -> off f g
        mode g shadow -> from off to shadow, woke
        ",
    );
}

#[test]
fn what_a_worker_claims_again_is_no_run_that_started() {
    check(
        Mode::Live,
        "
        trigger t f worker=q -> t.f queued
        claim me q -> t.f active/1, me has t.f/1 +1m
        trigger u f worker=q -> u.f queued
        claim me q -> u.f active/1, me has u.f/1 +1m
        t.f/1 timed_out -> t.f queued
        claim me q -> t.f active/2, me has t.f/2 +1m
        modes -> f live by default since 0s matched u started u.f, g live by default since 0s
        ",
    );
}

#[test]
fn a_hundred_flips_and_one_event_make_exactly_one_run() {
    let mut world = world(Mode::Off);
    for _ in 0..50 {
        check_in(&mut world, "mode live -> from off to live, woke\nmode off -> from live to off");
    }
    check_in(
        &mut world,
        "
        mode live -> from off to live, woke
        trigger t f -> t.f queued, t.f active/1, start t.f/1 Original
        t/1 succeeded -> rejected not_found
        t.f/1 succeeded -> t.f completed, stop t.f/1
        +1h ->
        ",
    );
    let starts = world.effects.iter().filter(|effect| matches!(effect, Effect::Start(_)));
    assert_eq!(starts.count(), 1, "{:?}", world.effects);
    assert_eq!(list(&mut world, Filter::default()).len(), 1);
}

#[test]
fn what_is_queued_or_outstanding_goes_on_when_its_flow_is_off() {
    check(
        Mode::Live,
        "
        pause claude +1h ->
        trigger t f -> t.f queued
        mode off -> from live to off
        crash ->
        open claude -> t.f active/1, start t.f/1 Original
        t.f/1 failed -> t.f backoff +30s, stop t.f/1
        mode shadow -> from off to shadow, woke
        +30s -> t.f queued, t.f active/2, start t.f/2 Original
        t.f/2 succeeded -> t.f completed, stop t.f/2
        ",
    );
}

#[test]
fn a_run_in_shadow_is_recorded_as_it_would_have_been_and_acts_on_nothing() {
    let mut world = world(Mode::Shadow);
    check_in(
        &mut world,
        "
        trigger t f -> in shadow f, t.f completed
        show t.f -> completed/0, 0 in a row
        t.f/1 charge 1 -> rejected stale_attempt
        cancel t.f -> rejected illegal_transition
        mode live -> from shadow to live
        +1h ->
        crash ->
        trigger u f -> u.f queued, u.f active/1, start u.f/1 Original
        ",
    );
    let (shadow, live) = (detail(&mut world, "t.f"), detail(&mut world, "u.f"));
    assert!(shadow.record.shadow && !live.record.shadow);
    assert_eq!(shadow.work, live.work);
    let only = |shadow| Filter { shadow, ..Filter::default() };
    assert_eq!(list(&mut world, only(Some(true))), [shadow.record.id]);
    assert_eq!(list(&mut world, only(Some(false))), [live.record.id]);
    assert_eq!(list(&mut world, only(None)).len(), 2);
}

#[test]
fn a_run_in_shadow_that_could_not_be_carried_out_is_no_dead_letter() {
    let mut world = world(Mode::Shadow);
    let fault = Fault::new("template", "number is missing");
    let submission = world.submission("a", &[]);
    let run = Submission { flow: Some("f".into()), invalid: Some(fault.clone()), ..submission };
    let Request::Trigger { trigger, spool, .. } = world.trigger("t", &[]) else { unreachable!() };
    world.tick(vec![Request::Trigger { trigger, runs: vec![run], spool }]).unwrap();
    let record = detail(&mut world, "a").record;
    assert_eq!((record.state.name(), record.last_error.clone()), (StateName::Completed, Some(fault)));
    check_in(
        &mut world,
        "
        mode live -> from shadow to live
        rerun a b -> b dead_lettered
        ",
    );
}

#[test]
fn runs_in_shadow_are_counted_and_purged_like_any_other() {
    let mut world = world(Mode::Shadow);
    check_in(
        &mut world,
        "
        trigger t f g -> in shadow f g, t.f completed, t.g completed
        mode g live -> from shadow to live
        trigger u f g -> in shadow f, u.g queued, u.f completed, u.g active/1, start u.g/1 Original
        ",
    );
    let (answers, _) = world.tick(vec![Request::Status]).unwrap();
    let Some(Ok(Answer::Status(status))) = answers.into_iter().next() else { panic!("no status") };
    assert_eq!((status.admitted, status.counts[&StateName::Completed]), (4, 3));
    assert_eq!(status.counts.values().sum::<u64>(), status.admitted);
    check_in(
        &mut world,
        "
        cancel u.g -> u.g cancelled, stop u.g/1
        +167h ->
        crash ->
        +1h -> forget t.g, forget u.g, forget t.f, forget u.f
        show t.f -> rejected not_found
        ",
    );
}

#[test]
fn a_rerun_of_a_run_obeys_its_flow_s_mode() {
    check(
        Mode::Shadow,
        "
        trigger t f -> in shadow f, t.f completed
        rerun t.f a -> a completed
        mode off -> from shadow to off
        rerun t.f b -> rejected flow_off
        mode live -> from off to live, woke
        rerun t.f b -> b queued, b active/1, start b/1 Original
        submit s -> s queued, s active/1, start s/1 Original
        mode off -> from live to off
        s/1 succeeded -> s completed, stop s/1
        rerun s r -> r queued, r active/1, start r/1 Original
        ",
    );
}

#[test]
fn a_delivery_that_met_a_flow_that_was_off_is_not_made_up_for_when_it_comes_again() {
    check(
        Mode::Off,
        "
        trigger t f -> off f
        mode live -> from off to live, woke
        trigger t f -> duplicate
        ",
    );
}

#[test]
fn a_flip_and_a_crash_converge_whatever_the_crash_left() {
    check(
        Mode::Off,
        "
        mode live -> from off to live, woke
        crash ->
        trigger t f -> t.f queued, t.f active/1, start t.f/1 Original
        t.f/1 succeeded -> t.f completed, stop t.f/1

        lose ->
        mode off -> injected fault
        crash ->
        trigger u f -> u.f queued, u.f active/1, start u.f/1 Original
        u.f/1 succeeded -> u.f completed, stop u.f/1

        land ->
        mode off -> injected fault
        crash ->
        trigger v f -> off f
        modes -> f off by global since 0s matched v started u.f, g off by global since 0s
        mode off -> from off to off
        ",
    );
}

#[test]
fn an_override_counts_before_the_file_the_file_before_the_global_and_that_before_configuration() {
    let mut world = world_with(Mode::Off, &[("f", None), ("g", Some(Mode::Shadow))], Duration::ZERO);
    check_in(
        &mut world,
        "
        modes -> f off by default since 0s, g shadow by flow since 0s
        +1m ->
        mode live -> from off to live
        modes -> f live by global since 0s, g shadow by flow since 1m
        +1m ->
        mode g off -> from shadow to off
        mode f live -> from live to live
        modes -> f live by override since 1m, g off by override since 0s
        +1m ->
        mode shadow -> from live to shadow
        modes -> f live by override since 2m, g off by override since 1m
        mode f clear -> from live to shadow
        mode g clear -> from off to shadow
        modes -> f shadow by global since 0s, g shadow by flow since 0s
        mode h live -> rejected unknown_flow
        mode h clear -> rejected unknown_flow
        ",
    );
}

#[test]
fn where_a_flow_stands_survives_a_restart_and_a_changed_file_counts_from_then_on() {
    let mut world = world(Mode::Live);
    check_in(
        &mut world,
        "
        trigger t f g -> t.f queued, t.g queued, t.f active/1, t.g active/1, start t.g/1 Original, start t.f/1 Original
        t.g/1 failed -> t.g backoff +30s, stop t.g/1
        +30s -> t.g queued, t.g active/2, start t.g/2 Original
        mode g off -> from live to off
        +30s ->
        trigger u f g -> off g, u.f queued
        modes -> f live by default since 1m matched u started t.f, g off by override since 30s matched u started t.g
        cancel u.f -> u.f cancelled
        t.f/1 succeeded -> t.f completed, stop t.f/1
        t.g/2 succeeded -> t.g completed, stop t.g/2
        ",
    );
    world.settings.flows = [("f".into(), Flow { mode: Some(Mode::Shadow) })].into();
    check_in(
        &mut world,
        "
        crash ->
        modes -> f shadow by flow since 0s matched u started t.f
        ",
    );
    // Its file is back, and what was named for it is still in force.
    world.settings.flows.insert("g".into(), Flow::default());
    world.engine = None;
    world.open();
    check_in(&mut world, "trigger w f g -> in shadow f, off g, w.f completed");
}

#[test]
fn an_older_run_that_goes_on_is_not_the_last_one_that_started() {
    check(
        Mode::Live,
        "
        trigger t f -> t.f queued, t.f active/1, start t.f/1 Original
        t.f/1 failed -> t.f backoff +30s, stop t.f/1
        trigger u f -> u.f queued, u.f active/1, start u.f/1 Original
        +30s -> t.f queued, t.f active/2, start t.f/2 Original
        modes -> f live by default since 30s matched u started u.f, g live by default since 30s
        u.f/1 succeeded -> u.f completed, stop u.f/1
        trigger v g worker=q -> v.g queued
        claim me q -> v.g active/1, me has v.g/1 +1m
        modes -> f live by default since 30s matched u started u.f, g live by default since 30s matched v started v.g
        ",
    );
}

#[test]
fn a_flow_whose_needs_are_missing_does_not_go_live_and_nothing_changes() {
    let mut world = world(Mode::Off);
    check_in(&mut world, "+1s ->\nlacks g ->\n+1m ->");
    let rows = |world: &World| world.disk.scan(b"", &[0xff], Direction::Ascending, 100).unwrap();
    let before = rows(&world);
    check_in(
        &mut world,
        "
        mode g live -> rejected capabilities_missing
        mode g live force -> rejected capabilities_missing
        mode live -> rejected capabilities_missing
        modes -> f off by default since 1m, g off by default since 1m
        ",
    );
    assert_eq!(rows(&world), before);
    check_in(
        &mut world,
        "
        trigger t f g -> off f g
        mode f live -> from off to live, woke
        mode g shadow -> from off to shadow
        mode live -> from off to live
        modes -> f live by override since 0s matched t, g shadow by override since 0s matched t
        mode g clear -> rejected capabilities_missing
        has g ->
        mode g clear -> from shadow to live
        lacks g ->
        trigger u g -> u.g queued, u.g active/1, start u.g/1 Original
        mode g live -> rejected capabilities_missing
        mode g off -> from live to off
        lacks f ->
        mode live -> from live to live
        ",
    );
}

#[test]
fn a_flow_goes_live_after_its_time_in_shadow_or_by_force() {
    let day = Duration::from_hours(24);
    let mut world = world_with(Mode::Off, &[("f", None), ("g", None)], day);
    check_in(
        &mut world,
        "
        mode f live -> rejected cutover_early
        mode f shadow -> from off to shadow, woke
        +23h ->
        crash ->
        mode f live -> rejected cutover_early
        mode live -> rejected cutover_early
        modes -> f shadow by override since 23h, g off by default since 23h
        mode g live force -> from off to live
        +1h ->
        mode f live -> from shadow to live
        mode f shadow -> from live to shadow
        mode f live -> rejected cutover_early
        mode live -> from off to live
        mode f clear -> rejected cutover_early
        ",
    );
}

fn detail(world: &mut World, name: &str) -> dwell::engine::Detail {
    let id = world.id(name);
    let (answers, _) = world.tick(vec![Request::Get { id }]).unwrap();
    match answers.into_iter().next().unwrap() {
        Ok(Answer::Detail(detail)) => *detail,
        other => panic!("{other:?}"),
    }
}

fn list(world: &mut World, filter: Filter) -> Vec<RecordId> {
    let filter = Filter { kind: Some(Kind::Run), limit: 10, ..filter };
    let (answers, _) = world.tick(vec![Request::List(filter)]).unwrap();
    match answers.into_iter().next().unwrap() {
        Ok(Answer::Page(page)) => page.records.iter().map(|record| record.id).collect(),
        other => panic!("{other:?}"),
    }
}
