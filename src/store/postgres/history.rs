//! The events of a shard's commits, read beside the engine on a connection of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connection::{Connection, Params};
use super::lease::Lease;
use super::{ANSWER_WITHIN, failed, millis, now};
use crate::store::{History, StoreError};

/// The events of one commit as they are kept: each behind its length in four bytes.
pub(super) fn encode(events: &[Vec<u8>]) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(events.iter().map(|event| 4 + event.len()).sum());
    for event in events {
        let length = u32::try_from(event.len())
            .map_err(|_| StoreError::BatchTooLarge { bytes: event.len(), accepted: u32::MAX as usize })?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(event);
    }
    Ok(bytes)
}

fn decode(mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk()?;
        let (event, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        events.push(event.to_vec());
        rest = behind;
    }
    Some(events)
}

pub(super) struct Reader {
    pub(super) shard: i64,
    pub(super) newest: Arc<AtomicU64>,
    pub(super) connection: Mutex<Connection>,
}

const READ: &str = "select sequence, events from dwell_history \
    where shard = $1 and sequence > $2 and sequence <= $3 order by sequence limit $4";

const OLDEST: &str = "select oldest from dwell_shard where shard = $1";

/// A commit may have a thousand events.
const COMMITS_AT_ONCE: i64 = 32;

/// The oldest commits that are kept, a bounded number of them, as far as they are older than that many milliseconds.
const TRIM: &str = "with old as ( \
        select max(first.sequence) as last \
        from (select sequence, at from dwell_history where shard = $1 order by sequence limit 4096) as first \
        where first.at < (extract(epoch from clock_timestamp()) * 1000)::int8 - $3::int8 \
    ), mine as ( \
        update dwell_shard set oldest = old.last + 1 from old \
        where shard = $1 and epoch = $2 and old.last is not null \
        returning shard \
    ) \
    delete from dwell_history \
    where shard = (select shard from mine) and sequence <= (select last from old)";

/// Lets go of history that is older than `age_max`.
pub(super) fn trim(connection: &mut Connection, lease: &Lease, age_max: Duration) {
    let Some(deadline) = lease.deadline() else { return };
    let age_max = millis(age_max);
    // Nothing is owed to old history: what stays now goes the next time.
    if let Err(failure) = connection.once(TRIM, &[&lease.shard, &lease.epoch, &age_max], deadline) {
        tracing::warn!(shard = lease.shard, "old history stays: {}", failure.into_words());
    }
}

impl Reader {
    fn ask(
        &self,
        statement: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.ask(statement, params, now() + ANSWER_WITHIN).map_err(failed("read the history of"))
    }
}

impl History for Reader {
    fn read(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let number = |sequence| i64::try_from(sequence).unwrap_or(i64::MAX);
        let (mut after, newest) = (number(after), number(self.newest()));
        let mut found = Vec::new();
        loop {
            let rows = self.ask(READ, &[&self.shard, &after, &newest, &COMMITS_AT_ONCE])?;
            for row in &rows {
                let (sequence, events): (i64, &[u8]) = (row.get(0), row.get(1));
                let events = decode(events).ok_or_else(|| StoreError::Value {
                    what: "events of a commit",
                    reason: format!("commit {sequence} of shard {} is not as it was written", self.shard),
                })?;
                found.extend(events.into_iter().map(|event| (sequence.cast_unsigned(), event)));
                if found.len() >= limit {
                    return Ok(found);
                }
                after = sequence;
            }
            if rows.is_empty() {
                return Ok(found);
            }
        }
    }

    fn oldest(&self) -> Result<u64, StoreError> {
        let rows = self.ask(OLDEST, &[&self.shard])?;
        Ok(rows.first().map_or(1, |row| row.get::<_, i64>(0).cast_unsigned()))
    }

    fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }
}
