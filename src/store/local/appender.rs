//! Appends frames to the journal: at once, or in a thread of its own, so that more is decided meanwhile. Owns that thread.
//! Absent on purpose: two frames at a time. Each is synced before the next is written, so no crash finds a whole frame
//! behind a torn one; the one that waits only keeps the disk from waiting.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::files::failed;
use super::journal::{Journal, Place};
use crate::store::StoreError;

/// Frames on their way: the one that is appended, and one that waits.
pub(super) const UNDER_WAY_MAX: usize = 2;

/// The engine's end of the thread.
pub(super) struct Appender {
    journal: Arc<Mutex<Journal>>,
    frames: Option<Sender<Vec<u8>>>,
    answers: Receiver<(Result<Place, StoreError>, Vec<u8>)>,
    thread: Option<JoinHandle<()>>,
    under_way: usize,
    /// Of frames before, to be used again.
    buffers: Vec<Vec<u8>>,
}

impl Appender {
    /// Starts the thread for the store in `dir`.
    pub(super) fn start(dir: &Path, journal: Journal) -> Result<Appender, StoreError> {
        let (frames, inbox) = bounded::<Vec<u8>>(UNDER_WAY_MAX);
        let (outbox, answers) = bounded(UNDER_WAY_MAX);
        let journal = Arc::new(Mutex::new(journal));
        let shared = Arc::clone(&journal);
        let run = move || {
            while let Ok(mut frame) = inbox.recv() {
                let appended = append(&shared, &mut frame);
                // Nothing is written after a failure.
                let failed = appended.is_err();
                if outbox.send((appended, frame)).is_err() || failed {
                    break;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("journal".to_owned()).spawn(run);
        let thread = Some(spawned.map_err(failed("start a journal thread for", dir))?);
        Ok(Appender { journal, frames: Some(frames), answers, thread, under_way: 0, buffers: Vec::new() })
    }

    /// How many frames are on their way.
    pub(super) const fn under_way(&self) -> usize {
        self.under_way
    }

    /// Room for a frame.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Puts a frame on stable storage; only while none is on its way.
    pub(super) fn append(&mut self, mut frame: Vec<u8>) -> Result<Place, StoreError> {
        let appended = append(&self.journal, &mut frame);
        self.keep(frame);
        appended
    }

    /// Begins to put a frame on stable storage; only while fewer than [`UNDER_WAY_MAX`] are on their way.
    pub(super) fn begin(&mut self, frame: Vec<u8>) -> Result<(), StoreError> {
        let frames = self.frames.as_ref().ok_or(StoreError::JournalLost)?;
        frames.send(frame).map_err(|_| StoreError::JournalLost)?;
        self.under_way += 1;
        Ok(())
    }

    /// Waits for the first one on its way.
    pub(super) fn wait(&mut self) -> Result<Place, StoreError> {
        let (appended, frame) = self.answers.recv().map_err(|_| StoreError::JournalLost)?;
        self.under_way -= 1;
        self.keep(frame);
        appended
    }

    fn keep(&mut self, mut frame: Vec<u8>) {
        frame.clear();
        frame.shrink_to(FRAME_BYTES_KEPT);
        self.buffers.push(frame);
    }
}

impl Drop for Appender {
    /// Lets go of the files only when nothing is on its way any more.
    fn drop(&mut self) {
        self.frames = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal thread panicked");
        }
    }
}

fn append(journal: &Mutex<Journal>, frame: &mut Vec<u8>) -> Result<Place, StoreError> {
    journal.lock().unwrap_or_else(PoisonError::into_inner).append(frame)
}

/// The buffer kept from one frame to the next.
const FRAME_BYTES_KEPT: usize = 2 * 1024 * 1024;
