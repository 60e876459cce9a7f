//! Telling people: what happened becomes a record of its own on the runtime `notify`, in the commit of what it tells,
//! so it is sent at least once, retried, and seen like any other.
//!
//! A flow's or session's `on_dead_letter` is sent for each dead letter. What `[notify]` asks for is told at once and
//! then at most once in `every` for each event and flow or runtime, with a count; a row says what is still to be told.
//! A record that tells of something is never told of, so nothing goes round in circles.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::core::{Core, EngineError};
use super::draft::Draft;
use super::settings::NOTICES_MAX;
use super::stalls::Stalls;
use super::{payload, stalls};
use crate::model::{
    Action, HttpRequest, Lane, Mode, Name, Notice, NoticeEvent, Record, RecordId, StateName, Submission,
    Time, Transition, Work,
};
use crate::store::{Stored, keys};

/// The runtime that notices are sent on.
pub const NOTIFY: &str = "notify";

/// Who is told what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Where to.
    pub to: HttpRequest,
    /// Of what.
    pub events: BTreeSet<NoticeEvent>,
    /// Of these flows only; empty is any, and what has no flow.
    pub flows: BTreeSet<Name>,
    /// Of these orgs only; empty is any. What happens to a runtime or a flow has none and is told.
    pub orgs: BTreeSet<Name>,
    /// At most one notice in this of each event and flow or runtime.
    pub every: Duration,
}

/// Whom, of what, of which flow or runtime.
type Key = (Name, NoticeEvent, Name);

/// What is to be told, and what it is told from.
#[derive(Default)]
pub(super) struct Notices {
    /// What was told lately; each is a row.
    rows: BTreeMap<Key, Notice>,
    /// Runtimes that were held at the last committed tick.
    held: BTreeSet<Name>,
    pub(super) stalls: Stalls,
    /// Modes that changed in this tick: the flow, and what they were and are.
    pub(super) modes: Vec<(Name, Mode, Mode)>,
    /// Transitions of this tick that were looked at.
    looked: usize,
}

/// What happened in one tick of one kind to one flow or runtime.
#[derive(Clone, Default)]
struct Heard {
    count: u64,
    about: Option<RecordId>,
    detail: Option<String>,
}

impl Notices {
    /// From the rows, the runtimes that were held at the last committed tick, and the records that wait.
    pub(super) fn new(rows: impl Iterator<Item = Notice>, held: BTreeSet<Name>, stalls: Stalls) -> Notices {
        let held = held.into_iter().filter(|name| &**name != NOTIFY).collect();
        let rows = rows.map(|row| ((row.to.clone(), row.event, row.subject.clone()), row));
        Notices { rows: rows.collect(), held, stalls, ..Notices::default() }
    }
}

/// When there is first something to tell without anything happening.
pub(super) fn next_at(core: &Core) -> Option<Time> {
    let rows = core.notices.rows.values().map(|row| row.next_at).min();
    let resumed = core.notices.held.iter().filter(|_| wanted(core, NoticeEvent::RuntimeResumed));
    let resumed = resumed.filter_map(|name| core.runtimes.get(name)?.held_until(core.now)).min();
    [rows, resumed, stalls::next_at(core)].into_iter().flatten().min()
}

/// Whether anybody wants to be told.
pub(super) fn wanted(core: &Core, event: NoticeEvent) -> bool {
    core.settings.notify.values().any(|notify| notify.events.contains(&event))
}

/// Tells of everything that this tick did so far, and of what is due.
pub(super) fn tell(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let mut heard = BTreeMap::new();
    let first = std::mem::replace(&mut draft.core.notices.looked, draft.transitions.len());
    for at in first..draft.transitions.len() {
        let step = draft.transitions.get(at).and_then(|step| Some((of(step)?, step.id, step.detail.clone())));
        if let Some((event, id, detail)) = step {
            happened(draft, event, id, detail, &mut heard)?;
        }
    }
    runtimes(draft, &mut heard);
    let modes = std::mem::take(&mut draft.core.notices.modes);
    for (flow, from, to) in modes.into_iter().filter(|_| draft.core.settings.shard.tells()) {
        let once = Heard { count: 1, about: None, detail: Some(format!("{from} -> {to}")) };
        hear(draft.core, &mut heard, NoticeEvent::ModeChanged, &flow, &once);
    }
    for (key, heard) in heard {
        note(draft, key, heard)?;
    }
    due(draft)
}

/// Tells of what dispatch did, and of runtimes on which it could start nothing for long. What it tells starts in the
/// next tick.
pub(super) fn end(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let admitted = draft.core.tally.admitted;
    let mut heard = BTreeMap::new();
    // All of the tick: a claim that waits for nothing starts something before dispatch does.
    for step in &draft.transitions {
        stalls::started(draft.core, step);
    }
    for runtime in stalls::stalled(draft.core) {
        let once = Heard { count: 1, ..Heard::default() };
        hear(draft.core, &mut heard, NoticeEvent::Stalled, &runtime, &once);
    }
    for (key, heard) in heard {
        note(draft, key, heard)?;
    }
    tell(draft)?;
    draft.core.notices.looked = 0;
    draft.core.more |= draft.core.tally.admitted > admitted;
    Ok(())
}

/// The event that a step of a record's history is, if it is one to tell of.
fn of(step: &Transition) -> Option<NoticeEvent> {
    // A budget's steps are beside the record's own and move nothing (`budget`).
    match &*step.event {
        "budget_soft" => return Some(NoticeEvent::BudgetSoft),
        "budget_asked" => return Some(NoticeEvent::BudgetAsked),
        _ => {}
    }
    match step.to {
        _ if step.from == Some(step.to) => None,
        StateName::DeadLettered => Some(NoticeEvent::DeadLettered),
        StateName::Completed => Some(NoticeEvent::Completed),
        StateName::Queued
        | StateName::Active
        | StateName::RateLimited
        | StateName::Backoff
        | StateName::Draining
        | StateName::Cancelled => None,
    }
}

/// Sends a dead letter's own request, and hears a step for those who want to be told.
fn happened(
    draft: &mut Draft<'_>,
    event: NoticeEvent,
    id: RecordId,
    detail: Option<String>,
    heard: &mut BTreeMap<Key, Heard>,
) -> Result<(), EngineError> {
    let dead = event == NoticeEvent::DeadLettered;
    if !dead && draft.core.settings.notify.is_empty() {
        return Ok(());
    }
    let Some(record) = draft.record(id)? else { return Ok(()) };
    if record.about.is_some() || record.shadow || &*record.runtime == NOTIFY {
        return Ok(());
    }
    if dead {
        let work = draft.work(record.id)?;
        if let Some(request) = &work.on_dead_letter {
            let mut said = payload::begun(NoticeEvent::DeadLettered, 1, draft.now);
            said.extend(payload::record(&record, &work.labels));
            send(draft, request.clone(), Some(&record), said, BTreeMap::new());
        }
    }
    // What a state says already is said in fields of its own.
    let detail = detail.filter(|_| matches!(event, NoticeEvent::BudgetSoft | NoticeEvent::BudgetAsked));
    let subject = record.flow.as_ref().unwrap_or(&record.runtime);
    let wants = (draft.core.settings.notify.iter())
        .filter(|(_, notify)| notify.events.contains(&event) && takes(notify, &record));
    for (name, _) in wants {
        let what = Heard { count: 1, about: Some(record.id), detail: detail.clone() };
        add(heard, (name.clone(), event, subject.clone()), what);
    }
    Ok(())
}

fn takes(notify: &Notify, record: &Record) -> bool {
    let flow = || record.flow.as_ref().is_some_and(|flow| notify.flows.contains(flow));
    (notify.flows.is_empty() || flow()) && (notify.orgs.is_empty() || notify.orgs.contains(&record.org))
}

/// Which runtimes are held that were not, and the reverse.
fn runtimes(draft: &mut Draft<'_>, heard: &mut BTreeMap<Key, Heard>) {
    let core = &mut *draft.core;
    let held =
        core.runtimes.values().filter(|row| row.held_until(core.now).is_some() && &*row.name != NOTIFY);
    let held: BTreeSet<Name> = held.map(|row| row.name.clone()).collect();
    let before = std::mem::replace(&mut core.notices.held, held.clone());
    if !core.settings.shard.tells() {
        return;
    }
    let paused = held.difference(&before).map(|name| (NoticeEvent::RuntimePaused, name));
    let resumed = before.difference(&held).map(|name| (NoticeEvent::RuntimeResumed, name));
    for (event, name) in paused.chain(resumed) {
        hear(core, heard, event, name, &Heard { count: 1, ..Heard::default() });
    }
}

/// Hears what happened to a runtime or a flow, for everybody who wants to be told.
fn hear(core: &Core, heard: &mut BTreeMap<Key, Heard>, event: NoticeEvent, subject: &Name, what: &Heard) {
    let wants = core.settings.notify.iter().filter(|(_, notify)| notify.events.contains(&event));
    for (name, _) in wants {
        add(heard, (name.clone(), event, subject.clone()), what.clone());
    }
}

fn add(heard: &mut BTreeMap<Key, Heard>, key: Key, what: Heard) {
    let sum = heard.entry(key).or_default();
    *sum = Heard { count: sum.count + what.count, ..what };
}

/// Tells it now, or keeps it until it may be told.
fn note(draft: &mut Draft<'_>, mut key: Key, heard: Heard) -> Result<(), EngineError> {
    let rows = &draft.core.notices.rows;
    if rows.len() >= NOTICES_MAX && !rows.contains_key(&key) {
        // So many flows and runtimes at once share one notice.
        key.2 = Name::default();
    }
    let row = draft.core.notices.rows.get(&key);
    let (before, next_at) = row.map_or((0, draft.now), |row| (row.pending, row.next_at));
    let row = Notice {
        to: key.0.clone(),
        event: key.1,
        subject: key.2.clone(),
        next_at,
        pending: before + heard.count,
        about: heard.about,
        detail: heard.detail,
    };
    if next_at <= draft.now {
        return say(draft, row);
    }
    keep(draft, row);
    Ok(())
}

/// Tells what waited long enough, and forgets what nothing happened to since.
fn due(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let now = draft.now;
    let due: Vec<Notice> =
        draft.core.notices.rows.values().filter(|row| row.next_at <= now).cloned().collect();
    for row in due {
        if row.pending > 0 && draft.core.settings.notify.contains_key(&row.to) {
            say(draft, row)?;
        } else {
            draft.delete(keys::notice(&row.to, row.event.as_str(), &row.subject));
            draft.core.notices.rows.remove(&(row.to, row.event, row.subject));
        }
    }
    Ok(())
}

fn say(draft: &mut Draft<'_>, row: Notice) -> Result<(), EngineError> {
    let Some(notify) = draft.core.settings.notify.get(&row.to) else { return Ok(()) };
    let (request, every) = (notify.to.clone(), notify.every);
    let mut said = payload::begun(row.event, row.pending, draft.now);
    said.insert("notify".to_owned(), json!(&*row.to));
    let record = row.about.map(|id| draft.record(id)).transpose()?.flatten();
    match row.event {
        NoticeEvent::DeadLettered
        | NoticeEvent::Completed
        | NoticeEvent::BudgetSoft
        | NoticeEvent::BudgetAsked => {
            if let Some(record) = &record {
                said.extend(payload::record(record, &draft.work(record.id)?.labels));
            }
        }
        NoticeEvent::RuntimePaused | NoticeEvent::RuntimeResumed | NoticeEvent::Stalled => {
            said.extend(payload::runtime(draft.core, &row.subject));
        }
        NoticeEvent::ModeChanged => said.extend(payload::flow(draft.core, &row.subject)),
    }
    if let Some(detail) = &row.detail {
        said.insert("detail".to_owned(), json!(detail));
    }
    let labels = [("notify", &*row.to), ("event", row.event.as_str())];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    send(draft, request, record.as_deref(), said, labels);
    keep(draft, Notice { next_at: draft.now.after(every), pending: 0, about: None, detail: None, ..row });
    Ok(())
}

fn keep(draft: &mut Draft<'_>, row: Notice) {
    draft.put(keys::notice(&row.to, row.event.as_str(), &row.subject), row.encode());
    draft.core.notices.rows.insert((row.to.clone(), row.event, row.subject.clone()), row);
}

/// Admits the record that tells it, whatever the queues hold.
fn send(
    draft: &mut Draft<'_>,
    request: HttpRequest,
    about: Option<&Record>,
    said: Map<String, Json>,
    labels: BTreeMap<String, String>,
) {
    let event = said.get("event").and_then(Json::as_str).unwrap_or_default();
    let task = Some(about.map_or(event.to_owned(), |record| format!("{event} {}", record.id)));
    let payload = Json::Object(said).to_string().into_bytes();
    let work = Work { payload, task, labels, ..Work::of(Action::Http(request)) };
    let slot = about.map_or(draft.core.settings.shard.own_slot(), |record| record.id.slot());
    // As many as were ever admitted: a number no other record of this shard has.
    let id = RecordId::of_notice(draft.now, draft.core.tally.admitted, slot);
    let notice =
        Submission { about: about.map(|record| record.id), ..Submission::of(id, NOTIFY.into(), work) };
    let notice = match about {
        Some(record) => Submission { org: record.org.clone(), env: record.env.clone(), ..notice },
        None => notice,
    };
    draft.admit(notice, Lane::Ready);
}
