//! Retention: finished records and triggers older than it are dropped, with everything kept for them; so are the oldest
//! finished records beyond a number, and answers kept under idempotency keys, which have a time of their own.

use super::core::{EngineError, Oldest};
use super::draft::Draft;
use super::settings::{ANSWERED_FOR, ANSWERS_MAX, PURGES_PER_TICK_MAX};
use crate::model::{Effect, Record, RecordId, Time, Trigger, TriggerId};
use crate::store::{Backend, Direction, Pair, Stored, keys};

/// Reads what is oldest from the front of the key ranges.
pub(super) fn oldest(disk: &dyn Backend) -> Result<Oldest, EngineError> {
    let first = |range: (Vec<u8>, Vec<u8>)| Ok::<_, EngineError>(front(disk, range, 1)?.pop());
    let trigger = first(keys::all_triggers())?.map(|(_, value)| Trigger::decode(&value)).transpose()?;
    Ok(Oldest {
        finished: first(keys::all_finished())?.and_then(|(key, _)| keys::finished_id(&key)),
        trigger: trigger.map(|trigger| (trigger.id, trigger.at)),
        answer: first(keys::all_answered())?.and_then(|(key, _)| keys::answered_name(&key)),
    })
}

fn front(disk: &dyn Backend, (from, to): (Vec<u8>, Vec<u8>), limit: usize) -> Result<Vec<Pair>, EngineError> {
    Ok(disk.scan(&from, &to, Direction::Ascending, limit)?)
}

/// Drops what is due, a bounded number a tick. It runs before anything finishes in this tick, so what is oldest is
/// committed.
pub(super) fn purge(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let (retention, now) = (draft.core.settings.retention, draft.now);
    let due = |at: Time| at.after(retention) <= now;
    let oldest = draft.core.oldest;
    if let Some((at, id)) = oldest.finished.filter(|(at, _)| due(*at) || draft.core.crowd() > 0) {
        draft.core.oldest.finished = finished(draft, (at, id), due)?;
    }
    if let Some((id, _)) = oldest.trigger.filter(|(_, at)| due(*at)) {
        draft.core.oldest.trigger = triggers(draft, keys::trigger(id), due)?;
    }
    let stale = |at: Time| at.after(ANSWERED_FOR) <= now;
    if let Some((at, name)) = oldest.answer.filter(|(at, _)| stale(*at) || draft.core.answers > ANSWERS_MAX) {
        draft.core.oldest.answer = answers(draft, keys::answered(at, &name), stale)?;
    }
    draft.core.more |= draft.core.oldest.due_at(retention).is_some_and(|at| at <= now);
    draft.core.more |= draft.core.answers > ANSWERS_MAX || draft.core.crowd() > 0;
    Ok(())
}

/// Answers the oldest finished record that stays. What was purged before the first is not looked at again: where many go,
/// their deletions stand there until a checkpoint.
fn finished(
    draft: &mut Draft<'_>,
    (at, id): (Time, RecordId),
    due: impl Fn(Time) -> bool,
) -> Result<Option<(Time, RecordId)>, EngineError> {
    let crowd = usize::try_from(draft.core.crowd()).unwrap_or(usize::MAX);
    let max = if due(at) { PURGES_PER_TICK_MAX } else { crowd.min(PURGES_PER_TICK_MAX) };
    let (_, to) = keys::all_finished();
    for (count, (key, value)) in front(draft.disk, (keys::finished(at, id), to), max + 1)?.iter().enumerate()
    {
        let Some((at, id)) = keys::finished_id(key) else { break };
        if count == max || !(due(at) || draft.core.crowd() > 0) {
            return Ok(Some((at, id)));
        }
        let record = Record::decode(value)?;
        if let Some(key) = &record.key {
            draft.delete(keys::name(&record.org, &record.env, key));
        }
        draft.delete(key.clone());
        draft.delete(keys::pointer(id));
        draft.delete(keys::work(id));
        draft.delete(keys::told(id));
        draft.effects.push(Effect::Forget { id });
        draft.core.tally.purged += 1;
    }
    Ok(None)
}

/// Answers the oldest trigger that stays, and when it was accepted: by the engine's time, not by the clock of its id's
/// maker.
fn triggers(
    draft: &mut Draft<'_>,
    from: Vec<u8>,
    due: impl Fn(Time) -> bool,
) -> Result<Option<(TriggerId, Time)>, EngineError> {
    let (_, to) = keys::all_triggers();
    for (count, (key, value)) in front(draft.disk, (from, to), PURGES_PER_TICK_MAX + 1)?.iter().enumerate() {
        let trigger = Trigger::decode(value)?;
        if count == PURGES_PER_TICK_MAX || !due(trigger.at) {
            return Ok(Some((trigger.id, trigger.at)));
        }
        if let Some(dedup) = &trigger.dedup {
            draft.delete(keys::delivery(&trigger.source, dedup));
        }
        draft.delete(key.clone());
    }
    Ok(None)
}

/// Answers the oldest answer that stays: when it was given, and under what.
fn answers(
    draft: &mut Draft<'_>,
    from: Vec<u8>,
    stale: impl Fn(Time) -> bool,
) -> Result<Option<(Time, [u8; 32])>, EngineError> {
    let (_, to) = keys::all_answered();
    for (count, (key, _)) in front(draft.disk, (from, to), PURGES_PER_TICK_MAX + 1)?.iter().enumerate() {
        let Some((at, name)) = keys::answered_name(key) else { break };
        if count == PURGES_PER_TICK_MAX || !(stale(at) || draft.core.answers > ANSWERS_MAX) {
            return Ok(Some((at, name)));
        }
        draft.delete(key.clone());
        draft.delete(keys::answer(&name));
        draft.core.answers = draft.core.answers.saturating_sub(1);
    }
    Ok(None)
}
