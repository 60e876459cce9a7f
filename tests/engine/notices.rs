//! What people are told, on a whole engine over the memory backend and a manual clock. A notice is what an attempt on
//! the runtime `notify` is started with.

use std::collections::BTreeSet;
use std::time::Duration;

use dwell::engine::{Answer, Filter, Flip, Flow, NOTIFY, Notify, Request, Settings, Target};
use dwell::model::*;
use dwell::store::Backend as _;
use serde_json::Value;

use super::common::{World, duration};

fn request(url: &str) -> HttpRequest {
    HttpRequest { url: url.to_owned(), method: "POST".to_owned(), headers: [].into() }
}

/// Ops are told of these events.
fn told_of(events: &[NoticeEvent]) -> Notify {
    Notify {
        to: request("http://ops/"),
        events: events.iter().copied().collect(),
        flows: BTreeSet::new(),
        orgs: BTreeSet::new(),
        every: Duration::from_secs(60),
    }
}

/// A world with the runtimes claude (2), shell (8) and notify.
fn world(notify: Option<Notify>) -> World {
    let mut settings = Settings::default();
    settings.policy.retry.curve.jitter_percent = 0;
    settings.runtimes = [("claude".into(), 2), ("shell".into(), 8), (NOTIFY.into(), 100)].into();
    settings.notify = notify.into_iter().map(|notify| ("ops".into(), notify)).collect();
    World::with(settings)
}

/// The attempts that started on the runtime notify since the last look.
fn starts(world: &mut World) -> Vec<Start> {
    let starts = std::mem::take(&mut world.effects).into_iter().filter_map(|effect| {
        let Effect::Start(start) = effect else { return None };
        Some(*start).filter(|start| &*start.runtime == NOTIFY)
    });
    starts.collect()
}

/// What they say, each as `URL: event xCOUNT SUBJECT`.
fn told(world: &mut World) -> Vec<String> {
    let said = |start: &Start| {
        let payload: Value = serde_json::from_slice(&start.work.payload).unwrap();
        let Action::Http(request) = &start.work.action else { panic!("{start:?}") };
        let subject = payload["flow"].as_str().or(payload["runtime"].as_str()).unwrap();
        format!("{}: {} x{} {subject}", request.url, payload["event"].as_str().unwrap(), payload["count"])
    };
    starts(world).iter().map(said).collect()
}

fn dies(world: &mut World, name: &str, options: &str) {
    world.does(&format!("submit {name} {options}"));
    world.does(&format!("{name}/1 needs_operator"));
}

#[test]
fn a_dead_letter_s_own_request_is_a_record_in_the_same_commit() {
    let mut world = world(None);
    let mut submission = world.submission("a", &["flow=review", "org=acme", "env=prod"]);
    submission.work.on_dead_letter = Some(request("http://own/"));
    submission.work.labels = [("team".to_owned(), "red".to_owned())].into();
    world.tick(vec![Request::Submit(Box::new(submission))]).unwrap();
    let commits = world.disk.history().newest();
    world.does("a/1 needs_operator");
    assert_eq!(world.disk.history().newest(), commits + 1);
    let start = starts(&mut world).remove(0);
    let payload: Value = serde_json::from_slice(&start.work.payload).unwrap();
    assert_eq!(
        payload,
        serde_json::json!({
            "event": "dead_lettered", "at": "2023-11-14T22:13:20.000Z", "count": 1,
            "id": world.id("a").to_string(), "state": "dead_lettered", "cause": "needs_operator",
            "dead_since": "2023-11-14T22:13:20.000Z", "org": "acme", "env": "prod", "flow": "review",
            "runtime": "claude", "attempt": 1, "labels": {"team": "red"},
            "last_error": {"code": "needs_operator", "message": "words"},
        })
    );
    let id = start.id;
    let (answers, _) = world.tick(vec![Request::Get { id }]).unwrap();
    let Ok(Answer::Detail(detail)) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(detail.record.about, Some(world.id("a")));
    assert_eq!((&*detail.record.org, &*detail.record.env), ("acme", "prod"));
}

#[test]
fn it_is_sent_again_when_it_was_not_answered_before_a_crash_and_again_for_another_death() {
    let mut world = world(None);
    let mut submission = world.submission("a", &[]);
    submission.work.on_dead_letter = Some(request("http://own/"));
    world.tick(vec![Request::Submit(Box::new(submission))]).unwrap();
    world.does("a/1 invalid");
    assert_eq!(told(&mut world), ["http://own/: dead_lettered x1 claude"]);
    world.does("crash");
    assert_eq!(told(&mut world), ["http://own/: dead_lettered x1 claude"], "the answer was never reported");
    world.does("redrive a");
    world.does("a/2 invalid");
    assert_eq!(told(&mut world), ["http://own/: dead_lettered x1 claude"]);
}

#[test]
fn a_lost_commit_tells_nobody_and_the_death_is_told_once_it_is_durable() {
    let mut world = world(Some(told_of(&[NoticeEvent::DeadLettered])));
    world.does("submit a");
    world.does("lose");
    world.does("a/1 invalid");
    assert_eq!(told(&mut world), Vec::<String>::new());
    world.does("crash");
    world.does("a/2 invalid");
    assert_eq!(told(&mut world), ["http://ops/: dead_lettered x1 claude"]);
}

#[test]
fn a_notice_that_dies_tells_nobody() {
    let mut world = world(Some(told_of(NoticeEvent::ALL)));
    dies(&mut world, "a", "");
    let notice = starts(&mut world).remove(0).id;
    let fault = Fault::new("http_404", "gone");
    let report = Request::Report { id: notice, attempt: 1, report: Report::Invalid(fault) };
    let Ok(Answer::Record(dead)) = world.tick(vec![report]).unwrap().0.remove(0) else { panic!() };
    assert_eq!(dead.state.name(), StateName::DeadLettered);
    world.does("+9h step");
    assert_eq!(told(&mut world), Vec::<String>::new());
}

#[test]
fn a_flood_is_one_notice_at_once_and_one_with_the_rest_also_over_a_crash() {
    let mut world = world(Some(told_of(&[NoticeEvent::DeadLettered])));
    for n in 0..5 {
        dies(&mut world, &format!("a{n}"), "flow=review");
    }
    dies(&mut world, "b", "flow=deploy");
    assert_eq!(
        told(&mut world),
        ["http://ops/: dead_lettered x1 review", "http://ops/: dead_lettered x1 deploy"]
    );
    world.does("+59s step");
    assert_eq!(told(&mut world), Vec::<String>::new());
    world.does("crash");
    assert_eq!(told(&mut world).len(), 2, "the two that were not answered");
    world.does("+1s");
    assert_eq!(told(&mut world), ["http://ops/: dead_lettered x4 review"]);
    world.does("+9h step");
    assert_eq!(told(&mut world), Vec::<String>::new());
    dies(&mut world, "c", "flow=review");
    assert_eq!(told(&mut world), ["http://ops/: dead_lettered x1 review"], "it is quiet again");
}

#[test]
fn filters_are_for_records_and_events_for_everything() {
    let filtered = Notify {
        flows: ["review".into()].into(),
        orgs: ["acme".into()].into(),
        ..told_of(&[NoticeEvent::DeadLettered, NoticeEvent::RuntimePaused])
    };
    let mut world = world(Some(filtered));
    dies(&mut world, "a", "flow=review");
    dies(&mut world, "b", "flow=deploy org=acme");
    dies(&mut world, "c", "org=acme");
    assert_eq!(told(&mut world), Vec::<String>::new());
    dies(&mut world, "d", "flow=review org=acme");
    world.does("pause claude +1h");
    assert_eq!(
        told(&mut world),
        ["http://ops/: dead_lettered x1 review", "http://ops/: runtime_paused x1 claude"]
    );
}

#[test]
fn a_pause_is_told_once_and_its_end_as_well_however_it_ends() {
    let mut world = world(Some(told_of(&[NoticeEvent::RuntimePaused, NoticeEvent::RuntimeResumed])));
    world.does("submit a");
    world.does("a/1 rate_limited +90m");
    let paused = starts(&mut world).remove(0);
    let payload: Value = serde_json::from_slice(&paused.work.payload).unwrap();
    assert_eq!((&payload["event"], &payload["held_by"]), (&"runtime_paused".into(), &"told".into()));
    assert_eq!(payload["held_until"], "2023-11-14T23:43:20.000Z");
    world.does("pause claude +3h");
    world.does("crash");
    assert_eq!(told(&mut world), ["http://ops/: runtime_paused x1 claude"], "its attempt was interrupted");
    world.does("+3h step");
    assert_eq!(told(&mut world), ["http://ops/: runtime_resumed x1 claude"]);
    world.does("pause claude +1h");
    world.does("+5m");
    world.does("open claude");
    assert_eq!(
        told(&mut world),
        ["http://ops/: runtime_paused x1 claude", "http://ops/: runtime_resumed x1 claude"]
    );
}

#[test]
fn an_end_that_came_while_dwell_was_down_is_told_at_the_start() {
    let mut world = world(Some(told_of(&[NoticeEvent::RuntimeResumed])));
    world.does("pause claude +1h");
    world.engine = None;
    world.now = world.now.after(duration("2h"));
    world.does("crash");
    assert_eq!(told(&mut world), ["http://ops/: runtime_resumed x1 claude"]);
    world.does("crash");
    world.does("+9h step");
    assert_eq!(told(&mut world).len(), 1, "only the interrupted attempt again");
}

#[test]
fn a_runtime_that_starts_nothing_for_long_though_nothing_holds_it_has_stalled() {
    let mut world = world(Some(told_of(&[NoticeEvent::Stalled])));
    for name in ["a", "b", "c"] {
        world.does(&format!("submit {name} silence=9h"));
    }
    world.does("+14m");
    world.does("crash");
    starts(&mut world);
    // Requeued and started anew: c still waits.
    world.does("+14m step");
    assert_eq!(told(&mut world), Vec::<String>::new());
    world.does("+1m step");
    assert_eq!(told(&mut world), ["http://ops/: stalled x1 claude"]);
    world.does("+1h step");
    assert_eq!(told(&mut world), Vec::<String>::new(), "once a stall");
    world.does("a/2 succeeded");
    world.does("+9h step");
    assert_eq!(told(&mut world), Vec::<String>::new(), "c started and nothing waits");
}

#[test]
fn a_stall_that_a_pause_explains_is_none_and_one_goes_on_over_a_restart() {
    let mut world = world(Some(told_of(&[NoticeEvent::Stalled])));
    world.does("pause claude +1h");
    world.does("submit a");
    world.does("+59m step");
    assert_eq!(told(&mut world), Vec::<String>::new());
    // Nothing starts on a runtime that is not configured any more.
    world.settings.runtimes.remove("claude");
    world.does("crash");
    // Ticks and a commit after the pause, so that its end does not count as slept through.
    world.does("+1m");
    world.does("+10m");
    world.does("submit b runtime=shell");
    world.does("crash");
    world.does("+4m step");
    assert_eq!(told(&mut world), Vec::<String>::new());
    world.does("+1m step");
    assert_eq!(told(&mut world), ["http://ops/: stalled x1 claude"], "a quarter of an hour after the pause");
}

#[test]
fn a_queue_that_no_worker_claims_from_has_stalled() {
    let mut world = world(Some(told_of(&[NoticeEvent::Stalled])));
    let mut submission = world.submission("a", &["runtime=shell"]);
    submission.work.action = Action::Worker { queue: "reviews".into() };
    world.tick(vec![Request::Submit(Box::new(submission))]).unwrap();
    world.does("+14m step");
    assert_eq!(told(&mut world), Vec::<String>::new());
    world.does("+1m step");
    assert_eq!(told(&mut world), ["http://ops/: stalled x1 shell"]);
}

#[test]
fn claims_that_wait_for_nothing_are_starts_like_any_other() {
    let mut world = world(Some(told_of(&[NoticeEvent::Stalled])));
    for name in ["a", "b", "c"] {
        world.does(&format!("submit {name} worker=q runtime=shell"));
    }
    for _ in 0..2 {
        world.does("+10m step");
        let claim = world.claim("me", "q", &["lease=2h"]);
        world.tick(vec![Request::Each(vec![claim])]).unwrap();
    }
    world.does("+14m step");
    assert_eq!(told(&mut world), Vec::<String>::new(), "b started a quarter of an hour ago less a minute");
    world.does("+1m step");
    assert_eq!(told(&mut world), ["http://ops/: stalled x1 shell"]);
}

#[test]
fn another_mode_in_force_is_told_with_what_it_was() {
    let mut settings = world(Some(told_of(&[NoticeEvent::ModeChanged]))).settings;
    settings.flows = [("review".into(), Flow::default())].into();
    let mut world = World::with(settings);
    world.does("+1s");
    let flip = Flip { target: Target::Global(Mode::Off), missing: Vec::new(), force: true };
    world.tick(vec![Request::Flip(Box::new(flip))]).unwrap();
    let payload: Value = serde_json::from_slice(&starts(&mut world).remove(0).work.payload).unwrap();
    assert_eq!((&payload["flow"], &payload["mode"]), (&"review".into(), &"off".into()));
    assert_eq!(payload["detail"], "live -> off");
}

#[test]
fn a_soft_mark_and_a_record_that_asks_for_more_are_told_with_what_was_used() {
    let mut world = world(Some(told_of(&[NoticeEvent::BudgetSoft, NoticeEvent::BudgetAsked])));
    let mut submission = world.submission("a", &[]);
    let meter = Meter { used: 0, limit: Some(3), soft: Some(2) };
    submission.budget = Budget::default().with(Measure::Calls, meter);
    submission.budget.ask = true;
    world.tick(vec![Request::Submit(Box::new(submission))]).unwrap();
    world.does("a/1 charge 1");
    assert_eq!(told(&mut world), Vec::<String>::new());
    world.does("a/1 charge 2");
    let payload: Value = serde_json::from_slice(&starts(&mut world).remove(0).work.payload).unwrap();
    assert_eq!(
        (&payload["event"], &payload["id"]),
        (&"budget_soft".into(), &world.id("a").to_string().into())
    );
    assert_eq!(payload["detail"], "calls: used 3 of 3 (soft 2)");
    world.does("a/1 failed budget_exhausted");
    assert_eq!(told(&mut world), ["http://ops/: budget_asked x1 claude"]);
}

#[test]
fn completions_are_told_and_notices_are_not_among_them() {
    let mut world = world(Some(told_of(&[NoticeEvent::Completed])));
    world.does("submit a");
    world.does("a/1 succeeded");
    let id = starts(&mut world).remove(0).id;
    let done = Request::Report { id, attempt: 1, report: Report::Succeeded { result: None } };
    world.tick(vec![done]).unwrap();
    world.does("+9h step");
    assert_eq!(told(&mut world), Vec::<String>::new());
    let filter = Filter { state: Some(StateName::Completed), limit: 10, ..Filter::default() };
    let Ok(Answer::Page(page)) = world.tick(vec![Request::List(filter)]).unwrap().0.remove(0) else {
        panic!()
    };
    assert_eq!(page.records.len(), 2);
}
