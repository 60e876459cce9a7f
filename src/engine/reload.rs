//! Other settings while the engine runs. From the request that brings them on it goes as if the store had been opened with
//! them, but for what is outstanding: that ends as it began.
//!
//! Absent on purpose: what may change, and whether it is valid. The shell has read and checked all of it before it asks.

use super::answer::Answer;
use super::draft::Draft;
use super::modes;
use super::schedule::Schedules;
use super::settings::Settings;
use crate::store::Batch;

/// Goes on with these. Everything that is derived from settings is made anew here.
pub(super) fn reload(draft: &mut Draft<'_>, settings: Settings) -> Answer {
    let (core, now) = (&mut *draft.core, draft.now);
    core.gate.reload(&core.settings, &settings);
    core.index.reload(&settings);
    let rows = std::mem::take(&mut core.schedules).into_rows();
    let mut batch = Batch::default();
    core.schedules = Schedules::open(rows, &settings, now, &mut batch);
    core.settings = settings;
    for (key, value) in batch.writes {
        match value {
            Some(value) => draft.put(key, value),
            None => draft.delete(key),
        }
    }
    modes::reload(draft);
    Answer::Modes(modes::view(draft.core))
}
