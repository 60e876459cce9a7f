//! A node: one of several processes on a store in PostgreSQL. It takes shards that nobody owns, up to its share, runs an
//! engine for each, and gives them back when it stops, is asked to, or has lost them.
//!
//! One thread decides all of that (`Node::run`), on what it is told by others. Absent on purpose: agreement between nodes.
//! Who owns what is what the leases in PostgreSQL say.

mod guard;
mod start;
mod windows;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use self::guard::Guarded;
pub use self::guard::guard;
pub use self::start::{migrate, run};
use self::windows::Windows;
use super::clock::Clock;
use super::http::front::Front;
use super::metrics;
use super::service::Watchdog;
use super::shard::{Common, News, Opened, Own, Shard};
use crate::engine::{self, Answer, Pool, Request};
use crate::model::Runtime;
use crate::store::postgres::{Shards, View};
use crate::store::transfer::is_unfinished;

/// How often a node looks who owns what.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Of the part of a lease that is left when this node counts it as over, how much an attempt has to end by itself.
const ENDS_WITHIN: u32 = 10;

/// What the thread that decides is told.
enum Event {
    /// A shard's lease is over.
    Lost(u32),
    /// A shard's engine ticks no more; of which start of it.
    Ended(u32, u64),
    /// A shard that was told to drain has nothing outstanding.
    Drained(u32),
    /// A shard that was taken is read, or is not.
    Opened(u32, u64, anyhow::Result<Shard>),
    /// A shard is given back, or was another's already.
    Closed(u32),
    /// A window changed: in a shard here, or on another node.
    Window(Option<u32>, Runtime),
    /// Give back what is more than the share.
    Rebalance,
    /// Drain all, and end.
    Stop,
}

/// Where a shard is with this node.
enum Standing {
    /// Taken, and read at the moment.
    Opening,
    /// It ticks.
    Open { shard: Shard, start: u64, handed_over: bool },
    /// Its attempts are being stopped.
    Closing,
}

type Standings = Arc<Mutex<BTreeMap<u32, Standing>>>;

/// A node at work.
struct Node {
    common: Arc<Common>,
    front: Arc<Front>,
    shards: Arc<Shards>,
    pool: Pool,
    standings: Standings,
    windows: Windows,
    guard: Guarded,
    events: Receiver<Event>,
    tell: Sender<Event>,
    /// Counts what was started, so that the end of an earlier one is not taken for that of a later one.
    starts: u64,
    /// Shards that could not be opened lately, and when they may be tried again.
    refused: BTreeMap<u32, Instant>,
    lease: Duration,
    stopping: bool,
    watchdog: bool,
}

impl Node {
    /// Until it has been told to stop and owns nothing any more.
    fn run(mut self) {
        let mut look = metrics::now();
        loop {
            if metrics::now() >= look {
                self.look();
                look = metrics::now() + LOOK_EVERY;
            }
            match self.events.recv_timeout(look.saturating_duration_since(metrics::now())) {
                Ok(event) => self.heard(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.stopping && self.standings().is_empty() {
                return;
            }
        }
    }

    fn standings(&self) -> MutexGuard<'_, BTreeMap<u32, Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Lost(shard) => self.close(shard, None),
            Event::Ended(shard, start) => self.close(shard, Some(start)),
            Event::Drained(shard) => {
                tracing::info!(shard, "given back: nothing of it is outstanding");
                self.close(shard, None);
            }
            Event::Opened(number, start, Ok(shard)) => self.opened(number, start, shard),
            Event::Opened(number, _, Err(error)) => {
                tracing::error!(shard = number, "a shard cannot be opened: {error:#}");
                self.standings().remove(&number);
                self.refused.insert(number, metrics::now() + self.lease);
            }
            Event::Closed(shard) => drop(self.standings().remove(&shard)),
            Event::Window(from, row) => self.learned(from, row),
            Event::Rebalance => self.rebalance(),
            Event::Stop => {
                self.stopping = true;
                // The others take what it gives back: it has no share any more.
                if let Err(error) = self.shards.leave() {
                    tracing::warn!("{error}");
                }
                let all: Vec<u32> = self.standings().keys().copied().collect();
                for shard in all {
                    self.hand_over(shard);
                }
            }
        }
    }

    /// Looks who owns what, and takes what nobody does, up to this node's share.
    fn look(&mut self) {
        if self.watchdog {
            Watchdog::beat();
        }
        let announced = if self.stopping { Ok(()) } else { self.shards.announce() };
        let view = match announced.and_then(|()| self.shards.look()) {
            Ok(view) => view,
            Err(error) => {
                return tracing::warn!("{error}; the shards of this node go on as long as their leases");
            }
        };
        let wanted = if self.stopping { Vec::new() } else { self.wanted(&view) };
        for shard in &wanted {
            self.take(*shard);
        }
        let fresh = if wanted.is_empty() { None } else { self.shards.look().ok() };
        self.front.table.look(fresh.unwrap_or(view));
    }

    /// Free shards that are this node's to take. Each node begins with another one, so that they seldom want the same.
    fn wanted(&self, view: &View) -> Vec<u32> {
        let standings = self.standings();
        let (count, now) = (self.shards.count(), metrics::now());
        let room = share(count, view.nodes.len()).saturating_sub(standings.len());
        let begin = u32::from(crate::model::Slot::of(&self.front.node).0) % count;
        let free = |shard: &u32| {
            let owned = view.shards.iter().find(|owned| owned.shard == *shard);
            owned.is_some_and(|owned| owned.owner.is_none())
                && !standings.contains_key(shard)
                && self.refused.get(shard).is_none_or(|until| *until <= now)
        };
        (0..count).map(|turn| (begin + turn) % count).filter(free).take(room).collect()
    }

    fn take(&mut self, number: u32) {
        let backend = match self.shards.take(number) {
            Ok(Some(backend)) => backend,
            Ok(None) => return,
            Err(error) => return tracing::warn!(shard = number, "{error}"),
        };
        tracing::info!(shard = number, epoch = backend.epoch(), "taken");
        // Before anything is started in it.
        self.guard.tell();
        self.starts += 1;
        let start = self.starts;
        self.standings().insert(number, Standing::Opening);
        let shard = engine::Shard { number, count: self.shards.count() };
        let (common, pool, tell) = (Arc::clone(&self.common), self.pool.clone(), self.tell.clone());
        let opening = thread::Builder::new().name(format!("open {number}"));
        let opened = opening.spawn(move || {
            let shard = open(&common, &pool, shard, backend, start, &tell);
            tell.send(Event::Opened(number, start, shard)).ok();
        });
        if let Err(error) = opened {
            self.tell.send(Event::Opened(number, start, Err(error.into()))).ok();
        }
    }

    fn opened(&mut self, number: u32, start: u64, shard: Shard) {
        let shared = Arc::clone(&shard.shared);
        // What the shards here know of windows, and it may not.
        let known: Vec<_> =
            (self.front.table.local().into_iter()).map(|(_, other)| other.handle.clone()).take(1).collect();
        for handle in known {
            let to = shared.handle.clone();
            let reply: engine::Reply = Box::new(move |answer| {
                let Ok(Answer::Runtimes(rows)) = answer.into_inner() else { return };
                for row in rows.into_iter().flat_map(|view| view.models.into_iter().chain([view.runtime])) {
                    to.send(Request::Learn(Box::new(row)), Box::new(drop)).ok();
                }
            });
            handle.send(Request::Runtimes, reply).ok();
        }
        self.standings().insert(number, Standing::Open { shard, start, handed_over: false });
        self.front.table.open(number, shared);
        if self.stopping {
            self.hand_over(number);
        }
    }

    /// Lets go of a shard that is lost, handed over, or broken. Its attempts are stopped before another node starts them.
    fn close(&mut self, number: u32, of: Option<u64>) {
        let mut standings = self.standings();
        let is_it = |standing: &Standing| matches!(standing, Standing::Open { start, .. } if of.is_none_or(|of| of == *start));
        if !standings.get(&number).is_some_and(is_it) {
            return;
        }
        let Some(Standing::Open { shard, handed_over, .. }) = standings.insert(number, Standing::Closing)
        else {
            return;
        };
        drop(standings);
        self.front.table.close(number);
        let (pool, tell) = (self.pool.clone(), self.tell.clone());
        let kill_after = self.common.config.get().kill_after;
        let grace = if handed_over { kill_after } else { kill_after.min(self.lease / ENDS_WITHIN) };
        if !handed_over {
            self.refused.insert(number, metrics::now() + LOOK_EVERY);
        }
        let close = move || {
            match shard.stop(grace) {
                // The engine drops its store, which gives the shard back.
                Ok(engine) => drop(engine),
                Err(error) => tracing::error!(shard = number, "{error:#}"),
            }
            pool.leave(number);
            tell.send(Event::Closed(number)).ok();
        };
        if let Err(error) = thread::Builder::new().name(format!("close {number}")).spawn(close) {
            tracing::error!(%error, shard = number, "no thread to close a shard");
        }
    }

    /// Starts nothing more in a shard, and gives it back once what is outstanding has ended, or was stopped for it.
    fn hand_over(&self, number: u32) {
        let mut standings = self.standings();
        let Some(Standing::Open { shard, handed_over, .. }) = standings.get_mut(&number) else { return };
        *handed_over = true;
        let until = shard.shared.clock.now().after(self.common.config.get().drain_timeout);
        shard.shared.handle.deliver(Request::Drain { until }, Box::new(drop)).ok();
    }

    /// Gives back what is more than this node's share, so that others take it.
    fn rebalance(&self) {
        let share = share(self.shards.count(), self.front.table.view().nodes.len());
        let open: Vec<u32> = {
            let standings = self.standings();
            let kept = |standing: &Standing| {
                !matches!(standing, Standing::Open { handed_over: true, .. } | Standing::Closing)
            };
            standings.iter().filter(|(_, standing)| kept(standing)).map(|(number, _)| *number).collect()
        };
        for number in open.into_iter().skip(share) {
            tracing::info!(shard = number, "more than this node's share: it is handed over");
            self.hand_over(number);
        }
    }

    /// Tells the other shards of a window that changed, here and on other nodes.
    fn learned(&self, from: Option<u32>, row: Runtime) {
        for (shard, shared) in self.front.table.local() {
            if Some(shard) != from {
                shared.handle.send(Request::Learn(Box::new(row.clone())), Box::new(drop)).ok();
            }
        }
        if from.is_some() {
            let view = self.front.table.view();
            let others = view.nodes.iter().filter(|node| node.name != self.front.node);
            self.windows.tell(others.map(|node| node.address.clone()).collect(), row);
        }
    }
}

/// As many shards as a node has at most, if all nodes are to have as many.
fn share(shards: u32, nodes: usize) -> usize {
    (shards as usize).div_ceil(nodes.max(1))
}

/// In the environment of every attempt of a shard; the number stands last, so that a node's own all begin alike.
fn mark(data: &std::path::Path, shard: u32) -> String {
    format!("{}{shard}", node_mark(data))
}

fn node_mark(data: &std::path::Path) -> String {
    format!("{}#", data.display())
}

/// Says of an engine's end when it is dropped, however that came.
struct Ends {
    tell: Sender<Event>,
    shard: u32,
    start: u64,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.tell.send(Event::Ended(self.shard, self.start)).ok();
    }
}

fn open(
    common: &Common,
    pool: &Pool,
    shard: engine::Shard,
    backend: crate::store::postgres::Shard,
    start: u64,
    tell: &Sender<Event>,
) -> anyhow::Result<Shard> {
    if is_unfinished(&backend)? {
        bail!("an import into this store was cut off: make the store anew, and import again");
    }
    let settings = engine::Settings { pool: Some(pool.clone()), ..common.config.settings(shard) };
    let own = Own {
        store: super::address::store_header(&common.data),
        mark: mark(&common.data, shard.number),
        clock: Clock::System,
        figures: Box::new(|| None),
        backups: None,
    };
    let opened = Opened::open(common, own, backend, settings)?;
    pool.join(shard.number, opened.handle().clone());
    let ends = Ends { tell: tell.clone(), shard: shard.number, start };
    opened.start(Box::new(move |news| {
        let event = match news {
            News::Drained => Event::Drained(ends.shard),
            News::Window(row) => Event::Window(Some(ends.shard), row.clone()),
        };
        ends.tell.send(event).ok();
    }))
}

/// What `of` makes of each shard that ticks.
fn open_shards<T>(standings: &Standings, of: impl Fn(u32, &Shard) -> T) -> Vec<T> {
    let standings = standings.lock().unwrap_or_else(PoisonError::into_inner);
    let open = standings.iter().filter_map(|(number, standing)| match standing {
        Standing::Open { shard, .. } => Some(of(*number, shard)),
        Standing::Opening | Standing::Closing => None,
    });
    open.collect()
}

/// The program that attempts and the guard are started with.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("dwell"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_shards_and_differ_by_one() {
        for (shards, nodes, expected) in [(16, 1, 16), (16, 3, 6), (16, 0, 16), (4, 5, 1), (1, 2, 1)] {
            assert_eq!(share(shards, nodes), expected, "{shards} {nodes}");
            assert!(share(shards, nodes) * nodes.max(1) >= shards as usize);
        }
    }

    #[test]
    fn the_marks_of_a_node_begin_alike_and_no_other_node_s_do() {
        let (a, ab) = (std::path::Path::new("/a"), std::path::Path::new("/a/b"));
        assert!(mark(a, 1).starts_with(&node_mark(a)) && !mark(ab, 1).starts_with(&node_mark(a)));
        assert_ne!(mark(a, 1), mark(a, 11));
    }
}
