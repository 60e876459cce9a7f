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

mod common;

use std::path::Path;
use std::time::Instant;

use common::{Connection, TURNS, Turn, lives, median, per_second, percentile, take};
use tokio::task::LocalSet;

/// Requests of a life.
const REQUESTS: u64 = 3;

async fn nothing(mut connection: Connection, turn: Turn) {
    while let Some(count) = turn.next() {
        let start = Instant::now();
        for _ in 0..count {
            connection.ask("GET", "/healthz", "").await;
        }
        turn.took(start.elapsed());
    }
}

async fn compare(dir: &Path, connections: usize, batch: u64, count: u64) {
    let server = common::server(dir);
    let open = async || Connection::several(&server, connections).await;
    let lives = |connection, turn| lives(connection, turn, |n| format!(r#"{{"n":{n}}}"#));
    // The first lives warm up what there is to warm.
    take(open().await, Turn::new(count / 10 + batch, batch), lives).await;
    let (mut rates, mut bare, mut rounds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (whole, took) = take(open().await, Turn::new(count, batch), lives).await;
        rates.push(per_second(count, whole));
        rounds.extend(took);
        let (whole, _) = take(open().await, Turn::new(count * REQUESTS, REQUESTS), nothing).await;
        bare.push(per_second(count, whole));
    }
    rounds.sort_unstable();
    let [rate, empty] = [rates, bare].map(median);
    let ratio = if batch == 1 { format!(", ratio {:.2}", rate / empty) } else { String::new() };
    println!(
        "http/{connections}_connections/{batch}_a_batch: {rate:.0} lives/s, p50 {:.1?}, p99 {:.1?}; \
         three empty requests {empty:.0}/s{ratio}",
        percentile(&rounds, 50),
        percentile(&rounds, 99),
    );
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
        let connections = usize::try_from(connections).unwrap();
        LocalSet::new().block_on(&runtime, compare(dir.path(), connections, batch, count));
    }
}
