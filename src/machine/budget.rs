//! The budget of mutating calls: a field of its record, so no other record can spend it.

use super::{Next, attempt};
use crate::model::{Fault, Measure, Meter, Record, Rejected, Report, code};

/// Takes `calls` from the budget, or refuses with it unchanged. A record without a budget takes any charge.
pub(super) fn charge(record: &Record, named: u32, calls: u32) -> Result<Next, Rejected> {
    attempt::fence(record, named)?;
    let Some((meter, limit)) = bounded(record, Measure::Calls) else {
        return Ok(Next::to(record.clone()));
    };
    let Some(used) = meter.used.checked_add(calls.into()).filter(|after| *after <= limit) else {
        return Err(Rejected::BudgetExhausted { used: meter.used, limit });
    };
    let budget = record.budget.with(Measure::Calls, Meter { used, ..meter });
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
