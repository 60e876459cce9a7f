//! The loop: wait without polling, tick, release; until drained.

use std::time::Duration;

use super::inbox::{Advanced, Inbox, Letter};
use super::request::Arrival;
use super::settings::ARRIVALS_PER_TICK_MAX;
use super::tick::{Engine, EngineError, Released};
use crate::model::Time;

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
        let due = next.is_some_and(|at| at <= clock.now());
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
