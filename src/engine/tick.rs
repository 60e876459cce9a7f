//! The tick: decide, commit once, release.

use std::collections::BTreeMap;

use super::arrivals;
use super::burst::{self, Gate};
use super::draft::{Draft, Fail};
use super::index::Index;
use super::purge::{self, Oldest};
use super::request::{Answer, Arrival, Reply};
use super::settings::{CLEARS_PER_TICK_MAX, DEADLINES_PER_TICK_MAX, DISPATCHES_PER_TICK_MAX, Settings};
use crate::model::{Effect, Event, Name, Record, RecordId, Rejected, Runtime, StateName, Time, Transition};
use crate::store::{Durable, StoreError, Tally, Writer};

/// What ends the engine. The process restarts and recovers; nothing was released that is not durable.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds something that cannot be.
    #[error("record {0} is inconsistent: {1}; stop dwell and restore the backup")]
    Inconsistent(RecordId, &'static str),
}

/// What a commit released.
pub struct Released {
    /// Answers to the arrivals, in order.
    pub replies: Durable<Vec<(Reply, Result<Answer, Rejected>)>>,
    /// For the executor, in order.
    pub effects: Durable<Vec<Effect>>,
    /// What the history now says.
    pub transitions: Durable<Vec<Transition>>,
}

/// The engine between two ticks.
pub struct Engine {
    pub(super) writer: Writer,
    pub(super) core: Core,
}

/// All the engine holds in memory; everything but counters since open is derived from the store.
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) index: Index,
    pub(super) gate: Gate,
    pub(super) runtimes: BTreeMap<Name, Runtime>,
    pub(super) tally: Tally,
    pub(super) now: Time,
    /// Found outstanding at open.
    pub(super) interrupted: Vec<RecordId>,
    /// Set when the engine is about to stop.
    pub(super) draining: Option<Time>,
    /// Finish time of the oldest finished record, and acceptance of the oldest trigger.
    pub(super) oldest: Oldest,
    /// A pass reached its limit; the rest is done next tick.
    pub(super) more: bool,
    pub(super) ticks: u64,
    pub(super) commits: u64,
}

impl Core {
    /// A runtime's row; one never written is open.
    pub(super) fn runtime(&self, name: &Name) -> Runtime {
        self.runtimes.get(name).cloned().unwrap_or_else(|| Runtime::open(name.clone()))
    }

    /// Keeps the tally of what starts, ends and finishes.
    pub(super) fn count(&mut self, before: &Record, after: &Record) {
        let ended =
            before.state.outstanding() && !(after.state.outstanding() && before.attempt == after.attempt);
        self.tally.attempts_ended += u64::from(ended);
        self.tally.attempts_started += u64::from(after.attempt - before.attempt);
        self.tally.completed += u64::from(after.state.name() == StateName::Completed);
        self.tally.cancelled += u64::from(after.state.name() == StateName::Cancelled);
        if let Some(at) = after.state.finished_at() {
            self.oldest.finished.get_or_insert(at);
        }
    }

    fn free(&self, runtime: &Name) -> u32 {
        let allowed = self.settings.runtimes.get(runtime).copied().unwrap_or(0);
        let outstanding = self.index.lane(runtime).map_or(0, |lane| lane.outstanding.len());
        allowed.saturating_sub(u32::try_from(outstanding).unwrap_or(u32::MAX))
    }
}

impl Engine {
    /// The engine's time: the latest that any tick has seen, on this start or an earlier one.
    pub const fn now(&self) -> Time {
        self.core.now
    }

    /// Whether the engine is stopping and nothing is outstanding any more.
    pub fn drained(&self) -> bool {
        self.core.draining.is_some() && self.core.index.outstanding().next().is_none()
    }

    /// The next moment at which a tick has something to do without any arrival; `None`: never.
    pub fn next_wake(&self) -> Option<Time> {
        let core = &self.core;
        if core.more || !core.interrupted.is_empty() {
            return Some(core.now);
        }
        let deadline = core.index.first_deadline().map(|(deadline, _)| deadline);
        let reopened = core
            .index
            .lanes()
            .filter(|(name, lane)| !lane.burst.is_empty() || !lane.queue.is_empty() && core.free(name) > 0);
        let reopened = reopened.filter_map(|(name, _)| core.runtimes.get(name)?.held_until(core.now)).min();
        let opened = core.index.lanes().filter(|(_, lane)| !lane.limited.is_empty());
        let opened = opened.filter_map(|(name, _)| Some(core.runtimes.get(name)?.limited?.limit.until)).min();
        [deadline, reopened, opened, core.oldest.due_at(core.settings.retention)].into_iter().flatten().min()
    }

    /// Decides what `arrivals` and the time make of things, commits it, and hands out what may now leave. An error
    /// consumes the engine: nothing of the tick is released and nobody can write any more.
    pub fn tick(self, now: Time, arrivals: Vec<Arrival>) -> Result<(Engine, Released), EngineError> {
        let Engine { writer, mut core } = self;
        core.now = core.now.max(now);
        core.ticks += 1;
        core.more = false;
        let mut draft = Draft::new(&mut core, writer.backend());
        purge::purge(&mut draft)?;
        interrupted(&mut draft)?;
        let mut replies = Vec::with_capacity(arrivals.len());
        for Arrival { request, reply } in arrivals {
            let answer = match arrivals::answer(&mut draft, request) {
                Ok(answer) => Ok(answer),
                Err(Fail::Rejected(rejected)) => Err(rejected),
                Err(Fail::Broken(error)) => return Err(error),
            };
            replies.push((reply, answer));
        }
        deadlines(&mut draft)?;
        cleared(&mut draft)?;
        burst::drain(&mut draft)?;
        dispatch(&mut draft)?;
        let (batch, effects, transitions) = draft.finish()?;
        core.commits += u64::from(!batch.is_empty());
        let (writer, owed) = writer.commit(&batch, (replies, (effects, transitions)))?;
        let (replies, rest) = owed.split();
        let (effects, transitions) = rest.split();
        Ok((Engine { writer, core }, Released { replies, effects, transitions }))
    }
}

/// A step the indexes promised. A refusal here is a bug, and stopping is better than turning in circles.
pub(super) fn must(draft: &mut Draft<'_>, id: RecordId, event: &Event) -> Result<Record, EngineError> {
    match draft.apply(id, event) {
        Ok(record) => Ok(record),
        Err(Fail::Broken(error)) => Err(error),
        Err(Fail::Rejected(rejected)) => {
            tracing::error!(record = %id, "{rejected}");
            Err(EngineError::Inconsistent(id, "its indexes and its record disagree"))
        }
    }
}

fn interrupted(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    for id in std::mem::take(&mut draft.core.interrupted) {
        must(draft, id, &Event::Interrupted)?;
    }
    Ok(())
}

fn deadlines(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    for _ in 0..DEADLINES_PER_TICK_MAX {
        match draft.core.index.first_deadline() {
            Some((deadline, id)) if deadline <= draft.now => {
                must(draft, id, &Event::Elapsed)?;
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
    let open = |name: &Name| core.runtime(name).limited.is_none_or(|pause| pause.limit.until <= now);
    let lanes = core.index.lanes().filter(|(name, _)| open(name));
    let waiting = lanes.flat_map(|(_, lane)| lane.limited.iter().copied());
    let freed: Vec<RecordId> = waiting.take(CLEARS_PER_TICK_MAX).collect();
    draft.core.more |= freed.len() == CLEARS_PER_TICK_MAX;
    for id in freed {
        must(draft, id, &Event::LimitCleared)?;
    }
    Ok(())
}

/// Fair dispatch: each runtime's rotation, within its concurrency and outside its pauses.
fn dispatch(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    if draft.core.draining.is_some() {
        return Ok(());
    }
    let mut left = DISPATCHES_PER_TICK_MAX;
    let runtimes: Vec<Name> = draft.core.settings.runtimes.keys().cloned().collect();
    for runtime in runtimes {
        if draft.core.runtime(&runtime).held_until(draft.now).is_some() {
            continue;
        }
        while draft.core.free(&runtime) > 0 {
            if left == 0 {
                draft.core.more = true;
                return Ok(());
            }
            let Core { index, settings, .. } = &mut *draft.core;
            let Some(id) = index.take(&runtime, settings) else { break };
            must(draft, id, &Event::Dispatch)?;
            left -= 1;
        }
    }
    Ok(())
}
