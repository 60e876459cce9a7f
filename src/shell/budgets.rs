//! Budgets as they are asked for, in JSON: a number of calls, or an object of limits and soft marks.

use super::fields::Fields;
use super::problem::Problem;
use crate::model::{Budget, Measure, Meter, Record};

/// The field `budget`: `20`, or `{"calls": 20, "cost_usd": 1.5, "soft": {"cost_usd": 1}, "on_exhausted": "ask"}`.
pub fn read(fields: &mut Fields) -> Result<Budget, Problem> {
    if !fields.is_object("budget") {
        return Ok(fields.small("budget")?.map(Budget::calls).unwrap_or_default());
    }
    let mut budget = Budget::default();
    let Some(mut asked) = fields.object("budget")? else { return Ok(budget) };
    let mut soft = asked.object("soft")?;
    for measure in Measure::ALL {
        let limit = amount(&mut asked, measure.as_str(), *measure)?;
        let mark = match &mut soft {
            Some(soft) => amount(soft, measure.as_str(), *measure)?,
            None => None,
        };
        if mark.is_some_and(|mark| limit.is_some_and(|limit| mark > limit)) {
            return Err(asked.problem(&format!("soft.{measure}"), "expected at most the limit"));
        }
        if limit.is_some() || mark.is_some() {
            budget = budget.with(*measure, Meter { used: 0, limit, soft: mark });
        }
    }
    if let Some(soft) = soft {
        soft.finish()?;
    }
    budget.ask = match asked.text("on_exhausted")?.as_deref() {
        None | Some("dead_letter") => false,
        Some("ask") => true,
        Some(_) => return Err(asked.problem("on_exhausted", "expected dead_letter or ask")),
    };
    asked.finish()?;
    Ok(budget)
}

/// So much of a measure, in its units. None at all is an amount of calls only: nothing else can be refused before it is
/// used.
pub fn amount(fields: &mut Fields, name: &'static str, measure: Measure) -> Result<Option<u64>, Problem> {
    let amount = match measure {
        Measure::Calls | Measure::Attempts => fields.small(name)?.map(u64::from),
        Measure::Tokens => fields.number(name)?,
        Measure::Wall => fields.span(name)?.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        Measure::Cost => fields.dollars(name)?,
    };
    if amount == Some(0) && measure != Measure::Calls {
        return Err(fields.problem(name, &format!("expected more than no {measure}")));
    }
    Ok(amount)
}

/// What a record asks for more of: what stopped it, else calls.
pub fn wanted(record: &Record) -> Measure {
    record.budget.exhausted().map_or(Measure::Calls, |(measure, _)| measure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Result<Budget, String> {
        let mut fields = Fields::parse(format!(r#"{{"budget":{json}}}"#).as_bytes()).unwrap();
        read(&mut fields).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_budget_is_a_number_of_calls_or_an_object() {
        let meter = |limit, soft| Meter { used: 0, limit, soft };
        assert_eq!(asked("20"), Ok(Budget::calls(20)));
        assert_eq!(asked("null"), Ok(Budget::default()));
        assert_eq!(asked(r#"{"calls":20}"#), Ok(Budget::calls(20)));
        let mut all = Budget::calls(20)
            .with(Measure::Attempts, meter(Some(5), None))
            .with(Measure::Wall, meter(Some(7_200_000), None))
            .with(Measure::Tokens, meter(None, Some(100_000)))
            .with(Measure::Cost, meter(Some(1_000_000), Some(800_000)));
        all.ask = true;
        let json = r#"{"calls":20,"attempts":5,"wall":"2h","cost_usd":1.0,
            "soft":{"cost_usd":0.8,"tokens":100000},"on_exhausted":"ask"}"#;
        assert_eq!(asked(json), Ok(all));
        let plain = asked(r#"{"calls":20,"on_exhausted":"dead_letter","wall":null}"#);
        assert_eq!(plain, Ok(Budget::calls(20)));
    }

    #[test]
    fn what_is_no_budget_names_its_field() {
        for (json, detail) in [
            ("-1", "budget: expected a whole number from 0 on, not -1"),
            (r#"{"cals":1}"#, "budget.cals: unknown field"),
            (r#"{"cost_usd":-1}"#, "budget.cost_usd: expected an amount of dollars, not a number"),
            (r#"{"cost_usd":1e300}"#, "budget.cost_usd: expected an amount of dollars, not a number"),
            (r#"{"cost_usd":0}"#, "budget.cost_usd: expected more than no cost_usd"),
            (r#"{"attempts":0}"#, "budget.attempts: expected more than no attempts"),
            (r#"{"wall":"soon"}"#, "budget.wall: "),
            (r#"{"tokens":1.5}"#, "budget.tokens: expected a whole number from 0 on, not 1.5"),
            (r#"{"soft":{"cost":1}}"#, "budget.soft.cost: unknown field"),
            (r#"{"soft":8}"#, "budget.soft: expected an object, not a number"),
            (r#"{"tokens":1,"soft":{"tokens":2}}"#, "budget.soft.tokens: expected at most the limit"),
            (r#"{"on_exhausted":"wait"}"#, "budget.on_exhausted: expected dead_letter or ask"),
        ] {
            let refused = asked(json).unwrap_err();
            assert!(refused.starts_with(detail), "{json}: {refused}");
        }
    }
}
