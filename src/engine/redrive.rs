//! Many dead letters at once: found as a page of a list is found, and redriven in one commit.

use std::sync::Arc;

use super::answer::{Answer, Redriven};
use super::draft::{Draft, Fail};
use super::list;
use super::request::{Filter, Redrives};
use crate::machine;
use crate::model::{Command, Event, Record, RecordId, State, StateName};

/// One page of them; the caller goes on from its cursor, so that no commit grows with the number of dead letters.
pub(super) fn redrive(draft: &mut Draft<'_>, asked: Redrives) -> Result<Answer, Fail> {
    let Redrives { ids, filter, dead_by, dry_run } = asked;
    let filter = Filter { state: Some(StateName::DeadLettered), ..filter };
    let (found, next) = if let Some(ids) = ids {
        (named(draft, ids, &filter)?, None)
    } else {
        let page = list::page(draft, &filter)?;
        (page.records, page.next)
    };
    let long_enough = |record: &Record| matches!(record.state, State::DeadLettered { at, .. } if dead_by.is_none_or(|by| at <= by));
    let event = Event::Command(Command::Redrive);
    // What the machine refuses (invalid as it was submitted) is not counted as matched, so the rest goes.
    let matched: Vec<RecordId> = (found.iter())
        .filter(|record| long_enough(record) && machine::redrivable(record))
        .map(|record| record.id)
        .collect();
    if !dry_run {
        for id in &matched {
            draft.apply(*id, &event)?;
        }
    }
    Ok(Answer::Redriven(Redriven { matched, dry_run, next }))
}

/// Those of `ids` that are there and match, each once.
fn named(draft: &Draft<'_>, mut ids: Vec<RecordId>, filter: &Filter) -> Result<Vec<Arc<Record>>, Fail> {
    ids.sort_unstable();
    ids.dedup();
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let record = draft.record(id)?.filter(|record| list::matches(record, filter));
        if record.is_some() && list::labelled(draft, id, filter)? {
            found.extend(record);
        }
    }
    Ok(found)
}
