//! The burst gate's say at admission. What it has seen lately is in memory only: after a restart it looks anew.

use std::collections::BTreeMap;

use super::settings::Settings;
use crate::model::{Name, Submission, Time};
use crate::pace::{self, Decision, Outcome, Reason, Trip};

/// The gate: what it has seen lately, and what it decided since open.
pub(super) struct Gate {
    trip: Trip,
    pub(super) decisions: BTreeMap<(Outcome, Option<Reason>), u64>,
}

/// What the gate made of one trigger: once for each env its runs go to.
pub(super) type Verdict = BTreeMap<(Name, Name), Outcome>;

impl Gate {
    pub(super) const fn new(settings: &Settings) -> Gate {
        Gate { trip: Trip::new(settings.burst.rate), decisions: BTreeMap::new() }
    }

    /// Judges by other settings from now on. What it has seen lately was seen at the old rate.
    pub(super) fn reload(&mut self, before: &Settings, settings: &Settings) {
        if before.burst.rate != settings.burst.rate {
            self.trip = Trip::new(settings.burst.rate);
        }
    }

    /// Until when an env is taken to trigger too fast, if it is.
    pub(super) fn tripped_until(&self, org: &Name, env: &Name, now: Time) -> Option<Time> {
        self.trip.held_until(org, env, now)
    }

    /// How many envs are.
    pub(super) fn tripped(&self, now: Time) -> u64 {
        self.trip.held(now)
    }

    /// One decision, counted.
    fn decide(&mut self, settings: &Settings, org: &Name, env: &Name, now: Time) -> Outcome {
        let enrolled = || Ok(settings.org(org).burst);
        let decision = pace::decide(settings.burst.switches, enrolled, || self.trip.call(org, env, now));
        if let Decision::FailedOpen(error) = &decision {
            tracing::warn!(event = "burst.failed_open", %org, %env, %error, "the burst gate lets a trigger pass");
        }
        *self.decisions.entry((decision.outcome(), decision.reason())).or_default() += 1;
        decision.outcome()
    }
}

/// Judges one trigger by its runs that can be carried out and nobody waits for.
pub(super) fn judge(gate: &mut Gate, settings: &Settings, runs: &[Submission], now: Time) -> Verdict {
    let mut verdict = Verdict::new();
    for run in runs.iter().filter(|run| run.invalid.is_none() && !run.awaited) {
        let scope = (run.org.clone(), run.env.clone());
        let outcome = *verdict.entry(scope).or_insert_with(|| gate.decide(settings, &run.org, &run.env, now));
        let (record, org, env, flow) = (run.id, &run.org, &run.env, run.flow.as_deref());
        match outcome {
            Outcome::PassThrough => {}
            Outcome::ShadowLog => {
                tracing::info!(event = "burst.would_divert", %record, flow, %org, %env, "over the rate of its env");
            }
            Outcome::Mollify => {
                tracing::info!(event = "burst.diverted", %record, flow, %org, %env, "over the rate of its env");
            }
        }
    }
    verdict
}
