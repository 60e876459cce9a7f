//! The loop: wait without polling, tick, release; until drained. While a commit is on its way to the disk the next tick
//! is decided, if there is one.

use std::time::Duration;

use super::core::EngineError;
use super::inbox::{Advanced, Inbox, Letter};
use super::settings::ARRIVALS_PER_TICK_MAX;
use super::tick::{Engine, Released, UnderWay};
use crate::model::Time;
use crate::store::crash_point;

/// Time as the loop needs it.
pub trait Clock {
    /// What time it is.
    fn now(&self) -> Time;

    /// As [`Clock::now`], for a tick that begins. What each tick commits is released once, in their order.
    fn tick(&self) -> Time {
        self.now()
    }

    /// Calls `Handle::wake` at that moment (or never), instead of whatever was armed before. Never early.
    fn arm(&self, at: Option<Time>);

    /// Moves on to that moment, if this clock can be moved.
    fn advance_to(&self, at: Time);
}

/// Ticks until [`super::Handle::close`] (or every handle is gone), handing everything a commit releases to `release`, on
/// this thread. `drained` is called once, when the engine was told to drain and nothing is outstanding any more; it
/// goes on answering until it is closed. An error is final: what it took with it was never released.
pub fn run(
    mut engine: Engine,
    inbox: &Inbox,
    clock: &dyn Clock,
    release: &mut dyn FnMut(Released),
    drained: &mut dyn FnMut(),
) -> Result<Engine, EngineError> {
    let mut release = |(engine, released): (Engine, Released)| {
        crash_point("engine.after_commit");
        let transitions = released.transitions.get().len() as u64;
        release(released);
        (engine, transitions)
    };
    let is_due = |next: Option<Time>, engine: &Engine| {
        // The engine's own time may be ahead of a wall clock that was set back.
        next.is_some_and(|at| at <= clock.now().max(engine.now()))
    };
    let (mut told, mut next) = (false, engine.next_wake());
    let mut under_way: Option<UnderWay> = None;
    loop {
        if !told && under_way.is_none() && engine.drained() {
            told = true;
            drained();
        }
        let due = is_due(next, &engine);
        if !due && under_way.is_none() {
            clock.arm(next);
        }
        let letters = inbox.wait(due || under_way.is_some(), ARRIVALS_PER_TICK_MAX);
        let Some(letters) = letters else { return Ok(engine) };
        if letters.is_empty() && !due {
            // There is nothing to decide beside the commit.
            if let Some(before) = under_way.take() {
                (engine, _) = release(engine.land(before)?);
            }
            continue;
        }
        let (mut arrivals, mut moves, mut closed) = (Vec::new(), Vec::new(), false);
        for letter in letters {
            match letter {
                Letter::Arrival(arrival) => arrivals.push(arrival),
                Letter::Wake => {}
                Letter::Close => closed = true,
                Letter::Advance(by, reply) => moves.push((by, reply)),
            }
        }
        let decided = engine.decide(clock.tick(), arrivals)?;
        next = decided.engine().next_wake();
        let is_drained = !told && decided.engine().drained();
        let ends = closed || is_drained || !moves.is_empty();
        let goes_on = !ends && (inbox.has_more() || is_due(next, decided.engine()));
        let before = under_way.take();
        if before.is_some() || goes_on && !decided.is_empty() {
            let begun;
            (engine, begun) = decided.begin()?;
            under_way = Some(begun);
        } else {
            // With nothing to do beside it another thread would only be late, and with nothing to write it is there at once.
            (engine, _) = release(decided.commit()?);
        }
        if let Some(before) = before {
            (engine, _) = release(engine.land(before)?);
        }
        if !ends {
            continue;
        }
        if let Some(last) = under_way.take() {
            (engine, _) = release(engine.land(last)?);
        }
        for (by, reply) in moves {
            let mut tick = |engine: Engine| Ok(release(engine.tick(clock.tick(), Vec::new())?));
            let advanced;
            (engine, advanced) = advance(engine, by, clock, &mut tick)?;
            reply(advanced);
        }
        if closed {
            return Ok(engine);
        }
        next = engine.next_wake();
    }
}

/// Moves from deadline to deadline, as time would, and answers when nothing is due any more.
fn advance(
    mut engine: Engine,
    by: Duration,
    clock: &dyn Clock,
    tick: &mut impl FnMut(Engine) -> Result<(Engine, u64), EngineError>,
) -> Result<(Engine, Advanced), EngineError> {
    let target = clock.now().after(by);
    let mut advanced = Advanced { now: target, ticks: 0, transitions: 0 };
    loop {
        let next = engine.next_wake().filter(|at| *at <= target);
        clock.advance_to(next.unwrap_or(target));
        let transitions;
        (engine, transitions) = tick(engine)?;
        advanced.ticks += 1;
        advanced.transitions += transitions;
        if next.is_none() {
            return Ok((engine, advanced));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::super::request::{Arrival, Request};
    use super::super::settings::{DEADLINES_PER_TICK_MAX, PURGES_PER_TICK_MAX, Settings};
    use super::super::{Handle, channel};
    use super::*;
    use crate::model::{Action, Command, RecordId, Submission, Work};
    use crate::store::{Backend, Batch, Direction, History, Memory, Pair, StoreError, keys};

    /// A wall clock that somebody sets back after two readings: the loop's look at what is due, and the tick's.
    struct SetBack {
        readings: Cell<u32>,
        armed: RefCell<Vec<Option<Time>>>,
        handle: Handle,
    }

    impl Clock for SetBack {
        fn now(&self) -> Time {
            let readings = self.readings.replace(self.readings.get() + 1);
            Time::from_millis(if readings < 2 { 100_000 } else { 50_000 })
        }

        /// The loop would wait now, so it may end.
        fn arm(&self, at: Option<Time>) {
            self.armed.borrow_mut().push(at);
            self.handle.close();
        }

        fn advance_to(&self, _: Time) {}
    }

    fn expiring(n: usize) -> Submission {
        let action = Action::Command { argv: vec!["true".to_owned()], cwd: None };
        let (id, expires) = (RecordId::session(n as u128), Some(Duration::from_secs(10)));
        Submission { expires, ..Submission::of(id, "r".into(), Work::of(action)) }
    }

    #[test]
    fn what_a_full_tick_left_over_is_done_though_the_wall_clock_was_set_back() {
        let store = Memory::new();
        let (handle, inbox) = channel(store.history());
        let settings = Settings { runtimes: BTreeMap::from([("r".into(), 0)]), ..Settings::default() };
        let (opening, _) = Engine::open(Box::new(store), settings, Time::ZERO).unwrap();
        let arrivals = (0..=DEADLINES_PER_TICK_MAX)
            .map(|n| Arrival { request: Request::Submit(Box::new(expiring(n))), reply: Box::new(drop) });
        let (engine, _) = opening.survivors_stopped().tick(Time::ZERO, arrivals.collect()).unwrap();

        let clock = SetBack { readings: Cell::new(0), armed: RefCell::default(), handle };
        run(engine, &inbox, &clock, &mut drop, &mut || {}).unwrap();
        assert_eq!(clock.armed.into_inner(), [None], "it waits only when nothing is left");
    }

    type Log = Arc<Mutex<Vec<&'static str>>>;

    /// A disk that keeps a commit on its way until somebody waits for it, and says what it was asked for.
    struct Slow {
        memory: Memory,
        log: Log,
        on_its_way: usize,
        fails: bool,
    }

    impl Backend for Slow {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.log.lock().unwrap().push("read");
            self.memory.get(key)
        }

        fn scan(&self, from: &[u8], to: &[u8], way: Direction, max: usize) -> Result<Vec<Pair>, StoreError> {
            self.memory.scan(from, to, way, max)
        }

        fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
            self.log.lock().unwrap().push("commit");
            self.memory.commit(batch)
        }

        fn begin(&mut self, batch: Batch) -> Result<(), StoreError> {
            self.log.lock().unwrap().push("begin");
            self.on_its_way += 1;
            self.memory.commit(batch)
        }

        fn landed(&mut self, left: usize) -> Result<(), StoreError> {
            while self.on_its_way > left {
                self.on_its_way -= 1;
                self.log.lock().unwrap().push("landed");
                if self.fails {
                    return Err(StoreError::Injected);
                }
            }
            Ok(())
        }

        fn history(&self) -> Arc<dyn History> {
            self.memory.history()
        }
    }

    /// Time that stands still.
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Time {
            Time::ZERO
        }

        fn arm(&self, _: Option<Time>) {}

        fn advance_to(&self, _: Time) {}
    }

    /// What the disk and the loop did when more than a tick's requests came at once, the last one for a record that is
    /// nowhere.
    fn crowded(fails: bool) -> Vec<&'static str> {
        let log = Log::default();
        let store = Slow { memory: Memory::new(), log: Arc::clone(&log), on_its_way: 0, fails };
        let (handle, inbox) = channel(store.history());
        let settings = Settings { runtimes: BTreeMap::from([("r".into(), 0)]), ..Settings::default() };
        let (opening, _) = Engine::open(Box::new(store), settings, Time::ZERO).unwrap();
        let engine = opening.survivors_stopped();
        for n in 0..ARRIVALS_PER_TICK_MAX {
            handle.send(Request::Submit(Box::new(expiring(n))), Box::new(drop)).unwrap();
        }
        log.lock().unwrap().clear();
        let closing = handle.clone();
        let reply = Box::new(move |_| closing.close());
        handle.send(Request::Get { id: RecordId::session(u128::MAX) }, reply).unwrap();
        let mut release = |released: Released| {
            log.lock().unwrap().push("released");
            for pair in released.replies.each() {
                let (reply, answer) = pair.split();
                reply.into_inner()(answer);
            }
        };
        let ended = run(engine, &inbox, &Still, &mut release, &mut || {});
        assert_eq!(ended.is_err(), fails);
        std::mem::take(&mut log.lock().unwrap())
    }

    #[test]
    fn the_next_tick_is_decided_beside_a_commit_and_leaves_after_it() {
        assert_eq!(crowded(false), ["begin", "read", "landed", "released", "released", "released"]);
    }

    #[test]
    fn what_was_decided_beside_a_commit_that_fails_goes_with_it() {
        assert_eq!(crowded(true), ["begin", "read", "landed"]);
    }

    #[test]
    fn a_drained_engine_says_so_while_there_is_still_much_to_do() {
        let store = Memory::new();
        let (handle, inbox) = channel(store.history());
        let mut settings = Settings { runtimes: BTreeMap::from([("r".into(), 0)]), ..Settings::default() };
        let (opening, _) = Engine::open(Box::new(store.clone()), settings.clone(), Time::ZERO).unwrap();
        let mut engine = opening.survivors_stopped();
        for tick in 0..4 {
            let ids = tick * PURGES_PER_TICK_MAX..(tick + 1) * PURGES_PER_TICK_MAX;
            let ended = ids.flat_map(|n| {
                let id = RecordId::session(n as u128);
                let end = Request::Command { id, command: Command::Cancel };
                [Request::Submit(Box::new(expiring(n))), end]
            });
            let arrivals = ended.map(|request| Arrival { request, reply: Box::new(drop) }).collect();
            engine = engine.tick(Time::ZERO, arrivals).unwrap().0;
        }
        drop(engine);

        settings.finished_max = 0;
        let (opening, _) = Engine::open(Box::new(store.clone()), settings, Time::ZERO).unwrap();
        handle.send(Request::Drain { until: Time::ZERO }, Box::new(drop)).unwrap();
        let left = Cell::new(0);
        let mut drained = || {
            let (from, to) = keys::all_finished();
            left.set(store.scan(&from, &to, Direction::Ascending, usize::MAX).unwrap().len());
            handle.close();
        };
        run(opening.survivors_stopped(), &inbox, &Still, &mut drop, &mut drained).unwrap();
        assert!(left.get() > 0, "it was told only when all was purged");
    }
}
