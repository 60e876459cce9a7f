//! Lays defaults, file, environment and flags over each other, and remembers where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::keys::{self, BUILT_IN_RUNTIMES, KEYS};
use super::value::{self, Value};

/// What configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The file, if one was named or `./dwell.toml` is there.
    pub file: Option<PathBuf>,
    /// The environment; only `DWELL_*` is looked at.
    pub env: Vec<(String, String)>,
    /// Flags as (flag, path, text).
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a file; 0 is the whole file.
    File(PathBuf, usize),
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, 0) => path.display().fmt(f),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Env(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong, with where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `dwell.toml:12`, a variable or a flag.
    pub at: Origin,
    /// What is there and what is accepted.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// A value and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Checked by its key's kind.
    pub value: Value,
    /// The layer that won.
    pub origin: Origin,
}

/// Every effective value by its full path, and all that is wrong.
#[derive(Debug, Default)]
pub struct Settings {
    /// By full path: `runtimes.claude.argv`.
    pub values: BTreeMap<String, Setting>,
    /// In the order found.
    pub problems: Vec<Problem>,
}

impl Settings {
    /// Reads all layers; problems are collected, never the end of it.
    pub fn read(layers: &Layers) -> Settings {
        let mut settings = Settings::default();
        for key in KEYS.iter().filter(|key| !key.path.contains('*')) {
            settings.text(key.path, key.default, Origin::Default);
        }
        for (name, differences) in BUILT_IN_RUNTIMES {
            settings.fill("runtimes", name);
            for (key, text) in *differences {
                settings.text(&format!("runtimes.{name}.{key}"), text, Origin::Default);
            }
        }
        if let Some(file) = &layers.file {
            match std::fs::read_to_string(file) {
                Ok(text) => settings.file(file, &text),
                Err(error) => settings.problem(Origin::File(file.clone(), 0), error.to_string()),
            }
        }
        settings.environment(&layers.env);
        for (flag, path, text) in &layers.flags {
            settings.text(path, text, Origin::Flag(flag));
        }
        settings
    }

    /// The names under `section` (`runtimes`, `sources`, `orgs`), in order.
    pub fn names(&self, section: &str) -> Vec<&str> {
        let prefix = format!("{section}.");
        let mut names: Vec<&str> = (self.values.keys())
            .filter_map(|path| path.strip_prefix(&prefix)?.split_once('.'))
            .map(|(name, _)| name)
            .collect();
        names.dedup();
        names
    }

    /// Records that something is wrong.
    pub fn problem(&mut self, at: Origin, message: String) {
        self.problems.push(Problem { at, message });
    }

    fn environment(&mut self, env: &[(String, String)]) {
        for (name, text) in env {
            let known = KEYS.iter().find(|key| keys::env_name(key).as_deref() == Some(name));
            if let Some(key) = known {
                self.text(key.path, text, Origin::Env(name.clone()));
                continue;
            }
            // Other DWELL_* variables belong to clients and attempts; only those named like a section are slips.
            let Some((section, rest)) = name.strip_prefix("DWELL_").and_then(|rest| rest.split_once('_'))
            else {
                continue;
            };
            if keys::is_section(&section.to_lowercase()) {
                let path = format!("{section}.{rest}").to_lowercase();
                self.problem(Origin::Env(name.clone()), unknown(&path));
            }
        }
    }

    fn file(&mut self, file: &Path, text: &str) {
        // What stands after a slip of syntax is guesswork, so then only the first slip is told.
        match DeTable::parse(text) {
            Ok(table) => self.table(file, text, "", table.get_ref()),
            Err(error) => {
                let line = error.span().map_or(0, |span| line_of(text, span.start));
                self.problem(Origin::File(file.to_owned(), line), error.message().to_owned());
            }
        }
    }

    fn table(&mut self, file: &Path, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let origin = Origin::File(file.to_owned(), line_of(text, name.span().start));
            if name.get_ref().contains('.') || name.get_ref().is_empty() {
                self.problem(
                    origin,
                    format!("{:?} is not a name: expected one without dots", name.get_ref()),
                );
                continue;
            }
            let path = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            match (keys::find(&path), value.get_ref()) {
                (Some(key), value) => match value::from_toml(key.kind, value) {
                    Ok(value) => self.set(&path, value, origin),
                    Err(message) => self.problem(origin, format!("{path}: {message}")),
                },
                (None, DeValue::Table(below)) if keys::is_section(&path) => {
                    if let Some((section, name)) = path.split_once('.')
                        && !name.contains('.')
                    {
                        self.fill(section, name);
                    }
                    self.table(file, text, &path, below);
                }
                (None, other) if keys::is_section(&path) => {
                    self.problem(origin, format!("{path} is {}: expected a table", other.type_str()));
                }
                (None, _) => self.problem(origin, unknown(&path)),
            }
        }
    }

    /// Defaults of a name under `runtimes`, `sources` or `orgs` that was not there.
    fn fill(&mut self, section: &str, name: &str) {
        let prefix = format!("{section}.*.");
        for key in KEYS {
            let Some(last) = key.path.strip_prefix(&prefix) else { continue };
            let path = format!("{section}.{name}.{last}");
            if !self.values.contains_key(&path) {
                self.text(&path, key.default, Origin::Default);
            }
        }
    }

    fn text(&mut self, path: &str, text: &str, origin: Origin) {
        match keys::find(path).map(|key| value::from_text(key.kind, text)) {
            Some(Ok(value)) => self.set(path, value, origin),
            Some(Err(message)) => self.problem(origin, format!("{path}: {message}")),
            None => self.problem(origin, unknown(path)),
        }
    }

    fn set(&mut self, path: &str, value: Value, origin: Origin) {
        self.values.insert(path.to_owned(), Setting { value, origin });
    }
}

fn unknown(path: &str) -> String {
    match keys::nearest(path) {
        Some(nearest) => format!("unknown key {path}; did you mean {nearest}"),
        None => format!("unknown key {path}; schema/examples/dwell.toml shows every key"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
