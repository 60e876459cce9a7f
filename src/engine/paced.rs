//! Paced redrives: each is a row with a cursor, and each tick carries it on by as many dead letters as are due.
//!
//! Absent on purpose: a list of what is still to come. The cursor walks the dead letters by age, up to the moment it was
//! asked for, so what dies again meanwhile stands behind its end.

use super::answer::{Answer, Paced};
use super::core::EngineError;
use super::draft::{Draft, Fail};
use super::letters::Age;
use super::list;
use super::request::{Filter, Redrives};
use super::settings::{
    LETTERS_COUNTED_MAX, LETTERS_LOOKED_AT_PER_TICK_MAX, REDRIVES_MAX, REDRIVES_PER_TICK_MAX,
};
use crate::model::{Command, Event, Pace, RecordId, Redrive, RedriveId, Rejected, StateName, Time};
use crate::store::{Stored, keys};

/// Begins one. The first is due after one interval, so that what was dead when it was asked for is told apart from what
/// dies again in the same moment.
pub(super) fn begin(
    draft: &mut Draft<'_>,
    id: RedriveId,
    asked: &Redrives,
    pace: Pace,
) -> Result<Answer, Fail> {
    let now = draft.now;
    let mut row = Redrive {
        id,
        asked_at: now,
        dead_by: asked.dead_by.map_or(now, |by| by.min(now)),
        cause: asked.filter.cause,
        fingerprint: asked.filter.fingerprint,
        flow: asked.filter.flow.clone(),
        runtime: asked.filter.runtime.clone(),
        org: asked.filter.org.clone(),
        env: asked.filter.env.clone(),
        pace,
        matched: 0,
        uncounted: false,
        redriven: 0,
        cursor: None,
        from: now,
        done: 0,
    };
    row.from = row.part_of(shards(draft)).pace.due(now, 1);
    let all = walk(draft, &row, usize::MAX, LETTERS_COUNTED_MAX);
    (row.matched, row.uncounted) = (all.matched.len() as u64, !all.to_the_end);
    let paced = Paced { matched: row.matched, uncounted: row.uncounted, redrive: None };
    if asked.dry_run || (row.matched == 0 && all.to_the_end) {
        return Ok(Answer::Paced(paced));
    }
    if draft.core.redrives.len() >= REDRIVES_MAX {
        return Err(Rejected::TooManyRedrives { limit: REDRIVES_MAX }.into());
    }
    keep(draft, row);
    Ok(Answer::Paced(Paced { redrive: Some(id), ..paced }))
}

/// Ends one where it is.
pub(super) fn stop(draft: &mut Draft<'_>, id: RedriveId) -> Result<Answer, Fail> {
    let row = draft.core.redrives.remove(&id).ok_or(Rejected::UnknownRedrive { id })?;
    draft.delete(keys::redrive(id));
    Ok(Answer::Redrives(vec![row.part_of(shards(draft))]))
}

/// Those that are running, each as it is carried out here.
pub(super) fn running(draft: &Draft<'_>) -> Vec<Redrive> {
    draft.core.redrives.values().map(|row| row.part_of(shards(draft))).collect()
}

fn shards(draft: &Draft<'_>) -> u32 {
    draft.core.settings.shard.count
}

/// Redrives what is due of each.
pub(super) fn advance(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    if draft.core.draining.is_some() {
        return Ok(());
    }
    let (rows, shards) = (draft.core.redrives.values(), shards(draft));
    let due = rows.filter(|row| row.next_at_of(shards) <= draft.now);
    let due: Vec<Redrive> = due.map(|row| row.part_of(shards)).collect();
    for row in due {
        advance_one(draft, row)?;
    }
    Ok(())
}

fn advance_one(draft: &mut Draft<'_>, mut row: Redrive) -> Result<(), EngineError> {
    row.forgive(draft.now, Redrive::LATE_MAX);
    let due = row.due(draft.now);
    let most = usize::try_from(due).unwrap_or(usize::MAX).min(REDRIVES_PER_TICK_MAX);
    let walked = walk(draft, &row, most, LETTERS_LOOKED_AT_PER_TICK_MAX);
    let count = walked.matched.len() as u64;
    for id in walked.matched {
        draft.must(id, &Event::Command(Command::Redrive))?;
    }
    row.cursor = walked.cursor;
    row.redriven += count;
    row.done += count;
    if walked.to_the_end {
        tracing::info!(event = "redrive.over", redrive = %row.id, redriven = row.redriven, "it is over");
        draft.core.redrives.remove(&row.id);
        draft.delete(keys::redrive(row.id));
        return Ok(());
    }
    draft.core.more |= count < due;
    keep(draft, row);
    Ok(())
}

/// Its pace is that of all shards on disk, where it stands in each.
fn keep(draft: &mut Draft<'_>, row: Redrive) {
    let row = match draft.core.redrives.get(&row.id) {
        Some(kept) => Redrive { pace: kept.pace, ..row },
        None => row,
    };
    draft.put(keys::redrive(row.id), row.encode());
    draft.core.redrives.insert(row.id, row);
}

struct Walked {
    /// What matches, the longest dead first.
    matched: Vec<RecordId>,
    /// The last one looked at that needs no second look.
    cursor: Option<Age>,
    /// Whether nothing that matches is left.
    to_the_end: bool,
}

/// Walks on from the row's cursor, until `most` match and one more would, or `looks` are used up.
fn walk(draft: &Draft<'_>, row: &Redrive, most: usize, looks: usize) -> Walked {
    let index = &draft.core.index;
    let filter = filter(row);
    let mut walked = Walked { matched: Vec::new(), cursor: row.cursor, to_the_end: false };
    for (looked, age) in index.letters().by_age(row.cursor, row.dead_by).enumerate() {
        if looked == looks {
            return walked;
        }
        let matches = index.entry(age.1).is_some_and(|entry| {
            list::entry_matches(entry, &filter)
                && entry.letter.as_ref().is_some_and(|letter| letter.redrivable)
        });
        if matches && walked.matched.len() == most {
            return walked;
        }
        if matches {
            walked.matched.push(age.1);
        }
        walked.cursor = Some(age);
    }
    Walked { to_the_end: true, ..walked }
}

fn filter(row: &Redrive) -> Filter {
    Filter {
        state: Some(StateName::DeadLettered),
        cause: row.cause,
        fingerprint: row.fingerprint,
        flow: row.flow.clone(),
        runtime: row.runtime.clone(),
        org: row.org.clone(),
        env: row.env.clone(),
        ..Filter::default()
    }
}

/// When the next one of any is due.
pub(super) fn next_at<'a>(rows: impl Iterator<Item = &'a Redrive>, shards: u32) -> Option<Time> {
    rows.map(|row| row.next_at_of(shards)).min()
}
