//! A soak: the real server on a real store, under a steady load over HTTP, perhaps killed with -9 every few minutes and
//! started again at once. Lives are created, claimed and reported on; one in ten finds nobody at first and comes again,
//! some run into their provider's limit. Retention is short, so that it is at work from the second minute on.
//!
//! `cargo bench --bench soak -- MINUTES [KILL_EVERY_MINUTES] [LIVES_PER_S] [--svg FILE]`, by default 10 minutes without a
//! kill at 300 lives a second, prints a table of the whole time, and the figures at its end. Whatever was acknowledged is
//! in a ledger, which is held against the server after every kill and at the end. The clients are one thread beside the
//! server; the store lies below `target`, with a copy of the binary, so that a build meanwhile changes nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself")]
#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

#[path = "common/chart.rs"]
mod chart;
#[path = "soak/compare.rs"]
mod compare;
#[path = "common/connection.rs"]
mod connection;
#[path = "soak/figures.rs"]
mod figures;
#[path = "soak/ledger.rs"]
mod ledger;
#[path = "soak/load.rs"]
mod load;
#[path = "common/times.rs"]
mod times;
#[path = "common/weigh.rs"]
mod weigh;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use connection::Connection;
use dwell::fixture::Server;
use figures::{Soak, TITLES};
use load::{Load, Pace};
use tokio::task::LocalSet;

const MINUTES: f64 = 10.0;
const LIVES_PER_S: f64 = 300.0;
const CONNECTIONS: usize = 16;
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Finished records stay as long as the ledger says; segments are small, so that the history goes in small steps.
fn config() -> String {
    format!(
        "[runtimes.worker]\nconcurrency = 1000000\n[runtimes.limited]\nconcurrency = 1000000\nramp = \"off\"\n\
         [log]\nlevel = \"warn\"\n[store]\nsegment = \"16MiB\"\n\
         [retention]\nfinished = \"{0}s\"\nhistory = \"{0}s\"\n",
        ledger::FINISHED_FOR.as_secs()
    )
}

/// What is asked for.
struct Asked {
    length: Duration,
    kill_every: Option<Duration>,
    lives_per_s: f64,
    sample_every: Duration,
    svg: Option<PathBuf>,
}

impl Asked {
    fn read() -> Asked {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let svg = arguments.iter().position(|argument| argument == "--svg");
        let svg = svg.map(|at| PathBuf::from(&arguments[at + 1]));
        let numbers: Vec<f64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
        let minutes = |minutes: f64| Duration::from_secs_f64(minutes * 60.0);
        // `cargo test --all-targets` runs benches without it, to see that they run.
        if !arguments.iter().any(|argument| argument == "--bench") {
            return Asked {
                length: Duration::from_secs(2),
                kill_every: Some(Duration::from_secs(1)),
                lives_per_s: 200.0,
                sample_every: Duration::from_millis(250),
                svg,
            };
        }
        Asked {
            length: minutes(numbers.first().copied().unwrap_or(MINUTES)),
            kill_every: numbers.get(1).copied().filter(|every| *every > 0.0).map(minutes),
            lives_per_s: numbers.get(2).copied().unwrap_or(LIVES_PER_S),
            sample_every: SAMPLE_EVERY,
            svg,
        }
    }
}

/// One store, its servers one after another, and what is known of them.
struct Run {
    asked: Asked,
    binary: PathBuf,
    dir: PathBuf,
    load: Rc<Load>,
    soak: Rc<RefCell<Soak>>,
    /// The process that runs now.
    process: Rc<Cell<Option<u32>>>,
}

impl Run {
    fn start(&self) -> Server {
        let command = Server::logged(Server::command(&self.binary, &self.dir), &self.dir);
        let server = Server::spawn(&mut command.unwrap()).unwrap();
        self.process.set(Some(server.child.id()));
        server
    }

    /// Takes a sample each time, for as long as it is let.
    async fn watch(
        load: Rc<Load>,
        soak: Rc<RefCell<Soak>>,
        process: Rc<Cell<Option<u32>>>,
        store: PathBuf,
        every: Duration,
    ) {
        let mut ticks = tokio::time::interval(every);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let row = soak.borrow_mut().sample(load.window.take(), process.get(), &store);
            if let Some(row) = row {
                println!("{row}");
            }
            load.ledger.borrow_mut().forget(Instant::now());
        }
    }

    async fn whole(&self) {
        let store = self.dir.join("dwell-data");
        let mut server = self.start();
        let end = Instant::now() + self.asked.length;
        let (load, soak, process) = (Rc::clone(&self.load), Rc::clone(&self.soak), Rc::clone(&self.process));
        let watch = Run::watch(load, soak, process, store, self.asked.sample_every);
        let watch = tokio::task::spawn_local(watch);
        loop {
            let kill = self.asked.kill_every.map(|every| Instant::now() + every).filter(|at| *at < end);
            let clients = self.clients(&server).await;
            tokio::time::sleep_until(kill.unwrap_or(end).into()).await;
            if kill.is_none() {
                self.load.pace.end();
            }
            self.tell_commits(&server).await;
            if kill.is_none() {
                for client in clients {
                    client.await.unwrap().unwrap();
                }
                watch.abort();
                break;
            }
            let killed = Instant::now();
            server.kill().unwrap();
            self.process.set(None);
            for client in clients {
                // Its server is gone under it, or it has just finished a life.
                client.await.unwrap().unwrap_or_default();
            }
            self.load.ledger.borrow_mut().verdict.kills += 1;
            server = self.start();
            Connection::several(&server, 1).await[0].ask("GET", "/healthz", "").await;
            let away = killed.elapsed();
            self.soak.borrow_mut().killed(away);
            self.compare(&server).await;
            self.tell(away);
        }
        self.compare(&server).await;
        server.ask_to_stop().unwrap();
        assert!(server.child.wait().unwrap().success(), "SIGTERM stops it with exit code 0");
    }

    async fn clients(&self, server: &Server) -> Vec<tokio::task::JoinHandle<std::io::Result<()>>> {
        let open = Connection::several(server, CONNECTIONS).await;
        self.load.pace.go_on();
        let client = |connection| tokio::task::spawn_local(load::client(connection, Rc::clone(&self.load)));
        open.into_iter().map(client).collect()
    }

    /// While it runs, for who watches it.
    fn tell(&self, away: Duration) {
        let ledger = self.load.ledger.borrow();
        let found = &ledger.verdict;
        eprintln!(
            "kill {}: away for {away:.0?}; {} lives completed, {} lost, {} double",
            found.kills,
            ledger.completed,
            found.lost.len(),
            found.double.len()
        );
    }

    async fn tell_commits(&self, server: &Server) {
        let mut connection = Connection::several(server, 1).await;
        let told = connection[0].ask("GET", "/metrics", "").await;
        self.soak.borrow_mut().commits(std::str::from_utf8(told).unwrap());
    }

    async fn compare(&self, server: &Server) {
        let mut connection = Connection::several(server, 1).await;
        compare::compare(&mut connection[0], &self.load.ledger).await;
    }
}

fn spoken(time: Duration) -> impl std::fmt::Display {
    humantime::format_duration(time)
}

fn main() {
    let asked = Asked::read();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let binary = dir.path().join("dwell");
    std::fs::copy(Path::new(env!("CARGO_BIN_EXE_dwell")), &binary).unwrap();
    std::fs::write(dir.path().join("dwell.toml"), config()).unwrap();
    let kills =
        asked.kill_every.map_or("no kills".to_owned(), |every| format!("kill -9 every {}", spoken(every)));
    let title =
        format!("dwell soak: {} at {} lives a second, {kills}", spoken(asked.length), asked.lives_per_s);
    let load = Rc::new(Load {
        pace: Pace::new(asked.lives_per_s),
        ledger: RefCell::default(),
        window: RefCell::default(),
    });
    let samples = (asked.length.as_secs_f64() / asked.sample_every.as_secs_f64()) as usize;
    let soak = Rc::new(RefCell::new(Soak::new(samples)));
    let run = Run { asked, binary, dir: dir.path().to_owned(), load, soak, process: Rc::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{title}\n\n{TITLES}");
    LocalSet::new().block_on(&runtime, run.whole());
    let (soak, verdict) = (run.soak.borrow(), run.load.ledger.take().verdict);
    println!("\n{}", soak.verdict(&verdict));
    if let Some(svg) = &run.asked.svg {
        std::fs::write(svg, soak.picture(&title)).unwrap();
    }
    if !verdict.is_clean() {
        println!("kept: {}", dir.keep().display());
    }
    assert!(verdict.is_clean());
}
