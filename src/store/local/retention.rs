//! How long segments are kept as history once recovery needs them no more.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::files::failed;
use super::segments;
use crate::store::{StoreError, crash_point};

/// The bounds of the history beyond what recovery needs.
pub(super) struct Retention {
    pub(super) journal: PathBuf,
    pub(super) bytes_max: u64,
    pub(super) age_max: Duration,
}

impl Retention {
    /// Removes the oldest segments, as far as every commit in them is at or before `checkpoint` and the bounds say
    /// so. Age is counted from the last write of a segment to the last write of the journal: no clock is asked, and
    /// an idle store forgets nothing.
    pub(super) fn release(&self, checkpoint: u64) -> Result<(), StoreError> {
        let segments = segments::list(&self.journal)?;
        let mut kept_bytes = 0;
        let mut newest = None;
        let mut surplus = 0;
        for (nth, segment) in segments.iter().enumerate().rev() {
            let metadata = fs::metadata(&segment.path).map_err(failed("read", &segment.path))?;
            let written = metadata.modified().map_err(failed("read", &segment.path))?;
            kept_bytes += metadata.len();
            let age = age(written, *newest.get_or_insert(written));
            let covered = segments.get(nth + 1).is_some_and(|next| next.first <= checkpoint + 1);
            if covered && (kept_bytes > self.bytes_max || age > self.age_max) {
                surplus = nth + 1;
                break;
            }
        }
        for segment in segments.iter().take(surplus) {
            crash_point("checkpoint.before_release");
            fs::remove_file(&segment.path).map_err(failed("remove", &segment.path))?;
        }
        Ok(())
    }
}

fn age(written: SystemTime, newest: SystemTime) -> Duration {
    newest.duration_since(written).unwrap_or_default()
}
