//! Sessions' lives over HTTP: created, claimed and completed on the loopback, each answer after the fdatasync of what it
//! says. Beside it, on the same server and the same connections, as many requests that do nothing (`GET /healthz`).
//! The two take turns, so that both meet the same machine.
//!
//! `cargo bench --bench http` prints a line for 1, 16 and 64 connections, one by one and in batches of 100;
//! `cargo bench --bench http -- 64 1 50000` only the one with 64 connections, one by one, and 50,000 lives a turn. The
//! server is the real binary, the clients are one thread beside it, and both share the machine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself where two things alternate")]
#![allow(clippy::print_stdout, reason = "the ratio is the result")]

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dwell::fixture::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Turns of each kind; the median counts.
const TURNS: usize = 3;

/// Requests of a life.
const REQUESTS: u64 = 3;

const CONFIG: &str = "[runtimes.worker]\nconcurrency = 1000000\n[log]\nlevel = \"warn\"\n\
    [retention]\nfinished_max = 100000\n";

/// A connection that asks one thing after another.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn to(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, buffer: Vec::with_capacity(1 << 16) }
    }

    /// The body of an answer that says yes.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> &[u8] {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.buffer.clear();
        let begin = loop {
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the server hung up");
            if let Some(at) = self.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..begin]).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 20"), "{}", String::from_utf8_lossy(&self.buffer));
        let (_, rest) = head.split_once("content-length: ").unwrap();
        let length: usize = rest.lines().next().unwrap().parse().unwrap();
        while self.buffer.len() < begin + length {
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the server hung up");
        }
        &self.buffer[begin..begin + length]
    }

    async fn json(&mut self, path: &str, body: &Value) -> Value {
        serde_json::from_slice(self.ask("POST", path, &body.to_string()).await).unwrap()
    }
}

/// What a turn does, and what is left of it.
#[derive(Clone)]
struct Turn {
    batch: u64,
    left: Rc<Cell<u64>>,
    took: Rc<Cell<Vec<Duration>>>,
}

impl Turn {
    /// As many as the next round takes on.
    fn next(&self) -> Option<u64> {
        let count = self.batch.min(self.left.get());
        self.left.set(self.left.get() - count);
        (count > 0).then_some(count)
    }

    fn took(&self, time: Duration) {
        let mut all = self.took.take();
        all.push(time);
        self.took.set(all);
    }
}

fn session(n: u64) -> Value {
    json!({ "runtime": "worker", "org": format!("org{}", n % 10), "action": { "worker": "bench" }, "payload": { "n": n } })
}

/// What another connection made may be taken, but there is always as much as this one made.
async fn lives(mut connection: Connection, turn: Turn) {
    while let Some(count) = turn.next() {
        let start = Instant::now();
        if turn.batch == 1 {
            connection.json("/v1/sessions", &session(turn.left.get())).await;
        } else {
            let sessions: Vec<Value> = (0..count).map(session).collect();
            connection.json("/v1/sessions/batch", &json!({ "sessions": sessions })).await;
        }
        let claim = json!({ "worker": "bench", "queue": "bench", "max": count });
        let claimed = connection.json("/v1/claims", &claim).await;
        let attempts = claimed["attempts"].as_array().unwrap();
        assert_eq!(attempts.len() as u64, count);
        if let (1, [attempt]) = (turn.batch, &attempts[..]) {
            let path = format!("/v1/records/{}/reports", attempt["id"].as_str().unwrap());
            let report = json!({ "type": "succeeded", "attempt": attempt["attempt"] });
            connection.json(&path, &report).await;
        } else {
            let report = |attempt: &Value| json!({ "record": attempt["id"], "attempt": attempt["attempt"], "type": "succeeded" });
            let reports: Vec<Value> = attempts.iter().map(report).collect();
            let answer = connection.json("/v1/reports", &json!({ "reports": reports })).await;
            for item in answer["items"].as_array().unwrap() {
                assert_eq!(item["status"], 200, "{item}");
            }
        }
        turn.took(start.elapsed());
    }
}

async fn nothing(mut connection: Connection, turn: Turn) {
    while let Some(count) = turn.next() {
        let start = Instant::now();
        for _ in 0..count {
            connection.ask("GET", "/healthz", "").await;
        }
        turn.took(start.elapsed());
    }
}

/// The time a turn took, and what one round of it took, in order of length.
async fn turn<F: Future<Output = ()> + 'static>(
    server: &Server,
    connections: usize,
    (count, batch): (u64, u64),
    client: impl Fn(Connection, Turn) -> F,
) -> (Duration, Vec<Duration>) {
    let address: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let turn = Turn { batch, left: Rc::new(Cell::new(count)), took: Rc::default() };
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::to(address).await);
    }
    let start = Instant::now();
    let clients: Vec<_> = open
        .into_iter()
        .map(|connection| tokio::task::spawn_local(client(connection, turn.clone())))
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let whole = start.elapsed();
    let mut took = turn.took.take();
    took.sort_unstable();
    (whole, took)
}

async fn compare(dir: &Path, connections: usize, batch: u64, count: u64) {
    let mut command = Server::command(Path::new(env!("CARGO_BIN_EXE_dwell")), dir);
    let server = Server::spawn(&mut command).unwrap();
    // The first lives warm up what there is to warm.
    turn(&server, connections, (count / 10 + batch, batch), lives).await;
    let (mut rates, mut bare, mut rounds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (whole, took) = turn(&server, connections, (count, batch), lives).await;
        rates.push(per_second(count, whole));
        rounds.extend(took);
        let (whole, _) = turn(&server, connections, (count * REQUESTS, REQUESTS), nothing).await;
        bare.push(per_second(count, whole));
    }
    rounds.sort_unstable();
    let [rate, empty] = [rates, bare].map(median);
    let at = |part: usize| rounds[(rounds.len() - 1) * part / 100];
    let ratio = if batch == 1 { format!(", ratio {:.2}", rate / empty) } else { String::new() };
    println!(
        "http/{connections}_connections/{batch}_a_batch: {rate:.0} lives/s, p50 {:.1?}, p99 {:.1?}; \
         three empty requests {empty:.0}/s{ratio}",
        at(50),
        at(99),
    );
}

fn per_second(count: u64, time: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = count as f64;
    count / time.as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    // `cargo test --all-targets` runs benches without it, to see that they run.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let asked: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    for (connections, batch, count) in [
        (1, 1, 1_500),
        (16, 1, 10_000),
        (64, 1, 20_000),
        (1, 100, 30_000),
        (16, 100, 60_000),
        (64, 100, 60_000),
    ] {
        let chosen = asked.is_empty() || asked.get(..2) == Some(&[connections, batch]);
        if !chosen {
            continue;
        }
        let count = if is_bench { asked.get(2).copied().unwrap_or(count) } else { 2 * batch };
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::write(dir.path().join("dwell.toml"), CONFIG).unwrap();
        let connections = usize::try_from(connections).unwrap();
        LocalSet::new().block_on(&runtime, compare(dir.path(), connections, batch, count));
    }
}
