//! Looks once a second who is there and who owns what, and says that this node is: on a thread that may wait for PostgreSQL
//! while the node does not.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::{Event, LOOK_EVERY};
use crate::store::StoreError;
use crate::store::postgres::{Shards, View};

/// The near end.
pub(super) struct Looks(Sender<Ask>);

enum Ask {
    /// Look at once.
    Now,
    /// Say that this node is there no more, and go on looking.
    Leave,
}

impl Looks {
    /// Starts the thread, which ends when this is dropped.
    pub(super) fn start(shards: Arc<Shards>, tell: Sender<Event>) -> io::Result<Looks> {
        let (ask, asked) = unbounded();
        thread::Builder::new().name("looks".to_owned()).spawn(move || run(&shards, &asked, &tell))?;
        Ok(Looks(ask))
    }

    /// Something has changed.
    pub(super) fn now(&self) {
        self.0.send(Ask::Now).ok();
    }

    /// The others take what this node gives back from now on.
    pub(super) fn leave(&self) {
        self.0.send(Ask::Leave).ok();
    }
}

fn run(shards: &Shards, asked: &Receiver<Ask>, tell: &Sender<Event>) {
    let mut is_there = true;
    loop {
        if tell.send(Event::Looked(look(shards, is_there))).is_err() {
            return;
        }
        match asked.recv_timeout(LOOK_EVERY) {
            Ok(Ask::Now) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Ask::Leave) => {
                is_there = false;
                if let Err(error) = shards.leave() {
                    tracing::warn!("{error}");
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn look(shards: &Shards, is_there: bool) -> Result<View, StoreError> {
    if is_there && let Some(address) = shards.announce()? {
        tracing::warn!(
            "a node of this name was heard of at {address} just now; if it is another one, give each its own node.name"
        );
    }
    shards.look()
}
