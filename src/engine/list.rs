//! Lists: live records from the indexes, finished ones from their pointers, merged newest first.

use super::answer::{Group, Page, Upcoming};
use super::draft::{Draft, Fail};
use super::hold;
use super::index::Entry;
use super::letters::Letter;
use super::request::Filter;
use super::settings::{READS_PER_PAGE_MAX, VISITS_PER_PAGE_MAX};
use crate::model::{IdRange, Kind, Record, RecordId, Trigger, TriggerId, masked};
use crate::store::{Direction, Stored, keys};

/// Ids in a range, live or finished.
pub(super) fn resolve(draft: &Draft<'_>, range: IdRange, limit: usize) -> Result<Vec<RecordId>, Fail> {
    let (from, to) = keys::pointer_range(range);
    let finished = draft.disk.scan(&from, &to, Direction::Ascending, limit)?;
    let finished = finished.iter().filter_map(|(key, _)| keys::pointer_id(key));
    let live = draft.core.index.ids(range.low, range.high).take(limit);
    let mut ids: Vec<RecordId> = live.chain(finished).chain(draft.finishing(range.low, range.high)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(limit);
    Ok(ids)
}

/// A page of records, newest first. A filter that matches little ends the page early, with a cursor to go on from.
pub(super) fn page(draft: &Draft<'_>, filter: &Filter) -> Result<Page, Fail> {
    let (low, high) = bounds(filter);
    let wanted = filter.limit.clamp(1, Filter::LIMIT_MAX);
    let (from, to) = (keys::pointer(low), keys::pointer(high));
    let done = filter.state.is_some_and(is_live);
    let mut fresh = if done { Vec::new() } else { draft.finishing(low, high) };
    fresh.retain(|id| *id < high);
    let mut pointers = Pointers { from, to, chunk: Vec::new(), fresh, done };
    let mut live = draft.core.index.newest(low, high).peekable();
    let mut page = Page::default();
    let mut reads = 0;
    for _ in 0..VISITS_PER_PAGE_MAX {
        if reads == READS_PER_PAGE_MAX {
            break;
        }
        let finished = pointers.newest(draft)?;
        let (id, entry) = match (live.peek().map(|(id, _)| *id), finished) {
            (None, None) => return Ok(Page { next: None, ..page }),
            (Some(id), finished) if finished.is_none_or(|finished| id > finished) => {
                (id, live.next().map(|(_, entry)| entry))
            }
            (_, Some(finished)) => {
                pointers.pop();
                (finished, None)
            }
            (Some(id), None) => (id, live.next().map(|(_, entry)| entry)),
        };
        page.next = Some(id);
        if entry.is_some_and(|entry| !entry_matches(entry, filter)) {
            continue;
        }
        reads += 1;
        if let Some(record) = draft.record(id)?.filter(|record| matches(record, filter))
            && labelled(draft, id, filter)?
        {
            page.holds.extend(entry.and_then(|entry| Some((id, hold::of(draft.core, entry)?))));
            page.records.push(record);
            if page.records.len() == wanted {
                break;
            }
        }
    }
    Ok(page)
}

/// Finished ids, newest first: read from the disk a chunk at a time, and those of this very tick.
struct Pointers {
    from: Vec<u8>,
    to: Vec<u8>,
    /// Oldest first, so that the newest is popped.
    chunk: Vec<RecordId>,
    /// Finished in this tick, so not on the disk; oldest first.
    fresh: Vec<RecordId>,
    done: bool,
}

impl Pointers {
    const CHUNK: usize = 256;

    fn newest(&mut self, draft: &Draft<'_>) -> Result<Option<RecordId>, Fail> {
        if self.chunk.is_empty() && !self.done {
            let found = draft.disk.scan(&self.from, &self.to, Direction::Descending, Self::CHUNK)?;
            self.done = found.len() < Self::CHUNK;
            if let Some((key, _)) = found.last() {
                self.to.clone_from(key);
            }
            self.chunk = found.iter().rev().filter_map(|(key, _)| keys::pointer_id(key)).collect();
        }
        Ok(self.chunk.last().max(self.fresh.last()).copied())
    }

    /// Goes past the newest.
    fn pop(&mut self) {
        if self.fresh.last() > self.chunk.last() {
            self.fresh.pop();
        } else {
            self.chunk.pop();
        }
    }
}

/// From the lowest id of the kind up to and without the cursor.
fn bounds(filter: &Filter) -> (RecordId, RecordId) {
    let kind = |kind| RecordId { kind, ulid: 0 };
    let low = kind(filter.kind.unwrap_or(Kind::Session));
    let high = RecordId { kind: filter.kind.unwrap_or(Kind::Run), ulid: u128::MAX };
    (low, filter.before.map_or(high, |before| before.min(high)))
}

fn is_live(state: crate::model::StateName) -> bool {
    !matches!(state, crate::model::StateName::Completed | crate::model::StateName::Cancelled)
}

pub(super) fn entry_matches(entry: &Entry, filter: &Filter) -> bool {
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    filter.state.is_none_or(|state| state == entry.state)
        && is(&filter.org, entry.home.org())
        && is(&filter.env, entry.home.env())
        && is(&filter.runtime, &entry.home.runtime)
        && is(&filter.flow, entry.home.flow.as_deref().unwrap_or_default())
        // What is recorded only is finished from the start.
        && filter.shadow != Some(true)
        && (!filter.is_of_the_dead() || entry.letter.as_ref().is_some_and(|letter| letter.matches(filter)))
}

/// Whether a filter lets a record through; kind and cursor aside, which are ranges of ids.
pub(super) fn matches(record: &Record, filter: &Filter) -> bool {
    let is = |wanted: &Option<String>, value: Option<&str>| wanted.is_none() || wanted.as_deref() == value;
    filter.state.is_none_or(|state| state == record.state.name())
        && is(&filter.org, Some(&record.org))
        && is(&filter.env, Some(&record.env))
        && is(&filter.runtime, Some(&record.runtime))
        && is(&filter.flow, record.flow.as_deref())
        && is(&filter.key, record.key.as_deref())
        && filter.shadow.is_none_or(|shadow| shadow == record.shadow)
        && (!filter.is_of_the_dead() || Letter::of(record).is_some_and(|letter| letter.matches(filter)))
}

/// Whether it has the label; these stand in the work, which is read for this only.
pub(super) fn labelled(draft: &Draft<'_>, id: RecordId, filter: &Filter) -> Result<bool, Fail> {
    let Some((name, value)) = filter.label.as_deref() else { return Ok(true) };
    Ok(draft.work(id)?.labels.get(name) == Some(value))
}

/// The dead letters in groups, the largest first.
pub(super) fn groups(draft: &Draft<'_>, limit: usize) -> Result<Vec<Group>, Fail> {
    let mut groups = Vec::new();
    for (key, members) in draft.core.index.letters().groups().take(limit.clamp(1, Filter::LIMIT_MAX)) {
        let (Some((oldest, _)), Some((newest, example))) = (members.first(), members.last()) else {
            continue;
        };
        let sample = draft.record(*example)?.map(|record| masked(record.last_error.as_ref()));
        groups.push(Group {
            cause: key.cause,
            flow: key.flow.clone(),
            runtime: key.runtime.clone(),
            fingerprint: key.fingerprint,
            sample: sample.unwrap_or_default(),
            count: members.len() as u64,
            oldest: *oldest,
            newest: *newest,
            example: *example,
        });
    }
    Ok(groups)
}

/// Accepted triggers, newest first.
pub(super) fn triggers(
    draft: &Draft<'_>,
    before: Option<TriggerId>,
    limit: usize,
) -> Result<Vec<Trigger>, Fail> {
    let (from, end) = keys::all_triggers();
    let to = before.map_or(end, keys::trigger);
    let found = draft.disk.scan(&from, &to, Direction::Descending, limit.min(Filter::LIMIT_MAX))?;
    found.iter().map(|(_, value)| Ok(Trigger::decode(value)?)).collect()
}

/// The first two triggers of a range of ids: what a beginning of an id stands for, or that it stands for several.
pub(super) fn triggers_of(draft: &Draft<'_>, low: TriggerId, high: TriggerId) -> Result<Vec<Trigger>, Fail> {
    let (from, to) = keys::trigger_range(low, high);
    let found = draft.disk.scan(&from, &to, Direction::Ascending, 2)?;
    found.iter().map(|(_, value)| Ok(Trigger::decode(value)?)).collect()
}

/// What time alone will admit, the earliest first.
pub(super) fn upcoming(draft: &Draft<'_>, limit: usize) -> Vec<Upcoming> {
    let limit = limit.min(Filter::LIMIT_MAX);
    let schedules = draft.core.schedules.upcoming().take(limit).cloned().map(Upcoming::Schedule);
    let debounced = draft.core.debounces.upcoming().take(limit).cloned().map(Upcoming::Debounced);
    let mut all: Vec<Upcoming> = schedules.chain(debounced).collect();
    all.sort_by_key(Upcoming::due_at);
    all.truncate(limit);
    all
}
