//! Nodes of a store in PostgreSQL: `dwell migrate`, `dwell nodes` and `dwell rebalance`.

use serde_json::{Value as Json, json};

use super::args::Place;
use super::client::Client;
use super::exit::{self, Failure};
use super::look::text;
use super::out;
use crate::shell::config::{Config, Postgres, Store};
use crate::store::postgres;

/// `dwell migrate`.
pub fn migrate(place: &Place) -> anyhow::Result<()> {
    let config = super::load(place, Vec::new())?;
    match &config.store {
        Store::Postgres(postgres) => make(postgres),
        Store::Files => {
            let message =
                "store.url names no store in PostgreSQL; one in files needs no migration".to_owned();
            Err(Failure { exit: exit::CONFIG, message }.into())
        }
    }
}

/// Makes the store, or brings it up to this build.
fn make(postgres: &Postgres) -> anyhow::Result<()> {
    let (from, shards) = postgres::migrate(&postgres.server()?, postgres.shards)?;
    let now = postgres::FORMAT;
    let url = &postgres.url;
    out::line(&match from {
        0 => format!("made a store of {shards} shards in {url}"),
        from if from == now => format!("the store in {url} has format {now} already, and {shards} shards"),
        from => format!("brought the store in {url} from format {from} to {now}; it has {shards} shards"),
    })?;
    if shards != postgres.shards {
        out::note(&format!(
            "store.shards is {}, and does not count here: a store is cut once, when it is made",
            postgres.shards
        ));
    }
    Ok(())
}

/// Says of a command that is about files that this store is not in any.
pub fn files_only(config: &Config, instead: &str) -> Result<(), Failure> {
    match &config.store {
        Store::Files => Ok(()),
        Store::Postgres(postgres) => {
            let message = format!("the store is in PostgreSQL ({}), not in files: {instead}", postgres.url);
            Err(Failure { exit: exit::CONFIG, message })
        }
    }
}

/// `dwell nodes`.
pub fn nodes(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/nodes")?;
    if json {
        return out::json(&answer);
    }
    let list = |name: &str| answer.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
    let shards_of = |node: &Json| {
        let owned: Vec<u64> = node
            .get("shards")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_u64)
            .collect();
        (owned.len().to_string(), ranges(&owned))
    };
    let rows: Vec<Vec<String>> = (list("items").iter())
        .map(|node| {
            let (count, owned) = shards_of(node);
            let here = if node.get("here") == Some(&Json::Bool(true)) { "*" } else { "" };
            vec![format!("{}{here}", text(node, "node")), text(node, "address").to_owned(), count, owned]
        })
        .collect();
    out::table(&["NODE", "ADDRESS", "SHARDS", "WHICH"], &rows)?;
    let free: Vec<u64> = (list("shards").iter())
        .filter(|shard| shard.get("owner").is_none_or(Json::is_null))
        .filter_map(|shard| shard.get("shard")?.as_u64())
        .collect();
    if free.is_empty() {
        return Ok(());
    }
    out::line(&format!("without an owner: {}", ranges(&free)))
}

/// `0-3 7`.
fn ranges(numbers: &[u64]) -> String {
    let mut found: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            Some(_) | None => found.push((*number, *number)),
        }
    }
    let texts = found
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    texts.collect::<Vec<_>>().join(" ")
}

/// `dwell rebalance`.
pub fn rebalance(client: &Client) -> Result<(), Failure> {
    client.post("/v1/nodes/rebalance", &json!({}))?;
    out::line(
        "every node gives back what is more than its share, as soon as what runs there has ended; see dwell nodes",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_shown_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2 5 7-8");
        assert_eq!(ranges(&[]), "");
    }
}
