//! What each request makes of things, and its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::answer::{Answer, BurstStatus, Counts, Detail, RuntimeView, Status, Triggered};
use super::draft::{Draft, Fail};
use super::gate;
use super::modes::Sorted;
use super::request::Request;
use super::windows::MODELS_MAX;
use super::{
    claims, debounce, drains, envs, groups, index, list, modes, once, paced, redrive, reload, space, why,
    windows,
};
use crate::model::{
    Event, Fault, Lane, Measure, Mode, Name, Record, RecordId, Rejected, Report, Runtime, StateName,
    Submission, Time, Trigger, TriggerId, Work, code,
};
use crate::pace::Outcome;
use crate::store::{Stored, Told, keys};

/// Decides one request.
pub(super) fn answer(draft: &mut Draft<'_>, request: Request) -> Result<Answer, Fail> {
    match request {
        Request::Submit(submission) => submit(draft, *submission),
        Request::Trigger { trigger, runs, spool } => trigger_runs(draft, *trigger, runs, spool),
        Request::Command { id, command } => record(draft, id, &Event::Command(command)),
        Request::Report { id, attempt, report } => reported(draft, id, attempt, report),
        Request::Charge { id, attempt, calls } => {
            let record = draft.apply(id, &Event::Charge { attempt, calls })?;
            Ok(Answer::Charged(record.budget.of(Measure::Calls)))
        }
        Request::TopUp { id, measure, amount } => record(draft, id, &Event::TopUp { measure, amount }),
        Request::PauseRuntime { name, model, until } => {
            set_runtime(draft, &name, model, |row| Runtime { paused_until: Some(until), ..row })
        }
        Request::ResumeRuntime { name, model } => {
            let now = draft.now;
            set_runtime(draft, &name, model, |row| row.resumed(now))
        }
        Request::Learn(row) => learn(draft, &row),
        Request::Get { id } => Ok(Answer::Detail(Box::new(detail(draft, id)?))),
        Request::Resolve { range, limit } => Ok(Answer::Ids(list::resolve(draft, range, limit)?)),
        Request::List(filter) => Ok(Answer::Page(list::page(draft, &filter)?)),
        Request::Triggers { before, limit } => Ok(Answer::Triggers(list::triggers(draft, before, limit)?)),
        Request::Groups { limit } => Ok(Answer::Groups(list::groups(draft, limit)?)),
        Request::FindTriggers { low, high } => Ok(Answer::Triggers(list::triggers_of(draft, low, high)?)),
        Request::Runtimes => Ok(Answer::Runtimes(runtimes(draft))),
        Request::Status => Ok(Answer::Status(Box::new(status(draft)))),
        Request::Drain { until } => drain(draft, until),
        Request::DrainScope { scope, timeout } => drains::drain(draft, &scope, timeout),
        Request::UndrainScope { scope } => drains::undrain(draft, &scope),
        Request::Claim(claim) => claims::at_once(draft, &claim),
        Request::Queues => Ok(Answer::Queues(claims::queues(draft.core))),
        Request::Drains => Ok(Answer::Drains(drains::list(draft.core))),
        Request::Envs(filter) => Ok(Answer::Envs(envs::page(draft.core, &filter))),
        Request::Why(asked) => Ok(Answer::Why(Box::new(why::why(draft, asked)?))),
        Request::Rerun { id, fresh } => rerun(draft, id, fresh),
        Request::RedriveMany(asked) => redrive::redrive(draft, *asked),
        Request::Flip(asked) => modes::flip(draft, &asked),
        Request::Reload(settings) => Ok(reload::reload(draft, *settings)),
        Request::Modes => Ok(Answer::Modes(modes::view(draft.core))),
        Request::Pace { id, asked, pace } => paced::begin(draft, id, &asked, pace),
        Request::Redrives => Ok(Answer::Redrives(paced::running(draft))),
        Request::StopRedrive { id } => paced::stop(draft, id),
        Request::Each(requests) => each(draft, requests),
        Request::Upcoming { limit } => Ok(Answer::Upcoming(list::upcoming(draft, limit))),
        Request::Once(asked) => once::once(draft, *asked),
    }
}

/// In order, so that a later one sees what an earlier one did.
fn each(draft: &mut Draft<'_>, requests: Vec<Request>) -> Result<Answer, Fail> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        match answer(draft, request) {
            Ok(answer) => answers.push(Ok(answer)),
            Err(Fail::Rejected(rejected)) => answers.push(Err(rejected)),
            Err(Fail::Broken(error)) => return Err(Fail::Broken(error)),
        }
    }
    Ok(Answer::Each(answers))
}

fn record(draft: &mut Draft<'_>, id: RecordId, event: &Event) -> Result<Answer, Fail> {
    Ok(Answer::Record(draft.apply(id, event)?))
}

fn reported(draft: &mut Draft<'_>, id: RecordId, attempt: u32, report: Report) -> Result<Answer, Fail> {
    let told = if let Report::Usage(usage) = &report { usage.session_cost } else { None };
    let record = draft.apply(id, &Event::Report { attempt, report })?;
    // A worker says how much more was used, so nothing is to be counted from.
    if let Some(cost) = told.filter(|_| record.queue.is_none()) {
        draft.put(keys::told(id), Told { cost }.encode());
    }
    Ok(Answer::Record(record))
}

fn detail(draft: &Draft<'_>, id: RecordId) -> Result<Detail, Fail> {
    let record = draft.record(id)?.ok_or_else(|| Rejected::NotFound { id: id.to_string() })?;
    Ok(Detail { record, work: draft.work(id)? })
}

/// A session: the first of its key, or nothing new.
fn submit(draft: &mut Draft<'_>, submission: Submission) -> Result<Answer, Fail> {
    let name = submission.key.as_ref().map(|key| keys::name(&submission.org, &submission.env, key));
    if let Some(name) = &name
        && let Some(first) = draft.row(name)?
    {
        let first = RecordId::decode(&first)?;
        return Ok(Answer::Admitted { detail: Box::new(detail(draft, first)?), duplicate: true });
    }
    configured(draft, &submission.runtime)?;
    space::room(draft.core)?;
    room(draft, [&submission])?;
    let record = draft.admit(submission, Lane::Ready);
    if let Some(name) = name {
        draft.put(name, record.id.encode());
    }
    admitted(draft, &record)
}

/// The same again: streaks, attempts and budget start anew, and an expiry has had its say.
fn rerun(draft: &mut Draft<'_>, id: RecordId, fresh: RecordId) -> Result<Answer, Fail> {
    let Detail { record, work } = detail(draft, id)?;
    configured(draft, &record.runtime)?;
    space::room(draft.core)?;
    let mode = record.flow.as_ref().map_or(Mode::Live, |flow| draft.core.mode(flow).0);
    // What could not be carried out when it was admitted still cannot: its work is not whole, whatever became of it.
    let never = |fault: &Fault| record.attempt == 0 && fault.code != code::EXPIRED;
    let invalid = record.last_error.as_ref().filter(|fault| never(fault)).cloned();
    let again = Submission {
        id: fresh,
        org: record.org.clone(),
        env: record.env.clone(),
        key: None,
        flow: record.flow.clone(),
        trigger: record.trigger,
        rerun_of: Some(id),
        runtime: record.runtime.clone(),
        budget: record.budget.clone(),
        retry: Some(record.retry),
        timeouts: Some(record.timeouts),
        expires: None,
        model: record.model.clone(),
        group: record.group.clone(),
        about: record.about,
        awaited: false,
        debounce: None,
        work: Work::clone(&work),
        invalid,
    };
    let record = match (mode, &again.flow) {
        (Mode::Off, Some(name)) => return Err(Rejected::FlowOff { name: name.clone() }.into()),
        (Mode::Shadow, _) => draft.record_shadow(again),
        (Mode::Off | Mode::Live, _) => {
            room(draft, [&again])?;
            draft.admit(again, Lane::Ready)
        }
    };
    admitted(draft, &record)
}

/// What became of one record that was admitted alone: its group may have no place for it.
fn admitted(draft: &mut Draft<'_>, record: &Arc<Record>) -> Result<Answer, Fail> {
    groups::supersede(draft, std::slice::from_ref(record))?;
    Ok(Answer::Admitted { detail: Box::new(detail(draft, record.id)?), duplicate: false })
}

fn configured(draft: &Draft<'_>, runtime: &Name) -> Result<(), Rejected> {
    if draft.core.settings.runtimes.contains_key(runtime) {
        return Ok(());
    }
    Err(Rejected::UnknownRuntime { name: runtime.clone() })
}

/// Whether the queues hold as many more: of each env, and in all.
fn room<'s>(
    draft: &Draft<'_>,
    submissions: impl IntoIterator<Item = &'s Submission>,
) -> Result<(), Rejected> {
    let core = &draft.core;
    let check = |scope: &dyn Fn() -> String, queued: u64, more: u64, limit: u32| {
        let limit = u64::from(limit);
        if more == 0 || queued.saturating_add(more) <= limit {
            return Ok(());
        }
        Err(Rejected::QueueFull { scope: scope(), queued, limit })
    };
    let mut envs: BTreeMap<(&Name, &Name), u64> = BTreeMap::new();
    for submission in submissions.into_iter().filter(|submission| submission.invalid.is_none()) {
        *envs.entry((&submission.org, &submission.env)).or_default() += 1;
    }
    for ((org, env), more) in &envs {
        let limit = core.settings.org(org).queued_max;
        check(&|| format!("{org}/{env}"), core.index.queued(org, env), *more, limit)?;
    }
    let queued = core.index.counts().get(&StateName::Queued).copied().unwrap_or(0);
    check(&|| "dwell".to_owned(), queued, envs.values().sum(), core.settings.queued_max)
}

/// A trigger with its runs, in this one commit: no orphan of either.
pub(super) fn trigger_runs(
    draft: &mut Draft<'_>,
    mut trigger: Trigger,
    runs: Vec<Submission>,
    spool: bool,
) -> Result<Answer, Fail> {
    let delivery = trigger.dedup.as_ref().map(|dedup| keys::delivery(&trigger.source, dedup));
    if let Some(delivery) = &delivery
        && let Some(first) = draft.row(delivery)?
    {
        let first = TriggerId::decode(&first)?;
        let row = draft.row(&keys::trigger(first))?;
        let runs =
            row.map(|row| Trigger::decode(&row)).transpose()?.map(|first| first.runs).unwrap_or_default();
        let first = Triggered {
            trigger: first,
            duplicate: true,
            runs,
            shadow: Vec::new(),
            off: Vec::new(),
            debounced: Vec::new(),
            outcome: Outcome::PassThrough,
        };
        return Ok(Answer::Triggered(first));
    }
    space::room(draft.core)?;
    let asked = runs.iter().filter_map(|run| run.flow.clone()).collect();
    let Sorted { mut live, mut shadow, off } = modes::sort(draft.core, runs);
    if !spool {
        room(draft, live.iter().filter(|run| run.debounce.is_none()))?;
    }
    trigger.at = draft.now;
    modes::matched(draft, &trigger, &asked);
    let mut debounced = debounce::hold(draft, &mut live);
    debounced.extend(debounce::hold(draft, &mut shadow));
    let core = &mut *draft.core;
    let verdict = gate::judge(&mut core.gate, &core.settings, &live, core.now);
    let mut records = Vec::with_capacity(live.len());
    for run in live {
        let judged = verdict.get(&(run.org.clone(), run.env.clone()));
        let diverted = judged == Some(&Outcome::Mollify) && !run.awaited;
        records.push(draft.admit(run, if diverted { Lane::Burst } else { Lane::Ready }));
    }
    groups::supersede(draft, &records)?;
    trigger.runs = records.iter().map(|record| record.id).collect();
    let in_shadow: BTreeSet<Name> = shadow.iter().filter_map(|run| run.flow.clone()).collect();
    for run in shadow {
        trigger.runs.push(draft.record_shadow(run).id);
    }
    let outcome = verdict.into_values().max().unwrap_or(Outcome::PassThrough);
    if let Some(delivery) = delivery {
        draft.put(delivery, trigger.id.encode());
    }
    draft.put(keys::trigger(trigger.id), trigger.encode());
    draft.core.oldest.triggers.add((trigger.id, trigger.at), &keys::trigger(trigger.id));
    Ok(Answer::Triggered(Triggered {
        trigger: trigger.id,
        duplicate: false,
        runs: trigger.runs,
        shadow: in_shadow.into_iter().collect(),
        off: off.into_iter().collect(),
        debounced,
        outcome,
    }))
}

fn set_runtime(
    draft: &mut Draft<'_>,
    name: &Name,
    model: Option<Name>,
    change: impl Fn(Runtime) -> Runtime,
) -> Result<Answer, Fail> {
    configured(draft, name)?;
    let row = model.map_or_else(|| name.clone(), |model| Runtime::of_model(name, &model));
    let row = draft.core.runtime(&row);
    let changed = change(row.clone());
    if changed != row {
        if !windows::room(draft, &row.name) {
            return Err(Rejected::ModelsFull { runtime: name.clone(), limit: MODELS_MAX }.into());
        }
        draft.set_runtime(changed);
    }
    Ok(Answer::Runtime(view(draft, name)))
}

/// Of another shard's row, whose runtime or model need not be known here.
fn learn(draft: &mut Draft<'_>, row: &Runtime) -> Result<Answer, Fail> {
    let (runtime, model) = Runtime::model_of(&row.name).unzip();
    let (runtime, model) = (runtime.map_or_else(|| row.name.clone(), Name::from), model.map(Name::from));
    set_runtime(draft, &runtime, model, |own| own.learned(row))
}

fn view(draft: &Draft<'_>, name: &Name) -> RuntimeView {
    let lane = draft.core.index.lane(name);
    RuntimeView {
        runtime: draft.core.runtime(name),
        models: draft.core.models(name).filter(|row| row.held_until(draft.now).is_some()).cloned().collect(),
        concurrency: draft.core.settings.runtimes.get(name).copied().unwrap_or(0),
        outstanding: u32::try_from(lane.map_or(0, |lane| lane.outstanding.len())).unwrap_or(u32::MAX),
        queued: lane.map_or(0, index::Lane::queued),
    }
}

/// The configured ones, and those that records still name.
fn runtimes(draft: &Draft<'_>) -> Vec<RuntimeView> {
    let used = draft.core.index.lanes().filter(|(_, lane)| !lane.is_empty()).map(|(name, _)| name);
    let names: std::collections::BTreeSet<&Name> = draft.core.settings.runtimes.keys().chain(used).collect();
    names.into_iter().map(|name| view(draft, name)).collect()
}

fn status(draft: &Draft<'_>) -> Status {
    let core = &draft.core;
    let mut counts: Counts = StateName::ALL.iter().map(|state| (*state, 0)).collect();
    counts.extend(core.index.counts());
    counts.insert(StateName::Completed, core.tally.completed);
    counts.insert(StateName::Cancelled, core.tally.cancelled);
    Status {
        now: draft.now,
        counts,
        admitted: core.tally.admitted,
        attempts_started: core.tally.attempts_started,
        attempts_ended: core.tally.attempts_ended,
        outstanding: core.index.outstanding().count() as u64,
        next_deadline: (core.index.first_deadline().map(|(deadline, _)| deadline).into_iter())
            .chain(core.next_upcoming())
            .min(),
        draining_until: core.draining,
        drains: core.drains.values().cloned().collect(),
        ticks: core.ticks,
        commits: core.commits,
        space: core.space.clone(),
        burst: BurstStatus {
            decisions: core.gate.decisions.clone(),
            queued: core.index.lanes().map(|(_, lane)| lane.diverted()).sum(),
            released: (core.index.lanes().flat_map(|(_, lane)| lane.burst.values()))
                .map(|burst| burst.released.len() as u64)
                .sum(),
            tripped: core.gate.tripped(draft.now),
        },
    }
}

/// The engine stops: nothing new starts, what is outstanding may finish until then. A worker goes on without dwell.
fn drain(draft: &mut Draft<'_>, until: Time) -> Result<Answer, Fail> {
    draft.core.draining = Some(until);
    let own: Vec<RecordId> = draft.core.index.own().collect();
    for id in own {
        draft.apply(id, &Event::Drain { until })?;
    }
    Ok(Answer::Status(Box::new(status(draft))))
}
