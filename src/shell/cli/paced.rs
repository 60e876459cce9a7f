//! `dwell redrive --rate`: begun, followed, stopped. The server carries it out, so this only watches.

use serde_json::{Map, Value as Json, json};

use super::args::Redrive;
use super::client::{Client, escaped};
use super::exit::Failure;
use super::look::{items, text};
use super::out;

/// Begins it, and follows it to its end unless it is to go on alone.
pub fn begin(client: &Client, args: &Redrive, mut body: Map<String, Json>) -> Result<(), Failure> {
    body.insert("dry_run".to_owned(), json!(args.dry_run));
    let answer = client.post("/v1/dead-letters/redrive", &Json::Object(body))?;
    let id = text(&answer, "redrive");
    if args.json {
        out::json(&answer)?;
    } else if !id.is_empty() {
        out::line(id)?;
    }
    let more = if answer.get("uncounted").is_some() { "more than " } else { "" };
    out::note(&format!("{more}{} matched", answer.get("matched").unwrap_or(&Json::Null)));
    if id.is_empty() || args.detach { Ok(()) } else { follow(client, id) }
}

/// Says how far it is while it, or a part of it in any shard, is there.
fn follow(client: &Client, id: &str) -> Result<(), Failure> {
    let progress_of = |wait: &str| -> Result<Option<String>, Failure> {
        let running = items(client, &format!("/v1/redrives?wait={wait}"))?;
        let is_part = |item: &&Json| id.split(',').any(|part| part == text(item, "id"));
        let parts: Vec<&Json> = running.iter().filter(is_part).collect();
        Ok((!parts.is_empty()).then(|| progress(&parts)))
    };
    let mut wait = "0s";
    while let Some(progress) = progress_of(wait).map_err(|failure| Failure {
        message: format!("{failure}; it goes on with the next server: dwell ls redrives"),
        ..failure
    })? {
        out::progress(&format!("{progress} redriven"));
        wait = "1s";
    }
    out::progress("");
    out::note(&format!("{id} is over"));
    Ok(())
}

/// `120 of 5000`, of all its parts.
pub fn progress(parts: &[&Json]) -> String {
    let more = if parts.iter().any(|part| part.get("uncounted").is_some()) { "more than " } else { "" };
    let count = |name| parts.iter().filter_map(|part| part.get(name)?.as_u64()).sum::<u64>();
    format!("{} of {more}{}", count("redriven"), count("matched"))
}

/// `dwell redrive --stop`.
pub fn stop(client: &Client, id: &str, json: bool) -> Result<(), Failure> {
    let row = client.delete(&format!("/v1/redrives/{}", escaped(id)))?;
    if json {
        out::json(&row)
    } else {
        out::line(&format!("{} stopped, {} redriven", text(&row, "id"), progress(&[&row])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_redrive_are_counted_together() {
        let (a, b) = (
            json!({ "redriven": 1, "matched": 5 }),
            json!({ "redriven": 2, "matched": 7, "uncounted": true }),
        );
        assert_eq!(
            (progress(&[&a]), progress(&[&a, &b])),
            ("1 of 5".to_owned(), "3 of more than 12".to_owned())
        );
    }
}
