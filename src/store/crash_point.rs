//! Named places at which a test may end the process, as a crash would.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Every crash point there is, in the order in which a start, a tick, an attempt, a checkpoint and a stop pass them.
pub const CRASH_POINTS: [&str; 16] = [
    "segment.after_create",
    "open.after_cut",
    "address.before_rename",
    "journal.before_write",
    "journal.after_write",
    "journal.after_sync",
    "engine.after_commit",
    "release.after_replies",
    "exec.after_spawn",
    "exec.before_gate",
    "exec.after_gate",
    "checkpoint.after_table",
    "checkpoint.after_file",
    "checkpoint.before_release",
    "stop.after_http",
    "stop.after_close",
];

/// Names the crash point at which the process ends: `journal.after_sync`, or `journal.after_sync:17` for the 17th time
/// it is passed.
pub const CRASH_AT: &str = "DWELL_CRASH_AT";

/// The crash point that was chosen, and how often it is still to be passed.
struct Chosen {
    point: String,
    passings: AtomicU32,
}

/// Ends the process here, without unwinding, if `DWELL_CRASH_AT` names this point and this passing of it.
pub fn crash_point(name: &'static str) {
    static CHOSEN: OnceLock<Option<Chosen>> = OnceLock::new();
    debug_assert!(CRASH_POINTS.contains(&name), "{name} is not in the list of crash points");
    let chosen = CHOSEN.get_or_init(|| std::env::var(CRASH_AT).ok().map(|text| Chosen::read(&text)));
    if let Some(chosen) = chosen
        && chosen.point == name
        && chosen.passings.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

impl Chosen {
    fn read(text: &str) -> Chosen {
        let counted = text.split_once(':').and_then(|(point, nth)| Some((point, nth.parse().ok()?)));
        let (point, nth) = counted.unwrap_or((text, 1));
        Chosen { point: point.to_owned(), passings: AtomicU32::new(nth) }
    }
}
