//! `dwell serve` from outside: what it refuses to start on, how it stops, and what it costs when nothing is due.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use dwell::shell::clock::Clock;
use serde_json::{Value, json};

use super::server::{self, Server, directory, dwell, flows};

const QUIET: &str = "[log]\nlevel = \"error\"\n[drain]\ntimeout = \"300ms\"\nkill_after = \"300ms\"\n";

/// Runs `dwell serve` where it must not start: its exit code, and what it said.
fn refused(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = dwell(dir, &[&["serve"], args].concat());
    assert!(output.stdout.is_empty(), "it never served: {output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A named pipe: whoever opens it waits for the other side.
fn pipe(dir: &Path, name: &str) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.join(name), mode).unwrap();
}

/// What the attempt says on the pipe `up`, once it runs: its pid.
fn up(dir: &Path) -> u32 {
    fs::read_to_string(dir.join("up")).unwrap().trim().parse().unwrap()
}

/// A session of a shell script, which finds `dir` in `$1`.
fn script(server: &Server, dir: &Path, text: &str) -> String {
    let argv = json!(["sh", "-c", text, "attempt", dir]);
    server.session(&json!({"runtime": "shell", "action": {"command": argv}}))
}

fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_second_server_on_one_store_names_the_first() {
    let dir = directory(QUIET);
    let server = Server::start(dir.path(), &[]);
    let (code, said) = refused(dir.path(), &["--listen", "127.0.0.1:0"]);
    let pid = server.child.id();
    assert_eq!((code, said), (1, format!("dwell: store ./dwell-data is open in process {pid}\n")));
    assert_eq!(server.get("/readyz").status, 200);
    let address = fs::read_to_string(dir.path().join("dwell-data/address")).unwrap();
    assert_eq!(address.trim(), server.url, "clients still find the first");
}

#[test]
fn a_store_whose_server_died_is_not_taken_for_the_one_that_listens_there_now() {
    let (dead, live) = (directory(QUIET), directory(QUIET));
    let mut killed = Server::start(dead.path(), &[]);
    killed.kill();
    let server = Server::start(live.path(), &[]);
    fs::write(dead.path().join("dwell-data/address"), &server.url).unwrap();
    let asked = dwell(dead.path(), &["ls"]);
    let said = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.status.code(), Some(69), "{said}");
    assert!(said.contains("no server runs on this store"), "{said}");
    assert!(dwell(live.path(), &["ls"]).status.success(), "its own clients find it");
    // A run finds nobody, and so serves for itself.
    let run = dwell(dead.path(), &["run", "--", "echo", "here"]);
    assert_eq!((String::from_utf8(run.stdout).unwrap().trim(), run.status.code()), ("here", Some(0)));
    assert_eq!(server.get("/v1/sessions").body["items"], json!([]));
}

#[test]
fn bad_configuration_and_bad_flows_stop_it_before_anything_is_made() {
    let good_flow = "name: x\non: { github: { push: } }\nrun: { command: [\"true\"] }\n";
    let bad_flow = good_flow.replace("name: x\n", "name: x\nbuget: 3\n");
    for (config, flow, said) in [
        (
            "[run]\nbuget = 3\n",
            good_flow,
            "dwell: dwell.toml:2: unknown key run.buget; did you mean run.budget\n",
        ),
        (
            "[drain]\ntimeout = \"39s\"\n",
            good_flow,
            "dwell: dwell.toml:2: drain.timeout 39s + 1s is not below",
        ),
        ("", &bad_flow, "dwell: ./flows/x.yaml:2"),
        (
            "[sources.gh]\nkind = \"github\"\nsecrets = [\"file:nowhere\"]\n",
            good_flow,
            "dwell: sources.gh: file:nowhere: ",
        ),
    ] {
        let dir = directory(config);
        flows(dir.path(), &[("x.yaml", flow)]);
        let (code, found) = refused(dir.path(), &["--listen", "127.0.0.1:0"]);
        assert_eq!(code, 78, "{found}");
        assert!(found.starts_with(said) && found.lines().count() == 1, "{found}");
        assert!(!dir.path().join("dwell-data").exists(), "{found}");
    }
}

#[test]
fn a_store_that_cannot_be_there_is_one_clear_line() {
    let dir = directory(QUIET);
    fs::write(dir.path().join("file"), "not a store").unwrap();
    // Also for root, whom permissions do not stop.
    for data in ["file", "file/data", "/proc/dwell-data"] {
        let (code, said) = refused(dir.path(), &["--listen", "127.0.0.1:0", "--data", data]);
        assert_eq!(code, 1, "{said}");
        assert!(said.starts_with(&format!("dwell: cannot create {data}: ")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "not a store");
}

#[test]
fn a_port_in_use_is_one_clear_line_and_starts_no_attempt() {
    let dir = directory(QUIET);
    pipe(dir.path(), "up");
    let mut server = Server::start(dir.path(), &[]);
    let id = script(&server, dir.path(), "echo $$ > $1/up; exec sleep 600");
    let first = up(dir.path());
    server.kill();
    drop(server);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = refused(dir.path(), &["--listen", &address]);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with(&format!("dwell: cannot listen on {address}: ")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let server = Server::start(dir.path(), &[]);
    let second = up(dir.path());
    assert!(!is_running(first), "two attempts at once");
    let record = server.until(&id, "active");
    assert_eq!(
        (&record["attempt"], &server.get("/v1/status").body["attempts_started"]),
        (&json!(2), &json!(2))
    );
    assert!(server.terminate().success());
    assert!(!is_running(second), "it outlives a clean stop");
}

#[test]
fn a_server_goes_on_when_nobody_reads_what_it_says() {
    let dir = directory("[log]\nlevel = \"warn\"\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Server::command(dir.path(), &[]);
    let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines().next();
    let said = said.expect("a line in the log").unwrap();
    let url = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let answer = server::request("GET", &format!("{url}/readyz"), None);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.map(|answer| answer.status), Some(200));
}

#[test]
fn a_run_in_the_foreground_ends_on_a_signal_although_its_session_waits() {
    let dir = directory("");
    let mut run = std::process::Command::new(server::DWELL)
        .args(["run", "--", "sh", "-c", "exit 1"])
        .current_dir(dir.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(run.stderr.take().unwrap());
    let waits = std::io::BufRead::lines(said).any(|line| line.unwrap().contains("attempt 1 failed"));
    assert!(waits, "it said nothing of its wait");
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    // A run that waits on would be here for its backoff of 30 s, and then for ever.
    let status = run.wait().unwrap();
    assert!(status.code().is_some_and(|code| code != 0 && code != 130), "{status}");
    let server = Server::start(dir.path(), &[]);
    let sessions = server.get("/v1/sessions").body;
    assert_eq!(sessions["items"][0]["state"], "backoff", "{sessions}");
}

#[test]
fn an_attempt_that_ends_within_the_drain_is_completed_by_the_stop() {
    let dir = directory("[log]\nlevel = \"error\"\n");
    pipe(dir.path(), "up");
    pipe(dir.path(), "end");
    let server = Server::start(dir.path(), &[]);
    let id = script(&server, dir.path(), "echo $$ > $1/up; read line < $1/end");
    up(dir.path());
    server.ask_to_stop();
    server.until(&id, "draining");
    let ready = server.get("/readyz");
    assert_eq!((ready.status, &ready.body["reasons"][0]["code"]), (503, &json!("draining")));
    let late = script(&server, dir.path(), "echo never > $1/late");
    fs::write(dir.path().join("end"), "now\n").unwrap();
    assert!(server.ended().success());
    assert!(!dir.path().join("dwell-data/address").exists());

    let server = Server::start(dir.path(), &[]);
    let record = server.get(&format!("/v1/records/{id}")).body;
    assert_eq!((&record["state"], &record["attempt"]), (&json!("completed"), &json!(1)));
    // What came during the drain was taken, and has its turn now.
    assert_eq!(server.until(&late, "completed")["attempt"], 1);
}

#[test]
fn an_attempt_that_ignores_the_stop_is_killed_and_goes_on_uncounted() {
    let dir = directory(QUIET);
    pipe(dir.path(), "up");
    let server = Server::start(dir.path(), &[]);
    let id = script(&server, dir.path(), "trap '' TERM; echo $$ > $1/up; exec sleep 600");
    let first = up(dir.path());
    assert!(server.terminate().success());
    assert!(!is_running(first), "it outlives the stop");

    let server = Server::start(dir.path(), &[]);
    let second = up(dir.path());
    let record = server.until(&id, "active");
    assert_eq!(record["attempt"], 2);
    let streaks = record["streaks"].as_object().unwrap();
    assert!(streaks.values().all(|count| count == 0), "{record:#}");
    assert!(server.terminate().success());
    assert!(!is_running(second), "it outlives the stop");
}

/// How often each thread of a process has gone to sleep, and its clock ticks of user and system time, by its name.
fn threads(pid: u32) -> BTreeMap<String, [u64; 2]> {
    let mut found: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread = thread.unwrap().path();
        let read = |of| fs::read_to_string(thread.join(of)).ok();
        // It may have ended since it was listed.
        let (Some(status), Some(stat)) = (read("status"), read("stat")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once(':').unwrap().1.trim().to_owned()
        };
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let [sleeps, ticks] = found.entry(field("Name")).or_default();
        *sleeps += field("voluntary_ctxt_switches").parse::<u64>().unwrap();
        *ticks += fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>();
    }
    found
}

/// What they did since. One that has ended counts for nothing.
fn busy(pid: u32, since: &BTreeMap<String, [u64; 2]>) -> BTreeMap<String, [u64; 2]> {
    let grown = |name: &str, [sleeps, ticks]: [u64; 2]| {
        let [slept, used] = since.get(name).copied().unwrap_or_default();
        [sleeps.saturating_sub(slept), ticks.saturating_sub(used)]
    };
    let all = threads(pid).into_iter().map(|(name, now)| (name.clone(), grown(&name, now)));
    all.filter(|(_, grown)| *grown != [0, 0]).collect()
}

/// Lets time pass.
fn pass(span: Duration) {
    let (_open, nothing) = mpsc::channel::<()>();
    assert_eq!(nothing.recv_timeout(span), Err(mpsc::RecvTimeoutError::Timeout));
}

#[test]
fn ten_thousand_waiting_sessions_cost_an_idle_server_no_cpu() {
    const THREADS: u32 = 8;
    let dir = directory(QUIET);
    let server = Server::start(dir.path(), &[]);
    assert_eq!(server.post("/v1/runtimes/shell/pause", &json!({"until": "+2h"})).status, 200);
    let url = format!("{}/v1/sessions", server.url);
    // Large enough for a checkpoint.
    let payload = "x".repeat(1_000);
    let body = json!({"runtime": "shell", "action": {"command": ["true"]}, "payload": payload}).to_string();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let client = server::client();
                let json = [("content-type", "application/json")];
                for _ in 0..10_000 / THREADS {
                    let answer = server::send_by(&client, "POST", &url, &json, body.as_bytes()).unwrap();
                    assert_eq!(answer.status, 201, "{answer:?}");
                }
            });
        }
    });
    let status: Value = server.get("/v1/status").body;
    assert_eq!(status["counts"]["queued"], 10_000);

    let pid = server.child.id();
    let is_own = |name: &String| !name.starts_with("sled-io-");
    // A checkpoint of the last commits may still be under way, for long on a slow machine.
    for _ in 0..200 {
        let before = threads(pid);
        pass(Duration::from_millis(500));
        if !busy(pid, &before).keys().any(is_own) {
            break;
        }
    }
    let (before, begun) = (threads(pid), Clock::System.now());
    pass(Duration::from_secs(2));
    let (busy, seconds) = (busy(pid, &before), begun.until(Clock::System.now()).as_secs());
    eprintln!("{seconds} s idle with 10,000 waiting: woken, and ticks of CPU: {busy:?}");
    // Each thread of sled's own pool looks for work once a second, from the first checkpoint on (src/threadpool.rs of
    // 0.34.7, not to be configured); nothing of dwell's wakes up.
    assert!(!busy.keys().any(is_own), "woken with nothing due: {busy:?}");
    // They wait for each other's locks as well.
    assert!(busy.values().all(|[woken, _]| *woken <= 10 * (seconds + 1)), "it polls: {busy:?}");
}
