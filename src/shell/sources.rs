//! Webhook sources: from what is configured to what can verify a delivery.

use std::collections::BTreeMap;

use anyhow::anyhow;

use super::hook::{HookKind, Secret};
use super::{config, http};
use crate::model::Name;

/// Reads every secret there is. A source whose secret cannot be read or used is refused now, not at its first delivery.
pub fn open(configured: &BTreeMap<Name, config::Source>) -> anyhow::Result<BTreeMap<Name, http::Source>> {
    configured.iter().map(|(name, source)| Ok((name.clone(), one(name, source)?))).collect()
}

fn one(name: &Name, source: &config::Source) -> anyhow::Result<http::Source> {
    let wrong = |error: String| anyhow!("sources.{name}: {error}");
    let kind: HookKind = source.kind.parse().map_err(wrong)?;
    let read = |secret: &config::SecretRef| {
        let secret = Secret::new(secret.resolve()?);
        kind.check(&secret).map(|()| secret)
    };
    let secrets = source.secrets.iter().map(read).collect::<Result<_, _>>().map_err(wrong)?;
    Ok(http::Source { kind, name: kind.as_str().into(), secrets })
}
