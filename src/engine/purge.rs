//! Retention: finished records and triggers older than it are dropped, with everything kept for them; so are the oldest
//! finished records beyond a number, and answers kept under idempotency keys, which have a time of their own.

use super::core::{EngineError, Oldest};
use super::draft::Draft;
use super::settings::{ANSWERED_FOR, ANSWERS_MAX, PURGES_PER_TICK_MAX};
use crate::model::{Effect, Record, Time, Trigger};
use crate::store::{Backend, Direction, Pair, Stored, keys};

/// Reads what is oldest from the front of the key ranges.
pub(super) fn oldest(disk: &dyn Backend) -> Result<Oldest, EngineError> {
    let (finished, triggers) = (front(disk, keys::all_finished(), 1)?, front(disk, keys::all_triggers(), 1)?);
    let answers = front(disk, keys::all_answered(), 1)?;
    let trigger = triggers.first().map(|(_, value)| Trigger::decode(value)).transpose()?;
    Ok(Oldest {
        finished: finished.first().and_then(|(key, _)| keys::finished_id(key)).map(|(at, _)| at),
        trigger: trigger.map(|trigger| trigger.at),
        answer: answers.first().and_then(|(key, _)| keys::answered_name(key)).map(|(at, _)| at),
    })
}

fn front(disk: &dyn Backend, (from, to): (Vec<u8>, Vec<u8>), limit: usize) -> Result<Vec<Pair>, EngineError> {
    Ok(disk.scan(&from, &to, Direction::Ascending, limit)?)
}

/// Drops what is due, a bounded number a tick. It runs before anything finishes in this tick, so the fronts of the key
/// ranges are the oldest there are.
pub(super) fn purge(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let (retention, now) = (draft.core.settings.retention, draft.now);
    let due = |at: Time| at.after(retention) <= now;
    let crowded = draft.core.answers > ANSWERS_MAX || draft.core.crowded();
    if !crowded && draft.core.oldest.due_at(retention).is_none_or(|at| at > now) {
        return Ok(());
    }
    draft.core.oldest =
        Oldest { finished: finished(draft, due)?, trigger: triggers(draft, due)?, answer: answers(draft)? };
    draft.core.more |= draft.core.oldest.due_at(retention).is_some_and(|at| at <= now);
    draft.core.more |= draft.core.answers > ANSWERS_MAX || draft.core.crowded();
    Ok(())
}

/// Answers when the oldest finished record that stays finished.
fn finished(draft: &mut Draft<'_>, due: impl Fn(Time) -> bool) -> Result<Option<Time>, EngineError> {
    for (count, (key, value)) in
        front(draft.disk, keys::all_finished(), PURGES_PER_TICK_MAX + 1)?.iter().enumerate()
    {
        let Some((at, id)) = keys::finished_id(key) else { break };
        if count == PURGES_PER_TICK_MAX || !(due(at) || draft.core.crowded()) {
            return Ok(Some(at));
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

/// Answers when the oldest trigger that stays was accepted: by the engine's time, not by the clock of its id's maker.
fn triggers(draft: &mut Draft<'_>, due: impl Fn(Time) -> bool) -> Result<Option<Time>, EngineError> {
    for (count, (key, value)) in
        front(draft.disk, keys::all_triggers(), PURGES_PER_TICK_MAX + 1)?.iter().enumerate()
    {
        let trigger = Trigger::decode(value)?;
        if count == PURGES_PER_TICK_MAX || !due(trigger.at) {
            return Ok(Some(trigger.at));
        }
        if let Some(dedup) = &trigger.dedup {
            draft.delete(keys::delivery(&trigger.source, dedup));
        }
        draft.delete(key.clone());
    }
    Ok(None)
}

/// Answers when the oldest answer that stays was given.
fn answers(draft: &mut Draft<'_>) -> Result<Option<Time>, EngineError> {
    for (count, (key, _)) in
        front(draft.disk, keys::all_answered(), PURGES_PER_TICK_MAX + 1)?.iter().enumerate()
    {
        let Some((at, name)) = keys::answered_name(key) else { break };
        let due = at.after(ANSWERED_FOR) <= draft.now || draft.core.answers > ANSWERS_MAX;
        if count == PURGES_PER_TICK_MAX || !due {
            return Ok(Some(at));
        }
        draft.delete(key.clone());
        draft.delete(keys::answer(&name));
        draft.core.answers = draft.core.answers.saturating_sub(1);
    }
    Ok(None)
}
