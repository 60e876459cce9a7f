//! SIGHUP: configuration and flows are read anew, all of it or nothing, and nothing is lost meanwhile.

use std::fs;
use std::path::Path;

use dwell::engine::{Pacing, Request, Settings};
use serde_json::json;
use tempfile::TempDir;

use super::common::World;
use super::manager::{Manager, hang_up};
use super::server::{Server, directory, flows};

const QUIET: &str = "[log]\nlevel = \"info\"\n[retry]\njitter = 0\n";

fn flow(name: &str) -> String {
    format!("name: {name}\non: {{ cli: {{ {name}: }} }}\nrun: {{ command: ['true'] }}\n")
}

/// A server with a manager, on a directory with these flows.
fn served(config: &str, names: &[&str]) -> (TempDir, Server, Manager) {
    let dir = directory(config);
    flows(dir.path(), &[]);
    for name in names {
        write_flow(dir.path(), name);
    }
    let mut command = Server::command(dir.path(), &[]);
    let manager = Manager::of(dir.path(), &mut command);
    let server = Server::spawn(&mut dwell::fixture::Server::logged(command, dir.path()).unwrap());
    manager.until("READY=1");
    (dir, server, manager)
}

fn write_flow(dir: &Path, name: &str) {
    fs::write(dir.join("flows").join(format!("{name}.yaml")), flow(name)).unwrap();
}

/// How many runs a trigger of this event makes.
fn runs(server: &Server, event: &str) -> usize {
    let answer = server.post("/v1/triggers", &json!({"source": "cli", "event": event, "payload": {}}));
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["runs"].as_array().unwrap().len()
}

fn names(server: &Server, path: &str, member: &str) -> Vec<String> {
    let items = server.get(path).body["items"].as_array().unwrap().clone();
    items.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[test]
fn flows_and_keys_that_changed_are_in_force_after_it() {
    let (dir, server, manager) = served(QUIET, &["kept", "gone"]);
    assert_eq!((runs(&server, "fresh"), runs(&server, "gone")), (0, 1));
    fs::remove_file(dir.path().join("flows/gone.yaml")).unwrap();
    write_flow(dir.path(), "fresh");
    let hourly = "name: hourly\non: { schedule: { cron: '0 * * * *' } }\nrun: { command: ['true'] }\n";
    fs::write(dir.path().join("flows/hourly.yaml"), hourly).unwrap();
    let config = format!("{QUIET}[runtimes.farm]\nconcurrency = 3\n[sources.hub]\nkind = \"standard\"\n");
    fs::write(dir.path().join("dwell.toml"), config).unwrap();
    assert_eq!(server.deliver("hub", &[], b"{}").status, 404);

    let status = manager.reload(&server.child);
    assert!(status.starts_with("reloaded: 3 flows, runtimes.farm.adapter, "), "{status}");
    assert_eq!((runs(&server, "fresh"), runs(&server, "gone"), runs(&server, "kept")), (1, 0, 1));
    assert_eq!(names(&server, "/v1/flows", "name"), ["fresh", "hourly", "kept"]);
    assert_eq!(names(&server, "/v1/upcoming", "flow"), ["hourly"]);
    assert_eq!(server.runtime("farm")["concurrency"], 3);
    assert_eq!(server.deliver("hub", &[], b"{}").status, 401, "the source is there, the signature is not");

    fs::remove_file(dir.path().join("flows/hourly.yaml")).unwrap();
    manager.reload(&server.child);
    assert_eq!(names(&server, "/v1/upcoming", "flow"), Vec::<String>::new());
    assert!(server.terminate().success());
}

#[test]
fn one_bad_flow_among_ten_changes_nothing_and_is_told() {
    let all: Vec<String> = (0..10).map(|n| format!("flow-{n}")).collect();
    let (dir, server, manager) = served(QUIET, &all.iter().map(String::as_str).collect::<Vec<_>>());
    fs::write(dir.path().join("flows/flow-3.yaml"), "name: flow-3\non: { cli: { e: } }\nrum: {}\n").unwrap();
    write_flow(dir.path(), "eleventh");
    fs::write(dir.path().join("dwell.toml"), format!("{QUIET}[runtimes.farm]\nconcurrency = 3\n")).unwrap();

    let status = manager.reload(&server.child);
    assert!(status.starts_with("not reloaded: ") && status.contains("flow-3.yaml:1"), "{status}");
    assert_eq!(names(&server, "/v1/flows", "name"), all);
    assert_eq!((runs(&server, "flow-3"), runs(&server, "eleventh")), (1, 0));
    assert!(!names(&server, "/v1/runtimes", "name").contains(&"farm".to_owned()));
    let ready = server.get("/readyz");
    let reasons = ready.body["reasons"].to_string();
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(reasons.contains("not reloaded at") && reasons.contains("flow-3.yaml:1"), "{reasons}");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let told = log.lines().find(|line| line.contains("not reloaded, what was loaded goes on")).unwrap();
    assert!(told.contains("ERROR") && told.contains("flow-3.yaml:1"), "{told}");

    write_flow(dir.path(), "flow-3");
    manager.reload(&server.child);
    assert_eq!(runs(&server, "eleventh"), 1);
    assert_eq!(server.get("/readyz").body["reasons"], json!([]), "what was wrong is right now");
}

#[test]
fn the_log_says_as_much_as_its_level_from_the_reload_on() {
    let (dir, server, manager) = served(QUIET, &[]);
    let log = || {
        // Answered by the engine, so what it said of what came before is written.
        assert_eq!(server.get("/v1/status").status, 200);
        fs::read_to_string(dir.path().join("log")).unwrap()
    };
    let level = |level: &str| {
        fs::write(
            dir.path().join("dwell.toml"),
            format!("[log]\nlevel = \"{level}\"\n[retry]\njitter = 0\n"),
        )
        .unwrap();
        let status = manager.reload(&server.child);
        assert_eq!(status, "reloaded: 0 flows, log.level changed");
    };
    let said = |words: &str| log().lines().filter(|line| line.contains(words)).count();
    all_done(&server, &[submit(&server, "shell")]);
    assert_eq!(said("DEBUG"), 0, "{}", log());

    level("error");
    assert_eq!(said("log.level changed"), 0, "{}", log());
    level("info,dwell::record=debug");
    assert_eq!(said("log.level changed"), 1, "{}", log());
    let id = submit(&server, "shell");
    all_done(&server, std::slice::from_ref(&id));
    assert!(log().lines().any(|line| line.contains("DEBUG") && line.contains(&id)), "{}", log());

    fs::write(dir.path().join("dwell.toml"), "[log]\nlevel = \"loud\"\n").unwrap();
    let status = manager.reload(&server.child);
    assert!(status.contains("dwell.toml:2: log.level: \"loud\" is no level"), "{status}");
    level("warn,dwell::record=off");
    let lines = log().lines().count();
    all_done(&server, &[submit(&server, "shell")]);
    assert_eq!(log().lines().count(), lines, "{}", log());
}

#[test]
fn what_takes_a_restart_is_refused_by_name() {
    let (dir, server, manager) = served(QUIET, &[]);
    let config =
        "[store]\nmin_free = \"1MiB\"\n[run]\nbudget = 7\n[log]\nformat = \"json\"\nlevel = \"info\"\n";
    fs::write(dir.path().join("dwell.toml"), config).unwrap();
    let status = manager.reload(&server.child);
    assert_eq!(
        status,
        "not reloaded: log.format, store.min_free cannot change while dwell runs: it takes a restart"
    );
    fs::write(dir.path().join("dwell.toml"), "[run]\nbuget = 7\n").unwrap();
    let status = manager.reload(&server.child);
    assert!(status.contains("dwell.toml:2: unknown key run.buget"), "{status}");
}

fn submit(server: &Server, runtime: &str) -> String {
    server.session(&json!({"runtime": runtime, "action": {"command": ["true"]}}))
}

/// Every one completed, at its first attempt.
fn all_done(server: &Server, ids: &[String]) {
    for id in ids {
        let record = server.until(id, "completed");
        assert_eq!(record["attempt"], 1, "{record:#}");
    }
}

#[test]
fn a_runtime_that_comes_and_goes_under_load_loses_nothing() {
    const ROUNDS: usize = 5;
    let with_farm = format!("{QUIET}[runtimes.farm]\nconcurrency = 2\nramp = \"off\"\n");
    let (dir, server, manager) = served(&with_farm, &[]);
    let mut ids = Vec::new();
    for _ in 0..ROUNDS {
        ids.extend((0..10).map(|_| submit(&server, "farm")));
        fs::write(dir.path().join("dwell.toml"), QUIET).unwrap();
        assert!(manager.reload(&server.child).starts_with("reloaded"));
        let refused =
            server.post("/v1/sessions", &json!({"runtime": "farm", "action": {"command": ["true"]}}));
        assert_eq!(refused.status, 422, "{refused:?}");
        ids.extend((0..10).map(|_| submit(&server, "shell")));
        fs::write(dir.path().join("dwell.toml"), &with_farm).unwrap();
        assert!(manager.reload(&server.child).starts_with("reloaded"));
    }
    all_done(&server, &ids);
}

/// The one run of a trigger.
fn run(server: &Server) -> String {
    let trigger = json!({"source": "cli", "event": "busy", "payload": {}});
    let answer = server.post("/v1/triggers", &trigger);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["runs"][0].as_str().unwrap().to_owned()
}

#[test]
fn a_hundred_hang_ups_under_load_lose_nothing() {
    const RECORDS: usize = 200;
    let (dir, server, manager) = served(QUIET, &["busy"]);
    let ids = std::thread::scope(|scope| {
        let server = &server;
        let load = scope.spawn(move || {
            let ids = (0..RECORDS / 2).map(|_| [submit(server, "shell"), run(server)]);
            ids.collect::<Vec<_>>().concat()
        });
        for n in 0..100 {
            let budget = format!("{QUIET}[run]\nbudget = {}\n", n + 1);
            fs::write(dir.path().join("new"), budget).unwrap();
            fs::rename(dir.path().join("new"), dir.path().join("dwell.toml")).unwrap();
            hang_up(&server.child);
            // Those that wait for the same reload are one.
            if n % 5 == 4 {
                let told = manager.until("READY=1");
                assert!(told.contains("STATUS=reloaded: 1 flows"), "{told}");
            }
        }
        load.join().unwrap()
    });
    all_done(&server, &ids);
    let budget = || server.get(&format!("/v1/records/{}", run(&server))).body["budget"]["limit"].clone();
    while budget() != 100 {
        manager.until("READY=1");
    }
}

#[test]
fn what_waits_for_a_window_is_found_there_after_its_scope_changed() {
    let by_model = |world: &World, by_model| {
        let mut settings: Settings = world.settings.clone();
        settings.pacing.insert("claude".into(), Pacing { ramp: false, by_model });
        Request::Reload(Box::new(settings))
    };
    for (before, after) in [(false, true), (true, false)] {
        let mut world = World::new();
        let request = by_model(&world, before);
        world.tick(vec![request]).unwrap();
        assert_eq!(world.does("submit a runtime=claude model=m"), "a queued, a active/1, start a/1 Original");
        world.does("a/1 rate_limited +1h");
        let request = by_model(&world, after);
        world.tick(vec![request]).unwrap();
        world.does("cancel a");
        assert_eq!(world.does("+2h"), "", "nobody waits for it any more");
        world.does("submit b runtime=claude model=m");
        assert!(world.does("show b").contains("active"), "{}", world.does("show b"));
        // And a limit from now on is whose it is now.
        world.does("b/1 rate_limited +1h");
        world.does("submit c runtime=claude model=n");
        assert_eq!(world.does("show c").contains("active"), after, "{}", world.does("show c"));
    }
}
