//! How it grows: an engine on a real store with ever more waiting records, more orgs, more dead letters, more history.
//!
//! `cargo bench --bench grow` prints a row of a table for each point; `cargo bench --bench grow -- 1000000 1000 0 0` only
//! the one with 1,000,000 waiting records of 1,000 orgs, no dead letters, and no transitions before; `-- waiting` only those
//! that differ in what waits. From these it prints what each further record costs, and with `--svg FILE` writes their
//! curves. Each point is made by a process of its own, which is then killed, and measured by another one that opens what
//! was left; so memory is that of the one thing measured. The store lies below `target`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench takes time itself where only one of two ticks counts")]
#![allow(clippy::print_stdout, reason = "the rows are the result")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "figures for people")]

#[path = "common/chart.rs"]
mod chart;
#[path = "common/times.rs"]
mod times;
#[path = "common/weigh.rs"]
mod weigh;
#[path = "common/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chart::{Line, Panel, Picture, Scale};
use dwell::engine::{DEADLINES_PER_TICK_MAX, Released, Request};
use dwell::model::{Fault, Report, Submission};
use dwell::store::local::Options;
use dwell::store::{Backend, Direction, Local};
use times::{per_second, percentile};
use weigh::{disk_mb, resident_mb};
use world::{World, reports, submission, submits};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longer than any backoff after `unavailable`.
const PAUSE: Duration = Duration::from_mins(10);
/// Ticks that are full of due deadlines.
const DUE_TICKS: u64 = 50;
/// Lives in a tick, and how many ticks.
const LIVES: u64 = 16;
const LIFE_TICKS: u64 = 500;

/// What is measured of each, with its title.
const FIGURES: [(&str, &str); 10] = [
    ("fill_per_s", "admitted and put off, per s"),
    ("live_mb", "live rows, MB"),
    ("table_mb", "table, MB"),
    ("open_s", "open, s"),
    ("rss_open_mb", "resident then, MB"),
    ("rss_end_mb", "at the end, MB"),
    ("life_us", "a life, us of CPU"),
    ("life_tick_p99_ms", "tick of 16 lives, p99 ms"),
    ("due_1024_p50_ms", "tick of 1,024 due, p50 ms"),
    ("due_1024_max_ms", "max ms"),
];

/// By what waits, by orgs, with dead letters, and after a long time.
const POINTS: [Point; 8] = [
    Point { waiting: 10_000, orgs: 1_000, dead: 0, aged: 0 },
    Point { waiting: 100_000, orgs: 1_000, dead: 0, aged: 0 },
    Point { waiting: 1_000_000, orgs: 1_000, dead: 0, aged: 0 },
    Point { waiting: 5_000_000, orgs: 1_000, dead: 0, aged: 0 },
    Point { waiting: 1_000_000, orgs: 1, dead: 0, aged: 0 },
    Point { waiting: 1_000_000, orgs: 100_000, dead: 0, aged: 0 },
    Point { waiting: 100_000, orgs: 1_000, dead: 1_000_000, aged: 0 },
    Point { waiting: 100_000, orgs: 1_000, dead: 0, aged: 10_000_000 },
];

/// One size.
#[derive(Clone, Copy)]
struct Point {
    waiting: u64,
    orgs: u64,
    dead: u64,
    /// Transitions made before.
    aged: u64,
}

impl Point {
    fn read(arguments: &[String]) -> Option<Point> {
        let mut numbers = arguments.iter().map(|argument| argument.parse());
        let mut next = || numbers.next()?.ok();
        Some(Point { waiting: next()?, orgs: next()?, dead: next()?, aged: next()? })
    }

    /// Whether it differs from the first one in nothing else.
    fn is_of_waiting(self) -> bool {
        (self.orgs, self.dead, self.aged) == (POINTS[0].orgs, POINTS[0].dead, POINTS[0].aged)
    }

    fn arguments(self) -> [String; 4] {
        [self.waiting, self.orgs, self.dead, self.aged].map(|number| number.to_string())
    }
}

/// The engine on the store in `dir`.
fn open(dir: &Path, places: [u32; 2]) -> (World, Released) {
    World::open(Box::new(Local::open(dir, Options::default()).unwrap()), places)
}

/// Makes the point and waits to be killed.
fn fill(dir: &Path, point: Point) {
    let (mut world, _) = open(dir, [u32::MAX, 0]);
    let start = Instant::now();
    let invalid = || Some(Fault::new("template", "a field is missing"));
    let letters = (0..point.dead).map(|n| point.waiting + n);
    world.admit(letters.map(|n| Submission { invalid: invalid(), ..submission(n, point.orgs, "idle") }));
    world.admit((0..point.waiting).map(|n| submission(n, point.orgs, "idle")));
    say("fill_per_s", per_second(point.waiting + point.dead, start.elapsed()));
    let busy = point.waiting + point.dead;
    world.admit(std::iter::once(submission(busy, point.orgs, "busy")));
    say("done", 0.0);
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Opens what was left and measures it.
fn measure(dir: &Path, point: Point) {
    let start = Instant::now();
    let (mut world, first) = open(dir, [0, 1024]);
    assert_eq!(first.effects.get().len(), 1, "the one that was left starts");
    say("open_s", start.elapsed().as_secs_f64());
    say("rss_open_mb", resident_mb("self").unwrap());
    let mut started = first;
    let mut next = point.waiting + point.dead + 1;
    let (mut lives, mut walls) = (Duration::ZERO, Vec::new());
    let aging = point.aged / (3 * LIVES);
    for nth in 0..aging + LIFE_TICKS {
        let reported = reports(started, &Report::Succeeded { result: None });
        let fresh = (next..next + LIVES).map(|n| submission(n, point.orgs, "busy"));
        let requests: Vec<Request> = reported.into_iter().chain(submits(fresh)).collect();
        next += LIVES;
        let cpu = thread_cpu();
        started = world.tick(requests);
        if nth >= aging {
            lives += thread_cpu().saturating_sub(cpu);
            walls.push(world.took);
        }
    }
    say("life_us", lives.as_secs_f64() * 1e6 / (LIVES * LIFE_TICKS) as f64);
    say("life_tick_p99_ms", at(&mut walls, 99));
    world.now = world.now.after(PAUSE);
    let mut due = Vec::new();
    for _ in 0..DUE_TICKS.min(point.waiting / DEADLINES_PER_TICK_MAX as u64) {
        let made = world.tick([]).transitions.get().len();
        due.push(world.took);
        assert_eq!(made, DEADLINES_PER_TICK_MAX);
    }
    if !due.is_empty() {
        say("due_1024_p50_ms", at(&mut due, 50));
        say("due_1024_max_ms", at(&mut due, 100));
    }
    say("rss_end_mb", resident_mb("self").unwrap());
}

/// What the store takes and what it holds, once nobody has it open.
fn disk(dir: &Path) {
    say("table_mb", disk_mb(&dir.join("table")));
    let store = Local::open(dir, Options::default()).unwrap();
    let (mut live, mut from) = (0, vec![0]);
    loop {
        let rows = store.scan(&from, &[255; 8], Direction::Ascending, 10_000).unwrap();
        live += rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let Some((last, _)) = rows.last() else { break };
        from = [&last[..], &[0]].concat();
    }
    say("live_mb", live as f64 / 1e6);
}

fn say(name: &str, value: f64) {
    println!("{name} {value:.3}");
    std::io::stdout().flush().unwrap();
}

/// In milliseconds, the time that so many of a hundred take at most.
fn at(times: &mut [Duration], part: usize) -> f64 {
    times.sort_unstable();
    percentile(times, part).as_secs_f64() * 1e3
}

fn thread_cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.try_into().unwrap(), spent.tv_nsec.try_into().unwrap())
}

/// Runs this program again as one part of a point, until it says `done` or ends.
fn part(name: &str, dir: &Path, point: Point, row: &mut BTreeMap<String, f64>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--part").arg(name).arg(dir).args(point.arguments());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let (name, value) = line.split_once(' ').unwrap();
        if name == "done" {
            child.kill().unwrap();
            break;
        }
        row.insert(name.to_owned(), value.parse().unwrap());
    }
    let ended = child.wait().unwrap();
    assert!(ended.success() || name == "fill", "{name} ended with {ended}");
}

type Rows = [(f64, BTreeMap<String, f64>)];

/// What each record takes that one point has more than the one before.
fn costs(rows: &Rows) {
    let costs = [("rss_open_mb", "memory"), ("live_mb", "live rows"), ("table_mb", "table")];
    println!("\n| bytes for each record | {} |", costs.map(|(_, title)| title).join(" | "));
    println!("|---|{}", "---:|".repeat(costs.len()));
    for pair in rows.windows(2) {
        let [(less, before), (more, after)] = pair else { continue };
        let cost =
            |(name, _): (&str, _)| format!("{:.0}", (after[name] - before[name]) * 1e6 / (more - less));
        println!("| from {less} to {more} | {} |", costs.map(cost).join(" | "));
    }
}

/// Curves over what waits.
fn picture(rows: &Rows) -> String {
    let line = |name, figure: &str| Line {
        name,
        points: rows
            .iter()
            .filter_map(|(waiting, row)| Some((*waiting, *row.get(figure)?)))
            .filter(|point| point.1 > 0.0)
            .collect(),
    };
    let panels = vec![
        Panel {
            title: "resident memory, MB",
            y: Scale::Log,
            lines: vec![line("opened", "rss_open_mb"), line("after work", "rss_end_mb")],
        },
        Panel {
            title: "disk, MB",
            y: Scale::Log,
            lines: vec![line("live rows", "live_mb"), line("table", "table_mb")],
        },
        Panel { title: "open to the first start, s", y: Scale::Log, lines: vec![line("", "open_s")] },
        Panel {
            title: "a tick, ms",
            y: Scale::Linear,
            lines: vec![line("1,024 due, p50", "due_1024_p50_ms"), line("16 lives, p99", "life_tick_p99_ms")],
        },
    ];
    let title = "dwell by what waits: memory, disk, opening after kill -9, and a tick";
    Picture { title, x_title: "waiting records", x: Scale::Log, marks: Vec::new(), panels }.svg()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, dir, point @ ..] = &arguments[..]
        && flag == "--part"
    {
        let point = Point::read(point).unwrap();
        match name.as_str() {
            "fill" => fill(Path::new(dir), point),
            "measure" => measure(Path::new(dir), point),
            _ => disk(Path::new(dir)),
        }
        return;
    }
    // `cargo test --all-targets` runs benches without it, to see that they run.
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let svg = arguments.iter().position(|argument| argument == "--svg").map(|at| arguments[at + 1].clone());
    let waiting = arguments.iter().any(|argument| argument == "waiting");
    let asked: Vec<String> =
        arguments.into_iter().filter(|argument| argument.parse::<u64>().is_ok()).collect();
    let points = match Point::read(&asked) {
        Some(point) => vec![point],
        None if is_bench => POINTS.into_iter().filter(|point| !waiting || point.is_of_waiting()).collect(),
        None => [2_000, 4_000].map(|waiting| Point { waiting, orgs: 10, dead: 100, aged: 1_000 }).to_vec(),
    };
    let titles: Vec<&str> = FIGURES.iter().map(|(_, title)| *title).collect();
    println!("| waiting | orgs | dead | transitions before | {} |", titles.join(" | "));
    println!("|{}", "---:|".repeat(4 + FIGURES.len()));
    let mut rows = Vec::new();
    for point in points {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = dir.path().join("store");
        let mut row = BTreeMap::new();
        for name in ["fill", "disk", "measure"] {
            part(name, &store, point, &mut row);
        }
        let figure = |name: &str| row.get(name).map_or("-".to_owned(), |value| format!("{value:.1}"));
        let figures: Vec<String> = FIGURES.iter().map(|(name, _)| figure(name)).collect();
        println!("| {} | {} |", point.arguments().join(" | "), figures.join(" | "));
        if point.is_of_waiting() || !is_bench {
            rows.push((point.waiting as f64, row));
        }
    }
    costs(&rows);
    if let Some(svg) = svg {
        std::fs::write(svg, picture(&rows)).unwrap();
    }
}
