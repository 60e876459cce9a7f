//! What ends this node's attempts when it cannot: a child that is told how long the node's leases last, and stops everything
//! that carries the node's mark once that is over, or the node is gone.
//!
//! It is a process of its own because the node may be stopped, or dead, while its attempts are not; and another node starts
//! them again then.

use std::convert::Infallible;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::exec;
use crate::store::postgres::{Shards, uptime};

/// How often a guard is told, so that it never knows of much less than there is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// No shard, no attempt, nothing to stop.
const NEVER: u64 = u64::MAX;

/// The near end; dropping it stops what is left of attempts.
pub struct Guard {
    child: Child,
    told: Option<ChildStdin>,
}

impl Guard {
    /// Starts one for everything whose mark begins with `mark`.
    pub fn start(program: &Path, mark: &str) -> io::Result<Guard> {
        let mut command = Command::new(program);
        command.arg("guard").arg(mark).stdin(Stdio::piped()).stdout(Stdio::null());
        // What a terminal sends to dwell is not for it.
        let mut child = command.process_group(0).spawn()?;
        let told = child.stdin.take();
        Ok(Guard { child, told })
    }

    /// Says until when, on the clock of [`uptime`], the node may act as the owner of anything.
    fn tell(&mut self, until: u64) -> io::Result<()> {
        match &mut self.told {
            Some(told) => writeln!(told, "{until}"),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.told = None;
        self.child.wait().ok();
    }
}

/// Tells a guard once a second, whatever else the node waits for.
pub struct Guarded {
    guard: Arc<Mutex<Guard>>,
    shards: Arc<Shards>,
    /// Closed with it, which ends the thread.
    _stop: Sender<Infallible>,
}

impl Guarded {
    /// Starts the thread.
    pub fn start(guard: Guard, shards: Arc<Shards>) -> io::Result<Guarded> {
        let (stop, stopped) = bounded::<Infallible>(0);
        let guard = Arc::new(Mutex::new(guard));
        let (of, by) = (Arc::clone(&guard), Arc::clone(&shards));
        let each = move || {
            while matches!(
                stopped.recv_timeout(TOLD_EVERY),
                Err(crossbeam_channel::RecvTimeoutError::Timeout)
            ) {
                tell(&of, &by);
            }
        };
        thread::Builder::new().name("guard".to_owned()).spawn(each)?;
        Ok(Guarded { guard, shards, _stop: stop })
    }

    /// Tells it now: before anything is started in a shard that was taken.
    pub fn tell(&self) {
        tell(&self.guard, &self.shards);
    }
}

fn tell(guard: &Mutex<Guard>, shards: &Shards) {
    let mut guard = guard.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = guard.tell(shards.safe_until().unwrap_or(NEVER)) {
        tracing::error!(%error, "the guard of this node's attempts is gone: start the node again");
    }
}

/// The far end: until nobody says anything any more.
pub fn guard(mark: &str) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(io::stdin()).lines() {
            let Some(until) = line.ok().and_then(|line| line.parse().ok()) else { return };
            if tell.send(until).is_err() {
                return;
            }
        }
    });
    let mut until = NEVER;
    loop {
        // A machine that slept may wake long after it.
        let left = Duration::from_millis(until.saturating_sub(uptime())).min(Duration::from_secs(1));
        match told.recv_timeout(left) {
            Ok(later) => until = later,
            Err(RecvTimeoutError::Timeout) if uptime() < until => {}
            Err(RecvTimeoutError::Timeout) => {
                exec::reap_all(mark);
                // It may come back, as the owner of nothing.
                until = NEVER;
            }
            Err(RecvTimeoutError::Disconnected) => {
                exec::reap_all(mark);
                return;
            }
        }
    }
}
