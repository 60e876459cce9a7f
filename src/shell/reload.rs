//! Reload: configuration and flow files are read anew and take the place of what was loaded, all of it between two ticks;
//! or something is wrong with them, and then nothing changes and log and `/readyz` say what.
//!
//! Absent on purpose: what takes a restart (`keys::is_reloaded` knows). It is refused by name, not ignored.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::bail;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::clock::Clock;
use super::config::{Config, ConfigError, keys};
use super::http::{Current, Loaded, Reload};
use super::loading::{self, Loading};
use super::{log, serve, service};
use crate::engine::{self, Answer, Handle, ModesView, Pool, Reply, Request};
use crate::exec::Exec;

/// Reads the configuration anew, from where it was read at the start.
pub type Read = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// The configuration in force.
#[derive(Clone)]
pub struct InForce(Arc<Mutex<Config>>, Arc<Mutex<engine::Settings>>, Arc<Reloads>);

/// So many reloads have begun, and are over.
#[derive(Default)]
struct Reloads {
    begun: AtomicU64,
    over: AtomicU64,
}

impl InForce {
    /// The one that was started with, and the settings that were made of it and its flow files.
    pub fn new(config: Config, settings: engine::Settings) -> InForce {
        InForce(Arc::new(Mutex::new(config)), Arc::new(Mutex::new(settings)), Arc::default())
    }

    /// A moment, for who reads settings from it on to ask [`InForce::may_have_changed`].
    pub fn moment(&self) -> u64 {
        self.2.over.load(Ordering::SeqCst)
    }

    /// Whether a reload was under way at that moment, or began since.
    pub fn may_have_changed(&self, since: u64) -> bool {
        self.2.begun.load(Ordering::SeqCst) > since
    }

    /// What the engine of a shard is opened with now: what was loaded, whatever its files say since.
    pub fn settings(&self, shard: engine::Shard) -> engine::Settings {
        loading::of_shard(&self.1.lock().unwrap_or_else(PoisonError::into_inner), shard)
    }

    fn replace(&self, config: Config, settings: engine::Settings) {
        *self.get() = config;
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// As it is now.
    pub fn get(&self) -> MutexGuard<'_, Config> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reload replaces, and where.
pub struct Reloader {
    /// Where configuration comes from.
    pub read: Read,
    /// What is in force.
    pub config: InForce,
    /// Where flows and sources are.
    pub loaded: Current,
    /// What time it is.
    pub clock: Clock,
    /// Every engine there is at that moment.
    pub engines: Box<dyn Fn() -> Vec<Target> + Send>,
}

/// An engine that is to go on with what was read, and what works beside it.
pub struct Target {
    /// Which part of the store it has.
    pub shard: engine::Shard,
    /// What it shares with others.
    pub pool: Option<Pool>,
    /// The way to it.
    pub handle: Handle,
    /// Where runtimes are.
    pub exec: Arc<Exec>,
}

/// Asks for reloads. One that is asked for while another waits to begin is that other one.
#[derive(Clone)]
pub struct Ask(Sender<()>);

impl Ask {
    /// Does not wait for it.
    pub fn reload(&self) {
        match self.0.try_send(()) {
            // Whoever waits to read will read what is there now; whoever has ended does not read any more.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// The way to ask, and where the askings arrive: they may come before there is anything to reload.
pub fn channel() -> (Ask, Receiver<()>) {
    let (ask, asked) = bounded(1);
    (Ask(ask), asked)
}

impl Reloader {
    /// Reloads whenever it is asked for, on a thread of its own, until nobody can ask any more.
    pub fn start(self, asked: Receiver<()>) -> std::io::Result<()> {
        let each = move || asked.iter().for_each(|()| self.reload());
        thread::Builder::new().name("reload".to_owned()).spawn(each)?;
        Ok(())
    }

    fn reload(&self) {
        service::tell_reloading();
        self.config.2.begun.fetch_add(1, Ordering::SeqCst);
        let (status, refused) = match self.all_or_nothing() {
            Ok(done) => {
                tracing::info!("{done}");
                (done, None)
            }
            Err(error) => {
                let why = format!("{error:#}");
                for line in why.lines() {
                    tracing::error!("not reloaded, what was loaded goes on: {line}");
                }
                (format!("not reloaded: {}", why.lines().next().unwrap_or_default()), Some(why))
            }
        };
        self.config.2.over.fetch_add(1, Ordering::SeqCst);
        self.loaded.tell(Reload { at: self.clock.now(), refused });
        service::tell_ready(&status);
    }

    fn all_or_nothing(&self) -> anyhow::Result<String> {
        let fresh = (self.read)()?;
        // Not locked meanwhile: a stop must not wait for an engine that does not answer.
        let in_force = self.config.get().clone();
        let changed: Vec<&str> = in_force.changed(&fresh).into_iter().collect();
        let fixed: Vec<&str> = changed.iter().copied().filter(|path| !keys::is_reloaded(path)).collect();
        if !fixed.is_empty() {
            bail!("{} cannot change while dwell runs: it takes a restart", fixed.join(", "));
        }
        let loading = Loading::read(&fresh)?;
        let keys = if changed.is_empty() { "no key".to_owned() } else { changed.join(", ") };
        let done = format!("reloaded: {} flows, {keys} changed", loading.flows());
        let settings = loading.settings();
        let modes = self.put_in_force(loading, &settings)?;
        log::set_level(&fresh.log.level);
        for warning in &fresh.warnings {
            tracing::warn!("{warning}");
        }
        self.config.replace(fresh, settings);
        if let Some(modes) = modes {
            serve::tell_blocked(&modes, &self.loaded);
        }
        Ok(done)
    }

    /// Between two ticks of each engine: it has the new settings, and before any effect of its next decision is carried out,
    /// executor and HTTP have theirs. The modes are as one of them has them then.
    fn put_in_force(
        &self,
        loading: Loading<'_>,
        settings: &engine::Settings,
    ) -> anyhow::Result<Option<ModesView>> {
        let engines = (self.engines)();
        let asked: Vec<_> = (engines.into_iter())
            .map(|target| {
                let settings = loading::of_shard(settings, target.shard);
                let settings = engine::Settings { pool: target.pool.clone(), ..settings };
                (target, settings, loading.setup())
            })
            .collect();
        let fresh = Arc::new(Mutex::new(Some(loading.loaded())));
        let replace = |current: &Current, fresh: &Mutex<Option<Loaded>>| {
            if let Some(fresh) = fresh.lock().unwrap_or_else(PoisonError::into_inner).take() {
                current.replace(fresh);
            }
        };
        let mut modes = None;
        for (target, settings, setup) in asked {
            let (tell, told) = bounded(1);
            let (exec, current, fresh) = (target.exec, self.loaded.clone(), Arc::clone(&fresh));
            let reply: Reply = Box::new(move |answer| {
                exec.change(setup);
                replace(&current, &fresh);
                tell.send(answer.into_inner()).ok();
            });
            let delivered = target.handle.deliver(Request::Reload(Box::new(settings)), reply).ok();
            match delivered.and_then(|()| told.recv().ok()) {
                Some(Ok(Answer::Modes(view))) => modes = Some(view),
                Some(_) => bail!("the engine answered something else than the modes"),
                // Another process has it by then, and has read its own.
                None if target.pool.is_some() => {}
                None => bail!("the engine has stopped"),
            }
        }
        replace(&self.loaded, &fresh);
        Ok(modes)
    }
}
