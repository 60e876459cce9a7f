//! What a store says of itself to who copies it: the moment a commit was decided at, and how many records there are.
//! For backups, which know keys and values only.

use std::collections::BTreeMap;

use super::core::EngineError;
use super::open::each;
use crate::model::{Record, StateName, Time};
use crate::store::{Backend, Stored as _, Tally, keys};

/// A committed tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The engine's time at it.
    pub at: Time,
    /// Records there are since, finished ones among them.
    pub records: u64,
}

impl Moment {
    /// Read from a write that every tick's commit has. `None` for any other write; a commit without it (what is made up
    /// for at a start) is as old as the one before it.
    pub fn of(key: &[u8], value: Option<&[u8]>) -> Option<Moment> {
        let value = value.filter(|_| key == keys::meta("tally"))?;
        let tally = Tally::decode(value).ok()?;
        Some(Moment { at: tally.now, records: tally.admitted.saturating_sub(tally.purged) })
    }
}

/// Counts the records of a store by state, each read once; one that this build does not understand is an error.
pub fn census(backend: &dyn Backend) -> Result<BTreeMap<StateName, u64>, EngineError> {
    let mut counts = BTreeMap::new();
    for range in [keys::all_live(), keys::all_finished()] {
        each(backend, range, |value| {
            *counts.entry(Record::decode(value)?.state.name()).or_insert(0) += 1;
            Ok(())
        })?;
    }
    Ok(counts)
}
