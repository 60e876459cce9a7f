//! L3, the executor: carries out what the engine has made durable, as child processes and as HTTP requests.
//!
//! Owns: the held start, the children, their process groups, what they print and what it means. It is told by
//! [`Durable`] effects only, and tells by reports about an attempt number; it decides nothing about a record. Absent
//! on purpose: the engine (the shell wires [`Tell`] to it), and any memory of a record beyond its running attempts.
//!
//! What holds here: nothing of the work runs before its child's identity is durable; an attempt is spawned only when
//! the whole process group of the record's earlier attempts is gone; and no thread outlives its attempt, but for a
//! request whose answer nobody waits for any more when dwell stops.

pub mod agents;
mod attempt;
mod held;
pub mod http;
mod launch;
mod limits;
mod lines;
pub mod logs;
mod process;
mod program;
mod reap;
mod supervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::model::{Effect, Fault, Name, RecordId, Report, Start, Time};
use crate::store::Durable;
pub use attempt::HEARTBEAT_EVERY;
use attempt::{Attempt, Control};
pub use held::{NotRun, hold};
pub use lines::LINE_BYTES_MAX;
pub use reap::{Reaped, reap, reap_all};

/// The environment variable that marks every process of a store's attempts, and is inherited by what they start.
pub const MARK_VAR: &str = "DWELL_HELD_BY";

/// The environment variable with the record's id.
pub const ID_VAR: &str = "DWELL_ID";

/// Records whose logs wait to be removed; beyond it they are removed on the spot.
const FORGET_QUEUED_MAX: usize = 1024;

/// Everything an executor needs to know.
#[derive(Clone)]
pub struct Setup {
    /// How each provider account is started.
    pub runtimes: BTreeMap<Name, RuntimeSetup>,
    /// Where output is kept, see [`logs`].
    pub logs: PathBuf,
    /// The program whose `hold` subcommand is [`hold`]: dwell itself.
    pub hold: PathBuf,
    /// The value of [`MARK_VAR`]; names this store.
    pub mark: String,
    /// Variables of dwell's own environment that no attempt inherits, because secrets stand in them.
    pub withheld: BTreeSet<String>,
    /// `DWELL_SERVER`: where an attempt may call back, if anywhere.
    pub server: Option<String>,
    /// `DWELL_TOKEN`: good for this attempt only.
    pub token: Arc<dyn Fn(RecordId, u32) -> String + Send + Sync>,
    /// `TRACEPARENT` of an attempt, and the header of its request; `None`: nobody follows traces.
    pub traceparent: Option<fn(RecordId, u32) -> String>,
    /// What an agent is told when its provider's window has reset.
    pub limit_prompt: String,
    /// What an agent is told when it was interrupted.
    pub continue_prompt: String,
    /// What time it is.
    pub now: Arc<dyn Fn() -> Time + Send + Sync>,
    /// How long an `http` attempt waits for its answer.
    pub answer_within: Duration,
    /// From SIGTERM to SIGKILL.
    pub kill_after: Duration,
    /// How long a process may go on after its result, and how long a result may take after a rejection.
    pub result_grace: Duration,
}

/// Who reads a runtime's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// Any program: dwell's own protocol, and the exit code.
    Plain,
    /// Claude Code.
    Claude,
    /// OpenAI's Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// opencode.
    Opencode,
}

/// How a provider account is started.
///
/// In `argv` and `resume_argv`, `{prompt}` and `{session}` are replaced inside each element. Where the adapter is an
/// agent's, an argv without `{prompt}` is only the program, with flags that go first (default: the agent's own name),
/// and the rest of the command line is appended. A relative program is looked up from the attempt's working directory.
#[derive(Clone, Debug)]
pub struct RuntimeSetup {
    /// Who reads its stream.
    pub adapter: Adapter,
    /// Program and arguments of an agent; commands bring their own.
    pub argv: Vec<String>,
    /// In place of `argv` when a session is resumed.
    pub resume_argv: Option<Vec<String>>,
    /// Set for every attempt on it.
    pub env: BTreeMap<String, String>,
    /// Where attempts run whose work names no directory.
    pub cwd: Option<PathBuf>,
}

/// How a report reaches the engine, with the way its answer comes back: whether it was accepted. Called from the
/// attempts' threads; must not block for long.
pub type Tell = Arc<dyn Fn(RecordId, u32, Report, Box<dyn FnOnce(bool) + Send>) + Send + Sync>;

/// Carries effects out. Every method may be called from any thread.
pub struct Exec {
    setup: Mutex<Arc<Setup>>,
    tell: Tell,
    roster: Arc<Mutex<Roster>>,
    /// `None` once shut down.
    sweeper: Mutex<Option<Sweeper>>,
}

/// The thread that removes logs, so that a purge of many records holds nobody up.
struct Sweeper {
    forget: Sender<RecordId>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Roster {
    seats: BTreeMap<(RecordId, u32), Seat>,
    /// Set by shutdown: nothing starts any more.
    closed: bool,
}

/// An attempt whose process group may still be there.
struct Seat {
    control: Sender<Control>,
    /// Closed when it is gone.
    gone: Receiver<Infallible>,
}

/// Gives the seat back when the attempt's thread ends, however it does.
struct Seated {
    roster: Arc<Mutex<Roster>>,
    key: (RecordId, u32),
    /// Dropped last, so whoever waits for it finds the seat free.
    _gone: Sender<Infallible>,
}

impl Drop for Seated {
    fn drop(&mut self) {
        lock(&self.roster).seats.remove(&self.key);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exec {
    /// An executor that reports through `tell`.
    pub fn new(setup: Setup, tell: Tell) -> Exec {
        let (forget, forgotten) = bounded::<RecordId>(FORGET_QUEUED_MAX);
        let logs = setup.logs.clone();
        let sweep = move || forgotten.iter().for_each(|id| remove_logs(&logs, id));
        let sweeper = match thread::Builder::new().name("forget".to_owned()).spawn(sweep) {
            Ok(thread) => Some(Sweeper { forget, thread }),
            Err(error) => {
                tracing::warn!(%error, "logs are removed without a thread of their own");
                None
            }
        };
        let setup = Mutex::new(Arc::new(setup));
        Exec { setup, tell, roster: Arc::default(), sweeper: Mutex::new(sweeper) }
    }

    /// Starts attempts otherwise from now on; those that are here end as they began.
    pub fn change(&self, change: impl FnOnce(&mut Setup)) {
        let mut current = lock(&self.setup);
        let mut setup = Setup::clone(&current);
        change(&mut setup);
        *current = Arc::new(setup);
    }

    /// Carries one effect out, without waiting for it. What names an attempt that is not here is done already: a
    /// start that is here, a release or stop of one that is gone.
    pub fn carry_out(&self, effect: Durable<Effect>) {
        match effect.into_inner() {
            Effect::Start(start) => self.start(*start),
            Effect::Release { id, attempt } => self.control(id, attempt, Control::Release),
            Effect::Stop { id, attempt, grace, child: _ } => {
                self.control(id, attempt, Control::Stop { grace });
            }
            Effect::Forget { id } => {
                let sweeper = lock(&self.sweeper);
                if sweeper.as_ref().is_none_or(|sweeper| sweeper.forget.try_send(id).is_err()) {
                    remove_logs(&Arc::clone(&lock(&self.setup)).logs, id);
                }
            }
        }
    }

    /// Attempts whose process group may still be there, held and waiting ones included.
    pub fn outstanding(&self) -> usize {
        lock(&self.roster).seats.len()
    }

    /// Starts nothing more, stops every attempt without a report (SIGTERM, SIGKILL after `grace`), and returns when
    /// nothing of them is left, nor of the logs to be removed.
    pub fn shutdown(&self, grace: Duration) {
        let left: Vec<Receiver<Infallible>> = {
            let mut roster = lock(&self.roster);
            roster.closed = true;
            for seat in roster.seats.values() {
                // An attempt that ends by itself at this moment needs no telling.
                seat.control.send(Control::Shutdown(grace)).ok();
            }
            roster.seats.values().map(|seat| seat.gone.clone()).collect()
        };
        for gone in left {
            // Closed, never sent to.
            gone.recv().ok();
        }
        if let Some(Sweeper { forget, thread }) = lock(&self.sweeper).take() {
            drop(forget);
            // A panic there has been printed, and costs logs only.
            thread.join().ok();
        }
    }

    fn start(&self, start: Start) {
        let (id, attempt) = (start.id, start.attempt);
        let (answers, control) = unbounded();
        let (gone_sender, gone) = bounded(0);
        let earlier = {
            let mut roster = lock(&self.roster);
            if roster.closed || roster.seats.contains_key(&(id, attempt)) {
                return;
            }
            let mut earlier = Vec::new();
            for (_, seat) in roster.seats.range((id, 0)..(id, attempt)) {
                // It may be ending by itself at this moment.
                seat.control.send(Control::Superseded).ok();
                earlier.push(seat.gone.clone());
            }
            roster.seats.insert((id, attempt), Seat { control: answers.clone(), gone });
            earlier
        };
        let seated = Seated { roster: Arc::clone(&self.roster), key: (id, attempt), _gone: gone_sender };
        let (setup, tell) = (Arc::clone(&lock(&self.setup)), Arc::clone(&self.tell));
        let attempt_of = Attempt { setup, tell, start, control, answers, earlier };
        let body = move || {
            attempt_of.run();
            drop(seated);
        };
        if let Err(error) = thread::Builder::new().name(format!("{id}.{attempt}")).spawn(body) {
            let fault = Fault::new("not_spawned", &format!("no thread for the attempt: {error}"));
            (self.tell)(id, attempt, Report::Unavailable(fault), Box::new(|_| {}));
        }
    }

    fn control(&self, id: RecordId, attempt: u32, message: Control) {
        if let Some(seat) = lock(&self.roster).seats.get(&(id, attempt)) {
            // It may be ending by itself at this moment.
            seat.control.send(message).ok();
        }
    }
}

fn remove_logs(logs: &std::path::Path, id: RecordId) {
    if let Err(error) = logs::remove(logs, id) {
        tracing::warn!(%id, %error, "logs of a purged record stay");
    }
}
