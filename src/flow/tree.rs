//! YAML as a tree in which every key and value knows its place.
//!
//! Owns: the parser and its limits. Absent on purpose: what any key means (`parse`).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::problem::{Position, Problems};

/// The largest flow file.
pub const FLOW_BYTES_MAX: usize = 1 << 20;

/// Collections within collections; the deepest key of a flow stands at 3.
const DEPTH_MAX: usize = 16;

/// Keys, values and collections of one file, those that aliases repeat included.
const NODES_MAX: usize = 50_000;

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Tree,
}

/// A key and its place.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) text: String,
}

/// What YAML 1.2's core schema makes of a value.
#[derive(Debug)]
pub(super) enum Tree {
    Nothing,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The tree of a file. What is wrong with it as YAML goes to `problems`; a repeated key does not hide the rest.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > FLOW_BYTES_MAX {
        let message = format!("a file of {} bytes: expected at most {FLOW_BYTES_MAX}", text.len());
        problems.add(Position::START, message);
        return None;
    }
    let error = match serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::Error)) {
        Ok(node) => return Some(node),
        Err(error) => error,
    };
    let again = matches!(error, Error::DuplicateMappingKey { .. });
    let at = error.location().map_or(Position::START, position);
    problems.add(at, wording(&error));
    if !again {
        return None;
    }
    serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::FirstWins)).ok()
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: NODES_MAX, max_documents: 2 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES_MAX },
        duplicate_keys: duplicate_keys,
        // YAML 1.2 has neither `<<` nor `on` and `yes` as booleans.
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn wording(error: &Error) -> String {
    if let Error::AliasError { error, .. } = error {
        return wording(error);
    }
    if let Error::DuplicateMappingKey { key: Some(key), .. } = error {
        return format!("key {key:?} is here a second time: expected it once");
    }
    if matches!(error, Error::MultipleDocuments { .. }) {
        return "a second document: expected one flow a file".to_owned();
    }
    if matches!(error, Error::NullIntoString { .. }) {
        return "an empty key: expected text".to_owned();
    }
    if let Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } = error {
        return format!("more than a flow can need: expected at most {NODES_MAX} values, {DEPTH_MAX} deep");
    }
    let text = error.to_string();
    let place = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
    let text = place.and_then(|place| text.strip_suffix(&place)).unwrap_or(&text);
    format!("not YAML as it is accepted here: {text}")
}

fn position(at: Location) -> Position {
    Position { line: at.line().max(1), column: at.column().max(1) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::deserialize(deserializer)?;
        Ok(Node { at: position(referenced), value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number that is not finite"))?;
        Ok(Tree::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = elements.next_element()? {
            list.push(node);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(Spanned { value, referenced, .. }) = entries.next_key::<Spanned<String>>()? {
            let key = Key { at: position(referenced), text: value };
            map.push((key, entries.next_value()?));
        }
        Ok(Tree::Map(map))
    }
}
