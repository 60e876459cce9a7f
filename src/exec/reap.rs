//! Start-up: what an earlier engine left running is stopped before anything is dispatched.
//!
//! Two ways to know such a process: the identity that was durable before it was released (with its whole group), and
//! the mark in its environment, which also finds what left the group. A pid alone is never enough. Absent on purpose:
//! children of this engine; those are `attempt`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::process::{self, Timer};
use super::{ID_VAR, MARK_VAR};
use crate::model::{Child, RecordId};

/// Rounds of SIGKILL, each on what is there then: a process may have forked since the last look.
const KILL_ROUNDS_MAX: usize = 20;
/// How long a killed process may take to be gone; only one that hangs in the kernel needs longer.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// What was found at start-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Stopped, and gone.
    pub stopped: Vec<u32>,
    /// Could not be stopped: not ours to signal, or stuck in the kernel.
    pub surviving: Vec<u32>,
}

/// Stops every process that an earlier engine on the store named by `mark` left behind: the `known` children that are
/// still the same processes, their groups, and whatever carries the mark. SIGTERM, SIGKILL after `kill_after`, and
/// returns when they are gone. Never this process or its ancestors, and never a process that only has the pid.
pub fn reap(mark: &str, known: &[Child], kill_after: Duration) -> Reaped {
    let marks = vec![format!("{MARK_VAR}={mark}")];
    end(&Search { marks, whole: true, known, spared: own_line() }, kill_after)
}

/// Stops whatever carries a mark that begins so, with SIGKILL at once.
pub fn reap_all(beginning: &str) -> Reaped {
    let marks = vec![format!("{MARK_VAR}={beginning}")];
    end(&Search { marks, whole: false, known: &[], spared: own_line() }, Duration::ZERO)
}

/// Stops whatever earlier attempts of a record left outside their process groups. To be called while no attempt of it
/// is spawned.
pub(super) fn reap_record(mark: &str, id: RecordId, kill_after: Duration) -> Reaped {
    let marks = vec![format!("{MARK_VAR}={mark}"), format!("{ID_VAR}={id}")];
    end(&Search { marks, whole: true, known: &[], spared: own_line() }, kill_after)
}

fn end(search: &Search<'_>, kill_after: Duration) -> Reaped {
    let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
    let mut left = search.left(&seen);
    seen.extend(&left);
    stop(&left, Signal::TERM, kill_after);
    for _ in 0..KILL_ROUNDS_MAX {
        left = search.left(&seen);
        if left.is_empty() {
            break;
        }
        seen.extend(&left);
        stop(&left, Signal::KILL, KILLED_WITHIN);
    }
    let surviving: Vec<u32> = search.left(&seen).into_keys().collect();
    let stopped = seen.into_keys().filter(|pid| !surviving.contains(pid)).collect();
    Reaped { stopped, surviving }
}

fn stop(found: &BTreeMap<u32, u64>, signal: Signal, within: Duration) {
    for (pid, started) in found {
        process::signal_one(*pid, *started, signal);
    }
    let pids: Vec<u32> = found.keys().copied().collect();
    process::wait_all_gone(&pids, &Timer::after(within));
}

struct Search<'a> {
    /// All of them in one environment.
    marks: Vec<String>,
    /// Else they may go on.
    whole: bool,
    known: &'a [Child],
    spared: BTreeSet<u32>,
}

impl Search<'_> {
    /// What is to be stopped now: pid and start time.
    fn left(&self, seen: &BTreeMap<u32, u64>) -> BTreeMap<u32, u64> {
        let groups = self.groups(seen);
        process::living()
            .filter(|(pid, found)| {
                !self.spared.contains(pid)
                    && (groups.contains(pid)
                        || groups.contains(&found.group)
                        || seen.get(pid) == Some(&found.started)
                        || self.is_marked(*pid))
            })
            .map(|(pid, found)| (pid, found.started))
            .collect()
    }

    /// The known groups that are still the ones they were: their leader is there, or one of those seen in it is, so
    /// that the number cannot have been given away.
    fn groups(&self, seen: &BTreeMap<u32, u64>) -> BTreeSet<u32> {
        let boot = process::boot().ok();
        let mut groups: BTreeSet<u32> = self
            .known
            .iter()
            .filter(|child| Some(child.boot) == boot)
            .filter(|child| process::stat(child.pid).is_some_and(|found| found.started == child.started))
            .map(|child| child.pid)
            .collect();
        let members =
            seen.iter().filter_map(|(pid, started)| process::stat(*pid).filter(|s| s.started == *started));
        let known: BTreeSet<u32> = self.known.iter().map(|child| child.pid).collect();
        groups.extend(members.map(|found| found.group).filter(|group| known.contains(group)));
        groups
    }

    fn is_marked(&self, pid: u32) -> bool {
        // Another user's environment cannot be read, and its processes are none of ours.
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
        let is = |entry: &[u8], mark: &[u8]| if self.whole { entry == mark } else { entry.starts_with(mark) };
        let has =
            |mark: &String| environment.split(|byte| *byte == 0).any(|entry| is(entry, mark.as_bytes()));
        self.marks.iter().all(has)
    }
}

/// This process and its ancestors: dwell may have been started from inside an attempt.
fn own_line() -> BTreeSet<u32> {
    let mut line = BTreeSet::new();
    let mut next = Some(std::process::id());
    while let Some(pid) = next.filter(|pid| *pid != 0 && line.insert(*pid)) {
        next = process::stat(pid).map(|found| found.parent);
    }
    line
}
