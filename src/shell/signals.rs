//! SIGINT, SIGTERM and SIGHUP: the first asks for a drain, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cli::out;

/// What a shell makes of a process that SIGINT ended: 128 + 2.
const INTERRUPTED: i32 = 130;

/// Registers the process's one handler; call it before the first tick. `drain` runs once, on a thread of its own.
/// What an abrupt end leaves running is found and stopped at the next open.
pub fn register(drain: Arc<dyn Fn() + Send + Sync>) -> Result<(), ctrlc::Error> {
    let asked = AtomicBool::new(false);
    // Not `try_set_handler`: a shell starts what it puts into the background with SIGINT ignored.
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        out::note(
            "stopping: what is outstanding may finish until the drain's end; a second signal stops at once",
        );
        drain();
    })
}
