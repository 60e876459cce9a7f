//! What dwell tells of itself, asked of the real binary: metrics, reasons, log lines, traces, and the files that are
//! made for them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::float_cmp, reason = "what is counted here are small whole numbers")]

#[path = "../common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;

mod examples;
mod exposition;
mod lines;
mod metrics;
mod ready;
mod traces;

use exposition::{Family, parse};
use server::Server;

/// What `GET /metrics` says to Prometheus: its content type and text.
fn scraped(server: &Server) -> (String, String) {
    scraped_as(
        server,
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
    )
}

/// The same, to who accepts this.
fn scraped_as(server: &Server, accept: &str) -> (String, String) {
    let asked = server::client().get(format!("{}/metrics", server.url)).header("accept", accept);
    let mut answer = asked.call().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.body_mut().read_to_string().unwrap())
}

/// The same, read.
fn scrape(server: &Server) -> Vec<Family> {
    parse(&scraped(server).1).unwrap_or_else(|fault| panic!("{fault}"))
}
