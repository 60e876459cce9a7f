//! Several nodes of the real binary on one real PostgreSQL, started here. Where its programs are not installed, each test
//! says on stderr that it was skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;

#[path = "../common/copied.rs"]
mod copied;

mod answers;
mod commands;
mod cut;
mod failures;
mod guard;
mod moves;
mod tls;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use dwell::fixture::Postgres;
use dwell::shell::clock::Clock;
use serde_json::{Value, json};
use server::{Answer, DWELL, Server};
use tempfile::TempDir;

/// Nobody dies: not for a machine that is busy with other tests either.
const LONG: &str = "30s";

/// Longer than anything is waited for.
const ENDLESS: &str = "5m";

/// Somebody dies, and is waited for; on a slow machine nobody else does.
const SHORT: &str = "10s";

/// A lease, what is allowed beyond it, and a slow machine.
const SOON: Duration = Duration::from_mins(2);

const RUNTIMES: &str =
    "[runtimes.one]\nconcurrency = 1\n[runtimes.many]\nconcurrency = 100\nramp = \"off\"\n";

/// A server, and nodes on it by number.
struct Cluster {
    postgres: Postgres,
    dir: TempDir,
    nodes: Vec<Option<Server>>,
    lease: &'static str,
}

impl Cluster {
    /// A store of so many shards, and no node yet; `None` without PostgreSQL.
    fn made(shards: usize) -> Option<Cluster> {
        let postgres = Postgres::start_or_skip(None).unwrap()?;
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster { postgres, dir, nodes: Vec::new(), lease: LONG };
        let made =
            cluster.dwell(0, &["migrate"]).env("DWELL_STORE_SHARDS", shards.to_string()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Some(cluster)
    }

    /// With so many nodes, each with its share of so many shards; `None` without PostgreSQL.
    fn start(nodes: usize, shards: usize) -> Option<Cluster> {
        Cluster::with(LONG, nodes, shards)
    }

    /// The same with this lease.
    fn with(lease: &'static str, nodes: usize, shards: usize) -> Option<Cluster> {
        let mut cluster = Cluster::made(shards)?;
        cluster.lease = lease;
        for node in 0..nodes {
            cluster.nodes.push(None);
            cluster.up(node);
        }
        let first = cluster.node(0);
        if nodes > 1 {
            cluster.known(0, nodes);
            assert_eq!(first.post("/v1/nodes/rebalance", &json!({})).status, 202);
        }
        let share = shards.div_ceil(nodes);
        cluster.settled(|counts| counts.iter().all(|count| *count <= share));
        Some(cluster)
    }

    /// A command of a node.
    fn dwell(&self, node: usize, args: &[&str]) -> Command {
        let dir = self.home(node);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("dwell.toml"), RUNTIMES).unwrap();
        let mut command = Command::new(DWELL);
        command.args(args).current_dir(&dir).env("DWELL_STORE_URL", self.postgres.url("postgres"));
        command
            .env("DWELL_NODE_LEASE", self.lease)
            .env("DWELL_DRAIN_TIMEOUT", "2s")
            .env("DWELL_DRAIN_KILL_AFTER", "1s");
        command.env("DWELL_NODE_NAME", format!("node{node}"));
        command
    }

    fn home(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node{node}"))
    }

    /// Starts a node, for the first time or again.
    fn up(&mut self, node: usize) {
        let mut command = self.dwell(node, &["serve", "--listen", "127.0.0.1:0"]);
        let log =
            std::fs::File::options().create(true).append(true).open(self.home(node).join("log")).unwrap();
        self.nodes[node] = Some(Server::spawn(command.stderr(log)));
    }

    fn node(&self, node: usize) -> &Server {
        self.nodes[node].as_ref().unwrap()
    }

    /// Waits until a node knows of so many.
    fn known(&self, by: usize, nodes: usize) {
        let count = || self.node(by).get("/v1/nodes").body["items"].as_array().unwrap().len();
        until("nodes are known", || count() == nodes);
    }

    /// How many shards each node owns, by the first one that is up; and how many nobody does.
    fn owned(&self) -> (Vec<usize>, usize) {
        let asked = self.nodes.iter().flatten().next().unwrap().get("/v1/nodes").body;
        let shards = asked["shards"].as_array().unwrap();
        let of = |name: String| shards.iter().filter(|shard| shard["owner"] == *name).count();
        let free = shards.iter().filter(|shard| shard["owner"].is_null()).count();
        ((0..self.nodes.len()).map(|node| of(format!("node{node}"))).collect(), free)
    }

    /// Waits until every shard has an owner that answers, and they are as they should be.
    fn settled(&self, fine: impl Fn(&[usize]) -> bool) {
        until("every shard has an owner", || {
            let (counts, free) = self.owned();
            let answer = |node: &Server| node.get("/v1/status").status == 200;
            free == 0 && fine(&counts) && self.nodes.iter().flatten().all(answer)
        });
    }
}

impl Drop for Cluster {
    /// What the nodes said, if the test failed.
    fn drop(&mut self) {
        for node in (0..self.nodes.len()).filter(|_| std::thread::panicking()) {
            let log = std::fs::read_to_string(self.home(node).join("log")).unwrap_or_default();
            eprintln!("node{node}:\n{log}");
        }
    }
}

/// Asks until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let (begun, (_tell, told)) = (Clock::System.now(), mpsc::channel::<()>());
    while !is_so() {
        assert!(begun.until(Clock::System.now()) < SOON, "not in time: {what}");
        // Nobody tells; the machine has other things to do.
        told.recv_timeout(Duration::from_millis(50)).unwrap_err();
    }
}

/// Asks until the answer is no 503: a shard has no owner for a moment.
fn patiently(ask: impl Fn() -> Answer) -> Answer {
    let mut last = None;
    until("an answer other than 503", || {
        let answer = ask();
        let done = answer.status != 503;
        last = Some(answer);
        done
    });
    last.unwrap()
}

/// A session that a worker is to carry out.
fn work(org: &str, key: &str) -> Value {
    json!({ "runtime": "many", "org": org, "key": key, "action": { "worker": "q" } })
}

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}
