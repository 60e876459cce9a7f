//! Dotted paths into a JSON value: `a.b[0].c`, and `a[*].c` for every element.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A path, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    At(usize),
    Each,
}

impl Path {
    /// Whether it may select more than one value.
    pub(super) fn is_many(&self) -> bool {
        self.0.contains(&Step::Each)
    }

    /// Every value it leads to; none where something on the way is missing.
    pub(super) fn select<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut selected = vec![root];
        for step in &self.0 {
            selected = match step {
                Step::Field(name) => selected.into_iter().filter_map(|value| value.get(name)).collect(),
                Step::At(index) => selected.into_iter().filter_map(|value| value.get(index)).collect(),
                Step::Each => selected.into_iter().filter_map(Value::as_array).flatten().collect(),
            };
        }
        selected
    }

    /// The one value a path without `[*]` leads to.
    pub(super) fn one<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.select(root).first().copied()
    }

    /// The rest of it, if it begins with the field `name`.
    pub(super) fn below(&self, name: &str) -> Option<Path> {
        match self.0.split_first() {
            Some((Step::Field(first), rest)) if first == name => Some(Path(rest.to_vec())),
            Some(_) | None => None,
        }
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Path, String> {
        let wrong = |what: &str| {
            format!("{text:?} is not a path: {what}, expected fields and elements like a.b[0].c or a[*].c")
        };
        let mut steps = Vec::new();
        for (n, part) in text.split('.').enumerate() {
            let (field, elements) = part.split_at(part.find('[').unwrap_or(part.len()));
            if !field.is_empty() {
                if let Some(c) = field.chars().find(|c| !(c.is_alphanumeric() || "_-@:/".contains(*c))) {
                    return Err(wrong(&format!("a field has {c:?} in it")));
                }
                steps.push(Step::Field(field.to_owned()));
            } else if n > 0 || elements.is_empty() {
                return Err(wrong("a field is empty"));
            }
            let mut rest = elements;
            while !rest.is_empty() {
                let inner = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                let (index, after) = inner.ok_or_else(|| wrong("a [ without its ]"))?;
                steps.push(match index {
                    "*" => Step::Each,
                    number => Step::At(number.parse().map_err(|_| wrong("neither a number nor * in []"))?),
                });
                rest = after;
            }
        }
        Ok(Path(steps))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if n == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::At(index) => write!(f, "[{index}]")?,
                Step::Each => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}
