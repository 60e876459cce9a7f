//! The burst drainer: lets diverted records go on.
//!
//! A diverted record is durable like any other and waits in the burst lane, so nothing here has to survive a crash: the
//! lanes are rebuilt from the records. What the drainer has released and is still under way is only counted in memory;
//! after a restart it counts as ordinary work.

use super::core::{Core, EngineError};
use super::draft::Draft;
use super::hold;
use super::index::Diverted;
use crate::model::{Event, Name};

/// Releases burst work to the ready lane, runtime by runtime: what waits for one that is held does not use up the
/// places of another.
pub(super) fn drain(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    if hold::everything(draft.core).is_some() {
        return Ok(());
    }
    let runtimes: Vec<Name> = draft.core.settings.runtimes.keys().cloned().collect();
    for runtime in runtimes {
        if hold::closed(draft.core, &runtime).is_some() {
            continue;
        }
        let Core { index, settings, .. } = &mut *draft.core;
        let drained = index.drain(&runtime, settings);
        for id in drained {
            if let Some(narrow) = hold::parks(draft.core, id) {
                draft.core.index.park(id, narrow);
                continue;
            }
            let record = draft.must(id, &Event::BurstDrained)?;
            let (org, env, flow) = (&record.org, &record.env, record.flow.as_deref());
            tracing::info!(event = "burst.drained", record = %id, flow, %org, %env, "released to the ready lane");
        }
        let room = draft.core.settings.burst.drain_concurrency as usize;
        let mut bursts = draft.core.index.lane(&runtime).into_iter().flat_map(|lane| lane.burst.values());
        let more = bursts.any(|Diverted { waiting, released }| !waiting.is_empty() && released.len() < room);
        draft.core.more |= more;
    }
    Ok(())
}
