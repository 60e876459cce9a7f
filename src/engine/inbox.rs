//! The way into the engine: a bounded queue, and a thread-safe handle on its near end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crossbeam_channel::bounded;

use super::request::{Answer, Arrival, Reply, Request};
use super::settings::ARRIVALS_QUEUED_MAX;
use crate::model::{Rejected, Time};
use crate::store::History;

/// One thing in the queue.
pub(super) enum Letter {
    Arrival(Arrival),
    /// A deadline may be due.
    Wake,
    /// End the loop, once what came before is answered.
    Close,
    /// Test clock: move on by so much.
    Advance(Duration, Box<dyn FnOnce(Advanced) + Send>),
}

/// What moving the test clock did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// The time after it.
    pub now: Time,
    /// Ticks it took.
    pub ticks: u64,
    /// Steps that records made.
    pub transitions: u64,
}

/// The engine did not take the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// It has stopped, or stopped before it answered.
    #[error("the engine has stopped")]
    Stopped,
    /// Too many requests wait for it.
    #[error("the engine has {ARRIVALS_QUEUED_MAX} requests waiting; come back later")]
    Full,
}

/// The near end; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    letters: SyncSender<Letter>,
    history: Arc<dyn History>,
}

/// The far end, for the engine's thread.
pub struct Inbox {
    letters: Receiver<Letter>,
}

/// Both ends, with the history that the handle lets others read.
pub fn channel(history: Arc<dyn History>) -> (Handle, Inbox) {
    // std's queue, not crossbeam's: it drops what is left in it with its far end, so a request that arrives as the
    // loop ends is answered [`Closed::Stopped`] and does not wait for ever.
    let (near, far) = sync_channel(ARRIVALS_QUEUED_MAX);
    (Handle { letters: near, history }, Inbox { letters: far })
}

impl Handle {
    /// Asks; `reply` is called once, on the engine's thread, after the commit. Never blocks.
    pub fn send(&self, request: Request, reply: Reply) -> Result<(), Closed> {
        self.post(Letter::Arrival(Arrival { request, reply }))
    }

    /// Asks, and waits for room in the queue if it is full; for who may not lose the request and can wait.
    pub fn deliver(&self, request: Request, reply: Reply) -> Result<(), Closed> {
        self.letters.send(Letter::Arrival(Arrival { request, reply })).map_err(|_| Closed::Stopped)
    }

    /// Asks and waits for the answer.
    pub fn call(&self, request: Request) -> Result<Result<Answer, Rejected>, Closed> {
        let (answer, answered) = bounded(1);
        let reply: Reply = Box::new(move |durable| {
            answer.send(durable.into_inner()).ok();
        });
        self.send(request, reply)?;
        answered.recv().map_err(|_| Closed::Stopped)
    }

    /// Lets the engine look at its deadlines. A full queue needs no wake.
    pub fn wake(&self) {
        self.post(Letter::Wake).ok();
    }

    /// Ends the loop once what came before is answered. A stopped engine is as good.
    pub fn close(&self) {
        self.letters.send(Letter::Close).ok();
    }

    /// Moves the test clock and waits until nothing is due. Only a loop on a test clock moves.
    pub fn advance(&self, by: Duration) -> Result<Advanced, Closed> {
        let (answer, answered) = bounded(1);
        self.post(Letter::Advance(
            by,
            Box::new(move |advanced| {
                answer.send(advanced).ok();
            }),
        ))?;
        answered.recv().map_err(|_| Closed::Stopped)
    }

    /// The committed history, for any thread.
    pub fn history(&self) -> Arc<dyn History> {
        self.history.clone()
    }

    fn post(&self, letter: Letter) -> Result<(), Closed> {
        self.letters.try_send(letter).map_err(|error| match error {
            TrySendError::Full(_) => Closed::Full,
            TrySendError::Disconnected(_) => Closed::Stopped,
        })
    }
}

impl Inbox {
    /// The next letters, at most `max`; blocks until there is one, unless something is `due` already. `None`: every
    /// handle is gone, so none will come.
    pub(super) fn wait(&self, due: bool, max: usize) -> Option<Vec<Letter>> {
        let mut letters = Vec::new();
        if !due {
            letters.push(self.letters.recv().ok()?);
        }
        letters.extend(self.letters.try_iter().take(max.saturating_sub(letters.len())));
        Some(letters)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::store::{Backend as _, Memory};

    #[test]
    fn a_request_left_in_the_queue_is_let_go_when_the_loop_ends() {
        let (handle, inbox) = channel(Memory::new().history());
        let (answer, answered) = mpsc::channel();
        let reply: Reply = Box::new(move |durable| answer.send(durable.into_inner()).unwrap());
        handle.send(Request::Status, reply).unwrap();
        drop(inbox);
        assert!(matches!(answered.try_recv(), Err(mpsc::TryRecvError::Disconnected)));
        assert_eq!(handle.send(Request::Status, Box::new(drop)), Err(Closed::Stopped));
    }
}
