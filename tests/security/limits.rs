//! What anybody who reaches the server can bring about is bounded, and keeps nobody else out.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use super::server::{DWELL, Server, directory};
use super::{ask, exposed, tokens};

/// Clients that are slow, or make no sense; as many as the environment says.
fn many() -> usize {
    std::env::var("DWELL_SLOW_CONNECTIONS").ok().map_or(500, |text| text.parse().unwrap())
}

const SEATS: usize = 64;

fn small() -> tempfile::TempDir {
    directory(&format!(
        "[server]\nconnections_max = {SEATS}\n[sources.gh]\nkind = \"github\"\nsecrets = [\"plain:s\"]\n"
    ))
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap()
}

/// The status of the answer to these bytes; none if the connection only ends.
fn answered(server: &Server, bytes: &[u8]) -> Option<u16> {
    let mut stream = connect(server);
    // The server may answer, and hang up, before all of it is sent.
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// A size of the process in KiB, as the kernel has it.
fn kib(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn files(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count()
}

#[test]
fn connections_that_never_finish_asking_keep_nobody_out() {
    let dir = small();
    let [read, ..] = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    let before = files(&server);
    let ways: [&[u8]; 4] = [
        b"",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /hooks/gh HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        b"GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    let mut slow = Vec::new();
    for (count, way) in (0..many()).zip(ways.into_iter().cycle()) {
        let mut stream = connect(&server);
        stream.write_all(way).ok();
        slow.push(stream);
        // Each asks on a connection of its own, and is answered while the others stand there.
        if count % 50 == 0 {
            assert_eq!(ask(&server, "GET", "/v1/status", Some(&read), b"").status, 200, "after {count}");
        }
    }
    assert_eq!(ask(&server, "GET", "/v1/status", Some(&read), b"").status, 200);
    assert!(files(&server) <= before + SEATS + 1, "{} files, {before} before", files(&server));
}

#[test]
fn requests_that_make_no_sense_are_refused_and_cost_nothing() {
    let dir = small();
    let [read, ..] = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    let malformed: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \0\r\n\r\n",
        b"POST /hooks/gh HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /hooks/gh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /hooks/gh HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    ];
    let mut grown = 0;
    for (count, bytes) in (0..many()).zip(malformed.into_iter().cycle()) {
        let status = answered(&server, bytes);
        assert!(
            status.is_none_or(|status| (400..500).contains(&status) || status == 505),
            "{status:?} to {bytes:?}"
        );
        if count == many() / 2 {
            grown = kib(&server, "VmRSS");
        }
    }
    assert_eq!(ask(&server, "GET", "/v1/status", Some(&read), b"").status, 200);
    let after = kib(&server, "VmRSS");
    assert!(after < grown + (8 << 10), "{grown} KiB after half of them, {after} after all");
}

#[test]
fn a_head_or_a_body_beyond_its_limit_is_refused_by_status() {
    let dir = small();
    let [_, operate, _] = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    let long = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(300 << 10));
    assert_eq!(answered(&server, long.as_bytes()), Some(431));
    let fields: String = (0..200).map(|number| format!("X-{number}: x\r\n")).collect();
    let many = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    assert_eq!(answered(&server, many.as_bytes()), Some(431));
    let large = vec![b' '; (1 << 20) + 1];
    let told = ask(&server, "POST", "/v1/sessions", Some(&operate), &large);
    assert_eq!((told.status, told.body["code"].as_str()), (413, Some("too_large")));
    // Who shows nothing is not even read.
    let head = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    assert_eq!(answered(&server, head), Some(401));
}

#[test]
fn followers_leave_room_for_who_asks() {
    let dir = small();
    let server =
        Server::spawn(Command::new(DWELL).args(["serve", "--listen", "127.0.0.1:0"]).current_dir(dir.path()));
    let follow = || {
        let mut stream = connect(&server);
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (String::from_utf8(head.to_vec()).unwrap(), stream)
    };
    let followers: Vec<_> = (0..SEATS / 2).map(|_| follow()).collect();
    assert!(followers.iter().all(|(head, _)| head == "HTTP/1.1 200"), "{followers:?}");
    assert_eq!(follow().0, "HTTP/1.1 429");
    assert_eq!(ask(&server, "GET", "/v1/status", None, b"").status, 200);
}

#[test]
fn what_no_page_may_show_says_so_and_a_page_of_another_origin_gets_nothing() {
    let dir = directory("");
    let [read, ..] = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    for (path, bearer) in
        [("/v1/status", read.as_str()), ("/v1/status", ""), ("/healthz", ""), ("/nowhere", "")]
    {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = ureq::http::Request::builder().uri(format!("{}{path}", server.url));
        let request = request
            .header("authorization", format!("Bearer {bearer}"))
            .header("origin", "https://evil.example");
        let response = agent.run(request.body(()).unwrap()).unwrap();
        let said = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(said("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(said("referrer-policy").as_deref(), Some("no-referrer"), "{path}");
        assert_eq!(said("cache-control").as_deref(), Some("no-store"), "{path}");
        let policy = said("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert_eq!(said("access-control-allow-origin"), None, "{path}");
    }
}

#[test]
fn what_an_attempt_says_is_no_line_of_the_log_by_itself() {
    let dir = directory("");
    let server = Server::logged(dir.path(), &[]);
    let forged = "2026-11-21T00:00:00.000000Z ERROR forged";
    let script = format!("printf '%s' '{{\"dwell\":\"invalid\",\"message\":\"a\\r\\n{forged}\\u001b[2J\"}}'");
    let id =
        server.session(&serde_json::json!({"runtime": "shell", "action": {"command": ["sh", "-c", script]}}));
    server.until(&id, "dead_lettered");
    assert!(server.terminate().success());
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("ERROR forged")).collect();
    assert!(told.len() == 1 && told[0].contains(&id) && !told[0].contains('\u{1b}'), "{log}");
}

#[test]
fn a_path_or_a_header_cannot_carry_more_than_it_names() {
    let dir = directory("");
    let [_, operate, _] = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    for path in [
        "/v1/records/..%2f..%2fattempt.key/logs",
        "/v1/records/%2e%2e/logs",
        "/v1/records/ses_%00/logs",
        "/v1/records/ses_1%0d%0aSet-Cookie:%20a=b",
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/v1//status",
        "/V1/status",
        "/v1/status/",
    ] {
        let answer = ask(&server, "GET", path, Some(&operate), b"");
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    let twice = format!(
        "GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {operate}\r\nAuthorization: Bearer x\r\n\
         Connection: close\r\n\r\n"
    );
    assert_eq!(answered(&server, twice.as_bytes()), Some(401));
    assert_eq!(answered(&server, twice.replace("Authorization: Bearer x\r\n", "").as_bytes()), Some(200));
    // A name with a line break in it would be two lines of the log.
    let named = br#"{"runtime":"worker","action":{"worker":"q"},"key":"a\r\n2026-11-21 ERROR forged"}"#;
    assert_eq!(ask(&server, "POST", "/v1/sessions", Some(&operate), named).status, 400);
    let trigger = br#"{"source":"cli","event":"e\nforged","payload":{}}"#;
    assert_eq!(ask(&server, "POST", "/v1/triggers", Some(&operate), trigger).status, 400);
}
