//! Brings the frozen overlay into the table, in a thread of its own, then says so in the file `checkpoint`, then
//! releases the segments nobody needs for recovery. Done by halves it is simply done again: replay writes whole
//! values in order.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};

use super::files::failed;
use super::mark;
use super::now;
use super::overlay::Changes;
use super::reserve::Reserve;
use super::retention::Retention;
use super::seal::Verification;
use super::table::{Table, VALUES_AT_ONCE_MAX};
use crate::store::{StoreError, crash_point};

/// While nobody waits for it: a commit meets the disk between two batches, or behind one that is soon over.
const VALUES_AT_REST: usize = 16;

/// After a batch the thread rests for so many times as long as that took, unless somebody waits for it: what commits
/// meanwhile then finds the disk and the table's lock free more often than not.
const REST: u32 = 4;
const REST_MAX: Duration = Duration::from_millis(20);

/// What the thread is asked for.
enum Request {
    /// To read all of the table and compare it with what was written, while there is nothing else to do.
    Verify,
    /// To bring a frozen overlay into the table.
    Checkpoint {
        /// The last commit in it.
        sequence: u64,
        changes: Arc<Changes>,
    },
    /// To make room.
    Release,
    /// Nothing, but to free what the table has: there is much of it, and the engine is not to stand still for that.
    LetGo(Arc<Changes>),
}

/// The engine's end of the checkpoint thread. At most one checkpoint is under way.
pub(super) struct Checkpointer {
    requests: Option<Sender<Request>>,
    answers: Receiver<Result<(), StoreError>>,
    /// Something each time that `taken` has grown.
    steps: Receiver<()>,
    /// How many changes the one under way has brought into the table.
    taken: Arc<AtomicUsize>,
    /// Of so many.
    changes: usize,
    pub(super) closing: Arc<AtomicBool>,
    /// Whether it is not to rest.
    hurried: Arc<AtomicBool>,
    /// Whether the table was found whole, once it was read through.
    pub(super) verified: Arc<OnceLock<bool>>,
    thread: Option<JoinHandle<()>>,
    under_way: bool,
    /// Whether the table was never asked to be verified.
    unverified: bool,
}

impl Checkpointer {
    /// Starts the thread; the table has all commits up to `checkpoint`.
    pub(super) fn start(
        dir: &Path,
        checkpoint: u64,
        table: Arc<Table>,
        retention: Retention,
        reserve: Arc<Reserve>,
    ) -> Result<Checkpointer, StoreError> {
        let (requests, inbox) = bounded::<Request>(2);
        // An answer to what was asked, and the failure that is the last one.
        let (outbox, answers) = bounded(2);
        let (told, steps) = bounded(1);
        let taken = Arc::new(AtomicUsize::new(0));
        let (closing, hurried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let verified = Arc::new(OnceLock::new());
        let mut thread = Thread {
            dir: dir.to_owned(),
            done: checkpoint,
            table,
            retention,
            reserve,
            told,
            taken: Arc::clone(&taken),
            closing: Arc::clone(&closing),
            hurried: Arc::clone(&hurried),
            verification: None,
            verified: Arc::clone(&verified),
        };
        let run = move || {
            thread.keep_reserve();
            while let Some(request) = thread.next(&inbox) {
                let answer = match request {
                    Ok(request) => thread.carry_out(request),
                    Err(failure) => Some(Err(failure)),
                };
                let Some(answer) = answer else { continue };
                // Nothing is written after a failure, nor let go.
                let failed = answer.is_err();
                if outbox.send(answer).is_err() || failed {
                    break;
                }
            }
            // Who still waits for it finds the store closed.
            thread.verified.get_or_init(|| true);
        };
        let spawned = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(run);
        let thread = Some(spawned.map_err(failed("start a checkpoint thread for", dir))?);
        let requests = Some(requests);
        Ok(Checkpointer {
            requests,
            answers,
            steps,
            taken,
            changes: 0,
            closing,
            hurried,
            verified,
            thread,
            under_way: false,
            unverified: true,
        })
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Starts verifying the table, the first time it is asked. Whoever opens a store reads all of it once, and is not to share
    /// the disk with this.
    pub(super) fn verify(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.unverified) { self.send(Request::Verify) } else { Ok(()) }
    }

    /// Waits until the table is verified, which was begun.
    pub(super) fn whole(&self) -> Result<(), StoreError> {
        if *self.verified.wait() {
            return Ok(());
        }
        // It may come behind an answer, and the thread has ended with it.
        Err(self.answers.iter().find_map(Result::err).unwrap_or(StoreError::CheckpointLost))
    }

    /// Starts bringing `changes` into the table; only while none is under way.
    pub(super) fn begin(&mut self, sequence: u64, changes: Arc<Changes>) -> Result<(), StoreError> {
        self.changes = changes.len();
        self.taken.store(0, Ordering::Relaxed);
        self.ask(Request::Checkpoint { sequence, changes })
    }

    /// Starts making what room can be made without writing; only while none is under way, and counts as one.
    pub(super) fn release(&mut self) -> Result<(), StoreError> {
        self.ask(Request::Release)
    }

    /// Frees what a checkpoint has brought into the table.
    pub(super) fn let_go(&self, changes: Arc<Changes>) -> Result<(), StoreError> {
        self.send(Request::LetGo(changes))
    }

    fn ask(&mut self, request: Request) -> Result<(), StoreError> {
        self.send(request)?;
        self.under_way = true;
        Ok(())
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        let requests = self.requests.as_ref().ok_or(StoreError::CheckpointLost)?;
        let failure = || self.answers.try_iter().find_map(Result::err);
        requests.send(request).map_err(|_| failure().unwrap_or(StoreError::CheckpointLost))
    }

    /// As much of `whole` as the one under way has done of its own.
    pub(super) fn share(&self, whole: usize) -> usize {
        let taken = self.taken.load(Ordering::Relaxed).min(self.changes);
        whole.saturating_mul(taken).checked_div(self.changes).unwrap_or(whole)
    }

    /// Has the one under way, if there is one, not rest any more.
    pub(super) fn hurry(&self) {
        if self.under_way
            && !self.hurried.swap(true, Ordering::Relaxed)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }

    /// Whether one has ended since it was last asked.
    pub(super) fn has_ended(&mut self) -> Result<bool, StoreError> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.ended();
                answer.map(|()| true)
            }
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err(StoreError::CheckpointLost),
        }
    }

    /// Waits until the one under way has come further; answers whether it has ended.
    pub(super) fn come_on(&mut self) -> Result<bool, StoreError> {
        self.hurry();
        select! {
            recv(self.steps) -> step => match step {
                Ok(()) => Ok(false),
                // The thread has ended.
                Err(_) => self.wait().map(|()| true),
            },
            recv(self.answers) -> answer => {
                self.ended();
                answer.map_err(|_| StoreError::CheckpointLost)?.map(|()| true)
            }
        }
    }

    /// Waits for the one under way.
    pub(super) fn wait(&mut self) -> Result<(), StoreError> {
        self.hurry();
        let answer = self.answers.recv().map_err(|_| StoreError::CheckpointLost)?;
        self.ended();
        answer
    }

    fn ended(&mut self) {
        self.under_way = false;
        self.hurried.store(false, Ordering::Relaxed);
    }
}

impl Drop for Checkpointer {
    /// Ends the thread between two batches: what it leaves undone, the next open replays.
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.hurry();
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

struct Thread {
    dir: PathBuf,
    /// What the mark says.
    done: u64,
    table: Arc<Table>,
    retention: Retention,
    reserve: Arc<Reserve>,
    told: Sender<()>,
    taken: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
    hurried: Arc<AtomicBool>,
    /// How far the table is verified; `None` before it is begun and once it is done.
    verification: Option<Verification>,
    verified: Arc<OnceLock<bool>>,
}

impl Thread {
    /// What is asked next, or what was found while nothing was. `None`: nothing ever will be.
    fn next(&mut self, inbox: &Receiver<Request>) -> Option<Result<Request, StoreError>> {
        while self.verification.is_some() {
            match inbox.try_recv() {
                Ok(request) => return Some(Ok(request)),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if let Err(error) = self.verify() {
                return Some(Err(error));
            }
        }
        inbox.recv().ok().map(Ok)
    }

    /// Reads the next rows of the verification, if one is under way. What it held back goes with the next checkpoint.
    fn verify(&mut self) -> Result<(), StoreError> {
        let Some(verification) = &mut self.verification else { return Ok(()) };
        match self.table.verify(verification) {
            Ok(false) => {}
            Ok(true) => {
                self.verification = None;
                self.verified.get_or_init(|| true);
            }
            Err(error) => {
                tracing::error!(%error, "the table is damaged");
                self.verified.get_or_init(|| false);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The answer, if somebody waits for one.
    fn carry_out(&mut self, request: Request) -> Option<Result<(), StoreError>> {
        match request {
            Request::Verify => {
                self.verification = Some(self.table.verification());
                None
            }
            Request::Checkpoint { sequence, changes } => {
                Some(self.checkpoint(sequence, &changes).inspect(|()| self.make_room()))
            }
            Request::Release => {
                self.make_room();
                Some(Ok(()))
            }
            Request::LetGo(changes) => {
                drop(changes);
                None
            }
        }
    }

    fn checkpoint(&mut self, sequence: u64, changes: &Changes) -> Result<(), StoreError> {
        let taken = Arc::clone(&self.taken);
        let changes = changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        let mut changes = changes.inspect(|_| _ = taken.fetch_add(1, Ordering::Relaxed)).peekable();
        while changes.peek().is_some() {
            // Who waits for it looks once for many steps.
            self.told.try_send(()).ok();
            if self.closing.load(Ordering::Relaxed) {
                return Ok(());
            }
            let begun = now();
            let is_hurried = self.hurried.load(Ordering::Relaxed);
            let values = if is_hurried { VALUES_AT_ONCE_MAX } else { VALUES_AT_REST };
            self.table.write(&mut changes, values, self.verification.as_mut())?;
            if self.verification.is_some() {
                // It comes to its end also where there is always something to write.
                self.verify()?;
            } else if changes.peek().is_some() && !is_hurried {
                std::thread::park_timeout((begun.elapsed() * REST).min(REST_MAX));
            }
        }
        self.table.sync(sequence)?;
        crash_point("checkpoint.after_table");
        write_mark(&self.dir, sequence)?;
        crash_point("checkpoint.after_file");
        self.done = sequence;
        Ok(())
    }

    /// Nothing is owed to old history: what cannot be removed now is tried again next time. As long as nobody knows whether the
    /// table is whole, all of it stays: it may be made again from that.
    fn make_room(&self) {
        if self.verification.is_none()
            && let Err(error) = self.retention.release(self.done)
        {
            tracing::warn!("old history stays: {error}");
        }
        self.keep_reserve();
    }

    fn keep_reserve(&self) {
        if let Err(error) = self.reserve.make() {
            tracing::warn!("there is no reserve: {error}");
        }
    }
}

/// The file that holds the last checkpoint's sequence.
pub(super) fn mark_path(dir: &Path) -> PathBuf {
    dir.join("checkpoint")
}

/// Says that the table in `dir` has all commits up to `sequence`.
pub(super) fn write_mark(dir: &Path, sequence: u64) -> Result<(), StoreError> {
    mark::write(&mark_path(dir), sequence)
}

/// The last commit that the table has for certain; 0 before the first checkpoint.
pub(super) fn read_mark(dir: &Path) -> Result<u64, StoreError> {
    mark::read(&mark_path(dir))
}
