//! One tick, as the model follows it: what time does before anything else, each request with what it leads to, what time
//! and turns do after them, and what must hold when all of it is done.

use std::collections::{BTreeMap, BTreeSet};

use dwell::engine::{ANSWERED_FOR, Answer, NOTIFY};
use dwell::model::*;

use crate::asks::Ask;
use crate::flows;
use crate::model::{Held, Model, Violation, must};
use crate::rules::Rec;

/// What came of a tick. `None` instead of answers: nobody was answered, and the history alone says what happened.
pub struct Told<'a> {
    pub asks: &'a [Ask],
    pub answers: Option<&'a [Result<Answer, Rejected>]>,
    pub steps: Vec<Transition>,
    pub claims: Vec<(String, Result<Answer, Rejected>)>,
}

/// The history of a tick, taken step by step. What people are told of budgets moves nothing and is left out.
pub struct Steps {
    rest: std::vec::IntoIter<Transition>,
}

impl Steps {
    fn new(all: Vec<Transition>) -> Steps {
        let rest: Vec<Transition> =
            all.into_iter().filter(|step| !["budget_soft", "budget_asked"].contains(&&*step.event)).collect();
        Steps { rest: rest.into_iter() }
    }

    /// The next one, if it is of this event, and of this record if one is named.
    pub fn take(&mut self, event: &str, id: Option<RecordId>) -> Option<Transition> {
        let next = self.rest.as_slice().first()?;
        let wanted = next.event == event && id.is_none_or(|id| next.id == id);
        if wanted { self.rest.next() } else { None }
    }
}

/// What dwell itself carries out at one moment: the attempt, and whether its child is known.
type Running = BTreeMap<RecordId, (u32, bool)>;

impl Model {
    /// Follows a tick at `now`, or says what in it must not be.
    pub fn tick(&mut self, now: Time, told: Told<'_>) -> Held {
        self.now = now;
        self.seen.clear();
        self.forgotten.clear();
        self.claimed.clear();
        let mut steps = Steps::new(told.steps);
        self.purge();
        while let Some(step) = steps.take("interrupted", None) {
            must!(self.interrupted.remove(&step.id), "only what was outstanding is interrupted", "{step:?}");
            self.steps(&step, Rec::is_interrupted)?;
        }
        must!(self.interrupted.is_empty(), "what was outstanding is requeued", "{:?}", self.interrupted);
        self.schedules_due(&mut steps)?;
        self.calm_due(&mut steps)?;
        for (nth, ask) in told.asks.iter().enumerate() {
            self.ask(ask, told.answers.map(|answers| &answers[nth]), &mut steps)?;
        }
        for step in steps.rest.by_ref() {
            self.unasked(&step)?;
        }
        self.hear_claims(told.answers.is_some(), told.claims)?;
        self.at_rest()
    }

    /// What dwell itself carries out now.
    pub fn running(&self) -> Running {
        self.own().map(|(id, rec)| (id, (rec.attempt, rec.child))).collect()
    }

    /// Each effect is owed by what happened, and what happened owes no other.
    pub fn effects(&self, before: &Running, effects: &[Effect]) -> Held {
        let after = self.running();
        // Nothing was captured of what a worker carried out.
        let captured = self.forgotten.iter().filter(|(_, rec)| rec.queue.is_none());
        let mut owed: Vec<String> = captured.map(|(id, _)| format!("forget {id}")).collect();
        for (id, (attempt, child)) in before {
            match after.get(id).filter(|(now, _)| now == attempt) {
                None => owed.push(format!("stop {id}/{attempt}")),
                Some((_, true)) if !child => owed.push(format!("release {id}/{attempt}")),
                Some(_) => {}
            }
        }
        for (id, (attempt, _)) in &after {
            if before.get(id).is_none_or(|(was, _)| was != attempt) {
                owed.push(format!("start {id}/{attempt}"));
            }
        }
        let mut released = Vec::new();
        for effect in effects {
            released.push(match effect {
                Effect::Start(start) => {
                    let rec = &self.records[&start.id];
                    let same = (start.session.clone(), start.model.clone(), start.org.clone());
                    let right = (rec.session.clone(), rec.model.clone(), rec.org.clone());
                    must!(same == right, "an attempt starts as its record is", "{start:?}");
                    format!("start {}/{}", start.id, start.attempt)
                }
                Effect::Release { id, attempt } => format!("release {id}/{attempt}"),
                Effect::Stop { id, attempt, .. } => format!("stop {id}/{attempt}"),
                Effect::Forget { id } => format!("forget {id}"),
            });
        }
        owed.sort_unstable();
        released.sort_unstable();
        must!(owed == released, "each effect is owed and comes once", "owed {owed:?}, released {released:?}");
        Ok(())
    }

    /// What is kept for so long is dropped before anything else happens.
    fn purge(&mut self) {
        let (now, retention) = (self.now, self.rules.retention);
        let old = |rec: &Rec| rec.finished() && rec.since.after(retention) <= now;
        let gone: Vec<RecordId> =
            self.records.iter().filter(|(_, rec)| old(rec)).map(|(id, _)| *id).collect();
        for id in gone {
            let Some(rec) = self.records.remove(&id) else { continue };
            if let Some(key) = &rec.key {
                self.keys.remove(&(rec.org.clone(), rec.env.clone(), key.clone()));
            }
            self.forgotten.insert(id, rec);
        }
        self.deliveries.retain(|_, (_, at)| at.after(retention) > now);
        self.answered.retain(|_, (.., at)| at.after(ANSWERED_FOR) > now);
    }

    fn schedules_due(&mut self, steps: &mut Steps) -> Held {
        loop {
            let next = self.schedules.iter().map(|(flow, due)| (*due, flow.clone())).min();
            let Some((due, flow)) = next.filter(|(due, _)| *due <= self.now) else { return Ok(()) };
            let (_, runs) = flows::fired(&flow, due, self.now);
            self.admit_all(&runs, steps)?;
            let period = self.rules.periods[&flow];
            self.schedules.insert(flow, Time::from_millis((self.now.millis() / period + 1) * period));
        }
    }

    fn calm_due(&mut self, steps: &mut Steps) -> Held {
        loop {
            let next = self.calm.iter().map(|(slot, calm)| (calm.due_at, slot.clone())).min();
            let Some((_, slot)) = next.filter(|(due, _)| *due <= self.now) else { return Ok(()) };
            let Some(calm) = self.calm.remove(&slot) else { return Ok(()) };
            self.admit_all(&[calm.run], steps)?;
        }
    }

    /// Runs that a trigger made, by the modes of their flows: the live ones, whom they supersede, and those in shadow.
    pub fn admit_all(&mut self, runs: &[Submission], steps: &mut Steps) -> Held {
        let of = |run: &&Submission, wanted| {
            run.flow.as_ref().map_or(Mode::Live, |flow| self.mode(flow)) == wanted
        };
        let live: Vec<&Submission> = runs.iter().filter(|run| of(run, Mode::Live)).collect();
        let shadow: Vec<&Submission> = runs.iter().filter(|run| of(run, Mode::Shadow)).collect();
        for run in &live {
            self.admit(run, "admitted", steps)?;
        }
        self.supersede(&live, steps)?;
        for run in shadow {
            self.admit(run, "shadowed", steps)?;
        }
        Ok(())
    }

    pub fn admit(&mut self, submission: &Submission, event: &str, steps: &mut Steps) -> Held {
        match steps.take(event, Some(submission.id)) {
            Some(step) => self.enters(submission, &step),
            None => Err(Violation {
                rule: "what is accepted is admitted",
                words: format!(
                    "{} is not {event}; next is {:?}",
                    submission.id,
                    steps.rest.as_slice().first()
                ),
            }),
        }
    }

    /// Older records of a group may go for newer ones that ask for it.
    pub fn supersede(&mut self, admitted: &[&Submission], steps: &mut Steps) -> Held {
        while let Some(step) = steps.take("superseded", None) {
            let Some(rec) = self.records.get(&step.id) else { continue };
            let wants = |new: &&&Submission| {
                let group = new.group.as_ref().zip(rec.group.as_ref());
                let same = group.is_some_and(|(new, old)| new.name == old.name) && new.flow == rec.flow;
                same && new
                    .group
                    .as_ref()
                    .is_some_and(|new| new.cancel_in_progress || new.queued_max.is_some())
            };
            must!(admitted.iter().any(|new| wants(&new)), "who is superseded has a successor", "{step:?}");
            self.steps(&step, |rec, now| {
                let before = rec.clone();
                rec.finishes(StateName::Cancelled, now);
                rec.ended(&before, true, now);
            })?;
        }
        Ok(())
    }

    /// A step that no request of this tick explains: time, a turn, or the death of another.
    fn unasked(&mut self, step: &Transition) -> Held {
        let Some(rec) = self.records.get(&step.id) else {
            return self.obituary(step);
        };
        match &*step.event {
            "elapsed" => {
                let due = rec.deadline.is_some_and(|(at, _)| at <= self.now);
                must!(due, "no timer fires early", "{step:?} at {:?}: {rec:?}", self.now);
                self.steps(step, Rec::elapses)
            }
            "limit_cleared" => {
                let limited = self.holds.window(&self.window(rec)).limited;
                let open = limited.is_none_or(|(until, _)| until.after(self.rules.limits_jitter) <= self.now);
                must!(open, "only an open window frees", "{step:?}: {limited:?}");
                self.steps(step, |rec, _| rec.to(StateName::Queued, None))
            }
            "redrive" => {
                self.paced_redrive(step)?;
                self.steps(step, |rec, _| rec.redriven())
            }
            "burst_drained" => {
                let diverted = rec.flow.is_some() && rec.lane != Some(Lane::Ready);
                let closed = self.closed(&rec.runtime);
                must!(diverted && !closed, "only what was diverted is drained", "{step:?}: {rec:?}");
                self.steps(step, |rec, _| rec.lane = Some(Lane::Ready))
            }
            "dispatch" | "claim" => self.start(step),
            _ => Err(Violation { rule: "nothing happens unasked", words: format!("{step:?}") }),
        }
    }

    fn start(&mut self, step: &Transition) -> Held {
        let id = step.id;
        if let Some(rec) = self.records.get_mut(&id).filter(|rec| rec.lane.is_none()) {
            // Diverted or not: it could only start from the ready lane, where it is from now on.
            rec.lane = Some(Lane::Ready);
        }
        self.may_start(id)?;
        let claims = self.records[&id].queue.is_some();
        must!(claims == (step.event == "claim"), "a worker's is for workers", "{step:?}");
        let lease = if claims {
            let worker = step.detail.clone().unwrap_or_default();
            let worker = worker.trim_start_matches("by ").split(',').next().unwrap_or_default().to_owned();
            let Some(claim) = self.claims.get(&worker) else {
                return Err(Violation { rule: "who claims has asked", words: format!("{step:?}") });
            };
            must!(Some(&claim.queue) == self.records[&id].queue.as_ref(), "who claims has asked", "{step:?}");
            self.claimed.insert((id, step.attempt), worker);
            Some(claim.lease)
        } else {
            None
        };
        self.steps(step, |rec, now| {
            rec.timeouts.silence = lease.or(rec.timeouts.silence);
            rec.starts(now);
        })?;
        must!(self.ever.insert((id, step.attempt)), "attempt numbers never repeat", "{step:?}");
        Ok(())
    }

    /// A record that tells of a death of this tick.
    fn obituary(&mut self, step: &Transition) -> Held {
        let Some(of) = self.obituaries.pop_front().filter(|_| step.event == "admitted") else {
            return Err(Violation { rule: "nothing happens unasked", words: format!("{step:?}") });
        };
        let dead = &self.records[&of];
        let action = Action::Http(flows::obituary());
        let notice = Submission {
            org: dead.org.clone(),
            env: dead.env.clone(),
            about: Some(of),
            ..Submission::of(step.id, NOTIFY.into(), Work::of(action))
        };
        self.enters(&notice, step)
    }

    fn paced_redrive(&mut self, step: &Transition) -> Held {
        let (now, rec) = (self.now, &self.records[&step.id]);
        let wanted = self.paced.iter().filter(|(_, paced)| {
            (paced.cause.is_none() || paced.cause == rec.cause) && rec.since <= paced.asked_at
        });
        let wanted: Vec<(&RedriveId, u128)> = wanted
            .map(|(id, paced)| (id, paced.asked_at.until(now).as_millis() / paced.interval.as_millis()))
            .collect();
        let mut redriven = BTreeSet::new();
        for counts in &self.redriven {
            for (id, due) in &wanted {
                let mut counts = counts.clone();
                let count = counts.entry(**id).or_insert(0);
                *count += 1;
                if u128::from(*count) <= *due {
                    redriven.insert(counts);
                }
            }
        }
        must!(!redriven.is_empty(), "redrives keep their pace", "{step:?}");
        self.redriven = redriven;
        Ok(())
    }

    /// Workers hear of every attempt they claimed, and of nothing before their wait is over.
    fn hear_claims(&mut self, answered: bool, claims: Vec<(String, Result<Answer, Rejected>)>) -> Held {
        if !answered {
            // Whoever waited has lost its connection.
            self.claims.clear();
            return Ok(());
        }
        let mut unheard = self.claimed.clone();
        for (worker, answer) in claims {
            let Some(claim) = self.claims.remove(&worker) else { continue };
            match answer {
                Ok(Answer::Claimed(claimed)) => {
                    let early = claimed.is_empty() && claim.until > self.now;
                    must!(!early && claimed.len() <= claim.max, "claims wait for something", "{worker}");
                    for one in claimed {
                        let key = (one.start.id, one.start.attempt);
                        let mine = unheard.remove(&key).is_some_and(|who| who == worker);
                        must!(mine, "no attempt is claimed twice", "{worker} has {key:?}");
                        let lease = self.records[&key.0].deadline.map(|(at, _)| at);
                        must!(Some(one.lease_until) == lease, "a worker knows its lease", "{key:?}");
                    }
                }
                Ok(other) => panic!("{other:?}"),
                Err(rejected) => {
                    must!(self.holds.stopping, "claims wait for something", "{worker}: {rejected}");
                }
            }
        }
        must!(unheard.is_empty(), "a worker hears what it claimed", "{unheard:?}");
        Ok(())
    }

    /// Nothing is left to do at this moment.
    fn at_rest(&self) -> Held {
        must!(self.obituaries.is_empty(), "a death is told of", "{:?}", self.obituaries);
        for (id, rec) in &self.records {
            let late = rec.deadline.filter(|(at, _)| *at <= self.now);
            must!(late.is_none(), "every timer fires", "{id} is {} past {late:?}", rec.state);
            let wait = rec.state == StateName::RateLimited;
            let open = wait && {
                let limited = self.holds.window(&self.window(rec)).limited;
                limited.is_none_or(|(until, _)| until.after(self.rules.limits_jitter) <= self.now)
            };
            must!(!open, "an open window frees", "{id} waits for {:?}", self.window(rec));
        }
        let idle = self.idle().filter(|_| !self.rules.ramp);
        must!(idle.is_none(), "nothing idles", "{idle:?} could start");
        Ok(())
    }

    /// A record that nothing holds, on a runtime with a place, with somebody there to carry it out.
    pub fn idle(&self) -> Option<RecordId> {
        let asked = |queue: &Name| self.claims.values().any(|claim| claim.queue == *queue);
        let could = |rec: &Rec| {
            rec.state == StateName::Queued
                && rec.queue.as_ref().is_none_or(asked)
                && !self.closed(&rec.runtime)
                && self.places(&rec.runtime) > 0
                && self.free(rec)
        };
        self.records.iter().find(|(_, rec)| could(rec)).map(|(id, _)| *id)
    }
}
