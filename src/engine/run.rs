//! The loop: wait without polling, tick, release; until drained.

use std::time::Duration;

use super::core::EngineError;
use super::inbox::{Advanced, Inbox, Letter};
use super::request::Arrival;
use super::settings::ARRIVALS_PER_TICK_MAX;
use super::tick::{Engine, Released};
use crate::model::Time;
use crate::store::crash_point;

/// Time as the loop needs it.
pub trait Clock {
    /// What time it is.
    fn now(&self) -> Time;

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
    let mut tick = |engine: Engine, arrivals: Vec<Arrival>| -> Result<(Engine, u64), EngineError> {
        let (engine, released) = engine.tick(clock.now(), arrivals)?;
        crash_point("engine.after_commit");
        let transitions = released.transitions.get().len() as u64;
        release(released);
        Ok((engine, transitions))
    };
    let mut told = false;
    loop {
        if !told && engine.drained() {
            told = true;
            drained();
        }
        let next = engine.next_wake();
        // The engine's own time may be ahead of a wall clock that was set back.
        let due = next.is_some_and(|at| at <= clock.now().max(engine.now()));
        if !due {
            clock.arm(next);
        }
        let mut arrivals = Vec::new();
        let mut moves = Vec::new();
        let Some(letters) = inbox.wait(due, ARRIVALS_PER_TICK_MAX) else { return Ok(engine) };
        let mut closed = false;
        for letter in letters {
            match letter {
                Letter::Arrival(arrival) => arrivals.push(arrival),
                Letter::Wake => {}
                Letter::Close => closed = true,
                Letter::Advance(by, reply) => moves.push((by, reply)),
            }
        }
        (engine, _) = tick(engine, arrivals)?;
        for (by, reply) in moves {
            let advanced;
            (engine, advanced) = advance(engine, by, clock, &mut tick)?;
            reply(advanced);
        }
        if closed {
            return Ok(engine);
        }
    }
}

/// Moves from deadline to deadline, as time would, and answers when nothing is due any more.
fn advance(
    mut engine: Engine,
    by: Duration,
    clock: &dyn Clock,
    tick: &mut impl FnMut(Engine, Vec<Arrival>) -> Result<(Engine, u64), EngineError>,
) -> Result<(Engine, Advanced), EngineError> {
    let target = clock.now().after(by);
    let mut advanced = Advanced { now: target, ticks: 0, transitions: 0 };
    loop {
        let next = engine.next_wake().filter(|at| *at <= target);
        clock.advance_to(next.unwrap_or(target));
        let transitions;
        (engine, transitions) = tick(engine, Vec::new())?;
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

    use super::super::request::Request;
    use super::super::settings::{DEADLINES_PER_TICK_MAX, Settings};
    use super::super::{Handle, channel};
    use super::*;
    use crate::model::{Action, RecordId, Submission, Work};
    use crate::store::{Backend as _, Memory};

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
}
