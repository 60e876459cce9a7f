//! A scripted agent that speaks Claude Code's stream: it starts a session and runs into its provider's limit; resumed,
//! it finishes. For the demo, and for trying dwell out without an account.
//!
//! The lines have the real tool's shape (`--output-format stream-json --verbose`): `system/init`, `assistant`,
//! `rate_limit_event`, `result`. What it was started with is told in the result, so that a reader can check it.

use anyhow::{Context as _, bail};
use serde_json::{Value as Json, json};

use super::cli::out;
use super::clock::Clock;

/// How far ahead the reset is, as a humantime span; `soon`, an epoch number or nothing at all is passed on as it is.
pub const RESET_VAR: &str = "DWELL_DEMO_RESET";

/// Plays one turn for an argv like the real tool's.
pub fn run(argv: &[String]) -> anyhow::Result<()> {
    let after = |flag: &str| {
        let at = argv.iter().position(|word| word == flag)?;
        argv.get(at + 1).map(String::as_str)
    };
    let prompt = after("-p").context("-p and a prompt are expected")?;
    match (after("--session-id"), after("--resume")) {
        (Some(session), None) => limited(session, prompt),
        (None, Some(session)) => resumed(session, prompt),
        (_, _) => bail!("either --session-id or --resume is expected"),
    }
}

fn limited(session: &str, prompt: &str) -> anyhow::Result<()> {
    say(&init(session))?;
    say(&assistant(session, &format!("Working on it: {prompt}")))?;
    let mut limit = json!({
        "status": "rejected", "rateLimitType": "five_hour", "overageStatus": "rejected", "isUsingOverage": false,
    });
    if let Some(members) = limit.as_object_mut()
        && let Some(reset) = reset()?
    {
        members.insert("resetsAt".to_owned(), reset);
    }
    say(&json!({"type": "rate_limit_event", "rate_limit_info": limit, "session_id": session}))?;
    say(&json!({
        "type": "result", "subtype": "success", "is_error": true, "api_error_status": 429, "session_id": session,
        "num_turns": 1, "result": "You've hit your session limit",
    }))
}

fn resumed(session: &str, prompt: &str) -> anyhow::Result<()> {
    say(&init(session))?;
    let limit = json!({"status": "allowed", "overageStatus": "rejected", "isUsingOverage": false});
    say(&json!({"type": "rate_limit_event", "rate_limit_info": limit, "session_id": session}))?;
    say(&assistant(session, "Continuing where I left off."))?;
    let result = format!("done: resumed {session} with {prompt:?}");
    say(&json!({
        "type": "result", "subtype": "success", "is_error": false, "session_id": session, "num_turns": 1,
        "result": result,
    }))
}

/// The time a limited turn names.
fn reset() -> anyhow::Result<Option<Json>> {
    let Ok(text) = std::env::var(RESET_VAR) else { return Ok(None) };
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Some(json!(number)));
    }
    if text == "soon" {
        return Ok(Some(json!(text)));
    }
    let ahead = super::time::parse_span(&text).with_context(|| RESET_VAR)?;
    // The provider speaks in whole seconds.
    Ok(Some(json!(Clock::System.now().after(ahead).millis().div_ceil(1000))))
}

fn init(session: &str) -> Json {
    json!({"type": "system", "subtype": "init", "session_id": session, "model": "scripted", "tools": []})
}

fn assistant(session: &str, text: &str) -> Json {
    let message = json!({"role": "assistant", "content": [{"type": "text", "text": text}]});
    json!({"type": "assistant", "session_id": session, "message": message})
}

fn say(line: &Json) -> anyhow::Result<()> {
    Ok(out::line(&line.to_string())?)
}
