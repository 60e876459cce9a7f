//! What ends this node's attempts when it cannot: a child that is told how long each shard's attempts may go on, and stops
//! everything that carries a shard's mark once that is over, and all of them once the node is gone.
//!
//! It is a process of its own because the node may be stopped, or dead, while its attempts are not; and another node starts
//! them again then.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exec;
use crate::store::postgres::uptime;

/// Said of a shard of which nothing is at work any more.
const NEVER: u64 = u64::MAX;

/// The near end; dropping it stops what is left of attempts.
pub struct Guard(Mutex<Near>);

struct Near {
    program: PathBuf,
    /// Of everything of this node; a shard's is this and its number.
    mark: String,
    child: Child,
    told: Option<ChildStdin>,
    /// By shard, on the clock of [`uptime`].
    ends: BTreeMap<u32, u64>,
}

fn spawn(program: &PathBuf, mark: &str) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg("guard").arg(mark).stdin(Stdio::piped()).stdout(Stdio::null());
    // What a terminal sends to dwell is not for it.
    command.process_group(0).spawn()
}

impl Guard {
    /// Starts one for everything whose mark begins with `mark`.
    pub fn start(program: PathBuf, mark: String) -> io::Result<Guard> {
        let mut child = spawn(&program, &mark)?;
        let told = child.stdin.take();
        Ok(Guard(Mutex::new(Near { program, mark, child, told, ends: BTreeMap::new() })))
    }

    /// What was started in a shard may go on until then, on the clock of [`uptime`].
    pub fn allow(&self, shard: u32, until: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tell(shard, until);
    }

    /// Nothing is left of what was started in a shard.
    pub fn forget(&self, shard: u32) {
        self.allow(shard, NEVER);
    }
}

impl Near {
    fn tell(&mut self, shard: u32, until: u64) {
        if until == NEVER {
            self.ends.remove(&shard);
        } else {
            self.ends.insert(shard, until);
        }
        if self.write(shard, until).is_err() {
            tracing::error!("the guard of this node's attempts is gone; another one takes its place");
            if let Err(error) = self.replace() {
                tracing::error!(%error, "this node's attempts have no guard");
            }
        }
    }

    fn write(&mut self, shard: u32, until: u64) -> io::Result<()> {
        match &mut self.told {
            Some(told) => writeln!(told, "{shard} {until}"),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn replace(&mut self) -> io::Result<()> {
        self.told = None;
        self.child.wait()?;
        self.child = spawn(&self.program, &self.mark)?;
        self.told = self.child.stdin.take();
        self.ends.clone().into_iter().try_for_each(|(shard, until)| self.write(shard, until))
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.told = None;
        self.child.wait().ok();
    }
}

/// The far end: until nobody says anything any more.
pub fn guard(mark: &str) -> io::Result<()> {
    // It ends with its node, and not before.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(io::stdin()).lines() {
            let Some(said) = line.ok().and_then(|line| read(&line)) else { return };
            if tell.send(said).is_err() {
                return;
            }
        }
    });
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    loop {
        let next = ends.iter().min_by_key(|(_, until)| **until).map(|(shard, until)| (*shard, *until));
        // Whatever was said is heard before anything is judged by it.
        let heard = match next {
            Some((_, until)) if until <= uptime() => told.try_recv(),
            next => {
                let until = next.map_or(NEVER, |(_, until)| until);
                // A machine that slept may wake long after it.
                let left = Duration::from_millis(until.saturating_sub(uptime())).min(Duration::from_secs(1));
                told.recv_timeout(left).map_err(|error| match error {
                    RecvTimeoutError::Timeout => TryRecvError::Empty,
                    RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                })
            }
        };
        match (heard, next) {
            (Ok((shard, NEVER)), _) => drop(ends.remove(&shard)),
            (Ok((shard, until)), _) => drop(ends.insert(shard, until)),
            (Err(TryRecvError::Empty), Some((shard, until))) if until <= uptime() => {
                exec::reap(&format!("{mark}{shard}"), &[], Duration::ZERO);
                // The node may come back, as the owner of nothing.
                ends.remove(&shard);
            }
            (Err(TryRecvError::Empty), _) => {}
            (Err(TryRecvError::Disconnected), _) => {
                exec::reap_all(mark);
                return Ok(());
            }
        }
    }
}

fn read(line: &str) -> Option<(u32, u64)> {
    let (shard, until) = line.split_once(' ')?;
    Some((shard.parse().ok()?, until.parse().ok()?))
}
