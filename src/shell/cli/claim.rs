//! `dwell claim`: attempts of a queue, for a script to carry out.

use serde_json::{Value as Json, json};

use super::args::Claim;
use super::client::Client;
use super::exit::Failure;
use super::look::{shown, text};
use super::out;

/// Prints one line for each attempt: id, attempt, token and payload, the payload in the line's rest.
pub fn claim(client: &Client, args: &Claim) -> Result<(), Failure> {
    let worker = args.worker.clone().unwrap_or_else(|| format!("dwell-claim-{}", std::process::id()));
    let asked = json!({
        "worker": worker, "queue": args.queue, "max": args.max, "wait": args.wait, "lease": args.lease,
    });
    let answer = client.post("/v1/claims", &asked)?;
    if args.json {
        return out::json(&answer);
    }
    let attempts = answer.get("attempts").and_then(Json::as_array).map_or(&[] as &[Json], Vec::as_slice);
    for attempt in attempts {
        let payload = attempt.get("payload").unwrap_or(&Json::Null);
        let [id, token] = ["id", "token"].map(|name| text(attempt, name));
        out::line(&format!("{id} {} {token} {payload}", shown(attempt.get("attempt"))))?;
    }
    Ok(())
}
