//! What dwell tells of itself in numbers, for `GET /metrics`: what ticks released is counted as it leaves, the rest is
//! set from one look at the engine and the store when somebody asks. A tick costs nothing here that grows with records.
//!
//! Labels have few values: words that the code knows, route patterns, and the names of at most [`RUNTIMES_MAX`]
//! runtimes. Never an id, an org, an env or a flow. Absent on purpose: HTTP, and whether dwell is ready (`ready`).

mod labels;
mod looked;
mod plain;
mod timed;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::labels::{Cause, Code, Moved, Request, Spans, Version, Waited};
pub use self::looked::{Looked, RUNTIMES_MAX};
pub use self::plain::plain;
pub use self::timed::Timed;
use super::log;
use super::ready::{self, Reason};
use crate::engine::{Step, Wait};
use crate::model::{self, Transition};

/// What [`plain`] makes of it.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is encoded: <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a fast disk's sync to one that holds everything up.
const WORK_SECONDS: [f64; 16] = [
    0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
    5.0,
];
/// From a timer's own inaccuracy to a weekend that dwell was down.
const LATE_SECONDS: [f64; 12] =
    [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0, 3_600.0, 86_400.0];
/// From a turn at once to a provider's week.
const WAIT_SECONDS: [f64; 12] =
    [0.01, 0.1, 1.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 18_000.0, 86_400.0, 604_800.0];

type Histograms<S> = Family<S, Histogram, fn() -> Histogram>;

/// Every number. Cheap to write to, from any thread.
pub struct Metrics {
    /// Counted as it happens.
    counted: Registry,
    transitions: Family<Moved, Counter>,
    dead_letters: Family<Cause, Counter>,
    waits: Histograms<Waited>,
    lateness: Histogram,
    tick: Histogram,
    commit: Histogram,
    requests: Family<Request, Counter>,
    lines_dropped: Counter,
    spans: Family<Spans, Counter>,
    ready: Gauge,
    conditions: Family<Code, Gauge>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut counted = Registry::with_prefix("dwell");
        let late = Histogram::new(LATE_SECONDS);
        let (tick, commit) = (Histogram::new(WORK_SECONDS), Histogram::new(WORK_SECONDS));
        let waits = Histograms::new_with_constructor(|| Histogram::new(WAIT_SECONDS));
        let metrics = Metrics {
            transitions: Family::default(),
            dead_letters: Family::default(),
            waits,
            lateness: late,
            tick,
            commit,
            requests: Family::default(),
            lines_dropped: Counter::default(),
            spans: Family::default(),
            ready: Gauge::default(),
            conditions: Family::default(),
            counted: Registry::default(),
        };
        let version = Version { version: env!("CARGO_PKG_VERSION") };
        counted.register("build", "The build that runs", Info::new(version));
        counted.register(
            "transitions",
            "Steps of records, by what happened and the state after",
            metrics.transitions.clone(),
        );
        counted.register("dead_letters", "Records dead-lettered, by cause", metrics.dead_letters.clone());
        for (name, help, histogram) in [
            (
                "commit_duration",
                "From the beginning of a commit until the engine knew it durable",
                &metrics.commit,
            ),
            ("tick_duration", "How long a tick took: deciding and its commit", &metrics.tick),
            (
                "deadline_lateness",
                "How long after its deadline a record moved; long ones are from downtime",
                &metrics.lateness,
            ),
        ] {
            counted.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        counted.register_with_unit(
            "wait_duration",
            "How long records waited, by what for; observed when a wait ends",
            Unit::Seconds,
            metrics.waits.clone(),
        );
        counted.register(
            "http_requests",
            "Requests answered, by route pattern and class of status",
            metrics.requests.clone(),
        );
        counted.register(
            "log_lines_dropped",
            "Log lines that were not written, for too many came from one place",
            metrics.lines_dropped.clone(),
        );
        counted.register(
            "spans",
            "Attempts told to the OpenTelemetry collector, or dropped because it is away",
            metrics.spans.clone(),
        );
        counted.register("ready", "1 while /readyz says 200", metrics.ready.clone());
        counted.register("condition", "1 while /readyz tells this, ready or not", metrics.conditions.clone());
        metrics.spans(0, 0);
        // A series that is there from the start at 0 shows its first increase.
        for cause in model::Cause::ALL {
            drop(metrics.dead_letters.get_or_create(&Cause { cause: cause.as_str() }));
        }
        for wait in Wait::ALL {
            drop(metrics.waits.get_or_create(&Waited { cause: wait.as_str() }));
        }
        Metrics { counted, ..metrics }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Counts what a tick released: each of its transitions with its step.
    pub fn released(&self, transitions: &[Transition], steps: &[Step]) {
        // A tick does the same thing to many records, and a series is looked up by its texts.
        let mut moved: BTreeMap<(&str, model::StateName), u64> = BTreeMap::new();
        for transition in transitions {
            *moved.entry((&transition.event, transition.to)).or_default() += 1;
        }
        for ((event, state), count) in moved {
            let labels = Moved { event: event.to_owned(), state: state.as_str() };
            self.transitions.get_or_create(&labels).inc_by(count);
        }
        for step in steps {
            if let Some(cause) = step.cause {
                self.dead_letters.get_or_create(&Cause { cause: cause.as_str() }).inc();
            }
            if let Some((wait, span)) = step.waited {
                self.waits.get_or_create(&Waited { cause: wait.as_str() }).observe(span.as_secs_f64());
            }
            if let Some(late) = step.late {
                self.lateness.observe(late.as_secs_f64());
            }
        }
    }

    /// A tick took so long.
    pub fn ticked(&self, took: Duration) {
        self.tick.observe(took.as_secs_f64());
    }

    /// An answer was given. `route` is a pattern, or `other` for what is none.
    pub fn answered(&self, method: &'static str, route: &'static str, status: u16) {
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&Request { method, route, status: class }).inc();
    }

    /// So many spans were sent, and so many dropped.
    pub fn spans(&self, sent: u64, dropped: u64) {
        for (result, count) in [("sent", sent), ("dropped", dropped)] {
            self.spans.get_or_create(&Spans { result }).inc_by(count);
        }
    }

    /// All of it as OpenMetrics text, with what the look found. Of an engine that does not answer there is nothing to tell but that.
    pub fn encode(&self, looked: &Looked<'_>, reasons: &[Reason]) -> Result<String, fmt::Error> {
        self.lines_dropped.inner().store(log::dropped(), Ordering::Relaxed);
        self.ready.set(i64::from(ready::is_ready(reasons)));
        for code in ready::Code::ALL {
            let holds = reasons.iter().any(|reason| reason.code == *code);
            self.conditions.get_or_create(&Code { code: code.as_str() }).set(i64::from(holds));
        }
        let mut written = String::new();
        text::encode_registry(&mut written, &self.counted)?;
        text::encode_registry(&mut written, &looked.registry())?;
        text::encode_eof(&mut written)?;
        Ok(written)
    }
}

/// Measures and decides nothing.
#[expect(clippy::disallowed_methods, reason = "how long something took is told, and no rule sees it")]
pub fn now() -> Instant {
    Instant::now()
}
