//! The tables of behaviours, one script a row, on a whole engine over the memory backend and a manual clock.

use dwell::engine::{Answer, Filter, Request};
use dwell::model::{IdRange, Report, Source, StateName};

use super::common::{self, World, check, check_in};

#[test]
fn the_main_job_over_a_crash() {
    check(
        "submit a               -> a queued, a active/1, start a/1 Original
         a/1 spawned ses-1      -> a active/1, release a/1
         a/1 rate_limited +90m  -> a rate_limited +1h 30m, stop a/1
         submit b               -> b queued
         submit c runtime=shell -> c queued, c active/1, start c/1 Original
         c/1 succeeded          -> c completed, stop c/1
         crash                  ->
         +89m59s                ->
         +1s                    -> a queued, a active/2, start a/2 LimitReset
         +1s                    -> b active/1, start b/1 Original
         a/1 succeeded          -> rejected stale_attempt
         a/2 succeeded          -> a completed, stop a/2",
    );
}

#[test]
fn an_attempt_outstanding_at_a_crash_is_requeued_uncounted() {
    check(
        "submit a      -> a queued, a active/1, start a/1 Original
         a/1 spawned s -> a active/1, release a/1
         crash         -> a/1 was outstanding, a queued, a active/2, stop a/1, start a/2 Continue
         show a        -> active/2, 0 in a row",
    );
}

#[test]
fn a_lost_commit_answers_nothing_and_leaves_nothing() {
    check(
        "lose          ->
         submit a      -> injected fault
         crash         ->
         submit a      -> a queued, a active/1, start a/1 Original",
    );
}

#[test]
fn a_landed_commit_without_an_answer_is_found_at_open() {
    check(
        "land           ->
         submit a key=k -> injected fault
         crash          -> a/1 was outstanding, a queued, a active/2, stop a/1, start a/2 Original
         submit b key=k -> duplicate of a",
    );
}

#[test]
fn a_key_is_admitted_once_also_after_it_finished() {
    check(
        "submit a key=k       -> a queued, a active/1, start a/1 Original
         submit b key=k       -> duplicate of a
         submit c key=k env=x -> c queued, c active/1, start c/1 Original
         a/1 succeeded        -> a completed, stop a/1
         submit d key=k       -> duplicate of a",
    );
}

#[test]
fn a_rerun_starts_anew_beside_the_old_record_in_any_state() {
    check(
        "submit a key=k budget=3 -> a queued, a active/1, start a/1 Original
         a/1 charge 2            -> used 2 of 3, a active/1
         rerun a b               -> b queued, b active/1, start b/1 Original
         show b                  -> active/1, 0 in a row, used 0 of 3
         a/1 failed              -> a backoff +30s, stop a/1
         rerun a c               -> c queued, c active/1, start c/1 Original
         show c                  -> active/1, 0 in a row, used 0 of 3
         show a                  -> backoff/1, 1 in a row, used 2 of 3
         cancel c                -> c cancelled, stop c/1
         rerun c d               -> d queued, d active/1, start d/1 Original
         submit e key=k          -> duplicate of a
         rerun z y               -> rejected not_found",
    );
    let mut world = World::new();
    check_in(&mut world, "submit a runtime=shell -> a queued, a active/1, start a/1 Original");
    world.settings.runtimes.remove("shell");
    check_in(
        &mut world,
        "crash     -> a/1 was outstanding, a queued, stop a/1
         rerun a b -> rejected unknown_runtime",
    );
}

#[test]
fn what_was_invalid_from_the_start_is_dead_again_when_rerun() {
    let mut world = World::new();
    let fault = dwell::model::Fault::new("template", "number is missing");
    let submission = world.submission("a", &[]);
    let broken = dwell::model::Submission { invalid: Some(fault.clone()), ..submission };
    let (_, words) = world.tick(vec![Request::Submit(Box::new(broken))]).unwrap();
    assert_eq!(words, "a dead_lettered");
    let rerun = Request::Rerun { id: world.id("a"), fresh: world.id("b") };
    let (answers, words) = world.tick(vec![rerun]).unwrap();
    assert_eq!(words, "b dead_lettered");
    let Ok(Answer::Admitted { detail, duplicate: false }) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(detail.record.last_error, Some(fault));
    assert_eq!(detail.record.rerun_of, Some(world.id("a")));
    check_in(
        &mut world,
        "cancel b  -> b cancelled
         rerun b c -> c dead_lettered",
    );
}

#[test]
fn five_throttles_in_a_row_are_dead_also_over_restarts() {
    let throttled = |n: u32| {
        format!(
            "a/{n} throttled -> a backoff +30s, stop a/{n}
             crash -> \n +29s -> \n +1s -> a queued, a active/{m}, start a/{m} Original\n",
            m = n + 1
        )
    };
    let script: String = (1..5).map(throttled).collect();
    check(&format!(
        "submit a -> a queued, a active/1, start a/1 Original
         {script}
         a/5 throttled -> a dead_lettered, stop a/5
         show a        -> dead_lettered throttled/5, 0 in a row
         +24h step     ->"
    ));
}

#[test]
fn success_clears_every_streak_so_only_a_row_counts() {
    check(
        "submit a      -> a queued, a active/1, start a/1 Original
         a/1 throttled -> a backoff +30s, stop a/1
         +30s          -> a queued, a active/2, start a/2 Original
         show a        -> active/2, 1 in a row
         a/2 succeeded -> a completed, stop a/2
         show a        -> completed/2, 0 in a row",
    );
}

#[test]
fn a_report_of_the_life_before_a_redrive_is_stale() {
    check(
        "submit a      -> a queued, a active/1, start a/1 Original
         a/1 invalid   -> a dead_lettered, stop a/1
         redrive a     -> a queued, a active/2, start a/2 Original
         a/1 succeeded -> rejected stale_attempt",
    );
}

#[test]
fn invalid_and_needs_operator_are_dead_at_once() {
    check(
        "submit a           -> a queued, a active/1, start a/1 Original
         a/1 invalid        -> a dead_lettered, stop a/1
         show a             -> dead_lettered invalid/1, 0 in a row
         submit b           -> b queued, b active/1, start b/1 Original
         b/1 needs_operator -> b dead_lettered, stop b/1
         show b             -> dead_lettered needs_operator/1, 0 in a row
         resume b           -> rejected illegal_transition",
    );
}

#[test]
fn a_silent_attempt_is_lost_and_dead_at_three_in_a_row() {
    check(
        "submit a silence=10m -> a queued, a active/1, start a/1 Original
         +9m                  ->
         a/1 heartbeat        ->
         +9m59s               ->
         +1s                  -> a queued, a active/2, stop a/1, start a/2 Original
         +10m                 -> a queued, a active/3, stop a/2, start a/3 Original
         a/2 heartbeat        -> rejected stale_attempt
         +10m                 -> a dead_lettered, stop a/3
         show a               -> dead_lettered lost/3, 0 in a row",
    );
}

#[test]
fn heartbeats_do_not_extend_an_attempt_past_its_bound() {
    let beats = "+9m -> \n a/1 heartbeat -> \n".repeat(13);
    check(&format!(
        "submit a silence=10m -> a queued, a active/1, start a/1 Original
         {beats}
         +3m -> a backoff +30s, stop a/1"
    ));
}

#[test]
fn a_record_not_started_in_time_is_expired() {
    check(
        "pause claude +2h     ->
         submit a expires=1h  -> a queued
         +59m59s              ->
         +1s                  -> a dead_lettered
         show a               -> dead_lettered expired/0, 0 in a row
         redrive a            -> a queued
         +2h step             -> a active/1, start a/1 Original",
    );
}

#[test]
fn a_limit_never_expires_what_has_started() {
    check(
        "submit a expires=1h    -> a queued, a active/1, start a/1 Original
         a/1 rate_limited +100h -> a rate_limited +4days 4h, stop a/1
         +100h step             -> a queued, a active/2, start a/2 Original",
    );
}

#[test]
fn twenty_calls_are_admitted_and_the_next_refused_with_used_unchanged() {
    let twelve: String = (1..=12).map(|n| format!("a/1 charge 1 -> used {n} of 20, a active/1\n")).collect();
    let eight: String = (13..=20).map(|n| format!("a/2 charge 1 -> used {n} of 20, a active/2\n")).collect();
    check(&format!(
        "submit a budget=20 -> a queued, a active/1, start a/1 Original
         {twelve}
         crash -> a/1 was outstanding, a queued, a active/2, stop a/1, start a/2 Original
         a/2 charge 9 -> rejected budget_exhausted
         {eight}
         a/2 charge 1 -> rejected budget_exhausted
         show a -> active/2, 0 in a row, used 20 of 20
         submit b budget=20 -> b queued, b active/1, start b/1 Original
         b/1 charge 20 -> used 20 of 20, b active/1
         a/2 throttled exit_75 -> a dead_lettered, stop a/2
         show a -> dead_lettered budget_exhausted/2, 0 in a row, used 20 of 20
         redrive a -> a queued, a active/3, start a/3 Original
         show a -> active/3, 0 in a row, used 0 of 20"
    ));
}

#[test]
fn thirty_charges_in_one_tick_admit_twenty() {
    let mut world = World::new();
    check_in(&mut world, "submit a budget=20 -> a queued, a active/1, start a/1 Original");
    let id = world.id("a");
    let charges = (0..30).map(|_| Request::Charge { id, attempt: 1, calls: 1 }).collect();
    let (answers, _) = world.tick(charges).unwrap();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 20);
    let refused = answers.into_iter().find_map(Result::err).unwrap();
    let text = "rate-limit budget exhausted: used 20 of 20 mutating calls for this flow run";
    assert_eq!(refused.to_string(), text);
}

#[test]
fn reset_times_that_cannot_be_used_wait_an_estimated_hour() {
    check(
        "submit a               -> a queued, a active/1, start a/1 Original
         a/1 rate_limited soon  -> a rate_limited +1h, stop a/1
         +1h                    -> a queued, a active/2, start a/2 Original
         a/2 rate_limited -1m   -> a rate_limited +1h, stop a/2
         +1h                    -> a queued, a active/3, start a/3 Original
         a/3 rate_limited       -> a rate_limited +1h, stop a/3
         +1h                    -> a queued, a active/4, start a/4 Original
         a/4 rate_limited +9999days -> a rate_limited +8days, stop a/4
         +8days                 -> a queued, a active/5, start a/5 Original",
    );
}

fn paused(world: &mut World) -> Option<(u64, Source)> {
    let (answers, _) = world.tick(vec![Request::Runtimes]).unwrap();
    let Ok(Answer::Runtimes(views)) = &answers[0] else { panic!("{answers:?}") };
    let view = views.iter().find(|view| &*view.runtime.name == "claude").unwrap();
    let limit = view.runtime.limited?.limit;
    Some((world.now.until(limit.until).as_secs() / 60, limit.source))
}

#[test]
fn the_later_told_window_is_kept_and_told_replaces_estimated() {
    let mut world = World::new();
    let starts = "submit a -> a queued, a active/1, start a/1 Original
                  submit b -> b queued, b active/1, start b/1 Original";
    check_in(&mut world, starts);
    check_in(&mut world, "a/1 limit_warning ->");
    assert_eq!(paused(&mut world), Some((60, Source::Estimated)));
    check_in(&mut world, "a/1 limit_warning +30m ->");
    assert_eq!(
        paused(&mut world),
        Some((30, Source::Told)),
        "told replaces estimated, also when it is sooner"
    );
    check_in(&mut world, "b/1 limit_warning ->");
    assert_eq!(paused(&mut world), Some((30, Source::Told)), "an estimate replaces nothing told");
    check_in(&mut world, "b/1 limit_warning +90m -> \n a/1 limit_warning +20m ->");
    assert_eq!(paused(&mut world), Some((90, Source::Told)), "the later window is kept");
    check_in(
        &mut world,
        "crash -> a/1 was outstanding, b/1 was outstanding, a queued, b queued, stop a/1, stop b/1",
    );
    assert_eq!(paused(&mut world), Some((90, Source::Told)), "a restart rebuilds it");
}

#[test]
fn an_open_window_frees_its_runtime_at_once_and_no_other() {
    let mut world = World::new();
    world.settings.runtimes.insert("codex".into(), 2);
    let mut world = World::with(world.settings);
    check_in(
        &mut world,
        "submit a                -> a queued, a active/1, start a/1 Original
         submit b                -> b queued, b active/1, start b/1 Original
         submit x runtime=codex  -> x queued, x active/1, start x/1 Original
         a/1 rate_limited +100h  -> a rate_limited +4days 4h, stop a/1
         x/1 rate_limited +100h  -> x rate_limited +4days 4h, stop x/1
         submit c                -> c queued
         b/1 limit_cleared       -> a queued, a active/2, start a/2 Original",
    );
    assert_eq!(paused(&mut world), None);
}

#[test]
fn an_operators_pause_is_not_lifted_by_a_provider() {
    check(
        "submit a           -> a queued, a active/1, start a/1 Original
         pause claude +10h  ->
         submit b           -> b queued
         a/1 limit_cleared  ->
         a/1 succeeded      -> a completed, stop a/1
         crash              ->
         open claude        -> b active/1, start b/1 Original",
    );
}

#[test]
fn resume_ends_a_wait_and_refuses_a_running_record() {
    check(
        "submit a      -> a queued, a active/1, start a/1 Original
         resume a      -> rejected illegal_transition
         a/1 failed    -> a backoff +30s, stop a/1
         resume a      -> a queued, a active/2, start a/2 Original
         cancel a      -> a cancelled, stop a/2
         a/2 succeeded -> rejected stale_attempt
         cancel a      -> rejected illegal_transition
         redrive a     -> rejected illegal_transition",
    );
}

#[test]
fn a_session_that_cannot_be_resumed_starts_afresh() {
    check(
        "submit a          -> a queued, a active/1, start a/1 Original
         a/1 spawned ses-1 -> a active/1, release a/1
         a/1 failed        -> a backoff +30s, stop a/1
         +30s              -> a queued, a active/2, start a/2 Continue
         a/2 not_resumable -> a backoff +20s, stop a/2
         +20s              -> a queued, a active/3, start a/3 Original",
    );
}

#[test]
fn stopping_lets_the_outstanding_finish_until_the_deadline() {
    check(
        "submit a      -> a queued, a active/1, start a/1 Original
         submit b      -> b queued, b active/1, start b/1 Original
         drain +30s    -> a draining +30s, b draining +30s
         submit c      -> c queued
         a/1 succeeded -> a completed, stop a/1
         b/1 heartbeat ->
         +30s          -> b queued, stop b/1
         crash         -> b active/2, c active/1, start b/2 Original, start c/1 Original
         show b        -> active/2, 0 in a row",
    );
}

#[test]
fn a_drain_is_no_longer_than_the_attempts_own_bound() {
    check(
        "submit a              -> a queued, a active/1, start a/1 Original
         +1h59m                ->
         drain org:default +1h -> a draining +1m
         +1m                   -> a queued, stop a/1
         show a                -> queued/1, 0 in a row",
    );
}

#[test]
fn dispatch_stays_within_concurrency_and_keeps_order() {
    check(
        "submit a      -> a queued, a active/1, start a/1 Original
         submit b      -> b queued, b active/1, start b/1 Original
         submit c      -> c queued
         submit d      -> d queued
         b/1 failed    -> b backoff +30s, c active/1, stop b/1, start c/1 Original
         +30s          -> b queued
         a/1 succeeded -> a completed, b active/2, stop a/1, start b/2 Original",
    );
}

#[test]
fn orgs_take_turns() {
    check(
        "pause claude +1h   ->
         submit a org=heavy -> a queued
         submit b org=heavy -> b queued
         submit c org=heavy -> c queued
         submit d org=light -> d queued
         +1h                -> a active/1, start a/1 Original
         +1s                -> d active/1, start d/1 Original",
    );
}

#[test]
fn finished_records_are_purged_after_retention_and_their_key_is_free() {
    check(
        "submit a key=k -> a queued, a active/1, start a/1 Original
         a/1 succeeded  -> a completed, stop a/1
         +6days         ->
         show a         -> completed/1, 0 in a row
         +1day          -> forget a
         show a         -> rejected not_found
         submit b key=k -> b queued, b active/1, start b/1 Original",
    );
}

#[test]
fn beyond_their_number_the_oldest_finished_records_go_and_dead_letters_stay() {
    let mut world = World::new();
    world.settings.finished_max = 2;
    world.open();
    check_in(
        &mut world,
        "submit d       -> d queued, d active/1, start d/1 Original
         d/1 invalid    -> d dead_lettered, stop d/1
         submit a key=k -> a queued, a active/1, start a/1 Original
         a/1 succeeded  -> a completed, stop a/1
         +1s            ->
         submit b       -> b queued, b active/1, start b/1 Original
         cancel b       -> b cancelled, stop b/1
         +1s            ->
         submit c       -> c queued, c active/1, start c/1 Original
         c/1 succeeded  -> c completed, stop c/1",
    );
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), Some(world.now), "at once, and not in a week");
    check_in(
        &mut world,
        "+1s            -> forget a
         crash          ->
         show a         -> rejected not_found
         submit e key=k -> e queued, e active/1, start e/1 Original
         show b         -> cancelled/1, 0 in a row
         show d         -> dead_lettered invalid/1, 0 in a row
         +1h            ->
         show c         -> completed/1, 0 in a row",
    );
}

#[test]
fn time_never_goes_back_also_over_a_restart() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a -> a queued, a active/1, start a/1 Original\n +1h ->\n a/1 failed -> a backoff +30s, stop a/1",
    );
    let latest = world.engine.as_ref().unwrap().now();
    world.now = dwell::model::Time::from_millis(common::T0);
    check_in(&mut world, "crash ->");
    assert_eq!(world.engine.as_ref().unwrap().now(), latest);
}

#[test]
fn lists_page_newest_first_over_live_and_finished() {
    let mut world = World::new();
    for n in 0..25 {
        let submission = world.submission(&format!("s{n}"), &["runtime=shell"]);
        world.tick(vec![Request::Submit(Box::new(submission))]).unwrap();
    }
    for n in [3, 7, 24] {
        let id = world.id(&format!("s{n}"));
        let command = dwell::model::Command::Cancel;
        world.tick(vec![Request::Command { id, command }]).unwrap();
    }
    let mut page = |filter: Filter| {
        let (answers, _) = world.tick(vec![Request::List(filter)]).unwrap();
        let Some(Ok(Answer::Page(page))) = answers.into_iter().next() else { panic!("no page") };
        page
    };
    let mut ids = Vec::new();
    let mut before = None;
    loop {
        let next = page(Filter { limit: 4, before, ..Filter::default() });
        ids.extend(next.records.iter().map(|record| record.id));
        before = next.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(ids.len(), 25);
    assert!(ids.is_sorted_by(|a, b| a > b));
    let cancelled = page(Filter { limit: 100, state: Some(StateName::Cancelled), ..Filter::default() });
    assert_eq!(cancelled.records.len(), 3);
    let queued = page(Filter { limit: 100, state: Some(StateName::Queued), ..Filter::default() });
    assert_eq!(queued.records.len(), 14, "25, less 3 cancelled and 8 active");
}

#[test]
fn a_record_that_finishes_in_the_tick_of_a_question_is_listed_and_found() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a -> a queued, a active/1, start a/1 Original
         submit b -> b queued, b active/1, start b/1 Original
         submit c -> c queued",
    );
    let ids = ["a", "b", "c"].map(|name| world.id(name));
    let [a, b, c] = ids;
    let ended = |id| Request::Report { id, attempt: 1, report: Report::Succeeded { result: None } };
    let list = |state, before| Request::List(Filter { state, before, limit: 10, ..Filter::default() });
    let range = IdRange { low: a, high: c };
    let (answers, _) = world
        .tick(vec![
            ended(b),
            list(None, None),
            list(Some(StateName::Completed), None),
            list(None, Some(b)),
            Request::Resolve { range, limit: 10 },
            ended(a),
            list(None, None),
        ])
        .unwrap();
    let listed = |answer: &Result<Answer, _>| match answer {
        Ok(Answer::Page(page)) => page.records.iter().map(|record| record.id).collect::<Vec<_>>(),
        Ok(Answer::Ids(ids)) => ids.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(listed(&answers[1]), [c, b, a]);
    assert_eq!(listed(&answers[2]), [b]);
    assert_eq!(listed(&answers[3]), [a]);
    assert_eq!(listed(&answers[4]), [a, b, c]);
    assert_eq!(listed(&answers[6]), [c, b, a]);
}

#[test]
fn attempts_and_records_add_up() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a      -> a queued, a active/1, start a/1 Original
         submit b      -> b queued, b active/1, start b/1 Original
         submit c      -> c queued
         a/1 timed_out -> a queued, a active/2, stop a/1, start a/2 Original
         b/1 succeeded -> b completed, c active/1, stop b/1, start c/1 Original
         cancel c      -> c cancelled, stop c/1",
    );
    check_in(&mut world, "crash -> a/2 was outstanding, a queued, a active/3, stop a/2, start a/3 Original");
    let (answers, _) = world.tick(vec![Request::Status]).unwrap();
    let Some(Ok(Answer::Status(status))) = answers.first() else { panic!("no status") };
    assert_eq!(status.attempts_started, status.attempts_ended + status.outstanding);
    assert_eq!((status.attempts_started, status.outstanding), (5, 1));
    assert_eq!(status.counts.values().sum::<u64>(), status.admitted);
    assert_eq!(status.counts[&StateName::Completed], 1);
}

#[test]
fn what_was_invalid_as_submitted_is_never_started() {
    let mut world = World::new();
    let mut submission = world.submission("a", &[]);
    submission.invalid = Some(dwell::model::Fault::new("template", "flow f: item.login is missing"));
    world.tick(vec![Request::Submit(Box::new(submission))]).unwrap();
    check_in(
        &mut world,
        "show a    -> dead_lettered invalid/0, 0 in a row
         redrive a -> rejected illegal_transition
         cancel a  -> a cancelled",
    );
}

#[test]
fn a_window_that_opens_wakes_the_engine_for_those_waiting_on_it() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a               -> a queued, a active/1, start a/1 Original
         submit b               -> b queued, b active/1, start b/1 Original
         a/1 rate_limited       -> a rate_limited +1h, stop a/1
         b/1 limit_warning +10m ->
         +10m step              -> a queued, a active/2, start a/2 Original",
    );
}

#[test]
fn every_change_has_a_moment_of_its_own() {
    let mut world = World::new();
    check_in(&mut world, "submit a budget=20 -> a queued, a active/1, start a/1 Original");
    let id = world.id("a");
    let mut moments = std::collections::BTreeSet::new();
    for _ in 0..5 {
        world.tick(vec![Request::Charge { id, attempt: 1, calls: 1 }]).unwrap();
        let (answers, _) = world.tick(vec![Request::Get { id }]).unwrap();
        let Some(Ok(Answer::Detail(detail))) = answers.into_iter().next() else { panic!("no detail") };
        moments.insert(detail.record.updated_at);
    }
    assert_eq!(moments.len(), 5, "a waiter would miss a change");
}

/// The same on a real PostgreSQL, held against memory at each step.
#[test]
fn on_postgresql_it_is_no_different() {
    common::twin::on_postgres(&[
        the_main_job_over_a_crash,
        an_attempt_outstanding_at_a_crash_is_requeued_uncounted,
        a_lost_commit_answers_nothing_and_leaves_nothing,
        a_landed_commit_without_an_answer_is_found_at_open,
        a_key_is_admitted_once_also_after_it_finished,
        a_rerun_starts_anew_beside_the_old_record_in_any_state,
        what_was_invalid_from_the_start_is_dead_again_when_rerun,
        five_throttles_in_a_row_are_dead_also_over_restarts,
        success_clears_every_streak_so_only_a_row_counts,
        a_report_of_the_life_before_a_redrive_is_stale,
        invalid_and_needs_operator_are_dead_at_once,
        a_silent_attempt_is_lost_and_dead_at_three_in_a_row,
        heartbeats_do_not_extend_an_attempt_past_its_bound,
        a_record_not_started_in_time_is_expired,
        a_limit_never_expires_what_has_started,
        twenty_calls_are_admitted_and_the_next_refused_with_used_unchanged,
        thirty_charges_in_one_tick_admit_twenty,
        reset_times_that_cannot_be_used_wait_an_estimated_hour,
        the_later_told_window_is_kept_and_told_replaces_estimated,
        an_open_window_frees_its_runtime_at_once_and_no_other,
        an_operators_pause_is_not_lifted_by_a_provider,
        resume_ends_a_wait_and_refuses_a_running_record,
        a_session_that_cannot_be_resumed_starts_afresh,
        stopping_lets_the_outstanding_finish_until_the_deadline,
        a_drain_is_no_longer_than_the_attempts_own_bound,
        dispatch_stays_within_concurrency_and_keeps_order,
        orgs_take_turns,
        finished_records_are_purged_after_retention_and_their_key_is_free,
        beyond_their_number_the_oldest_finished_records_go_and_dead_letters_stay,
        time_never_goes_back_also_over_a_restart,
        lists_page_newest_first_over_live_and_finished,
        a_record_that_finishes_in_the_tick_of_a_question_is_listed_and_found,
        attempts_and_records_add_up,
        what_was_invalid_as_submitted_is_never_started,
        a_window_that_opens_wakes_the_engine_for_those_waiting_on_it,
        every_change_has_a_moment_of_its_own,
    ]);
}
