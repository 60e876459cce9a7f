//! `dwell budget`, and how a budget is typed.

use serde_json::{Map, Value as Json, json};

use super::args::Budget;
use super::client::{Client, escaped};
use super::exit::Failure;
use super::look::{shown, text};
use super::out;
use crate::model::Measure;

/// `dwell budget ID [--add N]`.
pub fn budget(client: &Client, args: &Budget) -> Result<(), Failure> {
    let path = format!("/v1/records/{}", escaped(&args.id));
    let record = match &args.add {
        None => client.get(&path)?,
        Some(add) => {
            let mut body = Map::from_iter([("add".to_owned(), json!(add))]);
            if let Some(of) = &args.of {
                body.insert("of".to_owned(), json!(of));
            }
            client.post(&format!("{path}/budget"), &Json::Object(body))?
        }
    };
    let budget = record.get("budget").cloned().unwrap_or_else(|| json!({}));
    if args.json {
        return out::json(&json!({ "id": record.get("id"), "state": record.get("state"), "budget": budget }));
    }
    out::line(&format!("{} {}", text(&record, "id"), text(&record, "state")))?;
    let rows: Vec<Vec<String>> = Measure::ALL.iter().filter_map(|measure| row(&budget, *measure)).collect();
    if rows.is_empty() {
        out::note("nothing of it is bounded, and no agent told what it used");
        return Ok(());
    }
    out::table(&["MEASURE", "USED", "LIMIT", "SOFT"], &rows)
}

/// Calls stand in the budget itself, the others under their names.
fn row(budget: &Json, measure: Measure) -> Option<Vec<String>> {
    let meter = if measure == Measure::Calls { Some(budget) } else { budget.get(measure.as_str()) };
    let meter = meter.filter(|meter| meter.get("used").is_some())?;
    let limit = meter.get("limit").filter(|limit| !limit.is_null());
    let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| shown(Some(limit)));
    Some(vec![measure.to_string(), shown(meter.get("used")), limit, shown(meter.get("soft"))])
}

/// `20`, or `calls=20,cost_usd=1,soft.cost_usd=0.8`, as the JSON of a session; what it means is for the server to say.
pub fn asked(typed: &str) -> Result<Json, String> {
    if let Ok(calls) = typed.parse::<u32>() {
        return Ok(json!(calls));
    }
    let (mut limits, mut soft) = (Map::new(), Map::new());
    for part in typed.split(',') {
        let wrong =
            || format!("{part:?} is no NAME=LIMIT: expected a number of calls, or like calls=20,wall=2h");
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        let (name, limits) = match name.strip_prefix("soft.") {
            Some(name) => (name, &mut soft),
            None => (name, &mut limits),
        };
        if limits.insert(name.to_owned(), json!(value)).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    if !soft.is_empty() {
        limits.insert("soft".to_owned(), Json::Object(soft));
    }
    Ok(Json::Object(limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_typed_as_a_number_or_by_name() {
        assert_eq!(asked("20"), Ok(json!(20)));
        let typed = asked("calls=20,wall=2h,soft.cost_usd=0.8,on_exhausted=ask");
        let json = json!({"calls": "20", "wall": "2h", "soft": {"cost_usd": "0.8"}, "on_exhausted": "ask"});
        assert_eq!(typed, Ok(json));
        assert_eq!(asked("calls=1,calls=2"), Err("calls is given twice".to_owned()));
        assert!(asked("-1").is_err() && asked("calls").is_err() && asked("").is_err());
    }

    #[test]
    fn a_meter_that_was_not_used_or_bounded_has_no_row() {
        let budget = json!({"used": 3, "limit": 20, "cost_usd": {"used": 0.4, "limit": null, "soft": 0.3}});
        assert_eq!(row(&budget, Measure::Calls).unwrap(), ["calls", "3", "20", ""]);
        assert_eq!(row(&budget, Measure::Cost).unwrap(), ["cost_usd", "0.4", "unlimited", "0.3"]);
        assert_eq!(row(&budget, Measure::Wall), None);
        assert_eq!(row(&json!({}), Measure::Calls), None);
    }
}
