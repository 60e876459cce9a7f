//! The command line against a real engine over a store in memory; the tests play the executor.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use dwell::engine::{self, Engine, Released, Settings};
use dwell::model::{Time, Transition};
use dwell::shell::clock::Clock;
use dwell::shell::http::{Backups, Current, Feed, FlowRow, Loaded, Observed, Prompts, Server, Shared};
use dwell::shell::ids::Ids;
use dwell::shell::time;
use dwell::store::{Backend as _, Durable, Memory, Stored as _};
use serde_json::{Value, json};

struct Hand(Clock);

impl engine::Clock for Hand {
    fn now(&self) -> Time {
        self.0.now()
    }
    fn arm(&self, _at: Option<Time>) {}
    fn advance_to(&self, at: Time) {
        self.0.advance_to(at);
    }
}

/// A server, and a directory to run the binary in.
struct Place {
    dir: tempfile::TempDir,
    url: Option<String>,
    _server: Option<Server>,
}

/// What a command printed and exited with.
#[derive(Debug)]
struct Printed {
    code: i32,
    out: String,
    err: String,
}

fn empty() -> Place {
    Place { dir: tempfile::tempdir().unwrap(), url: None, _server: None }
}

fn served() -> Place {
    let clock = Clock::test(time::parse("2026-11-21T00:00:00Z").unwrap());
    let store = Memory::new();
    let (handle, inbox) = engine::channel(store.history());
    let dir = tempfile::tempdir().unwrap();
    let on = vec!["github push".to_owned()];
    let flow =
        FlowRow { name: "review".into(), file: "flows/review.yaml".to_owned(), on, runtime: "shell".into() };
    let shared = Arc::new(Shared {
        handle,
        store: String::from("here"),
        clock: clock.clone(),
        ids: Ids::default(),
        feed: Feed::default(),
        observed: Observed::default(),
        backups: Some(Backups::of(Arc::new(store.clone()))),
        logs: dir.path().join("logs"),
        loaded: Current::new(Loaded {
            sources: BTreeMap::new(),
            flows: vec![flow],
            missing: Box::new(Vec::new),
            expand: Box::new(|_| Vec::new()),
            prompts: Prompts { limit_reset: String::new(), go_on: String::new() },
        }),
        decode: |bytes| Transition::decode(bytes).ok(),
        token_ok: Arc::new(|_, _, token| token == "right"),
        keyring: Arc::default(),
        limits: dwell::shell::http::Limits::default(),
        token: Box::new(|_, _| "right".to_owned()),
    });
    let feed = Arc::clone(&shared);
    thread::spawn(move || {
        let settings = Settings { runtimes: BTreeMap::from([("shell".into(), 2)]), ..Settings::default() };
        let (opening, _) = Engine::open(Box::new(store), settings, clock.now()).unwrap();
        let mut release = |released: Released| {
            for (reply, result) in released.replies.each().map(Durable::split) {
                reply.into_inner()(result);
            }
            for transition in released.transitions.into_inner() {
                feed.feed.publish(&transition);
            }
        };
        engine::run(opening.survivors_stopped(), &inbox, &Hand(clock), &mut release, &mut || {}).unwrap();
    });
    let server = Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), shared).unwrap();
    let url = Some(format!("http://{}", server.address()));
    Place { dir, url, _server: Some(server) }
}

impl Place {
    fn run_with(&self, args: &[&str], env: &[(&str, &str)], stdin: &str) -> Printed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dwell"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.envs(self.url.iter().map(|url| ("DWELL_SERVER", url.as_str()))).envs(env.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Printed { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn run(&self, args: &[&str]) -> Printed {
        self.run_with(args, &[], "")
    }

    fn session(&self, more: &[&str]) -> String {
        let args = [&["run", "--detach"], more, &["--", "true"]].concat();
        let printed = self.run(&args);
        assert_eq!(printed.code, 0, "{printed:?}");
        printed.out.trim().to_owned()
    }

    fn report(&self, id: &str, attempt: &str, args: &[&str]) -> Printed {
        let env = [("DWELL_ID", id), ("DWELL_ATTEMPT", attempt)];
        self.run_with(&[&["report"], args].concat(), &env, "")
    }
}

#[test]
fn exit_codes_say_what_is_the_matter() {
    let (dwell, nobody) = (served(), empty());
    let id = dwell.session(&[]);
    let spent = dwell.session(&["--budget", "1"]);
    let token = [("DWELL_ID", spent.as_str()), ("DWELL_ATTEMPT", "1"), ("DWELL_TOKEN", "right")];
    assert_eq!(dwell.run_with(&["charge"], &token, "").code, 0);
    std::fs::write(nobody.dir.path().join("bad.toml"), "[run]\nbuget = 1\n").unwrap();
    std::fs::write(nobody.dir.path().join("bad.yaml"), "name: f\n").unwrap();
    std::fs::create_dir(nobody.dir.path().join("not-a-store")).unwrap();
    // The table of the specification; README and `dwell --help` say the same.
    for (place, args, code, words) in [
        (&dwell, vec!["ls"], 0, ""),
        (&dwell, vec!["completions", "bash"], 0, ""),
        (&nobody, vec!["run", "--detach", "--", "true"], 1, "--detach needs a running server"),
        (&nobody, vec!["restore", "no-such-file"], 1, "no-such-file"),
        (&dwell, vec!["nonsense"], 2, "unrecognized subcommand"),
        (&dwell, vec!["redrve", "x"], 2, "'redrive'"),
        (&dwell, vec!["run"], 2, "--prompt"),
        (&dwell, vec!["ls", "--state", "paused"], 2, "unknown value \"paused\""),
        (&dwell, vec!["ls", "--watch"], 2, "--watch is for a terminal"),
        (&dwell, vec!["run", "--detach", "--runtime", "shel", "--", "true"], 2, "did you mean shell"),
        (
            &dwell,
            vec!["show", "ses_7ZZZZZZZZZZZZZZZZZZZZZZZZZ"],
            3,
            "no record ses_7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        ),
        (&dwell, vec!["runtime", "pause", "x"], 3, "runtime x is not configured"),
        (
            &dwell,
            vec!["drain", "--flow", "reviw"],
            3,
            "no flow reviw is loaded: did you mean review; --force",
        ),
        (&nobody, vec!["check", "--data", "not-a-store"], 3, "not-a-store is no store: nothing to check"),
        (&nobody, vec!["check", "--data", "nowhere"], 3, "nowhere is no store: nothing to check"),
        (&dwell, vec!["redrive", &id], 4, "it is active"),
        (&nobody, vec!["ls"], 69, "start one with: dwell serve"),
        (&nobody, vec!["ls", "--server", "127.0.0.1:1"], 69, "no server answers at http://127.0.0.1:1"),
        (&nobody, vec!["config", "check", "--config", "bad.toml"], 78, "bad.toml:2: unknown key run.buget"),
        (&nobody, vec!["flow", "check", "bad.yaml"], 78, ""),
    ] {
        let printed = place.run(&args);
        assert_eq!(printed.code, code, "{args:?}: {printed:?}");
        assert!(printed.err.contains(words), "{args:?}: {printed:?}");
    }
    let refused = dwell.run_with(&["charge"], &token, "");
    assert_eq!(refused.code, 75, "{refused:?}");
    assert!(refused.err.contains("rate-limit budget exhausted"), "{refused:?}");
}

#[test]
fn a_mistyped_name_is_answered_with_the_one_that_is_there() {
    let dwell = served();
    let id = dwell.session(&[]);
    let mut slip = id.clone();
    slip.pop();
    slip.push(if id.ends_with('0') { '1' } else { '0' });
    for args in [vec!["show", &slip], vec!["history", &slip], vec!["why", &slip], vec!["cancel", &slip]] {
        let printed = dwell.run(&args);
        assert_eq!(printed.code, 3, "{printed:?}");
        assert!(printed.err.contains(&format!("did you mean {id}")), "{printed:?}");
    }
    let printed = dwell.run(&["runtime", "pause", "shlel"]);
    assert!(printed.err.contains("runtime shlel is not configured; did you mean shell"), "{printed:?}");
    let printed = dwell.run(&["ls", "--flow", "reveiw"]);
    assert!(printed.err.contains("nothing of reveiw; did you mean review"), "{printed:?}");
    let printed = dwell.run(&["drain", "--flow", "reviw", "--force"]);
    assert_eq!((printed.code, printed.out.trim()), (0, "flow:reviw drained"), "{printed:?}");

    // An org may be drained before it has any work, so that one is done, and asked about.
    dwell.session(&["--org", "acme"]);
    let printed = dwell.run(&["drain", "--org", "acmee"]);
    assert_eq!((printed.code, printed.out.as_str()), (0, "org:acmee drained\n"), "{printed:?}");
    assert_eq!(printed.err, "org acmee has no work that waits or runs; did you mean acme\n");
    for org in ["acme", "another"] {
        assert_eq!(dwell.run(&["drain", "--org", org]).err, "");
    }
    let printed = dwell.run(&["undrain", "--org", "anothre"]);
    assert_eq!((printed.code, printed.out.as_str()), (3, ""), "{printed:?}");
    assert_eq!(printed.err, "dwell: org:anothre is not drained; did you mean org:another\n");
    let printed = dwell.run(&["ls", "--org", "amce"]);
    assert!(printed.err.contains("nothing of amce; did you mean acme"), "{printed:?}");
}

#[test]
fn a_list_that_is_cut_says_how_much_more_there_is() {
    let dwell = served();
    let ids: Vec<String> = (0..5).map(|_| dwell.session(&[])).collect();
    for what in [vec!["ls"], vec!["ls", "sessions"]] {
        let printed = dwell.run(&[&what[..], &["--limit", "2"]].concat());
        assert_eq!(printed.out.lines().count(), 3, "{printed:?}");
        assert!(printed.err.contains("2 shown, 3 more: --limit 5, or a filter"), "{printed:?}");
        let all = dwell.run(&[&what[..], &["--limit", "5"]].concat());
        assert!(ids.iter().all(|id| all.out.contains(id)) && all.err.is_empty(), "{all:?}");
    }
    let cut = dwell.run(&["ls", "--limit", "2", "--json"]);
    assert!(cut.err.is_empty(), "{cut:?}");
    let cut: Value = serde_json::from_str(&cut.out).unwrap();
    assert_eq!((cut["items"].as_array().unwrap().len(), &cut["more"]), (2, &Value::from(true)));
}

/// Runs the binary on a terminal of so many columns, for as long as `lines` says, and answers what that shows.
fn on_a_terminal(dwell: &Place, columns: usize, args: &[&str], env: &[(&str, &str)]) -> String {
    let script = "import fcntl, os, pty, signal, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    # Whoever runs the tests in the background may have it ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdin.readline()
    os.execv(sys.argv[2], sys.argv[2:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(sys.argv[1]), 0, 0))
os.write(fd, b'\\n')
seen, told = b'', False
while True:
    try:
        piece = os.read(fd, 65536)
    except OSError:
        break
    if not piece:
        break
    seen += piece
    # On a busy machine two pictures may come at once.
    if '--watch' in sys.argv and not told and seen.count(b'\\x1b[H') >= 3:
        told = os.write(fd, b'\\x03') > 0
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(seen)
sys.stdout.write('status %d' % status)
";
    let mut python = Command::new("python3");
    python.args(["-c", script, &columns.to_string(), env!("CARGO_BIN_EXE_dwell")]).args(args);
    python
        .current_dir(dwell.dir.path())
        .env("DWELL_SERVER", dwell.url.as_ref().unwrap())
        .envs(env.iter().copied());
    let output = python.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_table_fits_its_terminal_and_counts_times_from_now_there() {
    let dwell = served();
    let id =
        dwell.session(&["--key", "a-rather-long-name-of-a-session-that-nobody-would-type", "--org", "acme"]);
    let told = "2099-01-01T00:00:00Z";
    assert_eq!(dwell.report(&id, "1", &["rate_limited", "--reset-at", told]).code, 0);
    let plain = [("NO_COLOR", "1")];
    for columns in [80, 100] {
        let shown = on_a_terminal(&dwell, columns, &["ls"], &plain);
        let lines: Vec<&str> = shown.lines().filter(|line| line.contains("ses_")).collect();
        assert_eq!(lines.len(), 1, "{shown}");
        assert!(lines[0].chars().count() <= columns && lines[0].contains(&id), "{columns}: {shown}");
        assert!(lines[0].contains('\u{2026}'), "{shown}");
        assert!(!shown.contains('\u{1b}'), "colours in spite of NO_COLOR: {shown:?}");
    }
    let (wide, absolute) = (
        on_a_terminal(&dwell, 300, &["ls"], &[("NO_COLOR", "")]),
        on_a_terminal(&dwell, 300, &["ls", "--absolute"], &plain),
    );
    assert!(wide.contains(" in ") && wide.contains("\u{1b}[33mrate_limited\u{1b}[0m"), "{wide:?}");
    assert!(!wide.contains("2026-11-29") && absolute.contains("2026-11-29T00:00:00Z"), "{absolute}");
    let piped = dwell.run(&["ls"]).out;
    assert!(piped.contains("nobody-would-type") && piped.contains("2026-11-29T00:00:00Z"), "{piped}");
}

#[test]
fn a_long_redrive_says_on_a_terminal_how_far_it_is() {
    const DEAD: usize = 1_001;
    let dwell = served();
    assert_eq!(dwell.run(&["runtime", "pause", "shell"]).code, 0);
    let post = |path: &str, body: &Value| {
        let url = format!("{}{path}", dwell.url.as_ref().unwrap());
        ureq::post(&url).content_type("application/json").send(body.to_string()).unwrap();
    };
    let session = json!({"runtime": "shell", "action": {"command": ["true"]}, "expires": "1s"});
    for count in [DEAD - 1_000, 1_000] {
        post("/v1/sessions/batch", &json!({ "sessions": vec![&session; count] }));
    }
    post("/v1/clock/advance", &json!({"by": "2s"}));
    let args = ["redrive", "--all", "--dry-run"];
    let shown = on_a_terminal(&dwell, 80, &args, &[]);
    assert!(shown.contains("\r\u{1b}[K1000 matched so far\r\u{1b}[K"), "{shown:?}");
    let piped = dwell.run(&args);
    assert_eq!((piped.out.lines().count(), piped.err.as_str()), (DEAD, "1001 matched, 0 redriven\n"));
    assert!(on_a_terminal(&dwell, 80, &args[..2], &[]).contains("1000 redriven so far"));
}

#[test]
fn a_watched_list_is_shown_anew_until_ctrl_c() {
    let dwell = served();
    let id = dwell.session(&[]);
    let shown = on_a_terminal(&dwell, 120, &["ls", "--watch"], &[]);
    assert!(shown.matches(&id).count() >= 3, "{shown:?}");
    assert!(shown.ends_with("status -2"), "SIGINT ends it: {shown:?}");
}

#[test]
fn records_are_listed_and_shown_aligned_or_as_json() {
    let dwell = served();
    let id = dwell.session(&["--key", "nightly", "--org", "acme", "--budget", "20"]);
    let listed = dwell.run(&["ls"]).out;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[0].starts_with("ID ") && lines[1].starts_with(&id), "{listed}");
    assert_eq!(lines[0].find("STATE"), lines[1].find("active"), "{listed}");
    assert_eq!(lines[0].find("NAME"), lines[1].find("nightly"), "{listed}");
    assert!(!listed.contains('\u{1b}'), "colours without a terminal: {listed:?}");
    let json: Value = serde_json::from_str(&dwell.run(&["ls", "sessions", "--json"]).out).unwrap();
    assert_eq!(json["items"][0]["org"], "acme");
    let shown: Value = serde_json::from_str(&dwell.run(&["show", &id[..29], "--json"]).out).unwrap();
    assert_eq!((&shown["id"], &shown["budget"]["limit"]), (&Value::from(&*id), &Value::from(20)));
    let shown = dwell.run(&["show", &id]).out;
    assert!(shown.starts_with("id ") && shown.contains("\nbudget "), "{shown}");
    assert_eq!(dwell.run(&["ls", "runs"]).out.lines().count(), 1);
    assert!(dwell.run(&["ls", "flows"]).out.contains("flows/review.yaml"));
    assert!(dwell.run(&["ls", "runtimes"]).out.contains("1 of 2"));
}

#[test]
fn the_charge_beyond_the_budget_exits_75_with_its_own_words() {
    let dwell = served();
    let id = dwell.session(&["--budget", "3"]);
    let env = [("DWELL_ID", id.as_str()), ("DWELL_ATTEMPT", "1"), ("DWELL_TOKEN", "right")];
    assert_eq!(dwell.run_with(&["charge"], &env, "").out, "1 of 3\n");
    assert_eq!(dwell.run_with(&["charge", "2"], &env, "").out, "3 of 3\n");
    let refused = dwell.run_with(&["charge"], &env, "");
    assert_eq!((refused.code, refused.out.as_str()), (75, ""));
    let words = "rate-limit budget exhausted: used 3 of 3 mutating calls for this flow run";
    assert!(refused.err.contains(words), "{refused:?}");
    let stale = dwell.run(&["charge", "--id", &id, "--attempt", "7"]);
    assert_eq!(stale.code, 4, "{stale:?}");
    let foreign = [env[0], env[1], ("DWELL_TOKEN", "wrong")];
    assert_eq!(dwell.run_with(&["charge"], &foreign, "").code, 1);
}

#[test]
fn an_attempt_reports_its_limit_and_its_history_shows_it() {
    let dwell = served();
    let id = dwell.session(&[]);
    let limited = dwell.report(&id, "1", &["rate_limited", "--reset-at", "+90m", "--session", "s-1"]);
    assert_eq!((limited.code, limited.out.as_str()), (0, "rate_limited\n"), "{limited:?}");
    let shown: Value = serde_json::from_str(&dwell.run(&["show", &id, "--json"]).out).unwrap();
    assert_eq!(shown["wait"]["until"], "2026-11-21T01:30:00.000Z");
    assert_eq!(shown["resume_token"], "s-1");
    let history = dwell.run(&["history", &id]).out;
    assert!(history.contains("active -> rate_limited"), "{history}");
    assert!(history.lines().next().unwrap().starts_with("TIME"), "{history}");
    let runtimes = dwell.run(&["ls", "runtimes"]).out;
    assert!(runtimes.lines().last().unwrap().ends_with("2026-11-21T01:30:00Z  told"), "{runtimes}");
    let resumed = dwell.run(&["runtime", "resume", "shell"]);
    assert_eq!(resumed.out, "shell open\n");
    assert_eq!(dwell.report(&id, "1", &["heartbeat"]).code, 4, "attempt 1 is over");
    dwell.run(&["resume", &id]);
    assert_eq!(dwell.report(&id, "2", &["succeeded", "--message", "done"]).out, "completed\n");
    let shown: Value = serde_json::from_str(&dwell.run(&["show", &id, "--json"]).out).unwrap();
    assert_eq!(shown["result"], "done");
}

#[test]
fn a_followed_session_ends_with_its_outcome_and_a_key_finds_it_again() {
    let dwell = served();
    let id = dwell.session(&["--key", "k"]);
    let log = dwell.dir.path().join("logs").join(&id);
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join("1.log"), "hello\n").unwrap();
    thread::scope(|scope| {
        let following = scope.spawn(|| dwell.run(&["run", "--key", "k", "--", "true"]));
        dwell.report(&id, "1", &["succeeded"]);
        let followed = following.join().unwrap();
        assert_eq!((followed.code, followed.out.as_str()), (0, "hello\n"), "{followed:?}");
        assert!(followed.err.contains("session with key k is there already"), "{followed:?}");
    });
    let other = dwell.session(&["--key", "l"]);
    dwell.run(&["cancel", &other]);
    let followed = dwell.run(&["run", "--key", "l", "--", "true"]);
    assert_eq!(followed.code, 1, "{followed:?}");
    assert!(followed.err.contains("cancelled"), "{followed:?}");
    assert_eq!(dwell.run(&["logs", &id, "-f"]).out, "hello\n");
}

#[test]
fn a_label_finds_live_and_finished_records_and_no_other() {
    let dwell = served();
    let red = || dwell.session(&["--label", "team=red", "--label", "x=a=b"]);
    let (red, done) = (red(), red());
    dwell.session(&["--label", "team=blue"]);
    dwell.report(&done, "1", &["succeeded"]);
    let ids = |label: &str| {
        let listed: Value =
            serde_json::from_str(&dwell.run(&["ls", "--label", label, "--json"]).out).unwrap();
        let items = listed["items"].as_array().unwrap();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("team=red"), [done.clone(), red.clone()]);
    assert_eq!(ids("x=a=b"), [done, red]);
    assert_eq!(ids("team=green"), Vec::<String>::new());
    assert_eq!(dwell.run(&["ls", "--label", "team"]).code, 2);
    assert_eq!(dwell.run(&["run", "--label", "team", "--", "true"]).code, 2);
}

#[test]
fn a_rerun_is_a_new_record_that_names_the_old_one() {
    let dwell = served();
    let id = dwell.session(&["--key", "k", "--org", "acme", "--budget", "20"]);
    dwell.report(&id, "1", &["succeeded"]);
    let rerun = dwell.run(&["rerun", &id]);
    assert_eq!(rerun.code, 0, "{rerun:?}");
    let shown: Value = serde_json::from_str(&dwell.run(&["show", rerun.out.trim(), "--json"]).out).unwrap();
    assert_eq!((&shown["rerun_of"], &shown["org"]), (&Value::from(&*id), &Value::from("acme")));
    assert_eq!((shown.get("key"), &shown["budget"]["limit"]), (None, &Value::from(20)));
    assert_eq!(shown["action"]["command"][0], "true");
    assert_eq!(dwell.run(&["rerun", "ses_7ZZZZZZZZZZZZZZZZZZZZZZZZZ"]).code, 3);
}

#[test]
fn dead_letters_are_redriven_by_filter_after_a_dry_run() {
    let dwell = served();
    let [a, b] = ["acme", "other"].map(|org| {
        let id = dwell.session(&["--org", org]);
        dwell.report(&id, "1", &["invalid"]);
        id
    });
    let state = |id: &str| {
        let shown: Value = serde_json::from_str(&dwell.run(&["show", id, "--json"]).out).unwrap();
        shown["state"].as_str().unwrap().to_owned()
    };
    let dry = dwell.run(&["redrive", "--cause", "invalid", "--org", "acme", "--dry-run"]);
    assert_eq!((dry.code, dry.out.as_str()), (0, format!("{a}\n").as_str()), "{dry:?}");
    assert!(dry.err.contains("1 matched, 0 redriven"), "{dry:?}");
    assert_eq!(state(&a), "dead_lettered");
    let none: Value = serde_json::from_str(&dwell.run(&["redrive", "--older", "1h", "--json"]).out).unwrap();
    assert_eq!((&none["matched"], &none["redriven"]), (&Value::from(0), &Value::from(0)));
    assert_eq!(dwell.run(&["redrive", "--org", "acme"]).out, format!("{a}\n"));
    assert_eq!((state(&a).as_str(), state(&b).as_str()), ("active", "dead_lettered"));
    assert_eq!(dwell.run(&["redrive", "--all"]).out, format!("{b}\n"));
    assert_eq!(dwell.run(&["redrive"]).code, 2, "nothing named is a mistake");
    assert_eq!(dwell.run(&["redrive", &b]).code, 4, "an id alone is told why it does not go");
}

#[test]
fn a_paced_redrive_is_begun_listed_and_stopped_and_dead_letters_are_grouped() {
    let dwell = served();
    for org in ["acme", "other"] {
        let id = dwell.session(&["--org", org]);
        dwell.report(&id, "1", &["invalid", "--code", "c", "--message", &format!("no file {org}17")]);
    }
    let groups = dwell.run(&["ls", "dead", "--groups"]);
    assert_eq!(groups.out.lines().count(), 3, "{groups:?}");
    assert!(groups.out.contains("c: no file acme#"), "{groups:?}");
    let groups: Value = serde_json::from_str(&dwell.run(&["ls", "dead", "--groups", "--json"]).out).unwrap();
    let fingerprint = groups["items"][0]["fingerprint"].as_str().unwrap();
    assert_eq!(dwell.run(&["ls", "dead", "--fingerprint", fingerprint]).out.lines().count(), 2);

    let begun = dwell.run(&["redrive", "--fingerprint", fingerprint, "--rate", "5/m", "--detach"]);
    assert_eq!((begun.code, begun.err.as_str()), (0, "1 matched\n"), "{begun:?}");
    let id = begun.out.trim();
    let listed = dwell.run(&["ls", "redrives"]).out;
    assert!(listed.contains(id) && listed.contains("0 of 1"), "{listed}");
    assert_eq!(dwell.run(&["redrive", "--stop", id]).out, format!("{id} stopped, 0 of 1 redriven\n"));
    assert_eq!(dwell.run(&["redrive", "--stop", id]).code, 3);
    let none = dwell.run(&["redrive", "--cause", "lost", "--rate", "5/m"]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (0, "", "0 matched\n"));
    assert_eq!(dwell.run(&["redrive", "--all", "--rate", "fast"]).code, 2);
}

#[test]
fn a_trigger_takes_its_payload_from_a_file_or_stdin_and_is_accepted_once() {
    let dwell = served();
    let args = ["trigger", "github", "push", "--id", "d-1", "-", "--json"];
    let first: Value = serde_json::from_str(&dwell.run_with(&args, &[], r#"{"n":1}"#).out).unwrap();
    assert_eq!(first["duplicate"], false);
    let again = dwell.run_with(&args[..6], &[], "{}");
    assert_eq!(again.out.trim(), first["trigger"].as_str().unwrap());
    assert!(again.err.contains("already accepted"), "{again:?}");
    assert_eq!(dwell.run_with(&args, &[], "no json").code, 2);
    assert!(dwell.run(&["ls", "triggers"]).out.contains("push"));
}

#[test]
fn a_broken_flow_is_told_by_file_and_line() {
    let place = empty();
    std::fs::write(place.dir.path().join("bad.yaml"), "nam: x\n").unwrap();
    let checked = place.run(&["flow", "check", "bad.yaml"]);
    assert_eq!(checked.code, 78, "{checked:?}");
    assert!(
        checked.out.lines().all(|line| line.starts_with("bad.yaml:")) && !checked.out.is_empty(),
        "{checked:?}"
    );
    assert_eq!(place.run(&["flow", "check", "absent.yaml"]).code, 2);
    let checked = place.run(&["flow", "check", "bad.yaml", "--json"]);
    let told: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!((checked.code, &told["items"][0]["line"]), (78, &Value::from(1)), "{checked:?}");
}

#[test]
fn config_check_shows_environment_and_warns_of_plain_secrets() {
    let place = empty();
    let toml = "[sources.gh]\nkind = \"github\"\nsecrets = [\"plain:hunter2\"]\n";
    std::fs::write(place.dir.path().join("dwell.toml"), toml).unwrap();
    let checked = place.run_with(&["config", "check"], &[("DWELL_RUN_BUDGET", "7")], "");
    assert_eq!(checked.code, 0, "{checked:?}");
    let line = checked.out.lines().find(|line| line.starts_with("run.budget")).unwrap();
    assert!(line.starts_with("run.budget = 7 ") && line.ends_with("# DWELL_RUN_BUDGET"), "{line}");
    assert!(checked.err.contains("plain text") && !checked.out.contains("hunter2"), "{checked:?}");
}

#[test]
fn every_command_explains_itself() {
    let place = empty();
    let help = place.run(&["--help"]).out;
    assert!(!help.contains("hold"), "{help}");
    for command in [
        "serve", "run", "trigger", "ls", "show", "history", "logs", "cancel", "resume", "redrive", "rerun",
        "charge", "report",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is missing: {help}");
        let own = place.run(&[command, "--help"]).out;
        assert!(own.contains("Example"), "{command}: {own}");
    }
}

#[test]
fn what_was_asked_is_what_is_done_or_it_is_refused() {
    let dwell = served();
    let id = dwell.session(&[]);
    dwell.report(&id, "1", &["invalid"]);
    for args in
        [&["redrive"][..], &["redrive", "--json"], &["redrive", "--dry-run"], &["redrive", "--rate", "1/s"]]
    {
        let printed = dwell.run(args);
        assert_eq!(printed.code, 2, "{args:?}: {printed:?}");
        assert!(printed.err.contains("--all") && !printed.err.contains("|--json"), "{}", printed.err);
    }
    assert_eq!(dwell.run(&["ls", "dead"]).out.lines().count(), 2, "it is still dead");
    for (args, odd) in [
        (&["ls", "triggers", "--org", "o"][..], "--org"),
        (&["ls", "flows", "--state", "active"], "--state"),
        (&["ls", "dead", "--groups", "--cause", "lost"], "--cause"),
        (&["ls", "runs", "--groups"], "--groups"),
        (&["ls", "queues", "--shadow"], "--shadow"),
    ] {
        let printed = dwell.run(args);
        assert_eq!((printed.code, printed.out.as_str()), (2, ""), "{args:?}");
        assert_eq!(printed.err, format!("dwell: {odd} does not go with this list\n"));
    }
    assert_eq!(dwell.run(&["ls", "scopes", "--org", "o"]).code, 0);
    let nothing = dwell.run(&["run"]);
    assert_eq!(nothing.code, 2);
    assert!(nothing.err.contains("--prompt <TEXT>|--worker <QUEUE>|ARGV"), "{}", nothing.err);
    let paused: Value =
        serde_json::from_str(&dwell.run(&["runtime", "pause", "shell", "--json"]).out).unwrap();
    assert_eq!((&paused["name"], &paused["state"]), (&"shell".into(), &"paused".into()));
    let resumed: Value =
        serde_json::from_str(&dwell.run(&["runtime", "resume", "shell", "--json"]).out).unwrap();
    assert_eq!(resumed["state"], "open");
    let config = dwell.run(&["--config", "none.toml", "config", "check"]);
    assert_eq!((config.code, config.err.starts_with("dwell: none.toml: ")), (78, true), "{config:?}");
}

#[test]
fn what_runs_shows_no_error_of_the_attempt_before_it() {
    let dwell = served();
    let id = dwell.session(&[]);
    dwell.report(&id, "1", &["needs_operator", "--message", "program claude is not there"]);
    assert!(dwell.run(&["ls"]).out.contains("program claude is not there"));
    assert_eq!(dwell.run(&["redrive", &id]).code, 0);
    let listed = dwell.run(&["ls"]).out;
    assert!(listed.contains("active") && !listed.contains("program claude"), "{listed}");
}

#[test]
fn a_run_that_is_held_says_by_what() {
    let dwell = served();
    assert_eq!(dwell.run(&["runtime", "pause", "shell"]).code, 0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_dwell"));
    command.args(["run", "--", "true"]).current_dir(dwell.dir.path()).stderr(Stdio::piped());
    let mut child = command.env("DWELL_SERVER", dwell.url.as_ref().unwrap()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let id = said.next().unwrap().strip_prefix("session ").unwrap().to_owned();
    assert_eq!(
        said.next().unwrap(),
        "queued: runtime shell is paused by an operator, until dwell runtime resume"
    );
    assert_eq!(dwell.run(&["cancel", &id]).code, 0);
    assert_eq!(said.next().unwrap(), "cancelled");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn who_asks_where_no_server_was_is_told_of_which_store_and_what_to_do() {
    let place = empty();
    let none = place.run(&["ls"]);
    assert_eq!(none.code, 69, "{none:?}");
    assert!(none.err.contains("the store ./dwell-data") && none.err.contains("--server"), "{none:?}");
    std::fs::create_dir_all(place.dir.path().join("dwell-data/address")).unwrap();
    let unread = place.run(&["ls"]);
    assert!(
        unread.code == 1 && unread.err.contains("cannot look into the store ./dwell-data: "),
        "{unread:?}"
    );
}

#[test]
fn a_resume_that_starts_nothing_says_what_holds_the_record() {
    let dwell = served();
    let id = dwell.session(&[]);
    dwell.report(&id, "1", &["rate_limited", "--reset-at", "+90m"]);
    let resumed = dwell.run(&["resume", &id]);
    assert_eq!((resumed.code, resumed.out), (0, format!("{id} queued\n")));
    let held = "queued: runtime shell is limited by its provider until 2026-11-21T01:30:00.000Z";
    assert!(resumed.err.starts_with(held), "{}", resumed.err);
    assert_eq!(dwell.run(&["runtime", "resume", "shell"]).code, 0);
    assert!(dwell.run(&["ls"]).out.contains("active"));
}
