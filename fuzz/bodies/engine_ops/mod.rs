//! Any operations on a whole engine, at any times, with crashes, and commits that are lost or land without an answer:
//! after each of them the invariants of the design hold (`order`).
//!
//! The engine stands on the memory backend and a manual clock. The input is text: two digits (settings), then one
//! character an operation, most with digits behind it; see [`Life::operate`] and `script`. Other characters stand for
//! nothing.

mod order;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Copied;
use std::slice::Iter;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dwell::engine::{Answer, Arrival, Engine, Reply, Request, Settings, Survivor};
use dwell::model::{Action, Effect, RecordId, Rejected, Time, TriggerId};
use dwell::store::memory::Fault;
use dwell::store::{Durable, Memory};

type Script<'i> = Copied<Iter<'i, u8>>;

/// Operations of one input; what is behind them stands for nothing. Every record fits a page, and an input takes
/// milliseconds.
const OPERATIONS_MAX: usize = 120;
/// Ticks that may follow one another with something due in each: more are a loop.
const TICKS_MAX: usize = 200;
/// What a digit means as a span, in milliseconds.
const SPANS: [u64; 10] =
    [0, 1, 199, 1_000, 30_000, 600_000, 3_600_000, 86_400_000, 691_200_000, 34_560_000_000];

const START: Time = Time::from_millis(1_790_000_000_000);

pub fn check(bytes: &[u8]) {
    let mut script = bytes.iter().copied();
    let mut life = Life::new(script::settings(digit(&mut script), digit(&mut script)));
    for _ in 0..OPERATIONS_MAX {
        let Some(symbol) = script.next() else { break };
        life.operate(symbol, &mut script);
    }
    life.disk.heal();
    life.put(Vec::new());
    life.is_in_order();
}

fn digit(script: &mut Script<'_>) -> usize {
    usize::from(script.next().unwrap_or(b'0').wrapping_sub(b'0')) % 10
}

fn span(digit: usize) -> Duration {
    Duration::from_millis(SPANS[digit])
}

/// A worker's claim is answered when there is something; the number of a request says which answer is whose.
type Answers = Arc<Mutex<Vec<(usize, Result<Answer, Rejected>)>>>;

/// An engine, and what the outside knows: acknowledged facts that must never be untrue later, and what it runs.
struct Life {
    disk: Memory,
    engine: Option<Engine>,
    settings: Settings,
    now: Time,
    /// A commit landed without an answer: the store may hold what nobody was told.
    landed: bool,
    /// Requests that wait for the one behind them.
    batch: Vec<Request>,
    /// The idempotency key that the next request is under.
    key: Option<usize>,
    /// Added to the attempt that the next report names.
    aim: u32,
    numbers: u128,
    listeners: Vec<Arc<()>>,
    answers: Answers,
    /// Every record that anybody was told of, the oldest first.
    known: Vec<RecordId>,
    /// What dwell runs, and what workers last claimed, done or not.
    running: BTreeMap<RecordId, u32>,
    working: BTreeMap<RecordId, u32>,
    started: BTreeSet<(RecordId, u32)>,
    /// The first of each name, delivery and idempotency key.
    names: BTreeMap<(String, String), RecordId>,
    sent: BTreeMap<TriggerId, String>,
    deliveries: BTreeMap<String, TriggerId>,
    told: BTreeMap<u8, Vec<u8>>,
    order: order::Order,
}

impl Life {
    fn new(settings: Settings) -> Life {
        let mut life = Life {
            disk: Memory::new(),
            engine: None,
            settings,
            now: START,
            landed: false,
            batch: Vec::new(),
            key: None,
            aim: 0,
            numbers: 0,
            listeners: Vec::new(),
            answers: Answers::default(),
            known: Vec::new(),
            running: BTreeMap::new(),
            working: BTreeMap::new(),
            started: BTreeSet::new(),
            names: BTreeMap::new(),
            sent: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            told: BTreeMap::new(),
            order: order::Order::default(),
        };
        life.open();
        life
    }

    /// `+3` passes time, `T` passes it to what is due next, `!` crashes, `l` and `L` lose the next commit or let it land
    /// without an answer, `h` hangs up every waiting claim, `=1` puts the next request under an idempotency key, `<` lets
    /// the next report name the attempt before, `&` lets the next request wait for the one behind it. All else asks.
    fn operate(&mut self, symbol: u8, script: &mut Script<'_>) {
        match symbol {
            b'+' => self.now = self.now.after(span(digit(script))),
            b'T' => {
                let next = self.engine.as_ref().and_then(Engine::next_wake);
                // At the end of time there is no retention any more.
                self.now = self.now.max(next.filter(|next| *next < Time::MAX).unwrap_or(self.now));
            }
            b'!' => return self.crash(),
            b'l' => return self.disk.fail_next(Fault::Lose),
            b'L' => {
                self.landed = true;
                return self.disk.fail_next(Fault::LandUnanswered);
            }
            b'h' => return self.listeners.clear(),
            b'=' => {
                self.key = Some(digit(script));
                return;
            }
            b'<' => {
                self.aim = u32::MAX;
                return;
            }
            b'&' => {
                let request = script.next().and_then(|symbol| self.request(symbol, script));
                self.batch.extend(request);
                return;
            }
            symbol => match self.request(symbol, script) {
                Some(request) => self.batch.push(request),
                None => return,
            },
        }
        let batch = std::mem::take(&mut self.batch);
        self.put(batch);
        self.is_in_order();
    }

    fn open(&mut self) -> Vec<Survivor> {
        let disk = Box::new(self.disk.clone());
        let (opening, survivors) = match Engine::open(disk, self.settings.clone(), self.now) {
            Ok(opened) => opened,
            // The fault that waits for the next commit met this one.
            Err(_) => Engine::open(Box::new(self.disk.clone()), self.settings.clone(), self.now).unwrap(),
        };
        self.engine = Some(opening.survivors_stopped());
        survivors.into_inner()
    }

    /// What dwell ran is stopped before its records may start again; what workers do goes on.
    fn crash(&mut self) {
        self.engine = None;
        self.listeners.clear();
        let survivors = self.open();
        for (id, attempt) in std::mem::take(&mut self.running) {
            let found = survivors.iter().any(|left| (left.id, left.attempt) == (id, attempt));
            assert!(found || self.landed, "{id}/{attempt} runs, and dwell does not know");
        }
        self.put(Vec::new());
        self.is_in_order();
    }

    /// One tick with these requests, and whatever is due at its time as well.
    fn put(&mut self, requests: Vec<Request>) {
        let answers = self.ask(requests);
        for answer in answers.into_iter().flatten() {
            self.hear(&answer);
        }
        for _ in 0..TICKS_MAX {
            let due = self.engine.as_ref().and_then(Engine::next_wake).is_some_and(|next| next <= self.now);
            if !due {
                return;
            }
            self.ask(Vec::new());
        }
        panic!("something is due at {:?} after {TICKS_MAX} ticks", self.now);
    }

    /// One tick; the answers to what is answered at once. A commit that fails ends the engine, and it is opened again.
    fn ask(&mut self, requests: Vec<Request>) -> Vec<Result<Answer, Rejected>> {
        let arrivals = requests.into_iter().enumerate().map(|(nth, request)| {
            let answers = Arc::clone(&self.answers);
            let reply: Reply = Box::new(move |answer: Durable<_>| {
                answers.lock().unwrap().push((nth, answer.into_inner()));
            });
            Arrival { request, reply }
        });
        let engine = self.engine.take().expect("it is opened again at once");
        let Ok((engine, released)) = engine.tick(self.now, arrivals.collect()) else {
            self.crash();
            return Vec::new();
        };
        self.engine = Some(engine);
        for effect in released.effects.into_inner() {
            self.carry_out(effect);
        }
        for pair in released.replies.each() {
            let (reply, answer) = pair.split();
            reply.into_inner()(answer);
        }
        let mut answers = std::mem::take(&mut *self.answers.lock().unwrap());
        answers.sort_by_key(|(nth, _)| *nth);
        answers.into_iter().filter_map(|(_, answer)| self.claimed(answer)).collect()
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start(start) => {
                let one = (start.id, start.attempt);
                assert!(!matches!(start.work.action, Action::Worker { .. }), "{one:?} is a worker's");
                assert!(self.started.insert(one), "{one:?} is started again");
                assert_eq!(self.running.insert(start.id, start.attempt), None, "{one:?} is a second one");
            }
            // A survivor was stopped at open already.
            Effect::Stop { id, attempt, .. } => {
                let runs = self.running.remove(&id);
                assert!(
                    runs.is_none_or(|runs| runs == attempt),
                    "{id}/{attempt} is stopped, and {runs:?} runs"
                );
            }
            Effect::Release { id, attempt } => assert_eq!(self.running.get(&id), Some(&attempt)),
            Effect::Forget { id } => {
                assert!(!self.running.contains_key(&id), "{id} is purged while it runs");
                self.known.retain(|known| *known != id);
                self.order.forget(id);
            }
        }
    }

    /// What a worker was told; any other answer is handed on.
    fn claimed(&mut self, answer: Result<Answer, Rejected>) -> Option<Result<Answer, Rejected>> {
        let Ok(Answer::Claimed(claimed)) = answer else { return Some(answer) };
        for one in claimed {
            assert!(one.lease_until > self.now || self.now == Time::MAX, "{one:?} is lost at once");
            let (id, attempt) = (one.start.id, one.start.attempt);
            assert!(self.started.insert((id, attempt)), "{id}/{attempt} is claimed again");
            self.working.insert(id, attempt);
        }
        None
    }

    /// An acknowledged fact. What retention takes away may be made anew.
    fn hear(&mut self, answer: &Answer) {
        let kept = self.settings.retention > span(9);
        if let Answer::Admitted { detail, duplicate } = answer {
            let record = &detail.record;
            self.known.push(record.id);
            if let Some(key) = &record.key {
                let name = (format!("{}/{}", record.org, record.env), key.clone());
                let first = *self.names.entry(name).or_insert(record.id);
                assert!(!kept || first == record.id, "{first} had the key of {} ({duplicate})", record.id);
            }
        } else if let Answer::Triggered(triggered) = answer {
            self.known.extend(&triggered.runs);
            if let Some(delivery) = self.sent.get(&triggered.trigger) {
                let first = *self.deliveries.entry(delivery.clone()).or_insert(triggered.trigger);
                assert!(!kept || first == triggered.trigger, "{delivery} was {first}, and is {triggered:?}");
            }
        } else if let Answer::Told(told) = answer {
            let first = self.told.entry(told.body[0]).or_insert_with(|| told.body.clone());
            if told.again {
                assert_eq!(*first, told.body, "another answer than the first");
            }
            first.clone_from(&told.body);
        } else if let Answer::Charged(Some(calls)) = answer {
            assert!(calls.limit.is_none_or(|limit| calls.used <= limit), "{calls:?}");
        }
    }
}
