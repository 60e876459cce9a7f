//! Any delivery, for each kind of source: refused unless it is signed, and once it is signed only for what it says.
//!
//! The input is header lines, an empty line, and the body. Fuzzers do not guess signatures, so each delivery is read
//! as it is and once more with the right proof.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dwell::model::Time;
use dwell::shell::hook::{Hook, HookKind, HookRefusal, Secret, read};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

const SECRET: &str = "7e1a7f1b-dwell";
/// The same secret as a standard webhook writes it.
const STANDARD: &str = "whsec_N2UxYTdmMWItZHdlbGw=";
const NOW: u64 = 1_790_000_000;

pub fn check(bytes: &[u8]) {
    let (head, body) = split(bytes);
    let head = String::from_utf8_lossy(head);
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let headers: Vec<(String, &str)> =
        lines.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim())).collect();
    for kind in [HookKind::Github, HookKind::Forgejo, HookKind::Gitlab, HookKind::Standard] {
        let unsigned = answer(kind, &headers, &[], body);
        assert!(unsigned.is_err(), "{kind} took {unsigned:?} unsigned");
        let proof = proof(kind, &headers, body);
        match answer(kind, &headers, &proof, body) {
            Ok(hook) => is_in_order(&hook),
            Err(HookRefusal::Malformed(what)) => assert!(!what.is_empty()),
            // A form without its payload holds nothing that could be proven.
            Err(HookRefusal::Signature(what)) if what == "no payload in the form" => {}
            Err(HookRefusal::Signature(what)) => panic!("{kind} refused a good signature: {what}"),
        }
    }
}

fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 2..).unwrap_or_default())
}

fn answer(
    kind: HookKind,
    headers: &[(String, &str)],
    proof: &[(&str, String)],
    body: &[u8],
) -> Result<Hook, HookRefusal> {
    let secret = Secret::new(if kind == HookKind::Standard { STANDARD } else { SECRET });
    let header = |name: &str| {
        let given = || headers.iter().find(|(found, _)| found == name).map(|(_, value)| (*value).to_owned());
        proof.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone()).or_else(given)
    };
    read(kind, &[secret], &header, body, Time::from_millis(NOW * 1000))
}

/// The headers that prove `body`.
fn proof(kind: HookKind, headers: &[(String, &str)], body: &[u8]) -> Vec<(&'static str, String)> {
    match kind {
        HookKind::Github => vec![("x-hub-signature-256", format!("sha256={}", hex(&tag(&[body]))))],
        // It signs the JSON inside a form.
        HookKind::Forgejo => {
            let inside = form_urlencoded::parse(body).find(|(name, _)| name == "payload");
            let signed = match inside.filter(|_| is_form(headers)) {
                Some((_, json)) => tag(&[json.as_bytes()]),
                None => tag(&[body]),
            };
            vec![("x-forgejo-signature", hex(&signed))]
        }
        HookKind::Gitlab => vec![("x-gitlab-token", SECRET.to_owned())],
        HookKind::Standard => {
            let signed = tag(&[b"msg_1.", NOW.to_string().as_bytes(), b".", body]);
            vec![
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", NOW.to_string()),
                ("webhook-signature", format!("v1,{}", BASE64.encode(signed))),
            ]
        }
    }
}

fn is_form(headers: &[(String, &str)]) -> bool {
    let found = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| *value);
    let media = found.and_then(|value| value.split(';').next()).unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn tag(parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_in_order(hook: &Hook) {
    for name in [Some(&hook.event), hook.action.as_ref(), hook.dedup.as_ref()].into_iter().flatten() {
        assert!((1..=256).contains(&name.len()) && !name.contains(char::is_control), "{name:?}");
    }
    serde_json::from_slice::<Value>(&hook.payload).unwrap();
}
