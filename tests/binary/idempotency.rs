//! `Idempotency-Key`: a call that is sent twice counts once, and is answered as the first time.

use dwell::engine::{ANSWERS_MAX, Answer, Request};
use dwell::model::Command;
use dwell::store::{Backend as _, Direction, keys};
use serde_json::{Value, json};

use super::common::{World, check, check_in, under};
use super::server::{self, Server, directory};

#[test]
fn a_charge_sent_twice_under_one_key_counts_once() {
    check(
        "submit a budget=20 -> a queued, a active/1, start a/1 Original
         once k a/1 charge 3 -> used 3 of 20, a active/1
         once k a/1 charge 3 -> again used 3 of 20
         once other a/1 charge 3 -> used 6 of 20, a active/1
         once k a/1 charge 3 -> again used 3 of 20
         show a -> active/1, 0 in a row, used 6 of 20",
    );
}

#[test]
fn a_key_with_another_request_is_refused_and_changes_nothing() {
    check(
        "submit a budget=20 -> a queued, a active/1, start a/1 Original
         once k a/1 charge 3 -> used 3 of 20, a active/1
         once k a/1 charge 4 -> rejected idempotency_key_reused
         show a -> active/1, 0 in a row, used 3 of 20",
    );
}

#[test]
fn the_first_answer_and_what_it_answers_survive_a_crash_together_or_not_at_all() {
    for (fault, after) in [("lose", "used 3 of 20"), ("land", "again used 3 of 20")] {
        let script = "
            submit a budget=20 -> a queued, a active/1, start a/1 Original
            a/1 spawned -> a active/1, release a/1
            FAULT ->
            once k a/1 charge 3 -> injected fault
            crash -> a/1 was outstanding, a queued, a active/2, stop a/1, start a/2 Original
            once k a/1 charge 3 -> AFTER";
        // The attempt that was charged is over: a first answer is repeated, a charge that was lost is refused.
        let after = if fault == "lose" { "rejected stale_attempt" } else { after };
        check(script.replace("FAULT", fault).replace("AFTER", after).trim());
    }
}

#[test]
fn a_refusal_is_not_kept_so_asking_again_may_go_better() {
    check(
        "submit a -> a queued, a active/1, start a/1 Original
         once k redrive a -> rejected illegal_transition
         a/1 invalid -> a dead_lettered, stop a/1
         once k redrive a -> queued, a queued, a active/2, start a/2 Original
         once k redrive a -> again queued",
    );
}

#[test]
fn a_command_repeated_under_its_key_is_answered_although_the_state_would_refuse_it() {
    check(
        "submit a -> a queued, a active/1, start a/1 Original
         once k cancel a -> cancelled, a cancelled, stop a/1
         once k cancel a -> again cancelled
         cancel a -> rejected illegal_transition
         submit b -> b queued, b active/1, start b/1 Original
         once r rerun b c -> admitted, c queued, c active/1, start c/1 Original
         once r rerun b c -> again admitted",
    );
}

#[test]
fn two_of_one_key_in_one_tick_are_one() {
    let mut world = World::new();
    check_in(&mut world, "submit a -> a queued, a active/1, start a/1 Original");
    let id = world.id("a");
    let cancel = || under("k", "cancel", Request::Command { id, command: Command::Cancel });
    let (answers, _) = world.tick(vec![cancel(), cancel()]).unwrap();
    let again: Vec<bool> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(Answer::Told(told)) => told.again,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(again, [false, true]);
}

/// The rows that are there for idempotency keys.
fn kept(world: &World) -> usize {
    world.disk.scan(b"a", b"b", Direction::Ascending, 100).unwrap().len()
}

#[test]
fn an_answer_is_kept_for_a_day_and_then_purged_also_after_a_restart() {
    let mut world = World::new();
    check_in(
        &mut world,
        "pause claude +72h ->
         submit a -> a queued
         once k rerun a b -> admitted, b queued
         +12h ->
         once l rerun a c -> admitted, c queued
         crash ->
         +11h59m59s step ->
         once k rerun a b -> again admitted",
    );
    assert_eq!(kept(&world), 4, "two answers, each by name and by time");
    check_in(&mut world, "+1s step -> ");
    assert_eq!(kept(&world), 2);
    check_in(
        &mut world,
        "once k rerun a d -> admitted, d queued
         once l rerun a c -> again admitted
         +24h step ->",
    );
    assert_eq!(kept(&world), 0);
}

#[test]
fn no_more_answers_are_kept_than_may_be() {
    let mut world = World::new();
    check_in(&mut world, "submit a budget=20 -> a queued, a active/1, start a/1 Original");
    // As if a million had been answered: rows by time are what is counted at open.
    let mut batch = dwell::store::Batch::default();
    for n in 0..ANSWERS_MAX {
        let mut name = [0xff; 32];
        name[..8].copy_from_slice(&n.to_be_bytes());
        batch.put(keys::answered(world.now, &name), Vec::new());
    }
    world.disk.commit(batch).unwrap();
    world.open();
    check_in(&mut world, "+1ms -> a queued, a active/2, stop a/1, start a/2 Original");
    let rows = |world: &World| {
        let (from, to) = keys::all_answered();
        world.disk.scan(&from, &to, Direction::Ascending, usize::MAX).unwrap().len() as u64
    };
    assert_eq!(rows(&world), ANSWERS_MAX);
    check_in(&mut world, "once k a/2 charge 1 -> used 1 of 20, a active/2\n +1ms ->");
    assert_eq!(rows(&world), ANSWERS_MAX, "the oldest made room");
    check_in(&mut world, "once k a/2 charge 1 -> again used 1 of 20");
}

/// One call with a key; its status, whether it is a repetition, and its body.
fn post(server: &Server, path: &str, key: &str, body: &Value) -> (u16, bool, Value) {
    let request = ureq::http::Request::post(format!("{}{path}", server.url))
        .header("idempotency-key", key)
        .body(body.to_string())
        .unwrap();
    let mut response = server::client().run(request).unwrap();
    let again = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), again, serde_json::from_str(&text).unwrap())
}

#[test]
fn every_call_that_changes_something_counts_once_under_its_key_also_after_a_kill() {
    let dir = directory("");
    let mut server = Server::start(dir.path(), &["--test-clock", "2026-11-21T00:00:00Z"]);
    let sleeper = json!({"runtime": "shell", "action": {"command": ["sleep", "1000"]}, "budget": 20});
    let id = server.session(&sleeper);
    server.until(&id, "active");
    let of = |what: &str| format!("/v1/records/{id}/{what}");
    let calls = [
        (of("charge"), json!({"attempt": 1, "calls": 3})),
        (of("reports"), json!({"attempt": 1, "type": "session", "id": "s-1"})),
        ("/v1/reports".to_owned(), json!({"reports": [{"record": id, "attempt": 1, "type": "invalid"}]})),
        (of("redrive"), json!({})),
        (of("rerun"), json!({})),
        (of("cancel"), json!({})),
        ("/v1/dead-letters/redrive".to_owned(), json!({"dry_run": true})),
        ("/v1/runtimes/shell/pause".to_owned(), json!({"until": "+1h"})),
        ("/v1/runtimes/shell/resume".to_owned(), json!({})),
        ("/v1/drains".to_owned(), json!({"scope": "flow:f"})),
        ("/v1/sessions/batch".to_owned(), json!({"sessions": [sleeper]})),
    ];
    let first: Vec<(u16, bool, Value)> =
        calls.iter().map(|(path, body)| post(&server, path, "k", body)).collect();
    for ((path, _), (status, again, body)) in calls.iter().zip(&first) {
        assert!((200..300).contains(status) && !again, "{path}: {status} {body:#}");
    }
    let changed = server.get("/v1/status").body["admitted"].clone();
    for ((path, body), (status, _, told)) in calls.iter().zip(&first) {
        assert_eq!(post(&server, path, "k", body), (*status, true, told.clone()), "{path}");
    }
    server.kill();
    let server = Server::start(dir.path(), &["--test-clock", "2026-11-21T00:00:00Z"]);
    for ((path, body), (status, _, told)) in calls.iter().zip(&first) {
        assert_eq!(post(&server, path, "k", body), (*status, true, told.clone()), "{path}");
    }
    assert_eq!(server.get("/v1/status").body["admitted"], changed, "nothing was done twice");
    let (status, _, problem) = post(&server, &calls[0].0, "k", &json!({"attempt": 1, "calls": 4}));
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency_key_reused")));
}
