//! Open: rebuild what is derived, and find what an earlier process left outstanding.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::claims::Claims;
use super::core::{Core, EngineError};
use super::debounce::Debounces;
use super::gate::Gate;
use super::index::Index;
use super::modes::Modes;
use super::notices::Notices;
use super::purge::Oldest;
use super::schedule::Schedules;
use super::settings::{PAGES_AHEAD_MAX, RECORDS_PER_SCAN, Settings};
use super::stalls::Stalls;
use super::tick::Engine;
use crate::model::{Child, Drain, Notice, Record, RecordId, Redrive, Runtime, Time};
use crate::store::transfer::ORDERS_TAKEN;
use crate::store::{
    Backend, Batch, Debounced, Direction, Durable, Pair, ScheduleRow, Stored, Tally, Writer, keys,
};

/// An attempt that an earlier process left outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Whose.
    pub id: RecordId,
    /// Which attempt.
    pub attempt: u32,
    /// Its process, which may still be running.
    pub child: Option<Child>,
}

/// An opened engine that may not tick before its survivors are stopped: their records would be dispatched again.
pub struct Opening {
    engine: Engine,
}

impl Opening {
    /// The engine, once every survivor is known to be gone. Its first tick requeues their records, uncounted.
    pub fn survivors_stopped(self) -> Engine {
        self.engine
    }
}

impl Engine {
    /// Reads every live record of a recovered and synced `backend` once. The survivors are to be stopped before
    /// [`Opening::survivors_stopped`].
    pub fn open(
        backend: Box<dyn Backend>,
        settings: Settings,
        now: Time,
    ) -> Result<(Opening, Durable<Vec<Survivor>>), EngineError> {
        let tally = match backend.get(&keys::meta("tally"))? {
            Some(bytes) => Tally::decode(&bytes)?,
            None => Tally::default(),
        };
        let mut index = Index::new(&settings);
        if let Some(taken) = backend.get(&keys::meta(ORDERS_TAKEN))? {
            index.orders_taken(u64::decode(&taken)?);
        }
        let now = now.max(tally.now);
        let (mut survivors, mut interrupted) = (Vec::new(), Vec::new());
        let mut stalls = Stalls::default();
        each_live(&*backend, |value| {
            let record = Arc::new(Record::decode(value)?);
            if record.queue.is_some() && record.state.outstanding() {
                // Its worker may still be at it. One whose lease ran out meanwhile could not renew it: that is ours.
                interrupted.extend(record.deadline().filter(|lease| *lease <= now).map(|_| record.id));
            } else if record.state.outstanding() {
                let child = record.state.child();
                survivors.push(Survivor { id: record.id, attempt: record.attempt, child });
                interrupted.push(record.id);
            }
            stalls.see(&record);
            index.found(&record, value);
            Ok(())
        })?;
        let runtimes = rows(&*backend, keys::all_runtimes())?;
        let runtimes: BTreeMap<_, _> =
            runtimes.into_iter().map(|row: Runtime| (row.name.clone(), row)).collect();
        let drains = rows(&*backend, keys::all_drains())?;
        let drains = drains.into_iter().map(|row: Drain| (row.scope.clone(), row)).collect();
        let mut debounces = Debounces::default();
        for row in rows::<Debounced>(&*backend, keys::all_debounced())? {
            debounces.set(row);
        }
        let mut batch = Batch::default();
        let found = rows::<ScheduleRow>(&*backend, keys::all_schedules())?;
        let schedules = Schedules::open(found, &settings, now, &mut batch);
        let mut answers = 0;
        each(&*backend, keys::all_answered(), |_| {
            answers += 1;
            Ok(())
        })?;
        for (name, lane) in index.lanes().filter(|(name, _)| !settings.runtimes.contains_key(*name)) {
            if !lane.is_empty() {
                tracing::warn!(runtime = %name, "records wait for a runtime that is not configured");
            }
        }
        let mut redrives = BTreeMap::new();
        for mut row in rows::<Redrive>(&*backend, keys::all_redrives())? {
            // What was due while nothing ran is not made up for.
            row.forgive(now, Duration::ZERO);
            redrives.insert(row.id, row);
        }
        let notices = rows::<Notice>(&*backend, keys::all_notices())?;
        let held = runtimes.values().filter(|row: &&Runtime| row.held_until(tally.now).is_some());
        let held = held.map(|row| row.name.clone()).collect();
        let core = Core {
            notices: Notices::new(notices.into_iter(), held, stalls.seen(&runtimes, now)),
            gate: Gate::new(&settings),
            pool: settings.pool.as_ref().map(|pool| pool.member(settings.shard.number)),
            modes: Modes::read(&*backend)?,
            settings,
            index,
            runtimes,
            started: BTreeMap::new(),
            drains,
            tally,
            seen: tally.now,
            redrives,
            claims: Claims::default(),
            now,
            interrupted,
            draining: None,
            oldest: Oldest::open(&*backend)?,
            answers,
            schedules,
            debounces,
            space: None,
            more: false,
            ticks: 0,
            commits: 0,
        };
        let (writer, survivors) = Writer::open(backend).commit(batch, survivors)?;
        Ok((Opening { engine: Engine { writer, core: Box::new(core) } }, survivors))
    }
}

/// Every row of a kind of which there are not many.
fn rows<T: Stored>(backend: &dyn Backend, range: (Vec<u8>, Vec<u8>)) -> Result<Vec<T>, EngineError> {
    let mut rows = Vec::new();
    each(backend, range, |value| {
        rows.push(T::decode(value)?);
        Ok(())
    })?;
    Ok(rows)
}

/// Hands every live record to `take`. Where there are a million, reading them takes about as long as indexing them, so
/// another thread reads ahead.
fn each_live(
    backend: &dyn Backend,
    mut take: impl FnMut(&[u8]) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let (ahead, pages) = bounded(PAGES_AHEAD_MAX);
    std::thread::scope(|scope| {
        let reader =
            scope.spawn(move || each_page(backend, keys::all_live(), |page| Ok(ahead.send(page).is_ok())));
        for page in pages {
            for (_, value) in &page {
                take(value)?;
            }
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Hands every value of a key range to `take`, a bounded number at a time.
pub(super) fn each(
    backend: &dyn Backend,
    range: (Vec<u8>, Vec<u8>),
    mut take: impl FnMut(&[u8]) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    each_page(backend, range, |page| {
        for (_, value) in &page {
            take(value)?;
        }
        Ok(true)
    })
}

/// Hands the pairs of a key range to `take`, a bounded number at a time, until it answers false.
fn each_page(
    backend: &dyn Backend,
    (mut from, to): (Vec<u8>, Vec<u8>),
    mut take: impl FnMut(Vec<Pair>) -> Result<bool, EngineError>,
) -> Result<(), EngineError> {
    loop {
        let page = backend.scan(&from, &to, Direction::Ascending, RECORDS_PER_SCAN)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = [last, &[0][..]].concat();
        if !take(page)? {
            return Ok(());
        }
    }
}
