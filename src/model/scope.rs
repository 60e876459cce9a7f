//! Scopes: the parts of all work that an operator can drain, and their text form.

use std::fmt;
use std::str::FromStr;

use super::{Name, Time};

/// A part of all work. Its text is `all`, `runtime:NAME`, `flow:NAME` or `org:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everything.
    All,
    /// What runs on one provider account.
    Runtime(Name),
    /// The runs of one flow.
    Flow(Name),
    /// What belongs to one tenant.
    Org(Name),
}

impl Scope {
    /// Whether a record of these is in it.
    pub fn covers(&self, org: &Name, flow: Option<&Name>, runtime: &Name) -> bool {
        match self {
            Scope::All => true,
            Scope::Runtime(name) => name == runtime,
            Scope::Flow(name) => Some(name) == flow,
            Scope::Org(name) => name == org,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => f.pad("all"),
            Scope::Runtime(name) => write!(f, "runtime:{name}"),
            Scope::Flow(name) => write!(f, "flow:{name}"),
            Scope::Org(name) => write!(f, "org:{name}"),
        }
    }
}

/// The text is not a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeError(String);

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a scope: expected all, runtime:NAME, flow:NAME or org:NAME", self.0)
    }
}

impl std::error::Error for ScopeError {}

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let named = |(kind, name): (&str, &str)| match (kind, name) {
            (_, "") => None,
            ("runtime", name) => Some(Scope::Runtime(name.into())),
            ("flow", name) => Some(Scope::Flow(name.into())),
            ("org", name) => Some(Scope::Org(name.into())),
            (_, _) => None,
        };
        match text {
            "all" => Ok(Scope::All),
            _ => text.split_once(':').and_then(named).ok_or_else(|| ScopeError(text.to_owned())),
        }
    }
}

/// A scope that is drained: nothing of it starts until it is undrained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// What is held.
    pub scope: Scope,
    /// Since when.
    pub since: Time,
    /// Until when what was outstanding then may finish.
    pub until: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_back_and_anything_else_is_refused() {
        for text in ["all", "runtime:claude", "flow:a:b", "org:acme"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in ["", "All", "runtime", "runtime:", "env:prod", ":x"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }
}
