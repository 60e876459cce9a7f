//! What a budget makes known beyond its record: the steps that tell people of it.

use crate::machine;
use crate::model::{Cause, Measure, Record, State};

/// The steps beside the one from `before` to `after`, each with its name and words: a soft mark that it reached
/// (`budget_soft`), and a record that asks for more (`budget_asked`). A function of the two, so each is told once.
pub(super) fn news(before: &Record, after: &Record) -> Vec<(&'static str, String)> {
    let mut news: Vec<(&'static str, String)> = machine::crossed(before, after)
        .map(|(measure, meter)| ("budget_soft", machine::written(measure, meter)))
        .collect();
    if after.budget.ask && is_spent(after) && !is_spent(before) {
        let words = after.last_error.as_ref().map(|fault| fault.message.clone()).unwrap_or_default();
        news.push(("budget_asked", words));
    }
    news
}

const fn is_spent(record: &Record) -> bool {
    matches!(record.state, State::DeadLettered { cause: Cause::BudgetExhausted, .. })
}

/// What agents have told so far, in words.
pub(super) fn used(record: &Record) -> String {
    let told = [Measure::Tokens, Measure::Cost].into_iter();
    let told = told.filter_map(|measure| Some(machine::written(measure, record.budget.of(measure)?)));
    told.collect::<Vec<_>>().join(", ")
}
