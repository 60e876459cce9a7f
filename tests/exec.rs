//! The executor with real processes, held by the real binary. Nothing here sleeps: tests wait for reports, for the
//! readable end of a pipe, and for threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use dwell::exec::{Adapter, Exec, RuntimeSetup, Setup, Tell, logs, reap};
use dwell::model::{Action, Child, Effect, LimitReport, Prompt, RecordId, Report, Reset, Start, Time, Work};
use dwell::store::{Batch, Durable, Memory, Writer};

/// Longer than anything here takes; reached only by a failure.
const PATIENCE: Duration = Duration::from_mins(1);
/// For graces and kills that a test waits out.
const SHORT: Duration = Duration::from_millis(50);

const DWELL: &str = env!("CARGO_BIN_EXE_dwell");
const ID: RecordId = RecordId::session(7);

fn durable(effect: Effect) -> Durable<Effect> {
    Writer::open(Box::new(Memory::new())).commit(Batch::default(), effect).unwrap().1
}

/// An executor whose engine accepts everything, unless told otherwise, and releases what is spawned.
struct Rig {
    exec: Exec,
    told: Receiver<(u32, Report)>,
    accepts: Arc<AtomicBool>,
    dir: tempfile::TempDir,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Setup)) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let plain = RuntimeSetup {
            adapter: Adapter::Plain,
            argv: Vec::new(),
            resume_argv: None,
            env: BTreeMap::new(),
            cwd: Some(dir.path().to_owned()),
        };
        let script = vec!["sh".to_owned(), dir.path().join("claude.sh").to_str().unwrap().to_owned()];
        let claude = RuntimeSetup { adapter: Adapter::Claude, argv: script, ..plain.clone() };
        let mut setup = Setup {
            runtimes: BTreeMap::from([("plain".into(), plain), ("claude".into(), claude)]),
            logs: dir.path().join("logs"),
            hold: DWELL.into(),
            // Of its own: what an earlier attempt left is looked for on the whole machine.
            mark: dir.path().display().to_string(),
            withheld: BTreeSet::new(),
            server: Some("http://127.0.0.1:1".to_owned()),
            token: Arc::new(|_, attempt| format!("token-{attempt}")),
            traceparent: None,
            limit_prompt: "the window has reset".to_owned(),
            continue_prompt: "go on".to_owned(),
            now: Arc::new(|| Time::ZERO),
            answer_within: PATIENCE,
            kill_after: PATIENCE,
            result_grace: PATIENCE,
        };
        change(&mut setup);
        let (sender, told) = unbounded();
        let accepts = Arc::new(AtomicBool::new(true));
        let accepting = Arc::clone(&accepts);
        let tell: Tell = Arc::new(move |id, attempt, report, answer| {
            assert_eq!(id, ID);
            let accepted = accepting.load(Ordering::SeqCst);
            sender.send((attempt, report)).unwrap();
            answer(accepted);
        });
        Rig { exec: Exec::new(setup, tell), told, accepts, dir }
    }

    fn begin(&self, attempt: u32, runtime: &str, action: Action, session: Option<&str>) {
        let work = Work { payload: b"{\"n\":1}".to_vec(), ..Work::of(action) };
        let prompt = if session.is_some() { Prompt::LimitReset } else { Prompt::Original };
        let session = session.map(str::to_owned);
        let (org, env, runtime) = ("o".into(), "e".into(), runtime.into());
        let (model, told) = (None, 0);
        let start = Start {
            id: ID,
            attempt,
            org,
            env,
            flow: None,
            runtime,
            model,
            session,
            told,
            prompt,
            work: work.into(),
        };
        self.exec.carry_out(durable(Effect::Start(Box::new(start))));
    }

    /// Starts a shell script as a command, and answers who its child is: held.
    fn held(&self, attempt: u32, script: &str) -> Child {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        self.begin(attempt, "plain", Action::Command { argv, cwd: None }, None);
        let (told_by, report) = self.next();
        let Report::Spawned { child, .. } = report else { panic!("{report:?}") };
        assert_eq!(told_by, attempt);
        child
    }

    fn release(&self, attempt: u32) {
        self.exec.carry_out(durable(Effect::Release { id: ID, attempt }));
    }

    fn stop(&self, attempt: u32) {
        self.exec.carry_out(durable(Effect::Stop { id: ID, attempt, child: None, grace: false }));
    }

    fn next(&self) -> (u32, Report) {
        self.told.recv_timeout(PATIENCE).expect("a report")
    }

    /// Releases the child and answers all further reports, heartbeats aside, the last of them terminal.
    fn outcome(&self, attempt: u32) -> Vec<Report> {
        self.release(attempt);
        let mut reports = Vec::new();
        loop {
            let (_, report) = self.next();
            let last = report.is_terminal();
            if report != Report::Heartbeat {
                reports.push(report);
            }
            if last {
                return reports;
            }
        }
    }

    /// Runs an agent whose program is this shell script: what Spawned said of the session, and the reports.
    fn agent(&self, script: &str, resume: Option<&str>) -> (Option<String>, Vec<Report>) {
        fs::write(self.dir.path().join("claude.sh"), script).unwrap();
        let action = Action::Agent { prompt: "do it".to_owned(), cwd: None };
        self.begin(1, "claude", action, resume);
        let (_, report) = self.next();
        let Report::Spawned { session, .. } = report else { panic!("{report:?}") };
        (session, self.outcome(1))
    }

    /// What an attempt wrote so far.
    fn log(&self, attempt: u32) -> String {
        let bytes = logs::read(&self.dir.path().join("logs"), ID, attempt, 0, 1 << 20).unwrap();
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    /// A pipe in the file system: opening it waits for the other end, and reading it to the end waits until every
    /// process that holds it open is gone.
    fn fifo(&self, name: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.exec.shutdown(SHORT);
    }
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

fn succeeded() -> Report {
    Report::Succeeded { result: None }
}

fn first_line(path: &Path) -> String {
    BufReader::new(fs::File::open(path).unwrap()).lines().next().unwrap().unwrap()
}

#[test]
fn a_command_completes_and_its_log_holds_what_it_printed() {
    let rig = Rig::new(|_| {});
    rig.held(
        1,
        "cat; echo; echo $DWELL_ID/$DWELL_ATTEMPT $DWELL_TOKEN $DWELL_HELD_BY ${DWELL_STDIN-unset} >&2",
    );
    assert_eq!(rig.outcome(1), [succeeded()]);
    let log = rig.log(1);
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [&format!("{ID}/1 token-1 {} unset", rig.dir.path().display()), "{\"n\":1}"]);
    let kept = logs::attempts(&rig.dir.path().join("logs"), ID).unwrap();
    assert_eq!((kept.len(), kept[0].attempt, kept[0].bytes), (1, 1, log.len() as u64));
}

#[test]
fn a_payload_that_no_pipe_holds_arrives_whole() {
    let rig = Rig::new(|_| {});
    let work = Work {
        payload: vec![b'x'; 1 << 20],
        ..Work::of(Action::Command { argv: vec!["wc".to_owned(), "-c".to_owned()], cwd: None })
    };
    let (org, env, runtime) = ("o".into(), "e".into(), "plain".into());
    let start = Start {
        id: ID,
        attempt: 1,
        org,
        env,
        flow: None,
        runtime,
        model: None,
        session: None,
        told: 0,
        prompt: Prompt::Original,
        work: work.into(),
    };
    rig.exec.carry_out(durable(Effect::Start(Box::new(start))));
    rig.next();
    assert_eq!(rig.outcome(1), [succeeded()]);
    assert_eq!(rig.log(1).trim(), "1048576");
}

#[test]
fn a_child_keeps_its_identity_through_the_gate() {
    let rig = Rig::new(|_| {});
    let child = rig.held(1, "read -r stat < /proc/$$/stat; echo \"$stat\"");
    rig.outcome(1);
    let fields = rig.log(1);
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    assert_eq!(
        (fields[0].parse(), fields[4].parse(), fields[21].parse()),
        (Ok(child.pid), Ok(child.pid), Ok(child.started))
    );
}

#[test]
fn a_held_child_never_runs_when_its_pipe_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ran");
    for gate in ["", "go", "no\n", "gone\n"] {
        let mut held = Command::new(DWELL)
            .args(["hold", "--", "touch", file.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        held.stdin.take().unwrap().write_all(gate.as_bytes()).unwrap();
        assert_eq!(held.wait().unwrap().code(), Some(125), "{gate:?}");
        assert!(!file.exists());
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let rig = Rig::new(|_| {});
    let action = Action::Command { argv: vec!["no-such-program".to_owned()], cwd: None };
    rig.begin(1, "plain", action, None);
    let (_, Report::NeedsOperator(fault)) = rig.next() else { panic!() };
    assert_eq!(fault.code, "no_program");
    assert!(fault.message.starts_with("program no-such-program is not there"), "{}", fault.message);
}

#[test]
fn a_command_line_that_no_system_takes_is_invalid() {
    let rig = Rig::new(|_| {});
    let action = Action::Command { argv: vec!["a\0b".to_owned()], cwd: None };
    rig.begin(1, "plain", action, None);
    assert_eq!(rig.next().1.name(), "invalid");
}

#[test]
fn a_failure_brings_the_last_complaints() {
    let rig = Rig::new(|_| {});
    rig.held(1, "echo first >&2; echo last >&2; exit 3");
    let [Report::Failed(fault)] = &rig.outcome(1)[..] else { panic!() };
    assert_eq!((fault.code.as_str(), fault.message.as_str()), ("exit_3", "exited with 3: first\nlast"));
}

#[test]
fn a_refused_child_is_killed_and_never_runs() {
    let rig = Rig::new(|_| {});
    rig.accepts.store(false, Ordering::SeqCst);
    let child = rig.held(1, "touch ran");
    // The next attempt is spawned only when nothing of the first is left.
    rig.accepts.store(true, Ordering::SeqCst);
    rig.held(2, "true");
    assert!(!alive(child.pid) && !rig.dir.path().join("ran").exists());
    assert_eq!(rig.outcome(2), [succeeded()]);
}

#[test]
fn stop_ends_a_grandchild_in_the_group_and_tells_nothing() {
    let rig = Rig::new(|_| {});
    let fifo = rig.fifo("pipe");
    // The shell goes away by itself on SIGTERM, and so does the sleep: both are signalled.
    rig.held(1, "sleep 1000 & echo $! > pipe; wait");
    rig.release(1);
    let grandchild: u32 = first_line(&fifo).parse().unwrap();
    assert!(alive(grandchild));
    rig.stop(1);
    rig.held(2, "true");
    assert!(!alive(grandchild));
    assert_eq!(rig.outcome(2), [succeeded()]);
}

#[test]
fn what_ignores_sigterm_is_killed() {
    let rig = Rig::new(|setup| setup.kill_after = SHORT);
    let fifo = rig.fifo("pipe");
    let child = rig.held(1, "trap '' TERM; echo ready > pipe; while :; do sleep 1000; done");
    rig.release(1);
    first_line(&fifo);
    rig.stop(1);
    rig.held(2, "true");
    assert!(!alive(child.pid));
    rig.stop(2);
}

#[test]
fn an_attempt_waits_until_the_whole_group_of_the_one_before_is_gone() {
    let rig = Rig::new(|setup| setup.kill_after = SHORT);
    let fifo = rig.fifo("pipe");
    // The leader ends at once; a grandchild in its group ignores SIGTERM and is only ended by SIGKILL.
    rig.held(1, "(trap '' TERM; sh -c 'echo $PPID' > pipe; while :; do sleep 1000; done) & read -r x < pipe; echo $x > grandchild");
    let outcome = rig.outcome(1);
    assert_eq!(outcome, [succeeded()]);
    let grandchild: u32 =
        fs::read_to_string(rig.dir.path().join("grandchild")).unwrap().trim().parse().unwrap();
    rig.held(2, "true");
    assert!(!alive(grandchild));
    assert!(fifo.exists());
    assert_eq!(rig.outcome(2), [succeeded()]);
}

#[test]
fn a_terminal_line_is_the_result_whatever_the_process_does_then() {
    let rig = Rig::new(|setup| setup.result_grace = SHORT);
    let child = rig.held(1, r#"echo '{"dwell":"succeeded","result":"ok"}'; sleep 1000; exit 3"#);
    assert_eq!(rig.outcome(1), [Report::Succeeded { result: Some("ok".to_owned()) }]);
    // The grace ends it.
    rig.held(2, "true");
    assert!(!alive(child.pid));
    rig.stop(2);
}

#[test]
fn a_refused_result_ends_the_group_without_a_grace() {
    let rig = Rig::new(|_| {});
    let child = rig.held(1, r#"read -r x; echo '{"dwell":"succeeded"}'; sleep 1000"#);
    rig.accepts.store(false, Ordering::SeqCst);
    assert_eq!(rig.outcome(1), [succeeded()]);
    rig.accepts.store(true, Ordering::SeqCst);
    rig.held(2, "true");
    assert!(!alive(child.pid));
    rig.stop(2);
}

#[test]
fn shutdown_stops_all_and_starts_nothing_more() {
    let rig = Rig::new(|_| {});
    let running = rig.held(1, "trap '' TERM; while :; do sleep 1000; done");
    rig.release(1);
    let action = Action::Command { argv: vec!["true".to_owned()], cwd: None };
    rig.begin(2, "plain", action.clone(), None);
    assert_eq!(rig.exec.outstanding(), 2);
    rig.exec.shutdown(SHORT);
    assert_eq!(rig.exec.outstanding(), 0);
    assert!(!alive(running.pid));
    rig.begin(3, "plain", action, None);
    assert_eq!(rig.exec.outstanding(), 0);
    assert!(rig.told.is_empty());
}

const REJECTED: &str = r#"echo '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1771390800,"rateLimitType":"five_hour"}}'"#;
const INIT: &str =
    r#"for last; do :; done; echo "{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"$last\"}""#;

fn limited_until(report: &Report) -> &LimitReport {
    let Report::RateLimited(limit, _) = report else { panic!("{report:?}") };
    assert_eq!(limit.reset, Reset::At(Time::from_millis(1_771_390_800_000)));
    limit
}

#[test]
fn an_agent_succeeds_on_the_session_it_was_given() {
    let rig = Rig::new(|_| {});
    let result = r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'; exit 1"#;
    let (session, reports) = rig.agent(&format!("{INIT}\ncat\necho \"$2\" > prompt\n{result}"), None);
    // No session report: it is the one that was told before the release.
    assert_eq!(reports, [Report::Succeeded { result: Some("done".to_owned()) }]);
    assert!(rig.log(1).contains(&session.unwrap()));
    assert_eq!(fs::read_to_string(rig.dir.path().join("prompt")).unwrap(), "do it\n");
}

#[test]
fn a_resumed_agent_hears_of_the_reset_and_its_newest_session_is_told() {
    let rig = Rig::new(|_| {});
    let script = r#"echo "$@" > args
        echo '{"type":"system","subtype":"init","session_id":"s2"}'
        echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'"#;
    let (session, reports) = rig.agent(script, Some("s1"));
    assert_eq!(session.as_deref(), Some("s1"));
    assert_eq!(reports[0], Report::Session { id: "s2".to_owned() });
    let args = fs::read_to_string(rig.dir.path().join("args")).unwrap();
    assert_eq!(args, "-p the window has reset --output-format stream-json --verbose --resume s1\n");
}

#[test]
fn an_agent_that_hits_its_limit_is_rate_limited() {
    let rig = Rig::new(|_| {});
    let result = r#"echo '{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"You'"'"'ve hit your limit"}'; exit 1"#;
    let (_, reports) = rig.agent(&format!("{INIT}\n{REJECTED}\n{result}"), None);
    assert_eq!(reports.len(), 1);
    limited_until(&reports[0]);
}

#[test]
fn codex_names_a_reset_by_the_time_of_day_at_which_it_is_read() {
    let rig = Rig::new(|setup| {
        setup.now = Arc::new(|| Time::from_millis(1_773_144_000_000));
        setup.runtimes.get_mut("claude").unwrap().adapter = Adapter::Codex;
    });
    let script = r#"echo "$TZ $@" > args
        echo '{"type":"thread.started","thread_id":"t1"}'
        echo '{"type":"turn.failed","error":{"message":"You have hit your usage limit. try again at 3:42 PM."}}'"#;
    let (session, reports) = rig.agent(script, Some("t0"));
    assert_eq!(session.as_deref(), Some("t0"));
    assert_eq!(reports[0], Report::Session { id: "t1".to_owned() });
    let Report::RateLimited(limit, _) = &reports[1] else { panic!("{reports:?}") };
    assert_eq!(limit.reset, Reset::At(Time::from_millis(1_773_157_380_000)));
    let args = fs::read_to_string(rig.dir.path().join("args")).unwrap();
    assert_eq!(args, "UTC exec --json resume t0 -- the window has reset\n");
}

#[test]
fn an_agent_that_lingers_after_a_rejection_is_rate_limited_and_ended() {
    let rig = Rig::new(|setup| setup.result_grace = SHORT);
    let (_, reports) = rig.agent(&format!("{REJECTED}\nsleep 1000"), None);
    assert_eq!(reports.len(), 1);
    limited_until(&reports[0]);
    rig.held(2, "true");
    rig.stop(2);
}

#[test]
fn an_agent_without_a_result_is_silent() {
    let rig = Rig::new(|_| {});
    let (_, reports) = rig.agent(&format!("{INIT}\necho gone >&2"), None);
    let [Report::Failed(fault)] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(fault.code, "silent");
    assert_eq!(fault.message, "ended without a result, exited with 0: gone");
}

#[test]
fn an_agent_that_does_not_know_the_session_is_not_resumable() {
    let rig = Rig::new(|_| {});
    let script = r#"echo '{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["No conversation found with session ID: s1"]}'; exit 1"#;
    let (_, reports) = rig.agent(script, Some("s1"));
    assert_eq!(reports.iter().map(Report::name).collect::<Vec<_>>(), ["not_resumable"]);
}

#[test]
fn a_purged_records_logs_go() {
    let rig = Rig::new(|_| {});
    rig.held(1, "echo hello");
    rig.outcome(1);
    let logs = rig.dir.path().join("logs");
    assert_eq!(logs::attempts(&logs, ID).unwrap().len(), 1);
    rig.exec.carry_out(durable(Effect::Forget { id: ID }));
    rig.exec.shutdown(SHORT);
    assert_eq!(logs::attempts(&logs, ID).unwrap(), []);
}

#[test]
fn a_sign_of_life_is_one_heartbeat_and_a_refused_one_ends_the_attempt() {
    let rig = Rig::new(|_| {});
    let child = rig.held(1, "echo a; echo b; sleep 1000");
    rig.accepts.store(false, Ordering::SeqCst);
    rig.release(1);
    assert_eq!(rig.next(), (1, Report::Heartbeat));
    rig.accepts.store(true, Ordering::SeqCst);
    rig.held(2, "true");
    assert!(!alive(child.pid));
    assert!(rig.told.is_empty());
    rig.stop(2);
}

/// A process of an earlier engine, in a group of its own. It is killed at the end of a test that did not.
struct Survivor {
    child: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Survivor {
    /// `sh -c script`, with or without the mark.
    fn new(mark: Option<&str>, script: &str) -> Survivor {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        command.envs(mark.map(|mark| ("DWELL_HELD_BY", mark)));
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Survivor { child, output }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it prints, a pid.
    fn next_pid(&mut self) -> u32 {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Survivor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn identity(pid: u32) -> Child {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let started = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap().parse().unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().replace('-', "");
    Child { pid, started, boot: u64::from_str_radix(&boot[..16], 16).unwrap() }
}

#[test]
fn reap_finds_by_mark_what_left_its_group() {
    // Of this run only: another run of these tests may be under way.
    let mark = format!("mark-{}", std::process::id());
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & echo $!; wait";
    let mut leader = Survivor::new(Some(&mark), script);
    let pids = [leader.next_pid(), leader.next_pid()];
    let mut other = Survivor::new(Some(&format!("{mark}-0")), "echo $$; exec sleep 1000");
    other.next_pid();

    let reaped = reap(&mark, &[], PATIENCE);
    assert!(reaped.surviving.is_empty());
    assert!(reaped.stopped.contains(&leader.pid()) && pids.iter().all(|pid| reaped.stopped.contains(pid)));
    assert!(pids.iter().all(|pid| !alive(*pid)));
    assert!(alive(other.pid()), "another store's");
}

#[test]
fn reap_finds_a_known_child_and_its_group_and_leaves_a_recycled_pid_alone() {
    // Both ignore SIGTERM; neither carries a mark.
    let mut known =
        Survivor::new(None, "trap '' TERM; sh -c 'echo $$; while :; do sleep 1000; done' & wait; wait");
    let grandchild = known.next_pid();
    let mut stranger = Survivor::new(None, "echo $$; exec sleep 1000");
    stranger.next_pid();

    let same = identity(known.pid());
    let stranger_is = identity(stranger.pid());
    let recycled = Child { started: stranger_is.started - 1, ..stranger_is };
    let other_boot = Child { boot: stranger_is.boot ^ 1, ..stranger_is };
    let reaped = reap("no-such-mark", &[same, recycled, other_boot], SHORT);
    assert!(reaped.surviving.is_empty());
    assert!(reaped.stopped.contains(&known.pid()) && reaped.stopped.contains(&grandchild));
    assert!(!alive(grandchild) && alive(stranger.pid()));
    assert!(!reaped.stopped.contains(&stranger.pid()));
}

#[test]
fn reap_never_ends_the_process_it_runs_in() {
    let me = identity(std::process::id());
    let reaped = reap("no-mark-of-mine", &[me], SHORT);
    assert!(!reaped.stopped.contains(&me.pid));
}

#[test]
fn what_left_the_group_is_stopped_before_the_next_attempt() {
    let rig = Rig::new(|setup| setup.kill_after = SHORT);
    let fifo = rig.fifo("escaped");
    // The grandchild has a session of its own: the group's signals do not reach it.
    rig.held(1, &format!("setsid sh -c 'echo $$ > {}; exec sleep 100000' & wait", fifo.display()));
    rig.release(1);
    let escaped: u32 = first_line(&fifo).parse().unwrap();
    rig.stop(1);
    rig.held(2, "true");
    assert!(!alive(escaped), "attempt 2 is spawned beside {escaped} of attempt 1");
}

#[test]
fn an_attempt_that_reported_its_end_may_finish_what_it_does() {
    let rig = Rig::new(|_| {});
    let [begun, ended, done] = ["begun", "ended", "done"].map(|name| rig.fifo(name));
    let [b, e, d] = [&begun, &ended, &done].map(|path| path.display());
    let script = format!("echo on > {b}; read line < {e}; echo cleaned up > {d}");
    rig.held(1, &script);
    rig.release(1);
    assert_eq!(first_line(&begun), "on");
    rig.exec.carry_out(durable(Effect::Stop { id: ID, attempt: 1, child: None, grace: true }));
    fs::write(&ended, "go\n").unwrap();
    assert_eq!(first_line(&done), "cleaned up");
}

#[test]
fn the_first_sign_of_life_is_told_at_once() {
    let rig = Rig::new(|_| {});
    let fifo = rig.fifo("hold");
    rig.held(1, &format!("echo alive; read line < {}", fifo.display()));
    rig.release(1);
    // HEARTBEAT_EVERY is 5 s: a trailing one would come later than this.
    let (_, report) = rig.told.recv_timeout(std::time::Duration::from_secs(3)).expect("a heartbeat");
    assert_eq!(report, Report::Heartbeat);
}
