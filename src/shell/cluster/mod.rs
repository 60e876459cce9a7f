//! A node: one of several processes on a store in PostgreSQL. It takes shards that nobody owns, up to its share, runs an
//! engine for each, and gives them back when it stops, is asked to, or has lost them.
//!
//! One thread decides all of that (`Node::run`), on what it is told by others, and waits for none of them. Absent on purpose:
//! agreement between nodes. Who owns what is what the leases in PostgreSQL say.
//!
//! A shard is given back, or its lease ends, only when nothing is left of the attempts that were started in it; where that
//! does not come about, the guard does it.

mod guard;
mod looks;
mod opening;
mod start;
mod windows;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use self::guard::Guard;
pub use self::guard::guard;
use self::looks::Looks;
use self::opening::{mark, open};
pub use self::start::run;
use self::windows::Windows;
use super::http::front::Front;
use super::metrics;
use super::reload;
use super::service::Watchdog;
use super::shard::{Common, Shard};
use crate::engine::{self, Answer, Pool, Request};
use crate::exec;
use crate::model::Runtime;
use crate::store::StoreError;
use crate::store::postgres::{Shards, View};

/// How often a node looks who owns what.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// This part of a lease an attempt has to end by itself, once this node counts it as over. The lease lasts twice as long yet.
const ENDS_WITHIN: u32 = 10;

/// How many looks other nodes have to say that they are there, after PostgreSQL was out of reach of all of them.
const LOOKS_FOR_OTHERS: u32 = 3;

/// What the thread that decides is told.
enum Event {
    /// Who owns what, as far as that can be known.
    Looked(Result<View, StoreError>),
    /// A shard's lease is over.
    Lost(u32),
    /// A shard's engine ticks no more; of which epoch.
    Ended(u32, u64),
    /// A shard that was told to drain has nothing outstanding.
    Drained(u32),
    /// A shard was taken and read; or was another's already, or cannot be read.
    Opened(u32, anyhow::Result<Option<Taken>>),
    /// A shard is given back, or was another's already.
    Closed(u32),
    /// A window changed: in a shard here, or on another node.
    Window(Option<u32>, Runtime),
    /// Give back what is more than the share.
    Rebalance,
    /// Drain all, and end.
    Stop,
}

/// A shard that ticks, and the epoch it was taken with.
struct Taken {
    shard: Shard,
    epoch: u64,
    /// When it read its settings, as [`InForce`](super::reload::InForce) counts.
    read: u64,
}

/// Where a shard is with this node.
enum Standing {
    /// Taken, and read at the moment; what else was heard of it is for when it is.
    Opening { ended: bool, handed_over: bool },
    /// It ticks.
    Open { taken: Taken, handed_over: bool },
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
    looks: Looks,
    reload: reload::Ask,
    guard: Arc<Guard>,
    events: Receiver<Event>,
    tell: Sender<Event>,
    /// As many nodes as there were before PostgreSQL was out of reach, and until when they are counted on.
    expected: (usize, Instant),
    out_of_reach: bool,
    /// Shards that could not be opened lately, and when they may be tried again.
    refused: BTreeMap<u32, Instant>,
    lease: Duration,
    stopping: bool,
    watchdog: bool,
}

impl Node {
    /// Until it has been told to stop and owns nothing any more.
    fn run(mut self) {
        loop {
            if self.watchdog {
                Watchdog::beat();
            }
            match self.events.recv_timeout(LOOK_EVERY) {
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
            Event::Looked(Ok(view)) => self.looked(view),
            Event::Looked(Err(error)) => {
                tracing::warn!("{error}; the shards of this node go on as long as their leases");
                self.out_of_reach = true;
            }
            Event::Lost(shard) => self.over(shard, None),
            Event::Ended(shard, epoch) => self.over(shard, Some(epoch)),
            Event::Drained(shard) => {
                tracing::info!(shard, "given back: nothing of it is outstanding");
                self.close(shard);
            }
            Event::Opened(number, Ok(Some(taken))) => self.opened(number, taken),
            Event::Opened(number, Ok(None)) => drop(self.standings().remove(&number)),
            Event::Opened(number, Err(error)) => {
                tracing::error!(shard = number, "a shard cannot be opened: {error:#}");
                self.standings().remove(&number);
                self.refused.insert(number, metrics::now() + self.lease);
            }
            Event::Closed(shard) => {
                self.standings().remove(&shard);
                self.looks.now();
            }
            Event::Window(from, row) => self.learned(from, row),
            Event::Rebalance => self.rebalance(),
            Event::Stop => {
                self.stopping = true;
                // The others take what it gives back: it has no share any more.
                self.looks.leave();
                let all: Vec<u32> = self.standings().keys().copied().collect();
                for shard in all {
                    self.hand_over(shard);
                }
            }
        }
    }

    /// Takes what nobody owns, up to this node's share.
    fn looked(&mut self, view: View) {
        if self.out_of_reach {
            self.out_of_reach = false;
            let before = self.front.table.view().nodes.len();
            self.expected = (before, metrics::now() + LOOK_EVERY * LOOKS_FOR_OTHERS);
        }
        let wanted = if self.stopping { Vec::new() } else { self.wanted(&view) };
        self.front.table.look(view);
        for shard in wanted {
            self.take(shard);
        }
    }

    /// Free shards that are this node's to take. Each node begins with another one, so that they seldom want the same.
    fn wanted(&self, view: &View) -> Vec<u32> {
        let standings = self.standings();
        let (count, now) = (self.shards.count(), metrics::now());
        let (expected, until) = self.expected;
        let nodes = if now < until { view.nodes.len().max(expected) } else { view.nodes.len() };
        let room = share(count, nodes).saturating_sub(standings.len());
        let begin = u32::from(crate::model::Slot::of(&self.front.node).0) % count;
        let free = |shard: &u32| {
            let owned = view.shards.iter().find(|owned| owned.shard == *shard);
            owned.is_some_and(|owned| owned.owner.is_none())
                && !standings.contains_key(shard)
                && self.refused.get(shard).is_none_or(|until| *until <= now)
        };
        (0..count).map(|turn| (begin + turn) % count).filter(free).take(room).collect()
    }

    /// Takes a shard and reads it, on a thread of its own.
    fn take(&self, number: u32) {
        self.standings().insert(number, Standing::Opening { ended: false, handed_over: false });
        let shard = engine::Shard { number, count: self.shards.count() };
        let (common, pool, tell) = (Arc::clone(&self.common), self.pool.clone(), self.tell.clone());
        let (shards, guard) = (Arc::clone(&self.shards), Arc::clone(&self.guard));
        let allowed = ends_within(self.lease);
        let taken = move || {
            let Some(backend) = shards.take(number)? else { return Ok(None) };
            let (epoch, read) = (backend.epoch(), common.config.moment());
            tracing::info!(shard = number, epoch, "taken");
            // Before anything is started in it.
            guard.allow(number, backend.until() + allowed);
            let shard = open(&common, &pool, shard, backend, &tell)?;
            Ok(Some(Taken { shard, epoch, read }))
        };
        let tell = self.tell.clone();
        let take = move || drop(tell.send(Event::Opened(number, taken())));
        if let Err(error) = thread::Builder::new().name(format!("open {number}")).spawn(take) {
            self.tell.send(Event::Opened(number, Err(error.into()))).ok();
        }
    }

    fn opened(&mut self, number: u32, taken: Taken) {
        let (shared, read) = (Arc::clone(&taken.shard.shared), taken.read);
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
        let before = self.standings().insert(number, Standing::Open { taken, handed_over: false });
        self.front.table.open(number, shared);
        if self.common.config.may_have_changed(read) {
            // The reload knew nothing of it.
            self.reload.reload();
        }
        if matches!(before, Some(Standing::Opening { ended: true, .. })) {
            self.close(number);
        } else if self.stopping || matches!(before, Some(Standing::Opening { handed_over: true, .. })) {
            self.hand_over(number);
        }
        self.looks.now();
    }

    /// A lease is over, or an engine ticks no more, with this node's will or without.
    fn over(&mut self, number: u32, of: Option<u64>) {
        let is_it = match self.standings().get_mut(&number) {
            Some(Standing::Opening { ended, .. }) => {
                *ended = true;
                false
            }
            Some(Standing::Open { taken, .. }) => of.is_none_or(|of| of == taken.epoch),
            Some(Standing::Closing) | None => false,
        };
        if is_it {
            self.close(number);
        }
    }

    /// Lets go of a shard that is lost, handed over, or broken: stops its attempts, and gives it back when they are gone.
    fn close(&mut self, number: u32) {
        let mut standings = self.standings();
        if !matches!(standings.get(&number), Some(Standing::Open { .. })) {
            return;
        }
        let Some(Standing::Open { taken, handed_over }) = standings.insert(number, Standing::Closing) else {
            return;
        };
        drop(standings);
        self.front.table.close(number);
        let kill_after = self.common.config.get().kill_after;
        let grace = if handed_over { kill_after } else { kill_after.min(self.lease / ENDS_WITHIN) };
        if !handed_over {
            // Another node may do better with it.
            self.refused.insert(number, metrics::now() + LOOK_EVERY * 2);
        }
        let (shards, guard) = (Arc::clone(&self.shards), Arc::clone(&self.guard));
        let (pool, tell, mark) = (self.pool.clone(), self.tell.clone(), mark(&self.common.data, number));
        let close = move || {
            if let Err(error) = taken.shard.stop(grace) {
                tracing::error!(shard = number, "{error:#}");
            }
            // What left the group of its attempt is known by its mark only.
            let left = exec::reap(&mark, &[], grace).surviving;
            pool.leave(number);
            if left.is_empty() {
                guard.forget(number);
                if let Err(error) = shards.give_back(number, taken.epoch) {
                    tracing::warn!(shard = number, "the shard is free only when its lease is over: {error}");
                }
            } else {
                tracing::error!(shard = number, pids = ?left, "processes of a shard's attempts cannot be stopped");
            }
            tell.send(Event::Closed(number)).ok();
        };
        if let Err(error) = thread::Builder::new().name(format!("close {number}")).spawn(close) {
            tracing::error!(%error, shard = number, "no thread to close a shard");
        }
    }

    /// Starts nothing more in a shard, and gives it back once what is outstanding has ended, or was stopped for it.
    fn hand_over(&mut self, number: u32) {
        let shared = match self.standings().get_mut(&number) {
            Some(Standing::Open { taken, handed_over }) => {
                *handed_over = true;
                Arc::clone(&taken.shard.shared)
            }
            Some(Standing::Opening { handed_over, .. }) => {
                *handed_over = true;
                return;
            }
            Some(Standing::Closing) | None => return,
        };
        let until = shared.clock.now().after(self.common.config.get().drain_timeout);
        if shared.handle.deliver(Request::Drain { until }, Box::new(drop)).is_err() {
            self.close(number);
        }
    }

    /// Gives back what is more than this node's share, so that others take it.
    fn rebalance(&mut self) {
        let share = share(self.shards.count(), self.front.table.view().nodes.len());
        let open: Vec<u32> = {
            let standings = self.standings();
            let kept = |standing: &Standing| {
                !matches!(
                    standing,
                    Standing::Open { handed_over: true, .. }
                        | Standing::Opening { handed_over: true, .. }
                        | Standing::Closing
                )
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

/// Milliseconds that attempts may go on after this node counts a lease as over.
fn ends_within(lease: Duration) -> u64 {
    u64::try_from((lease / ENDS_WITHIN).as_millis()).unwrap_or(u64::MAX)
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
}
