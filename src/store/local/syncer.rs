//! Syncs a frame in a thread of its own, so that the next commit is decided meanwhile. Owns that thread. Absent on purpose:
//! a queue. One frame is on its way at a time, so no crash finds a whole frame behind a torn one.

use std::path::Path;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::files::failed;
use super::journal::Written;
use crate::store::StoreError;

/// The engine's end of the thread.
pub(super) struct Syncer {
    frames: Option<Sender<Written>>,
    answers: Receiver<Result<(), StoreError>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread for the store in `dir`.
    pub(super) fn start(dir: &Path) -> Result<Syncer, StoreError> {
        let (frames, inbox) = bounded::<Written>(1);
        let (outbox, answers) = bounded(1);
        let run = move || {
            while let Ok(frame) = inbox.recv() {
                if outbox.send(frame.sync()).is_err() {
                    break;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("sync".to_owned()).spawn(run);
        let thread = Some(spawned.map_err(failed("start a sync thread for", dir))?);
        Ok(Syncer { frames: Some(frames), answers, thread })
    }

    /// Begins to sync a frame; only while none is on its way.
    pub(super) fn begin(&self, frame: Written) -> Result<(), StoreError> {
        let frames = self.frames.as_ref().ok_or(StoreError::SyncLost)?;
        frames.send(frame).map_err(|_| StoreError::SyncLost)
    }

    /// Waits for the one on its way.
    pub(super) fn wait(&self) -> Result<(), StoreError> {
        self.answers.recv().map_err(|_| StoreError::SyncLost)?
    }
}

impl Drop for Syncer {
    /// Lets go of the files only when nothing is on its way any more.
    fn drop(&mut self) {
        self.frames = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sync thread panicked");
        }
    }
}
