//! Several nodes on one PostgreSQL, all of them on this machine, with every commit flushed: sessions that are created over HTTP
//! from as many connections, spread over the nodes and over orgs in all shards. Before it, what the store alone does: as many
//! threads as shards, each of which commits a row as soon as the one before is durable; that is where PostgreSQL is the
//! limit and not dwell.
//!
//! `cargo bench --bench nodes` prints a line for each; `-- store` and `-- nodes` only one kind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself")]
#![allow(clippy::print_stdout, reason = "the figures are the result")]

#[allow(dead_code, reason = "it creates sessions, and does not carry them through")]
mod common;

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Connection, TURNS, Turn, median, per_second, percentile, take};
use dwell::fixture::{Postgres, Server, request};
use dwell::store::postgres::{self, Member, Shards};
use dwell::store::{Backend as _, Batch};
use tokio::task::LocalSet;

const DWELL: &str = env!("CARGO_BIN_EXE_dwell");
const CONNECTIONS: usize = 64;

/// Orgs, many to a shard.
const ORGS: u64 = 320;

/// A row as large as a record.
const ROW_BYTES: usize = 250;

/// So many threads commit `rows` new rows each time, `commits` times.
fn store(shards: u32, rows: usize, commits: usize) {
    let Some(postgres) = Postgres::start(None).unwrap() else {
        return println!("SKIPPED: no PostgreSQL here");
    };
    let server = postgres::Server::of(&postgres.url("postgres"), None, None).unwrap();
    postgres::migrate(&server, shards).unwrap();
    let member = Member {
        name: "bench".to_owned(),
        address: String::new(),
        lease: Duration::from_mins(10),
        history_age_max: Duration::from_hours(1),
    };
    let all = Shards::open(server, member, Box::new(|_| {})).unwrap();
    let taken: Vec<_> = (0..shards).map(|shard| all.take(shard).unwrap().unwrap()).collect();
    let start = Instant::now();
    let threads: Vec<_> = (taken.into_iter())
        .map(|mut shard| {
            std::thread::spawn(move || {
                let mut took = Vec::with_capacity(commits);
                for n in 0..commits {
                    let mut batch = Batch::default();
                    for row in 0..rows {
                        batch.put(format!("r{n:08}{row:04}").into_bytes(), vec![b'x'; ROW_BYTES]);
                        batch.event(vec![b'e'; 80]);
                    }
                    let start = Instant::now();
                    shard.commit(batch).unwrap();
                    took.push(start.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took: Vec<Duration> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let rate = per_second(took.len() as u64, start.elapsed());
    took.sort_unstable();
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let rows_rate = rate * rows as f64;
    println!(
        "store/{shards}_shards/{rows}_a_commit: {rate:.0} commits/s ({rows_rate:.0} rows/s), p50 {:.1?}, p99 {:.1?}",
        percentile(&took, 50),
        percentile(&took, 99),
    );
}

fn command(dir: &Path, postgres: &Postgres, node: usize) -> Command {
    let home = dir.join(format!("node{node}"));
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(
        home.join("dwell.toml"),
        "[runtimes.worker]\nconcurrency = 1000000\n[log]\nlevel = \"warn\"\n",
    )
    .unwrap();
    let mut command = Server::command(Path::new(DWELL), &home);
    command.env("DWELL_STORE_URL", postgres.url("postgres")).env("DWELL_NODE_NAME", format!("node{node}"));
    command
}

/// How many shards the nodes own.
async fn owned(servers: &[Server]) -> Vec<usize> {
    let mut connection = Connection::several(&servers[0], 1).await.remove(0);
    let nodes: serde_json::Value =
        serde_json::from_slice(connection.ask("GET", "/v1/nodes", "").await).unwrap();
    let items = nodes["items"].as_array().unwrap();
    items.iter().map(|node| node["shards"].as_array().unwrap().len()).collect()
}

/// Whether every shard does, through this node: whoever owns one may be reading it yet.
fn answers(server: &Server) -> bool {
    let told = request("GET", &format!("{}/v1/status", server.url), None);
    told.is_ok_and(|told| told.status == 200)
}

async fn nodes(count: usize, shards: usize, sessions: u64) {
    let Some(postgres) = Postgres::start(None).unwrap() else {
        return println!("SKIPPED: no PostgreSQL here");
    };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let migrated = Command::new(DWELL)
        .arg("migrate")
        .env("DWELL_STORE_URL", postgres.url("postgres"))
        .env("DWELL_STORE_SHARDS", shards.to_string())
        .output()
        .unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let servers: Vec<Server> =
        (0..count).map(|node| Server::spawn(&mut command(dir.path(), &postgres, node)).unwrap()).collect();
    let share = shards.div_ceil(count);
    let (_tell, told) = mpsc::channel::<()>();
    loop {
        let owned = owned(&servers).await;
        if owned.len() == count && owned.iter().sum::<usize>() == shards {
            if owned.iter().any(|owned| *owned > share) {
                let mut connection = Connection::several(&servers[0], 1).await.remove(0);
                connection.ask("POST", "/v1/nodes/rebalance", "{}").await;
            } else if servers.iter().all(answers) {
                break;
            }
        }
        told.recv_timeout(Duration::from_millis(500)).unwrap_err();
    }
    let client = async |mut connection: Connection, turn: Turn| {
        while turn.next().is_some() {
            let n = turn.left();
            let body = format!(
                r#"{{"runtime":"worker","org":"org{}","action":{{"worker":"bench"}},"payload":{{"n":{n}}}}}"#,
                n % ORGS
            );
            let start = Instant::now();
            connection.ask("POST", "/v1/sessions", &body).await;
            turn.took(start.elapsed());
        }
    };
    let (mut rates, mut rounds) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let mut open = Vec::new();
        for server in &servers {
            open.extend(Connection::several(server, CONNECTIONS / count).await);
        }
        let (whole, took) = take(open, Turn::new(sessions, 1), client).await;
        // The first one warms up what there is to warm.
        if turn > 0 {
            rates.push(per_second(sessions, whole));
            rounds.extend(took);
        }
    }
    rounds.sort_unstable();
    println!(
        "nodes/{count}_nodes/{shards}_shards: {:.0} sessions/s, p50 {:.1?}, p99 {:.1?}",
        median(rates),
        percentile(&rounds, 50),
        percentile(&rounds, 99),
    );
}

fn main() {
    // `cargo test --all-targets` runs benches without it, to see that they run.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let only = |kind: &str| {
        let named: Vec<String> =
            std::env::args().filter(|argument| ["store", "nodes"].contains(&argument.as_str())).collect();
        named.is_empty() || named.iter().any(|name| name == kind)
    };
    if only("store") {
        for (shards, rows) in [(1, 1), (4, 1), (16, 1), (1, 64), (4, 64), (16, 64)] {
            store(shards, rows, if is_bench { 2_000 } else { 2 });
        }
    }
    if only("nodes") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        for (count, shards) in [(1, 1), (1, 4), (1, 16), (2, 16), (3, 16)] {
            let sessions = if is_bench { 5_000 } else { 64 };
            LocalSet::new().block_on(&runtime, nodes(count, shards, sessions));
        }
    }
}
