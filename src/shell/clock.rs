//! The one place that asks what time it is, and the one that waits for it.
//!
//! [`Clock`] is the wall clock, or a hand-moved one for tests. [`Alarm`] rings at an absolute wall time: it blocks in
//! the kernel, so it costs nothing while it waits, is right after the machine slept, and notices when the clock is set.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::model::Time;

/// Where `now` comes from. Clones of a test clock share it.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's wall clock.
    System,
    /// Stands still until it is moved.
    Test(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands at `at`.
    pub fn test(at: Time) -> Clock {
        Clock::Test(Arc::new(AtomicU64::new(at.millis())))
    }

    /// The moment it is. A wall clock set before 1970 reads as 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    pub fn now(&self) -> Time {
        match self {
            Clock::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Time::ZERO.after(since)
            }
            Clock::Test(millis) => Time::from_millis(millis.load(Ordering::SeqCst)),
        }
    }

    /// Whether it only moves by hand.
    pub const fn is_test(&self) -> bool {
        matches!(self, Clock::Test(_))
    }

    /// Moves a test clock on to `to`, never back; the wall clock stays as it is.
    pub fn advance_to(&self, to: Time) {
        match self {
            Clock::System => {}
            Clock::Test(millis) => {
                millis.fetch_max(to.millis(), Ordering::SeqCst);
            }
        }
    }
}

/// Rings a callback at an absolute time, once per [`Alarm::set`]. Ends its thread when dropped.
pub struct Alarm {
    timer: Option<Arc<Timer>>,
    thread: Option<JoinHandle<()>>,
}

struct Timer {
    fd: OwnedFd,
    stopped: AtomicBool,
}

impl Alarm {
    /// An alarm that is not set. `ring` runs on the alarm's own thread; it may be early (the clock was set, the
    /// alarm was moved meanwhile), so it should only make somebody look at the clock. Under a test clock it never
    /// rings: whoever moves that clock says so.
    pub fn start(clock: &Clock, ring: impl Fn() + Send + 'static) -> io::Result<Alarm> {
        if clock.is_test() {
            return Ok(Alarm { timer: None, thread: None });
        }
        let fd = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
        let timer = Arc::new(Timer { fd, stopped: AtomicBool::new(false) });
        let waiting = Arc::clone(&timer);
        let thread = thread::Builder::new().name("alarm".to_owned()).spawn(move || waiting.wait(&ring))?;
        Ok(Alarm { timer: Some(timer), thread: Some(thread) })
    }

    /// Rings at `at`, now if that is past, never if `None`. Replaces what was set before.
    pub fn set(&self, at: Option<Time>) -> io::Result<()> {
        match &self.timer {
            Some(timer) => timer.arm(at),
            None => Ok(()),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let (Some(timer), Some(thread)) = (self.timer.take(), self.thread.take()) else { return };
        timer.stopped.store(true, Ordering::SeqCst);
        match timer.arm(Some(Time::ZERO)) {
            Ok(()) if thread.join().is_err() => tracing::error!("the alarm's callback panicked"),
            Ok(()) => {}
            // Not joined: it may wait for ever.
            Err(error) => tracing::error!(%error, "the alarm cannot be stopped"),
        }
    }
}

impl Timer {
    fn arm(&self, at: Option<Time>) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = at.map_or(zero, |at| {
            let (seconds, millis) = (at.millis() / 1_000, at.millis() % 1_000);
            // All zeros would disarm it.
            let nanos = (millis * 1_000_000).max(1);
            Timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanos.cast_signed() }
        });
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(&self.fd, flags, &Itimerspec { it_interval: zero, it_value: value }) {
            // It is armed all the same; the waiting thread is told of the clock's step by its own read.
            Ok(_) | Err(Errno::CANCELED) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn wait(&self, ring: &impl Fn()) {
        loop {
            let mut expirations = [0_u8; 8];
            let read = rustix::io::read(&self.fd, &mut expirations);
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            match read {
                // CANCELED: the wall clock was set, so what is due must be looked at anew.
                Ok(_) | Err(Errno::CANCELED) => ring(),
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the alarm cannot wait any more");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn ringing() -> (Alarm, mpsc::Receiver<()>) {
        let (bell, rings) = mpsc::channel();
        let alarm = Alarm::start(&Clock::System, move || bell.send(()).unwrap()).unwrap();
        (alarm, rings)
    }

    #[test]
    fn an_alarm_set_to_the_past_rings_at_once() {
        let (alarm, rings) = ringing();
        alarm.set(Some(Time::ZERO)).unwrap();
        assert_eq!(rings.recv(), Ok(()));
        alarm.set(Some(Time::from_millis(1_000))).unwrap();
        assert_eq!(rings.recv(), Ok(()));
    }

    #[test]
    fn a_later_set_replaces_the_earlier_one_while_it_waits() {
        let (alarm, rings) = ringing();
        alarm.set(Some(Time::MAX)).unwrap();
        alarm.set(None).unwrap();
        alarm.set(Some(Time::MAX)).unwrap();
        alarm.set(Some(Time::from_millis(1))).unwrap();
        assert_eq!(rings.recv(), Ok(()));
    }

    #[test]
    fn a_dropped_alarm_ends_its_thread_without_ringing() {
        let (alarm, rings) = ringing();
        alarm.set(Some(Time::MAX)).unwrap();
        drop(alarm);
        assert_eq!(rings.recv(), Err(mpsc::RecvError));
    }

    #[test]
    fn a_test_clock_moves_by_hand_and_never_back() {
        let clock = Clock::test(Time::from_millis(5));
        let shared = clock.clone();
        clock.advance_to(Time::from_millis(9));
        shared.advance_to(Time::from_millis(7));
        assert_eq!(shared.now(), Time::from_millis(9));
    }
}
