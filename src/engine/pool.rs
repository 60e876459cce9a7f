//! How many attempts the engines of one process may have outstanding together, and start after a pause: a runtime's
//! concurrency and its ramp are the process's, however many shards it has.
//!
//! Shards take turns: one that finds no place waits in line, and a place that is given back is the first one's in line.
//! All of it is derived from what is outstanding, so an engine that ends leaves nothing behind. Absent on purpose: turns
//! within a shard (`pace`), and other processes, which have their own children.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::core::Core;
use super::hold;
use super::inbox::Handle;
use crate::model::{Name, Time};
use crate::pace::{RAMP_STEP, Ramp, Started};

/// Shared by the engines of a process.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    runtimes: BTreeMap<Name, Places>,
    /// By shard, those that are open.
    engines: BTreeMap<u32, Handle>,
}

/// One runtime's.
#[derive(Default)]
struct Places {
    /// Outstanding, by shard.
    taken: BTreeMap<u32, u32>,
    /// Shards that found no place, longest first.
    line: VecDeque<u32>,
    /// Of the latest step of its ramp, by shard.
    started: BTreeMap<u32, Started>,
}

impl Places {
    fn taken(&self) -> u32 {
        self.taken.values().sum()
    }

    /// What other shards have started in a step of the ramp. One that was told of the pause a moment later has its steps end
    /// as much later.
    fn started_beside(&self, shard: u32, step: Time) -> u32 {
        let is_same = |other: Time| other.until(step).max(step.until(other)) < RAMP_STEP / 2;
        let beside =
            self.started.iter().filter(|(other, started)| **other != shard && is_same(started.until));
        beside.map(|(_, started)| started.count).sum()
    }

    /// Whether there is a place for this shard, once those before it in line have theirs.
    fn has_room(&self, shard: u32, concurrency: u32) -> bool {
        let before = self.line.iter().position(|other| *other == shard).unwrap_or(self.line.len());
        u64::from(self.taken()) + (before as u64) < u64::from(concurrency)
    }
}

/// One engine's part in it; dropped with it.
pub(super) struct Member {
    pool: Pool,
    shard: u32,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// Lets an engine be woken when there is a place for it.
    pub fn join(&self, shard: u32, handle: Handle) {
        self.table().engines.insert(shard, handle);
    }

    /// As an engine that has ended leaves it: its places are free.
    pub fn leave(&self, shard: u32) {
        let mut table = self.table();
        table.engines.remove(&shard);
        for places in table.runtimes.values_mut() {
            places.taken.remove(&shard);
            places.line.retain(|other| *other != shard);
        }
        table.engines.values().for_each(Handle::wake);
    }

    pub(super) fn member(&self, shard: u32) -> Member {
        Member { pool: self.clone(), shard }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// How many are outstanding on a runtime, with those of the other shards; `None`: there is a place for one more.
    pub(super) fn full(&self, runtime: &Name, concurrency: u32) -> Option<u32> {
        let table = self.pool.table();
        let Some(places) = table.runtimes.get(runtime) else { return (concurrency == 0).then_some(0) };
        (!places.has_room(self.shard, concurrency)).then(|| places.taken())
    }

    /// What is left of a step of the ramp.
    pub(super) fn ramp(&self, runtime: &Name, own: Ramp) -> Ramp {
        let table = self.pool.table();
        let beside =
            table.runtimes.get(runtime).map_or(0, |places| places.started_beside(self.shard, own.next));
        Ramp { left: own.left.saturating_sub(beside), ..own }
    }

    /// Takes a place, and counts it in the ramp if there is one; false if other shards took it meanwhile.
    pub(super) fn take(&self, runtime: &Name, concurrency: u32, ramp: Option<Ramp>) -> bool {
        let mut table = self.pool.table();
        let places = table.runtimes.entry(runtime.clone()).or_default();
        let has_room = places.has_room(self.shard, concurrency)
            && ramp.is_none_or(|ramp| places.started_beside(self.shard, ramp.next) < ramp.left);
        if has_room {
            if let Some(Ramp { next, .. }) = ramp {
                let started = places.started.entry(self.shard).or_default();
                *started = started.one_more(next);
            }
            places.line.retain(|other| *other != self.shard);
            *places.taken.entry(self.shard).or_default() += 1;
        }
        has_room
    }

    /// What is outstanding now. Wakes who waits in line for a place that is free by it.
    fn give_back(&self, runtime: &Name, outstanding: u32) {
        let mut table = self.pool.table();
        let Table { runtimes, engines } = &mut *table;
        if outstanding == 0 && !runtimes.contains_key(runtime) {
            return;
        }
        let places = runtimes.entry(runtime.clone()).or_default();
        let before = places.taken.insert(self.shard, outstanding);
        if before.is_some_and(|before| before > outstanding) {
            places.wake(engines, self.shard);
        }
    }

    /// Waits in line for a place, or no longer.
    fn line_up(&self, runtime: &Name, wants: bool) {
        let mut table = self.pool.table();
        let Table { runtimes, engines } = &mut *table;
        if !wants && !runtimes.contains_key(runtime) {
            return;
        }
        let places = runtimes.entry(runtime.clone()).or_default();
        match (wants, places.line.iter().position(|other| *other == self.shard)) {
            (true, None) => places.line.push_back(self.shard),
            (false, Some(at)) => {
                places.line.remove(at);
                places.wake(engines, self.shard);
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}

impl Places {
    fn wake(&self, engines: &BTreeMap<u32, Handle>, but: u32) {
        let waiting = self.line.iter().filter(|shard| **shard != but);
        waiting.filter_map(|shard| engines.get(shard)).for_each(Handle::wake);
    }
}

/// Before anything is started: places of what has ended are free.
pub(super) fn give_back(core: &Core) {
    let Some(member) = &core.pool else { return };
    for (runtime, lane) in core.index.lanes() {
        member.give_back(runtime, u32::try_from(lane.outstanding.len()).unwrap_or(u32::MAX));
    }
}

/// After everything that could start was started: what is left waits for places, unless something else holds it. What waits
/// for a worker is not in line, for it starts only with a claim.
pub(super) fn line_up(core: &Core) {
    let Some(member) = &core.pool else { return };
    let everything = hold::everything(core).is_some();
    for (runtime, lane) in core.index.lanes() {
        let held =
            || everything || hold::closed(core, runtime).is_some() || hold::ramping(core, runtime).is_some();
        member.line_up(runtime, !lane.queue.is_empty() && !held());
    }
}

#[cfg(test)]
mod tests {
    use super::super::inbox::Inbox;
    use super::super::request::{Arrival, Request};
    use super::super::{Engine, Settings, Shard, channel};
    use super::*;
    use crate::model::{Action, Effect, RecordId, Report, Submission, Work};
    use crate::store::{Backend as _, Memory};

    /// An engine of a store of two, and what it has started.
    struct Shop {
        engine: Option<Engine>,
        inbox: Inbox,
        started: Vec<(RecordId, u32)>,
    }

    impl Shop {
        fn open(pool: &Pool, number: u32, concurrency: u32) -> Shop {
            let store = Memory::new();
            let (handle, inbox) = channel(store.history());
            pool.join(number, handle);
            let settings = Settings {
                runtimes: [("r".into(), concurrency)].into(),
                shard: Shard { number, count: 2 },
                pool: Some(pool.clone()),
                ..Settings::default()
            };
            let (opening, _) = Engine::open(Box::new(store), settings, Time::ZERO).unwrap();
            Shop { engine: Some(opening.survivors_stopped()), inbox, started: Vec::new() }
        }

        fn tick(&mut self, requests: Vec<Request>) {
            self.tick_at(Time::ZERO, requests);
        }

        fn tick_at(&mut self, now: Time, requests: Vec<Request>) {
            let arrivals = requests.into_iter().map(|request| Arrival { request, reply: Box::new(drop) });
            let (engine, released) = self.engine.take().unwrap().tick(now, arrivals.collect()).unwrap();
            self.engine = Some(engine);
            for effect in released.effects.into_inner() {
                if let Effect::Start(start) = effect {
                    self.started.push((start.id, start.attempt));
                }
            }
        }

        fn submit(&mut self, count: u128) {
            let work = || Work::of(Action::Command { argv: vec!["true".to_owned()], cwd: None });
            let one = |n| Request::Submit(Box::new(Submission::of(RecordId::session(n), "r".into(), work())));
            self.tick((0..count).map(one).collect());
        }

        fn end_first(&mut self) {
            let (id, attempt) = self.started.remove(0);
            let report = Report::Succeeded { result: None };
            self.tick(vec![Request::Report { id, attempt, report }]);
        }

        fn is_woken(&self) -> bool {
            let woken = self.inbox.has_more();
            while self.inbox.wait(true, 9).is_some_and(|letters| !letters.is_empty()) {}
            woken
        }
    }

    #[test]
    fn shards_of_one_process_share_its_places_and_take_turns() {
        let pool = Pool::default();
        let (mut one, mut two) = (Shop::open(&pool, 0, 2), Shop::open(&pool, 1, 2));
        one.submit(4);
        two.submit(4);
        assert_eq!((one.started.len(), two.started.len()), (2, 0));
        one.end_first();
        assert_eq!(one.started.len(), 2, "it was in line before the other");
        one.end_first();
        assert_eq!((one.started.len(), two.is_woken()), (1, true), "it is the other's turn");
        two.tick(Vec::new());
        assert_eq!((one.started.len(), two.started.len()), (1, 1));
        two.end_first();
        assert_eq!((two.started.len(), one.is_woken()), (0, true), "and then not again at once");
        one.tick(Vec::new());
        assert_eq!((one.started.len(), two.started.len()), (2, 0));
    }

    #[test]
    fn shards_of_one_process_share_the_ramp_of_a_runtime_that_comes_back() {
        let pool = Pool::default();
        let (mut one, mut two) = (Shop::open(&pool, 0, 8), Shop::open(&pool, 1, 8));
        let at = Time::from_millis;
        let shops = [&mut one, &mut two];
        for shop in shops {
            shop.tick(vec![Request::PauseRuntime { name: "r".into(), model: None, until: at(1_000) }]);
            shop.submit(8);
        }
        let mut total = 0;
        for (millis, share) in [(1_000, 1), (2_000, 2), (3_000, 4)] {
            // The other one is a moment late.
            one.tick_at(at(millis), Vec::new());
            two.tick_at(at(millis + 1), Vec::new());
            one.tick_at(at(millis + 500), Vec::new());
            total += share;
            assert_eq!(one.started.len() + two.started.len(), total, "{millis}");
        }
    }

    #[test]
    fn an_engine_that_ends_leaves_its_places_to_the_others() {
        let pool = Pool::default();
        let (mut one, mut two) = (Shop::open(&pool, 0, 1), Shop::open(&pool, 1, 1));
        one.submit(2);
        two.submit(1);
        assert_eq!((one.started.len(), two.started.len()), (1, 0));
        pool.leave(0);
        assert!(two.is_woken());
        two.tick(Vec::new());
        assert_eq!(two.started.len(), 1);
    }
}
