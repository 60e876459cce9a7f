//! The bounds of a local store, and what they are where nobody says. Absent on purpose: what follows from each.

use std::path::PathBuf;
use std::time::Duration;

use super::space::Measure;

/// The bounds of a local store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a journal segment; a larger commit gets one of its own size.
    pub segment_bytes: u64,
    /// A checkpoint starts when the overlay has grown to this.
    pub checkpoint_bytes: usize,
    /// A checkpoint starts at the first commit that finds the overlay older than this, so that replay stays short.
    pub checkpoint_age_max: Duration,
    /// About the most of it, with what a checkpoint under way takes: who is faster than that waits for it, a little at each commit.
    pub overlay_bytes_max: usize,
    /// The table's cache.
    pub table_cache_bytes: u64,
    /// Segments beyond this are removed, oldest first, once recovery does not need them.
    pub history_bytes_max: u64,
    /// And those whose last commit is this much older than the newest one.
    pub history_age_max: Duration,
    /// Where segments are kept for good. None is removed before it is there, so the bounds hold only then.
    pub archive: Option<PathBuf>,
    /// New work is to be refused while less is free on the disk, or than a quarter of it if that is less; and history
    /// goes before its time.
    pub min_free: u64,
    /// How the disk is measured.
    pub measure: Measure,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Options {
            segment_bytes: 64 * MIB,
            checkpoint_bytes: 8 * 1024 * 1024,
            checkpoint_age_max: Duration::from_secs(30),
            overlay_bytes_max: 64 * 1024 * 1024,
            table_cache_bytes: 32 * MIB,
            history_bytes_max: 1024 * MIB,
            history_age_max: Duration::from_hours(7 * 24),
            archive: None,
            min_free: 256 * MIB,
            measure: Measure::default(),
        }
    }
}
