//! What a flow looks for: the events of a source, and conditions on the payload.

use regex::Regex;
use serde_json::Value;

use super::path::Path;
use crate::model::Trigger;

/// The events of one source, or of one kind of source.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) events: Vec<Event>,
}

/// One event and its actions.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) name: String,
    /// `None`: any, and none at all.
    pub(super) actions: Option<Vec<String>>,
}

/// The entry for the trigger's own source counts before one for its kind, so a source can be told apart from
/// others of its kind.
pub(super) fn hears(sources: &[Source], trigger: &Trigger) -> bool {
    let named = |name: &str| sources.iter().find(|source| source.name == name);
    named(&trigger.source).or_else(|| named(&trigger.kind)).is_some_and(|source| {
        source
            .events
            .iter()
            .any(|event| event.name == trigger.event && event.takes(trigger.action.as_deref()))
    })
}

impl std::fmt::Display for Source {
    /// `github: pull_request [review_requested], push`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = |event: &Event| match &event.actions {
            Some(actions) => format!("{} [{}]", event.name, actions.join(", ")),
            None => event.name.clone(),
        };
        let events: Vec<String> = self.events.iter().map(words).collect();
        write!(f, "{}: {}", self.name, events.join(", "))
    }
}

impl Event {
    fn takes(&self, action: Option<&str>) -> bool {
        self.actions.as_ref().is_none_or(|actions| actions.iter().any(|one| Some(one.as_str()) == action))
    }
}

/// A path, and what one of the values there must be.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) path: Path,
    pub(super) any_of: Vec<Expected>,
}

/// One accepted value.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// Text, number or boolean, equal to it.
    Equal(Value),
    /// Text that it matches anywhere.
    Match(Regex),
}

impl Condition {
    /// A missing value holds for nothing.
    pub(super) fn holds(&self, payload: &Value) -> bool {
        self.path.select(payload).iter().any(|value| self.any_of.iter().any(|expected| expected.is(value)))
    }
}

impl Expected {
    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Expected::Match(regex), Value::String(text)) => regex.is_match(text),
            (Expected::Match(_), _) => false,
            // JSON has one kind of number: 1 and 1.0 are the same.
            (Expected::Equal(Value::Number(a)), Value::Number(b)) if a.is_f64() || b.is_f64() => {
                a.as_f64() == b.as_f64()
            }
            (Expected::Equal(expected), value) => expected == value,
        }
    }
}
