//! Requests, as the model follows them: what an accepted one leads to, and what is answered.

use std::collections::BTreeSet;

use dwell::engine::Answer;
use dwell::model::*;

use crate::asks::Ask;
use crate::model::{Calm, Held, Model, Paced, Violation, must};
use crate::rules::{Rec, resolved};
use crate::ticks::Steps;
use crate::verdicts::{again, redrivable};

type Heard<'a> = Option<&'a Result<Answer, Rejected>>;

impl Model {
    /// One request: judged, compared with its answer if there was one, and carried out if it is accepted.
    pub fn ask(&mut self, ask: &Ask, answer: Heard<'_>, steps: &mut Steps) -> Held {
        if let Ask::Once { key, ask } = ask {
            return self.once(*key, ask, answer, steps);
        }
        let verdict = self.verdict(ask);
        if let Some(answer) = answer
            && !matches!(ask, Ask::StopPace { .. })
        {
            let said = answer.as_ref().map(|_| ()).map_err(Rejected::code);
            must!(said == verdict, "accepted as the rules say", "{ask:?}: {said:?}, not {verdict:?}");
        }
        if verdict.is_err() {
            return Ok(());
        }
        self.carry_out(ask, answer.and_then(|answer| answer.as_ref().ok()), steps)
    }

    fn once(&mut self, key: u8, ask: &Ask, answer: Heard<'_>, steps: &mut Steps) -> Held {
        let (again, body) = match self.answered.get(&key) {
            Some((fingerprint, ..)) if *fingerprint != ask.fingerprint() => {
                let code = answer.map(|answer| answer.as_ref().map_or_else(Rejected::code, |_| "accepted"));
                must!(
                    code.is_none_or(|code| code == "idempotency_key_reused"),
                    "a key is for one request",
                    "{code:?}"
                );
                return Ok(());
            }
            Some((_, body, _)) => (true, body.clone()),
            None => {
                let verdict = self.verdict(ask);
                if let Err(code) = verdict {
                    let said =
                        answer.map(|answer| answer.as_ref().map_or_else(Rejected::code, |_| "accepted"));
                    must!(
                        said.is_none_or(|said| said == code),
                        "accepted as the rules say",
                        "{ask:?}: {said:?}"
                    );
                    return Ok(());
                }
                let body = self.told_once(ask);
                self.carry_out(ask, None, steps)?;
                let body = body.unwrap_or_else(|id| {
                    format!(
                        "used {}",
                        self.records[&id].budget.of(Measure::Calls).map_or(0, |meter| meter.used)
                    )
                });
                self.answered.insert(key, (ask.fingerprint(), body.clone(), self.now));
                (false, body)
            }
        };
        if let Some(answer) = answer {
            let Ok(Answer::Told(told)) = answer else {
                return Err(Violation { rule: "one key, one answer", words: format!("{answer:?}") });
            };
            let same = told.again == again && told.body == body.as_bytes();
            must!(same, "one key, one answer", "{told:?}, not {again} {body}");
        }
        Ok(())
    }

    /// What is told; `Err`: what is then used of this record's calls.
    fn told_once(&self, ask: &Ask) -> Result<String, RecordId> {
        match ask {
            Ask::Submit(of) => Ok(self.first_of(of).unwrap_or(of.id).to_string()),
            Ask::Charge { id, .. } => Err(*id),
            _ => Ok("done".to_owned()),
        }
    }

    fn carry_out(&mut self, ask: &Ask, answer: Option<&Answer>, steps: &mut Steps) -> Held {
        let now = self.now;
        match ask {
            Ask::Submit(of) => self.submitted(of, answer, steps),
            Ask::Trigger { trigger, runs, .. } => self.triggered(trigger, runs, answer, steps),
            Ask::Command { id, command } => match command {
                Command::Cancel => self.told(*id, "cancel", steps, true, |rec, now| {
                    let before = rec.clone();
                    rec.finishes(StateName::Cancelled, now);
                    rec.ended(&before, true, now);
                }),
                Command::ResumeNow => {
                    self.told(*id, "resume", steps, true, |rec, _| rec.to(StateName::Queued, None))
                }
                Command::Redrive => self.told(*id, "redrive", steps, true, |rec, _| rec.redriven()),
            },
            Ask::Report { id, report, .. } => self.reported(*id, report, steps),
            Ask::Charge { id, calls, .. } => {
                let bounded = self.records[id].budget.of(Measure::Calls).is_some();
                self.told(*id, "charge", steps, true, |rec, _| {
                    if bounded {
                        rec.spend(Measure::Calls, u64::from(*calls));
                    }
                })?;
                let meter = self.records[id].budget.of(Measure::Calls);
                if let Some(Answer::Charged(said)) = answer {
                    must!(*said == meter, "budget is its own", "{id}: {said:?}, not {meter:?}");
                }
                Ok(())
            }
            Ask::TopUp { id, measure, amount } => {
                self.told(*id, "top_up", steps, true, |rec, now| topped_up(rec, *measure, *amount, now))
            }
            Ask::Pause { row, until } => {
                self.holds.windows.entry(row.name()).or_default().paused = Some(*until);
                Ok(())
            }
            Ask::Resume { row } => {
                let window = self.holds.windows.entry(row.name()).or_default();
                if window.holds(now) {
                    (window.limited, window.paused) = (None, None);
                }
                Ok(())
            }
            Ask::Rerun { id, fresh } => {
                let Some(rec) = self.known(*id) else { return Ok(()) };
                let again = again(rec, *id, *fresh);
                self.admit_all(std::slice::from_ref(&again), steps)
            }
            Ask::Stop { until } => {
                self.holds.stopping = true;
                self.drain(|rec| rec.queue.is_none(), *until, steps)
            }
            Ask::Drain { scope, timeout } => {
                self.holds.drains.insert(scope.clone());
                let until = now.after(*timeout);
                self.drain(|rec| scope.covers(&rec.org, rec.flow.as_ref(), &rec.runtime), until, steps)
            }
            Ask::Undrain { scope } => self.undrain(scope, steps),
            Ask::Mode { flow, mode } => self.flipped(flow.as_ref(), *mode, answer),
            Ask::RedriveAll { cause } => self.redriven(*cause, answer, steps),
            Ask::Pace { id, cause, pace } => {
                let matching = self.dead(*cause).len() as u64;
                if let Some(Answer::Paced(paced)) = answer {
                    must!(paced.matched == matching, "dead letters are counted", "{paced:?}, not {matching}");
                }
                if matching > 0 {
                    let interval = pace.period / pace.count;
                    let paced = Paced { cause: *cause, asked_at: now, interval };
                    self.paced.insert(*id, paced);
                }
                Ok(())
            }
            Ask::StopPace { id } => {
                self.paced.remove(id);
                Ok(())
            }
            Ask::Once { .. } => Ok(()),
        }
    }

    /// What an accepted request does to a record, in a step of the history if it moves it (`moves`), or may do.
    fn told(
        &mut self,
        id: RecordId,
        event: &str,
        steps: &mut Steps,
        moves: bool,
        change: impl Fn(&mut Rec, Time),
    ) -> Held {
        let (before, now) = (self.records[&id].clone(), self.now);
        let mut after = before.clone();
        change(&mut after, now);
        if after == before {
            return Ok(());
        }
        if let Some(step) = steps.take(event, Some(id)) {
            return self.steps(&step, change);
        }
        must!(!moves, "what is accepted happens", "{id} {event}");
        must!(after.state == before.state, "history is whole", "{id} should be {} by {event}", after.state);
        self.records.insert(id, after);
        Ok(())
    }

    fn submitted(&mut self, of: &Submission, answer: Option<&Answer>, steps: &mut Steps) -> Held {
        let first = self.first_of(of);
        if let Some(Answer::Admitted { detail, duplicate }) = answer {
            let right = (first.unwrap_or(of.id), first.is_some());
            must!((detail.record.id, *duplicate) == right, "one record for a key", "{:?}", detail.record.id);
        }
        if first.is_some() {
            return Ok(());
        }
        self.admit(of, "admitted", steps)?;
        if let Some(key) = &of.key {
            self.keys.insert((of.org.clone(), of.env.clone(), key.clone()), of.id);
        }
        self.supersede(&[of], steps)
    }

    fn triggered(
        &mut self,
        trigger: &Trigger,
        runs: &[Submission],
        answer: Option<&Answer>,
        steps: &mut Steps,
    ) -> Held {
        let first = self.first_delivery(trigger);
        if let Some(Answer::Triggered(said)) = answer {
            let right = (first.unwrap_or(trigger.id), first.is_some());
            must!((said.trigger, said.duplicate) == right, "one admission for a delivery", "{said:?}");
        }
        if first.is_some() {
            return Ok(());
        }
        let mut now_or_later = Vec::new();
        for run in runs {
            let on = run.flow.as_ref().is_none_or(|flow| self.mode(flow) != Mode::Off);
            match &run.debounce {
                Some(calm) if on => {
                    let slot = (run.flow.clone().unwrap_or_default(), calm.key.clone());
                    let first_at = self.calm.get(&slot).map_or(self.now, |calm| calm.first_at);
                    let due_at = self.now.after(calm.quiet).min(first_at.after(calm.max));
                    self.calm.insert(slot, Calm { first_at, due_at, run: run.clone() });
                }
                Some(_) | None => now_or_later.push(run.clone()),
            }
        }
        self.admit_all(&now_or_later, steps)?;
        if let Some(dedup) = &trigger.dedup {
            let key = (trigger.source.clone(), dedup.clone());
            self.deliveries.insert(key, (trigger.id, self.now));
        }
        if let Some(Answer::Triggered(said)) = answer {
            let said: BTreeSet<RecordId> = said.runs.iter().copied().collect();
            let on = |run: &&Submission| run.flow.as_ref().is_none_or(|flow| self.mode(flow) != Mode::Off);
            let right: BTreeSet<RecordId> = now_or_later.iter().filter(on).map(|run| run.id).collect();
            must!(said == right, "a trigger names its runs", "{said:?}, not {right:?}");
        }
        Ok(())
    }

    fn reported(&mut self, id: RecordId, report: &Report, steps: &mut Steps) -> Held {
        let jitter = self.rules.limits_jitter;
        let window = self.window(&self.records[&id]);
        let moves = report.is_terminal();
        self.told(id, report.name(), steps, moves, |rec, now| rec.hears(report, now, jitter))?;
        let now = self.now;
        match report {
            Report::RateLimited(limit, _) | Report::LimitWarning(limit) => {
                let (until, told) = resolved(limit, now);
                self.holds.windows.entry(window).or_default().limit(until, told, now);
            }
            Report::LimitCleared => {
                let window = self.holds.windows.entry(window).or_default();
                window.limited = window.limited.filter(|(until, _)| *until <= now);
            }
            _ => {}
        }
        Ok(())
    }

    /// What is outstanding there may finish until then, or until an earlier moment it was given.
    fn drain(&mut self, covers: impl Fn(&Rec) -> bool, until: Time, steps: &mut Steps) -> Held {
        // Whoever ends as early anyway has no step: the next one may be a later request's of the same tick.
        let ends = |rec: &Rec| rec.deadline.is_some_and(|(at, _)| at <= until);
        let moves = |rec: &Rec| covers(rec) && !(rec.state == StateName::Draining && ends(rec));
        let mut held: BTreeSet<RecordId> =
            self.outstanding().filter(|(_, rec)| moves(rec)).map(|(id, _)| id).collect();
        while let Some(step) = held.iter().find_map(|id| steps.take("drain", Some(*id))) {
            held.remove(&step.id);
            self.steps(&step, |rec, _| drained(rec, until))?;
        }
        must!(held.is_empty(), "what is drained drains", "{held:?} by {until:?}");
        Ok(())
    }

    fn undrain(&mut self, scope: &Scope, steps: &mut Steps) -> Held {
        self.holds.drains.remove(scope);
        let covered = |scope: &Scope, rec: &Rec| scope.covers(&rec.org, rec.flow.as_ref(), &rec.runtime);
        let free = |rec: &Rec| {
            let stops = self.holds.stopping && rec.queue.is_none();
            let other = self.holds.drains.iter().any(|scope| covered(scope, rec));
            rec.state == StateName::Draining && covered(scope, rec) && !stops && !other
        };
        let mut freed: BTreeSet<RecordId> =
            self.outstanding().filter(|(_, rec)| free(rec)).map(|(id, _)| id).collect();
        for _ in 0..freed.len() {
            // A further request of the tick may undrain others.
            let Some(step) = steps.take("undrain", None) else { break };
            must!(freed.remove(&step.id), "what another scope holds stays held", "{step:?}");
            self.steps(&step, Rec::lease)?;
        }
        must!(freed.is_empty(), "what is undrained goes on", "{freed:?}");
        Ok(())
    }

    fn flipped(&mut self, flow: Option<&Name>, mode: Option<Mode>, answer: Option<&Answer>) -> Held {
        let from;
        let to;
        if let Some(flow) = flow {
            from = self.mode(flow);
            match mode {
                Some(mode) => self.modes.insert(flow.clone(), mode),
                None => self.modes.remove(flow),
            };
            to = self.mode(flow);
        } else {
            from = self.global.unwrap_or(self.rules.mode);
            to = mode.unwrap_or(Mode::Live);
            self.global = Some(to);
        }
        if let Some(Answer::Flipped(said)) = answer {
            must!((said.from, said.to) == (from, to), "a flip says what it did", "{said:?}");
        }
        Ok(())
    }

    fn dead(&self, cause: Option<Cause>) -> BTreeSet<RecordId> {
        let wanted = |rec: &Rec| redrivable(rec) && (cause.is_none() || rec.cause == cause);
        self.records.iter().filter(|(_, rec)| wanted(rec)).map(|(id, _)| *id).collect()
    }

    fn redriven(&mut self, cause: Option<Cause>, answer: Option<&Answer>, steps: &mut Steps) -> Held {
        let mut dead = self.dead(cause);
        if let Some(Answer::Redriven(said)) = answer {
            let said: BTreeSet<RecordId> = said.matched.iter().copied().collect();
            must!(said == dead, "dead letters are found", "{said:?}, not {dead:?}");
        }
        for _ in 0..dead.len() {
            let Some(step) = steps.take("redrive", None) else { break };
            must!(dead.remove(&step.id), "dead letters are found", "{step:?}");
            self.steps(&step, |rec, _| rec.redriven())?;
        }
        must!(dead.is_empty(), "what is accepted happens", "{dead:?} are not redriven");
        Ok(())
    }
}

fn drained(rec: &mut Rec, until: Time) {
    let child = rec.child;
    let held =
        if rec.state == StateName::Active { rec.ends_at } else { rec.deadline.map_or(until, |(at, _)| at) };
    rec.to(StateName::Draining, Some(until.min(held)));
    rec.child = child;
}

fn topped_up(rec: &mut Rec, measure: Measure, amount: u64, now: Time) {
    let for_calls = !rec.exhausted() && rec.counts_calls();
    let meter = rec.budget.of(measure).unwrap_or_default();
    let limit = meter.limit.map(|limit| limit + amount);
    rec.budget = rec.budget.clone().with(measure, Meter { limit, ..meter });
    let enough = !rec.exhausted() && (measure == Measure::Calls || !for_calls);
    match rec.state {
        StateName::DeadLettered if rec.cause == Some(Cause::BudgetExhausted) && enough => {
            rec.streaks = [0; Streak::ALL.len()];
            rec.to(StateName::Queued, None);
        }
        StateName::Active if measure == Measure::Wall => rec.prolong(now),
        _ => {}
    }
}
