//! SIGINT and SIGTERM: the first asks for a drain, the second ends the process at once. SIGHUP asks for a reload.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

use super::cli::out;

/// What a shell makes of a process that SIGINT ended: 128 + 2.
const INTERRUPTED: i32 = 130;

/// What a signal asks for. It is called on a thread of its own, and must not take long.
pub type Asked = Arc<dyn Fn() + Send + Sync>;

/// Registers the process's handlers; call it once, before the first tick. `drain` runs once, `hang_up` at each SIGHUP.
/// What an abrupt end leaves running is found and stopped at the next open.
pub fn register(drain: Asked, hang_up: Asked) -> io::Result<()> {
    let asked = AtomicBool::new(false);
    let stop = Arc::new(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        out::note(
            "stopping: what is outstanding may finish until the drain's end; a second signal stops at once",
        );
        drain();
    });
    let mut signals = Signals::new([SIGTERM, SIGHUP])?;
    let interrupted = Arc::clone(&stop);
    // Not `try_set_handler`: a shell starts what it puts into the background with SIGINT ignored.
    ctrlc::set_handler(move || interrupted()).map_err(io::Error::other)?;
    let each = move || signals.forever().for_each(|signal| if signal == SIGHUP { hang_up() } else { stop() });
    thread::Builder::new().name("signals".to_owned()).spawn(each)?;
    Ok(())
}
