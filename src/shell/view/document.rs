//! JSON as the text that leaves: written once, member by member, with no tree of it in between.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;
use serde_json::{Map, Value as Json};

/// JSON that is written already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(Vec<u8>);

impl Document {
    /// As a tree, for who looks something up in it.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.0).unwrap_or_default()
    }

    /// How long the text is.
    pub const fn size(&self) -> usize {
        self.0.len()
    }

    /// The text.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl From<Json> for Document {
    fn from(json: Json) -> Document {
        let mut text = Vec::new();
        json.write(&mut text);
        Document(text)
    }
}

/// What a member of an object may be.
pub trait Member {
    /// Appends it, as JSON.
    fn write(self, text: &mut Vec<u8>);
}

/// What says itself how it is written.
macro_rules! plain {
    ($($kind:ty),*) => {$(
        impl Member for $kind {
            fn write(self, text: &mut Vec<u8>) {
                let written = self.serialize(&mut serde_json::Serializer::new(text));
                debug_assert!(written.is_ok(), "text and numbers go into memory");
            }
        }
    )*};
}

plain!(bool, u32, u64, usize, Vec<String>, Json, Map<String, Json>);

impl Member for &str {
    fn write(self, text: &mut Vec<u8>) {
        if is_escaped(self.as_bytes()) {
            let written = self.serialize(&mut serde_json::Serializer::new(text));
            debug_assert!(written.is_ok(), "text goes into memory");
        } else {
            // Most text stands in JSON as it is.
            quoted(self, text);
        }
    }
}

impl Member for String {
    fn write(self, text: &mut Vec<u8>) {
        self.as_str().write(text);
    }
}

/// A name or a moment: shown as text in which nothing is to be escaped.
pub struct Plain<T>(pub T);

impl<T: fmt::Display> Member for Plain<T> {
    fn write(self, text: &mut Vec<u8>) {
        text.push(b'"');
        let from = text.len();
        let written = write!(text, "{}", self.0);
        debug_assert!(written.is_ok() && !text.get(from..).is_some_and(is_escaped), "{}", self.0);
        text.push(b'"');
    }
}

/// Whether JSON writes some of it in another way.
fn is_escaped(text: &[u8]) -> bool {
    // To its end, for then many bytes are compared at a time.
    text.iter().fold(false, |found, byte| found | matches!(byte, 0..b' ' | b'"' | b'\\'))
}

fn quoted(plain: &str, text: &mut Vec<u8>) {
    text.reserve(plain.len() + 2);
    text.push(b'"');
    text.extend_from_slice(plain.as_bytes());
    text.push(b'"');
}

impl Member for Document {
    fn write(self, text: &mut Vec<u8>) {
        text.extend_from_slice(&self.0);
    }
}

impl<M: Member> Member for Option<M> {
    fn write(self, text: &mut Vec<u8>) {
        match self {
            Some(member) => member.write(text),
            None => text.extend_from_slice(b"null"),
        }
    }
}

impl Member for Vec<Document> {
    fn write(self, text: &mut Vec<u8>) {
        text.reserve(2 + self.iter().map(|item| item.size() + 1).sum::<usize>());
        text.push(b'[');
        for (at, item) in self.into_iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            item.write(text);
        }
        text.push(b']');
    }
}

/// An object whose absent members are left out.
pub struct Object {
    /// What stands there so far, its end not.
    text: Vec<u8>,
}

impl Default for Object {
    fn default() -> Object {
        Object::roomy(128)
    }
}

impl Object {
    /// With room for so many bytes, so that its text moves seldom.
    pub fn roomy(bytes: usize) -> Object {
        let mut text = Vec::with_capacity(bytes);
        text.push(b'{');
        Object { text }
    }

    /// With a member, whose name needs no escaping; each name once.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Member) -> Object {
        self.separate();
        quoted(name, &mut self.text);
        self.text.push(b':');
        value.write(&mut self.text);
        self
    }

    /// With a member that somebody else named.
    #[must_use]
    pub fn with_named(mut self, name: &str, value: impl Member) -> Object {
        self.separate();
        name.write(&mut self.text);
        self.text.push(b':');
        value.write(&mut self.text);
        self
    }

    fn separate(&mut self) {
        if !self.is_empty() {
            self.text.push(b',');
        }
    }

    /// With a member, if there is one.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<impl Member>) -> Object {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With the members of another.
    #[must_use]
    pub fn and(mut self, other: &Object) -> Object {
        if !self.is_empty() && !other.is_empty() {
            self.text.push(b',');
        }
        self.text.extend(other.text.iter().skip(1));
        self
    }

    /// Whether it has no members.
    pub const fn is_empty(&self) -> bool {
        self.text.len() == 1
    }

    /// The whole.
    pub fn done(mut self) -> Document {
        self.text.push(b'}');
        Document(self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_written_as_it_is_told() {
        let inner = Object::default().with("quoted", "a \"b\"\n").maybe("absent", None::<u32>).done();
        let more = Object::default()
            .with_named("n\"m", Plain(1))
            .with("none", None::<u32>)
            .with("list", vec!["x".to_owned()]);
        let several = vec![inner.clone(), Document::from(json!([1])), Object::default().done()];
        let whole = Object::default().with("n", 1_u32).with("in", inner).with("all", several);
        let whole = whole.and(&more).and(&Object::default()).done();
        let expected = r#"{"n":1,"in":{"quoted":"a \"b\"\n"},"all":[{"quoted":"a \"b\"\n"},[1],{}],"n\"m":"1","none":null,"list":["x"]}"#;
        assert_eq!(whole.to_string(), expected);
        assert_eq!(
            Object::default().and(&more).done().to_string(),
            r#"{"n\"m":"1","none":null,"list":["x"]}"#
        );
        assert_eq!(
            Object::default().with("none", Vec::<Document>::new()).done().to_string(),
            r#"{"none":[]}"#
        );
        assert_eq!(String::from_utf8(whole.into_bytes()).unwrap(), expected);
    }
}
