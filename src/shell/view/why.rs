//! Why something does not start: the rule in words, with the numbers behind it; and what waits, env by env.

use serde_json::{Map, Value as Json, json};

use super::{Document, Object, moment};
use crate::engine::{Asked, EnvView, Hold, Rule, Why};
use crate::model::{Cause, Limit, Mode, Name, Runtime, Source, StateName, Time};
use crate::shell::time;

/// An answer: the rule by name and in words, until when, by whom, and what it counts.
pub fn why(why: &Why) -> Document {
    let (record, scope) = match &why.asked {
        Asked::Record(id) => (Some(id.to_string()), None),
        Asked::Scope(scope) => (None, Some(scope.to_string())),
    };
    let by: Vec<String> = why.by.iter().map(ToString::to_string).collect();
    let counters: Map<String, Json> =
        counters(why).into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    let place =
        why.place.map(|place| json!({ "ahead_in_env": place.ahead_in_env, "orgs_in_rotation": place.orgs }));
    Object::default()
        .maybe("id", record)
        .maybe("scope", scope)
        .maybe("state", why.state.map(StateName::as_str))
        .maybe("runtime", why.runtime.as_deref())
        .with("rule", rule(&why.rule))
        .with("detail", detail(why))
        .maybe("until", until(&why.rule).filter(|until| *until < Time::MAX).map(moment))
        .maybe("source", source(&why.rule).map(Source::as_str))
        .maybe("by", (!by.is_empty()).then_some(by))
        .with("counters", counters)
        .maybe("place", place)
        .maybe("earliest", why.earliest.map(moment))
        .done()
}

/// An env as it stands.
pub fn env(env: &EnvView) -> Document {
    let gate = Object::default()
        .with("enrolled", env.enrolled)
        .maybe("tripped_until", env.tripped_until.map(moment))
        .done();
    Object::default()
        .with("org", &*env.org)
        .with("env", &*env.env)
        .with("queued", json!({ "ready": env.ready, "burst": env.burst }))
        .with("parked", env.parked)
        .with("outstanding", env.outstanding)
        .with("weight", env.weight)
        .maybe("oldest_at", env.oldest_at.map(moment))
        .with("gate", gate)
        .done()
}

/// A stable word for programs.
const fn rule(rule: &Rule) -> &'static str {
    match rule {
        Rule::Held(hold) => hold.name(),
        Rule::Turn => "turn",
        Rule::Deadline { source: Some(_), .. } => "rate_limited",
        Rule::Deadline { source: None, .. } => "backoff",
        Rule::Outstanding { .. } => "outstanding",
        Rule::Dead(_) => "dead_lettered",
        Rule::Finished => "finished",
        Rule::Mode(..) => "mode",
        Rule::StoreFull(_) => "store_full",
        Rule::Open => "open",
    }
}

fn until(rule: &Rule) -> Option<Time> {
    match rule {
        Rule::Held(Hold::Stopping { until } | Hold::Paused { until } | Hold::Ramp { until })
        | Rule::Deadline { until, .. }
        | Rule::Outstanding { until } => Some(*until),
        Rule::Held(Hold::Limited(pause)) => Some(pause.limit.until),
        // One of the two has passed, or holds less long.
        Rule::Held(Hold::Model(row)) => row.limited.map(|pause| pause.limit.until).max(row.paused_until),
        Rule::Held(
            Hold::Drained(_)
            | Hold::Burst { .. }
            | Hold::Group { .. }
            | Hold::Unclaimed { .. }
            | Hold::Full { .. },
        )
        | Rule::Turn
        | Rule::Dead(_)
        | Rule::Finished
        | Rule::Mode(..)
        | Rule::StoreFull(_)
        | Rule::Open => None,
    }
}

/// The limit of a row, if that holds it longest.
fn longest(row: &Runtime) -> Option<Limit> {
    row.limited.map(|pause| pause.limit).filter(|limit| Some(limit.until) >= row.paused_until)
}

fn source(rule: &Rule) -> Option<Source> {
    match rule {
        Rule::Held(Hold::Limited(pause)) => Some(pause.limit.source),
        Rule::Held(Hold::Model(row)) => longest(row).map(|limit| limit.source),
        Rule::Deadline { source, .. } => *source,
        Rule::Held(_)
        | Rule::Turn
        | Rule::Outstanding { .. }
        | Rule::Dead(_)
        | Rule::Finished
        | Rule::Mode(..)
        | Rule::StoreFull(_)
        | Rule::Open => None,
    }
}

/// The engine's, and those of the rule itself.
fn counters(why: &Why) -> Vec<(&'static str, u64)> {
    let mut counters: Vec<(&'static str, u64)> =
        why.counters.iter().map(|(name, count)| (*name, *count)).collect();
    match &why.rule {
        Rule::Held(Hold::Group { outstanding, max, .. }) => {
            counters.extend([("group_outstanding", *outstanding as u64), ("group_max", u64::from(*max))]);
        }
        Rule::Held(Hold::Burst { released, max }) => {
            counters.extend([("released", *released as u64), ("released_max", u64::from(*max))]);
        }
        Rule::Held(_)
        | Rule::Turn
        | Rule::Deadline { .. }
        | Rule::Outstanding { .. }
        | Rule::Dead(_)
        | Rule::Finished
        | Rule::Mode(..)
        | Rule::StoreFull(_)
        | Rule::Open => {}
    }
    counters
}

fn detail(why: &Why) -> String {
    let runtime = why.runtime.as_ref().map_or("", Name::as_ref);
    match &why.rule {
        Rule::Held(hold) => held(hold, runtime, why),
        Rule::Turn => format!("nothing holds it: it starts at its turn on runtime {runtime}"),
        Rule::Deadline { until, source: Some(source) } => {
            format!("its provider's window opens at {} ({source})", time::format(*until))
        }
        Rule::Deadline { until, source: None } => {
            format!("it waits after a bad end until {}", time::format(*until))
        }
        Rule::Outstanding { until } => {
            format!(
                "an attempt is outstanding on runtime {runtime}, at the longest until {}",
                time::format(*until)
            )
        }
        Rule::Dead(Cause::Invalid) => {
            "it is dead-lettered, invalid: redrive it once its target takes it; what was invalid \
                                       as it was submitted is to be submitted anew, or its trigger replayed"
                .to_owned()
        }
        Rule::Dead(cause) => {
            format!("it is dead-lettered, {cause}, and waits for an operator: dwell redrive")
        }
        Rule::Finished => "it is finished".to_owned(),
        Rule::Mode(Mode::Off, origin) => {
            format!("the flow is off (by {origin}): its triggers make no runs")
        }
        Rule::Mode(mode, origin) => {
            format!("the flow is in {mode} (by {origin}): its runs are recorded and do not start")
        }
        Rule::StoreFull(space) => format!("nothing holds it, but {space}"),
        Rule::Open => "nothing holds it".to_owned(),
    }
}

fn held(hold: &Hold, runtime: &str, why: &Why) -> String {
    let by = why.by.first().map(|id| format!(", reported by {id}")).unwrap_or_default();
    match hold {
        Hold::Stopping { until } => {
            format!("dwell stops; what is outstanding may finish until {}", time::format(*until))
        }
        Hold::Drained(drain) => {
            format!("{} is drained since {}, until dwell undrain", drain.scope, time::format(drain.since))
        }
        Hold::Paused { until } if *until >= Time::MAX => {
            format!("runtime {runtime} is paused by an operator, until dwell runtime resume")
        }
        Hold::Paused { until } => {
            format!("runtime {runtime} is paused by an operator until {}", time::format(*until))
        }
        Hold::Limited(pause) => {
            let (until, source) = (time::format(pause.limit.until), pause.limit.source);
            format!("runtime {runtime} is limited by its provider until {until} ({source}{by})")
        }
        Hold::Model(row) => {
            let what =
                if longest(row).is_some() { "limited by its provider" } else { "paused by an operator" };
            let until = until(&why.rule).filter(|until| *until < Time::MAX);
            let until = until
                .map_or_else(|| ", until resumed".to_owned(), |at| format!(" until {}", time::format(at)));
            format!("model {} is {what}{until}", row.name)
        }
        Hold::Unclaimed { queue, asked_at } => {
            let last = asked_at.map_or_else(|| "never".to_owned(), time::format);
            format!("no worker claims queue {queue}; the last time one did since dwell was started: {last}")
        }
        Hold::Burst { released, max } => {
            format!("its env triggered too fast: {released} of {max} such runs are let go at a time")
        }
        Hold::Group { name, outstanding, max } => {
            format!("its concurrency group {name} has {outstanding} of {max} attempts outstanding")
        }
        Hold::Ramp { until } => {
            format!(
                "runtime {runtime} comes back from a pause step by step; the next at {}",
                time::format(*until)
            )
        }
        Hold::Full { outstanding: 0, concurrency: 0 } => {
            format!("runtime {runtime} is not configured to start anything")
        }
        Hold::Full { outstanding, concurrency } => {
            format!("runtime {runtime} has {outstanding} of {concurrency} attempts outstanding")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::Place;
    use crate::model::{Drain, Pause, RecordId, Scope};

    fn told(hold: Hold) -> Why {
        Why {
            asked: Asked::Record(RecordId::session(1)),
            state: Some(StateName::Queued),
            runtime: Some("claude".into()),
            rule: Rule::Held(hold),
            by: vec![RecordId::session(2)],
            counters: BTreeMap::from([("outstanding", 4)]),
            place: Some(Place { ahead_in_env: 3, orgs: 2 }),
            earliest: None,
        }
    }

    #[test]
    fn a_limit_is_told_with_its_source_and_its_reporter() {
        let limit = Limit { until: Time::from_millis(1_000), source: Source::Estimated };
        let hold = Hold::Limited(Pause { limit, since: Time::ZERO, by: None });
        let at = "1970-01-01T00:00:01.000Z";
        let expected = json!({
            "id": "ses_00000000000000000000000001", "state": "queued", "runtime": "claude",
            "rule": "runtime_limited", "until": at, "source": "estimated", "earliest": at,
            "detail": format!(
                "runtime claude is limited by its provider until {at} (estimated, reported by \
                 ses_00000000000000000000000002)"
            ),
            "by": ["ses_00000000000000000000000002"], "counters": {"outstanding": 4},
            "place": {"ahead_in_env": 3, "orgs_in_rotation": 2},
        });
        assert_eq!(why(&Why { earliest: Some(limit.until), ..told(hold) }).json(), expected);
    }

    #[test]
    fn every_rule_has_its_own_words() {
        let drain = Drain { scope: Scope::All, since: Time::ZERO, until: Time::ZERO };
        let group = Hold::Group { name: "g".into(), outstanding: 1, max: 1 };
        for (hold, rule, words) in [
            (Hold::Drained(drain), "drained", "all is drained since 1970"),
            (Hold::Paused { until: Time::MAX }, "runtime_paused", "until dwell runtime resume"),
            (group, "group_busy", "group g has 1 of 1"),
            (Hold::Full { outstanding: 4, concurrency: 4 }, "concurrency", "has 4 of 4 attempts"),
            (Hold::Full { outstanding: 0, concurrency: 0 }, "concurrency", "not configured"),
        ] {
            let shown = why(&told(hold)).json();
            assert_eq!(shown["rule"], rule);
            assert!(shown["detail"].as_str().unwrap().contains(words), "{shown}");
        }
    }
}
