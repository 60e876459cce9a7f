//! Webhook proofs.

use crate::model::Time;

/// Whose webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// GitHub.
    Github,
}

impl std::str::FromStr for HookKind {
    type Err = String;
    fn from_str(_text: &str) -> Result<HookKind, String> {
        Ok(HookKind::Github)
    }
}

/// A secret.
#[derive(Clone)]
pub struct Secret(pub String);

/// A webhook that proved itself.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its event.
    pub event: String,
    /// Its action.
    pub action: Option<String>,
    /// Its delivery id.
    pub dedup: Option<String>,
    /// Its JSON.
    pub payload: Vec<u8>,
}

/// Why it is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HookRefusal {
    /// No secret signed it.
    #[error("no configured secret signed it")]
    Signature,
    /// It is not what its kind sends.
    #[error("it is not JSON")]
    Malformed,
}

/// Reads one.
pub fn read(
    _kind: HookKind,
    secrets: &[Secret],
    headers: &dyn Fn(&str) -> Option<String>,
    body: &[u8],
    _now: Time,
) -> Result<Hook, HookRefusal> {
    if !secrets.iter().any(|secret| headers("x-hub-signature-256").as_ref() == Some(&secret.0)) {
        return Err(HookRefusal::Signature);
    }
    let event = headers("x-github-event").ok_or(HookRefusal::Malformed)?;
    Ok(Hook { event, action: None, dedup: headers("x-github-delivery"), payload: body.to_vec() })
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}
