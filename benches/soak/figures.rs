//! The figures of a soak: samples taken every few seconds, rows of them, and what they come to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use dwell::fixture::Verdict;

use super::chart::{Line, Panel, Picture, Scale};
use super::times::{per_second, percentile};
use super::weigh::{disk_mb, resident_mb};

/// Of requests that are answered after a commit of their own, the p99 is at most so many times the median.
const P99_MAX: f64 = 3.0;
/// No answer takes longer.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Memory is level from here on.
const SETTLED: Duration = Duration::from_mins(1);
const ROWS: usize = 12;

/// What clients saw since the latest sample.
#[derive(Debug, Default)]
pub struct Window {
    /// In microseconds, each request that was answered after a commit of its own.
    durable: Vec<u32>,
    worst: Duration,
    lives: u64,
}

impl Window {
    pub fn durable(&mut self, took: Duration) {
        self.durable.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.answered(took);
    }

    pub fn answered(&mut self, took: Duration) {
        self.worst = self.worst.max(took);
    }

    pub fn life(&mut self) {
        self.lives += 1;
    }
}

struct Sample {
    at: Duration,
    span: Duration,
    window: Window,
    /// Unless the server was just gone.
    resident_mb: Option<f64>,
    journal_mb: f64,
    table_mb: f64,
}

/// From beginning to end.
pub struct Soak {
    began: Instant,
    samples_per_row: usize,
    samples: Vec<Sample>,
    /// When the server was killed, and how long it was until the next one answered.
    kills: Vec<(Duration, Duration)>,
    /// By bound in seconds, how many commits took at most so long, by the servers' own count.
    commits: BTreeMap<String, u64>,
}

impl Soak {
    pub fn new(samples: usize) -> Soak {
        Soak {
            began: Instant::now(),
            samples_per_row: samples.div_ceil(ROWS).max(1),
            samples: Vec::new(),
            kills: Vec::new(),
            commits: BTreeMap::new(),
        }
    }

    /// Answers a row of the table, if this sample ends one.
    pub fn sample(&mut self, window: Window, server: Option<u32>, store: &Path) -> Option<String> {
        let at = self.began.elapsed();
        let span = at.saturating_sub(self.samples.last().map_or(Duration::ZERO, |sample| sample.at));
        self.samples.push(Sample {
            at,
            span,
            window,
            resident_mb: server.and_then(|process| resident_mb(&process.to_string())),
            journal_mb: disk_mb(&store.join("journal")),
            table_mb: disk_mb(&store.join("table")),
        });
        let of_row = self.samples.len() - self.samples_per_row.min(self.samples.len());
        self.samples.len().is_multiple_of(self.samples_per_row).then(|| row(&self.samples[of_row..]))
    }

    pub fn killed(&mut self, away: Duration) {
        self.kills.push((self.began.elapsed().saturating_sub(away), away));
    }

    /// What a server tells of its commits before it goes.
    pub fn commits(&mut self, metrics: &str) {
        for line in metrics.lines() {
            let Some(rest) = line.strip_prefix("dwell_commit_duration_seconds_bucket{le=\"") else {
                continue;
            };
            let (bound, count) = rest.split_once("\"} ").unwrap();
            *self.commits.entry(bound.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }

    /// What was asked for, beside what it is.
    pub fn verdict(&self, found: &Verdict) -> String {
        let all = &self.samples[..];
        let [p50, p99] = percentiles(all);
        let pauses = all.iter().filter(|sample| sample.window.worst > PAUSE_MAX);
        let pauses: Vec<String> = pauses
            .map(|sample| format!("{:.0} ms before {:.1} min", ms(sample.window.worst), minutes(sample.at)))
            .collect();
        let rates: Vec<f64> =
            all.chunks(self.samples_per_row).map(|rows| lives_per_s(rows).round()).collect();
        let away: Vec<f64> = self.kills.iter().map(|(_, away)| ms(*away).round()).collect();
        format!(
            "durable requests: {}, p50 {p50:.2} ms, p99 {p99:.2} ms, ratio {:.1} (at most {P99_MAX})\n\
             commits, by the servers: {}\n\
             longest answer: {:.0} ms (at most {}); longer ones: {pauses:?}\n\
             resident: {}\n\
             journal and table: at most {:.0} MB in the first half, {:.0} MB in the second\n\
             lives/s: {rates:?}\n\
             kills: {}; until the next server answered, ms: {away:?}\n\
             {found}",
            all.iter().map(|sample| sample.window.durable.len()).sum::<usize>(),
            p99 / p50,
            self.commit_times(),
            worst_ms(all),
            PAUSE_MAX.as_millis(),
            self.memory(),
            most_disk(&all[..all.len() / 2]),
            most_disk(&all[all.len() / 2..]),
            self.kills.len(),
        )
    }

    /// Of each server's memory a minute after its start and at its end.
    fn memory(&self) -> String {
        let starts = std::iter::once(Duration::ZERO).chain(self.kills.iter().map(|(at, away)| *at + *away));
        let ends = self.kills.iter().map(|(at, _)| *at).chain([Duration::MAX]);
        let grown: Vec<String> = starts
            .zip(ends)
            .filter_map(|(start, end)| {
                let known = |sample: &Sample| Some((sample.at, sample.resident_mb?));
                let of: Vec<_> = self.samples.iter().filter_map(known).collect();
                let mut of =
                    of.into_iter().filter(|(at, _)| (start + SETTLED..end).contains(at)).map(|(_, mb)| mb);
                let first = of.next()?;
                Some(format!("{first:.0} to {:.0} MB", of.next_back().unwrap_or(first)))
            })
            .collect();
        format!("from a minute after each start: {}", grown.join(", "))
    }

    fn commit_times(&self) -> String {
        let seconds = |bound: &str| bound.parse::<f64>().unwrap_or(f64::INFINITY);
        let mut bounds: Vec<(f64, u64)> =
            self.commits.iter().map(|(bound, count)| (seconds(bound), *count)).collect();
        bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let Some((_, whole)) = bounds.pop() else { return "not told".to_owned() };
        let [p50, p99] = [0.5, 0.99].map(|part| within(&bounds, part * whole as f64) * 1e3);
        format!("{whole}; p50 about {p50:.2} ms, p99 {p99:.2} ms, ratio {:.1} (at most {P99_MAX})", p99 / p50)
    }

    pub fn picture(&self, title: &str) -> String {
        let line = |name, of: &dyn Fn(&Sample) -> Option<f64>| Line {
            name,
            points: self
                .samples
                .iter()
                .filter_map(|sample| Some((minutes(sample.at), of(sample)?)))
                .collect(),
        };
        let requests = |part: usize| {
            move |sample: &Sample| {
                (!sample.window.durable.is_empty()).then(|| percentiles(std::slice::from_ref(sample))[part])
            }
        };
        let panels = vec![
            Panel {
                title: "lives a second",
                y: Scale::Linear,
                lines: vec![line("", &|sample| Some(sample.lives_per_s()))],
            },
            Panel {
                title: "durable requests, ms",
                y: Scale::Log,
                lines: vec![
                    line("p50", &requests(0)),
                    line("p99", &requests(1)),
                    line("longest answer", &|sample| {
                        (sample.window.worst > Duration::ZERO).then(|| ms(sample.window.worst))
                    }),
                ],
            },
            Panel {
                title: "resident memory, MB",
                y: Scale::Linear,
                lines: vec![line("", &|sample| sample.resident_mb)],
            },
            Panel {
                title: "disk, MB",
                y: Scale::Linear,
                lines: vec![
                    line("journal", &|sample| Some(sample.journal_mb)),
                    line("table", &|sample| Some(sample.table_mb)),
                ],
            },
        ];
        let marks = self.kills.iter().map(|(at, _)| minutes(*at)).collect();
        Picture { title, x_title: "minutes", x: Scale::Linear, marks, panels }.svg()
    }
}

pub const TITLES: &str = "| minutes | lives/s, the least of a sample | durable requests, p50 / p99 ms | longest answer, ms \
     | resident, MB | journal / table, MB |\n|---|---|---|---|---|---|";

fn row(samples: &[Sample]) -> String {
    let from = samples[0].at.saturating_sub(samples[0].span);
    let last = &samples[samples.len() - 1];
    let [p50, p99] = percentiles(samples);
    let least = samples.iter().map(Sample::lives_per_s).fold(f64::INFINITY, f64::min);
    let most = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).fold(0.0, f64::max);
    format!(
        "| {:.1}-{:.1} | {:.0}, {least:.0} | {p50:.2} / {p99:.2} | {:.0} | {:.0} | {:.0} / {:.0} |",
        minutes(from),
        minutes(last.at),
        lives_per_s(samples),
        worst_ms(samples),
        most(&|sample| sample.resident_mb.unwrap_or(0.0)),
        most(&|sample| sample.journal_mb),
        most(&|sample| sample.table_mb),
    )
}

impl Sample {
    fn lives_per_s(&self) -> f64 {
        lives_per_s(std::slice::from_ref(self))
    }
}

fn lives_per_s(samples: &[Sample]) -> f64 {
    let lives: u64 = samples.iter().map(|sample| sample.window.lives).sum();
    per_second(lives, samples.iter().map(|sample| sample.span).sum())
}

/// In seconds, the time within which so many were done, evenly between two bounds.
fn within(bounds: &[(f64, u64)], rank: f64) -> f64 {
    let mut below = (0.0, 0.0);
    for (bound, count) in bounds {
        let (bound, count) = (*bound, *count as f64);
        if count >= rank {
            return below.0 + (bound - below.0) * (rank - below.1) / (count - below.1).max(1.0);
        }
        below = (bound, count);
    }
    f64::INFINITY
}

/// The median and the p99 in milliseconds.
fn percentiles(samples: &[Sample]) -> [f64; 2] {
    let mut all: Vec<u32> = samples.iter().flat_map(|sample| &sample.window.durable).copied().collect();
    all.sort_unstable();
    if all.is_empty() {
        return [0.0; 2];
    }
    [50, 99].map(|part| f64::from(percentile(&all, part)) / 1e3)
}

fn worst_ms(samples: &[Sample]) -> f64 {
    ms(samples.iter().map(|sample| sample.window.worst).max().unwrap_or_default())
}

fn most_disk(samples: &[Sample]) -> f64 {
    samples.iter().map(|sample| sample.journal_mb + sample.table_mb).fold(0.0, f64::max)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn minutes(time: Duration) -> f64 {
    time.as_secs_f64() / 60.0
}
