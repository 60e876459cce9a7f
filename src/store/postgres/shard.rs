//! One shard, as its owner has it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Row;

use super::commit::{commit, over};
use super::connection::{Connection, Failure, Params};
use super::failed;
use super::history::{Reader, trim};
use super::lease::{Keeper, Lease};
use crate::model::Space;
use crate::store::{Backend, Batch, Direction, History, Pair, StoreError};

/// Old history goes once in so many commits.
const TRIM_EVERY: u64 = 256;

/// A shard that this process owns, as long as its lease lasts.
pub struct Shard {
    connection: Mutex<Connection>,
    lease: Arc<Lease>,
    keeper: Arc<Keeper>,
    newest: Arc<AtomicU64>,
    history: Arc<Reader>,
    history_age_max: Duration,
    /// Set by the first failure: nothing is written after it.
    failed: bool,
}

const GET: &str = "select value from dwell_kv where shard = $1 and key = $2";

const SCAN_UP: &str = "select key, value from dwell_kv \
    where shard = $1 and key >= $2 and key < $3 order by key limit $4";

const SCAN_DOWN: &str = "select key, value from dwell_kv \
    where shard = $1 and key >= $2 and key < $3 order by key desc limit $4";

impl Shard {
    /// Of a shard that was taken when `sequence` was its latest commit; one connection writes, and one reads history.
    pub(super) fn open(
        [writer, reader]: [Connection; 2],
        lease: Arc<Lease>,
        keeper: Arc<Keeper>,
        sequence: u64,
        history_age_max: Duration,
    ) -> Shard {
        let newest = Arc::new(AtomicU64::new(sequence));
        let history =
            Reader { shard: lease.shard, newest: Arc::clone(&newest), connection: Mutex::new(reader) };
        Shard {
            connection: Mutex::new(writer),
            lease,
            keeper,
            newest,
            history: Arc::new(history),
            history_age_max,
            failed: false,
        }
    }

    /// Its epoch: each owner has a higher one than the one before.
    pub fn epoch(&self) -> u64 {
        self.lease.epoch.cast_unsigned()
    }

    /// Until when its lease lasts, on the clock of [`uptime`](super::uptime); 0 once it is lost for good.
    pub fn until(&self) -> u64 {
        self.lease.until()
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self) -> Result<Instant, StoreError> {
        self.lease.deadline().ok_or_else(|| over(&self.lease))
    }

    fn ask(&self, statement: &'static str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        let asked = self.connection().ask(statement, params, self.deadline()?);
        asked.map_err(|failure| match failure {
            Failure::Lost(_) | Failure::Again(_) if self.lease.deadline().is_none() => over(&self.lease),
            failure @ (Failure::Lost(_) | Failure::Again(_) | Failure::Refused(_)) => failed("read")(failure),
        })
    }
}

impl Backend for Shard {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.ask(GET, &[&self.lease.shard, &key])?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let statement = match direction {
            Direction::Ascending => SCAN_UP,
            Direction::Descending => SCAN_DOWN,
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.ask(statement, &[&self.lease.shard, &from, &to, &limit])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned);
        }
        let next = self.newest.load(Ordering::Acquire) + 1;
        let committed = commit(&mut self.connection(), &self.lease, next, &batch);
        match &committed {
            Ok(()) => {
                self.newest.store(next, Ordering::Release);
                if next.is_multiple_of(TRIM_EVERY) {
                    trim(&mut self.connection(), &self.lease, self.history_age_max);
                }
            }
            Err(_) => self.failed = true,
        }
        committed
    }

    /// Also of an answer that needed no commit: what it says may be old by the time another owns the shard.
    fn landed(&mut self, _left: usize) -> Result<(), StoreError> {
        self.deadline().map(drop)
    }

    fn look(&mut self) -> Result<Option<Space>, StoreError> {
        self.deadline().map(|_| None)
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::clone(&self.history) as Arc<dyn History>
    }
}

impl Drop for Shard {
    /// Its lease is renewed no more. It is not given back: who took it knows when nothing of it is at work any more.
    fn drop(&mut self) {
        self.keeper.let_go(&self.lease);
        self.lease.lose();
    }
}
