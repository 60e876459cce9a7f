//! The service manager that started dwell, if one did: what it is told, the socket it passes, and the proof that ticks go
//! on. Without one, all of it is nothing.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::engine::{Closed, Handle, Request};

/// Requests are answered, or answered again.
pub fn tell_ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What was loaded is read anew; [`tell_ready`] follows.
pub fn tell_reloading() {
    // Asked for with RELOADING since systemd 253; an older one passes over it.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Nothing more starts.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("what is outstanding may finish")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// The socket that was passed (`LISTEN_FDS`), if one was. What is not loopback has to be `server.listen`, which has been
/// checked to be safe there. Call it before there is another thread.
pub fn passed_listener(listen: SocketAddr) -> anyhow::Result<Option<TcpListener>> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        bail!("{} sockets were passed: expected one", passed.len());
    }
    let Some(listener) = passed.take_tcp_listener(0).context("the socket that was passed is of no use")?
    else {
        return Ok(None);
    };
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && address != listen {
        bail!(
            "the socket that was passed listens on {address}: expected loopback, or server.listen, {listen}"
        );
    }
    Ok(Some(listener))
}

/// How often the service manager wants to hear that dwell is alive, if it does.
pub fn watchdog_every() -> Option<Duration> {
    // Twice as often as it must be.
    Some(sd_notify::watchdog_enabled()? / 2)
}

/// Says that dwell is alive, as long as the engine answers. Ends its thread when it is dropped.
pub struct Watchdog {
    _stop: Sender<()>,
}

impl Watchdog {
    /// `beat` follows each answer, and there is one beat in each `every` at most.
    pub fn start(
        handle: Handle,
        every: Duration,
        beat: impl Fn() + Send + 'static,
    ) -> std::io::Result<Watchdog> {
        let (stop, stopped) = bounded(0);
        let name = thread::Builder::new().name("watchdog".to_owned());
        name.spawn(move || feed(&handle, every, &stopped, &beat))?;
        Ok(Watchdog { _stop: stop })
    }

    /// The beat of a service.
    pub fn beat() {
        tell(&[NotifyState::Watchdog]);
    }
}

fn feed(handle: &Handle, every: Duration, stopped: &Receiver<()>, beat: &impl Fn()) {
    while proven(handle).is_ok() {
        beat();
        match stopped.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Returns when a tick has been committed, however long that takes: what is not proven is not said.
fn proven(handle: &Handle) -> Result<(), Closed> {
    let (answer, answered) = bounded(1);
    // A full queue may be one that a stuck engine empties no more, so it is waited for.
    handle.deliver(Request::Redrives, Box::new(move |_| answer.send(()).unwrap_or_default()))?;
    answered.recv().map_err(|_| Closed::Stopped)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::engine::{self, Clock, Engine, Settings};
    use crate::model::Time;
    use crate::store::{Backend as _, Memory};

    /// A clock that the test holds: every look at it waits.
    struct Held {
        looked: mpsc::Sender<()>,
        go_on: mpsc::Receiver<()>,
    }

    impl Clock for Held {
        fn now(&self) -> Time {
            self.looked.send(()).unwrap_or_default();
            self.go_on.recv().unwrap_or_default();
            Time::ZERO
        }
        fn arm(&self, _: Option<Time>) {}
        fn advance_to(&self, _: Time) {}
    }

    #[test]
    fn an_engine_that_is_stuck_in_a_tick_gets_no_beat_and_one_that_goes_on_does() {
        let store = Memory::new();
        let (handle, inbox) = engine::channel(store.history());
        let (beats, beat) = mpsc::channel();
        let (looked, look) = mpsc::channel();
        let (let_go, go_on) = mpsc::channel();
        let every = Duration::from_millis(1);
        let tell = move || beats.send(()).unwrap_or_default();
        let watchdog = Watchdog::start(handle.clone(), every, tell).unwrap();
        let engine = thread::spawn(move || {
            let (opening, _) = Engine::open(Box::new(store), Settings::default(), Time::ZERO).unwrap();
            let clock = Held { looked, go_on };
            engine::run(
                opening.survivors_stopped(),
                &inbox,
                &clock,
                &mut |released| {
                    for pair in released.replies.each() {
                        let (reply, answer) = pair.split();
                        reply.into_inner()(answer);
                    }
                },
                &mut || {},
            )
            .map(drop)
        });
        look.recv().unwrap();
        // A hundred beats would fit in here.
        assert_eq!(beat.recv_timeout(Duration::from_millis(100)), Err(mpsc::RecvTimeoutError::Timeout));
        drop(let_go);
        beat.recv().unwrap();
        beat.recv().unwrap();
        drop(watchdog);
        handle.close();
        engine.join().unwrap().unwrap();
    }
}
