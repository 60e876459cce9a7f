//! Puts a node together and takes it apart.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use crossbeam_channel::{Sender, unbounded};

use super::guard::Guard;
use super::looks::Looks;
use super::opening::node_mark;
use super::windows::Windows;
use super::{Event, Node, Standing, Standings, ends_within};
use crate::engine::{self, Pool};
use crate::exec;
use crate::shell::cli::out;
use crate::shell::clock::Clock;
use crate::shell::config::{Config, Postgres};
use crate::shell::http::front::{Front, Nodes, router};
use crate::shell::http::{self, Current, Entrance, Feed};
use crate::shell::loading::Loading;
use crate::shell::metrics::{self, Metrics};
use crate::shell::reload::{self, InForce, Target};
use crate::shell::serve::{self, HTTP_GRACE, Listen};
use crate::shell::service;
use crate::shell::shard::{Common, program};
use crate::shell::signals::{self, Asked};
use crate::shell::tokens::Tokens;
use crate::shell::traces::Traces;
use crate::shell::{address, log};
use crate::store::local::Lock;
use crate::store::postgres::{Heard, Member, Shards};

/// `dwell serve` on a store in PostgreSQL: until a signal stops it.
pub fn run(
    read: reload::Read,
    config: &Config,
    postgres: &Postgres,
    options: &serve::Options,
) -> anyhow::Result<ExitCode> {
    if options.test_clock.is_some() || options.paused {
        bail!(
            "--test-clock and --paused are for a store in files; drain a store in PostgreSQL with dwell drain"
        );
    }
    let passed = service::passed_listener(config.listen)?;
    log::start(&config.log)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let listen = passed.map_or(Listen::At(config.listen), Listen::Passed);
    let at = listen.address()?;
    let (keyring, _) = serve::keyring(config, at)?;
    let loading = Loading::read(config)?;
    let (data, _lock) = home(config)?;
    let (listener, settle) = listen.bind()?;
    let address = listener.local_addr()?;

    let member = member(config, postgres, address)?;
    let (node, lease) = (member.name.clone(), member.lease);
    let (tell, events) = unbounded();
    let (guard, shards) = guarded(postgres, member, &data, &tell)?;
    let tokens = Tokens::of_key(&shards.secret()?)?;

    let metrics = Arc::new(Metrics::default());
    let traces = config.otlp.as_deref().map(|otlp| Traces::start(otlp, Arc::clone(&metrics))).transpose()?;
    let common = Arc::new(Common {
        config: InForce::new(config.clone(), loading.settings()),
        data: data.clone(),
        address,
        tokens: tokens.clone(),
        metrics,
        loaded: Current::new(loading.loaded()),
        keyring: Arc::new(keyring),
        limits: serve::limits(config),
        traces: traces.map(Arc::new),
    });
    let proof = tokens.node();
    let front = Arc::new(front(&common, tokens, node.clone(), shards.count(), &tell));
    let pool = Pool::default();
    let standings = Standings::default();

    let (ask, reloads) = reload::channel();
    let (stop, reload) = (tell.clone(), ask.clone());
    let stop: Asked = Arc::new(move || {
        service::tell_stopping();
        stop.send(Event::Stop).ok();
    });
    signals::register(stop, Arc::new(move || ask.reload()))?;
    let engines = engines(&front, &pool, &standings);
    let (loaded, in_force) = (common.loaded.clone(), common.config.clone());
    reload::Reloader { read, config: in_force, loaded, clock: Clock::System, engines }.start(reloads)?;

    let closing = Arc::clone(&front);
    let let_go = Box::new(move || {
        closing.feed.close();
        closing.table.local().iter().for_each(|(_, shared)| shared.feed.close());
    });
    let (count, shards) = (shards.count(), Arc::new(shards));
    let working = Node {
        windows: Windows::start(proof)?,
        common: Arc::clone(&common),
        front: Arc::clone(&front),
        looks: Looks::start(Arc::clone(&shards), tell.clone())?,
        reload,
        guard,
        shards,
        pool,
        standings,
        events,
        tell,
        expected: (0, metrics::now()),
        out_of_reach: false,
        refused: BTreeMap::new(),
        lease,
        stopping: false,
        watchdog: service::watchdog_every().is_some(),
    };
    let http =
        http::Server::serve(listener, router(Arc::clone(&front)), common.limits, front.exempt(), let_go)?;
    address::write(&data, &format!("http://{address}")).context("cannot write the address file")?;
    let welcome = format!(
        "dwell is listening on http://{address}, node {node} of the store {}, which has {count} shards\n\
         try: that address in a browser    dwell nodes    dwell ls    dwell --help",
        postgres.url
    );
    if let Err(error) = out::offer(&welcome) {
        tracing::warn!("stdout: {error}; listening on http://{address} all the same");
    }
    service::tell_ready(&format!("listening on http://{address}"));
    let working = std::thread::Builder::new().name("node".to_owned()).spawn(move || working.run())?;
    let ended = working.join();
    http.stop(settle, HTTP_GRACE);
    address::remove(&data)?;
    ended.map_err(|_| anyhow!("the node panicked; see the log"))?;
    Ok(ExitCode::SUCCESS)
}

/// The way to the shards, and the guard of what is started in them, which is told of their leases.
fn guarded(
    postgres: &Postgres,
    member: Member,
    data: &Path,
    tell: &Sender<Event>,
) -> anyhow::Result<(Arc<Guard>, Shards)> {
    let mark = node_mark(data);
    let reaped = exec::reap_all(&mark);
    if !reaped.stopped.is_empty() {
        tracing::warn!(pids = ?reaped.stopped, "stopped what an earlier process left running");
    }
    let guard = Guard::start(program(), mark).context("cannot start the guard of this node's attempts")?;
    let guard = Arc::new(guard);
    let (allow, lost, after) = (Arc::clone(&guard), tell.clone(), ends_within(member.lease));
    let heard = Box::new(move |heard| match heard {
        Heard::Kept(shard, until) => allow.allow(shard, until + after),
        Heard::Lost(shard) => drop(lost.send(Event::Lost(shard))),
    });
    Ok((guard, Shards::open(postgres.server()?, member, heard)?))
}

/// The directory for what this node keeps beside the store, and the proof that no other process has it.
fn home(config: &Config) -> anyhow::Result<(PathBuf, Lock)> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data)?;
    let data = fs::canonicalize(&config.data)?;
    let lock = Lock::take(&data)?;
    if data.join("format").exists() {
        bail!("node.dir {} holds a store in files; name another directory", data.display());
    }
    serve::warn_of_others(&data)?;
    Ok((data, lock))
}

fn front(common: &Common, tokens: Tokens, node: String, shards: u32, tell: &Sender<Event>) -> Front {
    let checked = tokens.clone();
    let entrance = Entrance {
        store: address::store_header(&common.data),
        clock: Clock::System,
        token_ok: Arc::new(move |id, attempt, token| checked.is(id, attempt, token)),
        keyring: Arc::clone(&common.keyring),
        metrics: Arc::clone(&common.metrics),
    };
    let (learned, asked) = (tell.clone(), tell.clone());
    let nodes = Nodes {
        learn: Box::new(move |row| drop(learned.send(Event::Window(None, row)))),
        rebalance: Box::new(move || drop(asked.send(Event::Rebalance))),
        feed: Feed::of(common.limits.connections),
    };
    Front::new(entrance, node, shards, common.loaded.clone(), tokens, nodes)
}

/// Every engine that ticks here, for a reload.
fn engines(front: &Arc<Front>, pool: &Pool, standings: &Standings) -> Box<dyn Fn() -> Vec<Target> + Send> {
    let (front, pool, standings) = (Arc::clone(front), pool.clone(), Arc::clone(standings));
    Box::new(move || {
        let standings = standings.lock().unwrap_or_else(PoisonError::into_inner);
        let target = |(number, standing): (&u32, &Standing)| match standing {
            Standing::Open { taken, .. } => Some(Target {
                shard: engine::Shard { number: *number, count: front.shards },
                pool: Some(pool.clone()),
                handle: taken.shard.shared.handle.clone(),
                exec: Arc::clone(&taken.shard.exec),
            }),
            Standing::Opening { .. } | Standing::Closing => None,
        };
        standings.iter().filter_map(target).collect()
    })
}

/// What this node is called, and where the others reach it.
fn member(config: &Config, postgres: &Postgres, listens: SocketAddr) -> anyhow::Result<Member> {
    let host =
        || fs::read_to_string("/proc/sys/kernel/hostname").context("the machine has no name; set node.name");
    let name = match &postgres.name {
        Some(name) => name.clone(),
        None => format!("{}:{}", host()?.trim(), listens.port()),
    };
    let address = match &postgres.address {
        Some(address) => address.clone(),
        None if listens.ip().is_unspecified() => {
            bail!("other nodes cannot reach {listens}: set node.address to http://HOST:PORT")
        }
        None => format!("http://{listens}"),
    };
    Ok(Member { name, address, lease: postgres.lease, history_age_max: config.history_for })
}
