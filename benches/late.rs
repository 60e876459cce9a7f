//! Timers: how late what is due is durable, what it costs that nothing is due, and whether many expirations slow down.
//!
//! `cargo bench --bench late` prints the three; `cargo bench --bench late -- deadlines`, `idle` or `decay` only one.
//!
//! - `deadlines`: 10,000 backoffs a second for 30 s, evenly spread, in an engine that runs by its own loop, clock and alarm, as
//!   `dwell serve` runs it. Late is the time from a deadline to the return of the commit that has its transition. Then
//!   the same in the real binary, by its own metric.
//! - `idle`: CPU time of the real binary over a minute in which 1,000,000 sessions wait.
//! - `decay`: 1,000,000 records go three times from backoff through an attempt into backoff; the rate of each tenth. Each
//!   tick takes 1,024 that are due, starts them, and takes the reports of those before; time is moved by hand.
//!
//! Stores lie below `target`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself, and waits for a server's")]
#![allow(clippy::print_stdout, reason = "the lines are the result")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "common/times.rs"]
mod times;
#[path = "common/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dwell::engine::{self, Engine, Released, Settings};
use dwell::fixture::Server;
use dwell::model::{Curve, Fault, RecordId, Report, Retry, Submission, Time};
use dwell::shell::clock::{Alarm, Clock};
use dwell::store::local::Options;
use dwell::store::{Backend as _, Local};
use times::{per_second, percentile};
use world::{World, reports, submission, unavailable};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ORGS: u64 = 1_000;
/// Longer than any backoff after `unavailable`.
const PAUSE: Duration = Duration::from_mins(10);
const YEAR: Duration = Duration::from_hours(365 * 24);
const ROUNDS: u64 = 3;
const TENTHS: u64 = 10;

/// The sizes, and those to see that it works.
struct Sizes {
    due_per_s: u64,
    due_for: Duration,
    /// From the start of making them until the first is due.
    until_due: Duration,
    waiting: u64,
    /// Until an idle server has done what follows an open, and how long it is looked at then.
    settled: Duration,
    idle_for: Duration,
}

const FULL: Sizes = Sizes {
    due_per_s: 10_000,
    due_for: Duration::from_secs(30),
    until_due: Duration::from_secs(40),
    waiting: 1_000_000,
    settled: Duration::from_secs(40),
    idle_for: Duration::from_mins(1),
};
const SMALL: Sizes = Sizes {
    due_per_s: 1_000,
    due_for: Duration::from_millis(300),
    until_due: Duration::from_secs(2),
    waiting: 3_000,
    settled: Duration::ZERO,
    idle_for: Duration::from_millis(100),
};

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Sessions in backoff after a first attempt that failed.
fn fill(dir: &Path, count: u64, due_at: impl Fn(u64) -> Time) {
    let (mut world, _) = World::open(Box::new(Local::open(dir, Options::default()).unwrap()), [u32::MAX, 0]);
    world.now = Clock::System.now();
    let now = world.now;
    let one = |n: u64| {
        let first = now.until(due_at(n));
        let curve = Curve { first, factor_percent: 100, max: first, jitter_percent: 0 };
        Submission { retry: Some(Retry { attempts: 9, curve }), ..submission(n, ORGS, "idle") }
    };
    world.admit_ending((0..count).map(one), &Report::Failed(Fault::new("exit_1", "it ended with 1")));
}

/// Sessions of which one after another is due, at an even rate; answers when the first one is, since 1970.
fn fill_due(dir: &Path, sizes: &Sizes) -> (Duration, u64) {
    let first = Time::ZERO.after(wall() + sizes.until_due);
    let count = sizes.due_per_s * u64::try_from(sizes.due_for.as_millis()).unwrap() / 1_000;
    fill(dir, count, |n| first.after(nth_due(n, sizes)));
    assert!(Clock::System.now() < first, "making them took longer than {:?}", sizes.until_due);
    (Duration::from_millis(first.millis()), count)
}

/// After the first; a deadline is whole milliseconds.
fn nth_due(n: u64, sizes: &Sizes) -> Duration {
    Duration::from_millis(n * 1_000 / sizes.due_per_s)
}

/// Time as `dwell serve` gives it to the loop.
struct Ticking(Alarm);

impl engine::Clock for Ticking {
    fn now(&self) -> Time {
        Clock::System.now()
    }

    fn arm(&self, at: Option<Time>) {
        self.0.set(at).unwrap();
    }

    fn advance_to(&self, _: Time) {}
}

fn in_process(dir: &Path, sizes: &Sizes) {
    let (first, count) = fill_due(dir, sizes);
    let store = Local::open(dir, Options::default()).unwrap();
    let (handle, inbox) = engine::channel(store.history());
    let settings = Settings { runtimes: BTreeMap::from([("idle".into(), 0)]), ..Settings::default() };
    let (opening, _) = Engine::open(Box::new(store), settings, Clock::System.now()).unwrap();
    let engine = opening.survivors_stopped();
    let wake = handle.clone();
    let clock = Ticking(Alarm::start(&Clock::System, move || wake.wake()).unwrap());
    let RecordId { ulid: base, .. } = submission(0, ORGS, "idle").id;
    let (mut late, mut commits) = (Vec::with_capacity(usize::try_from(count).unwrap()), 0_u64);
    let mut release = |released: Released| {
        let now = wall();
        let transitions = released.transitions.get();
        commits += u64::from(!transitions.is_empty());
        for transition in transitions {
            let n = u64::try_from(transition.id.ulid - base).unwrap();
            late.push(now.checked_sub(first + nth_due(n, sizes)).expect("no timer is early"));
        }
        if late.len() as u64 == count {
            handle.close();
        }
    };
    engine::run(engine, &inbox, &clock, &mut release, &mut || {}).unwrap();
    late.sort_unstable();
    println!(
        "late/{}_due_a_second/in_process: {count} deadlines in {commits} commits, p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
        sizes.due_per_s,
        percentile(&late, 50),
        percentile(&late, 99),
        percentile(&late, 100),
    );
}

fn server(dir: &Path) -> Server {
    std::fs::write(dir.join("dwell.toml"), "[runtimes.idle]\n[log]\nlevel = \"error\"\n").unwrap();
    Server::spawn(Server::command(Path::new(env!("CARGO_BIN_EXE_dwell")), dir).arg("--paused")).unwrap()
}

fn in_binary(dir: &Path, sizes: &Sizes) {
    let (first, count) = fill_due(&dir.join("dwell-data"), sizes);
    let server = server(dir);
    let over = first + sizes.due_for + Duration::from_secs(1);
    std::thread::sleep(over.saturating_sub(wall()));
    let mut answer = dwell::fixture::client().get(format!("{}/metrics", server.url)).call().unwrap();
    let told = answer.body_mut().read_to_string().unwrap();
    let of = |name: &str| -> u64 {
        let line = told.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    let within = ["0.005", "0.01", "0.02", "0.05"].map(|bound| {
        let within = of(&format!("dwell_deadline_lateness_seconds_bucket{{le=\"{bound}\"}}"));
        format!("{:.3}% in {bound} s", within as f64 * 100.0 / count as f64)
    });
    assert_eq!(of("dwell_deadline_lateness_seconds_count"), count);
    println!("late/{}_due_a_second/binary, until their tick: {}", sizes.due_per_s, within.join(", "));
}

/// Of all its threads, on a processor.
fn cpu(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let ran = threads.map(|thread| {
        let told = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        told.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(ran.sum())
}

fn idle(dir: &Path, sizes: &Sizes) {
    fill(&dir.join("dwell-data"), sizes.waiting, |_| Clock::System.now().after(YEAR));
    let server = server(dir);
    std::thread::sleep(sizes.settled);
    let before = cpu(server.child.id());
    std::thread::sleep(sizes.idle_for);
    let spent = cpu(server.child.id()).saturating_sub(before);
    let share = spent.as_secs_f64() * 100.0 / sizes.idle_for.as_secs_f64();
    println!("idle/{}_waiting: {spent:.1?} of CPU in {:?}, {share:.2}%", sizes.waiting, sizes.idle_for);
}

fn decay(dir: &Path, sizes: &Sizes) {
    let store = Local::open(dir, Options::default()).unwrap();
    let (mut world, _) = World::open(Box::new(store), [u32::MAX, 0]);
    world.admit((0..sizes.waiting).map(|n| submission(n, ORGS, "idle")));
    let all = sizes.waiting * ROUNDS;
    let (mut made, mut tenth, mut took) = (0, 0, Duration::ZERO);
    let (mut said, mut rates) = (Vec::new(), Vec::new());
    while made < all {
        if said.is_empty() {
            // Nothing is due any more: all have been put off once.
            assert!(made.is_multiple_of(sizes.waiting), "{made} of {all}");
            world.now = world.now.after(PAUSE);
        }
        said = reports(world.tick(said), &unavailable());
        took += world.took;
        let count = said.len() as u64;
        (made, tenth) = (made + count, tenth + count);
        if tenth >= all / TENTHS || made == all {
            rates.push(format!("{:.0}", per_second(tenth, took)));
            (tenth, took) = (0, Duration::ZERO);
        }
    }
    println!(
        "decay/{}_waiting: {all} expirations, each started and put off again; per s, of each tenth: {}",
        sizes.waiting,
        rates.join(", ")
    );
}

/// Prints one line.
type Part = fn(&Path, &Sizes);

fn main() {
    // `cargo test --all-targets` runs benches without it, to see that they run.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes = if arguments.iter().any(|argument| argument == "--bench") { FULL } else { SMALL };
    let asked: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let parts: [(&str, Part); 4] =
        [("deadlines", in_process), ("deadlines", in_binary), ("idle", idle), ("decay", decay)];
    for (name, part) in parts {
        if asked.is_empty() || asked.iter().any(|asked| *asked == name) {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            part(dir.path(), &sizes);
        }
    }
}
