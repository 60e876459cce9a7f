//! Claims: workers ask for attempts, and wait a while if there are none.
//!
//! Owns: who waits for what, in the order of arrival, and until when. That is in memory only, because a waiting claim is
//! an open connection and nothing else: it ends with the process, and whoever asked asks again. Absent on purpose: the
//! worker's process, which is not dwell's, and its lease, which is in the record.
//!
//! A claim waits in the engine and not at its door, so a tick in which something becomes claimable answers it, one
//! claim for what there is, and nobody has to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use super::answer::Answer;
use super::core::{Core, EngineError};
use super::draft::{self, Draft, Fail};
use super::hold::{self, Hold};
use super::request::{Filter, Reply};
use super::settings::{DISPATCHES_PER_TICK_MAX, PARKS_PER_TICK_MAX, TICK_BYTES_MAX};
use crate::model::{Event, Name, Rejected, Start, Time};

/// As many claims may wait at a time; beyond them callers are told to come back.
pub const CLAIMS_WAITING_MAX: usize = 4096;

/// A claim takes no more once it has this many bytes of payload.
const CLAIM_BYTES_MAX: usize = 8 << 20;

/// Queues whose latest claim is remembered.
const ASKED_MAX: usize = 10_000;

/// What a worker asks for.
#[derive(Debug)]
pub struct Claim {
    /// What it calls itself.
    pub worker: String,
    /// Where it takes from.
    pub queue: Name,
    /// At most so many attempts.
    pub max: usize,
    /// How long it waits if there is none.
    pub wait: Duration,
    /// How long it may show no sign of life of an attempt.
    pub lease: Duration,
    /// Gone once nobody listens to the answer: then nothing is claimed.
    pub listener: Weak<()>,
}

/// An attempt that a worker carries out.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// What to do.
    pub start: Start,
    /// When it is presumed lost, unless it shows a sign of life.
    pub lease_until: Time,
}

/// A queue of workers as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Its name.
    pub queue: Name,
    /// Records that wait in it.
    pub queued: u64,
    /// Claims that wait for some.
    pub claims: usize,
    /// When somebody claimed from it last, since dwell was started.
    pub asked_at: Option<Time>,
}

struct Waiting {
    claim: Claim,
    until: Time,
    reply: Reply,
}

impl Waiting {
    fn listens(&self) -> bool {
        self.claim.listener.strong_count() > 0
    }
}

/// Every claim that waits, and which queues were asked for lately.
#[derive(Default)]
pub(super) struct Claims {
    waiting: BTreeMap<Name, BTreeMap<u64, Waiting>>,
    deadlines: BTreeSet<(Time, Name, u64)>,
    arrived: u64,
    asked: BTreeMap<Name, Time>,
    asked_by_time: BTreeSet<(Time, Name)>,
}

/// An answer with its way back.
pub(super) type Replies = Vec<(Reply, Result<Answer, Rejected>)>;

impl Claims {
    /// Whether any waits.
    pub(super) fn any(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// How many wait for a queue.
    pub(super) fn waiting(&self, queue: &Name) -> usize {
        self.waiting.get(queue).map_or(0, BTreeMap::len)
    }

    /// When somebody asked for a queue last.
    pub(super) fn asked_at(&self, queue: &Name) -> Option<Time> {
        self.asked.get(queue).copied()
    }

    /// When the first of them is answered, whatever there is.
    pub(super) fn first_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(until, ..)| *until)
    }

    /// Takes a claim in. It is answered by [`serve`], in this tick or a later one.
    pub(super) fn arrive(&mut self, claim: Claim, reply: Reply, now: Time) -> Result<(), (Reply, Rejected)> {
        self.remember(&claim.queue, now);
        if self.deadlines.len() >= CLAIMS_WAITING_MAX {
            self.forget_gone();
        }
        if self.deadlines.len() >= CLAIMS_WAITING_MAX {
            return Err((reply, Rejected::ClaimsFull { limit: CLAIMS_WAITING_MAX }));
        }
        let (until, place) = (now.after(claim.wait), self.arrived);
        self.arrived += 1;
        self.deadlines.insert((until, claim.queue.clone(), place));
        let queue = self.waiting.entry(claim.queue.clone()).or_default();
        queue.insert(place, Waiting { claim, until, reply });
        Ok(())
    }

    /// Makes room: who has gone is waited for by nobody.
    fn forget_gone(&mut self) {
        let gone = |(place, waiting): (&u64, &Waiting)| (!waiting.listens()).then_some(*place);
        let of = |(queue, claims): (&Name, &BTreeMap<u64, Waiting>)| {
            claims.iter().filter_map(gone).map(|place| (queue.clone(), place)).collect::<Vec<_>>()
        };
        let gone: Vec<(Name, u64)> = self.waiting.iter().flat_map(of).collect();
        for (queue, place) in gone {
            self.remove(&queue, place);
        }
    }

    fn remember(&mut self, queue: &Name, now: Time) {
        if let Some(before) = self.asked.insert(queue.clone(), now) {
            self.asked_by_time.remove(&(before, queue.clone()));
        }
        self.asked_by_time.insert((now, queue.clone()));
        if self.asked.len() > ASKED_MAX
            && let Some((_, oldest)) = self.asked_by_time.pop_first()
        {
            self.asked.remove(&oldest);
        }
    }

    /// Takes out the claim that waits longest for a queue.
    fn next(&mut self, queue: &Name) -> Option<Waiting> {
        let place = *self.waiting.get(queue)?.first_key_value()?.0;
        self.remove(queue, place)
    }

    /// Takes out the next claim that waits no longer.
    fn due(&mut self, now: Time) -> Option<Waiting> {
        let (_, queue, place) = self.deadlines.first().filter(|(until, ..)| *until <= now)?.clone();
        self.remove(&queue, place)
    }

    fn remove(&mut self, queue: &Name, place: u64) -> Option<Waiting> {
        let claims = self.waiting.get_mut(queue)?;
        let waiting = claims.remove(&place)?;
        if claims.is_empty() {
            self.waiting.remove(queue);
        }
        self.deadlines.remove(&(waiting.until, queue.clone(), place));
        Some(waiting)
    }
}

/// What a tick has left to give.
struct Room {
    starts: usize,
    parks: usize,
    bytes: usize,
}

impl Room {
    const fn of_a_tick() -> Room {
        Room { starts: DISPATCHES_PER_TICK_MAX, parks: PARKS_PER_TICK_MAX, bytes: TICK_BYTES_MAX }
    }

    const fn is_used_up(&self) -> bool {
        self.starts == 0 || self.parks == 0 || self.bytes == 0
    }
}

/// Answers the waiting claims that there is something for, and those that wait no longer.
pub(super) fn serve(draft: &mut Draft<'_>, replies: &mut Replies) -> Result<(), EngineError> {
    if draft.core.draining.is_some() {
        while let Some(waiting) = draft.core.claims.due(Time::MAX) {
            replies.push((waiting.reply, Err(Rejected::Stopping)));
        }
        return Ok(());
    }
    let mut room = Room::of_a_tick();
    if hold::everything(draft.core).is_none() {
        for queue in both(draft.core) {
            serve_queue(draft, &queue, &mut room, replies)?;
        }
    }
    if room.is_used_up() {
        draft.core.more = true;
        return Ok(());
    }
    while let Some(waiting) = draft.core.claims.due(draft.now) {
        replies.push((waiting.reply, Ok(Answer::Claimed(Vec::new()))));
    }
    Ok(())
}

/// Answers a claim that is one of many requests, or under an idempotency key, with what there is: it waits for nothing.
pub(super) fn at_once(draft: &mut Draft<'_>, claim: &Claim) -> Result<Answer, Fail> {
    draft.core.claims.remember(&claim.queue, draft.now);
    match hold::everything(draft.core) {
        Some(Hold::Stopping { .. }) => return Err(Rejected::Stopping.into()),
        Some(_) => return Ok(Answer::Claimed(Vec::new())),
        None => {}
    }
    let mut room = Room::of_a_tick();
    let claimed = match next(draft.core, &claim.queue, &mut room) {
        Some(runtime) => take(draft, claim, runtime, &mut room)?,
        None => Vec::new(),
    };
    Ok(Answer::Claimed(claimed))
}

/// The queues with records and claims.
fn both(core: &Core) -> Vec<Name> {
    let (queues, waiting) = (&core.index.queues, &core.claims.waiting);
    if queues.names().len() < waiting.len() {
        queues.names().filter(|queue| waiting.contains_key(*queue)).cloned().collect()
    } else {
        waiting.keys().filter(|queue| queues.len(queue) > 0).cloned().collect()
    }
}

fn serve_queue(
    draft: &mut Draft<'_>,
    queue: &Name,
    room: &mut Room,
    replies: &mut Replies,
) -> Result<(), EngineError> {
    while let Some(runtime) = next(draft.core, queue, room) {
        let Some(waiting) = draft.core.claims.next(queue) else { return Ok(()) };
        if !waiting.listens() {
            continue;
        }
        let claimed = take(draft, &waiting.claim, runtime, room)?;
        replies.push((waiting.reply, Ok(Answer::Claimed(claimed))));
    }
    Ok(())
}

/// Takes as much as a claim asks for and there is, the first of it on `runtime`.
fn take(
    draft: &mut Draft<'_>,
    claim: &Claim,
    runtime: Name,
    room: &mut Room,
) -> Result<Vec<Claimed>, EngineError> {
    let (mut claimed, mut bytes) = (Vec::new(), 0);
    let mut turn = Some(runtime);
    while let Some(runtime) = turn {
        if !draft.core.take_place(&runtime) {
            break;
        }
        let Core { index, settings, .. } = &mut *draft.core;
        let Some(id) = index.take_claimable(&claim.queue, &runtime, settings) else { break };
        let work = draft.work(id)?;
        bytes += work.payload.len();
        room.bytes = room.bytes.saturating_sub(work.payload.len());
        room.starts -= 1;
        let record = draft.must(id, &Event::Claim { worker: claim.worker.clone(), lease: claim.lease })?;
        draft.core.count_start(&runtime);
        let lease_until = record.deadline().unwrap_or(draft.now);
        // A worker reports by itself how much more it used.
        claimed.push(Claimed { start: draft::start(&record, work, 0), lease_until });
        let more = claimed.len() < claim.max && bytes < CLAIM_BYTES_MAX;
        turn = if more { next(draft.core, &claim.queue, room) } else { None };
    }
    Ok(claimed)
}

/// The runtime whose record of a queue goes next, if nothing holds one of them.
fn next(core: &mut Core, queue: &Name, room: &mut Room) -> Option<Name> {
    for runtime in core.index.queues.runtimes(queue) {
        if [hold::closed, hold::full, hold::ramping].iter().any(|rule| rule(core, &runtime).is_some()) {
            continue;
        }
        while let Some(id) = core.index.queues.peek(queue, &runtime) {
            if room.is_used_up() {
                return None;
            }
            match hold::parks(core, id) {
                None => return Some(runtime),
                Some(narrow) => core.index.park(id, narrow),
            }
            room.parks -= 1;
        }
    }
    None
}

/// The queues with records or claims, or asked for lately; by name, at most a page.
pub(super) fn queues(core: &Core) -> Vec<QueueView> {
    let Claims { waiting, asked, .. } = &core.claims;
    let queued = core.index.queues.waiting();
    let names: BTreeSet<&Name> = queued.keys().chain(waiting.keys()).chain(asked.keys()).collect();
    let listening = |queue: &Name| {
        let claims = waiting.get(queue).map(BTreeMap::values).into_iter().flatten();
        claims.filter(|waiting| waiting.listens()).count()
    };
    let view = |queue: &Name| QueueView {
        queue: queue.clone(),
        queued: queued.get(queue).copied().unwrap_or(0),
        claims: listening(queue),
        asked_at: asked.get(queue).copied(),
    };
    names.into_iter().take(Filter::LIMIT_MAX).map(view).collect()
}
