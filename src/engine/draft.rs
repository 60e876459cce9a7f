//! The draft of one commit: what a tick has decided so far. Reads see it, the disk does not yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, EngineError};
use super::index::{Kept, Seat};
use super::step::Step;
use super::touched::{Touched, Touches};
use super::{budget, modes, windows};
use crate::machine::{self, RuntimeChange};
use crate::model::{
    Effect, Event, Fault, Lane, Measure, Meter, Pause, Prompt, Record, RecordId, Rejected, Report, Runtime,
    Start, State, Submission, Time, Transition, Work, code,
};
use crate::store::{Backend, Batch, Stored, Told, keys};

/// Why an event did not go through: refused, which is an answer, or broken, which ends the engine.
pub(super) enum Fail {
    Rejected(Rejected),
    Broken(EngineError),
}

impl From<Rejected> for Fail {
    fn from(rejected: Rejected) -> Fail {
        Fail::Rejected(rejected)
    }
}

impl<E: Into<EngineError>> From<E> for Fail {
    fn from(error: E) -> Fail {
        Fail::Broken(error.into())
    }
}

/// What a draft owes: effects, then transitions, what these leave unsaid, and rows of runtimes.
pub(super) type Owed = (Vec<Effect>, (Vec<Transition>, (Vec<Step>, Vec<Runtime>)));

/// A record, with where the indexes know of it; they know of none that is finished.
type Found = (Arc<Record>, Option<Seat>);

/// What a tick has decided so far.
pub(super) struct Draft<'a> {
    pub(super) core: &'a mut Core,
    pub(super) disk: &'a dyn Backend,
    pub(super) now: Time,
    touched: Touches,
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Keys of rows that go and that this draft neither looks for nor writes.
    gone: Vec<Vec<u8>>,
    pub(super) effects: Vec<Effect>,
    pub(super) transitions: Vec<Transition>,
    /// One for each of the transitions.
    steps: Vec<Step>,
    /// Rows of runtimes that this draft changes.
    windows: Vec<Runtime>,
}

impl<'a> Draft<'a> {
    /// One that decides about as many things as are `expected`, and a few more.
    pub(super) fn new(core: &'a mut Core, disk: &'a dyn Backend, expected: usize) -> Draft<'a> {
        Draft {
            now: core.now,
            core,
            disk,
            touched: Touches::with_capacity(expected),
            rows: BTreeMap::new(),
            gone: Vec::new(),
            effects: Vec::new(),
            transitions: Vec::with_capacity(expected),
            steps: Vec::with_capacity(expected),
            windows: Vec::new(),
        }
    }

    /// A row that is not a record, as this draft leaves it.
    pub(super) fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        match self.rows.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.disk.get(key)?),
        }
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.rows.insert(key, Some(value));
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.rows.insert(key, None);
    }

    /// As [`Draft::delete`], of a row that this draft neither looks for nor writes.
    pub(super) fn forget(&mut self, key: Vec<u8>) {
        self.gone.push(key);
    }

    /// A record, live or finished, as this draft leaves it.
    pub(super) fn record(&self, id: RecordId) -> Result<Option<Arc<Record>>, EngineError> {
        Ok(self.found(id)?.map(|(record, _)| record))
    }

    /// As [`Draft::record`], with where the indexes know of it.
    fn found(&self, id: RecordId) -> Result<Option<Found>, EngineError> {
        if let Some(touched) = self.touched.get(id) {
            return Ok(Some((Arc::clone(&touched.after), touched.seat)));
        }
        let seat = self.core.index.seat(id);
        Ok(match seat.and_then(|seat| self.core.index.kept(seat)) {
            Some(Kept::Record(record)) => Some((Arc::clone(record), seat)),
            Some(Kept::Row(row)) => Some((Arc::new(Record::decode(row)?), seat)),
            None => finished_record(self.disk, id)?.map(|record| (Arc::new(record), None)),
        })
    }

    /// Records of a range that this draft finishes: the indexes know them no more, and the disk not yet. By id.
    pub(super) fn finishing(&self, low: RecordId, high: RecordId) -> Vec<RecordId> {
        self.touched.finished(low, high)
    }

    /// What was asked for, of a record that is there.
    pub(super) fn work(&self, id: RecordId) -> Result<Arc<Work>, EngineError> {
        if let Some(work) = self.touched.get(id).and_then(|touched| touched.work.as_ref()) {
            return Ok(Arc::clone(work));
        }
        let bytes =
            self.disk.get(&keys::work(id))?.ok_or(EngineError::Inconsistent(id, "its work is missing"))?;
        Ok(Arc::new(Work::decode(&bytes)?))
    }

    /// Admits a record at the end of a queue. Whom it supersedes is for `groups::supersede`, once all that one request
    /// admits are there.
    pub(super) fn admit(&mut self, submission: Submission, lane: Lane) -> Arc<Record> {
        let order = self.core.index.next_order();
        let (record, work) = machine::admit(submission, order, self.now, &self.core.settings.policy);
        let record = match lane {
            Lane::Ready => record,
            Lane::Burst => machine::divert(record),
        };
        self.enter(record, work)
    }

    /// Admits a record that has waited outside every queue, or records it only.
    pub(super) fn admit_held(&mut self, record: Record, work: Work, shadow: bool) -> Arc<Record> {
        let order = self.core.index.next_order();
        let record = machine::admit_held(record, order, self.now);
        if shadow { self.enter_shadow(&record, work) } else { self.enter(record, work) }
    }

    fn enter(&mut self, record: Record, work: Work) -> Arc<Record> {
        let record = Arc::new(record);
        self.core.tally.admitted += 1;
        let seat = self.core.index.set(None, &record);
        let detail = record.last_error.as_ref().map(Fault::words);
        self.step(None, &record, None, "admitted", detail);
        self.touched.admit(Arc::clone(&record), seat, work);
        record
    }

    /// Records what would have been admitted, finished at once: it is never queued and acts on nothing.
    pub(super) fn record_shadow(&mut self, submission: Submission) -> Arc<Record> {
        let order = self.core.index.next_order();
        let (queued, work) = machine::admit(submission, order, self.now, &self.core.settings.policy);
        self.enter_shadow(&queued, work)
    }

    fn enter_shadow(&mut self, queued: &Record, work: Work) -> Arc<Record> {
        let record = Arc::new(machine::shadow(queued.clone(), self.now));
        self.core.tally.admitted += 1;
        self.core.count(queued, &record);
        let detail = record.last_error.as_ref().map(Fault::words);
        self.step(None, &record, None, "shadowed", detail);
        self.touched.admit(Arc::clone(&record), None, work);
        record
    }

    /// Lets an event happen to a record, and to its runtime.
    pub(super) fn apply(&mut self, id: RecordId, event: &Event) -> Result<Arc<Record>, Fail> {
        let (before, seat) = self.found(id)?.ok_or_else(|| Rejected::NotFound { id: id.to_string() })?;
        let next = machine::step(&before, event, self.now, &self.core.settings.policy)?;
        if let Some(warning) = next.warning {
            let (attempt, org, flow) = (before.attempt, &*before.org, before.flow.as_deref());
            tracing::warn!(record = %id, attempt, org, flow, "{warning}");
        }
        let mut after = next.record;
        // Most that changes its state, which is soonest compared.
        let changed = after.state != before.state || after != *before;
        if changed {
            // Two changes never share it, so whoever waits for the next one cannot miss it.
            after.updated_at = self.now.max(before.updated_at.after(Duration::from_millis(1)));
        }
        let after = Arc::new(after);
        if changed {
            self.tell(&before, &after, event);
            self.tell_of_budget(&before, &after);
            self.core.count(&before, &after);
            let seat = self.core.index.set(seat, &after);
            if before.attempt == 0 && after.attempt == 1 {
                modes::started(self, &after);
            }
            self.touched.change(before, Arc::clone(&after), seat);
        }
        if let Some(change) = next.runtime {
            self.runtime_change(&after, change);
        }
        Ok(after)
    }

    /// A step the indexes promised. A refusal here is a bug, and stopping is better than turning in circles.
    pub(super) fn must(&mut self, id: RecordId, event: &Event) -> Result<Arc<Record>, EngineError> {
        match self.apply(id, event) {
            Ok(record) => Ok(record),
            Err(Fail::Broken(error)) => Err(error),
            Err(Fail::Rejected(rejected)) => {
                tracing::error!(record = %id, "{rejected}");
                Err(EngineError::Inconsistent(id, "its indexes and its record disagree"))
            }
        }
    }

    /// Keeps the step in the history, unless it is only a sign of life.
    fn tell(&mut self, before: &Record, after: &Record, event: &Event) {
        if before.state.name() == after.state.name()
            && matches!(
                event,
                Event::Report {
                    report: Report::Heartbeat | Report::LimitCleared | Report::LimitWarning(_),
                    ..
                }
            )
        {
            return;
        }
        let detail = detail(before, after, event);
        self.step(Some(before), after, Some(event), event.name(), detail);
    }

    fn step(
        &mut self,
        before: Option<&Record>,
        after: &Record,
        event: Option<&Event>,
        name: &'static str,
        detail: Option<String>,
    ) {
        self.transitions.push(transition(before, after, name, detail, self.now));
        self.steps.push(Step::of(before, after, event, self.now));
    }

    /// What people are to hear of a budget, in steps of their own.
    fn tell_of_budget(&mut self, before: &Record, after: &Record) {
        for (name, words) in budget::news(before, after) {
            self.step(Some(after), after, None, name, Some(words));
        }
    }

    fn runtime_change(&mut self, record: &Record, change: RuntimeChange) {
        let mut window = self.core.window(record);
        if matches!(change, RuntimeChange::Limited(_)) && !windows::room(self, &window) {
            window.clone_from(&record.runtime);
        }
        let row = self.core.runtime(&window);
        let changed = match change {
            RuntimeChange::Limited(limit) => {
                let held = row.limited.filter(|pause| pause.limit.until > self.now);
                let merged = machine::merge(held.map(|pause| pause.limit), limit, self.now);
                let pause = match held {
                    Some(pause) if pause.limit == merged => pause,
                    Some(pause) => Pause { limit: merged, by: Some(record.id), ..pause },
                    None => Pause { limit: merged, since: self.now, by: Some(record.id) },
                };
                Runtime { limited: Some(pause), ..row.clone() }
            }
            RuntimeChange::Cleared => row.clone().cleared(self.now),
        };
        if changed != row {
            self.set_runtime(changed);
        }
    }

    /// Makes a runtime's row say this.
    pub(super) fn set_runtime(&mut self, row: Runtime) {
        self.put(keys::runtime(&row.name), row.encode());
        self.windows.push(row.clone());
        self.core.runtimes.insert(row.name.clone(), row);
    }

    /// The batch of everything decided, and what it owes to the executor and to who watches.
    pub(super) fn finish(mut self) -> Result<(Batch, Owed), EngineError> {
        let touched = self.touched.take();
        let mut batch = Batch {
            writes: Vec::with_capacity(self.gone.len() + 2 * touched.len() + self.rows.len() + 1),
            events: Vec::with_capacity(self.transitions.len()),
        };
        for key in std::mem::take(&mut self.gone) {
            batch.delete(key);
        }
        for change in &touched {
            self.owe(change)?;
            let id = change.after.id;
            if let Some(work) = &change.work {
                batch.put(keys::work(id), work.encode());
            }
            match change.after.state.finished_at() {
                None => {
                    let row = change.after.encode();
                    if let Some(seat) = change.seat {
                        self.core.index.keep(seat, &change.after, &row);
                    }
                    batch.put(keys::live(id), row);
                }
                Some(at) => {
                    batch.delete(keys::live(id));
                    batch.put(keys::finished(at, id), change.after.encode());
                    batch.put(keys::pointer(id), at.encode());
                }
            }
        }
        for (key, value) in std::mem::take(&mut self.rows) {
            batch.writes.push((key, value));
        }
        if !batch.is_empty() {
            self.core.tally.now = self.now;
            batch.put(keys::meta("tally"), self.core.tally.encode());
            for transition in &self.transitions {
                batch.event(transition.encode());
            }
        }
        let Draft { effects, transitions, steps, windows, .. } = self;
        Ok((batch, (effects, (transitions, (steps, windows)))))
    }

    /// What the meter of the provider session showed that a record goes on with.
    fn told(&self, record: &Record) -> Result<u64, EngineError> {
        if record.session.is_none() {
            return Ok(0);
        }
        let row = self.row(&keys::told(record.id))?;
        Ok(row.map(|row| Told::decode(&row)).transpose()?.map_or(0, |told| told.cost))
    }

    fn owe(&mut self, change: &Touched) -> Result<(), EngineError> {
        let owed = machine::owed(change.before.as_deref(), &change.after);
        let (id, attempt) = (change.after.id, change.after.attempt);
        if let Some((attempt, child)) = owed.stop {
            let grace = ended_by_report(&change.after);
            self.effects.push(Effect::Stop { id, attempt, child, grace });
        }
        if owed.start {
            let work = match &change.work {
                Some(work) => Arc::clone(work),
                None => self.work(id)?,
            };
            let told = self.told(&change.after)?;
            self.effects.push(Effect::Start(Box::new(start(&change.after, work, told))));
        }
        if owed.release {
            self.effects.push(Effect::Release { id, attempt });
        }
        Ok(())
    }
}

/// A record that is finished.
fn finished_record(disk: &dyn Backend, id: RecordId) -> Result<Option<Record>, EngineError> {
    let Some(pointer) = disk.get(&keys::pointer(id))? else { return Ok(None) };
    let bytes = disk.get(&keys::finished(Time::decode(&pointer)?, id))?;
    let bytes = bytes.ok_or(EngineError::Inconsistent(id, "its finished row is missing"))?;
    Ok(Some(Record::decode(&bytes)?))
}

/// Whether the record is where only its attempt's own report leads.
fn ended_by_report(after: &Record) -> bool {
    match after.state {
        State::Completed { .. } | State::RateLimited { .. } => true,
        State::Backoff { .. } => {
            after.last_error.as_ref().is_none_or(|fault| fault.code != code::ATTEMPT_TIMEOUT)
        }
        State::Queued { .. }
        | State::Active { .. }
        | State::Draining { .. }
        | State::DeadLettered { .. }
        | State::Cancelled { .. } => false,
    }
}

/// What whoever carries the outstanding attempt out is handed.
pub(super) fn start(record: &Record, work: Arc<Work>, told: u64) -> Start {
    let prompt = match (&record.session, &record.last_error) {
        (None, _) => Prompt::Original,
        (Some(_), Some(fault)) if fault.code == code::RATE_LIMITED => Prompt::LimitReset,
        (Some(_), _) => Prompt::Continue,
    };
    Start {
        id: record.id,
        attempt: record.attempt,
        org: record.org.clone(),
        env: record.env.clone(),
        flow: record.flow.clone(),
        runtime: record.runtime.clone(),
        model: record.model.clone(),
        session: record.session.clone(),
        told,
        prompt,
        work,
    }
}

fn transition(
    before: Option<&Record>,
    after: &Record,
    event: &'static str,
    detail: Option<String>,
    at: Time,
) -> Transition {
    Transition {
        at,
        id: after.id,
        event: event.into(),
        from: before.map(|before| before.state.name()),
        to: after.state.name(),
        attempt: after.attempt,
        deadline: after.deadline(),
        detail,
    }
}

/// The words that make a step of the history understandable.
fn detail(before: &Record, after: &Record, event: &Event) -> Option<String> {
    if let (Event::Charge { .. }, Some(Meter { used, limit: Some(limit), .. })) =
        (event, after.budget.of(Measure::Calls))
    {
        return Some(format!("used {used} of {limit}"));
    }
    if let Event::TopUp { measure, .. } = event {
        return Some(
            after.budget.of(*measure).map_or_else(String::new, |meter| machine::written(*measure, meter)),
        );
    }
    if let (Event::Report { report: Report::Usage(_), .. }, true) = (event, after.state.outstanding()) {
        return Some(budget::used(after));
    }
    if let Event::Report { report: Report::Spawned { child, .. }, .. } = event {
        return Some(format!("pid {}", child.pid));
    }
    if let Event::Report { report: Report::Session { id }, .. } = event {
        return Some(id.clone());
    }
    if let (Event::Superseded { by }, Some(group)) = (event, &after.group) {
        return Some(format!("by {by} in group {}", group.name));
    }
    let resume = after.session.as_ref().map(|session| format!("resume {session}"));
    if matches!(event, Event::Dispatch) {
        return resume;
    }
    if let Event::Claim { worker, .. } = event {
        let resume = resume.map(|resume| format!(", {resume}")).unwrap_or_default();
        return Some(["by ", worker, &resume].concat());
    }
    let ends = before.state.outstanding() && !after.state.outstanding();
    let fault = after.last_error.as_ref().filter(|_| ends || after.last_error != before.last_error);
    let fault = fault.map(Fault::words);
    match after.state {
        State::DeadLettered { cause, .. } => {
            Some(fault.map_or(cause.to_string(), |fault| format!("{cause}, {fault}")))
        }
        State::RateLimited { source, .. } => {
            Some(fault.map_or(source.to_string(), |fault| format!("{source}, {fault}")))
        }
        State::Queued { .. }
        | State::Active { .. }
        | State::Backoff { .. }
        | State::Draining { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => fault,
    }
}
