//! What a record may use up: calls, attempts, time, tokens and money; soft marks, and what is given on top.

use dwell::engine::Request;
use dwell::model::{Effect, RecordId, Report, Start, Usage};
use dwell::store::{Backend as _, keys};
use serde_json::{Value, json};

use super::common::{World, check, check_in};
use super::server::{self, Server, directory, dwell};

#[test]
fn the_attempt_that_spends_the_last_money_is_stopped_and_a_top_up_goes_on_with_its_session() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a cost_usd=1 soft.cost_usd=0.8 -> a queued, a active/1, start a/1 Original
         a/1 spawned s1         -> a active/1, release a/1
         a/1 usage 0.4 end      -> a active/1
         a/1 rate_limited +1h   -> a rate_limited +1h, stop a/1
         +1h                    -> a queued, a active/2, start a/2 LimitReset
         a/2 usage 0.4          -> a active/2, a budget_soft cost_usd: used 0.8 of 1 (soft 0.8)
         a/2 failed             -> a backoff +30s, stop a/2
         +30s                   -> a queued, a active/3, start a/3 Continue
         crash                  -> a/3 was outstanding, a queued, a active/4, stop a/3, start a/4 Continue
         a/4 usage 0.4 9t       -> a dead_lettered, stop a/4
         a/4 failed             -> rejected stale_attempt
         show a                 -> dead_lettered budget_exhausted/4, 0 in a row, tokens: used 9, cost_usd: used 1.2 of 1 (soft 0.8)
         top_up a 0.2 cost_usd  -> a dead_lettered
         top_up a +1 cost_usd   -> a queued, a active/5, start a/5 Continue
         a/5 usage 0.5          -> a active/5
         a/5 succeeded          -> a completed, stop a/5
         top_up a +1 cost_usd   -> rejected illegal_transition",
    );
    let sessions: Vec<Option<String>> = starts(&world).into_iter().map(|start| start.session).collect();
    assert_eq!(
        sessions,
        [None, Some("s1"), Some("s1"), Some("s1"), Some("s1")].map(|id| id.map(str::to_owned))
    );
}

/// What was to be started so far.
fn starts(world: &World) -> Vec<Start> {
    let mut starts = Vec::new();
    for effect in &world.effects {
        if let Effect::Start(start) = effect {
            starts.push((**start).clone());
        }
    }
    starts
}

#[test]
fn a_success_beyond_the_budget_is_a_success_and_any_other_end_is_the_last() {
    check(
        "submit a tokens=10      -> a queued, a active/1, start a/1 Original
         a/1 usage 12t end       -> a active/1
         a/1 succeeded           -> a completed, stop a/1
         submit b tokens=10      -> b queued, b active/1, start b/1 Original
         b/1 usage 12t end       -> b active/1
         b/1 rate_limited +1h    -> b dead_lettered, stop b/1
         submit c tokens=10      -> c queued
         +1h                     -> c active/1, start c/1 Original
         c/1 usage 12t end       -> c active/1
         crash                   -> c/1 was outstanding, c dead_lettered, stop c/1
         show c                  -> dead_lettered budget_exhausted/1, 0 in a row, tokens: used 12 of 10",
    );
}

#[test]
fn attempts_and_time_end_as_budgets_and_not_as_failures() {
    check(
        "submit a attempts=2     -> a queued, a active/1, start a/1 Original
         a/1 unavailable         -> a backoff +5s, stop a/1
         +5s                     -> a queued, a active/2, start a/2 Original
         a/2 failed              -> a backoff +30s, stop a/2
         +30s                    -> a queued, a active/3, start a/3 Original
         crash                   -> a/3 was outstanding, a queued, a active/4, stop a/3, start a/4 Original
         a/4 throttled           -> a dead_lettered, stop a/4
         show a                  -> dead_lettered budget_exhausted/4, 0 in a row, attempts: used 2 of 2
         top_up a 1 attempts     -> a queued, a active/5, start a/5 Original
         a/5 failed              -> a dead_lettered, stop a/5
         submit b wall=1h soft.wall=30m -> b queued, b active/1, start b/1 Original
         +40m                    ->
         b/1 failed              -> b backoff +30s, b budget_soft wall: used 40m of 1h (soft 30m), stop b/1
         +30s                    -> b queued, b active/2, start b/2 Original
         +19m59s                 ->
         +1s                     -> b dead_lettered, stop b/2
         show b                  -> dead_lettered budget_exhausted/2, 0 in a row, wall: used 1h of 1h (soft 30m)
         top_up b +20m wall      -> b queued, b active/3, start b/3 Original
         +10m                    ->
         top_up b +10m wall      -> b active/3
         +19m59s                 ->
         +1s                     -> b dead_lettered, stop b/3",
    );
}

#[test]
fn a_record_that_asks_for_more_says_so_and_a_redrive_gives_a_fresh_budget() {
    check(
        "submit a cost_usd=1 ask=yes -> a queued, a active/1, start a/1 Original
         a/1 usage 1             -> a dead_lettered, a budget_asked cost_usd: used 1 of 1, stop a/1
         crash                   ->
         show a                  -> dead_lettered budget_exhausted/1, 0 in a row, cost_usd: used 1 of 1
         redrive a               -> a queued, a active/2, start a/2 Original
         show a                  -> active/2, 0 in a row, cost_usd: used 0 of 1
         a/2 usage 0.5 7t        -> a active/2
         rerun a b               -> b queued, b active/1, start b/1 Original
         show b                  -> active/1, 0 in a row, cost_usd: used 0 of 1
         a/2 usage 0.5           -> a dead_lettered, a budget_asked cost_usd: used 1 of 1, stop a/2",
    );
}

#[test]
fn calls_are_topped_up_in_any_live_state() {
    let spend = |attempt: u32, from: u32, to: u32, limit: u32| -> String {
        let line = |n| format!("a/{attempt} charge 1 -> used {n} of {limit}, a active/{attempt}\n");
        (from..=to).map(line).collect()
    };
    check(&format!(
        "submit a budget=20      -> a queued, a active/1, start a/1 Original
         {}
         a/1 charge 1            -> rejected budget_exhausted
         top_up a 1 calls        -> a active/1
         {}
         a/1 charge 1            -> rejected budget_exhausted
         a/1 throttled exit_75   -> a dead_lettered, stop a/1
         top_up a 20 tokens      -> rejected no_limit
         top_up a 20 calls       -> a queued, a active/2, start a/2 Original
         {}
         a/2 charge 1            -> rejected budget_exhausted",
        spend(1, 1, 20, 20),
        spend(1, 21, 21, 21),
        spend(2, 22, 41, 41),
    ));
}

#[test]
fn a_hundred_runs_of_twenty_calls_each_all_pass_in_one_process() {
    let mut world = World::new();
    world.settings.runtimes.insert("claude".into(), 100);
    world.open();
    let names: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    let ids: Vec<RecordId> = names.iter().map(|name| world.id(name)).collect();
    for name in &names {
        let submission = world.submission(name, &["budget=20"]);
        world.tick(vec![Request::Submit(Box::new(submission))]).unwrap();
    }
    for call in 1..=21 {
        let charges = ids.iter().map(|id| Request::Charge { id: *id, attempt: 1, calls: 1 }).collect();
        let (answers, _) = world.tick(charges).unwrap();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), if call <= 20 { 100 } else { 0 });
    }
}

#[test]
fn what_the_meter_of_a_session_showed_is_there_for_its_resume() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a                -> a queued, a active/1, start a/1 Original
         a/1 spawned s1          -> a active/1, release a/1",
    );
    let id = world.id("a");
    let told = Usage { cost: 363_044, session_cost: Some(363_044), ..Usage::default() };
    let report = |attempt| Request::Report { id, attempt, report: Report::Usage(told) };
    world.tick(vec![report(1)]).unwrap();
    check_in(
        &mut world,
        "crash                   -> a/1 was outstanding, a queued, a active/2, stop a/1, start a/2 Continue
         a/2 not_resumable       -> a backoff +10s, stop a/2
         +10s                    -> a queued, a active/3, start a/3 Original",
    );
    let told: Vec<u64> = starts(&world).into_iter().map(|start| start.told).collect();
    assert_eq!(told, [0, 363_044, 0]);
    let (answers, _) = world.tick(vec![report(3), report(2)]).unwrap();
    assert!(answers[0].is_ok() && answers[1].is_err());
    assert!(world.disk.get(&keys::told(id)).unwrap().is_some());
    check_in(&mut world, "a/3 succeeded -> a completed, stop a/3");
    check_in(&mut world, "+7d -> forget a");
    assert_eq!(world.disk.get(&keys::told(id)).unwrap(), None);
}

#[test]
fn nothing_is_left_of_a_session_that_cost_nothing() {
    let mut world = World::new();
    check_in(&mut world, "submit a -> a queued, a active/1, start a/1 Original");
    let id = world.id("a");
    let free = Usage { tokens: 5, session_cost: Some(0), ..Usage::default() };
    world.tick(vec![Request::Report { id, attempt: 1, report: Report::Usage(free) }]).unwrap();
    check_in(
        &mut world,
        "a/1 succeeded -> a completed, stop a/1
         +7d           -> forget a",
    );
    assert_eq!(world.disk.get(&keys::told(id)).unwrap(), None);
}

/// Speaks Claude Code's stream: limited first, then failing, each time for 0.4 dollars; well once `finish` is there.
const AGENT: &str = r#"
echo "$*" >> args
while [ $# -gt 0 ]; do case $1 in --session-id|--resume) id=$2;; esac; shift; done
say() { echo "{$1,\"session_id\":\"$id\"}"; }
end() { say "\"type\":\"result\",\"subtype\":\"success\",\"is_error\":$1,\"total_cost_usd\":$2,\"usage\":{\"input_tokens\":5},\"result\":\"$3\""; }
say '"type":"system","subtype":"init"'
if [ -e finish ]; then end false 0.1 done; exit; fi
if [ "$(wc -l < args)" -eq 1 ]; then
    say '"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":'$(($(date +%s) + 1))'}'
fi
end true 0.4 'API Error'
exec sleep 600
"#;

#[test]
fn an_agent_that_costs_too_much_is_stopped_and_goes_on_when_it_is_given_more() {
    let config = "[runtimes.claude]\nargv = [\"sh\", \"agent.sh\"]\nadapter = \"claude\"\n[retry]\nbackoff = \"10ms\"\n";
    let dir = directory(config);
    std::fs::write(dir.path().join("agent.sh"), AGENT).unwrap();
    let server = Server::start(dir.path(), &[]);
    let asked = json!({
        "runtime": "claude", "action": {"agent": {"prompt": "do it"}},
        "budget": {"cost_usd": 1, "soft": {"cost_usd": 0.8}},
    });
    let id = server.session(&asked);
    let dead = server.until(&id, "dead_lettered");
    assert_eq!((&dead["cause"], &dead["attempt"]), (&json!("budget_exhausted"), &json!(3)), "{dead:#}");
    assert_eq!(dead["last_error"]["message"], "cost_usd: used 1.2 of 1 (soft 0.8)");
    assert_eq!(dead["budget"]["cost_usd"], json!({"used": 1.2, "limit": 1.0, "soft": 0.8}));
    assert_eq!(dead["budget"]["tokens"], json!({"used": 15, "limit": null}));

    std::fs::write(dir.path().join("finish"), "").unwrap();
    let topped = dwell(dir.path(), &["budget", &id, "--add", "1", "--json"]);
    assert!(topped.status.success(), "{topped:?}");
    let topped: Value = serde_json::from_slice(&topped.stdout).unwrap();
    assert_eq!(topped["budget"]["cost_usd"]["limit"], 2.0);
    let done = server.until(&id, "completed");
    assert_eq!((&done["attempt"], &done["budget"]["cost_usd"]["used"]), (&json!(4), &json!(1.3)), "{done:#}");

    let args = std::fs::read_to_string(dir.path().join("args")).unwrap();
    let starts: Vec<&str> = args.lines().collect();
    let (_, session) = starts[0].split_once("--session-id ").unwrap();
    assert_eq!(starts.len(), 4, "{args}");
    for resumed in &starts[1..] {
        assert!(resumed.ends_with(&format!("--resume {session}")), "{args}");
    }
    let history = server.history(&id);
    let told =
        |event: &str| -> Vec<&Value> { history.iter().filter(|step| step["event"] == event).collect() };
    assert_eq!(told("budget_soft").len(), 1);
    assert_eq!(told("budget_soft")[0]["detail"], "cost_usd: used 0.8 of 1 (soft 0.8)");
    assert_eq!(told("top_up")[0]["detail"], "cost_usd: used 1.2 of 2 (soft 0.8)");
    assert_eq!((told("usage").len(), told("budget_asked").len()), (4, 0));
}

/// What a command printed, if it went well.
fn printed(dir: &std::path::Path, args: &[&str]) -> String {
    let ran = dwell(dir, args);
    assert!(ran.status.success(), "{args:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn a_budget_is_asked_for_shown_and_topped_up_on_the_command_line() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let limits = "calls=2,wall=2h,cost_usd=1.5,soft.cost_usd=1,on_exhausted=ask";
    let id = printed(dir.path(), &["run", "--detach", "--budget", limits, "--", "sleep", "600"]);
    let id = id.trim();
    server.until(id, "active");
    let report = ["report", "usage", "--tokens", "1200", "--cost-usd", "1", "--id", id, "--attempt", "1"];
    assert_eq!(printed(dir.path(), &report), "active\n");
    let shown = printed(dir.path(), &["budget", id]);
    let expected = format!(
        "{id} active\nMEASURE   USED  LIMIT      SOFT\ncalls     0     2\nwall      0s    2h\n\
         tokens    1200  unlimited\ncost_usd  1.0   1.5        1.0\n"
    );
    assert_eq!(shown, expected);
    let more = printed(dir.path(), &["budget", id, "--add", "30m", "--of", "wall", "--json"]);
    let more: Value = serde_json::from_str(&more).unwrap();
    assert_eq!((&more["state"], &more["budget"]["wall"]["limit"]), (&json!("active"), &json!("2h 30m")));
    assert_eq!((&more["budget"]["on_exhausted"], &more["budget"]["limit"]), (&json!("ask"), &json!(2)));
    assert_eq!(dwell(dir.path(), &["budget", id, "--add", "1", "--of", "tokens"]).status.code(), Some(2));

    let report = ["report", "usage", "--cost-usd", "0.5", "--id", id, "--attempt", "1"];
    assert_eq!(printed(dir.path(), &report), "dead_lettered\n");
    let asked = server.history(id).into_iter().find(|step| step["event"] == "budget_asked").unwrap();
    assert_eq!(asked["detail"], "cost_usd: used 1.5 of 1.5 (soft 1)");
    printed(dir.path(), &["budget", id, "--add", "0.25"]);
    assert_eq!(server.until(id, "active")["budget"]["cost_usd"]["limit"], 1.75);
    printed(dir.path(), &["cancel", id]);
    assert_eq!(dwell(dir.path(), &["budget", id, "--add", "1", "--of", "calls"]).status.code(), Some(4));
}

#[test]
fn a_top_up_that_cannot_be_says_why() {
    let dir = directory("");
    let server = Server::start(dir.path(), &[]);
    let sleep = json!({"command": ["sleep", "600"]});
    let id = server.session(&json!({"runtime": "shell", "action": sleep, "budget": 20}));
    let path = format!("/v1/records/{id}/budget");
    for (body, status, detail) in [
        (json!({}), 400, "add: expected how much more calls"),
        (json!({"add": 0}), 400, "add: expected how much more calls"),
        (json!({"add": -1}), 400, "add: expected a whole number from 0 on, not -1"),
        (json!({"add": 1.5}), 400, "add: expected a whole number from 0 on, not 1.5"),
        (json!({"add": 1, "of": "money"}), 400, "of: unknown value \"money\""),
        (json!({"add": 0, "of": "cost_usd"}), 400, "add: expected more than no cost_usd"),
        (json!({"add": 1, "to": "calls"}), 400, "to: unknown field"),
        (json!({"add": 1, "of": "cost_usd"}), 422, "has no limit of cost_usd"),
    ] {
        let answer = server.post(&path, &body);
        let said = answer.body["detail"].as_str().unwrap();
        assert!(answer.status == status && said.contains(detail), "{body}: {answer:?}");
    }
    let more = server.post(&path, &json!({"add": 5}));
    assert_eq!((more.status, &more.body["budget"]), (200, &json!({"used": 0, "limit": 25})));
    let unknown =
        server::request("POST", &format!("{}/v1/records/ses_x/budget", server.url), Some(&json!({"add": 1})));
    assert_eq!(unknown.unwrap().status, 404);
}
