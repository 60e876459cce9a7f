//! The tick: decide, commit once, release.

use super::claims::Replies;
use super::core::{Core, EngineError};
use super::draft::{Draft, Fail, Owed};
use super::request::{Arrival, Request};
use super::settings::{
    CLEARS_PER_TICK_MAX, DEADLINES_PER_TICK_MAX, DISPATCHES_PER_TICK_MAX, PARKS_PER_TICK_MAX,
};
use super::step::Step;
use super::{
    arrivals, burst, claims, debounce, hold, modes, notices, paced, pool, purge, ramp, schedule, space,
    windows,
};
use crate::model::{Effect, Event, Name, RecordId, Runtime, Time, Transition};
use crate::store::{Batch, Begun, Durable, Writer};

/// What a tick decided: nothing of it is written yet.
#[must_use]
pub struct Decided {
    engine: Engine,
    batch: Batch,
    owed: (Replies, Owed),
}

/// A tick whose commit is on its way. What it owes is held back until that has landed.
#[must_use]
pub struct UnderWay(Begun<(Replies, Owed)>);

/// What a commit released.
pub struct Released {
    /// Answers to the arrivals, in order; then to claims, which may have waited for longer.
    pub replies: Durable<Replies>,
    /// For the executor, in order.
    pub effects: Durable<Vec<Effect>>,
    /// What the history now says.
    pub transitions: Durable<Vec<Transition>>,
    /// What each of the transitions leaves unsaid, in their order.
    pub steps: Durable<Vec<Step>>,
    /// Rows of runtimes as they now are.
    pub windows: Durable<Vec<Runtime>>,
}

/// The engine between two ticks.
pub struct Engine {
    pub(super) writer: Writer,
    /// Boxed, for a tick hands the engine on many times.
    pub(super) core: Box<Core>,
}

impl Engine {
    /// The engine's time: the latest that any tick has seen, on this start or an earlier one.
    pub const fn now(&self) -> Time {
        self.core.now
    }

    /// Closes the store and leaves the rest to the end of the process: to free the indexes of a million records one by
    /// one takes longer than all else that a stop does.
    pub fn close_at_exit(self) {
        let Engine { writer, core } = self;
        drop(writer);
        std::mem::forget(core);
    }

    /// Whether the engine is stopping and no attempt of its own is outstanding any more.
    pub fn drained(&self) -> bool {
        self.core.draining.is_some() && self.core.index.own().next().is_none()
    }

    /// The next moment at which a tick has something to do without any arrival; `None`: never.
    pub fn next_wake(&self) -> Option<Time> {
        let core = &self.core;
        if core.more || core.crowd() > 0 || !core.interrupted.is_empty() {
            return Some(core.now);
        }
        let deadline = core.index.first_deadline().map(|(deadline, _)| deadline);
        let reopened = core.index.lanes().filter(|(name, lane)| {
            lane.diverted() > 0 || core.startable(lane) && hold::full(core, name).is_none()
        });
        let reopened = reopened.filter_map(|(name, _)| core.runtimes.get(name)?.held_until(core.now)).min();
        let opened = core.window_wake();
        let ramped = core.ramp_wake();
        let redrives = core.redrives.values().filter(|_| core.draining.is_none());
        let redrives = paced::next_at(redrives, core.settings.shard.count);
        let purge = core.oldest.due_at(core.settings.retention);
        let claims = core.claims.first_deadline();
        let notices = notices::next_at(core);
        let upcoming = core.next_upcoming();
        let looked = space::next_at(core);
        let all = [deadline, reopened, opened, ramped, claims, redrives, notices, purge, upcoming, looked];
        all.into_iter().flatten().min()
    }

    /// Decides what `arrivals` and the time make of things, commits it, and hands out what may now leave. An error
    /// consumes the engine: nothing of the tick is released and nobody can write any more.
    pub fn tick(self, now: Time, arrivals: Vec<Arrival>) -> Result<(Engine, Released), EngineError> {
        self.decide(now, arrivals)?.commit()
    }

    /// Waits until a commit that was begun has landed, and hands out what may now leave.
    pub fn land(self, under_way: UnderWay) -> Result<(Engine, Released), EngineError> {
        let Engine { writer, core } = self;
        let (writer, owed) = writer.landed(under_way.0)?;
        Ok((Engine { writer, core }, Released::of(owed)))
    }

    /// The first half of a tick: whoever has it commits it next.
    pub fn decide(self, now: Time, arrivals: Vec<Arrival>) -> Result<Decided, EngineError> {
        let Engine { mut writer, mut core } = self;
        core.now = core.now.max(now);
        space::look(&mut core, writer.look()?);
        let seen = std::mem::replace(&mut core.seen, core.now);
        core.ticks += 1;
        core.more = false;
        let expected = arrivals.iter().map(|arrival| arrival.request.changes()).sum();
        let mut draft = Draft::new(&mut core, writer.backend(), expected);
        ramp::late(&mut draft, seen);
        purge::purge(&mut draft)?;
        interrupted(&mut draft)?;
        modes::settle(&mut draft);
        schedule::fire(&mut draft)?;
        debounce::admit_due(&mut draft)?;
        let mut replies = Vec::with_capacity(arrivals.len());
        for Arrival { request, reply } in arrivals {
            if let Request::Claim(claim) = request {
                let taken_in = draft.core.claims.arrive(*claim, reply, draft.now);
                replies.extend(taken_in.err().map(|(reply, rejected)| (reply, Err(rejected))));
                continue;
            }
            let answer = match arrivals::answer(&mut draft, request) {
                Ok(answer) => Ok(answer),
                Err(Fail::Rejected(rejected)) => Err(rejected),
                Err(Fail::Broken(error)) => return Err(error),
            };
            replies.push((reply, answer));
        }
        deadlines(&mut draft)?;
        cleared(&mut draft)?;
        windows::unpark(&mut draft);
        draft.core.more |= draft.core.index.unpark(PARKS_PER_TICK_MAX);
        paced::advance(&mut draft)?;
        burst::drain(&mut draft)?;
        notices::tell(&mut draft)?;
        pool::give_back(draft.core);
        dispatch(&mut draft)?;
        claims::serve(&mut draft, &mut replies)?;
        pool::line_up(draft.core);
        notices::end(&mut draft)?;
        let (batch, owed) = draft.finish()?;
        core.commits += u64::from(!batch.is_empty());
        Ok(Decided { engine: Engine { writer, core }, batch, owed: (replies, owed) })
    }
}

impl Decided {
    /// Commits it, and hands out what may now leave.
    pub fn commit(self) -> Result<(Engine, Released), EngineError> {
        let Engine { writer, core } = self.engine;
        let (writer, owed) = writer.commit(self.batch, self.owed)?;
        Ok((Engine { writer, core }, Released::of(owed)))
    }

    /// Begins its commit, so that the next tick may be decided meanwhile.
    pub fn begin(self) -> Result<(Engine, UnderWay), EngineError> {
        let Engine { writer, core } = self.engine;
        let (writer, begun) = writer.begin(self.batch, self.owed)?;
        Ok((Engine { writer, core }, UnderWay(begun)))
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The engine as the tick leaves it.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Released {
    fn of(owed: Durable<(Replies, Owed)>) -> Released {
        let (replies, rest) = owed.split();
        let (effects, rest) = rest.split();
        let (transitions, rest) = rest.split();
        let (steps, windows) = rest.split();
        Released { replies, effects, transitions, steps, windows }
    }
}

fn interrupted(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    for id in std::mem::take(&mut draft.core.interrupted) {
        draft.must(id, &Event::Interrupted)?;
    }
    Ok(())
}

fn deadlines(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    for _ in 0..DEADLINES_PER_TICK_MAX {
        match draft.core.index.first_deadline() {
            Some((deadline, id)) if deadline <= draft.now => {
                draft.must(id, &Event::Elapsed)?;
            }
            Some(_) | None => return Ok(()),
        }
    }
    draft.core.more = true;
    Ok(())
}

/// Frees what waits for a window that is open. It is derived from the rows, so a crash in the middle loses nothing.
fn cleared(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let (now, core) = (draft.now, &draft.core);
    let open = |name: &Name| core.frees_at(name).is_none_or(|at| at <= now);
    let windows = core.index.lanes().flat_map(|(_, lane)| lane.limited.iter());
    let waiting = windows.filter(|(window, _)| open(window)).flat_map(|(_, waiting)| waiting.iter().copied());
    let freed: Vec<RecordId> = waiting.take(CLEARS_PER_TICK_MAX).collect();
    draft.core.more |= freed.len() == CLEARS_PER_TICK_MAX;
    for id in freed {
        draft.must(id, &Event::LimitCleared)?;
    }
    Ok(())
}

/// Fair dispatch: each runtime's rotation, as far as nothing holds it.
fn dispatch(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    if hold::everything(draft.core).is_some() {
        return Ok(());
    }
    let (mut starts, mut parks) = (DISPATCHES_PER_TICK_MAX, PARKS_PER_TICK_MAX);
    let runtimes: Vec<Name> = draft.core.settings.runtimes.keys().cloned().collect();
    for runtime in runtimes {
        if hold::closed(draft.core, &runtime).is_some() {
            continue;
        }
        while hold::full(draft.core, &runtime).is_none() && hold::ramping(draft.core, &runtime).is_none() {
            let Some(id) = draft.core.index.peek(&runtime) else { break };
            if starts == 0 || parks == 0 {
                draft.core.more = true;
                return Ok(());
            }
            if let Some(narrow) = hold::parks(draft.core, id) {
                draft.core.index.park(id, narrow);
                parks -= 1;
                continue;
            }
            if !draft.core.take_place(&runtime) {
                break;
            }
            let Core { index, settings, .. } = &mut *draft.core;
            let Some(id) = index.take(&runtime, settings) else { break };
            draft.must(id, &Event::Dispatch)?;
            draft.core.count_start(&runtime);
            starts -= 1;
        }
    }
    Ok(())
}
