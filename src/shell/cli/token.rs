//! `dwell token`: the token file, which needs no server.

use serde_json::json;

use super::args::{Place, TokenCommand};
use super::exit::{FAILED, Failure, NOT_FOUND, USAGE};
use super::out;
use crate::model::Time;
use crate::shell::clock::Clock;
use crate::shell::keyring::{Entry, Right, TokenFile, TokenFileError};
use crate::shell::time;

/// Changes or shows the tokens of this place's server.
pub fn token(place: &Place, command: &TokenCommand) -> anyhow::Result<()> {
    let file = super::load(place, Vec::new())?.tokens();
    let now = Clock::System.now();
    Ok(match command {
        TokenCommand::Add { scope, name, expires } => {
            add(&file, scope, name.as_deref(), expires.as_deref(), now)
        }
        TokenCommand::Ls { json } => ls(&file, *json, now),
        TokenCommand::Revoke { name } => revoke(&file, name),
    }?)
}

fn add(
    file: &TokenFile,
    scope: &str,
    name: Option<&str>,
    expires: Option<&str>,
    now: Time,
) -> Result<(), Failure> {
    let usage = |message: String| Failure { exit: USAGE, message };
    let right = Right::ALL.into_iter().find(|right| right.as_str() == scope);
    let right = right.ok_or_else(|| usage(format!("scope: {scope:?}: expected read, operate or admin")))?;
    let expires = match expires {
        None => None,
        Some(text) => {
            let span = time::parse_span(text).map_err(|error| usage(format!("expires: {error}")))?;
            Some(now.after(span))
        }
    };
    let (entry, token) = file.add(name, right, expires).map_err(|error| failure(&error))?;
    out::line(&token)?;
    let until = entry.expires.map(|until| format!(" until {}", time::format(until))).unwrap_or_default();
    out::note(&format!("token {}, scope {}{until}; it is shown only this once", entry.name, right.as_str()));
    Ok(())
}

fn ls(file: &TokenFile, as_json: bool, now: Time) -> Result<(), Failure> {
    let entries = match file.read() {
        Err(TokenFileError::Missing { .. }) => Vec::new(),
        read => read.map_err(|error| failure(&error))?,
    };
    if as_json {
        let item = |entry: &Entry| json!({ "name": entry.name, "scope": entry.right.as_str(), "expires": entry.expires.map(time::format) });
        return out::json(&json!({ "items": entries.iter().map(item).collect::<Vec<_>>() }));
    }
    let expires = |at: Option<Time>| match at {
        None => "never".to_owned(),
        Some(at) if at <= now => format!("{}, over", time::format(at)),
        Some(at) => time::format(at),
    };
    let row =
        |entry: &Entry| vec![entry.name.clone(), entry.right.as_str().to_owned(), expires(entry.expires)];
    out::table(&["NAME", "SCOPE", "EXPIRES"], &entries.iter().map(row).collect::<Vec<_>>())
}

fn revoke(file: &TokenFile, name: &str) -> Result<(), Failure> {
    let left = file.revoke(name).map_err(|error| failure(&error))?;
    out::line(&format!("token {name} is revoked"))?;
    if left == 0 {
        let path = file.path().display();
        out::note(&format!(
            "no token is left, so the server lets nobody in until one is added; remove {path} and start it anew to ask for none"
        ));
    }
    Ok(())
}

fn failure(error: &TokenFileError) -> Failure {
    let exit = match error {
        TokenFileError::Unknown { .. } => NOT_FOUND,
        TokenFileError::Name { .. } | TokenFileError::Taken { .. } => USAGE,
        TokenFileError::Missing { .. }
        | TokenFileError::Exposed { .. }
        | TokenFileError::Line { .. }
        | TokenFileError::Full
        | TokenFileError::Io { .. } => FAILED,
    };
    Failure { exit, message: error.to_string() }
}
