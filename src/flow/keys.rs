//! The keys of a flow file.

/// The keys of one mapping.
pub(super) struct Table {
    /// Where it stands; empty for the flow itself.
    pub(super) path: &'static str,
    /// All that is read there.
    pub(super) keys: &'static [&'static str],
}

pub(super) const FLOW: Table = Table {
    path: "",
    keys: &[
        "name",
        "on",
        "if",
        "for_each",
        "debounce",
        "org",
        "env",
        "mode",
        "concurrency",
        "budget",
        "retry",
        "timeout",
        "run",
        "on_dead_letter",
        "labels",
        "task",
    ],
};

pub(super) const CONCURRENCY: Table =
    Table { path: "concurrency", keys: &["group", "max", "cancel_in_progress", "queue"] };

pub(super) const BUDGET: Table = Table {
    path: "budget",
    keys: &["calls", "attempts", "wall", "tokens", "cost_usd", "soft", "on_exhausted"],
};

pub(super) const SOFT: Table =
    Table { path: "budget.soft", keys: &["calls", "attempts", "wall", "tokens", "cost_usd"] };

pub(super) const RETRY: Table =
    Table { path: "retry", keys: &["attempts", "backoff", "factor", "max", "jitter"] };

pub(super) const TIMEOUT: Table = Table { path: "timeout", keys: &["attempt", "silence", "expires"] };

pub(super) const RUN: Table =
    Table { path: "run", keys: &["agent", "model", "prompt", "command", "http", "worker", "runtime", "cwd"] };

pub(super) const HTTP: Table = Table { path: "run.http", keys: &["url", "method", "headers"] };

pub(super) const ON_DEAD_LETTER: Table = Table { path: "on_dead_letter", keys: &["http"] };

pub(super) const ON_DEAD_LETTER_HTTP: Table = Table { path: "on_dead_letter.http", keys: HTTP.keys };

pub(super) const DEBOUNCE: Table = Table { path: "debounce", keys: &["key", "quiet", "max"] };

pub(super) const SCHEDULE: Table = Table { path: "on.schedule", keys: &["cron", "tz"] };

/// `retry.attempts`; the key alone where nothing is above it.
pub(super) fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Table {
    /// What to say about a key that is not among them.
    pub(super) fn unknown(&self, key: &str) -> String {
        let place = if self.path.is_empty() { String::new() } else { format!(" in {}", self.path) };
        let expected = self.keys.join(", ");
        let nearest = self.keys.iter().map(|known| (strsim::damerau_levenshtein(known, key), known)).min();
        let meant = match nearest {
            Some((distance, known)) if distance <= 2 && distance < known.len() => {
                format!(" (did you mean {known:?}?)")
            }
            Some(_) | None => String::new(),
        };
        format!("unknown key {key:?}{place}: expected one of {expected}{meant}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_schema_names_the_keys_that_are_read() {
        let schema: Value = serde_json::from_str(crate::flow::SCHEMA).unwrap();
        for table in [FLOW, CONCURRENCY, RETRY, TIMEOUT, DEBOUNCE, ON_DEAD_LETTER] {
            let at = if table.path.is_empty() {
                String::from("/properties")
            } else {
                format!("/properties/{}/properties", table.path)
            };
            assert_eq!(named(&schema, &at), table.keys.iter().copied().collect(), "{at}");
        }
        let mut run = named(&schema, "/properties/run/oneOf/0/properties");
        run.extend(named(&schema, "/properties/run/oneOf/1/properties"));
        run.extend(named(&schema, "/properties/run/oneOf/2/properties"));
        run.extend(named(&schema, "/properties/run/oneOf/3/properties"));
        assert_eq!(run, RUN.keys.iter().copied().collect());
        let budget = "/properties/budget/oneOf/3/properties";
        assert_eq!(named(&schema, budget), BUDGET.keys.iter().copied().collect());
        let soft = format!("{budget}/soft/properties");
        assert_eq!(named(&schema, &soft), SOFT.keys.iter().copied().collect());
        let schedule = named(&schema, "/properties/on/properties/schedule/properties");
        assert_eq!(schedule, SCHEDULE.keys.iter().copied().collect());
        let http = named(&schema, "/properties/run/oneOf/2/properties/http/properties");
        assert_eq!(http, HTTP.keys.iter().copied().collect());
        let told = schema.pointer("/properties/on_dead_letter/properties/http/properties");
        assert_eq!(told, schema.pointer("/properties/run/oneOf/2/properties/http/properties"));
    }

    fn named<'v>(schema: &'v Value, at: &str) -> BTreeSet<&'v str> {
        let properties = schema.pointer(at).and_then(Value::as_object);
        properties.expect("properties there").keys().map(String::as_str).collect()
    }
}
