//! `dwell serve`: puts store, engine, executor and HTTP together, in the order that leaves nothing half-started, and
//! takes them apart again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context as _, anyhow, bail};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::address;
use super::cli::exit::{self, Failure};
use super::cli::out;
use super::clock::{Alarm, Clock};
use super::config::{self, Config};
use super::http::{self, Current, Feed, Shared};
use super::ids::Ids;
use super::keyring::{Keyring, TokenFileError};
use super::lines;
use super::loading::{self, Loading};
use super::metrics::{self, Metrics, Timed};
use super::reload::{self, InForce};
use super::service::{self, Watchdog};
use super::signals::{self, Asked};
use super::tokens::Tokens;
use super::traces::{self, Span, Traces};
use crate::engine::{self, Answer, Engine, EngineError, Handle, Inbox, ModesView, Released, Request};
use crate::exec::{self, Exec};
use crate::model::{Missing, Scope, Time, Transition};
use crate::store::{Stored as _, crash_point, local};

/// How long answers under way may take once the engine has stopped.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// How long who connected through a passed socket has to send a request as the server stops: the next server will not
/// see that connection.
const HTTP_SETTLE: Duration = Duration::from_millis(250);

/// How long an agent may go on after its result, and how long a result may take after a rejection.
const RESULT_GRACE: Duration = Duration::from_secs(30);

const ENGINE_THREAD: &str = "engine";

/// What only the command line says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Stand still at this time (or where the store's time was, if that is later), and move only by
    /// `POST /v1/clock/advance`.
    pub test_clock: Option<Time>,
    /// Drain everything before the first tick.
    pub paused: bool,
}

/// `dwell serve`: until a signal stops it.
pub fn run(read: reload::Read, options: &Options) -> anyhow::Result<ExitCode> {
    let config = read()?;
    let passed = service::passed_listener(config.listen)?;
    super::log::start(&config.log)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let clock = options.test_clock.map_or(Clock::System, Clock::test);
    let (ask, asked) = reload::channel();
    let signals = move |stop: Asked| {
        let stopping = move || {
            service::tell_stopping();
            stop();
        };
        signals::register(Arc::new(stopping), Arc::new(move || ask.reload()))
    };
    let listen = passed.map_or(Listen::At(config.listen), Listen::Passed);
    let running = Running::start(&config, listen, &clock, options.paused, signals)?;
    let (shared, exec) = (Arc::clone(&running.shared), Arc::clone(&running.exec));
    reload::Reloader { read, config: running.config.clone(), shared, exec }.start(asked)?;
    // Somebody waits for this server, not for its words: a closed stdout stops nothing.
    if let Err(error) = out::offer(&welcome(&running, &config, &clock)) {
        tracing::warn!("stdout: {error}; listening on http://{} all the same", running.address());
    }
    service::tell_ready(&format!("listening on http://{}", running.address()));
    let watchdog = |every| Watchdog::start(running.handle.clone(), every, Watchdog::beat);
    let watchdog = service::watchdog_every().map(watchdog).transpose()?;
    running.wait()?;
    drop(watchdog);
    Ok(ExitCode::SUCCESS)
}

/// Serves on a free port while `session` runs, for a command that found no server; it gets the address, and a token.
pub fn foreground_for_run(
    config: &Config,
    session: &mut dyn FnMut(&str, &str) -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    // Whoever waits for the session is told how it ends.
    let level = format!("warn,{}=error", lines::RECORD);
    let quiet = config::Log { level, ..config.log.clone() };
    super::log::start(&quiet)?;
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Nobody reloads what ends with its session, and a terminal that is gone ends both.
    let signals = |stop: Asked| signals::register(Arc::clone(&stop), stop);
    let running = Running::start(config, Listen::At(local), &Clock::System, false, signals)?;
    let (url, stop) = (format!("http://{}", running.address()), Arc::clone(&running.stop));
    let token = running.token.clone();
    // A signal drains the server while the session waits for it: then its questions must find nobody, not wait on.
    let waiting = std::thread::spawn(move || running.wait());
    let ended = session(&url, &token);
    stop();
    waiting.join().map_err(|_| anyhow!("the server panicked; see the log"))??;
    ended
}

fn welcome(running: &Running, config: &Config, clock: &Clock) -> String {
    let address = running.address();
    let mut text = format!("dwell is listening on http://{address}, its store is {}", config.data.display());
    if clock.is_test() {
        write!(text, ", its clock stands at {}", super::time::format(clock.now())).unwrap_or_default();
    }
    text.push_str("\ntry: that address in a browser    dwell run -- echo hi    dwell ls    dwell --help");
    text
}

/// Where a server listens.
pub enum Listen {
    /// There.
    At(SocketAddr),
    /// On this one, which others hold as well.
    Passed(TcpListener),
}

/// A server with everything it runs on.
pub struct Running {
    address: SocketAddr,
    /// Accepted by this server alone.
    token: String,
    handle: Handle,
    data: PathBuf,
    config: InForce,
    shared: Arc<Shared>,
    settle: Duration,
    stop: Asked,
    engine: JoinHandle<Result<Engine, EngineError>>,
    drained: Receiver<()>,
    exec: Arc<Exec>,
    /// Set once the first tick is done.
    http: Option<http::Server>,
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

impl Running {
    /// Lock and recover, bind, stop what survived an earlier process, first tick, accept. `listen` replaces the
    /// configured address; `paused` drains everything before the first tick; `signals` is told how to stop it.
    pub fn start(
        config: &Config,
        listen: Listen,
        clock: &Clock,
        paused: bool,
        signals: impl FnOnce(Asked) -> io::Result<()>,
    ) -> anyhow::Result<Running> {
        let at = match &listen {
            Listen::At(at) => *at,
            Listen::Passed(listener) => listener.local_addr()?,
        };
        let (keyring, token) = keyring(config, at)?;
        let loading = Loading::read(config)?;
        let backend = local::Local::open(&config.data, store_options(config))?;
        let (base, metrics) = (backend.base(), Arc::new(Metrics::default()));
        let backups = http::Backups::of(Arc::new(base.clone()));
        let observed =
            http::Observed { metrics: Arc::clone(&metrics), figures: Box::new(move || base.figures().ok()) };
        let data = fs::canonicalize(&config.data)?;
        warn_of_others(&data)?;
        let (listener, settle) = match listen {
            Listen::At(at) => {
                (TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?, Duration::ZERO)
            }
            Listen::Passed(listener) => (listener, HTTP_SETTLE),
        };
        let address = listener.local_addr()?;
        let tokens = Tokens::open(&data).context("cannot open the attempt key")?;
        let (handle, inbox) = engine::channel(crate::store::Backend::history(&backend));

        let backend = Box::new(Timed::new(backend, Arc::clone(&metrics)));
        let (opening, survivors) =
            Engine::open(backend, loading.settings(engine::Shard::default()), clock.now())?;
        let mark = data.display().to_string();
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

        let traces = config.otlp.as_deref().map(|otlp| Traces::start(otlp, metrics)).transpose()?;
        let exec = Arc::new(executor(config, &data, mark, address, &tokens, &handle, clock));
        let shared = Arc::new(Shared {
            handle: handle.clone(),
            store: address::store_header(&data),
            clock: clock.clone(),
            ids: Ids::default(),
            feed: Feed::of(limits(config).connections),
            observed,
            backups,
            logs: logs(&data),
            loaded: Current::new(loading.loaded()),
            decode: |bytes| Transition::decode(bytes).ok(),
            token_ok: Box::new({
                let tokens = tokens.clone();
                move |id, attempt, token| tokens.is(id, attempt, token)
            }),
            keyring,
            limits: limits(config),
            token: Box::new(move |id, attempt| tokens.token(id, attempt)),
        });
        let config = InForce::new(config.clone());
        let stop = stopper(&handle, clock, &config);
        signals(Arc::clone(&stop))?;
        let (tell_drained, drained) = bounded(1);
        if paused {
            // In the inbox before the engine's thread is there, so the first tick finds it.
            handle.deliver(Request::DrainScope { scope: Scope::All, timeout: None }, Box::new(drop))?;
        }
        let thread = Thread { exec: Arc::clone(&exec), shared: Arc::clone(&shared), traces, tell_drained };
        let engine = thread.start(engine, inbox)?;
        let http = None;
        let mut running = Running {
            address,
            token,
            handle,
            data,
            config,
            shared,
            settle,
            stop,
            engine,
            drained,
            exec,
            http,
        };
        match running.accept(listener) {
            Ok(()) => Ok(running),
            // What the engine died of says more than that it is gone.
            Err(error) => Err(running.take_apart().err().unwrap_or(error)),
        }
    }

    /// Accepts requests, once the first tick is done.
    fn accept(&mut self, listener: TcpListener) -> anyhow::Result<()> {
        // Answered by the first tick.
        let Answer::Modes(modes) = self.handle.call(Request::Modes)?? else {
            bail!("the engine answered something else than the modes")
        };
        tell_blocked(&modes, &self.shared);
        self.http = Some(http::Server::start(listener, Arc::clone(&self.shared))?);
        address::write(&self.data, &format!("http://{}", self.address))
            .context("cannot write the address file")
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the engine is drained (or broke), then takes everything apart.
    pub fn wait(self) -> anyhow::Result<()> {
        // An error is the engine's end: its thread dropped the other side.
        self.drained.recv().ok();
        self.take_apart()
    }

    /// The engine answers until nobody can ask any more; the store is closed last, when no child is left that a next
    /// process would have to stop.
    fn take_apart(self) -> anyhow::Result<()> {
        if let Some(http) = self.http {
            http.stop(self.settle, HTTP_GRACE);
        }
        crash_point("stop.after_http");
        let kill_after = self.config.get().kill_after;
        self.exec.shutdown(kill_after);
        self.handle.close();
        let ended = self.engine.join().map_err(|_| anyhow!("the engine panicked; see the log"))?;
        crash_point("stop.after_close");
        let removed = address::remove(&self.data);
        // Why the engine ended says more than what its end left behind.
        ended
            .map(Engine::close_at_exit)
            .context("the engine stopped; nothing acknowledged is lost, start dwell again")?;
        Ok(removed?)
    }
}

/// Whom a server on `listen` lets in, and a token for who started it.
pub fn keyring(config: &Config, listen: SocketAddr) -> anyhow::Result<(Keyring, String)> {
    let opened = Keyring::open(config.tokens().path().to_owned(), config.needs_tokens(listen));
    Ok(opened.and_then(Keyring::with_own).map_err(|error| {
        let reached = !listen.ip().is_loopback() && matches!(error, TokenFileError::Missing { .. });
        let why =
            || format!("others than this machine reach {listen}, so it is served only with tokens: {error}");
        let message = if reached { why() } else { error.to_string() };
        Failure { exit: exit::CONFIG, message }
    })?)
}

/// As configured; at most half of the files that the process may open are connections.
fn limits(config: &Config) -> http::Limits {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    http::Limits { connections: config.limits.connections.min(files / 2), ..config.limits }
}

/// A directory that was there before, or was opened up: payloads and prompts stand in it as they are.
fn warn_of_others(data: &Path) -> anyhow::Result<()> {
    let mode = fs::metadata(data)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let shown = data.display();
        tracing::warn!(
            "others can get at {shown} (mode {mode:03o}): chmod 700 {shown} keeps it to its owner"
        );
    }
    Ok(())
}

/// What stops a server, from any thread.
fn stopper(handle: &Handle, clock: &Clock, config: &InForce) -> Asked {
    let (handle, clock, config) = (handle.clone(), clock.clone(), config.clone());
    Arc::new(move || {
        let until = clock.now().after(config.get().drain_timeout);
        // Waits for room if the queue is full; already stopped is as good.
        handle.deliver(Request::Drain { until }, Box::new(drop)).ok();
    })
}

/// The engine's thread: ticks, and hands out what each commit releases.
struct Thread {
    exec: Arc<Exec>,
    shared: Arc<Shared>,
    traces: Option<Traces>,
    tell_drained: Sender<()>,
}

impl Thread {
    fn start(self, engine: Engine, inbox: Inbox) -> anyhow::Result<JoinHandle<Result<Engine, EngineError>>> {
        let (wake, clock) = (self.shared.handle.clone(), self.shared.clock.clone());
        let alarm = Alarm::start(&clock, move || wake.wake())?;
        let named = std::thread::Builder::new().name(ENGINE_THREAD.to_owned());
        Ok(named.spawn(move || {
            let begun = Rc::<RefCell<VecDeque<Instant>>>::default();
            let ticking = Ticking { clock, alarm, begun: Rc::clone(&begun) };
            let mut drained = || self.tell_drained.send(()).unwrap_or_default();
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
        }
    }
}

/// What is not as it should be, told when it begins: a live flow that cannot act. Its triggers are taken and its runs
/// wait, or become dead letters.
pub fn tell_blocked(modes: &ModesView, shared: &Shared) {
    for Missing { flow, need, why } in modes.blocked((shared.loaded.get().missing)()) {
        tracing::error!(%flow, need, dispatcher = "blocked", "flow {flow} is live and blocked: {why}");
    }
}

/// The bounds of the store.
pub fn store_options(config: &Config) -> local::Options {
    let defaults = local::Options::default();
    // On a small disk a checkpoint must not need more than what is to stay free.
    let checkpoint_bytes = usize::try_from(config.segment_bytes / 2).unwrap_or(usize::MAX);
    local::Options {
        segment_bytes: config.segment_bytes,
        checkpoint_bytes: checkpoint_bytes.min(defaults.checkpoint_bytes),
        history_bytes_max: config.history_bytes,
        history_age_max: config.history_for,
        archive: config.archive.clone(),
        min_free: config.min_free,
        ..defaults
    }
}

/// Where the output of attempts is kept.
pub fn logs(data: &Path) -> PathBuf {
    data.join("logs")
}

fn executor(
    config: &Config,
    data: &Path,
    mark: String,
    address: SocketAddr,
    tokens: &Tokens,
    handle: &Handle,
    clock: &Clock,
) -> Exec {
    let (tokens, handle, clock) = (tokens.clone(), handle.clone(), clock.clone());
    let setup = exec::Setup {
        runtimes: loading::runtimes(config),
        logs: logs(data),
        hold: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("dwell")),
        mark,
        withheld: config.secret_variables(),
        server: Some(format!("http://{address}")),
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
