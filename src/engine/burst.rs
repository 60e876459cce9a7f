//! Burst smoothing: the gate's say at admission, and the drainer that lets diverted records go on.
//!
//! A diverted record is durable like any other and waits in the burst lane, so nothing here has to survive a crash: the
//! lanes are rebuilt from the records. What the drainer has released and is still under way is only counted in memory;
//! after a restart it counts as ordinary work.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::settings::Settings;
use super::tick::{Core, EngineError, must};
use crate::model::{Event, Name, Submission, Time};
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

/// Judges one trigger by its runs that can be carried out.
pub(super) fn judge(core: &mut Core, runs: &[Submission]) -> Verdict {
    let mut verdict = Verdict::new();
    for run in runs.iter().filter(|run| run.invalid.is_none()) {
        let scope = (run.org.clone(), run.env.clone());
        let outcome = *verdict
            .entry(scope)
            .or_insert_with(|| core.gate.decide(&core.settings, &run.org, &run.env, core.now));
        let (record, org, env) = (run.id, &run.org, &run.env);
        match outcome {
            Outcome::PassThrough => {}
            Outcome::ShadowLog => {
                tracing::info!(event = "burst.would_divert", %record, %org, %env, "over the rate of its env");
            }
            Outcome::Mollify => {
                tracing::info!(event = "burst.diverted", %record, %org, %env, "over the rate of its env");
            }
        }
    }
    verdict
}

/// Releases burst work to the ready lane, runtime by runtime: what waits for one that is held does not use up the
/// places of another.
pub(super) fn drain(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    if draft.core.draining.is_some() {
        return Ok(());
    }
    let runtimes: Vec<Name> = draft.core.settings.runtimes.keys().cloned().collect();
    for runtime in runtimes {
        if draft.core.runtime(&runtime).held_until(draft.now).is_some() {
            continue;
        }
        let Core { index, settings, .. } = &mut *draft.core;
        let drained = index.drain(&runtime, settings);
        for id in drained {
            let record = must(draft, id, &Event::BurstDrained)?;
            let (org, env) = (&record.org, &record.env);
            tracing::info!(event = "burst.drained", record = %id, %org, %env, "released to the ready lane");
        }
        let room = draft.core.settings.burst.drain_concurrency as usize;
        let lane = draft.core.index.lane(&runtime);
        draft.core.more |= lane.is_some_and(|lane| !lane.burst.is_empty() && lane.released.len() < room);
    }
    Ok(())
}
