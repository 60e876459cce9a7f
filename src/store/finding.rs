//! What is wrong with a store, as values for who asked. Absent on purpose: looking for it (`local::check` reads files,
//! the engine reads what they mean).

use std::fmt;
use std::path::PathBuf;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the store is whole.
    Note,
    /// What must always be true is not.
    Broken,
    /// Bytes are not as they were written.
    Damage,
}

impl Severity {
    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Broken => "broken",
            Severity::Damage => "damage",
        }
    }
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file or directory, and at which byte.
    File(PathBuf, Option<u64>),
    /// In a row: its kind and whose it is, in words.
    Row(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path, Some(offset)) => write!(f, "{} at byte {offset}", path.display()),
            Place::File(path, None) => write!(f, "{}", path.display()),
            Place::Row(row) => f.write_str(row),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// What, in words.
    pub what: String,
    /// What can be done about it; empty if nothing has to be.
    pub remedy: String,
}

/// All that is wrong: the first so many, and how many in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    kept: Vec<Finding>,
    notes: u64,
    faults: u64,
}

impl Findings {
    /// What is kept of them; a store may be wrong in every row.
    pub const KEPT_MAX: usize = 1000;

    /// Takes one in.
    pub fn add(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Note => self.notes += 1,
            Severity::Broken | Severity::Damage => self.faults += 1,
        }
        if self.kept.len() < Findings::KEPT_MAX {
            self.kept.push(finding);
        }
    }

    /// The first of them, in the order they were found.
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// How many there are, kept or not.
    pub const fn count(&self) -> u64 {
        self.notes + self.faults
    }

    /// How many are more than a note.
    pub const fn faults(&self) -> u64 {
        self.faults
    }
}

/// One row to change, so that rows agree again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// The row.
    pub key: Vec<u8>,
    /// What it held; `None`: it was not there.
    pub old: Option<Vec<u8>>,
    /// What it is to hold; `None`: it goes.
    pub new: Option<Vec<u8>>,
    /// What that does, in words.
    pub what: String,
}
