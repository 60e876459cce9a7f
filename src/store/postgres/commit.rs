//! One commit, as one statement.

use std::collections::BTreeMap;
use std::time::Instant;

use super::connection::{Connection, Failure, first_pause};
use super::failed;
use super::lease::Lease;
use crate::store::{Batch, StoreError};

/// The row of the shard comes first: who cannot move it on from the commit before changes nothing else. A key stands once in
/// what is sent, so what is put and what is deleted have none in common. What is deleted is one relation of its own, so that
/// each row is looked up by both columns of its key.
const COMMIT: &str = "with mine as ( \
        update dwell_shard set sequence = $3::int8 \
        where shard = $1 and epoch = $2 and sequence = $3::int8 - 1 \
        returning shard \
    ), put as ( \
        insert into dwell_kv (shard, key, value) \
        select mine.shard, new.key, new.value \
        from mine, unnest($4::bytea[], $5::bytea[]) as new (key, value) \
        on conflict (shard, key) do update set value = excluded.value \
        returning 1 \
    ), dead as materialized ( \
        select mine.shard, dead.key from mine, unnest($6::bytea[]) as dead (key) \
    ), gone as ( \
        delete from dwell_kv as old using dead \
        where old.shard = dead.shard and old.key = dead.key \
        returning 1 \
    ), told as ( \
        insert into dwell_history (shard, sequence, at, events) \
        select mine.shard, $3::int8, (extract(epoch from clock_timestamp()) * 1000)::int8, $7::bytea \
        from mine \
        where length($7::bytea) > 0 \
        returning 1 \
    ) \
    select count(*) from mine";

const LOOK: &str = "select epoch, sequence from dwell_shard where shard = $1";

/// Makes `batch` durable as the commit `sequence` of the lease's shard.
pub(super) fn commit(
    connection: &mut Connection,
    lease: &Lease,
    sequence: u64,
    batch: &Batch,
) -> Result<(), StoreError> {
    let rows: BTreeMap<&[u8], Option<&[u8]>> =
        batch.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
    let gone: Vec<&[u8]> = rows.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
    let (keys, values): (Vec<&[u8]>, Vec<&[u8]>) =
        rows.iter().filter_map(|(key, value)| Some((*key, (*value)?))).unzip();
    let events = super::history::encode(&batch.events)?;
    let number = sequence.cast_signed();
    let mut pause = first_pause();
    // What does not succeed within a lease will not in a longer one, which goes on being renewed meanwhile.
    let Some(deadline) = lease.deadline() else { return Err(over(lease)) };
    let mut why = "there was no time left".to_owned();
    loop {
        if lease.deadline().is_none() {
            return Err(over(lease));
        }
        let params: super::Params<'_> =
            &[&lease.shard, &lease.epoch, &number, &keys, &values, &gone, &events];
        let landed = match connection.once(COMMIT, params, deadline) {
            Ok(rows) if rows.first().is_some_and(|row| row.get::<_, i64>(0) == 1) => return Ok(()),
            // Somebody else's, or this one has landed before and nobody could say so.
            Ok(_) => look(connection, lease, number, deadline)?,
            Err(Failure::Again(reason)) => {
                why = reason;
                false
            }
            Err(Failure::Lost(reason)) => {
                tracing::warn!(shard = lease.shard, "a commit is asked again: {reason}");
                why = reason;
                look(connection, lease, number, deadline)?
            }
            Err(refused @ Failure::Refused(_)) => return Err(failed("commit to")(refused)),
        };
        if landed {
            return Ok(());
        }
        if !connection.pause(&mut pause, deadline) {
            lease.lose();
            return Err(failed("commit to")(Failure::Lost(why)));
        }
    }
}

/// Whether the commit is there. One that is under way on a connection that was lost either is by now, or finds its place
/// taken by the one that is asked next.
fn look(
    connection: &mut Connection,
    lease: &Lease,
    number: i64,
    deadline: Instant,
) -> Result<bool, StoreError> {
    let rows = connection.ask(LOOK, &[&lease.shard], deadline);
    let rows = match rows {
        // Nobody knows what became of it, and others may by now.
        Err(Failure::Lost(_) | Failure::Again(_)) => return Err(over(lease)),
        rows => rows.map_err(failed("look at a commit of"))?,
    };
    let found: Option<(i64, i64)> = rows.first().map(|row| (row.get(0), row.get(1)));
    match found {
        Some((epoch, sequence)) if epoch == lease.epoch && sequence == number => Ok(true),
        Some((epoch, sequence)) if epoch == lease.epoch && sequence == number - 1 => Ok(false),
        Some(_) | None => Err(over(lease)),
    }
}

/// The shard is another's, or may be.
pub(super) fn over(lease: &Lease) -> StoreError {
    lease.lose();
    StoreError::Fenced { shard: lease.number() }
}
