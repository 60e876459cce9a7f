//! The budget of mutating calls: a field of its record, so no other record can spend it.

use super::{Next, attempt};
use crate::model::{Budget, Fault, Record, Rejected, Report, code};

/// Takes `calls` from the budget, or refuses with it unchanged. A record without a budget takes any charge.
pub(super) fn charge(record: &Record, named: u32, calls: u32) -> Result<Next, Rejected> {
    attempt::fence(record, named)?;
    let Some(Budget { used, limit }) = record.budget else {
        return Ok(Next::to(record.clone()));
    };
    match used.checked_add(calls).filter(|after| *after <= limit) {
        Some(used) => Ok(Next::to(Record { budget: Some(Budget { used, limit }), ..record.clone() })),
        None => Err(Rejected::BudgetExhausted { used, limit }),
    }
}

/// Whether a bad end is the end of a used-up budget: the reporter says so, or the process passed on the exit code of
/// the refused charge.
pub(super) fn ended_on_it<'a>(record: &Record, report: &'a Report) -> Option<&'a Fault> {
    let (Report::Failed(fault) | Report::Throttled(fault)) = report else {
        return None;
    };
    let spent = record.budget.is_some_and(|budget| budget.used >= budget.limit);
    (fault.code == code::BUDGET_EXHAUSTED || (spent && fault.code == code::EXIT_75)).then_some(fault)
}
