//! Webhook sources: from what is configured to what can verify a delivery.

use std::collections::BTreeMap;

use anyhow::anyhow;

use super::hook::Secret;
use super::{config, http};
use crate::model::Name;

/// Reads every secret there is. A source whose secret cannot be read is refused now, not at its first delivery.
pub fn open(configured: &BTreeMap<Name, config::Source>) -> anyhow::Result<BTreeMap<Name, http::Source>> {
    let open = |(name, source): (&Name, &config::Source)| {
        let wrong = |error: String| anyhow!("sources.{name}: {error}");
        let secrets = source.secrets.iter().map(|secret| secret.resolve().map(Secret::from));
        let opened = http::Source {
            kind: source.kind.parse().map_err(wrong)?,
            name: source.kind.as_str().into(),
            secrets: secrets.collect::<Result<_, _>>().map_err(wrong)?,
        };
        Ok((name.clone(), opened))
    };
    configured.iter().map(open).collect()
}
