//! What one look at the engine and the store finds, as gauges. Made anew at each scrape, so what is gone is gone.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{Decision, Runtime, State};
use crate::engine::{Outcome, Reason, RuntimeView, Status};
use crate::store::local::Figures;

/// Runtimes told apart, the first by name; the others are one, named `(others)`.
pub const RUNTIMES_MAX: usize = 100;

/// The outcomes of the burst gate with their reasons.
const DECISIONS: [(Outcome, Option<Reason>); 4] = [
    (Outcome::PassThrough, None),
    (Outcome::PassThrough, Some(Reason::FailedOpen)),
    (Outcome::ShadowLog, Some(Reason::PerEnvRate)),
    (Outcome::Mollify, Some(Reason::PerEnvRate)),
];

/// What was found; `None` for what did not answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked<'a> {
    /// The engine's answer.
    pub status: Option<&'a Status>,
    /// Its runtimes.
    pub runtimes: &'a [RuntimeView],
    /// The store's files.
    pub figures: Option<&'a Figures>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    open: u64,
    concurrency: u64,
    queued: u64,
    paused: bool,
}

/// Floating point, as nothing here is negative and bytes may be many.
type Number = Gauge<f64, AtomicU64>;

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which is what Prometheus keeps")]
fn set(gauge: &Number, value: u64) {
    gauge.set(value as f64);
}

fn number(value: u64) -> Number {
    let gauge = Number::default();
    set(&gauge, value);
    gauge
}

fn counter(value: u64) -> Counter {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    counter
}

impl Looked<'_> {
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("dwell");
        if let Some(status) = self.status {
            records(&mut registry, status);
            burst(&mut registry, status);
            if let Some(space) = &status.space {
                let mut bytes =
                    |name, help, value| registry.register_with_unit(name, help, Unit::Bytes, number(value));
                bytes("store_free", "Room on the store's disk", space.free);
                bytes("store_min_free", "Below this much room new work is refused", space.min_free);
            }
            self.runtimes(&mut registry, status);
        }
        if let Some(figures) = self.figures {
            registry.register_with_unit(
                "journal",
                "What the journal's files take on disk",
                Unit::Bytes,
                number(figures.journal_bytes),
            );
            registry.register_with_unit(
                "checkpoint_lag",
                "Commits that the next open has to replay",
                Unit::Other("commits".to_owned()),
                number(figures.checkpoint_lag),
            );
        }
        registry
    }

    fn runtimes(&self, registry: &mut Registry, status: &Status) {
        let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
        for (nth, view) in self.runtimes.iter().enumerate() {
            let name = if nth < RUNTIMES_MAX { &*view.runtime.name } else { "(others)" };
            let row = rows.entry(name).or_default();
            row.open += u64::from(view.outstanding);
            row.concurrency += u64::from(view.concurrency);
            row.queued += view.queued;
            row.paused |= view.runtime.held_until(status.now).is_some();
        }
        let [open, most, queued, paused] = std::array::from_fn(|_| Family::<Runtime, Number>::default());
        for (name, row) in rows {
            let labels = Runtime { runtime: name.to_owned() };
            for (family, value) in [
                (&open, row.open),
                (&most, row.concurrency),
                (&queued, row.queued),
                (&paused, u64::from(row.paused)),
            ] {
                set(&family.get_or_create(&labels), value);
            }
        }
        registry.register("attempts_open", "Attempts outstanding, by runtime", open);
        registry.register("runtime_concurrency", "Attempts allowed at once, by runtime", most);
        registry.register("runtime_queued", "Records waiting for their turn, by runtime", queued);
        registry.register(
            "runtime_paused",
            "1 while a provider's window or an operator holds the runtime",
            paused,
        );
    }
}

fn records(registry: &mut Registry, status: &Status) {
    let states = Family::<State, Number>::default();
    for (state, count) in &status.counts {
        let labels = State { state: state.as_str() };
        set(&states.get_or_create(&labels), *count);
    }
    registry.register("records", "Records by state; finished ones since the store was made", states);
    for (name, help, value) in [
        ("records_admitted", "Records ever admitted to this store", status.admitted),
        ("attempts_started", "Attempts ever started", status.attempts_started),
        ("attempts_ended", "Attempts ever ended, one way or another", status.attempts_ended),
    ] {
        registry.register(name, help, counter(value));
    }
    registry.register(
        "drained_scopes",
        "Scopes that an operator drained",
        number(status.drains.len() as u64),
    );
}

fn burst(registry: &mut Registry, status: &Status) {
    let burst = &status.burst;
    let decisions = Family::<Decision, Counter>::default();
    let found = DECISIONS.map(|decision| (decision, 0)).into_iter().chain(burst.decisions.clone());
    for ((outcome, reason), count) in found {
        let reason = reason.map_or("none", Reason::as_str);
        decisions.get_or_create(&Decision { outcome: outcome.as_str(), reason }).inc_by(count);
    }
    registry.register("burst_decisions", "What the burst gate made of triggers, since the start", decisions);
    for (name, help, value) in [
        ("burst_tripped_envs", "Envs that trigger too fast now: the gate holds them", burst.tripped),
        ("burst_queued", "Records in the burst lane", burst.queued),
        ("burst_released", "Records released from the burst lane that are not over yet", burst.released),
    ] {
        registry.register(name, help, number(value));
    }
}
