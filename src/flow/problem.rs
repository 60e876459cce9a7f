//! What is wrong with a flow file, and where.

use std::fmt;

/// A place in a file; both numbers start at 1, columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Position {
    /// The start of a file: where everything is wrong that has no place of its own.
    pub(super) const START: Position = Position { line: 1, column: 1 };
}

/// One thing that is wrong with a flow file: `flows/a.yaml:7:3: unknown key "budgets": expected one of ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named to the parser.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
    /// What is there and what is accepted.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for Problem {}

/// More of one file than this are not told: nobody reads on.
const PROBLEMS_MAX: usize = 100;

/// The problems of one file as they are found.
pub(super) struct Problems<'a> {
    file: &'a str,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) const fn of(file: &'a str) -> Self {
        Problems { file, found: Vec::new() }
    }

    pub(super) fn add(&mut self, at: Position, message: impl Into<String>) {
        if self.found.len() < PROBLEMS_MAX {
            let Position { line, column } = at;
            self.found.push(Problem { file: self.file.to_owned(), line, column, message: message.into() });
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        self.found
    }
}
