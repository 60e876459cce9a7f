//! Processes as the kernel shows them: who they are, which group they are in, and when they are gone.
//!
//! Owns: every look into `/proc`, every signal, and every wait for a process that may not be our child. Waits are on
//! pidfds and a timerfd, so nothing here polls the clock or sleeps. Absent on purpose: what an attempt is.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal, test_kill_process_group,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::model::Child;

/// How many processes one wait looks at; the rest are looked at when these are gone.
const WATCHED_MAX: usize = 64;

/// What `/proc/<pid>/stat` says, as far as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Ended, and only waiting to be reaped by its parent.
    pub zombie: bool,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Start time in clock ticks after boot: field 22.
    pub started: u64,
}

/// Reads one process; `None` if there is none by that pid.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the program's name in parentheses and may itself hold spaces and parentheses, so fields are
/// counted from the last `)` (proc_pid_stat(5)).
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(Stat { zombie: matches!(state, "Z" | "X"), parent, group, started })
}

/// The boot this machine is in: the first half of the kernel's boot id.
pub(super) fn boot() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).map_err(io::Error::other)
}

/// The identity of a process that is there, to know it again by.
pub(super) fn identify(pid: u32) -> io::Result<Child> {
    let found = stat(pid).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(Child { pid, started: found.started, boot: boot()? })
}

/// Every process that has not ended, by pid.
pub(super) fn living() -> impl Iterator<Item = (u32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| stat(pid).map(|found| (pid, found))).filter(|(_, found)| !found.zombie)
}

/// A pid in rustix's terms; 0 and what does not fit are no process of ours.
pub(super) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// A handle that becomes readable when the process ends, and that never comes to mean another process.
pub(super) fn watch(number: u32) -> io::Result<OwnedFd> {
    let pid = pid(number).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Signals one process, if it is still the one that started at `started`.
pub(super) fn signal_one(number: u32, started: u64, signal: Signal) {
    let Ok(handle) = watch(number) else { return };
    // The handle was opened by number: only now is it sure that the number still means the same process.
    if stat(number).is_some_and(|found| found.started == started) {
        // It may end at this very moment, which is what is wanted.
        pidfd_send_signal(&handle, signal).ok();
    }
}

/// Signals every process of a group. The caller knows that the group is still the one it means: its leader is not
/// reaped yet, or a member was just seen.
pub(super) fn signal_group(group: Pid, signal: Signal) {
    // An empty group is what is wanted.
    kill_process_group(group, signal).ok();
}

/// Waits until nothing of `group`, whose leader is reaped, is left: `kill_after` for what is there to end by itself,
/// then SIGKILL.
pub(super) fn wait_group_gone(group: Pid, kill_after: Duration) {
    if test_kill_process_group(group) == Err(Errno::SRCH) {
        return;
    }
    let members =
        || living().filter(|(_, found)| i32::try_from(found.group) == Ok(group.as_raw_nonzero().get()));
    let timer = Timer::after(kill_after);
    loop {
        let left: Vec<u32> = members().map(|(number, _)| number).take(WATCHED_MAX).collect();
        if left.is_empty() {
            return;
        }
        if !wait_all_gone(&left, &timer) {
            signal_group(group, Signal::KILL);
            wait_all_gone(&left, &Timer::Never);
        }
    }
}

/// Waits until every one of `pids` has ended; `false` if the timer fires first, or they cannot be watched.
pub(super) fn wait_all_gone(pids: &[u32], timer: &Timer) -> bool {
    pids.iter().all(|number| match watch(*number) {
        Err(error) => Errno::from_io_error(&error) == Some(Errno::SRCH),
        Ok(handle) => match timer {
            Timer::Never => readable_or_ended(None::<&OwnedFd>, &handle).1,
            Timer::At(timer) => readable_or_ended(Some(timer), &handle).1,
            Timer::Fired => false,
        },
    })
}

/// A moment that several waits can share: once fired it stays so.
pub(super) enum Timer {
    /// Does not fire.
    Never,
    /// Readable once it has fired.
    At(OwnedFd),
    /// The kernel had no timer to give; better early than never.
    Fired,
}

impl Timer {
    /// Fires after `span`.
    pub fn after(span: Duration) -> Timer {
        // All zero would disarm it.
        let span = span.max(Duration::from_nanos(1));
        let it_value = Timespec::try_from(span).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let setting = Itimerspec { it_interval: Timespec::default(), it_value };
        let made = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).and_then(|timer| {
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
            Ok(timer)
        });
        made.map_or(Timer::Fired, Timer::At)
    }
}

/// Waits until `pipe` can be read or the process behind `leader` has ended: which of both.
pub(super) fn readable_or_ended(pipe: Option<&impl AsFd>, leader: &OwnedFd) -> (bool, bool) {
    loop {
        let mut fds = vec![PollFd::new(leader, PollFlags::IN)];
        fds.extend(pipe.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(_) => return (false, true),
            Ok(_) => {
                let told = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
                return (told(1), told(0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) Z (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 223363 0 0";
        let expected = Stat { zombie: false, parent: 1, group: 42, started: 223_363 };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("7 (cut"), None);
    }

    #[test]
    fn this_process_knows_itself() {
        let me = identify(std::process::id()).unwrap();
        assert_eq!(stat(me.pid).map(|found| found.started), Some(me.started));
        assert_eq!(me.boot, boot().unwrap());
    }

    #[test]
    fn waiting_for_a_process_that_goes_on_ends_with_the_timer() {
        assert!(!wait_all_gone(&[std::process::id()], &Timer::after(Duration::from_millis(1))));
    }
}
