//! What the engine makes of too little room, on a disk that says how much it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dwell::engine::{Answer, Asked, Flow, Request, Rule, Settings, Timetable};
use dwell::model::{
    Action, Debounce, RecordId, Rejected, Scope, Space, Submission, Time, Trigger, TriggerId, Work,
};

use crate::common::{T0, World, check_in, trigger};

const MIN_FREE: u64 = 256 << 20;

/// From the next tick on so many MiB are free.
fn free(world: &World, mib: u64) {
    world.disk.set_space(Space { store: "./dwell-data".into(), free: mib << 20, min_free: MIN_FREE });
}

fn asked(world: &mut World, request: Request) -> Result<Answer, Rejected> {
    world.tick(vec![request]).unwrap().0.into_iter().next().unwrap()
}

/// A webhook that makes one run.
fn webhook(world: &mut World, name: &str) -> Request {
    let run = world.submission(name, &["runtime=shell", "flow=f"]);
    let dedup = Some(name.to_owned());
    let trigger = Trigger { dedup, ..trigger(world.id(name).ulid, world.now) };
    Request::Trigger { trigger: Box::new(trigger), runs: vec![run], spool: true }
}

#[test]
fn new_work_is_refused_and_what_was_taken_in_goes_on() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a key=first -> a queued, a active/1, start a/1 Original
         submit b budget=5 runtime=shell -> b queued, b active/1, start b/1 Original
         a/1 rate_limited +90m -> a rate_limited +1h 30m, stop a/1
         b/1 failed -> b backoff +30s, stop b/1
         submit c -> c queued",
    );
    free(&world, 12);
    check_in(
        &mut world,
        "submit d -> rejected store_full
         submit e key=first -> duplicate of a
         rerun a f -> rejected store_full
         cancel c -> c cancelled
         +90m step -> b queued, b active/2, start b/2 Original, a queued, a active/2, start a/2 Original
         b/2 charge 3 -> used 3 of 5, b active/2
         b/2 invalid -> b dead_lettered, stop b/2
         redrive b -> b queued, b active/3, start b/3 Original
         crash -> a/2 was outstanding, b/3 was outstanding, a queued, b queued, a active/3, b active/4, stop a/2, start a/3 Original, stop b/3, start b/4 Original
         submit d -> rejected store_full
         a/3 succeeded -> a completed, stop a/3",
    );
    free(&world, 256);
    check_in(&mut world, "submit d runtime=shell -> d queued, d active/1, start d/1 Original");
}

#[test]
fn a_refusal_says_how_much_is_free_and_how_much_has_to_be() {
    let mut world = World::new();
    free(&world, 255);
    let submission = Box::new(world.submission("a", &[]));
    let refused = asked(&mut world, Request::Submit(submission)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "store ./dwell-data has 255 MiB free, store.min_free is 256 MiB: new work is refused until there is room"
    );
    let Ok(Answer::Status(status)) = asked(&mut world, Request::Status) else { panic!("status") };
    assert!(status.space.unwrap().is_short());
    let Ok(Answer::Why(why)) = asked(&mut world, Request::Why(Asked::Scope(Scope::All))) else {
        panic!("why")
    };
    assert!(matches!(why.rule, Rule::StoreFull(_)), "{why:?}");
}

#[test]
fn a_webhook_is_refused_unless_it_was_taken_before_and_can_be_delivered_again() {
    let mut world = World::new();
    let first = webhook(&mut world, "a");
    assert!(asked(&mut world, first).is_ok());
    free(&world, 0);
    let again = webhook(&mut world, "a");
    assert!(matches!(asked(&mut world, again), Ok(Answer::Triggered(triggered)) if triggered.duplicate));
    let fresh = webhook(&mut world, "b");
    assert!(matches!(asked(&mut world, fresh), Err(Rejected::StoreFull(_))));
    free(&world, 300);
    let redelivered = webhook(&mut world, "b");
    assert!(
        matches!(asked(&mut world, redelivered), Ok(Answer::Triggered(triggered)) if !triggered.duplicate)
    );
}

#[test]
fn a_batch_is_answered_one_by_one() {
    let mut world = World::new();
    check_in(&mut world, "submit a key=k -> a queued, a active/1, start a/1 Original");
    free(&world, 0);
    let submit = |world: &mut World, name, options: &[&str]| {
        Request::Submit(Box::new(world.submission(name, options)))
    };
    let batch = vec![submit(&mut world, "b", &["key=k"]), submit(&mut world, "c", &[])];
    let Ok(Answer::Each(each)) = asked(&mut world, Request::Each(batch)) else { panic!("no batch") };
    assert!(matches!(&each[0], Ok(Answer::Admitted { duplicate: true, .. })));
    assert!(matches!(&each[1], Err(Rejected::StoreFull(_))));
}

#[test]
fn a_debounced_run_was_taken_before_and_is_admitted_when_it_is_due() {
    let mut world = World::new();
    let debounce =
        Debounce { key: "k".into(), quiet: Duration::from_secs(30), max: Duration::from_secs(300) };
    let run = world.submission("a", &["runtime=shell"]);
    let run = Submission { flow: Some("f".into()), debounce: Some(debounce), ..run };
    let request = Request::Trigger { trigger: Box::new(trigger(1, world.now)), runs: vec![run], spool: true };
    asked(&mut world, request).unwrap();
    free(&world, 0);
    check_in(&mut world, "+30s step -> a queued, a active/1, start a/1 Original");
}

#[test]
fn a_dead_letter_is_told_of_although_the_store_is_full() {
    let mut world = World::new();
    world.settings.runtimes.insert("notify".into(), 1);
    world.open();
    let mut submission = world.submission("a", &[]);
    submission.work.on_dead_letter = Some(dwell::model::HttpRequest {
        url: "http://127.0.0.1:1/".to_owned(),
        method: "POST".to_owned(),
        headers: BTreeMap::new(),
    });
    asked(&mut world, Request::Submit(Box::new(submission))).unwrap();
    free(&world, 0);
    let said = world.does("a/1 invalid");
    assert!(said.starts_with("a dead_lettered, ses_") && said.contains(" queued"), "{said}");
}

/// Every minute from the start of the test on.
#[derive(Debug)]
struct Minutely;

impl Timetable for Minutely {
    fn expression(&self) -> String {
        "minutely".to_owned()
    }

    fn next(&self, after: Time) -> Option<Time> {
        Some(Time::from_millis(T0 + ((after.millis() - T0) / 60_000 + 1) * 60_000))
    }

    fn fire(&self, due: Time, now: Time) -> (Trigger, Vec<Submission>) {
        let id = TriggerId(u128::from(due.millis()) << 80);
        let work = Work::of(Action::Command { argv: vec!["true".to_owned()], cwd: None });
        let run = Submission::of(RecordId::run_of(id, 0), "shell".into(), work);
        (Trigger { id, dedup: Some(due.millis().to_string()), ..trigger(0, now) }, vec![run])
    }
}

#[test]
fn the_times_of_a_schedule_wait_for_room_and_are_made_up_once() {
    let schedules: BTreeMap<_, Arc<dyn Timetable>> = BTreeMap::from([("f".into(), Arc::new(Minutely) as _)]);
    let runtimes = BTreeMap::from([("shell".into(), 8)]);
    let flows = BTreeMap::from([("f".into(), Flow::default())]);
    let mut world = World::with(Settings { schedules, runtimes, flows, ..Settings::default() });
    free(&world, 0);
    assert_eq!(world.does("+10m step"), "");
    let next = world.engine.as_ref().unwrap().next_wake().unwrap();
    assert!(next > world.now, "a time that waits does not keep the engine awake");
    free(&world, 256);
    let said = world.does("+10s step");
    assert_eq!(said.matches(" queued").count(), 1, "{said}");
    let said = world.does("+50s step");
    assert_eq!(said.matches(" queued").count(), 1, "{said}");
}

#[test]
fn an_idle_engine_notices_by_itself_that_there_is_room() {
    let mut world = World::new();
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), None);
    free(&world, 0);
    world.does("+1s");
    let look = world.engine.as_ref().unwrap().next_wake().unwrap();
    assert_eq!(world.now.until(look), Duration::from_secs(10));
    free(&world, 256);
    world.does("+10s");
    assert_eq!(world.engine.as_ref().unwrap().next_wake(), None);
}
