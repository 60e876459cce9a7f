//! Whether the rows of a store agree with each other and with what must always be true (spec 1.4). It is read from the
//! disk alone: an open engine derives its indexes from the same rows, so there is nothing else to compare.
//!
//! Owns: what is wrong, in words, and which single rows would put it right without loss. Absent on purpose: bytes and
//! files (`store::local::check`), and writing. All of it streams: what is held in memory is one number for each live
//! record and one name for each kept answer.

mod cursor;
mod records;
mod references;
mod waiting;

use std::collections::BTreeMap;

use self::cursor::Rows;
use crate::model::{Policy, Record, RecordId, StateName, Time, Transition};
use crate::store::local::check::Watch;
use crate::store::{Backend, Finding, Findings, Fix, Place, Severity, StoreError, Stored, Tally, keys};

/// What stands in a store, and what would put it right.
#[derive(Debug, Default)]
pub struct Contents {
    /// The engine's time; [`Time::MAX`] if it is not known.
    pub now: Time,
    /// The latest that happened to a record.
    pub latest: Time,
    /// Records that are there, by state.
    pub records: BTreeMap<StateName, u64>,
    /// Rows of every kind.
    pub rows: u64,
    /// Rows to change so that the others agree; at most [`FIXES_MAX`], the rest shows once these are done.
    pub fixes: Vec<Fix>,
}

/// The most rows that are put right at once.
pub const FIXES_MAX: usize = 10_000;

/// Reads every row. `policy` says how far away a deadline may be.
///
/// # Errors
/// Only if the rows cannot be read. What is wrong with them is in `findings`.
pub fn check(
    disk: &dyn Backend,
    policy: &Policy,
    watch: &mut dyn Watch,
    findings: &mut Findings,
) -> Result<Contents, StoreError> {
    let mut checker = Checker {
        disk,
        policy,
        watch,
        findings,
        contents: Contents { now: Time::MAX, ..Contents::default() },
        tally: None,
        counted: Counted::default(),
        unpointed: BTreeMap::new(),
    };
    checker.read_tally()?;
    records::check(&mut checker)?;
    references::check(&mut checker)?;
    waiting::check(&mut checker)?;
    for range in keys::all_unknown() {
        for row in Rows::small(disk, range) {
            let (key, _) = row?;
            checker.damage(&key, "this build does not know what it is".to_owned());
        }
    }
    checker.settle_tally();
    Ok(checker.contents)
}

/// Whether what the history tells can be read, and goes forward in time.
#[derive(Debug, Default)]
pub struct Steps {
    last: Time,
}

impl Steps {
    /// Sees the next event.
    pub fn see(&mut self, sequence: u64, bytes: &[u8], findings: &mut Findings) {
        let place = || Place::Row(format!("history of commit {sequence}"));
        match Transition::decode(bytes) {
            Ok(step) if step.at < self.last => {
                let what = format!(
                    "{} {} is at {}, before what came earlier, at {}",
                    step.id,
                    step.event,
                    step.at.millis(),
                    self.last.millis()
                );
                findings.add(Finding {
                    severity: Severity::Broken,
                    place: place(),
                    what,
                    remedy: String::new(),
                });
            }
            Ok(step) => self.last = step.at,
            Err(error) => findings.add(Finding {
                severity: Severity::Damage,
                place: place(),
                what: error.to_string(),
                remedy: String::new(),
            }),
        }
    }
}

/// What the records add up to.
#[derive(Default)]
struct Counted {
    live: u64,
    outstanding: u64,
    completed: u64,
    cancelled: u64,
    attempts: u64,
    /// Some could not be read, so the sums say nothing.
    unsure: bool,
}

struct Checker<'a> {
    disk: &'a dyn Backend,
    policy: &'a Policy,
    watch: &'a mut dyn Watch,
    findings: &'a mut Findings,
    contents: Contents,
    tally: Option<Tally>,
    counted: Counted,
    /// Finished records that no pointer leads to, which is put right before anything else of theirs.
    unpointed: BTreeMap<RecordId, Time>,
}

const RESTORE: &str = "restore the last backup with `dwell restore`";

impl Checker<'_> {
    fn read_tally(&mut self) -> Result<(), StoreError> {
        for row in Rows::small(self.disk, keys::all_meta()) {
            let (key, value) = self.count(row?);
            if key != keys::meta("tally") {
                self.damage(&key, "this build does not know what it is".to_owned());
                continue;
            }
            match Tally::decode(&value) {
                Ok(tally) => {
                    self.contents.now = tally.now;
                    self.tally = Some(tally);
                }
                Err(error) => {
                    self.damage(&key, error.to_string());
                    self.counted.unsure = true;
                }
            }
        }
        Ok(())
    }

    /// Whether retention removed records that others may still name.
    fn has_purged(&self) -> bool {
        self.tally.is_none_or(|tally| tally.purged > 0)
    }

    fn count(&mut self, row: (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
        self.contents.rows += 1;
        if self.contents.rows.is_multiple_of(ROWS_PER_LINE) {
            self.watch.progress(&format!("rows: {} so far", self.contents.rows));
        }
        row
    }

    fn damage(&mut self, key: &[u8], what: String) {
        self.add(Severity::Damage, key, what, RESTORE);
    }

    /// What must always be true is not, and no single row would make it so.
    fn broken(&mut self, key: &[u8], what: String) {
        self.add(Severity::Broken, key, what, RESTORE);
    }

    fn add(&mut self, severity: Severity, key: &[u8], what: String, remedy: &str) {
        let place = Place::Row(keys::words(key));
        self.findings.add(Finding { severity, place, what, remedy: remedy.to_owned() });
    }

    /// What is wrong is put right by changing one row.
    fn fix(&mut self, key: &[u8], what: &str, fix: Fix) {
        let remedy = format!("`dwell check --repair` {}", fix.what);
        self.add(Severity::Broken, key, what.to_owned(), &remedy);
        if self.contents.fixes.len() < FIXES_MAX {
            self.contents.fixes.push(fix);
        }
    }

    /// A row that nothing leads to.
    fn orphan(&mut self, key: &[u8], value: Vec<u8>, what: &str) {
        let fix = Fix {
            key: key.to_vec(),
            old: Some(value),
            new: None,
            what: "removes it and keeps a copy".to_owned(),
        };
        self.fix(key, what, fix);
    }

    /// A row that follows from others and is not there.
    fn absent(&mut self, key: &[u8], value: Vec<u8>, what: &str) {
        let fix = Fix { key: key.to_vec(), old: None, new: Some(value), what: "writes it anew".to_owned() };
        self.fix(key, what, fix);
    }

    /// Reads a value, or says why it cannot be read.
    fn decoded<T: Stored>(&mut self, key: &[u8], value: &[u8]) -> Option<T> {
        match T::decode(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.damage(key, error.to_string());
                None
            }
        }
    }

    /// A record that is there, live or finished; what is wrong with its own row is told elsewhere.
    fn record(&self, id: RecordId) -> Result<Option<Record>, StoreError> {
        let mut bytes = self.disk.get(&keys::live(id))?;
        if bytes.is_none() {
            let pointer = self.disk.get(&keys::pointer(id))?.and_then(|at| Time::decode(&at).ok());
            if let Some(at) = pointer.or_else(|| self.unpointed.get(&id).copied()) {
                bytes = self.disk.get(&keys::finished(at, id))?;
            }
        }
        Ok(bytes.and_then(|bytes| Record::decode(&bytes).ok()))
    }

    /// What is counted since the store was made has to agree with the records that are there.
    fn settle_tally(&mut self) {
        let Counted { live, outstanding, completed, cancelled, attempts, unsure } = self.counted;
        let tally = match self.tally {
            Some(tally) => tally,
            None if self.contents.rows == 0 => return,
            None => Tally { now: self.contents.latest, ..Tally::default() },
        };
        if unsure {
            return;
        }
        let kept = completed + cancelled;
        let mut right = tally;
        let sums = tally.completed + tally.cancelled == kept + tally.purged;
        if !sums || tally.completed < completed || tally.cancelled < cancelled {
            let most = kept + tally.purged - cancelled;
            right.completed = tally.completed.clamp(completed, most);
            right.cancelled = kept + tally.purged - right.completed;
        }
        right.admitted = live + right.completed + right.cancelled;
        let exact = tally.purged == 0 && tally.attempts_started != attempts;
        if exact || tally.attempts_started < attempts {
            right.attempts_started = attempts;
        }
        right.attempts_ended = right.attempts_started.saturating_sub(outstanding);
        if right == tally && self.tally.is_some() {
            return;
        }
        let what = format!(
            "it says {} admitted, {} completed, {} cancelled, {} purged, {} attempts started and {} ended; there are \
             {live} live records, {completed} completed, {cancelled} cancelled, {attempts} attempts and {outstanding} of \
             them outstanding",
            tally.admitted,
            tally.completed,
            tally.cancelled,
            tally.purged,
            tally.attempts_started,
            tally.attempts_ended
        );
        let key = keys::meta("tally");
        let old = self.tally.map(|tally| tally.encode());
        let fix = Fix { key: key.clone(), old, new: Some(right.encode()), what: "counts anew".to_owned() };
        self.fix(&key, &what, fix);
    }
}

/// Rows between two lines that say how far it is.
const ROWS_PER_LINE: u64 = 50_000;

/// Counts what a record adds to the sums.
impl Counted {
    fn add(&mut self, record: &Record) {
        match record.state.name() {
            StateName::Completed => self.completed += 1,
            StateName::Cancelled => self.cancelled += 1,
            StateName::Queued
            | StateName::Active
            | StateName::RateLimited
            | StateName::Backoff
            | StateName::Draining
            | StateName::DeadLettered => self.live += 1,
        }
        self.outstanding += u64::from(record.state.outstanding());
        self.attempts += u64::from(record.attempt);
    }
}
