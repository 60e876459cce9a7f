//! Exit codes, and the failure that carries one up to `main`.

use std::fmt;
use std::process::ExitCode;

use crate::shell::config::ConfigError;
use crate::shell::flows::Broken;

/// It failed.
pub const FAILED: u8 = 1;
/// It was asked the wrong way.
pub const USAGE: u8 = 2;
/// There is no such thing.
pub const NOT_FOUND: u8 = 3;
/// The record's state refuses it.
pub const REFUSED: u8 = 4;
/// No server answers (sysexits EX_UNAVAILABLE).
pub const UNREACHABLE: u8 = 69;
/// Budget exhausted or rate limited (sysexits EX_TEMPFAIL).
pub const TRY_LATER: u8 = 75;
/// Bad configuration (sysexits EX_CONFIG).
pub const CONFIG: u8 = 78;

/// A failure with its exit code; the message goes to stderr as it is.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub exit: u8,
    /// One line, or several.
    pub message: String,
}

impl Failure {
    /// An ordinary one.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { exit: FAILED, message: message.into() }
    }

    /// One that a server told of, by the status of its answer.
    pub fn of_status(status: u16, message: String) -> Failure {
        let exit = match status {
            400 | 413 | 422 => USAGE,
            404 => NOT_FOUND,
            409 => REFUSED,
            429 => TRY_LATER,
            421 | 502..=504 => UNREACHABLE,
            _ => FAILED,
        };
        Failure { exit, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The exit code of whatever came up to `main`.
pub fn code(error: &anyhow::Error) -> ExitCode {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        ExitCode::from(failure.exit)
    } else if error.downcast_ref::<ConfigError>().is_some() || error.downcast_ref::<Broken>().is_some() {
        ExitCode::from(CONFIG)
    } else {
        ExitCode::from(FAILED)
    }
}
