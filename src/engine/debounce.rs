//! One run for a burst of triggers: it waits until no trigger of its key came for a while, and is that of the last one.
//!
//! The run waits in rows of its own, under its flow and key, with the moment it is due; a further trigger replaces it and
//! moves the moment, never beyond `max` after the first. In memory are the moments only, rebuilt at open.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use super::core::EngineError;
use super::draft::{Draft, Fail};
use super::groups;
use super::settings::{DEBOUNCED_BYTES_PER_TICK_MAX, DEBOUNCED_MAX, DEBOUNCED_PER_TICK_MAX};
use crate::machine;
use crate::model::{Debounce, Mode, Name, Record, Submission, Time, Trigger, TriggerId, Work};
use crate::store::{Debounced, Stored, keys};

/// Whose triggers: a flow, and its key.
type Slot = (Name, Name);

/// What waits, and the order in which it is due.
#[derive(Debug, Default)]
pub(super) struct Debounces {
    waiting: BTreeMap<Slot, Debounced>,
    due: BTreeSet<(Time, Slot)>,
}

impl Debounces {
    pub(super) fn set(&mut self, row: Debounced) {
        let slot = (row.flow.clone(), row.key.clone());
        self.remove(&slot);
        self.due.insert((row.due_at, slot.clone()));
        self.waiting.insert(slot, row);
    }

    fn remove(&mut self, slot: &Slot) -> Option<Debounced> {
        let row = self.waiting.remove(slot)?;
        self.due.remove(&(row.due_at, slot.clone()));
        Some(row)
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// All, the earliest first.
    pub(super) fn upcoming(&self) -> impl Iterator<Item = &Debounced> {
        self.due.iter().filter_map(|(_, slot)| self.waiting.get(slot))
    }
}

/// Takes those of `runs` that are to wait out of them. Where as many wait as may, a run of a new key stays, to be admitted
/// as it is.
pub(super) fn hold(draft: &mut Draft<'_>, runs: &mut Vec<Submission>) -> Vec<Debounced> {
    let mut held = Vec::new();
    runs.retain(|run| {
        let row = run.debounce.as_ref().and_then(|debounce| hold_one(draft, run, debounce));
        let stays = row.is_none();
        held.extend(row);
        stays
    });
    held
}

/// In place of the one that its key has waiting.
fn hold_one(draft: &mut Draft<'_>, run: &Submission, debounce: &Debounce) -> Option<Debounced> {
    let flow = run.flow.clone().unwrap_or_default();
    let slot = (flow, debounce.key.clone());
    let Debounces { waiting, .. } = &draft.core.debounces;
    let before = waiting.get(&slot);
    if before.is_none() && waiting.len() >= DEBOUNCED_MAX {
        tracing::warn!(flow = %slot.0, key = %slot.1, "{DEBOUNCED_MAX} debounced runs wait: this one does not");
        return None;
    }
    let first_at = before.map_or(draft.now, |row| row.first_at);
    let due_at = draft.now.after(debounce.quiet).min(first_at.after(debounce.max));
    let (flow, key) = slot;
    let row = Debounced { flow, key, first_at, due_at, run: run.id, trigger: run.trigger };
    // It gets its place when it is admitted.
    let (record, work) = machine::admit(run.clone(), 0, draft.now, &draft.core.settings.policy);
    draft.put(keys::debounced(&row.flow, &row.key), row.encode());
    draft.put(keys::debounced_record(&row.flow, &row.key), record.encode());
    draft.put(keys::debounced_work(&row.flow, &row.key), work.encode());
    draft.core.debounces.set(row.clone());
    Some(row)
}

/// Admits what is due, the earliest first, by the mode that its flow has now. It goes before what arrives: a trigger that comes after the moment begins anew.
pub(super) fn admit_due(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let mut bytes = 0;
    for _ in 0..DEBOUNCED_PER_TICK_MAX {
        let Some((due, slot)) = draft.core.debounces.due.first().cloned() else { return Ok(()) };
        if due > draft.now {
            return Ok(());
        }
        if bytes > DEBOUNCED_BYTES_PER_TICK_MAX {
            break;
        }
        let Some(row) = draft.core.debounces.remove(&slot) else { return Ok(()) };
        bytes += admit(draft, &row)?;
    }
    draft.core.more |= draft.core.debounces.first().is_some_and(|at| at <= draft.now);
    Ok(())
}

/// Answers how many bytes it put into the commit, about.
fn admit(draft: &mut Draft<'_>, row: &Debounced) -> Result<usize, EngineError> {
    let missing = || EngineError::Inconsistent(row.run, "it was debounced, and its rows are missing");
    let mut take = |key: Vec<u8>| -> Result<Vec<u8>, EngineError> {
        let value = draft.row(&key)?.ok_or_else(missing)?;
        draft.delete(key);
        Ok(value)
    };
    let (flow, key) = (&row.flow, &row.key);
    take(keys::debounced(flow, key))?;
    let record = Record::decode(&take(keys::debounced_record(flow, key))?)?;
    let work = Work::decode(&take(keys::debounced_work(flow, key))?)?;
    let payload = work.payload.len();
    let (mode, _) = draft.core.mode(flow);
    if mode == Mode::Off {
        tracing::warn!(event = "debounced", %flow, %key, "the flow was turned off while it waited: no run");
        return Ok(0);
    }
    let record = draft.admit_held(record, work, mode == Mode::Shadow);
    tracing::info!(event = "debounced", record = %record.id, %flow, %key, "no trigger came for a while");
    match groups::supersede(draft, slice::from_ref(&record)) {
        Ok(()) => {}
        Err(Fail::Broken(error)) => return Err(error),
        Err(Fail::Rejected(rejected)) => {
            tracing::error!(record = %record.id, "{rejected}");
            return Err(EngineError::Inconsistent(record.id, "whom it supersedes cannot be cancelled"));
        }
    }
    if let Some(trigger) = row.trigger {
        name_run(draft, trigger, &record)?;
    }
    Ok(payload * 2)
}

/// The trigger says which run it made, if it is still kept.
fn name_run(draft: &mut Draft<'_>, id: TriggerId, record: &Record) -> Result<(), EngineError> {
    let key = keys::trigger(id);
    if let Some(row) = draft.row(&key)? {
        let mut trigger = Trigger::decode(&row)?;
        trigger.runs.push(record.id);
        draft.put(key, trigger.encode());
    }
    Ok(())
}
