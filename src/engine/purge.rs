//! Retention: finished records and triggers older than it are dropped, with everything kept for them; so are the oldest
//! finished records beyond a number, and answers kept under idempotency keys, which have a time of their own.

use std::collections::VecDeque;
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use super::core::EngineError;
use super::draft::Draft;
use super::settings::{ANSWERED_FOR, ANSWERS_MAX, PURGES_PER_TICK_MAX};
use crate::model::{Effect, Record, RecordId, Time, Trigger, TriggerId};
use crate::store::{Backend, Direction, Pair, Stored, keys};

/// Rows read at once. Each costs a lock of the table, for which a tick waits while a checkpoint writes.
const READ_AHEAD: usize = 64;
/// And kept from one tick to the next; a trigger has its payload.
const READ_AHEAD_BYTES_MAX: usize = 1 << 20;

/// What retention waits for: the first finished record, trigger and kept answer, each in the order of its key and with
/// the time it counts from.
pub(super) struct Oldest {
    pub(super) finished: Front<(Time, RecordId)>,
    pub(super) triggers: Front<(TriggerId, Time)>,
    pub(super) answers: Front<(Time, [u8; 32])>,
}

/// The front of a range of rows that goes away from there.
pub(super) struct Front<T> {
    /// What comes first.
    first: Option<T>,
    /// It, and the rows behind it, as far as they were read.
    ahead: VecDeque<Pair>,
}

impl<T: Ord + Copy> Front<T> {
    fn at(first: Option<T>) -> Front<T> {
        Front { first, ahead: VecDeque::new() }
    }

    /// Takes in a row that comes to be; what was read ahead may not go past it.
    pub(super) fn add(&mut self, new: T, key: &[u8]) {
        self.first = Some(self.first.map_or(new, |first| first.min(new)));
        if self.ahead.back().is_some_and(|(last, _)| key < last.as_slice()) {
            self.ahead.clear();
        }
    }

    /// Whether there is a row at all.
    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl Oldest {
    /// Reads what comes first.
    pub(super) fn open(disk: &dyn Backend) -> Result<Oldest, EngineError> {
        let first = |(from, to): (Vec<u8>, Vec<u8>)| {
            Ok::<_, EngineError>(disk.scan(&from, &to, Direction::Ascending, 1)?.pop())
        };
        let trigger = first(keys::all_triggers())?.map(|(_, value)| Trigger::decode(&value)).transpose()?;
        Ok(Oldest {
            finished: Front::at(first(keys::all_finished())?.and_then(|(key, _)| keys::finished_id(&key))),
            triggers: Front::at(trigger.map(|trigger| (trigger.id, trigger.at))),
            answers: Front::at(first(keys::all_answered())?.and_then(|(key, _)| keys::answered_name(&key))),
        })
    }

    /// When there is first something to purge.
    pub(super) fn due_at(&self, retention: Duration) -> Option<Time> {
        let kept = [self.finished.first.map(|(at, _)| at), self.triggers.first.map(|(_, at)| at)];
        let answer = self.answers.first.map(|(at, _)| at.after(ANSWERED_FOR));
        [kept.into_iter().flatten().min().map(|at| at.after(retention)), answer].into_iter().flatten().min()
    }
}

/// Drops what is due, a bounded number a tick. It runs before anything finishes in this tick, so what is oldest is
/// committed.
pub(super) fn purge(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let (retention, now) = (draft.core.settings.retention, draft.now);
    let due = |at: Time| at.after(retention) <= now;
    let stale = |at: Time| at.after(ANSWERED_FOR) <= now;
    let Oldest { finished, triggers, answers } = &draft.core.oldest;
    let finished = finished.first.filter(|(at, _)| due(*at) || draft.core.crowd() > 0);
    let trigger = triggers.first.filter(|(_, at)| due(*at));
    let answer = answers.first.filter(|(at, _)| stale(*at) || draft.core.answers > ANSWERS_MAX);
    if let Some((at, id)) = finished {
        drop_finished(draft, (at, id), due)?;
    }
    if let Some((id, _)) = trigger {
        drop_triggers(draft, id, due)?;
    }
    if let Some((at, name)) = answer {
        drop_answers(draft, keys::answered(at, &name), stale)?;
    }
    draft.core.more |= draft.core.oldest.due_at(retention).is_some_and(|at| at <= now);
    draft.core.more |= draft.core.answers > ANSWERS_MAX || draft.core.crowd() > 0;
    Ok(())
}

/// Goes over the rows of a range until `step` breaks off, with what stays and comes first from then on. What was purged
/// before the first is not looked at again: where many go, their deletions stand there until a checkpoint.
fn each<T: Ord + Copy>(
    draft: &mut Draft<'_>,
    front: fn(&mut Oldest) -> &mut Front<T>,
    (mut from, to): (Vec<u8>, Vec<u8>),
    mut step: impl FnMut(&mut Draft<'_>, usize, &Pair) -> Result<ControlFlow<Option<T>>, EngineError>,
) -> Result<(), EngineError> {
    let mut ahead = std::mem::take(&mut front(&mut draft.core.oldest).ahead);
    let mut first = None;
    for nth in 0.. {
        if ahead.is_empty() {
            ahead = draft.disk.scan(&from, &to, Direction::Ascending, READ_AHEAD)?.into();
        }
        let Some(row) = ahead.front() else { break };
        if let Break(stays) = step(draft, nth, row)? {
            if stays.is_none() {
                ahead.clear();
            }
            first = stays;
            break;
        }
        if let Some((mut gone, _)) = ahead.pop_front() {
            gone.push(0);
            from = gone;
        }
    }
    let mut bytes: usize = ahead.iter().map(|(_, value)| value.len()).sum();
    while bytes > READ_AHEAD_BYTES_MAX
        && let Some((_, value)) = ahead.pop_back()
    {
        bytes -= value.len();
    }
    *front(&mut draft.core.oldest) = Front { first, ahead };
    Ok(())
}

fn drop_finished(
    draft: &mut Draft<'_>,
    (at, id): (Time, RecordId),
    due: impl Fn(Time) -> bool,
) -> Result<(), EngineError> {
    let crowd = usize::try_from(draft.core.crowd()).unwrap_or(usize::MAX);
    let max = if due(at) { PURGES_PER_TICK_MAX } else { crowd.min(PURGES_PER_TICK_MAX) };
    let range = (keys::finished(at, id), keys::all_finished().1);
    each(
        draft,
        |oldest| &mut oldest.finished,
        range,
        |draft, nth, (key, value)| {
            let Some((at, id)) = keys::finished_id(key) else { return Ok(Break(None)) };
            if nth == max || !(due(at) || draft.core.crowd() > 0) {
                return Ok(Break(Some((at, id))));
            }
            let record = Record::decode(value)?;
            if let Some(key) = &record.key {
                draft.delete(keys::name(&record.org, &record.env, key));
            }
            draft.forget(key.clone());
            draft.forget(keys::pointer(id));
            draft.forget(keys::work(id));
            // Of what a worker carried out there is no meter of a session, and no captured output.
            if record.queue.is_none() {
                draft.forget(keys::told(id));
                draft.effects.push(Effect::Forget { id });
            }
            draft.core.tally.purged += 1;
            Ok(Continue(()))
        },
    )
}

/// A trigger's time is the engine's, not that of the clock of its id's maker.
fn drop_triggers(
    draft: &mut Draft<'_>,
    first: TriggerId,
    due: impl Fn(Time) -> bool,
) -> Result<(), EngineError> {
    let range = (keys::trigger(first), keys::all_triggers().1);
    each(
        draft,
        |oldest| &mut oldest.triggers,
        range,
        |draft, nth, (key, value)| {
            let trigger = Trigger::decode(value)?;
            if nth == PURGES_PER_TICK_MAX || !due(trigger.at) {
                return Ok(Break(Some((trigger.id, trigger.at))));
            }
            if let Some(dedup) = &trigger.dedup {
                draft.delete(keys::delivery(&trigger.source, dedup));
            }
            draft.delete(key.clone());
            Ok(Continue(()))
        },
    )
}

fn drop_answers(
    draft: &mut Draft<'_>,
    first: Vec<u8>,
    stale: impl Fn(Time) -> bool,
) -> Result<(), EngineError> {
    each(
        draft,
        |oldest| &mut oldest.answers,
        (first, keys::all_answered().1),
        |draft, nth, (key, _)| {
            let Some((at, name)) = keys::answered_name(key) else { return Ok(Break(None)) };
            if nth == PURGES_PER_TICK_MAX || !(stale(at) || draft.core.answers > ANSWERS_MAX) {
                return Ok(Break(Some((at, name))));
            }
            draft.delete(key.clone());
            draft.delete(keys::answer(&name));
            draft.core.answers = draft.core.answers.saturating_sub(1);
            Ok(Continue(()))
        },
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{Arrival, Engine, Request, Settings};
    use super::*;
    use crate::model::{Action, Command, Submission, Work};
    use crate::store::{Batch, History, Memory, StoreError};

    /// A disk that counts the rows it is asked for.
    struct Counting(Memory, Arc<AtomicUsize>);

    impl Backend for Counting {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.0.get(key)
        }

        fn scan(&self, from: &[u8], to: &[u8], way: Direction, max: usize) -> Result<Vec<Pair>, StoreError> {
            let rows = self.0.scan(from, to, way, max)?;
            self.1.fetch_add(rows.len(), Ordering::Relaxed);
            Ok(rows)
        }

        fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
            self.0.commit(batch)
        }

        fn history(&self) -> Arc<dyn History> {
            self.0.history()
        }
    }

    #[test]
    fn what_goes_one_by_one_is_read_once() {
        const KEPT: u64 = 100;
        const ENDED: u64 = 500;
        let (memory, read) = (Memory::new(), Arc::new(AtomicUsize::new(0)));
        let settings = Settings {
            runtimes: [("r".into(), 0)].into(),
            retention: Duration::from_millis(KEPT),
            ..Settings::default()
        };
        let disk = Counting(memory.clone(), Arc::clone(&read));
        let mut engine = Engine::open(Box::new(disk), settings, Time::ZERO).unwrap().0.survivors_stopped();
        for n in 0..ENDED {
            let id = RecordId::session(n.into());
            let work = Work::of(Action::Agent { prompt: "p".to_owned(), cwd: None });
            let requests = [
                Request::Submit(Box::new(Submission::of(id, "r".into(), work))),
                Request::Command { id, command: Command::Cancel },
            ];
            let arrivals = requests.map(|request| Arrival { request, reply: Box::new(drop) });
            engine = engine.tick(Time::from_millis(n), arrivals.into()).unwrap().0;
        }
        engine.tick(Time::from_millis(ENDED), Vec::new()).unwrap();
        let (from, to) = keys::all_finished();
        let left = memory.scan(&from, &to, Direction::Ascending, usize::MAX).unwrap();
        assert_eq!(left.len() as u64, KEPT - 1);
        let read = read.load(Ordering::Relaxed);
        assert!(read as u64 <= ENDED, "{read} rows were read");
    }

    #[test]
    fn a_row_that_comes_before_what_was_read_ahead_is_not_passed_over() {
        let row = |n: u8| (vec![n], Vec::new());
        let mut front = Front { first: Some(3), ahead: [row(3), row(5)].into() };
        front.add(6, &[6]);
        assert_eq!((front.first, front.ahead.len()), (Some(3), 2));
        front.add(4, &[4]);
        assert_eq!((front.first, front.ahead.len()), (Some(3), 0));
        front.add(2, &[2]);
        assert_eq!(front.first, Some(2));
    }
}
