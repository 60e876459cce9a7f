//! Burst smoothing and queue limits on a whole engine over the memory backend and a manual clock.

use std::collections::BTreeMap;
use std::time::Duration;

use dwell::engine::Outcome::{self, Mollify, PassThrough, ShadowLog};
use dwell::engine::{
    Answer, BurstStatus, Filter, Org, Pacing, Reason, Request, Settings, Switches, Triggered,
};
use dwell::model::{Fault, Lane, Name, Rejected, Submission, Trigger};

use super::common::{self, World, check_in};

/// Org `o` is enrolled, two triggers of an env in 200 ms are fine, and nothing is jittered or ramped.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.policy.retry.curve.jitter_percent = 0;
    settings.runtimes = BTreeMap::from([("claude".into(), 2), ("shell".into(), 100)]);
    let pacing = Pacing { ramp: false, ..Pacing::default() };
    settings.pacing = BTreeMap::from([("claude".into(), pacing), ("shell".into(), pacing)]);
    settings.burst.rate.threshold = 2;
    settings.orgs = BTreeMap::from([("o".into(), Org { burst: true, ..Org::default() })]);
    settings
}

/// A trigger whose runs are `names`, all with the same options.
fn trigger(world: &mut World, number: u128, names: &[&str], options: &[&str], spool: bool) -> Request {
    let runs: Vec<Submission> = names.iter().map(|name| world.submission(name, options)).collect();
    triggered(world, number, runs, spool)
}

fn triggered(world: &World, number: u128, runs: Vec<Submission>, spool: bool) -> Request {
    let dedup = Some(number.to_string());
    let trigger = Trigger { dedup, ..common::trigger(number, world.now) };
    Request::Trigger { trigger: Box::new(trigger), runs, spool }
}

/// One trigger with one run a name, in one tick; what the gate made of each, and what happened.
fn burst(world: &mut World, names: &[&str], options: &[&str]) -> (Vec<Outcome>, String) {
    let numbered = names.iter().map(|name| (world.id(name).ulid, *name)).collect::<Vec<_>>();
    let requests =
        numbered.into_iter().map(|(number, name)| trigger(world, number, &[name], options, true)).collect();
    let (answers, words) = world.tick(requests).unwrap();
    (answers.into_iter().map(|answer| outcome(answer).outcome).collect(), words)
}

fn outcome(answer: Result<Answer, Rejected>) -> Triggered {
    match answer {
        Ok(Answer::Triggered(triggered)) => triggered,
        other => panic!("{other:?}"),
    }
}

fn status(world: &mut World) -> BurstStatus {
    let (answers, _) = world.tick(vec![Request::Status]).unwrap();
    match answers.into_iter().next().unwrap() {
        Ok(Answer::Status(status)) => status.burst,
        other => panic!("{other:?}"),
    }
}

fn lane(world: &mut World, name: &str) -> Option<Lane> {
    let id = world.id(name);
    let (answers, _) = world.tick(vec![Request::Get { id }]).unwrap();
    match answers.into_iter().next().unwrap() {
        Ok(Answer::Detail(detail)) => detail.record.state.lane(),
        other => panic!("{other:?}"),
    }
}

fn org(burst: bool, weight: u32, queued_max: u32) -> Org {
    Org { burst, weight, queued_max }
}

#[test]
fn the_trigger_after_the_threshold_waits_in_the_burst_lane_over_a_crash() {
    let mut world = World::with(settings());
    check_in(&mut world, "pause claude +1h ->");
    let (outcomes, _) = burst(&mut world, &["a", "b", "c"], &["org=o"]);
    assert_eq!(outcomes, [PassThrough, PassThrough, Mollify]);
    check_in(&mut world, "crash ->");
    assert_eq!(lane(&mut world, "b"), Some(Lane::Ready));
    assert_eq!(lane(&mut world, "c"), Some(Lane::Burst));
    assert_eq!(status(&mut world).queued, 1);
    check_in(
        &mut world,
        "+59m59s     ->
         +1s step    -> c queued, a active/1, b active/1, start a/1 Original, start b/1 Original
         a/1 succeeded -> a completed, c active/1, stop a/1, start c/1 Original",
    );
}

#[test]
fn what_somebody_waits_for_is_not_judged() {
    let mut world = World::with(settings());
    for (n, name) in (1..).zip(["a", "b", "c", "d"]) {
        let run = Submission { awaited: true, ..world.submission(name, &["org=o"]) };
        let asked = triggered(&world, n, vec![run], false);
        let (answers, _) = world.tick(vec![asked]).unwrap();
        assert_eq!(outcome(answers.into_iter().next().unwrap()).outcome, PassThrough);
    }
    assert_eq!(status(&mut world).decisions, BTreeMap::new(), "no decision, and no call counted");
}

#[test]
fn a_hold_ends_and_the_env_is_judged_again() {
    let mut world = World::with(settings());
    let outcomes = |world: &mut World, names: &[&str]| burst(world, names, &["org=o", "runtime=shell"]).0;
    assert_eq!(outcomes(&mut world, &["a", "b", "c"]), [PassThrough, PassThrough, Mollify]);
    world.now = world.now.after(Duration::from_millis(499));
    assert_eq!(outcomes(&mut world, &["d"]), [Mollify]);
    world.now = world.now.after(Duration::from_millis(1));
    assert_eq!(outcomes(&mut world, &["e", "f", "g"]), [PassThrough, PassThrough, Mollify]);
    assert_eq!(
        status(&mut world).decisions,
        BTreeMap::from([((PassThrough, None), 4), ((Mollify, Some(Reason::PerEnvRate)), 3)])
    );
}

#[test]
fn only_enrolled_orgs_are_diverted_and_shadow_mode_only_tells() {
    let mut world = World::with(settings());
    assert_eq!(burst(&mut world, &["a", "b", "c"], &["org=p"]).0, [PassThrough; 3]);
    let mut shadow = World::with(settings());
    shadow.settings.burst.switches.shadow = true;
    check_in(&mut shadow, "crash ->");
    assert_eq!(burst(&mut shadow, &["a", "b", "c"], &["org=p"]).0, [PassThrough, PassThrough, ShadowLog]);
    assert_eq!(lane(&mut shadow, "c"), Some(Lane::Ready));
    assert_eq!(burst(&mut shadow, &["d", "e", "f"], &["org=o"]).0, [PassThrough, PassThrough, Mollify]);
}

#[test]
fn a_gate_that_is_off_passes_everything_and_counts_it() {
    let mut world = World::with(settings());
    world.settings.burst.switches = Switches { enabled: false, shadow: true };
    check_in(&mut world, "crash ->");
    assert_eq!(burst(&mut world, &["a", "b", "c"], &["org=o"]).0, [PassThrough; 3]);
    assert_eq!(status(&mut world).decisions, BTreeMap::from([((PassThrough, None), 3)]));
}

#[test]
fn a_trigger_is_judged_once_for_each_env_of_its_runs_and_once_for_its_delivery() {
    let mut world = World::with(settings());
    let many = trigger(&mut world, 1, &["a", "b", "c", "d"], &["org=o"], true);
    let again = trigger(&mut world, 1, &["a", "b", "c", "d"], &["org=o"], true);
    let runs = vec![world.submission("e", &["org=o"]), world.submission("f", &["org=o", "env=f"])];
    let two = triggered(&world, 2, runs, true);
    let third = trigger(&mut world, 3, &["g"], &["org=o"], true);
    let (answers, _) = world.tick(vec![many, again, two, third]).unwrap();
    let answers: Vec<Triggered> = answers.into_iter().map(outcome).collect();
    let said: Vec<(Outcome, bool)> =
        answers.iter().map(|answer| (answer.outcome, answer.duplicate)).collect();
    assert_eq!(said, [(PassThrough, false), (PassThrough, true), (PassThrough, false), (Mollify, false)]);
    assert_eq!(status(&mut world).decisions.values().sum::<u64>(), 4);
}

#[test]
fn what_the_gate_cannot_watch_passes_and_is_counted_as_that() {
    let mut world = World::with(settings());
    let envs: Vec<String> = (0..=10_000).map(|n| format!("env=e{n}")).collect();
    let requests = (1..).zip(&envs).map(|(number, env)| {
        let name = number.to_string();
        trigger(&mut world, number, &[&name], &["org=o", env], true)
    });
    let requests: Vec<Request> = requests.collect();
    let (answers, _) = world.tick(requests).unwrap();
    assert!(answers.into_iter().all(|answer| outcome(answer).outcome == PassThrough));
    let decisions = status(&mut world).decisions;
    assert_eq!(decisions[&(PassThrough, Some(Reason::FailedOpen))], 1);
    assert_eq!(decisions[&(PassThrough, None)], 10_000);
}

#[test]
fn the_drainer_keeps_to_its_concurrency_and_goes_on_as_runs_end() {
    let mut world = World::with(settings());
    world.settings.burst.drain_concurrency = 2;
    check_in(&mut world, "crash ->");
    let options = ["org=o", "runtime=shell"];
    let (_, words) = burst(&mut world, &["a", "b", "c", "d", "e", "f"], &options);
    assert!(
        words.ends_with("start a/1 Original, start b/1 Original, start c/1 Original, start d/1 Original")
    );
    let counts = status(&mut world);
    assert_eq!((counts.queued, counts.released), (2, 2));
    check_in(
        &mut world,
        "a/1 succeeded -> a completed, stop a/1
         c/1 failed    -> c backoff +30s, e queued, e active/1, stop c/1, start e/1 Original
         d/1 succeeded -> d completed, f queued, f active/1, stop d/1, start f/1 Original
         +30s          -> c queued, c active/2, start c/2 Original",
    );
    let counts = status(&mut world);
    assert_eq!((counts.queued, counts.released), (0, 2), "c goes on as ordinary work");
}

#[test]
fn burst_work_of_a_held_runtime_takes_no_place_from_another() {
    let mut world = World::with(settings());
    world.settings.burst.drain_concurrency = 1;
    check_in(&mut world, "crash ->\n pause claude +1h ->");
    burst(&mut world, &["a", "b", "c", "d"], &["org=o", "runtime=claude"]);
    let (outcomes, words) = burst(&mut world, &["e"], &["org=o", "runtime=shell"]);
    assert_eq!(outcomes, [Mollify]);
    assert_eq!(words, "e queued, e queued, e active/1, start e/1 Original");
    assert_eq!(status(&mut world).queued, 2);
}

#[test]
fn burst_work_alone_wakes_the_engine_when_its_runtime_opens() {
    let mut world = World::with(settings());
    check_in(&mut world, "pause claude +1h ->");
    burst(&mut world, &["a", "b", "c"], &["org=o"]);
    check_in(
        &mut world,
        "cancel a      -> a cancelled
         cancel b      -> b cancelled",
    );
    let opens = world.now.after(Duration::from_hours(1));
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), Some(opens));
    check_in(&mut world, "+1h -> c queued, c active/1, start c/1 Original");
}

#[test]
fn a_tick_serves_its_orgs_and_the_next_one_follows_at_once() {
    let mut world = World::with(settings());
    world.settings.burst.orgs_per_tick = 2;
    world.settings.burst.drain_batch = 1;
    for name in ["h1", "h2", "h3", "light"] {
        world.settings.orgs.insert(name.into(), org(true, 1, 1_000));
    }
    check_in(&mut world, "crash ->\n pause shell +1h ->");
    for name in ["h1", "h2", "h3"] {
        let names: Vec<String> = (0..20).map(|n| format!("{name}.{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        burst(&mut world, &names, &[&format!("org={name}"), "runtime=shell"]);
    }
    burst(&mut world, &["l0", "l1", "l2"], &["org=light", "runtime=shell"]);
    assert_eq!(status(&mut world).queued, 3 * 18 + 1);
    let (_, words) = world.tick(vec![Request::ResumeRuntime { name: "shell".into(), model: None }]).unwrap();
    assert!(words.starts_with("h1.02 queued, h2.02 queued, "), "{words}");
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), Some(world.now));
    let (_, words) = world.tick(Vec::new()).unwrap();
    assert!(words.starts_with("h3.02 queued, l2 queued, "), "{words}");
}

#[test]
fn a_record_in_the_burst_lane_can_be_cancelled_and_expires() {
    let mut world = World::with(settings());
    check_in(&mut world, "pause claude +2h ->");
    burst(&mut world, &["a", "b", "c", "d"], &["org=o", "expires=1h"]);
    check_in(
        &mut world,
        "cancel c -> c cancelled
         +1h      -> a dead_lettered, b dead_lettered, d dead_lettered",
    );
    let counts = status(&mut world);
    assert_eq!((counts.queued, counts.released), (0, 0));
}

#[test]
fn an_org_has_as_many_turns_a_round_as_its_weight() {
    let mut world = World::with(settings());
    world.settings.orgs.insert("heavy".into(), org(false, 3, 1_000));
    check_in(&mut world, "crash ->\n pause shell +1h ->");
    for name in ["heavy", "other"] {
        let names: Vec<String> = (0..6).map(|n| format!("{name}.{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        burst(&mut world, &names, &[&format!("org={name}"), "runtime=shell"]);
    }
    let (_, words) = world.tick(vec![Request::ResumeRuntime { name: "shell".into(), model: None }]).unwrap();
    let started: Vec<&str> = words.split(", ").filter_map(|word| word.strip_suffix(" active/1")).collect();
    let (first, rest) = started.split_at(8);
    assert_eq!(
        first,
        ["heavy.0", "heavy.1", "heavy.2", "other.0", "heavy.3", "heavy.4", "heavy.5", "other.1"]
    );
    assert_eq!(rest, ["other.2", "other.3", "other.4", "other.5"]);
}

#[test]
fn a_full_env_refuses_sessions_and_triggers_but_spools_webhooks() {
    let mut world = World::with(settings());
    world.settings.orgs.insert("q".into(), org(false, 1, 2));
    check_in(
        &mut world,
        "crash ->
         pause claude +1h   ->
         submit a org=q key=a -> a queued
         submit b org=q     -> b queued
         submit c org=q     -> rejected queue_full
         submit d org=q key=a -> duplicate of a
         submit e org=q env=f -> e queued",
    );
    let api = trigger(&mut world, 1, &["r"], &["org=q"], false);
    let (answers, words) = world.tick(vec![api]).unwrap();
    assert_eq!(words, "");
    let refused = answers.into_iter().next().unwrap().unwrap_err();
    assert_eq!(refused, Rejected::QueueFull { scope: "q/default".into(), queued: 2, limit: 2 });
    let hook = trigger(&mut world, 1, &["r"], &["org=q"], true);
    let (answers, words) = world.tick(vec![hook]).unwrap();
    assert_eq!(words, "r queued");
    assert!(!outcome(answers.into_iter().next().unwrap()).duplicate, "the refused trigger left nothing");
    check_in(
        &mut world,
        "cancel a -> a cancelled
         submit g org=q -> rejected queue_full
         cancel b -> b cancelled
         submit g org=q -> g queued",
    );
}

#[test]
fn a_trigger_is_admitted_with_all_its_runs_or_none() {
    let mut world = World::with(settings());
    world.settings.queued_max = 3;
    check_in(&mut world, "crash ->\n pause claude +1h ->\n submit a -> a queued");
    let mut runs: Vec<Submission> = ["b", "c", "d"].iter().map(|name| world.submission(name, &[])).collect();
    let (answers, _) = world.tick(vec![triggered(&world, 1, runs.clone(), false)]).unwrap();
    let refused = answers.into_iter().next().unwrap().unwrap_err();
    assert_eq!(refused, Rejected::QueueFull { scope: "dwell".into(), queued: 1, limit: 3 });
    let (answers, _) = world.tick(vec![Request::List(Filter { limit: 9, ..Filter::default() })]).unwrap();
    assert!(matches!(&answers[0], Ok(Answer::Page(page)) if page.records.len() == 1), "{answers:?}");
    // One that can never run is seen among the dead letters and takes no place.
    runs[0].invalid = Some(Fault::new("template", "no field item.login"));
    let (_, words) = world.tick(vec![triggered(&world, 1, runs, false)]).unwrap();
    assert_eq!(words, "b dead_lettered, c queued, d queued");
}

#[test]
fn a_burst_over_many_orgs_is_admitted_whole_and_drained_to_the_last() {
    let mut world = World::with(settings());
    let orgs: Vec<Name> = (0..20).map(|n| Name::from(format!("org{n}"))).collect();
    world.settings.orgs = orgs.iter().map(|name| (name.clone(), org(true, 1, 1_000))).collect();
    check_in(&mut world, "crash ->");
    let mut number = 0;
    let mut requests = Vec::new();
    for _ in 0..30 {
        for name in &orgs {
            number += 1;
            let (run, org) = (number.to_string(), format!("org={name}"));
            requests.push(trigger(&mut world, number, &[&run], &[&org, "runtime=shell"], true));
        }
    }
    world.tick(requests).unwrap();
    let mut completed = 0;
    while completed < number {
        let reports = std::mem::take(&mut world.effects).into_iter().filter_map(|effect| match effect {
            dwell::model::Effect::Start(start) => Some((start.id, start.attempt)),
            dwell::model::Effect::Release { .. }
            | dwell::model::Effect::Stop { .. }
            | dwell::model::Effect::Forget { .. } => None,
        });
        let reports: Vec<Request> = reports
            .map(|(id, attempt)| Request::Report {
                id,
                attempt,
                report: dwell::model::Report::Succeeded { result: None },
            })
            .collect();
        assert!(!reports.is_empty(), "{completed} of {number} are done and nothing runs");
        completed += reports.len() as u128;
        world.tick(reports).unwrap();
        let counts = status(&mut world);
        assert!(counts.released <= 50, "{counts:?}");
    }
    let counts = status(&mut world);
    assert_eq!((counts.queued, counts.released), (0, 0));
}

#[test]
fn burst_work_that_no_worker_claims_takes_no_place_from_another_queue() {
    let mut world = World::with(settings());
    world.settings.burst.drain_concurrency = 1;
    check_in(&mut world, "crash ->");
    burst(&mut world, &["a", "b", "c", "d"], &["org=o", "runtime=shell", "worker=idle"]);
    assert_eq!(status(&mut world).queued, 1);
    let (outcomes, words) = burst(&mut world, &["e"], &["org=o", "runtime=shell"]);
    assert_eq!(
        (outcomes, words.as_str()),
        (vec![Mollify], "e queued, e queued, e active/1, start e/1 Original")
    );
    let (_, words) = burst(&mut world, &["f"], &["org=o", "runtime=shell", "worker=q"]);
    assert_eq!(words, "f queued, f queued");
    check_in(&mut world, "claim me q -> f active/1, me has f/1 +1m");
}
