//! The way into the engine: a bounded queue, and a thread-safe handle on its near end.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crossbeam_channel::bounded;

use super::answer::Answer;
use super::request::{Arrival, Reply, Request};
use super::settings::{ARRIVALS_QUEUED_MAX, REQUEST_BYTES_MAX, TICK_BYTES_MAX, WAITING_BYTES_MAX};
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
    #[error("too many requests wait for the engine; come back later")]
    Full,
    /// One request with more in it than a commit holds.
    #[error("the request and what it makes are larger than {REQUEST_BYTES_MAX} bytes")]
    TooLarge,
}

/// The near end; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    letters: SyncSender<Letter>,
    waiting_bytes: Arc<AtomicUsize>,
    history: Arc<dyn History>,
}

/// The far end, for the engine's thread.
pub struct Inbox {
    letters: Receiver<Letter>,
    /// The next letter, if somebody had a look at it.
    next: Cell<Option<Letter>>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// Both ends, with the history that the handle lets others read.
pub fn channel(history: Arc<dyn History>) -> (Handle, Inbox) {
    // std's queue, not crossbeam's: it drops what is left in it with its far end, so a request that arrives as the
    // loop ends is answered [`Closed::Stopped`] and does not wait for ever.
    let (near, far) = sync_channel(ARRIVALS_QUEUED_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    (
        Handle { letters: near, waiting_bytes: Arc::clone(&waiting_bytes), history },
        Inbox { letters: far, next: Cell::new(None), waiting_bytes },
    )
}

impl Handle {
    /// Asks; `reply` is called once, on the engine's thread, after the commit. Never blocks.
    pub fn send(&self, request: Request, reply: Reply) -> Result<(), Closed> {
        let bytes = request.bytes();
        if bytes > REQUEST_BYTES_MAX {
            return Err(Closed::TooLarge);
        }
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) > WAITING_BYTES_MAX {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Closed::Full);
        }
        self.post(Letter::Arrival(Arrival { request, reply })).inspect_err(|_| {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    /// Asks, and waits for room in the queue if it is full; for who may not lose the request and can wait.
    pub fn deliver(&self, request: Request, reply: Reply) -> Result<(), Closed> {
        self.waiting_bytes.fetch_add(request.bytes(), Ordering::Relaxed);
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
    /// The next letters, at most `max` and not much more than a tick's bytes; blocks until there is one, unless
    /// something is `due` already. `None`: every handle is gone, so none will come.
    pub(super) fn wait(&self, due: bool, max: usize) -> Option<Vec<Letter>> {
        let mut letters = Vec::new();
        let mut bytes = 0;
        while letters.len() < max && bytes < TICK_BYTES_MAX {
            let letter = if letters.is_empty() && !due && !self.has_more() {
                self.letters.recv().ok()?
            } else {
                match self.take() {
                    Some(letter) => letter,
                    None => break,
                }
            };
            if let Letter::Arrival(arrival) = &letter {
                bytes += arrival.request.bytes();
            }
            letters.push(letter);
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(letters)
    }

    /// Whether a letter is there already.
    pub(super) fn has_more(&self) -> bool {
        let next = self.take();
        let has_more = next.is_some();
        self.next.set(next);
        has_more
    }

    fn take(&self) -> Option<Letter> {
        self.next.take().or_else(|| self.letters.try_recv().ok())
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

    fn trigger(bytes: usize) -> Request {
        let trigger = crate::model::Trigger {
            id: crate::model::TriggerId(1),
            at: Time::ZERO,
            source: "s".into(),
            kind: "s".into(),
            event: "e".to_owned(),
            action: None,
            dedup: None,
            org: "o".into(),
            env: "e".into(),
            payload: vec![b' '; bytes],
            replay_of: None,
            runs: Vec::new(),
        };
        Request::Trigger { trigger: Box::new(trigger), runs: Vec::new(), spool: true }
    }

    #[test]
    fn a_tick_and_the_queue_are_bounded_in_bytes_as_well() {
        let (handle, inbox) = channel(Memory::new().history());
        let send = |bytes| handle.send(trigger(bytes), Box::new(drop));
        assert_eq!(send(REQUEST_BYTES_MAX + 1), Err(Closed::TooLarge));
        (0..3).for_each(|_| send(TICK_BYTES_MAX / 2).unwrap());
        assert_eq!(inbox.wait(false, 100).unwrap().len(), 2, "a tick holds its bytes and no more");
        assert_eq!(inbox.wait(false, 100).unwrap().len(), 1);
        let taken = (0..100).take_while(|_| send(TICK_BYTES_MAX).is_ok()).count();
        assert_eq!(taken, WAITING_BYTES_MAX / TICK_BYTES_MAX + 1);
        while inbox.wait(true, 100).is_some_and(|letters| !letters.is_empty()) {}
        assert_eq!(send(TICK_BYTES_MAX), Ok(()), "what was taken makes room");
    }
}
