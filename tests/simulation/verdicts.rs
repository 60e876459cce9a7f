//! Requests, as the model judges them: accepted, or refused with which code.

use std::collections::BTreeMap;

use dwell::model::*;

use crate::asks::Ask;
use crate::model::Model;
use crate::rules::Rec;

type Verdict = Result<(), &'static str>;

const NOT_FOUND: &str = "not_found";
const ILLEGAL: &str = "illegal_transition";

/// Whether a dead letter can be given another life.
pub fn redrivable(rec: &Rec) -> bool {
    rec.state == StateName::DeadLettered && (rec.attempt > 0 || rec.cause != Some(Cause::Invalid))
}

impl Model {
    /// The record that has a submission's key.
    pub fn first_of(&self, of: &Submission) -> Option<RecordId> {
        let key = of.key.clone()?;
        self.keys.get(&(of.org.clone(), of.env.clone(), key)).copied()
    }

    /// A record, or one that this tick purges: it is shown until the tick is over, and nothing moves it any more.
    pub fn known(&self, id: RecordId) -> Option<&Rec> {
        self.records.get(&id).or_else(|| self.forgotten.get(&id))
    }

    /// A record with this attempt outstanding.
    pub fn fence(&self, id: RecordId, attempt: u32) -> Result<&Rec, &'static str> {
        let rec = self.known(id).ok_or(NOT_FOUND)?;
        if rec.outstanding() && rec.attempt == attempt { Ok(rec) } else { Err("stale_attempt") }
    }

    fn room<'s>(&self, more: impl Iterator<Item = &'s Submission>) -> Verdict {
        let mut envs: BTreeMap<(&Name, &Name), u64> = BTreeMap::new();
        for of in more.filter(|of| of.invalid.is_none()) {
            *envs.entry((&of.org, &of.env)).or_default() += 1;
        }
        let full = |(place, more): (&(&Name, &Name), &u64)| {
            self.queued(Some(*place)) + more > self.rules.env_queued_max
        };
        let all: u64 = envs.values().sum();
        let crowded = all > 0 && self.queued(None) + all > self.rules.queued_max;
        if crowded || envs.iter().any(full) { Err("queue_full") } else { Ok(()) }
    }

    /// Whether a request is accepted, or the code it is refused with.
    pub fn verdict(&self, ask: &Ask) -> Verdict {
        match ask {
            Ask::Submit(of) if self.first_of(of).is_some() => Ok(()),
            Ask::Submit(of) => self.room(std::iter::once(&**of)),
            Ask::Trigger { trigger, runs, spool } => {
                let live = runs
                    .iter()
                    .filter(|run| run.flow.as_ref().is_none_or(|flow| self.mode(flow) == Mode::Live));
                if *spool || self.first_delivery(trigger).is_some() {
                    return Ok(());
                }
                self.room(live.filter(|run| run.debounce.is_none()))
            }
            Ask::Command { id, command } => {
                let rec = self.known(*id).ok_or(NOT_FOUND)?;
                let legal = match command {
                    Command::Cancel => !rec.finished(),
                    Command::ResumeNow => [StateName::RateLimited, StateName::Backoff].contains(&rec.state),
                    Command::Redrive => redrivable(rec),
                };
                if legal { Ok(()) } else { Err(ILLEGAL) }
            }
            Ask::Report { id, attempt, report } => {
                let rec = self.fence(*id, *attempt)?;
                if matches!(report, Report::Spawned { .. }) && rec.child { Err(ILLEGAL) } else { Ok(()) }
            }
            Ask::Charge { id, attempt, calls } => {
                let meter = self.fence(*id, *attempt)?.budget.of(Measure::Calls);
                let over =
                    |meter: Meter| meter.limit.is_some_and(|limit| meter.used + u64::from(*calls) > limit);
                if meter.is_some_and(over) { Err("budget_exhausted") } else { Ok(()) }
            }
            Ask::TopUp { id, measure, .. } => {
                let rec = self.known(*id).ok_or(NOT_FOUND)?;
                let bounded = rec.budget.of(*measure).is_some_and(|meter| meter.limit.is_some());
                if rec.finished() {
                    return Err(ILLEGAL);
                }
                if bounded { Ok(()) } else { Err("no_limit") }
            }
            Ask::Rerun { id, fresh } => {
                let rec = self.known(*id).ok_or(NOT_FOUND)?;
                match rec.flow.as_ref().map_or(Mode::Live, |flow| self.mode(flow)) {
                    Mode::Off => Err("flow_off"),
                    Mode::Shadow => Ok(()),
                    Mode::Live => self.room(std::iter::once(&again(rec, *id, *fresh))),
                }
            }
            Ask::Undrain { scope } if !self.holds.drains.contains(scope) => Err("not_drained"),
            Ask::Pause { .. }
            | Ask::Resume { .. }
            | Ask::Stop { .. }
            | Ask::Drain { .. }
            | Ask::Undrain { .. }
            | Ask::Mode { .. }
            | Ask::RedriveAll { .. }
            | Ask::Pace { .. }
            | Ask::StopPace { .. }
            | Ask::Once { .. } => Ok(()),
        }
    }

    /// The trigger that had a delivery's id first.
    pub fn first_delivery(&self, trigger: &Trigger) -> Option<TriggerId> {
        let key = (trigger.source.clone(), trigger.dedup.clone()?);
        self.deliveries.get(&key).map(|(id, _)| *id)
    }
}

/// The same once more, as it was asked for.
pub fn again(rec: &Rec, id: RecordId, fresh: RecordId) -> Submission {
    let action = match &rec.queue {
        Some(queue) => Action::Worker { queue: queue.clone() },
        None => Action::Command { argv: Vec::new(), cwd: None },
    };
    let on_dead_letter = rec.tells_of_death.then(crate::flows::obituary);
    Submission {
        org: rec.org.clone(),
        env: rec.env.clone(),
        flow: rec.flow.clone(),
        trigger: rec.trigger,
        rerun_of: Some(id),
        budget: rec.budget.clone(),
        retry: Some(rec.retry),
        timeouts: Some(rec.timeouts),
        model: rec.model.clone(),
        group: rec.group.clone(),
        about: rec.about,
        // What could not be carried out when it was admitted still cannot.
        invalid: (rec.invalid && rec.attempt == 0).then(|| Fault::new("template", "not whole")),
        ..Submission::of(fresh, rec.runtime.clone(), Work { on_dead_letter, ..Work::of(action) })
    }
}
