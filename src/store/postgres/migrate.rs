//! The schema: which files there are, bringing a database up to the newest, and refusing one that is newer.

use std::time::{Duration, Instant};

use super::connection::{Connection, Failure, Server};
use super::{ANSWER_WITHIN, failed, now};
use crate::store::StoreError;

/// The files, each with the number that it leaves.
const MIGRATIONS: [(i64, &str); 2] = [
    (1, include_str!("../../../schema/postgres/0001_store.sql")),
    (2, include_str!("../../../schema/postgres/0002_nodes.sql")),
];

/// The newest there is.
pub const FORMAT: i64 = 2;

/// How long all of it may take: somebody waits for it, and it makes tables.
const MIGRATED_WITHIN: Duration = Duration::from_mins(1);

const SECRET_BYTES: usize = 32;

const FORMAT_OF: &str = "select format, shards from dwell_meta order by format desc limit 1";

/// Brings the database up to this build's schema, or makes a store of so many shards in it. Answers from which format on
/// (0: there was none) and how many shards it has.
///
/// # Errors
/// [`StoreError::Schema`] if it is newer than this build, [`StoreError::Postgres`] if the server says no: then nothing was
/// changed.
pub fn migrate(server: &Server, shards: u32) -> Result<(i64, u32), StoreError> {
    let mut connection = Connection::to(server)?;
    let (found, kept) = stored(&mut connection, now() + ANSWER_WITHIN)?.unwrap_or((0, shards));
    readable_or_older(found)?;
    let deadline = now() + MIGRATED_WITHIN;
    for (format, script) in MIGRATIONS.iter().filter(|(format, _)| *format > found) {
        let rows = match format {
            1 => shard_rows(shards),
            2 => secret_row()?,
            _ => String::new(),
        };
        let script = format!(
            "begin; {script} {rows} delete from dwell_meta; insert into dwell_meta values ({format}, {kept}); commit;"
        );
        connection.script(&script, deadline).map_err(failed("migrate"))?;
    }
    Ok((found, kept))
}

/// The secret of the store's nodes.
fn secret_row() -> Result<String, StoreError> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)
        .map_err(|error| StoreError::Postgres { doing: "make a secret for", reason: error.to_string() })?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("insert into dwell_secret values ('nodes', decode('{digits}', 'hex'));"))
}

/// The rows of the shards, which nobody owns yet.
fn shard_rows(shards: u32) -> String {
    let rows: Vec<String> = (0..shards).map(|shard| format!("({shard}, 0, 0, 1, '', '', 0)")).collect();
    format!("insert into dwell_shard values {};", rows.join(", "))
}

/// The format of the store that is there and the number of its shards; `None` if there is none.
fn stored(connection: &mut Connection, deadline: Instant) -> Result<Option<(i64, u32)>, StoreError> {
    match connection.ask(FORMAT_OF, &[], deadline) {
        Ok(rows) => {
            Ok(rows.first().map(|row| (row.get(0), u32::try_from(row.get::<_, i64>(1)).unwrap_or_default())))
        }
        Err(Failure::Refused(reason)) if reason.contains("dwell_meta") => Ok(None),
        Err(failure) => Err(unreadable(failure.into_words())),
    }
}

fn unreadable(reason: String) -> StoreError {
    StoreError::Postgres { doing: "read the schema of", reason }
}

fn readable_or_older(found: i64) -> Result<(), StoreError> {
    if found > FORMAT { Err(StoreError::Schema { found, newest: FORMAT }) } else { Ok(()) }
}

/// The number of shards of the store that is there, if this build reads it.
pub(super) fn shards(connection: &mut Connection, deadline: Instant) -> Result<u32, StoreError> {
    let Some((found, shards)) = stored(connection, deadline)? else {
        return Err(unreadable("the database holds no dwell store; `dwell migrate` makes one".to_owned()));
    };
    readable_or_older(found)?;
    if found < FORMAT {
        return Err(unreadable(format!("it has format {found}; `dwell migrate` brings it to {FORMAT}")));
    }
    Ok(shards)
}

const IS_DURABLE: &str =
    "select name, setting from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off'";

/// Warns of a server that may lose what it says is safe.
pub(super) fn durable(connection: &mut Connection, deadline: Instant) -> Result<(), StoreError> {
    let off = connection.ask(IS_DURABLE, &[], deadline).map_err(failed("connect to"))?;
    for row in off {
        let setting: &str = row.get(0);
        tracing::warn!("PostgreSQL runs with {setting} = off: a power cut loses what was acknowledged");
    }
    Ok(())
}
