//! Schedules: each time of a flow makes one run, and those that passed while dwell was down make one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dwell::engine::{Answer, Request, SCHEDULES_PER_TICK_MAX, Settings, Timetable, Upcoming};
use dwell::model::{Action, RecordId, Submission, Time, Trigger, TriggerId, Work};
use dwell::store::memory::Fault as DiskFault;
use serde_json::{Value, json};

use super::common::{T0, World};
use super::server::{Server, directory, flows};

/// So many minutes apart, from the start of the test on.
#[derive(Debug)]
struct Every(u64);

impl Timetable for Every {
    fn expression(&self) -> String {
        format!("every {}m", self.0)
    }

    fn next(&self, after: Time) -> Option<Time> {
        let period = self.0 * 60_000;
        let passed = (after.millis() - T0) / period;
        Some(Time::from_millis(T0 + (passed + 1) * period))
    }

    fn fire(&self, due: Time, now: Time) -> (Trigger, Vec<Submission>) {
        let id = TriggerId(u128::from(now.millis()) << 80 | u128::from(due.millis()));
        let trigger = Trigger {
            id,
            at: now,
            source: "schedule".into(),
            kind: "schedule".into(),
            event: "cron".into(),
            action: None,
            dedup: Some(format!("{}@{}", self.0, due.millis())),
            org: "default".into(),
            env: "default".into(),
            payload: due.millis().to_string().into_bytes(),
            replay_of: None,
            runs: Vec::new(),
        };
        let work = Work::of(Action::Command { argv: vec!["true".to_owned()], cwd: None });
        let run = Submission::of(RecordId::run_of(id, 0), "shell".into(), work);
        (trigger, vec![run])
    }
}

fn world(schedules: &[(&str, u64)]) -> World {
    World::with(settings(schedules))
}

/// Nothing starts, so that runs are all there is to see.
fn settings(schedules: &[(&str, u64)]) -> Settings {
    let table = |(flow, minutes): &(&str, u64)| -> (_, Arc<dyn Timetable>) {
        ((*flow).into(), Arc::new(Every(*minutes)))
    };
    Settings {
        runtimes: BTreeMap::from([("shell".into(), 0)]),
        schedules: schedules.iter().map(table).collect(),
        ..Settings::default()
    }
}

/// The minutes for which triggers were made, in order of their making.
fn fired(world: &mut World) -> Vec<u64> {
    let (answers, _) = world.tick(vec![Request::Triggers { before: None, limit: 1000 }]).unwrap();
    let Some(Ok(Answer::Triggers(mut triggers))) = answers.into_iter().next() else { panic!("triggers") };
    triggers.sort_by_key(|trigger| trigger.at);
    for trigger in &triggers {
        assert_eq!(trigger.runs, [RecordId::run_of(trigger.id, 0)]);
    }
    let due = triggers.iter().map(|trigger| String::from_utf8(trigger.payload.clone()).unwrap());
    due.map(|due| (due.parse::<u64>().unwrap() - T0) / 60_000).collect()
}

fn next(world: &mut World) -> Vec<(String, u64)> {
    let (answers, _) = world.tick(vec![Request::Upcoming { limit: 1000 }]).unwrap();
    let Some(Ok(Answer::Upcoming(upcoming))) = answers.into_iter().next() else { panic!("upcoming") };
    let row = |upcoming: Upcoming| match upcoming {
        Upcoming::Schedule(row) => (row.flow.to_string(), (row.next_at.unwrap().millis() - T0) / 60_000),
        Upcoming::Debounced(row) => panic!("{row:?}"),
    };
    upcoming.into_iter().map(row).collect()
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// Time passes as it does: a tick at each deadline on the way.
fn pass(world: &mut World, by: Duration) {
    let target = world.now.after(by);
    while let Some(at) = world.engine.as_ref().unwrap().next_wake().filter(|at| *at <= target) {
        world.now = world.now.max(at);
        world.tick(Vec::new()).unwrap();
    }
    world.now = target;
}

#[test]
fn a_schedule_makes_one_run_at_each_of_its_times_and_none_before() {
    let mut world = world(&[("a", 10), ("b", 25)]);
    assert_eq!(next(&mut world), [("a".to_owned(), 10), ("b".to_owned(), 25)]);
    pass(&mut world, Duration::from_millis(599_999));
    assert_eq!(fired(&mut world), [] as [u64; 0]);
    pass(&mut world, Duration::from_millis(1));
    assert_eq!(fired(&mut world), [10]);
    pass(&mut world, minutes(20));
    assert_eq!(fired(&mut world), [10, 20, 25, 30]);
}

#[test]
fn times_that_passed_while_dwell_was_down_make_one_run_and_then_the_next_comes_as_ever() {
    let mut world = world(&[("a", 10)]);
    pass(&mut world, minutes(10));
    world.engine = None;
    world.now = world.now.after(minutes(2 * 24 * 60 + 5));
    world.open();
    let start = (world.now.millis() - T0) / 60_000;
    assert_eq!(start, 2895);
    pass(&mut world, minutes(1));
    assert_eq!(fired(&mut world), [10, 20], "one for all that were missed, named by the first of them");
    pass(&mut world, minutes(14));
    assert_eq!(fired(&mut world), [10, 20, 2900, 2910]);
}

#[test]
fn a_crash_at_the_moment_makes_one_run_and_no_second() {
    for fault in [DiskFault::Lose, DiskFault::LandUnanswered] {
        let mut world = world(&[("a", 10)]);
        world.now = world.now.after(minutes(10));
        world.disk.fail_next(fault);
        assert!(world.tick(Vec::new()).is_err());
        world.open();
        pass(&mut world, minutes(9));
        assert_eq!(fired(&mut world), [10]);
        pass(&mut world, minutes(1));
        assert_eq!(fired(&mut world), [10, 20]);
    }
}

#[test]
fn a_restart_does_not_move_what_is_due_and_a_changed_expression_counts_anew() {
    let mut world = world(&[("a", 10), ("b", 10)]);
    pass(&mut world, minutes(7));
    world.settings = settings(&[("a", 10), ("b", 25), ("c", 30)]);
    world.open();
    let of = |flow: &str, minute| (flow.to_owned(), minute);
    assert_eq!(next(&mut world), [of("a", 10), of("b", 25), of("c", 30)]);
    world.settings = settings(&[("a", 10)]);
    world.open();
    pass(&mut world, minutes(60));
    assert_eq!(fired(&mut world), [10, 20, 30, 40, 50, 60], "what is not configured any more is forgotten");
}

#[test]
fn a_missed_time_of_an_expression_that_changed_meanwhile_is_not_made_up() {
    let mut world = world(&[("a", 10)]);
    world.engine = None;
    world.now = world.now.after(minutes(12));
    world.settings = settings(&[("a", 60)]);
    world.open();
    pass(&mut world, minutes(1));
    assert_eq!(fired(&mut world), [] as [u64; 0]);
    assert_eq!(next(&mut world), [("a".to_owned(), 60)]);
}

#[test]
fn more_schedules_at_one_moment_than_a_tick_takes_all_come() {
    let names: Vec<String> = (0..300).map(|n| format!("f{n:03}")).collect();
    // Each with a period of its own, and all of them due together.
    let schedules: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(1..).collect();
    let mut world = world(&schedules);
    world.now = world.now.after(minutes(300));
    world.tick(Vec::new()).unwrap();
    let first = fired(&mut world).len();
    assert!(first >= SCHEDULES_PER_TICK_MAX, "only {first}");
    pass(&mut world, Duration::ZERO);
    assert_eq!(next(&mut world).len(), 300);
    assert!(next(&mut world).iter().all(|(_, at)| *at > 300), "all of them were fired");
}

const FLOW: &str = "
name: nightly
on: { schedule: { cron: \"0 9 * * 1-5\", tz: Europe/Vienna } }
run: { command: [echo, \"${scheduled_for}\"] }
";

#[test]
fn the_real_server_runs_on_weekdays_at_nine_in_vienna_and_once_for_a_weekend_down() {
    let dir = directory("");
    flows(dir.path(), &[("nightly.yaml", FLOW)]);
    // A Thursday.
    let server = Server::start(dir.path(), &["--test-clock", "2026-11-19T07:00:00Z"]);
    let ran = |server: &Server| -> Vec<Value> {
        let mut runs = server.get("/v1/runs").body["items"].as_array().unwrap().clone();
        runs.reverse();
        let show = |run: &Value| server.get(&format!("/v1/records/{}", run["id"].as_str().unwrap())).body;
        runs.iter().map(|run| show(run)["action"]["command"][1].clone()).collect()
    };
    let upcoming = server.get("/v1/upcoming").body["items"].clone();
    let expected = json!([{
        "kind": "schedule", "flow": "nightly", "schedule": "0 9 * * 1-5 Europe/Vienna",
        "due_at": "2026-11-19T08:00:00.000Z",
    }]);
    assert_eq!(upcoming, expected);
    assert_eq!(
        server.get("/v1/flows").body["items"][0]["on"],
        json!(["schedule: 0 9 * * 1-5 Europe/Vienna"])
    );
    server.advance("1h");
    assert_eq!(ran(&server), [json!("2026-11-19T08:00:00.000Z")]);
    let trigger = server.get("/v1/triggers").body["items"][0].clone();
    let said = [&trigger["source"], &trigger["event"], &trigger["action"]];
    assert_eq!(said, [&json!("schedule"), &json!("cron"), &json!("nightly")]);
    drop(server);
    // Down from Thursday to Tuesday noon: Friday, Monday and Tuesday were missed.
    let server = Server::start(dir.path(), &["--test-clock", "2026-11-24T12:00:00Z"]);
    server.advance("1s");
    let mut all = vec![json!("2026-11-19T08:00:00.000Z"), json!("2026-11-20T08:00:00.000Z")];
    assert_eq!(ran(&server), all);
    server.advance("20h");
    all.push(json!("2026-11-25T08:00:00.000Z"));
    assert_eq!(ran(&server), all);
}
