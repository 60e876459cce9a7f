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
use serde::Deserialize;

/// The binary's; also for the client, which is to take little of the machine.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

    /// As many as are left.
    #[allow(dead_code, reason = "not every bench names what it makes")]
    pub fn left(&self) -> u64 {
        self.left.get()
    }

    pub fn took(&self, time: Duration) {
        let mut all = self.took.take();
        all.push(time);
        self.took.set(all);
    }
}

fn session(n: u64, payload: &str) -> String {
    let org = n % 10;
    format!(r#"{{"runtime":"worker","org":"org{org}","action":{{"worker":"bench"}},"payload":{payload}}}"#)
}

/// Of an answer, what a client goes on with. The rest is passed over: who measures is to take little of the machine.
#[derive(Deserialize)]
struct Claimed<'a> {
    #[serde(borrow)]
    attempts: Vec<Attempt<'a>>,
}

#[derive(Deserialize)]
struct Attempt<'a> {
    id: &'a str,
    attempt: u32,
}

#[derive(Deserialize)]
struct Each {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
}

/// What another connection made may be taken, but there is always as much as this one made.
pub async fn lives(mut connection: Connection, turn: Turn, payload: impl Fn(u64) -> String) {
    let session = |n: u64| session(n, &payload(n));
    while let Some(count) = turn.next() {
        let start = Instant::now();
        if turn.batch == 1 {
            connection.ask("POST", "/v1/sessions", &session(turn.left.get())).await;
        } else {
            let sessions: Vec<String> = (0..count).map(session).collect();
            let body = format!(r#"{{"sessions":[{}]}}"#, sessions.join(","));
            let made: Each = connection.read("/v1/sessions/batch", &body).await;
            assert!(made.items.iter().all(|item| item.status == 201));
        }
        // A tick starts only so many, so a claim may be answered with a part of what it asks for.
        let (mut taken, mut reports) = (0, Vec::new());
        while taken < count {
            let max = count - taken;
            let body = format!(r#"{{"worker":"bench","queue":"bench","max":{max},"wait":"5s"}}"#);
            let claimed: Claimed<'_> = connection.read("/v1/claims", &body).await;
            taken += claimed.attempts.len() as u64;
            reports.extend(claimed.attempts.iter().map(|Attempt { id, attempt }| {
                if turn.batch == 1 {
                    let path = format!("/v1/records/{id}/reports");
                    (path, format!(r#"{{"type":"succeeded","attempt":{attempt}}}"#))
                } else {
                    let report = format!(r#"{{"record":"{id}","attempt":{attempt},"type":"succeeded"}}"#);
                    (String::new(), report)
                }
            }));
        }
        if let (1, [(path, report)]) = (turn.batch, &reports[..]) {
            connection.ask("POST", path, report).await;
        } else {
            let reports: Vec<&str> = reports.iter().map(|(_, report)| report.as_str()).collect();
            let body = format!(r#"{{"reports":[{}]}}"#, reports.join(","));
            let told: Each = connection.read("/v1/reports", &body).await;
            assert!(told.items.iter().all(|item| item.status == 200));
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
