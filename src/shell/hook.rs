//! Webhooks: who sent it, and what it says. Pure: headers, bytes and `now` in, a [`Hook`] out.
//!
//! A hook is proven on the bytes as they came, before anything in them is believed. Absent on purpose: HTTP, and what
//! becomes of the hook.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::model::Time;

/// How far the sender's clock and ours may be apart: what the reference libraries of Standard Webhooks allow.
const TOLERANCE: Duration = Duration::from_mins(5);

/// The longest event, action and delivery id, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The signatures of one hook that are looked at; a sender that rotates its secret sends two.
const SIGNATURES_MAX: usize = 16;

/// How a source proves itself and names its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// `X-Hub-Signature-256`, also over a form post's raw body.
    Github,
    /// `X-Forgejo-Signature` or `X-Gitea-Signature`; a form post signs the JSON in `payload`.
    Forgejo,
    /// `X-Gitlab-Token` is the secret itself.
    Gitlab,
    /// standardwebhooks.com: `webhook-signature` over id, timestamp and body.
    Standard,
}

impl HookKind {
    /// The name in the configuration and in a flow's `on`.
    pub const fn as_str(self) -> &'static str {
        match self {
            HookKind::Github => "github",
            HookKind::Forgejo => "forgejo",
            HookKind::Gitlab => "gitlab",
            HookKind::Standard => "standard",
        }
    }

    /// Whether `secret` can prove anything; `Err` says why it cannot, without showing it.
    pub fn check(self, secret: &Secret) -> Result<(), String> {
        self.key(secret).map(|_| ())
    }

    /// The bytes to sign with.
    fn key(self, secret: &Secret) -> Result<Vec<u8>, String> {
        let Secret(bytes) = secret;
        let key = match self {
            HookKind::Github | HookKind::Forgejo | HookKind::Gitlab => bytes.clone(),
            HookKind::Standard => {
                let text = bytes.strip_prefix(b"whsec_").unwrap_or(bytes);
                BASE64.decode(text).map_err(|_| "the secret is not whsec_ and base64 after it".to_owned())?
            }
        };
        // Anybody can sign with an empty key.
        if key.is_empty() { Err("the secret is empty".to_owned()) } else { Ok(key) }
    }
}

impl FromStr for HookKind {
    type Err = String;

    fn from_str(text: &str) -> Result<HookKind, String> {
        match text {
            "github" => Ok(HookKind::Github),
            "forgejo" | "gitea" => Ok(HookKind::Forgejo),
            "gitlab" => Ok(HookKind::Gitlab),
            "standard" => Ok(HookKind::Standard),
            _ => Err(format!(
                "unknown kind {text:?}: expected one of github, forgejo (or gitea), gitlab, standard"
            )),
        }
    }
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a source and we share. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// As it stands in the forge's form, `whsec_` included.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A webhook that proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `pull_request`, ...
    pub event: String,
    /// `review_requested`, ...; for Forgejo the finer event type where the payload names no action.
    pub action: Option<String>,
    /// The delivery's id, if it has one.
    pub dedup: Option<String>,
    /// JSON text as it came; a form post's `payload`.
    pub payload: Vec<u8>,
}

/// Why a webhook is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookRefusal {
    /// Nothing proves who sent it: 401.
    #[error("{0}")]
    Signature(String),
    /// It is proven, and not what its kind sends: 400.
    #[error("{0}")]
    Malformed(String),
}

type Headers<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Verifies a webhook and reads it. `headers` answers lower-case names; `body` is the bytes as they came. Any of
/// `secrets` will do.
pub fn read(
    kind: HookKind,
    secrets: &[Secret],
    headers: Headers,
    body: &[u8],
    now: Time,
) -> Result<Hook, HookRefusal> {
    let is_form = headers("content-type").is_some_and(|found| {
        let media = found.split(';').next().unwrap_or_default();
        media.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    let form = is_form.then(|| payload_field(body));
    let payload = || form.clone().unwrap_or_else(|| Ok(body.to_vec()));
    match kind {
        HookKind::Github => {
            let signature = proof(headers, "x-hub-signature-256")?;
            let tag = signature.strip_prefix("sha256=").and_then(unhex).unwrap_or_default();
            signed(kind, secrets, &[body], &[tag])?;
        }
        // Its sources sign the content and only then wrap it into a form (services/webhook/deliver.go).
        HookKind::Forgejo => {
            let signature = proof(headers, "x-forgejo-signature")
                .or_else(|refusal| headers("x-gitea-signature").ok_or(refusal))?;
            let content = payload().map_err(|_| unproven("no payload in the form"))?;
            signed(kind, secrets, &[&content], &[unhex(&signature).unwrap_or_default()])?;
        }
        HookKind::Gitlab => token(secrets, &proof(headers, "x-gitlab-token")?)?,
        HookKind::Standard => standard(secrets, headers, body, now)?,
    }
    let payload = payload()?;
    let json: Value = serde_json::from_slice(&payload)
        .map_err(|error| malformed(format!("the payload is not JSON: {error}")))?;
    let said = said(kind, headers, &json)?;
    Ok(Hook {
        event: bounded("event", said.event)?,
        action: said.action.map(|action| bounded("action", action)).transpose()?,
        dedup: said.dedup.map(|id| bounded("delivery id", id)).transpose()?,
        payload,
    })
}

/// What it says about itself.
struct Said {
    event: String,
    action: Option<String>,
    dedup: Option<String>,
}

fn said(kind: HookKind, headers: Headers, json: &Value) -> Result<Said, HookRefusal> {
    let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let missing = |name: &str| malformed(format!("no {name} header"));
    match kind {
        HookKind::Github => Ok(Said {
            event: headers("x-github-event").ok_or_else(|| missing("x-github-event"))?,
            action: text("/action"),
            dedup: headers("x-github-delivery"),
        }),
        HookKind::Forgejo => {
            let either = |name: &str| {
                headers(&format!("x-forgejo-{name}")).or_else(|| headers(&format!("x-gitea-{name}")))
            };
            let event = either("event").ok_or_else(|| missing("x-forgejo-event"))?;
            let finer = either("event-type").filter(|finer| *finer != event);
            Ok(Said { event, action: text("/action").or(finer), dedup: either("delivery") })
        }
        HookKind::Gitlab => {
            let header = headers("x-gitlab-event").ok_or_else(|| missing("x-gitlab-event"))?;
            Ok(Said {
                // The header says `Merge Request Hook`; system hooks have an event_name and no object_kind.
                event: text("/object_kind").or_else(|| text("/event_name")).unwrap_or(header),
                action: text("/object_attributes/action").or_else(|| text("/action")),
                dedup: headers("idempotency-key").or_else(|| headers("x-gitlab-event-uuid")),
            })
        }
        HookKind::Standard => Ok(Said {
            event: text("/type").ok_or_else(|| malformed("no text \"type\" in the payload"))?,
            action: None,
            dedup: headers("webhook-id"),
        }),
    }
}

/// Whether one of `tags` is the HMAC-SHA256 of `parts` under one of the secrets; compared in constant time.
fn signed(kind: HookKind, secrets: &[Secret], parts: &[&[u8]], tags: &[Vec<u8>]) -> Result<(), HookRefusal> {
    let proven = secrets.iter().filter_map(|secret| hmac(&kind.key(secret).ok()?)).any(|mut mac| {
        for part in parts {
            mac.update(part);
        }
        tags.iter().any(|tag| mac.clone().verify_slice(tag).is_ok())
    });
    if proven { Ok(()) } else { Err(unproven("no configured secret signed it")) }
}

/// Whether `token` is one of the secrets. Both go through HMAC, so that the time tells neither content nor length.
fn token(secrets: &[Secret], token: &str) -> Result<(), HookRefusal> {
    let same = |secret: &Secret| {
        let mac = hmac(&HookKind::Gitlab.key(secret).ok()?)?;
        let expected = mac.clone().chain_update(&secret.0).finalize().into_bytes();
        mac.chain_update(token).verify_slice(&expected).ok()
    };
    if secrets.iter().any(|secret| same(secret).is_some()) {
        return Ok(());
    }
    Err(unproven("x-gitlab-token is none of the configured secrets"))
}

fn standard(secrets: &[Secret], headers: Headers, body: &[u8], now: Time) -> Result<(), HookRefusal> {
    let id = proof(headers, "webhook-id")?;
    let stamp = proof(headers, "webhook-timestamp")?;
    let signatures = proof(headers, "webhook-signature")?;
    // Others than v1 are asymmetric, and stand beside it.
    let tags = signatures.split(' ').take(SIGNATURES_MAX).filter_map(|one| one.strip_prefix("v1,"));
    let tags: Vec<_> = tags.filter_map(|tag| BASE64.decode(tag).ok()).collect();
    let parts = [id.as_bytes(), b".", stamp.as_bytes(), b".", body];
    signed(HookKind::Standard, secrets, &parts, &tags)?;
    let at = stamp.parse::<u64>().map(|seconds| Time::ZERO.after(Duration::from_secs(seconds)));
    let at = at.map_err(|_| malformed("webhook-timestamp is not a number of seconds since 1970"))?;
    let apart = now.until(at).max(at.until(now));
    if apart <= TOLERANCE {
        return Ok(());
    }
    let (apart, most) = (humantime::format_duration(apart), humantime::format_duration(TOLERANCE));
    Err(unproven(format!("webhook-timestamp is {apart} from now: expected at most {most}")))
}

fn hmac(key: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(key).ok()
}

/// A header without which nothing is proven.
fn proof(headers: Headers, name: &str) -> Result<String, HookRefusal> {
    headers(name).ok_or_else(|| unproven(format!("no {name} header")))
}

fn payload_field(body: &[u8]) -> Result<Vec<u8>, HookRefusal> {
    let field = form_urlencoded::parse(body).find(|(name, _)| name == "payload");
    field.map(|(_, value)| value.into_owned().into_bytes()).ok_or_else(|| malformed("no payload in the form"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

fn bounded(what: &str, text: String) -> Result<String, HookRefusal> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
        let expected = format!("expected 1 to {NAME_BYTES_MAX} bytes without control characters");
        return Err(malformed(format!("{what} of {} bytes: {expected}", text.len())));
    }
    Ok(text)
}

fn unproven(what: impl Into<String>) -> HookRefusal {
    HookRefusal::Signature(what.into())
}

fn malformed(what: impl Into<String>) -> HookRefusal {
    HookRefusal::Malformed(what.into())
}

#[cfg(test)]
mod tests;
