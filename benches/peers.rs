//! A job's life at dwell and at its peers as Debian and npm ship them, everything durable, on the loopback of one
//! machine: created, taken and completed. At dwell over HTTP; at beanstalkd put, reserved and deleted; at BullMQ, on a
//! Redis that syncs before it answers, added, fetched and completed. They take turns, so that all meet the same machine.
//!
//! `cargo bench --bench peers` prints a table for 1, 16 and 64 connections; `cargo bench --bench peers -- 64 5` only the
//! column of 64, with turns of five seconds. Who is not installed is passed over:
//! `apt-get install beanstalkd redis-server`, `npm ci --prefix benches/bullmq`.
//!
//! Every client has a connection of its own, one life at a time and the same payload. The clients of dwell and of
//! beanstalkd are one thread of this process; those of BullMQ are one process of node, for that is where BullMQ runs
//! (with 2 cores, two processes were no faster). Each peer does what it is made for: dwell keeps what is finished for
//! its history, beanstalkd keeps no reservation over a restart and so syncs twice a life, the others three times.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself, and waits for programs of others")]
#![allow(clippy::print_stdout, reason = "the table is the result")]

mod common;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Connection, TURNS, Turn, lives, median, per_second, percentile, take};
use dwell::fixture::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// What every job carries.
const PAYLOAD: &str = r#"{"issue":1234567,"repo":"acme/api","task":"fix the red test"}"#;

/// How long a program may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(20);

const LIFE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/bullmq/life.mjs");

#[derive(Clone, Copy)]
enum Kind {
    Dwell,
    Beanstalkd,
    Bullmq,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Dwell, Kind::Beanstalkd, Kind::Bullmq];

    fn name(self) -> &'static str {
        match self {
            Kind::Dwell => "dwell",
            Kind::Beanstalkd => "beanstalkd",
            Kind::Bullmq => "BullMQ on Redis",
        }
    }

    /// What makes it durable.
    fn durable(self) -> &'static str {
        match self {
            Kind::Dwell => "nothing to set",
            Kind::Beanstalkd => "`-b DIR -f0`; a reservation is not kept",
            Kind::Bullmq => "`appendonly yes`, `appendfsync always`",
        }
    }

    /// What the programs say themselves, or what is missing.
    fn version(self) -> Result<String, String> {
        let debian = |program| format!("{program} is not on PATH: apt-get install {program}");
        match self {
            Kind::Dwell => {
                let said = asked(env!("CARGO_BIN_EXE_dwell"), &["--version"]).unwrap();
                Ok(said.trim_start_matches("dwell ").to_owned())
            }
            Kind::Beanstalkd => {
                let said = asked("beanstalkd", &["-v"]).ok_or_else(|| debian("beanstalkd"))?;
                Ok(said.trim_start_matches("beanstalkd ").to_owned())
            }
            Kind::Bullmq => {
                let said = asked("redis-server", &["--version"]).ok_or_else(|| debian("redis-server"))?;
                let redis = said.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap();
                asked("node", &["--version"]).ok_or("node is not on PATH: BullMQ takes version 20")?;
                let bullmq = asked("node", &[LIFE, "--version"])
                    .ok_or("BullMQ is not installed: npm ci --prefix benches/bullmq")?;
                Ok(format!("{bullmq}, Redis {redis}"))
            }
        }
    }
}

/// The first line that a program says, if it is there and content.
fn asked(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| said.lines().next().unwrap_or_default().to_owned())
}

/// A program of others on a free port of the loopback; killed when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Returns when it accepts connections. What it says goes to `<dir>/log`.
    fn start(dir: &Path, command: impl FnOnce(u16) -> Command) -> Program {
        // Free when the listener is gone, and nobody on this machine is after it.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let log = File::create(dir.join("log")).unwrap();
        let mut command = command(address.port());
        command.current_dir(dir).stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        let mut program = Program { child: command.spawn().unwrap(), address };
        let start = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let ended = program.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(dir.join("log")).unwrap();
            assert!(ended.is_none() && start.elapsed() < START_MAX, "{command:?}: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn beanstalkd(dir: &Path) -> Program {
    Program::start(dir, |port| {
        let mut command = Command::new("beanstalkd");
        command.args(["-f0", "-l", "127.0.0.1", "-p", &port.to_string(), "-b"]).arg(dir);
        command
    })
}

/// A connection to beanstalkd.
struct Tube {
    stream: tokio::io::BufReader<TcpStream>,
    line: String,
}

impl Tube {
    async fn several(address: SocketAddr, connections: usize) -> Vec<Tube> {
        let mut open = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            open.push(Tube { stream: tokio::io::BufReader::new(stream), line: String::new() });
        }
        open
    }

    /// What follows the word that an answer has to begin with.
    async fn ask(&mut self, command: &str, word: &str) -> &str {
        self.stream.write_all(command.as_bytes()).await.unwrap();
        self.line.clear();
        self.stream.read_line(&mut self.line).await.unwrap();
        let rest = self.line.trim_end().strip_prefix(word);
        rest.unwrap_or_else(|| panic!("{command:?}: {:?} instead of {word}", self.line)).trim_start()
    }
}

/// As with dwell, what another connection put may be reserved.
async fn jobs(mut tube: Tube, turn: Turn) {
    let put = format!("put 0 0 60 {}\r\n{PAYLOAD}\r\n", PAYLOAD.len());
    let mut body = vec![0; PAYLOAD.len() + 2];
    while turn.next().is_some() {
        let start = Instant::now();
        tube.ask(&put, "INSERTED ").await;
        let reserved = tube.ask("reserve\r\n", "RESERVED ").await;
        let (id, _) = reserved.split_once(' ').unwrap();
        let delete = format!("delete {id}\r\n");
        tube.stream.read_exact(&mut body).await.unwrap();
        assert!(body.starts_with(PAYLOAD.as_bytes()));
        tube.ask(&delete, "DELETED").await;
        turn.took(start.elapsed());
    }
}

/// BullMQ's clients, and the Redis they are at.
struct Bullmq {
    clients: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _redis: Program,
}

impl Bullmq {
    fn start(dir: &Path, connections: usize) -> Bullmq {
        let redis = Program::start(dir, |port| {
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(dir);
            command
        });
        let mut command = Command::new("node");
        command.args([LIFE, &redis.address.port().to_string(), &connections.to_string()]);
        let mut clients = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = clients.stdin.take().unwrap();
        let output = BufReader::new(clients.stdout.take().unwrap());
        let mut bullmq = Bullmq { clients, input, output, _redis: redis };
        assert_eq!(bullmq.line(), "ready");
        bullmq
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn turn(&mut self, count: u64) -> (Duration, Vec<Duration>) {
        let payload: Value = serde_json::from_str(PAYLOAD).unwrap();
        writeln!(self.input, "{}", json!({ "lives": count, "payload": payload })).unwrap();
        let said: Value = serde_json::from_str(&self.line()).unwrap();
        let time = |value: &Value| Duration::from_secs_f64(value.as_f64().unwrap() / 1e3);
        let mut took: Vec<Duration> = said["took"].as_array().unwrap().iter().map(time).collect();
        took.sort_unstable();
        (time(&said["whole"]), took)
    }
}

impl Drop for Bullmq {
    fn drop(&mut self) {
        self.clients.kill().ok();
        self.clients.wait().ok();
    }
}

enum Peer {
    Dwell(Server),
    Beanstalkd(Program),
    Bullmq(Bullmq),
}

impl Peer {
    fn start(kind: Kind, dir: &Path, connections: usize) -> Peer {
        match kind {
            Kind::Dwell => Peer::Dwell(common::server(dir)),
            Kind::Beanstalkd => Peer::Beanstalkd(beanstalkd(dir)),
            Kind::Bullmq => Peer::Bullmq(Bullmq::start(dir, connections)),
        }
    }

    async fn turn(&mut self, connections: usize, count: u64) -> (Duration, Vec<Duration>) {
        let turn = Turn::new(count, 1);
        let payload = |_| PAYLOAD.to_owned();
        match self {
            Peer::Dwell(server) => {
                let open = Connection::several(server, connections).await;
                take(open, turn, |connection, turn| lives(connection, turn, payload)).await
            }
            Peer::Beanstalkd(program) => {
                let open = Tube::several(program.address, connections).await;
                take(open, turn, jobs).await
            }
            Peer::Bullmq(bullmq) => bullmq.turn(count),
        }
    }
}

/// A cell of the table for each kind, in their order.
async fn compare(kinds: &[Kind], connections: usize, seconds: Option<f64>) -> Vec<String> {
    let dirs: Vec<_> =
        kinds.iter().map(|_| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()).collect();
    let start = |(kind, dir): (&Kind, &tempfile::TempDir)| Peer::start(*kind, dir.path(), connections);
    let mut peers: Vec<Peer> = kinds.iter().zip(&dirs).map(start).collect();
    // The first lives warm up what there is to warm, and say how many make a turn.
    let mut counts = Vec::new();
    for peer in &mut peers {
        let count = if seconds.is_some() { 500 + 20 * connections as u64 } else { 2 };
        let (whole, _) = peer.turn(connections, count).await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand")]
        counts.push(seconds.map_or(count, |seconds| (per_second(count, whole) * seconds) as u64 + 1));
    }
    let mut rates = vec![Vec::new(); kinds.len()];
    let mut took = vec![Vec::new(); kinds.len()];
    for _ in 0..TURNS {
        for (n, peer) in peers.iter_mut().enumerate() {
            let (whole, each) = peer.turn(connections, counts[n]).await;
            rates[n].push(per_second(counts[n], whole));
            took[n].extend(each);
        }
    }
    let mut cells = Vec::new();
    for (kind, (rates, mut took)) in kinds.iter().zip(rates.into_iter().zip(took)) {
        took.sort_unstable();
        let rate = median(rates);
        let [p50, p99] = [50, 99].map(|part| percentile(&took, part).as_secs_f64() * 1e3);
        println!(
            "peers/{connections}_connections/{}: {rate:.0} lives/s, p50 {p50:.2} ms, p99 {p99:.2} ms",
            kind.name()
        );
        cells.push(format!("{rate:.0} ({p50:.1} / {p99:.1})"));
    }
    cells
}

fn main() {
    // `cargo test --all-targets` runs benches without it, to see that they run.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let numbers: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let seconds = is_bench.then(|| f64::from(numbers.get(1).copied().unwrap_or(2)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let (mut kinds, mut rows) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        match kind.version() {
            Ok(version) => {
                kinds.push(kind);
                rows.push(vec![kind.name().to_owned(), version, kind.durable().to_owned()]);
            }
            Err(missing) => println!("{missing}"),
        }
    }
    let mut head = ["peer", "version", "made durable by"].map(str::to_owned).to_vec();
    for connections in [1, 16, 64] {
        if numbers.first().is_some_and(|only| *only != connections) {
            continue;
        }
        head.push(format!("lives/s at {connections} (p50 / p99 ms)"));
        let compared = compare(&kinds, connections as usize, seconds);
        let cells = LocalSet::new().block_on(&runtime, compared);
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.push(cell);
        }
    }
    println!("\n| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}
