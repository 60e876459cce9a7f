//! Typed values from the tree. Each either reads or leaves a problem that names the key, what is there and what
//! is expected.

use std::time::Duration;

use super::keys::{Table, dotted};
use super::problem::{Position, Problems};
use super::template::Template;
use super::tree::{Key, Node, Tree};
use crate::model::Name;

/// The longest duration a flow may name: a year's worth of waiting is a mistake in the unit.
const DURATION_MAX: Duration = Duration::from_hours(366 * 24);

/// The longest name of a flow, runtime or source, in characters.
const NAME_LEN_MAX: usize = 64;

/// The entries of one mapping, all of its keys known.
pub(super) struct Fields<'n> {
    path: &'static str,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// The value of `key`, with the key's full name.
    pub(super) fn get(&self, key: &str) -> Option<(&'n Node, String)> {
        let (_, node) = self.entries.iter().find(|(found, _)| found.text == key)?;
        Some((node, dotted(self.path, key)))
    }

    /// Where `key` itself stands.
    pub(super) fn key_at(&self, key: &str) -> Option<Position> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(found, _)| found.at)
    }
}

/// Reads nodes and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) problems: Problems<'a>,
}

impl Reader<'_> {
    /// `retry.attempts is "five": expected a whole number from 1 to 1000`.
    pub(super) fn wrong(&mut self, node: &Node, key: &str, expected: &str) {
        self.problems.add(node.at, format!("{key} is {}: expected {expected}", seen(&node.value)));
    }

    /// A mapping whose keys are those of `table`.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, table: &Table) -> Option<Fields<'n>> {
        let key = if table.path.is_empty() { "the file" } else { table.path };
        let entries = self.map(node, key, &format!("a mapping of {}", table.keys.join(", ")))?;
        for (key, _) in entries {
            if !table.keys.contains(&key.text.as_str()) {
                self.problems.add(key.at, table.unknown(&key.text));
            }
        }
        Some(Fields { path: table.path, entries })
    }

    /// A mapping with keys of the user's own.
    pub(super) fn map<'n>(&mut self, node: &'n Node, key: &str, expected: &str) -> Option<&'n [(Key, Node)]> {
        if let Tree::Map(entries) = &node.value {
            return Some(entries);
        }
        self.wrong(node, key, expected);
        None
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node, key: &str, expected: &str) -> Option<&'n str> {
        if let Tree::Text(text) = &node.value {
            return Some(text);
        }
        let quote = matches!(node.value, Tree::Bool(_) | Tree::Number(_));
        self.wrong(node, key, if quote { "text: put it in quotes" } else { expected });
        None
    }

    /// The name of a flow, a runtime or a source.
    pub(super) fn name(&mut self, node: &Node, key: &str) -> Option<Name> {
        let text = self.text(node, key, NAME)?;
        if is_name(text) {
            return Some(text.into());
        }
        self.wrong(node, key, NAME);
        None
    }

    /// Text with `${path}` in it.
    pub(super) fn template(&mut self, node: &Node, key: &str) -> Option<Template> {
        let text = self.text(node, key, "text, with ${path} for what comes from the payload")?;
        let compiled = if text.is_empty() {
            Err("empty text: expected some, or no such key".to_owned())
        } else {
            Template::compile(text)
        };
        compiled.map_err(|what| self.problems.add(node.at, format!("{key}: {what}"))).ok()
    }

    /// A whole number from `low` to `high`.
    pub(super) fn count(&mut self, node: &Node, key: &str, low: u32, high: u32) -> Option<u32> {
        if let Tree::Number(number) = &node.value
            && let Some(count) = number.as_u64().and_then(|count| u32::try_from(count).ok())
            && (low..=high).contains(&count)
        {
            return Some(count);
        }
        self.wrong(node, key, &format!("a whole number from {low} to {high}"));
        None
    }

    /// A humantime duration or a number of seconds, at least `least`.
    pub(super) fn duration(&mut self, node: &Node, key: &str, least: Duration) -> Option<Duration> {
        let duration = match &node.value {
            Tree::Number(number) => {
                number.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            }
            Tree::Text(text) => humantime::parse_duration(text).ok(),
            Tree::Nothing | Tree::Bool(_) | Tree::List(_) | Tree::Map(_) => None,
        };
        let duration = duration.filter(|duration| (least..=DURATION_MAX).contains(duration));
        if duration.is_none() {
            let least = humantime::format_duration(least);
            let form = "a duration like 90s or 1h 30m, or a number of seconds";
            self.wrong(node, key, &format!("{form}, from {least} to 366 days"));
        }
        duration
    }

    /// `10%`.
    pub(super) fn percent(&mut self, node: &Node, key: &str) -> Option<u32> {
        if let Tree::Text(text) = &node.value
            && let Some(Ok(percent @ 0..=100)) = text.strip_suffix('%').map(str::parse)
        {
            return Some(percent);
        }
        self.wrong(node, key, "whole percents from 0% to 100%");
        None
    }

    /// A growth factor, in percent.
    pub(super) fn factor(&mut self, node: &Node, key: &str) -> Option<u32> {
        if let Tree::Number(number) = &node.value
            && let Some(factor) = number.as_f64()
            && (1.0..=100.0).contains(&factor)
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 100 to 10000"
            )]
            return Some((factor * 100.0).round() as u32);
        }
        self.wrong(node, key, "a number from 1 to 100");
        None
    }
}

const NAME: &str = "up to 64 lower-case letters, digits and - _ .";

/// Whether a flow, runtime or source may be called so.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_LEN_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

/// A value in a message.
fn seen(value: &Tree) -> String {
    /// A longer text is not shown: the line is named.
    const SHOWN_MAX: usize = 80;
    match value {
        Tree::Nothing => "empty".to_owned(),
        Tree::Bool(value) => value.to_string(),
        Tree::Number(number) => number.to_string(),
        Tree::Text(text) if text.len() <= SHOWN_MAX => format!("{text:?}"),
        Tree::Text(text) => format!("text of {} bytes", text.len()),
        Tree::List(_) => "a list".to_owned(),
        Tree::Map(_) => "a mapping".to_owned(),
    }
}
