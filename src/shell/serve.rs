//! `dwell serve`: puts store, engine, executor and HTTP together, in the order that leaves nothing half-started, and
//! takes them apart again.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context as _, anyhow, bail};
use crossbeam_channel::{Receiver, bounded};

use super::address;
use super::cli::exit::{self, Failure};
use super::cli::out;
use super::clock::Clock;
use super::cluster;
use super::config::{self, Config};
use super::http::{self, Current};
use super::keyring::{Keyring, TokenFileError};
use super::lines;
use super::loading::Loading;
use super::metrics::Metrics;
use super::reload::{self, InForce};
use super::service::{self, Watchdog};
use super::shard::{self, News, Opened, Shard};
use super::signals::{self, Asked};
use super::tokens::Tokens;
use super::traces::Traces;
use crate::engine::{self, Answer, Engine, Handle, ModesView, Request};
use crate::model::{Missing, Scope, Time};
use crate::store::{crash_point, local};

/// How long answers under way may take once the engine has stopped.
pub const HTTP_GRACE: Duration = Duration::from_secs(2);

/// How long who connected through a passed socket has to send a request as the server stops: the next server will not
/// see that connection.
const HTTP_SETTLE: Duration = Duration::from_millis(250);

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
    if let config::Store::Postgres(postgres) = &config.store {
        return cluster::run(read, &config, postgres, options);
    }
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
    let (shared, exec) = (Arc::clone(&running.shard.shared), Arc::clone(&running.shard.exec));
    let loaded = shared.loaded.clone();
    let handle = shared.handle.clone();
    let engines = Box::new(move || {
        let (handle, exec) = (handle.clone(), Arc::clone(&exec));
        vec![reload::Target { shard: engine::Shard::default(), pool: None, handle, exec }]
    });
    reload::Reloader { read, config: running.config.clone(), loaded, clock: clock.clone(), engines }
        .start(asked)?;
    // Somebody waits for this server, not for its words: a closed stdout stops nothing.
    if let Err(error) = out::offer(&welcome(&running, &config, &clock)) {
        tracing::warn!("stdout: {error}; listening on http://{} all the same", running.address());
    }
    service::tell_ready(&format!("listening on http://{}", running.address()));
    let watchdog = |every| Watchdog::start(running.shard.shared.handle.clone(), every, Watchdog::beat);
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

impl Listen {
    /// Where.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Listen::At(at) => Ok(*at),
            Listen::Passed(listener) => listener.local_addr(),
        }
    }

    /// Listens, and how long who has connected has to send a request as the server stops.
    pub fn bind(self) -> anyhow::Result<(TcpListener, Duration)> {
        match self {
            Listen::At(at) => {
                let listener = TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
                Ok((listener, Duration::ZERO))
            }
            Listen::Passed(listener) => Ok((listener, HTTP_SETTLE)),
        }
    }
}

/// A server with everything it runs on.
pub struct Running {
    address: SocketAddr,
    /// Accepted by this server alone.
    token: String,
    data: PathBuf,
    config: InForce,
    shard: Shard,
    settle: Duration,
    stop: Asked,
    drained: Receiver<()>,
    /// Set once the first tick is done.
    http: Option<http::Server>,
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
        let at = listen.address()?;
        let (keyring, token) = keyring(config, at)?;
        let loading = Loading::read(config)?;
        let backend = local::Local::open(&config.data, store_options(config))?;
        let (base, metrics) = (backend.base(), Arc::new(Metrics::default()));
        let backups = Some(http::Backups::of(Arc::new(base.clone())));
        let data = fs::canonicalize(&config.data)?;
        warn_of_others(&data)?;
        let (listener, settle) = listen.bind()?;
        let address = listener.local_addr()?;
        let tokens = Tokens::open(&data).context("cannot open the attempt key")?;
        let traces =
            config.otlp.as_deref().map(|otlp| Traces::start(otlp, Arc::clone(&metrics))).transpose()?;

        let settings = loading.settings();
        let common = shard::Common {
            config: InForce::new(config.clone(), settings.clone()),
            data: data.clone(),
            address,
            tokens,
            metrics,
            loaded: Current::new(loading.loaded()),
            keyring: Arc::new(keyring),
            limits: limits(config),
            traces: traces.map(Arc::new),
        };
        let own = shard::Own {
            store: address::store_header(&data),
            mark: data.display().to_string(),
            clock: clock.clone(),
            figures: Box::new(move || base.figures().ok()),
            backups,
        };
        let opened = Opened::open(&common, own, backend, settings)?;
        let config = common.config;
        let stop = stopper(opened.handle(), clock, &config);
        signals(Arc::clone(&stop))?;
        let (tell_drained, drained) = bounded(1);
        if paused {
            // In the inbox before the engine's thread is there, so the first tick finds it.
            let all = Request::DrainScope { scope: Scope::All, timeout: None };
            opened.handle().deliver(all, Box::new(drop))?;
        }
        let shard = opened.start(Box::new(move |news| match news {
            // Told once is enough.
            News::Drained => drop(tell_drained.try_send(())),
            News::Window(_) => {}
        }))?;
        let mut running = Running { address, token, data, config, shard, settle, stop, drained, http: None };
        match running.accept(listener) {
            Ok(()) => Ok(running),
            // What the engine died of says more than that it is gone.
            Err(error) => Err(running.take_apart().err().unwrap_or(error)),
        }
    }

    /// Accepts requests, once the first tick is done.
    fn accept(&mut self, listener: TcpListener) -> anyhow::Result<()> {
        // Answered by the first tick.
        let shared = &self.shard.shared;
        let Answer::Modes(modes) = shared.handle.call(Request::Modes)?? else {
            bail!("the engine answered something else than the modes")
        };
        tell_blocked(&modes, &shared.loaded);
        self.http = Some(http::Server::start(listener, Arc::clone(shared))?);
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
        let ended = self.shard.stop(kill_after);
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
pub fn limits(config: &Config) -> http::Limits {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    http::Limits { connections: config.limits.connections.min(files / 2), ..config.limits }
}

/// A directory that was there before, or was opened up: payloads and prompts stand in it as they are.
pub fn warn_of_others(data: &Path) -> anyhow::Result<()> {
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

/// What is not as it should be, told when it begins: a live flow that cannot act. Its triggers are taken and its runs
/// wait, or become dead letters.
pub fn tell_blocked(modes: &ModesView, loaded: &Current) {
    for Missing { flow, need, why } in modes.blocked((loaded.get().missing)()) {
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
