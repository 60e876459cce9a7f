//! Named places at which a test may end the process, as a crash would.

use std::sync::OnceLock;

/// Every crash point there is, in the order a commit and its checkpoint pass them.
pub const CRASH_POINTS: [&str; 6] = [
    "journal.before_write",
    "journal.after_write",
    "journal.after_sync",
    "checkpoint.after_table",
    "checkpoint.after_file",
    "checkpoint.before_release",
];

/// Names the crash point at which the process ends.
pub const CRASH_AT: &str = "DWELL_CRASH_AT";

/// Ends the process here, without unwinding, if `DWELL_CRASH_AT` names this point.
pub fn crash_point(name: &'static str) {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(CRASH_POINTS.contains(&name), "{name} is not in the list of crash points");
    if CHOSEN.get_or_init(|| std::env::var(CRASH_AT).ok()).as_deref() == Some(name) {
        std::process::abort();
    }
}
