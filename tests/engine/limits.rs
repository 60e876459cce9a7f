//! Provider limits, sentence by sentence: what is waited for, what holds and what clears it, and how a fleet comes back.
//! A whole engine on the memory backend and a manual clock.

use std::time::Duration;

use dwell::engine::{MODELS_MAX, PARKS_PER_TICK_MAX, Pacing, Request};
use dwell::model::{Effect, LimitReport, Name, Overage, RecordId, Report, Reset, Time};

use super::common::{self, World, check, check_in};

/// `claude` with `concurrency` places, and its models told apart if `by_model`.
fn world(concurrency: u32, pacing: Pacing) -> World {
    let mut world = World::new();
    world.settings.runtimes.insert("claude".into(), concurrency);
    world.settings.pacing.insert("claude".into(), pacing);
    World::with(world.settings)
}

fn by_model() -> World {
    world(8, Pacing { by_model: true, ramp: false })
}

// What is waited for.

#[test]
fn the_later_of_both_resets_is_waited_for_and_overage_counts_only_if_it_is_rejected() {
    check(
        "submit a                             -> a queued, a active/1, start a/1 Original
         a/1 rate_limited +30m overage=+2h    -> a rate_limited +2h, stop a/1
         held                                 -> claude told +2h by a
         +2h                                  -> a queued, a active/2, start a/2 Original
         a/2 rate_limited +30m credits=+2h    -> a rate_limited +30m, stop a/2
         +30m                                 -> a queued, a active/3, start a/3 Original
         a/3 rate_limited +3h overage=+2h     -> a rate_limited +3h, stop a/3
         +3h                                  -> a queued, a active/4, start a/4 Original
         a/4 rate_limited soon overage=+2h    -> a rate_limited +2h, stop a/4",
    );
}

#[test]
fn a_reset_that_cannot_be_used_is_an_estimated_hour_and_one_too_far_away_is_clamped() {
    check(
        "submit a                    -> a queued, a active/1, start a/1 Original
         a/1 rate_limited            -> a rate_limited +1h, stop a/1
         held                        -> claude estimated +1h by a
         open claude                 -> a queued, a active/2, start a/2 Original
         a/2 rate_limited soon       -> a rate_limited +1h, stop a/2
         open claude                 -> a queued
         +1s                         -> a active/3, start a/3 Original
         a/3 rate_limited -1m        -> a rate_limited +1h, stop a/3
         held                        -> claude estimated +1h by a
         +1h                         -> a queued, a active/4, start a/4 Original
         a/4 rate_limited +9999days  -> a rate_limited +8days, stop a/4
         held                        -> claude estimated +8days by a
         +8days                      -> a queued, a active/5, start a/5 Original",
    );
}

// The commit, and what it holds.

#[test]
fn a_commit_that_fails_tells_nobody_and_one_that_landed_holds_both_record_and_runtime() {
    check(
        "submit a               -> a queued, a active/1, start a/1 Original
         lose                   ->
         a/1 rate_limited +1h   -> injected fault
         crash                  -> a/1 was outstanding, a queued, a active/2, stop a/1, start a/2 Original
         held                   ->
         land                   ->
         a/2 rate_limited +1h   -> injected fault
         crash                  ->
         show a                 -> rate_limited/2, 0 in a row
         held                   -> claude told +1h by a",
    );
}

#[test]
fn a_restart_rebuilds_the_pause_so_new_work_is_not_thrown_into_a_limited_runtime() {
    check(
        "submit a               -> a queued, a active/1, start a/1 Original
         a/1 rate_limited +1h   -> a rate_limited +1h, stop a/1
         +20m                   ->
         crash                  ->
         held                   -> claude told +40m by a
         submit b               -> b queued
         submit c runtime=shell -> c queued, c active/1, start c/1 Original
         crash                  -> c/1 was outstanding, c queued, c active/2, stop c/1, start c/2 Original
         +39m59s                ->
         +1s                    -> a queued, a active/2, start a/2 Original
         +1s                    -> b active/1, start b/1 Original",
    );
}

#[test]
fn a_longer_window_is_kept_and_told_replaces_estimated_and_not_the_reverse() {
    let mut world = world(3, Pacing::default());
    check_in(
        &mut world,
        "submit a                 -> a queued, a active/1, start a/1 Original
         submit b                 -> b queued, b active/1, start b/1 Original
         submit c                 -> c queued, c active/1, start c/1 Original
         a/1 rate_limited +5h     -> a rate_limited +5h, stop a/1
         b/1 rate_limited +1h     -> b rate_limited +1h, stop b/1
         held                     -> claude told +5h by a
         c/1 limit_warning        ->
         held                     -> claude told +5h by a
         +1h                      -> b queued
         open claude              -> a queued, a active/2, start a/2 Original
         c/1 limit_warning        ->
         held                     -> claude estimated +1h by c
         c/1 limit_warning +30m   ->
         held                     -> claude told +30m by c
         c/1 limit_warning        ->
         held                     -> claude told +30m by c
         c/1 limit_warning +40m   ->
         held                     -> claude told +40m by c
         crash                    -> a/2 was outstanding, c/1 was outstanding, a queued, c queued, stop a/2, stop c/1
         held                     -> claude told +40m by c",
    );
}

// What clears it.

#[test]
fn allowed_clears_runtime_and_records_at_once_however_far_their_deadline_is_and_no_other_runtime() {
    let mut world = World::new();
    world.settings.runtimes.insert("codex".into(), 2);
    let mut world = World::with(world.settings);
    check_in(
        &mut world,
        "submit a                -> a queued, a active/1, start a/1 Original
         submit b                -> b queued, b active/1, start b/1 Original
         submit x runtime=codex  -> x queued, x active/1, start x/1 Original
         a/1 rate_limited +190h  -> a rate_limited +7days 22h, stop a/1
         x/1 rate_limited +190h  -> x rate_limited +7days 22h, stop x/1
         b/1 limit_cleared       -> a queued, a active/2, start a/2 Original
         held                    -> codex told +7days 22h by x
         crash                   -> a/2 was outstanding, b/1 was outstanding, a queued, b queued, a active/3, stop a/2, start a/3 Original, stop b/1
         held                    -> codex told +7days 22h by x",
    );
}

#[test]
fn allowed_on_overage_and_allowed_with_overage_rejected_are_no_news() {
    use dwell::exec::agents::{Said, Standing};
    let said = |using_overage, rejected| {
        let overage = Some(Overage { rejected, reset: Reset::Absent });
        let limit = LimitReport { overage, using_overage, ..LimitReport::default() };
        Said::Limit { standing: Standing::Allowed, limit }.report()
    };
    assert_eq!(said(true, false), None, "served from overage: the window is still used up");
    assert_eq!(said(false, true), Some(Report::LimitCleared), "the normal state of accounts without credits");
}

#[test]
fn what_was_cleared_already_is_not_written_again() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a                 -> a queued, a active/1, start a/1 Original
         a/1 limit_warning +1h    ->
         +90m                     ->",
    );
    let commits = |world: &mut World| {
        let (answers, _) = world.tick(vec![Request::Status]).unwrap();
        let Some(Ok(dwell::engine::Answer::Status(status))) = answers.into_iter().next() else { panic!() };
        status.commits
    };
    let before = commits(&mut world);
    check_in(&mut world, "a/1 limit_cleared -> \n a/1 limit_cleared ->");
    assert_eq!(commits(&mut world), before);
}

// How it is resumed.

#[test]
fn a_resumed_record_has_its_old_place_its_session_and_words_to_go_on_with() {
    let mut world = world(1, Pacing::default());
    check_in(
        &mut world,
        "submit a              -> a queued, a active/1, start a/1 Original
         submit b              -> b queued
         a/1 spawned ses-1     -> a active/1, release a/1
         a/1 rate_limited +1h  -> a rate_limited +1h, stop a/1
         submit c              -> c queued
         +1h                   -> a queued, a active/2, start a/2 LimitReset",
    );
    let Some(Effect::Start(start)) = world.effects.pop() else { panic!("nothing started") };
    assert_eq!(start.session.as_deref(), Some("ses-1"));
}

#[test]
fn resume_of_what_is_running_is_refused() {
    check(
        "submit a             -> a queued, a active/1, start a/1 Original
         a/1 rate_limited +1h -> a rate_limited +1h, stop a/1
         open claude          -> a queued, a active/2, start a/2 Original
         resume a             -> rejected illegal_transition
         show a               -> active/2, 0 in a row",
    );
}

#[test]
fn failures_to_resume_wait_longer_each_time_over_restarts_until_a_success() {
    let mut world = World::new();
    world.settings.policy.retry.attempts = 99;
    let mut world = World::with(world.settings);
    let mut script = String::from(
        "submit a             -> a queued, a active/1, start a/1 Original
         a/1 spawned s1       -> a active/1, release a/1
         a/1 rate_limited +1h -> a rate_limited +1h, stop a/1
         +1h                  -> a queued, a active/2, start a/2 LimitReset\n",
    );
    let waits = [10, 20, 40, 80, 160, 300, 300].map(Duration::from_secs);
    for (n, span) in (2..).zip(waits) {
        let (wait, seconds) = (humantime::format_duration(span), span.as_secs());
        script += &format!(
            "a/{n} not_resumable -> a backoff +{wait}, stop a/{n}
             crash               ->
             +{seconds}s         -> a queued, a active/{m}, start a/{m} Original
             a/{m} spawned s{m}  -> a active/{m}, release a/{m}\n",
            m = n + 1
        );
    }
    check_in(&mut world, &script);
    check_in(&mut world, "show a -> active/9, 7 in a row \n a/9 succeeded -> a completed, stop a/9");
    check_in(&mut world, "show a -> completed/9, 0 in a row");
}

// How a fleet comes back.

#[test]
fn a_runtime_comes_back_with_one_start_then_two_then_all() {
    let mut world = world(4, Pacing::default());
    check_in(
        &mut world,
        "pause claude +1h -> \n submit a -> a queued \n submit b -> b queued \n submit c -> c queued
         submit d         -> d queued
         submit e         -> e queued
         +1h              -> a active/1, start a/1 Original
         +999ms           ->
         +1ms             -> b active/1, c active/1, start b/1 Original, start c/1 Original
         a/1 succeeded    -> a completed, stop a/1
         +1s              -> d active/1, e active/1, start d/1 Original, start e/1 Original
         d/1 succeeded    -> d completed, stop d/1
         submit f         -> f queued, f active/1, start f/1 Original",
    );
}

#[test]
fn a_runtime_that_never_was_paused_or_has_no_ramp_starts_all_at_once() {
    let submit = "submit a -> a queued \n submit b -> b queued \n submit c -> c queued";
    let mut unpaused = world(4, Pacing::default());
    check_in(&mut unpaused, "submit a -> a queued, a active/1, start a/1 Original");
    check_in(&mut unpaused, "submit b -> b queued, b active/1, start b/1 Original");
    let mut off = world(4, Pacing { ramp: false, ..Pacing::default() });
    check_in(&mut off, &format!("pause claude +1h -> \n {submit}"));
    let all =
        "a active/1, b active/1, c active/1, start a/1 Original, start b/1 Original, start c/1 Original";
    check_in(&mut off, &format!("+1h -> {all}"));
}

#[test]
fn what_an_operator_opens_or_undrains_ramps_too_and_a_second_time_changes_nothing() {
    let mut world = world(4, Pacing::default());
    check_in(
        &mut world,
        "pause claude +1h -> \n submit a -> a queued \n submit b -> b queued
         open claude      -> a active/1, start a/1 Original
         +900ms           ->
         open claude      ->
         +100ms           -> b active/1, start b/1 Original
         drain all        -> a draining +30s, b draining +30s
         submit c         -> c queued
         submit d         -> d queued
         crash            -> a/1 was outstanding, b/1 was outstanding, a queued, b queued, stop a/1, stop b/1
         +1h              ->
         undrain all      -> a active/2, start a/2 Original
         +1s              -> b active/2, c active/1, start b/2 Original, start c/1 Original",
    );
}

#[test]
fn a_ramp_goes_on_after_a_crash_and_repeats_at_most_one_second() {
    let mut world = world(16, Pacing::default());
    let names: Vec<String> = (0..20).map(|n| format!("r{n:02}")).collect();
    check_in(&mut world, "pause claude +1h ->");
    submit(&mut world, &names, |_| "org=o".to_owned());
    assert_eq!(starts_in(&mut world, "1h"), [1]);
    assert_eq!(starts_in(&mut world, "1s"), [2]);
    assert_eq!(starts_in(&mut world, "1s"), [4]);
    world.now = world.now.after(Duration::from_millis(500));
    assert_eq!(world.open().len(), 7, "outstanding at the crash");
    world.tick(Vec::new()).unwrap();
    assert_eq!(started(&mut world).len(), 4, "this second's share once more");
    assert_eq!(starts_in(&mut world, "499ms"), [0; 0]);
    assert_eq!(starts_in(&mut world, "1ms"), [8]);
}

#[test]
fn a_window_that_opened_while_nothing_ran_ramps_from_when_it_is_noticed() {
    let mut world = world(16, Pacing::default());
    let names: Vec<String> = (0..20).map(|n| format!("r{n:02}")).collect();
    check_in(&mut world, "submit x -> x queued, x active/1, start x/1 Original");
    check_in(&mut world, "x/1 rate_limited +1h -> x rate_limited +1h, stop x/1");
    submit(&mut world, &names, |_| "org=o".to_owned());
    started(&mut world);
    world.engine = None;
    world.now = world.now.after(Duration::from_hours(8));
    world.open();
    world.tick(Vec::new()).unwrap();
    assert_eq!(started(&mut world).len(), 1);
    world.open();
    world.tick(Vec::new()).unwrap();
    assert_eq!(started(&mut world).len(), 1, "it is durable from when it was noticed");
    assert_eq!(starts_in(&mut world, "1s"), [2]);
    // What nobody waited for is no fleet.
    let mut idle = World::with(world.settings.clone());
    check_in(&mut idle, "pause claude +1h -> \n +2h ->");
    submit(&mut idle, &names, |_| "org=o".to_owned());
    assert_eq!(started(&mut idle).len(), 16);
}

#[test]
fn an_allowed_of_the_first_resumed_does_not_end_the_ramp() {
    let mut world = world(4, Pacing::default());
    check_in(
        &mut world,
        "submit a              -> a queued, a active/1, start a/1 Original
         a/1 rate_limited +1h  -> a rate_limited +1h, stop a/1
         submit b              -> b queued
         submit c              -> c queued
         submit d              -> d queued
         +1h                   -> a queued, a active/2, start a/2 Original
         +500ms                ->
         a/2 limit_cleared     ->
         +500ms                -> b active/1, c active/1, start b/1 Original, start c/1 Original",
    );
}

/// Admits them in one tick, or a few.
fn submit(world: &mut World, names: &[String], option: impl Fn(usize) -> String) {
    let all: Vec<Request> = (names.iter().enumerate())
        .map(|(n, name)| {
            let options = option(n);
            let options: Vec<&str> = options.split_whitespace().collect();
            Request::Submit(Box::new(world.submission(name, &options)))
        })
        .collect();
    world.tick(all).unwrap();
}

/// What was started since it was asked last.
fn started(world: &mut World) -> Vec<RecordId> {
    let effects = std::mem::take(&mut world.effects).into_iter();
    let start = |effect| if let Effect::Start(start) = effect { Some(start.id) } else { None };
    effects.filter_map(start).collect()
}

/// Lets time pass as it does; how many start at each wake-up that starts any.
fn starts_in(world: &mut World, by: &str) -> Vec<usize> {
    let moments = starts_at(world, common::duration(by));
    moments.iter().map(|(_, started)| started.len()).filter(|count| *count > 0).collect()
}

/// Who starts when.
fn starts_at(world: &mut World, by: Duration) -> Vec<(Time, Vec<RecordId>)> {
    let target = world.now.after(by);
    let mut all = Vec::new();
    while let Some(next) = world.engine.as_ref().unwrap().next_wake().filter(|next| *next <= target) {
        world.now = world.now.max(next);
        world.tick(Vec::new()).unwrap();
        all.push((world.now, started(world)));
        assert!(all.len() < 1000, "it spins");
    }
    world.now = target;
    all
}

/// 200 sessions of 10 orgs, waiting for a reset in an hour.
fn two_hundred() -> (World, Vec<String>) {
    let mut world = world(32, Pacing::default());
    let names: Vec<String> = (0..200).map(|n| format!("r{n:03}")).collect();
    check_in(&mut world, "submit x -> x queued, x active/1, start x/1 Original");
    check_in(&mut world, "x/1 limit_warning +1h -> \n x/1 succeeded -> x completed, stop x/1");
    // The orgs one after another: the first ones are the heaviest to be fair to.
    submit(&mut world, &names, |n| format!("org=org{}", n / 20));
    assert_eq!(started(&mut world).len(), 1);
    (world, names)
}

#[test]
fn two_hundred_of_ten_orgs_start_on_the_ramp_in_turns_and_never_more_than_the_concurrency() {
    let (mut world, names) = two_hundred();
    let opens = world.now.after(Duration::from_hours(1));
    let ramp = starts_at(&mut world, Duration::from_hours(1) + Duration::from_secs(60));
    let shape: Vec<(u64, usize)> =
        ramp.iter().map(|(at, ids)| (opens.until(*at).as_secs(), ids.len())).collect();
    assert_eq!(shape, [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 1)], "then all 32 places are taken");
    let ids: Vec<RecordId> = names.iter().map(|name| world.id(name)).collect();
    let org = |id: &RecordId| ids.iter().position(|known| known == id).unwrap() / 20;
    // What starts in one tick is released by id, so it is compared as a set.
    let mut turns = (0..10).cycle();
    for (at, ids) in &ramp {
        let (mut orgs, mut due): (Vec<usize>, Vec<usize>) =
            (ids.iter().map(org).collect(), turns.by_ref().take(ids.len()).collect());
        orgs.sort_unstable();
        due.sort_unstable();
        assert_eq!(orgs, due, "at {at:?} the orgs take turns");
    }
    let first: Vec<RecordId> = ramp.into_iter().flat_map(|(_, ids)| ids).filter(|id| org(id) == 0).collect();
    assert_eq!(first, ids[..first.len()], "and each keeps its order");
}

#[test]
fn a_new_limit_at_the_third_start_stops_the_rest() {
    let (mut world, _) = two_hundred();
    let mut running: Vec<RecordId> = Vec::new();
    for (_, ids) in starts_at(&mut world, Duration::from_hours(1) + Duration::from_secs(1)) {
        running.extend(ids);
    }
    assert_eq!(running.len(), 3);
    let limit =
        LimitReport { reset: Reset::At(world.now.after(Duration::from_hours(2))), ..LimitReport::default() };
    let report = Report::RateLimited(limit, dwell::model::Fault::new("rate_limited", "again"));
    world.tick(vec![Request::Report { id: running[2], attempt: 1, report }]).unwrap();
    assert!(starts_at(&mut world, Duration::from_hours(1)).iter().all(|(_, ids)| ids.is_empty()));
    let again = starts_in(&mut world, "1h 2s");
    assert_eq!(again, [1, 2, 4], "and then it begins with one");
}

#[test]
fn five_hundred_resume_at_one_reset_within_the_concurrency_and_in_their_order_also_over_a_crash() {
    const COUNT: usize = 500;
    const PLACES: u32 = 20;
    let mut world = world(500, Pacing::default());
    let names: Vec<String> = (0..COUNT).map(|n| format!("r{n:03}")).collect();
    submit(&mut world, &names, |n| format!("org=org{} env=e{}", n % 10, n % 2));
    let ids = started(&mut world);
    assert_eq!(ids.len(), COUNT);
    let reset = world.now.after(Duration::from_hours(5));
    let limited = |id: &RecordId| {
        let limit = LimitReport { reset: Reset::At(reset), ..LimitReport::default() };
        let report = Report::RateLimited(limit, dwell::model::Fault::new("rate_limited", "window used up"));
        Request::Report { id: *id, attempt: 1, report }
    };
    world.tick(ids.iter().map(limited).collect()).unwrap();
    world.settings.runtimes.insert("claude".into(), PLACES);
    world.open();
    world.effects.clear();
    let place: std::collections::BTreeMap<RecordId, usize> =
        names.iter().enumerate().map(|(n, name)| (world.id(name), n)).collect();
    let mut running: Vec<(RecordId, u32, Time)> = Vec::new();
    let mut resumed: Vec<RecordId> = Vec::new();
    let mut by_second: std::collections::BTreeMap<u64, u32> = std::collections::BTreeMap::new();
    let (mut done, mut crashed) = (0, false);
    while done < COUNT {
        // Each attempt takes 1500 ms.
        let ends = running.iter().map(|(.., since)| since.after(Duration::from_millis(1500)));
        let next = world.engine.as_ref().unwrap().next_wake().into_iter().chain(ends).min();
        world.now = world.now.max(next.expect("something is to come"));
        let ended = |since: &Time| since.after(Duration::from_millis(1500)) <= world.now;
        let (over, still): (Vec<_>, Vec<_>) = running.into_iter().partition(|(.., since)| ended(since));
        done += over.len();
        running = still;
        let succeeded = Report::Succeeded { result: None };
        let reports =
            over.iter().map(|&(id, attempt, _)| Request::Report { id, attempt, report: succeeded.clone() });
        world.tick(reports.collect()).unwrap();
        if done >= COUNT / 2 && !crashed {
            crashed = true;
            assert_eq!(world.open().len(), running.len() + started_later(&world), "all were outstanding");
            running.clear();
            resumed.extend(started(&mut world));
            world.tick(Vec::new()).unwrap();
        }
        for effect in std::mem::take(&mut world.effects) {
            let Effect::Start(start) = effect else { continue };
            assert!(world.now >= reset, "early");
            if start.attempt == 2 {
                resumed.push(start.id);
                *by_second.entry(reset.until(world.now).as_secs()).or_default() += 1;
            }
            running.push((start.id, start.attempt, world.now));
        }
        assert!(running.len() <= PLACES as usize, "{} run at once", running.len());
    }
    assert!(crashed);
    assert_eq!(resumed.len(), COUNT, "each is resumed once");
    let shares: Vec<u32> = by_second.values().copied().take(4).collect();
    assert_eq!(shares, [1, 2, 4, 8]);
    for env in 0..10 {
        let order: Vec<usize> = resumed.iter().map(|id| place[id]).filter(|n| n % 10 == env).collect();
        assert!(order.is_sorted(), "org{env} loses its order: {order:?}");
    }
}

/// Starts that were released and not looked at yet.
fn started_later(world: &World) -> usize {
    world.effects.iter().filter(|effect| matches!(effect, Effect::Start(_))).count()
}

// Jitter.

#[test]
fn a_jittered_wait_is_never_early_differs_by_record_and_is_the_same_after_a_crash() {
    let mut world = world(100, Pacing { ramp: false, ..Pacing::default() });
    world.settings.policy.limits.jitter = Duration::from_mins(1);
    let mut world = World::with(world.settings);
    let names: Vec<String> = (0..50).map(|n| format!("r{n:02}")).collect();
    submit(&mut world, &names, |_| "org=o".to_owned());
    let reset = world.now.after(Duration::from_hours(1));
    for id in started(&mut world) {
        let limit = LimitReport { reset: Reset::At(reset), ..LimitReport::default() };
        let report = Report::RateLimited(limit, dwell::model::Fault::new("rate_limited", "window used up"));
        world.tick(vec![Request::Report { id, attempt: 1, report }]).unwrap();
    }
    check_in(&mut world, "crash -> \n held -> claude told +1h by r00");
    // New work does not wait for anybody's jitter.
    check_in(&mut world, "submit x -> x queued");
    let starts = starts_at(&mut world, Duration::from_hours(2));
    let moments: std::collections::BTreeSet<Time> =
        starts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(at, _)| *at).collect();
    assert_eq!(moments.first(), Some(&reset), "x");
    assert!(moments.last().unwrap() < &reset.after(Duration::from_mins(1)));
    assert!(moments.len() > 40, "they hardly differ: {}", moments.len());
    assert_eq!(starts.iter().map(|(_, ids)| ids.len()).sum::<usize>(), 51);
}

#[test]
fn allowed_frees_the_jittered_at_once_and_a_longer_wait_ends_with_the_longest_jitter() {
    let mut world = world(8, Pacing { ramp: false, ..Pacing::default() });
    world.settings.policy.limits.jitter = Duration::from_mins(1);
    let mut world = World::with(world.settings);
    check_in(
        &mut world,
        "submit a                -> a queued, a active/1, start a/1 Original
         submit b                -> b queued, b active/1, start b/1 Original",
    );
    let (a, report) = (world.id("a"), |limit| Report::RateLimited(limit, dwell::model::Fault::new("x", "x")));
    world.tick(vec![Request::Report { id: a, attempt: 1, report: report(LimitReport::default()) }]).unwrap();
    check_in(
        &mut world,
        "b/1 limit_warning +10m  ->
         held                    -> claude told +10m by b
         +10m59s                 ->
         +1s                     -> a queued, a active/2, start a/2 Original",
    );
    world.tick(vec![Request::Report { id: a, attempt: 2, report: report(LimitReport::default()) }]).unwrap();
    check_in(&mut world, "b/1 limit_cleared -> a queued, a active/3, start a/3 Original");
}

// Models.

#[test]
fn one_models_window_stops_no_other_also_after_a_crash() {
    check_in(
        &mut by_model(),
        "submit a model=opus     -> a queued, a active/1, start a/1 Original
         submit b model=sonnet   -> b queued, b active/1, start b/1 Original
         a/1 rate_limited +1h    -> a rate_limited +1h, stop a/1
         held                    -> claude/opus told +1h by a
         submit c model=opus     -> c queued
         submit d model=sonnet   -> d queued, d active/1, start d/1 Original
         submit e                -> e queued, e active/1, start e/1 Original
         crash                   -> b/1 was outstanding, d/1 was outstanding, e/1 was outstanding, b queued, d queued, e queued, b active/2, d active/2, e active/2, stop b/1, start b/2 Original, stop d/1, start d/2 Original, stop e/1, start e/2 Original
         held                    -> claude/opus told +1h by a
         +59m59s step            ->
         +1s                     -> a queued, a active/2, c active/1, start a/2 Original, start c/1 Original",
    );
}

#[test]
fn a_limit_of_a_model_is_the_accounts_unless_models_are_told_apart() {
    check(
        "submit a model=opus     -> a queued, a active/1, start a/1 Original
         a/1 rate_limited +1h    -> a rate_limited +1h, stop a/1
         held                    -> claude told +1h by a
         submit b model=sonnet   -> b queued",
    );
}

#[test]
fn a_limit_without_a_model_holds_all_of_them_and_each_is_cleared_by_its_own() {
    check_in(
        &mut by_model(),
        "submit a                -> a queued, a active/1, start a/1 Original
         submit b model=opus     -> b queued, b active/1, start b/1 Original
         submit c model=opus     -> c queued, c active/1, start c/1 Original
         submit d                -> d queued, d active/1, start d/1 Original
         a/1 rate_limited +3h    -> a rate_limited +3h, stop a/1
         b/1 rate_limited +5h    -> b rate_limited +5h, stop b/1
         held                    -> claude told +3h by a, claude/opus told +5h by b
         submit e model=sonnet   -> e queued
         c/1 limit_cleared       -> b queued
         held                    -> claude told +3h by a
         d/1 limit_cleared       -> a queued, a active/2, b active/2, e active/1, start a/2 Original, start b/2 Original, start e/1 Original
         held                    ->",
    );
}

#[test]
fn an_operator_pauses_and_resumes_one_model() {
    check_in(
        &mut by_model(),
        "pause claude/opus +1h   ->
         pause claude +2h        ->
         held                    -> claude paused +2h, claude/opus paused +1h
         submit a model=opus     -> a queued
         submit b                -> b queued
         open claude             -> b active/1, start b/1 Original
         held                    -> claude/opus paused +1h
         b/1 limit_cleared       ->
         crash                   -> b/1 was outstanding, b queued, b active/2, stop b/1, start b/2 Original
         open claude/opus        -> a active/1, start a/1 Original
         pause none/opus +1h     -> rejected unknown_runtime",
    );
}

#[test]
fn a_models_window_is_waited_for_also_once_models_are_not_told_apart_any_more() {
    let mut world = by_model();
    check_in(
        &mut world,
        "submit a model=opus     -> a queued, a active/1, start a/1 Original
         submit b model=opus     -> b queued, b active/1, start b/1 Original
         b/1 limit_warning +1h   ->
         submit c model=opus     -> c queued",
    );
    world.settings.pacing.clear();
    check_in(
        &mut world,
        "crash                   -> a/1 was outstanding, b/1 was outstanding, a queued, b queued, stop a/1, stop b/1
         submit d                -> d queued, d active/1, start d/1 Original
         +59m59s step            ->
         +1s                     -> a active/2, start a/2 Original",
    );
}

#[test]
fn a_runtime_ramps_when_one_of_its_models_comes_back() {
    let mut world = world(8, Pacing { by_model: true, ramp: true });
    check_in(
        &mut world,
        "pause claude/opus +1h   ->
         submit a model=opus     -> a queued
         submit b model=opus     -> b queued
         submit c model=opus     -> c queued
         +1h                     -> a active/1, start a/1 Original
         +1s                     -> b active/1, c active/1, start b/1 Original, start c/1 Original",
    );
}

#[test]
fn a_model_that_opens_within_a_ramp_begins_it_anew_at_that_moment() {
    let mut world = world(8, Pacing { by_model: true, ramp: true });
    check_in(
        &mut world,
        "pause claude/opus +1h        ->
         pause claude/sonnet +60m500ms ->
         submit a model=opus          -> a queued
         submit b model=opus          -> b queued
         +1h                          -> a active/1, start a/1 Original
         submit c model=sonnet        -> c queued
         +500ms                       -> b active/1, start b/1 Original
         +999ms                       ->
         +1ms                         -> c active/1, start c/1 Original",
    );
}

#[test]
fn a_held_model_costs_no_tick_anything_however_many_wait_for_it() {
    let mut world = by_model();
    check_in(&mut world, "pause claude/opus +1h ->");
    let opens = world.now.after(Duration::from_hours(1));
    let names: Vec<String> = (0..PARKS_PER_TICK_MAX + 10).map(|n| n.to_string()).collect();
    for names in names.chunks(1000) {
        submit(&mut world, names, |_| "model=opus".to_owned());
    }
    // After a restart they are parked anew, as many a tick as may be.
    world.open();
    world.tick(Vec::new()).unwrap();
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), Some(world.now), "ten are left");
    world.tick(Vec::new()).unwrap();
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), Some(opens), "nothing is to be done until then");
    check_in(&mut world, "submit x model=sonnet -> x queued, x active/1, start x/1 Original");
    world.now = opens;
    world.effects.clear();
    world.tick(Vec::new()).unwrap();
    assert_eq!(started(&mut world).len(), 7, "all of the eight places but the one of x");
}

#[test]
fn more_models_than_may_be_held_are_the_accounts_and_one_that_is_open_makes_room() {
    let mut world = by_model();
    let pause = |n: usize, until| {
        let model: Option<Name> = Some(format!("m{n:03}").into());
        Request::PauseRuntime { name: "claude".into(), model, until }
    };
    let (soon, late) = (world.now.after(Duration::from_mins(1)), world.now.after(Duration::from_hours(9)));
    let (answers, _) =
        world.tick((0..=MODELS_MAX).map(|n| pause(n, if n == 7 { soon } else { late })).collect()).unwrap();
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err()).collect::<Vec<_>>();
    assert_eq!(refused.iter().map(|refused| refused.code()).collect::<Vec<_>>(), ["models_full"]);
    check_in(
        &mut world,
        "submit a model=other    -> a queued, a active/1, start a/1 Original
         submit b model=other    -> b queued, b active/1, start b/1 Original
         a/1 limit_warning +30s  ->
         submit c                -> c queued
         +30s                    -> c active/1, start c/1 Original
         +30s                    ->
         b/1 limit_warning +1h   ->
         submit d model=other    -> d queued
         submit e model=m007     -> e queued, e active/1, start e/1 Original",
    );
    let (again, _) = world.tick(vec![pause(200, late)]).unwrap();
    assert!(again[0].is_err(), "the row of m007 has made room for that of other");
}

/// The same on a real PostgreSQL, held against memory at each step.
#[test]
fn on_postgresql_it_is_no_different() {
    common::twin::on_postgres(&[
        the_later_of_both_resets_is_waited_for_and_overage_counts_only_if_it_is_rejected,
        a_reset_that_cannot_be_used_is_an_estimated_hour_and_one_too_far_away_is_clamped,
        a_commit_that_fails_tells_nobody_and_one_that_landed_holds_both_record_and_runtime,
        a_restart_rebuilds_the_pause_so_new_work_is_not_thrown_into_a_limited_runtime,
        a_longer_window_is_kept_and_told_replaces_estimated_and_not_the_reverse,
        allowed_clears_runtime_and_records_at_once_however_far_their_deadline_is_and_no_other_runtime,
        allowed_on_overage_and_allowed_with_overage_rejected_are_no_news,
        what_was_cleared_already_is_not_written_again,
        a_resumed_record_has_its_old_place_its_session_and_words_to_go_on_with,
        resume_of_what_is_running_is_refused,
        failures_to_resume_wait_longer_each_time_over_restarts_until_a_success,
        a_runtime_comes_back_with_one_start_then_two_then_all,
        a_runtime_that_never_was_paused_or_has_no_ramp_starts_all_at_once,
        what_an_operator_opens_or_undrains_ramps_too_and_a_second_time_changes_nothing,
        a_ramp_goes_on_after_a_crash_and_repeats_at_most_one_second,
        a_window_that_opened_while_nothing_ran_ramps_from_when_it_is_noticed,
        an_allowed_of_the_first_resumed_does_not_end_the_ramp,
        two_hundred_of_ten_orgs_start_on_the_ramp_in_turns_and_never_more_than_the_concurrency,
        a_new_limit_at_the_third_start_stops_the_rest,
        five_hundred_resume_at_one_reset_within_the_concurrency_and_in_their_order_also_over_a_crash,
        a_jittered_wait_is_never_early_differs_by_record_and_is_the_same_after_a_crash,
        allowed_frees_the_jittered_at_once_and_a_longer_wait_ends_with_the_longest_jitter,
        one_models_window_stops_no_other_also_after_a_crash,
        a_limit_of_a_model_is_the_accounts_unless_models_are_told_apart,
        a_limit_without_a_model_holds_all_of_them_and_each_is_cleared_by_its_own,
        an_operator_pauses_and_resumes_one_model,
        a_models_window_is_waited_for_also_once_models_are_not_told_apart_any_more,
        a_runtime_ramps_when_one_of_its_models_comes_back,
        a_model_that_opens_within_a_ramp_begins_it_anew_at_that_moment,
        a_held_model_costs_no_tick_anything_however_many_wait_for_it,
        more_models_than_may_be_held_are_the_accounts_and_one_that_is_open_makes_room,
    ]);
}
