//! Debounce: one run for a burst of triggers, with the last payload, at exactly its time.

use std::collections::BTreeMap;
use std::time::Duration;

use dwell::engine::{Answer, DEBOUNCED_MAX, Flow, Org, Outcome, Request, Settings, Triggered, Upcoming};
use dwell::model::{Debounce, Effect, Fault, Group, Name, RecordId, Submission, Time, Trigger, TriggerId};
use dwell::store::memory::Fault as DiskFault;
use dwell::store::{Backend as _, Batch, Debounced, Direction, Stored as _, keys};
use serde_json::{Value, json};

use super::common::{self, World, check_in};
use super::server::{Server, directory, flows};

/// The run of a trigger that is debounced under `key`: quiet 30 s, max 5 min.
fn debounced(world: &mut World, name: &str, key: &str) -> Submission {
    let debounce = Debounce { key: key.into(), quiet: Duration::from_secs(30), max: Duration::from_mins(5) };
    let mut run = world.submission(name, &["runtime=shell"]);
    run.work.payload = name.as_bytes().to_vec();
    Submission { flow: Some("deploy".into()), debounce: Some(debounce), ..run }
}

fn request(world: &World, runs: Vec<Submission>) -> Request {
    let id = TriggerId(runs[0].id.ulid);
    let runs = runs.into_iter().map(|run| Submission { trigger: Some(id), ..run }).collect();
    let trigger = Trigger { id, dedup: Some(id.to_string()), ..common::trigger(0, world.now) };
    Request::Trigger { trigger: Box::new(trigger), runs, spool: false }
}

/// One trigger in a tick of its own; what became of it, and the steps and effects.
fn trigger(world: &mut World, runs: Vec<Submission>) -> (Triggered, String) {
    let asked = request(world, runs);
    let (answers, words) = world.tick(vec![asked]).unwrap();
    match answers.into_iter().next().unwrap() {
        Ok(Answer::Triggered(triggered)) => (triggered, words),
        other => panic!("{other:?}"),
    }
}

/// A trigger of the key `k`, and when its run is due.
fn push(world: &mut World, name: &str) -> Duration {
    let run = debounced(world, name, "k");
    let (triggered, words) = trigger(world, vec![run]);
    assert_eq!((triggered.runs.len(), words.as_str()), (0, ""), "nothing is admitted yet");
    world.now.until(triggered.debounced[0].due_at)
}

fn upcoming(world: &mut World) -> Vec<Upcoming> {
    let (answers, _) = world.tick(vec![Request::Upcoming { limit: 100 }]).unwrap();
    match answers.into_iter().next().unwrap() {
        Ok(Answer::Upcoming(upcoming)) => upcoming,
        other => panic!("{other:?}"),
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_burst_of_triggers_is_one_run_with_the_last_payload_after_the_quiet_period() {
    let mut world = World::new();
    assert_eq!(push(&mut world, "a"), seconds(30));
    check_in(&mut world, "+20s ->");
    assert_eq!(push(&mut world, "b"), seconds(30));
    check_in(&mut world, "+29s ->");
    assert_eq!(push(&mut world, "c"), seconds(30));
    check_in(
        &mut world,
        "+29s999ms ->
         +1ms -> c queued, c active/1, start c/1 Original
         +10m step ->
         show a -> rejected not_found
         show b -> rejected not_found",
    );
    let started = world.effects.iter().find_map(|effect| {
        if let Effect::Start(start) = effect { Some(start.work.payload.clone()) } else { None }
    });
    assert_eq!(started, Some(b"c".to_vec()));
    assert_eq!(upcoming(&mut world), []);
}

#[test]
fn a_burst_that_does_not_end_is_cut_at_its_longest() {
    let mut world = World::new();
    let mut names = (0..).map(|n| format!("r{n}"));
    for _ in 0..10 {
        push(&mut world, &names.next().unwrap());
        check_in(&mut world, "+29s ->");
    }
    // 290 s after the first: ten more are left.
    assert_eq!(push(&mut world, "last"), seconds(10));
    check_in(&mut world, "+10s -> last queued, last active/1, start last/1 Original");
    assert_eq!(push(&mut world, "next"), seconds(30), "the next one begins anew");
}

#[test]
fn a_trigger_at_the_very_moment_begins_a_new_burst() {
    let mut world = World::new();
    push(&mut world, "a");
    world.now = world.now.after(seconds(30));
    let run = debounced(&mut world, "b", "k");
    let (triggered, words) = trigger(&mut world, vec![run]);
    assert_eq!(words, "a queued, a active/1, start a/1 Original");
    assert_eq!(world.now.until(triggered.debounced[0].due_at), seconds(30));
}

#[test]
fn keys_and_flows_do_not_share_a_burst() {
    let mut world = World::new();
    let (a, b) = (debounced(&mut world, "a", "main"), debounced(&mut world, "b", "dev"));
    let other = Submission { flow: Some("other".into()), ..debounced(&mut world, "c", "main") };
    let (triggered, _) = trigger(&mut world, vec![a, b, other]);
    let slots: Vec<(&str, &str)> = triggered.debounced.iter().map(|row| (&*row.flow, &*row.key)).collect();
    assert_eq!(slots, [("deploy", "main"), ("deploy", "dev"), ("other", "main")]);
    check_in(
        &mut world,
        "+30s -> b queued, a queued, c queued, b active/1, a active/1, c active/1, \
         start a/1 Original, start b/1 Original, start c/1 Original",
    );
}

#[test]
fn a_crash_in_the_quiet_period_changes_neither_the_moment_nor_the_number_of_runs() {
    let mut world = World::new();
    push(&mut world, "a");
    check_in(&mut world, "+10s ->");
    push(&mut world, "b");
    check_in(
        &mut world,
        "+10s ->
         crash ->
         +19s999ms step ->
         +1ms -> b queued, b active/1, start b/1 Original
         crash -> b/1 was outstanding, b queued, b active/2, stop b/1, start b/2 Original
         +10m step ->",
    );
    let late = world.now;
    push(&mut world, "c");
    world.now = late.after(seconds(3600));
    check_in(
        &mut world,
        "crash -> b/2 was outstanding, b queued, c queued, b active/3, c active/1, stop b/2, \
                          start b/3 Original, start c/1 Original",
    );
}

#[test]
fn an_admission_that_is_lost_is_made_again_and_one_that_landed_is_not() {
    for (fault, after) in [
        (DiskFault::Lose, "crash -> a queued, a active/1, start a/1 Original"),
        (
            DiskFault::LandUnanswered,
            "crash -> a/1 was outstanding, a queued, a active/2, stop a/1, start a/2 Original",
        ),
    ] {
        let mut world = World::new();
        push(&mut world, "a");
        world.disk.fail_next(fault);
        check_in(&mut world, &format!("+30s -> injected fault\n{after}\n+10m step ->"));
    }
}

#[test]
fn the_last_trigger_names_the_run_once_it_is_admitted_also_to_its_duplicate() {
    let mut world = World::new();
    push(&mut world, "a");
    push(&mut world, "b");
    let (a, b) = (debounced(&mut world, "a", "k"), debounced(&mut world, "b", "k"));
    let (duplicate, _) = trigger(&mut world, vec![b.clone()]);
    assert_eq!((duplicate.duplicate, duplicate.runs, duplicate.debounced.len()), (true, vec![], 0));
    check_in(&mut world, "+30s -> b queued, b active/1, start b/1 Original");
    assert_eq!(trigger(&mut world, vec![b.clone()]).0.runs, [b.id]);
    assert_eq!(trigger(&mut world, vec![a]).0.runs, []);
}

#[test]
fn what_is_debounced_passes_the_burst_gate_unseen_and_is_not_counted_as_queued() {
    let mut settings = Settings { queued_max: 1, ..Settings::default() };
    settings.runtimes = BTreeMap::from([("shell".into(), 0)]);
    settings.burst.rate.threshold = 1;
    settings.orgs = BTreeMap::from([("default".into(), Org { burst: true, ..Org::default() })]);
    let mut world = World::with(settings);
    for n in 0..5 {
        let run = debounced(&mut world, &format!("r{n}"), &n.to_string());
        assert_eq!(trigger(&mut world, vec![run]).0.outcome, Outcome::PassThrough);
    }
    let (answers, _) = world.tick(vec![Request::Status]).unwrap();
    let Some(Ok(Answer::Status(status))) = answers.into_iter().next() else { panic!("a status") };
    assert!(status.burst.decisions.is_empty(), "{:?}", status.burst.decisions);
    assert_eq!(status.next_deadline, Some(world.now.after(seconds(30))));
    check_in(&mut world, "+30s -> r0 queued, r1 queued, r2 queued, r3 queued, r4 queued");
}

#[test]
fn the_mode_at_the_moment_of_its_admission_decides_about_a_run() {
    let settings = || {
        let runtimes = BTreeMap::from([("shell".into(), 1)]);
        Settings {
            runtimes,
            flows: BTreeMap::from([("deploy".into(), Flow::default())]),
            ..Settings::default()
        }
    };
    for (mode, at_last) in
        [("live", "a queued, a active/1, start a/1 Original"), ("shadow", "a completed"), ("off", "")]
    {
        let mut world = World::with(settings());
        push(&mut world, "a");
        world.does(&format!("mode deploy {mode}"));
        check_in(&mut world, &format!("crash ->\n+30s -> {at_last}\n+10m step ->"));
        assert_eq!(upcoming(&mut world), []);
    }
    let mut world = World::with(settings());
    world.does("mode deploy off");
    let run = debounced(&mut world, "a", "k");
    let (triggered, _) = trigger(&mut world, vec![run]);
    assert_eq!(
        (triggered.debounced.len(), triggered.off.len()),
        (0, 1),
        "a flow that is off waits for nothing"
    );
}

#[test]
fn a_run_that_was_debounced_supersedes_those_of_its_group() {
    let mut world = World::new();
    let group = Group { name: "g".into(), max: 1, cancel_in_progress: true, queued_max: None };
    let first =
        Submission { flow: Some("deploy".into()), group: Some(group.clone()), ..world.submission("a", &[]) };
    let second = Submission { group: Some(group), ..debounced(&mut world, "b", "k") };
    assert_eq!(trigger(&mut world, vec![first]).1, "a queued, a active/1, start a/1 Original");
    trigger(&mut world, vec![second]);
    check_in(&mut world, "+30s -> b queued, a cancelled, b active/1, stop a/1, start b/1 Original");
}

#[test]
fn an_expiry_counts_from_the_admission_and_an_invalid_run_is_dead_then() {
    let mut world = World::new();
    let expiring = Submission { expires: Some(seconds(60)), ..debounced(&mut world, "a", "k") };
    let fault = Fault::new("template", "missing");
    let invalid = Submission { invalid: Some(fault), ..debounced(&mut world, "b", "l") };
    check_in(&mut world, "pause shell +1h ->");
    trigger(&mut world, vec![expiring, invalid]);
    check_in(
        &mut world,
        "+30s -> a queued, b dead_lettered
         +59s999ms step ->
         +1ms step -> a dead_lettered
         show b -> dead_lettered invalid/0, 0 in a row",
    );
}

#[test]
fn beyond_the_limit_a_run_of_a_new_key_is_admitted_at_once_and_a_known_key_still_waits() {
    let mut world = World::new();
    check_in(&mut world, "pause shell +1h ->");
    let mut batch = Batch::default();
    for n in 0..DEBOUNCED_MAX {
        let (key, now): (Name, Time) = (n.to_string().into(), world.now);
        let (flow, run) = ("deploy".into(), RecordId::session(n as u128));
        let due_at = now.after(seconds(30));
        let row = Debounced { flow, key, first_at: now, due_at, run, trigger: None };
        batch.put(keys::debounced(&row.flow, &row.key), row.encode());
    }
    world.disk.commit(batch).unwrap();
    world.open();
    let over = debounced(&mut world, "over", "one more");
    assert_eq!(trigger(&mut world, vec![over]).1, "over queued");
    let known = debounced(&mut world, "known", "7");
    let (triggered, words) = trigger(&mut world, vec![known]);
    assert_eq!((triggered.debounced.len(), words.as_str()), (1, ""));
}

#[test]
fn nothing_of_it_is_left_on_the_disk_after_its_run_is_admitted() {
    let mut world = World::new();
    let rows = |world: &World| world.disk.scan(b"b", b"c", Direction::Ascending, 100).unwrap().len();
    push(&mut world, "a");
    push(&mut world, "b");
    assert_eq!(rows(&world), 3);
    check_in(&mut world, "+30s -> b queued, b active/1, start b/1 Original");
    assert_eq!(rows(&world), 0);
}

#[test]
fn what_waits_is_listed_with_its_moment() {
    let mut world = World::new();
    push(&mut world, "a");
    check_in(&mut world, "+10s ->");
    push(&mut world, "b");
    let b = world.id("b");
    let [Upcoming::Debounced(row)] = &upcoming(&mut world)[..] else { panic!("one") };
    let t0 = Time::from_millis(common::T0);
    assert_eq!((row.first_at, row.due_at, row.run), (t0, t0.after(seconds(40)), b));
}

const FLOW: &str = "
name: deploy
on: { forge: { push: } }
debounce: { key: \"${branch}\", quiet: 30s, max: 5m }
run: { command: [echo, \"${commit}\"] }
";

#[test]
fn the_real_server_makes_one_run_of_many_pushes_also_over_a_kill() {
    let dir = directory("");
    flows(dir.path(), &[("deploy.yaml", FLOW)]);
    let start = || Server::start(dir.path(), &["--test-clock", "2026-11-21T00:00:00Z"]);
    let mut server = start();
    let push = |server: &Server, branch: &str, commit: &str| {
        let body =
            json!({"source": "forge", "event": "push", "payload": {"branch": branch, "commit": commit}});
        let answer = server.post("/v1/triggers", &body);
        assert_eq!((answer.status, &answer.body["runs"]), (202, &json!([])), "{answer:?}");
        answer.body["debounced"].clone()
    };
    push(&server, "main", "c1");
    push(&server, "dev", "c2");
    server.advance("20s");
    let debounced = push(&server, "main", "c3");
    let expected = json!([{"flow": "deploy", "key": "main", "due_at": "2026-11-21T00:00:50.000Z"}]);
    assert_eq!(debounced, expected);
    server.kill();
    let server = start();
    let upcoming = server.get("/v1/upcoming").body["items"].clone();
    let keys: Vec<&Value> = upcoming.as_array().unwrap().iter().map(|item| &item["key"]).collect();
    assert_eq!(keys, ["dev", "main"], "the earliest first: {upcoming:#}");
    let ran = |server: &Server| -> Vec<Value> {
        let runs = server.get("/v1/runs").body["items"].as_array().unwrap().clone();
        runs.iter()
            .map(|run| {
                server.get(&format!("/v1/records/{}", run["id"].as_str().unwrap())).body["action"].clone()
            })
            .collect()
    };
    server.advance("10s");
    assert_eq!(ran(&server), [json!({"command": ["echo", "c2"]})]);
    server.advance("19s");
    assert_eq!(ran(&server).len(), 1);
    server.advance("1s");
    assert!(ran(&server).contains(&json!({"command": ["echo", "c3"]})), "{:?}", ran(&server));
    server.advance("1h");
    assert_eq!(ran(&server).len(), 2);
}
