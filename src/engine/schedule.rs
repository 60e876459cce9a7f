//! Flows that start by the clock.
//!
//! Each has a durable row: its next time, and the expression that came from. When it is due, its trigger, the runs and
//! the time after it are one commit, so a crash leaves none of them or all. Times that passed while dwell was down are
//! one: the row's. Absent on purpose: cron, and what a run does (`Timetable` knows).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use super::core::EngineError;
use super::draft::{Draft, Fail};
use super::settings::{SCHEDULES_PER_TICK_MAX, Settings};
use super::{arrivals, space};
use crate::model::{Name, Submission, Time, Trigger};
use crate::store::{Batch, ScheduleRow, Stored, keys};

/// When a flow starts by itself, and what it then does. It is asked on the engine's thread, so it is pure and quick.
pub trait Timetable: Debug + Send + Sync {
    /// What the times come from; when it changes they are computed anew.
    fn expression(&self) -> String;

    /// The first time after `after`.
    fn next(&self, after: Time) -> Option<Time>;

    /// The trigger of the time `due`, made `now`, and the runs that its flow makes of it.
    fn fire(&self, due: Time, now: Time) -> (Trigger, Vec<Submission>);
}

/// The rows, and the order in which they are due.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    rows: BTreeMap<Name, ScheduleRow>,
    due: BTreeSet<(Time, Name)>,
}

impl Schedules {
    /// Makes the rows on disk agree with what is configured: a new or changed expression counts from `now`, and what is
    /// not configured any more is dropped.
    pub(super) fn open(
        found: Vec<ScheduleRow>,
        settings: &Settings,
        now: Time,
        batch: &mut Batch,
    ) -> Schedules {
        let mut schedules = Schedules::default();
        for row in found {
            if settings.schedules.get(&row.flow).is_some_and(|table| table.expression() == row.expression) {
                schedules.set(row);
            } else {
                batch.delete(keys::schedule(&row.flow));
            }
        }
        for (flow, table) in &settings.schedules {
            if !schedules.rows.contains_key(flow) {
                let row = row(flow, &**table, now);
                batch.put(keys::schedule(flow), row.encode());
                schedules.set(row);
            }
        }
        schedules
    }

    /// The rows, to be made to agree with other settings.
    pub(super) fn into_rows(self) -> Vec<ScheduleRow> {
        self.rows.into_values().collect()
    }

    fn set(&mut self, row: ScheduleRow) {
        if let Some(was) = self.rows.get(&row.flow).and_then(|row| row.next_at) {
            self.due.remove(&(was, row.flow.clone()));
        }
        self.due.extend(row.next_at.map(|at| (at, row.flow.clone())));
        self.rows.insert(row.flow.clone(), row);
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// All, the earliest first.
    pub(super) fn upcoming(&self) -> impl Iterator<Item = &ScheduleRow> {
        self.due.iter().filter_map(|(_, flow)| self.rows.get(flow))
    }
}

fn row(flow: &Name, table: &dyn Timetable, now: Time) -> ScheduleRow {
    ScheduleRow { flow: flow.clone(), expression: table.expression(), next_at: table.next(now) }
}

/// Fires what is due, the earliest first. It goes before what arrives, so that what was due first comes first.
pub(super) fn fire(draft: &mut Draft<'_>) -> Result<(), EngineError> {
    if space::short(draft.core).is_some() {
        return Ok(());
    }
    for _ in 0..SCHEDULES_PER_TICK_MAX {
        let Some((due, flow)) = draft.core.schedules.due.first().cloned() else { return Ok(()) };
        if due > draft.now {
            return Ok(());
        }
        let Some(table) = draft.core.settings.schedules.get(&flow).cloned() else { return Ok(()) };
        let (trigger, runs) = table.fire(due, draft.now);
        match arrivals::trigger_runs(draft, trigger, runs, true) {
            Ok(_) => {}
            Err(Fail::Rejected(rejected)) => tracing::error!(%flow, "a schedule is passed over: {rejected}"),
            Err(Fail::Broken(error)) => return Err(error),
        }
        let row = row(&flow, &*table, draft.now);
        draft.put(keys::schedule(&flow), row.encode());
        draft.core.schedules.set(row);
    }
    draft.core.more |= draft.core.schedules.first().is_some_and(|at| at <= draft.now);
    Ok(())
}
