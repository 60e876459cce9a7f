//! The engine on a disk that can fail: in memory, or the real journal in a directory of its own. Absent on purpose: what
//! is right and what is wrong.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use dwell::engine::{Answer, Arrival, Engine, Reply, Request, Settings, Survivor};
use dwell::model::*;
use dwell::store::local::{Local, Options};
use dwell::store::{Backend, Batch, Direction, Durable, History, Memory, Pair, StoreError, Stored as _};

use crate::common::twin::Place;

/// What the next commit does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// Nothing is written: a crash before the write.
    Lost,
    /// All is written and nobody is answered: a crash after it.
    Landed,
    /// Some of it is written: a crash within it. In memory that is nothing.
    Torn { at: u64, garbage: bool },
}

/// The file of a store that says up to where its journal reaches at least.
const PROMISE: &str = "acknowledged";

/// Where a frame was written that is to be torn.
#[derive(Clone, Debug)]
struct Wound {
    file: PathBuf,
    from: usize,
    to: usize,
    /// What the store had written down as acknowledged before it: who dies within a commit writes no more.
    promise: Option<Vec<u8>>,
    dir: PathBuf,
}

#[derive(Default)]
struct Control {
    fault: Option<DiskFault>,
    /// So many reads more, and then none succeeds.
    reads_left: Option<u32>,
    torn: Option<Wound>,
}

/// A backend whose commits and reads can be made to fail.
struct Failing {
    inner: Box<dyn Backend>,
    control: Arc<Mutex<Control>>,
    dir: Option<PathBuf>,
    failed: bool,
}

impl Failing {
    fn read(&self) -> Result<(), StoreError> {
        let mut control = self.control.lock().unwrap();
        let Some(left) = &mut control.reads_left else { return Ok(()) };
        if *left == 0 {
            return Err(StoreError::Injected);
        }
        *left -= 1;
        Ok(())
    }

    /// Writes all of it, and remembers where, so that it can be torn once the files are closed.
    fn wound(&mut self, batch: Batch) -> Result<(), StoreError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let (before, promise) = (segments(dir), std::fs::read(dir.join(PROMISE)).ok());
        self.inner.commit(batch)?;
        for (file, now) in segments(dir) {
            let was = before.get(&file).cloned().unwrap_or_default();
            let differs = |at: &usize| was.get(*at).copied().unwrap_or(0) != now[*at];
            let (from, to) = ((0..now.len()).find(differs), (0..now.len()).rfind(differs));
            if let (Some(from), Some(last)) = (from, to) {
                let (promise, dir) = (promise.clone(), dir.clone());
                self.control.lock().unwrap().torn = Some(Wound { file, from, to: last + 1, promise, dir });
            }
        }
        Ok(())
    }
}

fn segments(dir: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    // A checkpoint that runs beside may remove one that was listed.
    files.filter_map(|file| if_there(std::fs::read(&file)).map(|bytes| (file, bytes))).collect()
}

fn if_there<T>(done: io::Result<T>) -> Option<T> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        done => Some(done.unwrap()),
    }
}

impl Backend for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read()?;
        self.inner.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], way: Direction, limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.read()?;
        self.inner.scan(from, to, way, limit)
    }

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        assert!(!self.failed, "a failed backend is written to again");
        let fault = self.control.lock().unwrap().fault.take();
        self.failed = fault.is_some();
        match fault {
            None => return self.inner.commit(batch),
            Some(DiskFault::Lost) => {}
            Some(DiskFault::Landed) => self.inner.commit(batch)?,
            Some(DiskFault::Torn { .. }) => self.wound(batch)?,
        }
        Err(StoreError::Injected)
    }

    fn history(&self) -> Arc<dyn History> {
        self.inner.history()
    }
}

/// What one tick released.
pub struct Tick {
    /// In the order of the requests.
    pub answers: Vec<Result<Answer, Rejected>>,
    pub claims: Vec<(String, Result<Answer, Rejected>)>,
    pub steps: Vec<Transition>,
    pub effects: Vec<Effect>,
}

type Box_<T> = Arc<Mutex<Vec<T>>>;

/// Where the bytes are while no engine has them.
enum Disk {
    Memory(Memory),
    Local(tempfile::TempDir, Options),
}

/// An engine, its disk and the clock on its wall.
pub struct Rig {
    disk: Disk,
    /// Where it is as well, if it is in memory.
    place: Option<Place>,
    control: Arc<Mutex<Control>>,
    /// The last fault that was asked for.
    pub tear: Option<DiskFault>,
    pub engine: Option<Engine>,
    history: Option<Arc<dyn History>>,
    /// The last commit that the outside knows of.
    pub sequence: u64,
    pub clock: Time,
    settings: Settings,
    listeners: BTreeMap<String, Arc<()>>,
    claims: Box_<(String, Result<Answer, Rejected>)>,
}

impl Rig {
    /// On the real journal if `local` says how it is laid out.
    pub fn new(settings: Settings, clock: Time, local: Option<Options>) -> Rig {
        let (disk, place) = match local {
            None => (Disk::Memory(Memory::new()), Place::next()),
            Some(options) => (Disk::Local(tempfile::tempdir().unwrap(), options), None),
        };
        Rig {
            disk,
            place,
            control: Arc::default(),
            tear: None,
            engine: None,
            history: None,
            sequence: 0,
            clock,
            settings,
            listeners: BTreeMap::new(),
            claims: Box_::default(),
        }
    }

    pub fn fail_next(&mut self, fault: DiskFault) {
        self.control.lock().unwrap().fault = Some(fault);
        self.tear = Some(fault);
    }

    /// Takes back a fault that no commit has met.
    pub fn heal(&mut self) {
        self.control.lock().unwrap().fault = None;
    }

    pub fn crash(&mut self) {
        self.engine = None;
        self.history = None;
        self.listeners.clear();
        self.claims.lock().unwrap().clear();
        let Some(wound) = self.control.lock().unwrap().torn.take() else { return };
        let Some(DiskFault::Torn { at, garbage }) = self.tear else { return };
        let mut bytes = std::fs::read(&wound.file).unwrap();
        let length = (wound.to - wound.from) as u64;
        let cut = wound.from + usize::try_from(at % length).unwrap();
        for (nth, byte) in bytes[cut..wound.to].iter_mut().enumerate() {
            *byte = if garbage { byte.wrapping_add(u8::try_from(nth % 250).unwrap() + 1) } else { 0 };
        }
        std::fs::write(&wound.file, bytes).unwrap();
        match &wound.promise {
            Some(promise) => std::fs::write(wound.dir.join(PROMISE), promise).unwrap(),
            None => if_there(std::fs::remove_file(wound.dir.join(PROMISE))).unwrap_or_default(),
        }
    }

    /// Opens the engine; with `reads`, the disk fails after so many.
    pub fn open(&mut self, reads: Option<u32>) -> Result<Vec<Survivor>, String> {
        let (inner, dir): (Box<dyn Backend>, _) = match (&self.disk, &self.place) {
            (Disk::Memory(memory), None) => (Box::new(memory.clone()), None),
            (Disk::Memory(memory), Some(place)) => {
                // They give the shard back.
                (self.engine, self.history) = (None, None);
                (Box::new(place.open(memory.clone())), None)
            }
            (Disk::Local(dir, options), _) => {
                let local = Local::open(dir.path(), options.clone()).map_err(|error| error.to_string())?;
                (Box::new(local), Some(dir.path().to_owned()))
            }
        };
        let history = inner.history();
        self.control.lock().unwrap().reads_left = reads;
        let backend = Failing { inner, control: Arc::clone(&self.control), dir, failed: false };
        let opened = Engine::open(Box::new(backend), self.settings.clone(), self.clock);
        self.control.lock().unwrap().reads_left = None;
        let (opening, survivors) = opened.map_err(|error| error.to_string())?;
        self.engine = Some(opening.survivors_stopped());
        self.history = Some(history);
        Ok(survivors.into_inner())
    }

    /// The rows as they are on the disk; those of the real journal only its engine reads.
    pub fn rows(&self) -> Option<Memory> {
        match &self.disk {
            Disk::Memory(memory) => Some(memory.clone()),
            Disk::Local(..) => None,
        }
    }

    /// What the disk holds beyond the last commit that was known: its history. `None` if there is no such commit.
    pub fn landed(&mut self) -> Option<Vec<Transition>> {
        let history = self.history.clone().expect("it is open");
        let (known, newest) = (self.sequence, history.newest());
        if newest == known {
            return None;
        }
        self.sequence = newest;
        let events = history.read(known, usize::MAX).unwrap();
        Some(events.iter().map(|(_, bytes)| Transition::decode(bytes).unwrap()).collect())
    }

    /// Somebody who listens to a claim's answer; whoever claims anew listens to the answer before no more.
    pub fn listener(&mut self, worker: &str) -> std::sync::Weak<()> {
        let listener = Arc::new(());
        let weak = Arc::downgrade(&listener);
        self.listeners.insert(worker.to_owned(), listener);
        weak
    }

    pub fn hang_up(&mut self, worker: &str) {
        self.listeners.remove(worker);
    }

    /// One tick. `Err`: the commit failed, and the engine is gone.
    pub fn tick(&mut self, requests: Vec<Request>) -> Result<Tick, String> {
        let answers: Box_<Result<Answer, Rejected>> = Box_::default();
        let arrivals = requests.into_iter().map(|request| {
            let (answers, claims) = (Arc::clone(&answers), Arc::clone(&self.claims));
            let claim = if let Request::Claim(claim) = &request { Some(&**claim) } else { None };
            let worker = claim.map(|claim| (claim.worker.clone(), claim.listener.clone()));
            let reply: Reply = Box::new(move |answer: Durable<_>| match worker {
                Some((worker, listener)) if listener.strong_count() > 0 => {
                    claims.lock().unwrap().push((worker, answer.into_inner()));
                }
                Some(_) => {}
                None => answers.lock().unwrap().push(answer.into_inner()),
            });
            Arrival { request, reply }
        });
        let arrivals: Vec<Arrival> = arrivals.collect();
        let engine = self.engine.take().expect("it is open");
        let (engine, released) = engine.tick(self.clock, arrivals).map_err(|error| error.to_string())?;
        self.engine = Some(engine);
        for pair in released.replies.each() {
            let (reply, answer) = pair.split();
            reply.into_inner()(answer);
        }
        let claims = std::mem::take(&mut *self.claims.lock().unwrap());
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        let (steps, effects) = (released.transitions.into_inner(), released.effects.into_inner());
        Ok(Tick { answers, claims, steps, effects })
    }
}
