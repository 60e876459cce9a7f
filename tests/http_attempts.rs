//! `http` attempts through the real executor against a server on the loopback. Nothing here sleeps: tests wait for
//! reports and for connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use dwell::exec::{Exec, Setup, Tell, logs};
use dwell::machine;
use dwell::model::{
    Action, Effect, Event, HttpRequest, Policy, Prompt, RecordId, Report, Reset, Start, State, Submission,
    Time, Work,
};
use dwell::store::{Batch, Durable, Memory, Writer};

/// Longer than anything here takes; reached only by a failure.
const PATIENCE: Duration = Duration::from_mins(1);
const ID: RecordId = RecordId::session(7);
/// 2026-11-21T02:00:00Z.
const NOW: Time = Time::from_millis(1_795_226_400_000);

fn durable(effect: Effect) -> Durable<Effect> {
    Writer::open(Box::new(Memory::new())).commit(Batch::default(), effect).unwrap().1
}

/// A request as a server sees it.
#[derive(Debug)]
struct Seen {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn receive(stream: &TcpStream) -> Seen {
    let mut reader = BufReader::new(stream);
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let line = next();
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = next().split_once(": ") {
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Seen { line, headers, body: String::from_utf8(body).unwrap() }
}

/// A server that answers each connection in its own way.
struct Server {
    url: String,
    seen: Receiver<Seen>,
}

impl Server {
    fn new(answer: impl Fn(&mut TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/do?x=1", listener.local_addr().unwrap());
        let (sender, seen) = unbounded();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // The test may have seen enough.
                sender.send(receive(&stream)).ok();
                answer(&mut stream);
            }
        });
        Server { url, seen }
    }

    /// One that always answers so.
    fn answering(status: &str, headers: &[(&str, &str)], body: &str) -> Server {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
        Server::new(move |stream| stream.write_all(answer.as_bytes()).unwrap())
    }
}

/// An executor whose engine accepts everything.
struct Rig {
    exec: Exec,
    told: Receiver<(u32, Report)>,
    dir: tempfile::TempDir,
}

impl Rig {
    fn new(answer_within: Duration) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup {
            runtimes: BTreeMap::new(),
            logs: dir.path().join("logs"),
            hold: "no-child-is-started".into(),
            mark: "a-test".to_owned(),
            withheld: BTreeSet::new(),
            server: None,
            token: Arc::new(|_, _| String::new()),
            traceparent: None,
            limit_prompt: String::new(),
            continue_prompt: String::new(),
            now: Arc::new(|| NOW),
            answer_within,
            kill_after: PATIENCE,
            result_grace: PATIENCE,
        };
        let (sender, told) = unbounded();
        let tell: Tell = Arc::new(move |id, attempt, report, answer| {
            assert_eq!(id, ID);
            sender.send((attempt, report)).unwrap();
            answer(true);
        });
        Rig { exec: Exec::new(setup, tell), told, dir }
    }

    fn begin(&self, attempt: u32, url: &str, method: &str, header: Option<(&str, &str)>) {
        let headers = header.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let request = HttpRequest { url: url.to_owned(), method: method.to_owned(), headers };
        let start = Start {
            id: ID,
            attempt,
            org: "o".into(),
            env: "e".into(),
            flow: None,
            runtime: "http".into(),
            model: None,
            session: None,
            told: 0,
            prompt: Prompt::Original,
            work: work(Action::Http(request)).into(),
        };
        self.exec.carry_out(durable(Effect::Start(Box::new(start))));
    }

    fn next(&self) -> (u32, Report) {
        self.told.recv_timeout(PATIENCE).expect("a report")
    }

    /// What a POST to this URL is reported as.
    fn outcome(&self, url: &str) -> Report {
        self.begin(1, url, "POST", None);
        self.next().1
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.exec.shutdown(Duration::ZERO);
    }
}

fn work(action: Action) -> Work {
    Work { payload: b"{\"n\":1}".to_vec(), ..Work::of(action) }
}

/// The state a record is in after this report on its first attempt, and for how many seconds from [`NOW`].
fn state_after(report: Report) -> (String, u64) {
    let policy = Policy::default();
    let request = HttpRequest { url: String::new(), method: String::new(), headers: BTreeMap::new() };
    let submission = Submission {
        org: "o".into(),
        env: "e".into(),
        ..Submission::of(ID, "http".into(), work(Action::Http(request)))
    };
    let queued = machine::admit(submission, 1, NOW, &policy).0;
    let active = machine::step(&queued, &Event::Dispatch, NOW, &policy).unwrap().record;
    let next = machine::step(&active, &Event::Report { attempt: 1, report }, NOW, &policy).unwrap().record;
    let (State::RateLimited { until, .. } | State::Backoff { until, .. }) = next.state else {
        return (next.state.name().to_string(), 0);
    };
    let seconds = NOW.until(until).as_secs();
    (next.state.name().to_string(), seconds)
}

#[track_caller]
fn check(status: &str, headers: &[(&str, &str)], body: &str, report: &str, state: &str, seconds: u64) {
    let server = Server::answering(status, headers, body);
    let told = Rig::new(PATIENCE).outcome(&server.url);
    assert_eq!(told.name(), report, "{status} {headers:?}: {told:?}");
    assert_eq!(state_after(told), (state.to_owned(), seconds), "{status} {headers:?}");
}

#[test]
fn a_request_carries_the_payload_under_the_attempts_name() {
    let server = Server::answering("200 OK", &[], "done");
    let rig = Rig::new(PATIENCE);
    rig.begin(3, &server.url, "PUT", Some(("Authorization", "Bearer x")));
    assert_eq!(rig.next(), (3, Report::Succeeded { result: Some("done".to_owned()) }));
    let seen = server.seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("PUT /do?x=1 HTTP/1.1", "{\"n\":1}"));
    for (name, value) in [
        ("idempotency-key", format!("{ID}.3").as_str()),
        ("content-type", "application/json"),
        ("authorization", "Bearer x"),
    ] {
        assert_eq!(seen.headers[name], value);
    }
    let log = logs::read(&rig.dir.path().join("logs"), ID, 3, 0, 1 << 20).unwrap().unwrap();
    assert_eq!(String::from_utf8(log).unwrap(), format!("PUT {}: 200 OK\ndone\n", server.url));
}

#[test]
fn a_get_carries_no_payload() {
    let server = Server::answering("204 No Content", &[], "");
    let rig = Rig::new(PATIENCE);
    rig.begin(1, &server.url, "GET", None);
    assert_eq!(rig.next().1, Report::Succeeded { result: None });
    let seen = server.seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!((seen.body.as_str(), seen.headers.contains_key("content-type")), ("", false));
}

#[test]
fn every_form_of_a_limit_gives_its_deadline() {
    let limited = |headers: &[(&str, &str)], seconds| {
        check("429 Too Many Requests", headers, "", "rate_limited", "rate_limited", seconds);
    };
    limited(&[("Retry-After", "120")], 120);
    limited(&[("Retry-After", "Sat, 21 Nov 2026 02:10:00 GMT")], 600);
    limited(&[("Retry-After", "Saturday, 21-Nov-26 02:10:00 GMT")], 600);
    limited(&[("Retry-After", "Sat Nov 21 02:10:00 2026")], 600);
    limited(&[("RateLimit", "\"default\";r=0;t=30")], 30);
    limited(&[("RateLimit-Reset", "30")], 30);
    limited(&[("X-RateLimit-Reset", "1795226460")], 60);
    limited(&[("X-RateLimit-Reset", "1795226460000")], 60);
    limited(&[("X-RateLimit-Reset", "60")], 60);
    limited(&[("X-RateLimit-Reset-Requests", "6m0s")], 360);
    limited(&[("Anthropic-RateLimit-Requests-Reset", "2026-11-21T02:01:00Z")], 60);
    limited(&[("Anthropic-RateLimit-Unified-Reset", "1795230000")], 3600);
    limited(&[("X-GitHub-Request-Id", "A:B")], 60);
    let google = r#"{"error":{"details":[{"retryDelay":"34s"}]}}"#;
    check("429 Too Many Requests", &[], google, "rate_limited", "rate_limited", 34);
    let used_up = [("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1795226460")];
    check("403 Forbidden", &used_up, "", "rate_limited", "rate_limited", 60);
    check("503 Service Unavailable", &[("Retry-After", "7")], "", "rate_limited", "rate_limited", 7);
}

#[test]
fn a_limit_without_a_time_is_a_throttle() {
    check("429 Too Many Requests", &[], "", "throttled", "backoff", 30);
    check("429 Too Many Requests", &[("Retry-After", "soon")], "", "throttled", "backoff", 30);
}

#[test]
fn every_other_status_gives_its_state() {
    for (status, report, state, seconds) in [
        ("503 Service Unavailable", "unavailable", "backoff", 5),
        ("529 Overloaded", "throttled", "backoff", 30),
        ("401 Unauthorized", "needs_operator", "dead_lettered", 0),
        ("402 Payment Required", "needs_operator", "dead_lettered", 0),
        ("403 Forbidden", "needs_operator", "dead_lettered", 0),
        ("404 Not Found", "invalid", "dead_lettered", 0),
    ] {
        check(status, &[], "no", report, state, seconds);
    }
    let server = Server::answering("500 Internal Server Error", &[], "no");
    let Report::Failed(fault) = Rig::new(PATIENCE).outcome(&server.url) else { panic!() };
    assert_eq!((fault.code.as_str(), fault.message.as_str()), ("http_500", "500 Internal Server Error: no"));
}

#[test]
fn a_redirect_is_not_followed() {
    let server = Server::answering("302 Found", &[("Location", "http://127.0.0.1:1/")], "");
    let Report::Failed(fault) = Rig::new(PATIENCE).outcome(&server.url) else { panic!() };
    assert_eq!(fault.code, "http_302");
}

/// A server that holds each connection until the test lets it go, and answers 200 then.
fn slow() -> (Server, Sender<()>) {
    let (release, released) = unbounded::<()>();
    let server = Server::new(move |stream| {
        released.recv().ok();
        // The other side may have hung up.
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok();
    });
    (server, release)
}

#[test]
fn a_slow_answer_times_out() {
    let (server, _release) = slow();
    let told = Rig::new(Duration::from_millis(100)).outcome(&server.url);
    assert_eq!(told.name(), "timed_out");
    assert_eq!(state_after(told), ("queued".to_owned(), 0));
}

#[test]
fn a_connection_that_breaks_or_is_refused_is_unavailable() {
    let rig = Rig::new(PATIENCE);
    let closing = Server::new(|_| {});
    let told = rig.outcome(&closing.url);
    assert_eq!(told.name(), "unavailable", "{told:?}");
    assert_eq!(state_after(told), ("backoff".to_owned(), 5));
    let resetting = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", resetting.local_addr().unwrap());
    // What is closed with something unread is reset.
    let server = thread::spawn(move || resetting.accept().unwrap().0.peek(&mut [0]).unwrap());
    rig.begin(3, &url, "POST", None);
    assert_eq!(rig.next().1.name(), "unavailable");
    assert_eq!(server.join().unwrap(), 1);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    rig.begin(4, &format!("http://{nobody}/"), "POST", None);
    assert_eq!(rig.next().1.name(), "unavailable");
}

#[test]
fn a_request_that_cannot_be_sent_is_invalid() {
    let rig = Rig::new(PATIENCE);
    let Report::Invalid(fault) = rig.outcome("example.org") else { panic!() };
    assert!(fault.message.contains("expected http:// or https://"), "{fault:?}");
}

#[test]
fn an_https_url_is_spoken_to_in_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 3];
        stream.read_exact(&mut first).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        first
    });
    let told = Rig::new(PATIENCE).outcome(&url);
    // A handshake record of TLS 1.x.
    assert_eq!(server.join().unwrap()[..2], [22, 3]);
    assert_eq!(told.name(), "failed", "{told:?}");
}

#[test]
fn after_a_stop_the_answer_is_ignored_and_the_next_attempt_waits_for_it() {
    let (server, release) = slow();
    let rig = Rig::new(PATIENCE);
    rig.begin(1, &server.url, "POST", None);
    server.seen.recv_timeout(PATIENCE).unwrap();
    rig.exec.carry_out(durable(Effect::Stop { id: ID, attempt: 1, child: None, grace: false }));
    rig.begin(2, &server.url, "POST", None);
    assert_eq!(rig.exec.outstanding(), 2);
    assert!(server.seen.is_empty());
    release.send(()).unwrap();
    let second = server.seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(second.headers["idempotency-key"], format!("{ID}.2"));
    release.send(()).unwrap();
    assert_eq!(rig.next(), (2, Report::Succeeded { result: None }));
    assert!(rig.told.is_empty());
}

#[test]
fn a_shutdown_does_not_wait_for_an_answer() {
    let (server, _release) = slow();
    let rig = Rig::new(PATIENCE);
    rig.begin(1, &server.url, "POST", None);
    server.seen.recv_timeout(PATIENCE).unwrap();
    rig.exec.shutdown(Duration::ZERO);
    assert_eq!(rig.exec.outstanding(), 0);
    assert!(rig.told.is_empty());
}

#[test]
fn a_reset_is_told_as_an_absolute_time_and_by_whom() {
    let server = Server::answering("429 Too Many Requests", &[("Retry-After", "120")], "slow down");
    let Report::RateLimited(limit, fault) = Rig::new(PATIENCE).outcome(&server.url) else { panic!() };
    assert_eq!(limit.reset, Reset::At(NOW.after(Duration::from_mins(2))));
    assert_eq!(fault.message, "429 Too Many Requests, until when says retry-after: slow down");
}
