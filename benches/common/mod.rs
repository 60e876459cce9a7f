//! What the benches of lives share: the server, a life on a connection to it, and turns of clients
//! that each do one thing at a time. All clients are one thread, beside the server and on the same machine.

mod connection;
mod times;

pub use connection::Connection;
pub use times::{per_second, percentile};

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dwell::fixture::Server;
use serde_json::{Value, json};

/// Turns of each kind; the median counts.
pub const TURNS: usize = 3;

const CONFIG: &str = "[runtimes.worker]\nconcurrency = 1000000\n[log]\nlevel = \"warn\"\n\
    [retention]\nfinished_max = 100000\n";

/// The real binary on an empty store.
pub fn server(dir: &Path) -> Server {
    std::fs::write(dir.join("dwell.toml"), CONFIG).unwrap();
    Server::spawn(&mut Server::command(Path::new(env!("CARGO_BIN_EXE_dwell")), dir)).unwrap()
}

/// What a turn does, and what is left of it.
#[derive(Clone)]
pub struct Turn {
    batch: u64,
    left: Rc<Cell<u64>>,
    took: Rc<Cell<Vec<Duration>>>,
}

impl Turn {
    pub fn new(count: u64, batch: u64) -> Turn {
        Turn { batch, left: Rc::new(Cell::new(count)), took: Rc::default() }
    }

    /// As many as the next round takes on.
    pub fn next(&self) -> Option<u64> {
        let count = self.batch.min(self.left.get());
        self.left.set(self.left.get() - count);
        (count > 0).then_some(count)
    }

    pub fn took(&self, time: Duration) {
        let mut all = self.took.take();
        all.push(time);
        self.took.set(all);
    }
}

fn session(n: u64, payload: &Value) -> Value {
    json!({ "runtime": "worker", "org": format!("org{}", n % 10), "action": { "worker": "bench" }, "payload": payload })
}

/// What another connection made may be taken, but there is always as much as this one made.
pub async fn lives(mut connection: Connection, turn: Turn, payload: impl Fn(u64) -> Value) {
    let session = |n: u64| session(n, &payload(n));
    while let Some(count) = turn.next() {
        let start = Instant::now();
        if turn.batch == 1 {
            connection.json("/v1/sessions", &session(turn.left.get())).await;
        } else {
            let sessions: Vec<Value> = (0..count).map(session).collect();
            connection.json("/v1/sessions/batch", &json!({ "sessions": sessions })).await;
        }
        // A tick starts only so many, so a claim may be answered with a part of what it asks for.
        let mut attempts = Vec::new();
        while (attempts.len() as u64) < count {
            let claim = json!({ "worker": "bench", "queue": "bench", "max": count - attempts.len() as u64, "wait": "5s" });
            let mut claimed = connection.json("/v1/claims", &claim).await;
            attempts.append(claimed["attempts"].as_array_mut().unwrap());
        }
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

/// The time a turn took, and what one round of it took, in order of length.
pub async fn take<C, F: Future<Output = ()> + 'static>(
    open: Vec<C>,
    turn: Turn,
    client: impl Fn(C, Turn) -> F,
) -> (Duration, Vec<Duration>) {
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

pub fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
