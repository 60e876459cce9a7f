//! One engine with all that works beside it: its thread, its executor, and what handlers ask. A store in files is one
//! shard; of a store in PostgreSQL a process has as many as it owns.
//!
//! Absent on purpose: where the shard's bytes are, and who owns it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

use super::clock::{Alarm, Clock};
use super::config::Config;
use super::http::{self, Backups, Current, Feed, Shared};
use super::ids::Ids;
use super::keyring::Keyring;
use super::metrics::{self, Metrics, Timed};
use super::reload::InForce;
use super::tokens::Tokens;
use super::traces::{self, Span, Traces};
use super::{lines, loading};
use crate::engine::{self, Answer, Engine, EngineError, Handle, Inbox, Released, Request, Settings};
use crate::exec::{self, Exec};
use crate::model::{Runtime, Time, Transition};
use crate::store::{Backend, Stored as _, crash_point};

/// How long an agent may go on after its result, and how long a result may take after a rejection.
const RESULT_GRACE: Duration = Duration::from_secs(30);

const ENGINE_THREAD: &str = "engine";

/// What all shards of a process have in common.
pub struct Common {
    /// The configuration that is in force when a shard is opened.
    pub config: InForce,
    /// The directory for what is kept beside records.
    pub data: PathBuf,
    /// Where attempts call back.
    pub address: SocketAddr,
    /// Of attempts.
    pub tokens: Tokens,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// Flows and sources.
    pub loaded: Current,
    /// Whose requests are carried out.
    pub keyring: Arc<Keyring>,
    /// How much at once.
    pub limits: http::Limits,
    /// Where spans go.
    pub traces: Option<Arc<Traces>>,
}

/// What is a shard's own.
pub struct Own {
    /// Which store it is of, for clients that look for one.
    pub store: String,
    /// In the environment of its attempts, so that what is left of them is found; no other shard has it.
    pub mark: String,
    /// Where `now` comes from.
    pub clock: Clock,
    /// What is known of its files.
    pub figures: http::FiguresNow,
    /// What backups are made of.
    pub backups: Option<Backups>,
}

/// What becomes of a shard that ticks, told on the engine's thread.
pub enum News<'a> {
    /// It was told to drain, and nothing is outstanding any more.
    Drained,
    /// A window changed.
    Window(&'a Runtime),
}

/// Told what becomes of a shard; dropped when it ticks no more.
pub type Tell = Box<dyn Fn(News<'_>) + Send>;

/// A shard that ticks.
pub struct Shard {
    /// What handlers ask.
    pub shared: Arc<Shared>,
    /// Carries its attempts out.
    pub exec: Arc<Exec>,
    thread: JoinHandle<Result<Engine, EngineError>>,
}

/// A shard that is read, with nothing left of what an earlier process started for it, and does not tick yet.
pub struct Opened {
    shared: Arc<Shared>,
    exec: Arc<Exec>,
    engine: Engine,
    inbox: Inbox,
    traces: Option<Arc<Traces>>,
}

impl Opened {
    /// Reads the shard, and stops what survived an earlier process.
    pub fn open<B: Backend + 'static>(
        common: &Common,
        own: Own,
        backend: B,
        settings: Settings,
    ) -> anyhow::Result<Opened> {
        let Own { store, mark, clock, figures, backups } = own;
        let (handle, inbox) = engine::channel(backend.history());
        let backend = Box::new(Timed::new(backend, Arc::clone(&common.metrics)));
        let (opening, survivors) = Engine::open(backend, settings, clock.now())?;
        let config = common.config.get().clone();
        let known: Vec<_> = survivors.into_inner().iter().filter_map(|survivor| survivor.child).collect();
        let reaped = exec::reap(&mark, &known, config.kill_after);
        if !reaped.surviving.is_empty() {
            bail!(
                "processes {:?} of an earlier run cannot be stopped; end them, then start dwell",
                reaped.surviving
            );
        }
        if !reaped.stopped.is_empty() {
            tracing::warn!(pids = ?reaped.stopped, "stopped what an earlier process left running");
        }
        let engine = opening.survivors_stopped();
        // A test clock goes on where the store's time was: every `now` is the same one, and `advance` moves all of it.
        clock.advance_to(engine.now());
        let exec = Arc::new(executor(common, &config, mark, &handle, &clock));
        let (tokens, checked) = (common.tokens.clone(), common.tokens.clone());
        let shared = Arc::new(Shared {
            handle,
            store,
            clock,
            ids: Ids::default(),
            feed: Feed::of(common.limits.connections),
            observed: http::Observed { metrics: Arc::clone(&common.metrics), figures },
            backups,
            logs: logs(&common.data),
            loaded: common.loaded.clone(),
            decode: |bytes| Transition::decode(bytes).ok(),
            token_ok: Arc::new(move |id, attempt, token| checked.is(id, attempt, token)),
            keyring: Arc::clone(&common.keyring),
            limits: common.limits,
            token: Box::new(move |id, attempt| tokens.token(id, attempt)),
        });
        Ok(Opened { shared, exec, engine, inbox, traces: common.traces.clone() })
    }

    /// The way to the engine; what is asked now is in its first tick.
    pub fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    /// Ticks on a thread of its own.
    pub fn start(self, tell: Tell) -> anyhow::Result<Shard> {
        let Opened { shared, exec, engine, inbox, traces } = self;
        let thread = Thread { exec: Arc::clone(&exec), shared: Arc::clone(&shared), traces, tell };
        let thread = thread.start(engine, inbox)?;
        Ok(Shard { shared, exec, thread })
    }
}

impl Shard {
    /// Stops what it has outstanding, without a report, and closes its store once nothing is left: nobody may ask it any
    /// more. An error is what the engine ended of.
    pub fn stop(self, kill_after: Duration) -> anyhow::Result<Engine> {
        self.exec.shutdown(kill_after);
        self.shared.handle.close();
        let ended = self.thread.join().map_err(|_| anyhow!("the engine panicked; see the log"))?;
        Ok(ended?)
    }
}

/// Time as the engine's loop needs it.
struct Ticking {
    clock: Clock,
    alarm: Alarm,
    /// When the ticks began that nothing is released of yet.
    begun: Rc<RefCell<VecDeque<Instant>>>,
}

impl engine::Clock for Ticking {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn tick(&self) -> Time {
        self.begun.borrow_mut().push_back(metrics::now());
        self.clock.now()
    }

    fn arm(&self, at: Option<Time>) {
        if let Err(error) = self.alarm.set(at) {
            tracing::error!(%error, "the alarm cannot be set; deadlines wait for the next request");
        }
    }

    fn advance_to(&self, at: Time) {
        self.clock.advance_to(at);
    }
}

/// The engine's thread: ticks, and hands out what each commit releases.
struct Thread {
    exec: Arc<Exec>,
    shared: Arc<Shared>,
    traces: Option<Arc<Traces>>,
    tell: Tell,
}

impl Thread {
    fn start(self, engine: Engine, inbox: Inbox) -> anyhow::Result<JoinHandle<Result<Engine, EngineError>>> {
        let (wake, clock) = (self.shared.handle.clone(), self.shared.clock.clone());
        let alarm = Alarm::start(&clock, move || wake.wake())?;
        let named = std::thread::Builder::new().name(ENGINE_THREAD.to_owned());
        Ok(named.spawn(move || {
            let begun = Rc::<RefCell<VecDeque<Instant>>>::default();
            let ticking = Ticking { clock, alarm, begun: Rc::clone(&begun) };
            let mut drained = || (self.tell)(News::Drained);
            let mut release = |released| {
                if let Some(began) = begun.borrow_mut().pop_front() {
                    self.shared.observed.metrics.ticked(began.elapsed());
                }
                self.release(released);
            };
            engine::run(engine, &inbox, &ticking, &mut release, &mut drained)
        })?)
    }

    fn release(&self, released: Released) {
        for pair in released.replies.each() {
            let (reply, answer) = pair.split();
            if let Ok(Answer::Flipped(flipped)) = answer.get() {
                lines::flipped(flipped);
            }
            reply.into_inner()(answer);
        }
        crash_point("release.after_replies");
        for effect in released.effects.each() {
            self.exec.carry_out(effect);
        }
        let (transitions, steps) = (released.transitions.get(), released.steps.get());
        self.shared.observed.metrics.released(transitions, steps);
        for (transition, step) in transitions.iter().zip(steps) {
            lines::moved(transition, step);
            if let (Some(traces), Some(span)) = (&self.traces, Span::of(transition, step)) {
                traces.tell(span);
            }
            self.shared.feed.publish(transition);
        }
        for window in released.windows.get() {
            lines::window(window, self.shared.clock.now());
            (self.tell)(News::Window(window));
        }
    }
}

/// Where the output of attempts is kept.
pub fn logs(data: &Path) -> PathBuf {
    data.join("logs")
}

/// The program that attempts are started with, and what looks after them: this one.
pub fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("dwell"))
}

fn executor(common: &Common, config: &Config, mark: String, handle: &Handle, clock: &Clock) -> Exec {
    let (tokens, handle, clock) = (common.tokens.clone(), handle.clone(), clock.clone());
    let setup = exec::Setup {
        runtimes: loading::runtimes(config),
        logs: logs(&common.data),
        hold: program(),
        mark,
        withheld: config.secret_variables(),
        server: Some(format!("http://{}", common.address)),
        token: Arc::new(move |id, attempt| tokens.token(id, attempt)),
        traceparent: config.otlp.is_some().then_some(traces::traceparent),
        limit_prompt: config.resume_prompt.clone(),
        continue_prompt: config.continue_prompt.clone(),
        now: Arc::new(move || clock.now()),
        answer_within: config.answer_within,
        kill_after: config.kill_after,
        result_grace: RESULT_GRACE,
    };
    Exec::new(
        setup,
        Arc::new(move |id, attempt, report, done| {
            let reply: engine::Reply = Box::new(move |answer| done(answer.into_inner().is_ok()));
            let request = Request::Report { id, attempt, report };
            // The engine's own thread (no thread could be made for an attempt) must not wait for itself.
            let on_engine = std::thread::current().name() == Some(ENGINE_THREAD);
            let told = if on_engine { handle.send(request, reply) } else { handle.deliver(request, reply) };
            if let Err(closed) = told {
                tracing::error!(record = %id, attempt, "a report is lost: {closed}");
            }
        }),
    )
}
