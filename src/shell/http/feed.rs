//! Committed transitions, for those who wait for one. It wakes; it does not deliver: who falls behind looks anew.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use crate::model::{RecordId, Transition};
use crate::shell::problem::Problem;

/// A waiter that falls further behind than this looks at its record without having seen the transition.
const KEPT: usize = 1024;

/// Event streams, logs and long polls that are answered at once, unless there are fewer connections.
const WAITING_MAX: usize = 1024;

/// The near end; one for the process.
pub struct Feed {
    free: Arc<Semaphore>,
    moved: broadcast::Sender<RecordId>,
    closed: watch::Sender<bool>,
}

/// One waiter.
pub struct Watching {
    moved: broadcast::Receiver<RecordId>,
    closed: watch::Receiver<bool>,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed::of(WAITING_MAX)
    }
}

impl Feed {
    /// One for a server with so many connections: half of them are left to those who want an answer now.
    pub fn of(connections: usize) -> Feed {
        let free = Arc::new(Semaphore::new((connections / 2).clamp(1, WAITING_MAX)));
        Feed { free, moved: broadcast::channel(KEPT).0, closed: watch::channel(false).0 }
    }

    /// Leave to wait, or to be told for as long as there is news; as long as it is held.
    pub(super) fn waiter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let detail = "too many wait already, for events, logs or changes";
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| Problem::new(429, "waiting_full", detail))
    }

    /// Tells of a committed transition. Never blocks; nobody may be waiting.
    pub fn publish(&self, transition: &Transition) {
        self.moved.send(transition.id).ok();
    }

    /// Lets everybody who waits go, now and from now on.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// From now on.
    pub(super) fn watch(&self) -> Watching {
        Watching { moved: self.moved.subscribe(), closed: self.closed.subscribe() }
    }
}

impl Watching {
    /// Waits until any record may have moved; false once the feed is closed.
    pub(super) async fn anything(&mut self) -> bool {
        tokio::select! {
            closed = self.closed.wait_for(|closed| *closed) => {
                drop(closed);
                false
            }
            moved = self.moved.recv() => !matches!(moved, Err(broadcast::error::RecvError::Closed)),
        }
    }

    /// Waits until the record may have moved; false once the feed is closed.
    pub(super) async fn moved(&mut self, id: RecordId) -> bool {
        loop {
            tokio::select! {
                closed = self.closed.wait_for(|closed| *closed) => {
                    drop(closed);
                    return false;
                }
                moved = self.moved.recv() => match moved {
                    Ok(other) if other != id => {}
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return true,
                    Err(broadcast::error::RecvError::Closed) => return false,
                },
            }
        }
    }
}
