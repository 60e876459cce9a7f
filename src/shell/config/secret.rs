//! Where a secret is. The text of one is never part of a configuration that is shown.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A reference to a secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRef {
    /// The content of a file, without the line end after it.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// The text itself; warned about at start, because configuration files are copied around.
    Plain(String),
}

impl SecretRef {
    /// The secret itself; `Err` names the reference and what is the matter with it.
    pub fn resolve(&self) -> Result<String, String> {
        let text = match self {
            SecretRef::File(path) => {
                std::fs::read_to_string(path).map_err(|error| format!("{self}: {error}"))?
            }
            SecretRef::Env(name) => {
                std::env::var(name).map_err(|_| format!("{self}: the variable is not set"))?
            }
            SecretRef::Plain(text) => text.clone(),
        };
        let text = text.trim_end_matches(['\r', '\n']);
        // An empty key would accept what anybody signs with an empty key.
        if text.is_empty() { Err(format!("{self}: it is empty")) } else { Ok(text.to_owned()) }
    }
}

impl FromStr for SecretRef {
    type Err = String;
    fn from_str(text: &str) -> Result<SecretRef, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(PathBuf::from(path))),
            Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env(name.to_owned())),
            Some(("plain", secret)) if !secret.is_empty() => Ok(SecretRef::Plain(secret.to_owned())),
            // Not quoted: it may be a secret that lacks only its prefix.
            Some(_) | None => {
                Err("a secret here has no scheme: expected file:PATH, env:NAME or plain:TEXT".to_owned())
            }
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::Plain(_) => f.write_str("plain:***"),
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
