//! A store in PostgreSQL as it is configured.

use std::path::PathBuf;
use std::time::Duration;

use super::{Origin, SecretRef, Setting, StoreUrl, Value};
use crate::store::postgres::Server;

/// The most shards of a store: each has its own thread, and two connections.
const SHARDS_MAX: u32 = 1024;

/// Leases that leave time to renew them, and do not leave shards without an owner for long.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_mins(5);

/// A store in PostgreSQL, and this node of those that share it.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Where.
    pub url: StoreUrl,
    /// If it does not stand in the URL.
    pub password: Option<SecretRef>,
    /// Whose certificates are good, if not those that browsers trust.
    pub tls_ca: Option<PathBuf>,
    /// How many are made of a new store.
    pub shards: u32,
    /// What the node is called, if somebody said so.
    pub name: Option<String>,
    /// Where others reach it, if not where it listens.
    pub address: Option<String>,
    /// How long it keeps its shards without a word.
    pub lease: Duration,
}

impl Postgres {
    /// Which server, which database and as whom; reads the password.
    ///
    /// # Errors
    /// What is the matter with the address, or with where the password stands.
    pub fn server(&self) -> anyhow::Result<Server> {
        let password = self.password.as_ref().map(SecretRef::resolve).transpose();
        let password = password.map_err(|error| anyhow::anyhow!("store.password: {error}"))?;
        let StoreUrl::Postgres(url) = &self.url else { anyhow::bail!("the store is not in PostgreSQL") };
        Ok(Server::of(url, password.as_deref(), self.tls_ca.as_ref())?)
    }
}

/// What only a store in PostgreSQL asks of its keys.
pub(super) fn problems(found: &dyn Fn(&str) -> Option<Setting>, problems: &mut Vec<(Origin, String)>) {
    let Some(Setting { value: Value::Store(StoreUrl::Postgres(url)), origin }) = found("store.url") else {
        return;
    };
    if let Err(error) = Server::of(&url, None, None) {
        problems.push((origin, error.to_string()));
    }
    if let Some(Setting { value: Value::Number(shards), origin }) = found("store.shards")
        && shards > SHARDS_MAX
    {
        problems.push((origin, format!("store.shards: {shards} is more than {SHARDS_MAX}")));
    }
    if let Some(Setting { value: Value::Span(Some(lease)), origin }) = found("node.lease")
        && !LEASES.contains(&lease)
    {
        problems.push((origin, "node.lease: expected 3s to 5m".to_owned()));
    }
    if let Some(Setting { value: Value::Text(address), origin }) = found("node.address")
        && !(address.is_empty() || address.starts_with("http://") && super::is_collector(&address))
    {
        problems
            .push((origin, format!("node.address: {address:?} is not reached: expected http://HOST:PORT")));
    }
}
