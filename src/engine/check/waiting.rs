//! What waits outside the records: debounced runs, schedules, redrives, pauses, notices, and the settings.

use super::Checker;
use super::cursor::{Cursor, Rows, first};
use crate::engine::modes::{FLOW, GLOBAL};
use crate::model::{Drain, Mode, Notice, Record, Redrive, Runtime, Standing, State, Work};
use crate::store::{Debounced, ScheduleRow, StoreError, Stored, keys};

pub(super) fn check(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    debounced(checker)?;
    each(checker, keys::all_schedules(), |row: &ScheduleRow| keys::schedule(&row.flow))?;
    each(checker, keys::all_redrives(), |row: &Redrive| keys::redrive(row.id))?;
    each(checker, keys::all_runtimes(), |row: &Runtime| keys::runtime(&row.name))?;
    each(checker, keys::all_notices(), |row: &Notice| {
        keys::notice(&row.to, row.event.as_str(), &row.subject)
    })?;
    settings(checker)
}

/// Every row of a kind decodes, and stands under its own key.
fn each<T: Stored>(
    checker: &mut Checker<'_>,
    range: keys::Range,
    own: impl Fn(&T) -> Vec<u8>,
) -> Result<(), StoreError> {
    for row in Rows::small(checker.disk, range) {
        let (key, value) = checker.count(row?);
        if let Some(row) = checker.decoded::<T>(&key, &value)
            && own(&row) != key
        {
            checker.broken(&key, "it stands under the key of another".to_owned());
        }
    }
    Ok(())
}

fn settings(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    for row in Rows::small(checker.disk, keys::all_settings()) {
        let (key, value) = checker.count(row?);
        let name = keys::setting_name(&key).unwrap_or_default();
        if name == GLOBAL {
            checker.decoded::<Mode>(&key, &value);
        } else if name.starts_with(FLOW) {
            checker.decoded::<Standing>(&key, &value);
        } else if keys::is_drain(&key) {
            if let Some(drain) = checker.decoded::<Drain>(&key, &value)
                && keys::drain(&drain.scope) != key
            {
                checker.broken(&key, "it stands under the key of another".to_owned());
            }
        } else {
            checker.damage(&key, "this build does not know what it is".to_owned());
        }
    }
    Ok(())
}

/// The three rows of a run that waits for the end of its triggers.
fn debounced(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    let disk = checker.disk;
    let mut rows = Cursor::new(Rows::small(disk, keys::all_debounced()), 2)?;
    let mut records = Cursor::new(Rows::small(disk, keys::all_debounced_records()), 2)?;
    let mut works = Cursor::new(Rows::large(disk, keys::all_debounced_work()), 2)?;
    while let Some(owner) = first(&[&rows, &records, &works]) {
        let (row, record, work) = (rows.take(&owner)?, records.take(&owner)?, works.take(&owner)?);
        let all: Vec<_> = [row, record, work].into_iter().flatten().map(|row| checker.count(row)).collect();
        let [(key, row), (record_key, record), (work_key, work)] = all.as_slice() else {
            for (key, value) in all {
                checker.orphan(&key, value, "the rows of this run that belong to it are not all there");
            }
            continue;
        };
        checker.decoded::<Work>(work_key, work);
        let Some(record) = checker.decoded::<Record>(record_key, record) else { continue };
        let Some(row) = checker.decoded::<Debounced>(key, row) else { continue };
        if keys::debounced(&row.flow, &row.key) != *key {
            checker.broken(key, "it stands under the key of another".to_owned());
        }
        if row.run != record.id {
            checker.broken(key, format!("it is to be {}, but its record is {}", row.run, record.id));
        }
        if !matches!(record.state, State::Queued { .. } | State::DeadLettered { .. }) {
            checker.broken(record_key, format!("it is {} and was never admitted", record.state.name()));
        }
        if row.first_at > checker.contents.now || row.due_at < row.first_at {
            checker.broken(key, "its moments are not in order".to_owned());
        }
        if checker.record(row.run)?.is_some() {
            checker.broken(key, format!("{} was admitted and waits to be", row.run));
        }
    }
    Ok(())
}
