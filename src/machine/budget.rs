//! Budgets: a field of its record, so no other record can spend it.
//!
//! Calls are taken before they are made, and refused one by one. What an attempt uses up by itself (attempts, time,
//! tokens, money) is counted as it is told or as the attempt ends, and ends the record once it is used up.

use std::time::Duration;

use super::attempt::{self, dead};
use super::{Next, illegal, moved};
use crate::model::{
    Budget, Cause, Event, Fault, Lane, Measure, Meter, Record, Rejected, Report, State, Time, USAGE_MAX,
    Usage, code,
};

/// Takes `calls` from the budget, or refuses with it unchanged. A record without a budget takes any charge.
pub(super) fn charge(record: &Record, named: u32, calls: u32) -> Result<Next, Rejected> {
    attempt::fence(record, named)?;
    let Some(meter) = record.budget.of(Measure::Calls) else {
        return Ok(Next::to(record.clone()));
    };
    // A soft mark alone is no limit.
    let limit = meter.limit.unwrap_or(u64::MAX);
    let Some(used) = meter.used.checked_add(calls.into()).filter(|after| *after <= limit) else {
        return Err(Rejected::BudgetExhausted { used: meter.used, limit });
    };
    let budget = record.budget.clone().with(Measure::Calls, Meter { used, ..meter });
    Ok(Next::to(Record { budget, ..record.clone() }))
}

fn bounded(record: &Record, measure: Measure) -> Option<(Meter, u64)> {
    let meter = record.budget.of(measure)?;
    Some((meter, meter.limit?))
}

/// Whether a bad end is the end of a used-up budget: the reporter says so, or the process passed on the exit code of
/// the refused charge.
pub(super) fn ended_on_it<'a>(record: &Record, report: &'a Report) -> Option<&'a Fault> {
    let (Report::Failed(fault) | Report::Throttled(fault)) = report else {
        return None;
    };
    let spent = bounded(record, Measure::Calls).is_some_and(|(meter, limit)| meter.used >= limit);
    (fault.code == code::BUDGET_EXHAUSTED || (spent && fault.code == code::EXIT_75)).then_some(fault)
}

/// What it told is counted, bounded or not, so that every record shows what it used.
pub(super) fn used(record: &Record, usage: &Usage) -> Record {
    let mut budget = record.budget.clone();
    for (measure, amount) in [(Measure::Tokens, usage.tokens), (Measure::Cost, usage.cost)] {
        if amount > 0 {
            budget = more(budget, measure, amount.min(USAGE_MAX));
        }
    }
    Record { budget, ..record.clone() }
}

fn more(budget: Budget, measure: Measure, amount: u64) -> Budget {
    let meter = budget.of(measure).unwrap_or_default();
    budget.with(measure, Meter { used: meter.used.saturating_add(amount), ..meter })
}

/// How much longer an attempt may be outstanding, counted from `now`; `None`: as long as it likes.
pub(super) fn wall_left(record: &Record, now: Time) -> Option<Duration> {
    let (meter, limit) = bounded(record, Measure::Wall)?;
    let left = Duration::from_millis(limit.saturating_sub(meter.used));
    Some(left.saturating_sub(running(record, now)))
}

/// How long its outstanding attempt has been that; time that nobody waited for its end is not counted.
fn running(record: &Record, now: Time) -> Duration {
    let until = match record.state {
        State::Active { ends_at, .. } => now.min(ends_at),
        State::Draining { until, .. } => now.min(until),
        State::Queued { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => return Duration::ZERO,
    };
    record.started_at.map_or(Duration::ZERO, |from| from.until(until))
}

/// What every step ends with: usage that fills a meter stops the attempt, an attempt that ends is counted, and a
/// record that would only wait for an attempt it may not make is dead-lettered.
pub(super) fn settle(before: &Record, event: &Event, record: &mut Record, now: Time) {
    let tells = matches!(event, Event::Report { report: Report::Usage(usage), .. } if !usage.of_end && !usage.is_nothing());
    if tells && let Some((measure, meter)) = record.budget.exhausted() {
        *record = spent(record, measure, meter, now);
    }
    if before.state.outstanding() && !record.state.outstanding() {
        record.budget = counted(before, event, std::mem::take(&mut record.budget), now);
        if waits(record)
            && let Some((measure, meter)) = record.budget.exhausted()
        {
            *record = spent(record, measure, meter, now);
        }
    }
}

fn spent(record: &Record, measure: Measure, meter: Meter, now: Time) -> Record {
    let fault = Fault::new(code::BUDGET_EXHAUSTED, &written(measure, meter));
    dead(record, Cause::BudgetExhausted, Some(&fault), now)
}

/// The bounded measures of an attempt that `event` ended.
fn counted(before: &Record, event: &Event, mut budget: Budget, now: Time) -> Budget {
    if budget.of(Measure::Attempts).is_some() && counts(before, event) {
        budget = more(budget, Measure::Attempts, 1);
    }
    if budget.of(Measure::Wall).is_some() {
        let millis = u64::try_from(running(before, now).as_millis()).unwrap_or(u64::MAX);
        budget = more(budget, Measure::Wall, millis);
    }
    budget
}

/// An attempt that dwell itself ended, or that reached nobody, is none of the record's.
fn counts(before: &Record, event: &Event) -> bool {
    let drained = *event == Event::Elapsed && matches!(before.state, State::Draining { .. });
    let unreached = matches!(event, Event::Report { report: Report::Unavailable(_), .. });
    !(drained || unreached || *event == Event::Interrupted)
}

const fn waits(record: &Record) -> bool {
    matches!(record.state, State::Queued { .. } | State::RateLimited { .. } | State::Backoff { .. })
}

/// More of what is bounded. A record that waits because that was used up goes on where it stopped, with what it used
/// still counted.
pub(super) fn top_up(record: &Record, measure: Measure, amount: u64, now: Time) -> Result<Next, Rejected> {
    if record.state.finished_at().is_some() {
        return Err(illegal(record, "top_up", "and finished"));
    }
    let Some((meter, limit)) = bounded(record, measure) else {
        return Err(Rejected::NoLimit { id: record.id, measure });
    };
    let budget =
        record.budget.clone().with(measure, Meter { limit: Some(limit.saturating_add(amount)), ..meter });
    let topped = Record { budget, ..record.clone() };
    Ok(Next::to(match record.state {
        State::DeadLettered { cause: Cause::BudgetExhausted, .. }
            if is_enough(record, measure, &topped.budget) =>
        {
            moved(&topped, State::Queued { lane: Lane::Ready })
        }
        State::Active { .. } if measure == Measure::Wall => attempt::prolonged(topped, now),
        State::Queued { .. }
        | State::Active { .. }
        | State::RateLimited { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => topped,
    }))
}

/// Whether a record that its budget stopped may go on: an attempt that had to stop at once would help nobody.
fn is_enough(record: &Record, measure: Measure, budget: &Budget) -> bool {
    let for_calls = record.budget.exhausted().is_none() && bounded(record, Measure::Calls).is_some();
    budget.exhausted().is_none() && (measure == Measure::Calls || !for_calls)
}

/// The soft marks that a step reached, with the meters as they are after it.
pub fn crossed(before: &Record, after: &Record) -> impl Iterator<Item = (Measure, Meter)> {
    let earlier = &before.budget;
    after.budget.meters().filter(move |(measure, meter)| {
        let was = earlier.of(*measure).map_or(0, |meter| meter.used);
        meter.soft.is_some_and(|soft| was < soft && soft <= meter.used)
    })
}

/// A meter in words: `cost_usd: used 0.8 of 1 (soft 0.8)`.
pub fn written(measure: Measure, meter: Meter) -> String {
    let amount = |amount: u64| match measure {
        Measure::Calls | Measure::Attempts | Measure::Tokens => amount.to_string(),
        Measure::Wall => humantime::format_duration(Duration::from_millis(amount)).to_string(),
        Measure::Cost => Duration::from_micros(amount).as_secs_f64().to_string(),
    };
    let limit = meter.limit.map(|limit| format!(" of {}", amount(limit))).unwrap_or_default();
    let soft = meter.soft.map(|soft| format!(" (soft {})", amount(soft))).unwrap_or_default();
    format!("{measure}: used {}{limit}{soft}", amount(meter.used))
}

#[cfg(test)]
mod tests;
