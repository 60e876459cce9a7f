//! How rough the lives were: how often each kind of thing happened, and how often it must for a run to mean something.

use std::collections::BTreeMap;
use std::fmt;

use dwell::engine::{Answer, Outcome};
use dwell::model::{Rejected, Report, StateName};

use crate::asks::Ask;

/// How often each kind of thing happened.
#[derive(Clone, Debug, Default)]
pub struct Rough(BTreeMap<&'static str, u64>);

/// At least so many of each in a thousand seeds.
const LEAST: &[(&str, u64)] = &[
    // What goes wrong around dwell.
    ("crash", 500),
    ("lost commit", 500),
    ("landed unanswered", 500),
    ("torn tail", 5),
    ("unreadable at open", 50),
    ("clock step", 5_000),
    ("clock back", 500),
    ("jump by a year", 20),
    ("to the deadline", 2_000),
    ("corrupt trigger", 200),
    ("redelivered", 300),
    ("stale_attempt", 1_000),
    // What is refused.
    ("illegal_transition", 300),
    ("budget_exhausted", 100),
    ("queue_full", 100),
    ("not_found", 5),
    ("not_drained", 100),
    ("no_limit", 50),
    ("flow_off", 5),
    ("idempotency_key_reused", 20),
    ("stopping", 5),
    // What is answered.
    ("trigger", 2_000),
    ("under a key", 300),
    ("told again", 5),
    ("duplicate by key", 100),
    ("debounced", 200),
    ("diverted", 40),
    ("flipped", 500),
    ("paced", 50),
    ("says it is clear", 50),
];

impl Rough {
    pub fn note(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub fn note_state(&mut self, state: StateName) {
        let of = |state: StateName| match state {
            StateName::Queued => "state queued",
            StateName::Active => "state active",
            StateName::RateLimited => "state rate_limited",
            StateName::Backoff => "state backoff",
            StateName::Draining => "state draining",
            StateName::DeadLettered => "state dead_lettered",
            StateName::Completed => "state completed",
            StateName::Cancelled => "state cancelled",
        };
        self.note(of(state));
    }

    pub fn hears(&mut self, ask: &Ask, answer: &Result<Answer, Rejected>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(rejected) => return self.note(rejected.code()),
        };
        match ask {
            Ask::Report { report: Report::Heartbeat, .. } => self.note("heartbeat"),
            Ask::Report { report: Report::LimitWarning(_), .. } => self.note("limit_warning"),
            Ask::Report { report: Report::LimitCleared, .. } => self.note("says it is clear"),
            _ => {}
        }
        match answer {
            Answer::Admitted { duplicate: true, .. } => self.note("duplicate by key"),
            Answer::Triggered(triggered) => {
                if triggered.duplicate {
                    self.note("redelivered");
                }
                if !triggered.debounced.is_empty() {
                    self.note("debounced");
                }
                if triggered.outcome == Outcome::Mollify {
                    self.note("diverted");
                }
            }
            Answer::Told(told) if told.again => self.note("told again"),
            Answer::Flipped(_) => self.note("flipped"),
            Answer::Paced(paced) if paced.redrive.is_some() => self.note("paced"),
            _ => {}
        }
    }

    pub fn add(&mut self, other: &Rough) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// What happened too seldom in so many lives: the named kinds, and every path and state there is.
    pub fn too_smooth(&self, seeds: u64) -> Vec<String> {
        let paths = crate::rules::PATHS.iter().map(|(name, ..)| (*name, 3));
        let others = ["admitted", "shadowed"].map(|name| (name, 100));
        let states = [
            "state queued",
            "state active",
            "state rate_limited",
            "state backoff",
            "state draining",
            "state dead_lettered",
            "state completed",
            "state cancelled",
        ];
        let states = states.map(|name| (name, 500));
        let all = LEAST.iter().copied().chain(paths).chain(others).chain(states);
        let seldom = all.filter_map(|(kind, least)| {
            let (count, least) = (self.0.get(kind).copied().unwrap_or(0), least * seeds / 1_000);
            (count < least).then(|| format!("{kind}: {count}, and not {least}"))
        });
        seldom.collect()
    }
}

/// A table, four kinds a line.
impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (kind, count)) in self.0.iter().enumerate() {
            let end = if nth % 4 == 3 { "\n" } else { "  " };
            write!(f, "{kind:>24} {count:>9}{end}")?;
        }
        Ok(())
    }
}
