//! Templates: text with `${path}` in it. `$${` is a literal `${`; any other `$` is itself.
//!
//! A filled template is one whole argument or one whole JSON string. Absent on purpose: shell text, defaults,
//! filters, and empty strings in place of what is missing.

use serde_json::Value;

use super::path::Path;

/// The longest filled template, in bytes: Linux takes at most 128 KiB with the final NUL as one argument
/// (`MAX_ARG_STRLEN`, execve(2)).
pub const FILLED_BYTES_MAX: usize = 128 * 1024 - 1;

/// What paths are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Scope<'v> {
    pub(super) payload: &'v Value,
    /// One value of `for_each`; it hides a field `item` of the payload.
    pub(super) item: Option<&'v Value>,
}

/// A template, compiled once.
#[derive(Clone, Debug)]
pub(super) struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Field {
        path: Path,
        /// The path below `item`, where it begins with that.
        item: Option<Path>,
    },
}

impl Template {
    /// `Err` says what is not a template about it.
    pub(super) fn compile(source: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix("${") {
                literal.push_str("${");
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let (text, after) = after
                    .split_once('}')
                    .ok_or("a ${ without its }: expected ${path}, or $${ for the text ${")?;
                let path: Path = text.parse()?;
                if path.is_many() {
                    return Err(format!("${{{path}}} may be many values: expected one, without [*]"));
                }
                parts.push(Part::Literal(std::mem::take(&mut literal)));
                let item = path.below("item");
                parts.push(Part::Field { path, item });
                rest = after;
            } else {
                literal.push('$');
                rest = after;
            }
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        Ok(Template { source: source.to_owned(), parts })
    }

    /// The text as it stands in the file.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether filling it changes anything.
    pub(super) fn has_fields(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field { .. }))
    }

    /// What it is filled to whatever the payload; `None` if that depends on it.
    pub(super) fn literal(&self) -> Option<String> {
        let nothing = Scope { payload: &Value::Null, item: None };
        if self.has_fields() { None } else { self.fill(nothing).ok() }
    }

    /// `Err` names the expression and what is the matter with it.
    pub(super) fn fill(&self, scope: Scope) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Field { path, item } => {
                    let value = match (item, scope.item) {
                        (Some(below), Some(item)) => below.one(item),
                        (None, _) | (_, None) => path.one(scope.payload),
                    };
                    text.push_str(&as_text(value).map_err(|what| format!("${{{path}}} {what}"))?);
                }
            }
            if text.len() > FILLED_BYTES_MAX {
                return Err(format!("{:?} becomes longer than {FILLED_BYTES_MAX} bytes", self.source));
            }
        }
        // No argument and no path can hold one.
        if text.contains('\0') {
            return Err(format!("{:?} becomes text with a NUL character in it", self.source));
        }
        Ok(text)
    }
}

fn as_text(value: Option<&Value>) -> Result<String, &'static str> {
    match value {
        None => Err("is missing in the payload"),
        Some(Value::Null) => Err("is null in the payload"),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => {
            Ok(value.to_string())
        }
    }
}
