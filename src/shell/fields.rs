//! Reads a JSON object, or a query, field by field; every refusal names its field, and what nobody asked for is one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::problem::Problem;
use super::{slip, time};
use crate::model::{MODEL_BYTES_MAX, Name, Reset, Runtime, Time, USAGE_MAX, micros};

/// The longest org, env, runtime, key or source: these are kept in memory for every record.
pub const NAME_BYTES_MAX: usize = 256;

/// As many fields as most bodies may have.
const KNOWN: usize = 24;

/// An object being read; what was read is gone from it.
#[derive(Debug)]
pub struct Fields {
    /// As they stand there: there are few, and each is looked for once.
    left: Vec<(String, Json)>,
    /// `action.` for the fields of an object inside.
    prefix: String,
    /// What was asked for: the fields that it may have.
    known: Vec<&'static str>,
}

impl Fields {
    /// From a request's body.
    pub fn parse(body: &[u8]) -> Result<Fields, Problem> {
        // Of bytes each text inside would be looked at by itself.
        let text = std::str::from_utf8(body).map_err(|error| Problem::field("body", error))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let left = json.deserialize_map(Members).and_then(|left| json.end().map(|()| left));
        let left = left.map_err(|error| {
            if error.is_data() {
                return Problem::field("body", "expected a JSON object");
            }
            Problem::field("body", error)
        })?;
        Ok(Fields::new(left, String::new()))
    }

    /// From a query's pairs; a name given twice is refused.
    pub fn query(pairs: Vec<(String, String)>) -> Result<Fields, Problem> {
        let mut left = Map::new();
        for (name, text) in pairs {
            if left.insert(name.clone(), Json::String(text)).is_some() {
                return Err(Problem::field(&name, "given twice"));
            }
        }
        Ok(Fields::new(left, String::new()))
    }

    fn new(left: impl IntoIterator<Item = (String, Json)>, prefix: String) -> Fields {
        Fields { left: left.into_iter().collect(), prefix, known: Vec::with_capacity(KNOWN) }
    }

    /// What is left, as JSON text.
    pub fn raw(&self) -> String {
        Json::Object(self.left.iter().cloned().collect()).to_string()
    }

    /// Whatever is there; `null` is nothing.
    pub fn any(&mut self, name: &'static str) -> Option<Json> {
        self.known.push(name);
        if self.left.is_empty() {
            return None;
        }
        // Of what is there twice the last one counts.
        let mut found = None;
        self.left.retain_mut(|(left, value)| {
            let is_other = left != name;
            if !is_other {
                found = Some(value.take());
            }
            is_other
        });
        found.filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.any(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, &other, "a string")),
        }
    }

    /// A text that must be there.
    pub fn required(&mut self, name: &'static str) -> Result<String, Problem> {
        self.text(name)?.ok_or_else(|| self.problem(name, "it is missing"))
    }

    /// A short text without control characters, not empty.
    pub fn name(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            let expected = format!("expected 1 to {NAME_BYTES_MAX} bytes without control characters");
            return Err(self.problem(name, &expected));
        }
        Ok(Some(text))
    }

    /// An org or env; `default` if it is not there.
    pub fn scope(&mut self, name: &'static str) -> Result<Name, Problem> {
        Ok(self.name(name)?.map_or_else(|| Name::from("default"), Name::from))
    }

    /// A model, as its provider calls it.
    pub fn model(&mut self, name: &'static str) -> Result<Option<Name>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if !Runtime::is_model(&text) {
            let expected =
                format!("expected 1 to {MODEL_BYTES_MAX} visible ASCII characters that do not begin with -");
            return Err(self.problem(name, &expected));
        }
        Ok(Some(text.into()))
    }

    /// A whole number; digits in a string count.
    pub fn number(&mut self, name: &'static str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.map(Some).ok_or_else(|| {
            if value.is_number() {
                return self.problem(name, &format!("expected a whole number from 0 on, not {value}"));
            }
            self.wrong(name, &value, "a whole number")
        })
    }

    /// A whole number that fits 32 bits.
    pub fn small(&mut self, name: &'static str) -> Result<Option<u32>, Problem> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        u32::try_from(number).map(Some).map_err(|_| self.problem(name, "expected at most 4294967295"))
    }

    /// An amount of money in dollars, as millionths; digits in a string count.
    pub fn dollars(&mut self, name: &'static str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let dollars = value.as_f64().or_else(|| value.as_str()?.parse().ok());
        let micros = dollars.and_then(micros).filter(|micros| *micros < USAGE_MAX);
        micros.map(Some).ok_or_else(|| self.wrong(name, &value, "an amount of dollars"))
    }

    /// `true`, `false`; also as text.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        match self.any(name) {
            None => Ok(false),
            Some(Json::Bool(flag)) => Ok(flag),
            Some(Json::String(text)) if text == "true" || text == "1" => Ok(true),
            Some(Json::String(text)) if text == "false" || text == "0" => Ok(false),
            Some(other) => Err(self.wrong(name, &other, "true or false")),
        }
    }

    /// A humantime text or a number of seconds.
    pub fn span(&mut self, name: &'static str) -> Result<Option<Duration>, Problem> {
        let parsed = match self.any(name) {
            None => return Ok(None),
            Some(Json::String(text)) => {
                time::parse_span(&text).map_err(|error| self.problem(name, &error.to_string()))
            }
            Some(Json::Number(number)) => (number.as_f64())
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or_else(|| self.problem(name, "expected seconds that are not negative")),
            Some(other) => Err(self.wrong(name, &other, "a duration like \"90s\" or seconds")),
        };
        parsed.map(Some)
    }

    /// A provider's reset time: RFC 3339, epoch seconds or milliseconds, or `+90m` from now. What is none is kept
    /// for the warning: a tool's odd time must not lose its report.
    pub fn reset(&mut self, name: &'static str, now: Time) -> Reset {
        match self.any(name) {
            None => Reset::Absent,
            Some(Json::String(text)) => {
                let read = time::parse_relative(&text, now).ok();
                read.map_or_else(|| Reset::Unusable(crate::model::bounded(&text)), Reset::At)
            }
            Some(other) => {
                let read = other.as_f64().and_then(time::from_epoch);
                read.map_or_else(|| Reset::Unusable(crate::model::bounded(&other.to_string())), Reset::At)
            }
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Problem> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let wrong = |fields: &Fields| fields.wrong(name, &value, "an array of strings");
        let list = value.as_array().ok_or_else(|| wrong(self))?;
        let texts: Option<Vec<String>> = list.iter().map(|text| text.as_str().map(str::to_owned)).collect();
        texts.map(Some).ok_or_else(|| wrong(self))
    }

    /// An object of texts.
    pub fn table(&mut self, name: &'static str) -> Result<BTreeMap<String, String>, Problem> {
        let Some(value) = self.any(name) else { return Ok(BTreeMap::new()) };
        let wrong = |fields: &Fields| fields.wrong(name, &value, "an object of strings");
        let object = value.as_object().ok_or_else(|| wrong(self))?;
        let pairs = object.iter().map(|(key, value)| match value.as_str() {
            Some(text) => Ok((key.clone(), text.to_owned())),
            None => Err(self.wrong(&format!("{name}.{key}"), value, "a string")),
        });
        pairs.collect()
    }

    /// Whether an object is there.
    pub fn is_object(&self, name: &str) -> bool {
        self.left.iter().any(|(left, value)| left == name && value.is_object())
    }

    /// An object to read on in.
    pub fn object(&mut self, name: &'static str) -> Result<Option<Fields>, Problem> {
        match self.any(name) {
            None => Ok(None),
            Some(Json::Object(left)) => Ok(Some(Fields::new(left, format!("{}{name}.", self.prefix)))),
            Some(other) => Err(self.wrong(name, &other, "an object")),
        }
    }

    /// A list of objects to read on in.
    pub fn objects(&mut self, name: &'static str) -> Result<Option<Vec<Fields>>, Problem> {
        match self.any(name) {
            None => Ok(None),
            Some(Json::Array(list)) => {
                let read = list.into_iter().enumerate().map(|(nth, value)| {
                    if let Json::Object(left) = value {
                        Ok(Fields::new(left, format!("{}{name}[{nth}].", self.prefix)))
                    } else {
                        Err(self.wrong(&format!("{name}[{nth}]"), &value, "an object"))
                    }
                });
                read.collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(self.wrong(name, &other, "an array of objects")),
        }
    }

    /// Refuses what is left.
    pub fn finish(self) -> Result<(), Problem> {
        match self.left.iter().map(|(name, _)| name).min() {
            None => Ok(()),
            Some(name) => Err(self.problem(name, &format!("unknown field{}", self.meant(name)))),
        }
    }

    /// What `name` may be a slip of.
    fn meant(&self, name: &str) -> String {
        let near = slip::most_like(name, self.known.iter().copied());
        near.map(|known| format!(": did you mean {known}")).unwrap_or_default()
    }

    /// A refusal of a field of this object.
    pub fn problem(&self, name: &str, message: &str) -> Problem {
        Problem::field(&format!("{}{name}", self.prefix), message)
    }

    fn wrong(&self, name: &str, value: &Json, expected: &str) -> Problem {
        let found = match value {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        };
        self.problem(name, &format!("expected {expected}, not {found}"))
    }
}

/// The members of an object, in their order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Json)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_refusal_names_the_field_also_inside_an_object() {
        let mut outer = fields(r#"{"action": {"agent": {"prompt": 5}}}"#);
        let mut agent = outer.object("action").unwrap().unwrap().object("agent").unwrap().unwrap();
        let problem = agent.required("prompt").unwrap_err();
        assert_eq!(problem.detail, "action.agent.prompt: expected a string, not a number");
        assert_eq!(problem.extra["field"], "action.agent.prompt");
        let mut list = fields(r#"{"all": [{}, {"n": "x"}], "some": [{}, 5], "none": {}}"#);
        let mut all = list.objects("all").unwrap().unwrap();
        assert_eq!(all.len(), 2);
        let problem = all[1].number("n").unwrap_err();
        assert_eq!(problem.detail, "all[1].n: expected a whole number, not a string");
        let refused = |list: &mut Fields, name: &'static str| list.objects(name).unwrap_err().detail;
        assert_eq!(refused(&mut list, "some"), "some[1]: expected an object, not a number");
        assert_eq!(refused(&mut list, "none"), "none: expected an array of objects, not an object");
        assert_eq!(fields("{}").required("runtime").unwrap_err().detail, "runtime: it is missing");
        assert_eq!(fields(r#"{"keys":1}"#).finish().unwrap_err().detail, "keys: unknown field");
        let mut slip = fields(r#"{"keyy":"a","labels":{"a":"b","c":[]}, "n":-1}"#);
        assert_eq!(slip.table("labels").unwrap_err().detail, "labels.c: expected a string, not an array");
        assert_eq!(slip.number("n").unwrap_err().detail, "n: expected a whole number from 0 on, not -1");
        assert_eq!(slip.text("key").unwrap(), None);
        assert_eq!(slip.finish().unwrap_err().detail, "keyy: unknown field: did you mean key");
        for other in ["[]", "5", "\"a\"", "null", "[{}"] {
            let refused = Fields::parse(other.as_bytes()).unwrap_err();
            assert_eq!(refused.detail, "body: expected a JSON object", "{other}");
        }
        for (broken, words) in [
            (&b"{"[..], "EOF"),
            (b"{} {}", "trailing"),
            (b"{\"a\" 1}", "expected `:`"),
            (b"", "EOF"),
            (b"{\"a\":\"\xff\"}", "invalid utf-8"),
        ] {
            let refused = Fields::parse(broken).unwrap_err().detail;
            assert!(refused.starts_with("body: ") && refused.contains(words), "{broken:?}: {refused}");
        }
    }

    #[test]
    fn of_what_is_there_twice_the_last_one_counts() {
        let mut read = fields(r#"{"a":1,"b":2,"a":3,"b":null}"#);
        assert_eq!((read.number("a").unwrap(), read.number("b").unwrap()), (Some(3), None));
        assert!(read.finish().is_ok());
    }

    #[test]
    fn an_odd_reset_time_is_kept_and_refuses_nothing() {
        let at = Reset::At(Time::from_millis(1_795_226_400_000));
        let mut read = fields(
            r#"{"a":"2026-11-21T02:00:00Z","b":1795226400,"c":1795226400000,"d":"1795226400","e":"3 pm","f":{}}"#,
        );
        for name in ["b", "c", "d"] {
            assert_eq!(read.reset(name, Time::ZERO), at, "{name}");
        }
        assert_eq!(read.reset("a", Time::ZERO), Reset::At(time::parse("2026-11-21T02:00:00Z").unwrap()));
        assert_eq!(read.reset("e", Time::ZERO), Reset::Unusable("3 pm".to_owned()));
        assert_eq!(read.reset("f", Time::ZERO), Reset::Unusable("{}".to_owned()));
        assert_eq!(read.reset("g", Time::ZERO), Reset::Absent);
        assert_eq!(fields(r#"{"a":"+1s"}"#).reset("a", Time::ZERO), Reset::At(Time::from_millis(1_000)));
    }

    #[test]
    fn names_are_bounded() {
        let long = format!(r#"{{"org":"{}","env":"","key":"a\u0007"}}"#, "x".repeat(NAME_BYTES_MAX + 1));
        let mut read = fields(&long);
        for name in ["org", "env", "key"] {
            assert!(read.name(name).is_err(), "{name}");
        }
        assert_eq!(&*read.scope("org").unwrap(), "default");
    }
}
