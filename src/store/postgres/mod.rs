//! The store on PostgreSQL: one database holds the shards of a store, and each shard is a [`Backend`](super::Backend) of
//! whoever owns it.
//!
//! Owns: the statements, the migrations (`schema/postgres/`), leases and fencing. A commit is one statement, and so one
//! transaction: it moves the shard's row on from the commit before it, under the owner's epoch, and writes nothing where
//! that row says something else. Absent on purpose: consensus, which is PostgreSQL's, and a cache, since an engine holds
//! what is alive.

mod commit;
mod connection;
mod history;
mod lease;
mod migrate;
mod nodes;
mod shard;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::connection::Server;
use self::connection::{Connection, Failure, Params};
pub use self::lease::{Heard, OnLease, uptime};
use self::lease::{Keeper, Lease};
pub use self::migrate::{FORMAT, migrate};
pub use self::nodes::{Node, Owned, View};
pub use self::shard::Shard;
use super::StoreError;

/// How long a statement may take that no lease bounds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A process that owns shards.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it is called.
    pub name: String,
    /// Where the others reach it.
    pub address: String,
    /// How long a shard stays its own without a word from it.
    pub lease: Duration,
    /// How long the events of a commit are kept.
    pub history_age_max: Duration,
}

/// The way to a store's shards. Dropping it ends the leases that are left, in their time.
pub struct Shards {
    server: Server,
    member: Member,
    count: u32,
    connection: Mutex<Connection>,
    keeper: Arc<Keeper>,
}

const TAKE: &str = "update dwell_shard \
    set epoch = epoch + 1, node = $2, address = $3, \
        expires_at = (extract(epoch from clock_timestamp()) * 1000)::int8 + $4::int8 \
    where shard = $1 and expires_at <= (extract(epoch from clock_timestamp()) * 1000)::int8 \
    returning epoch, sequence";

/// Who lost it meanwhile gives nothing back. A lease that was given back is not renewed.
const GIVE_BACK: &str = "update dwell_shard set expires_at = 0 where shard = $1 and epoch = $2";

impl Shards {
    /// Connects, and looks whether this build reads what is there. `tell` is told of each lease that is renewed, or over.
    ///
    /// # Errors
    /// [`StoreError::Postgres`] if the server cannot be reached or holds no store, [`StoreError::Schema`] if that is of
    /// another version.
    pub fn open(server: Server, member: Member, tell: OnLease) -> Result<Shards, StoreError> {
        let server = server.under(member.lease);
        let mut connection = Connection::to(&server)?;
        let deadline = now() + ANSWER_WITHIN;
        migrate::durable(&mut connection, deadline)?;
        let count = migrate::shards(&mut connection, deadline)?;
        let keeper = Keeper::start(Connection::to(&server)?, member.lease, tell)
            .map_err(|error| failed("start a thread for leases")(Failure::Refused(error.to_string())))?;
        Ok(Shards { server, member, count, connection: Mutex::new(connection), keeper: Arc::new(keeper) })
    }

    /// What all nodes prove themselves and their attempts with.
    pub fn secret(&self) -> Result<Vec<u8>, StoreError> {
        nodes::secret(&mut self.connection())
    }

    /// Says that this process is there, for half as long as a lease; where another one of its name was just heard of.
    pub fn announce(&self) -> Result<Option<String>, StoreError> {
        nodes::announce(&mut self.connection(), &self.member)
    }

    /// Looks who is there and who owns what.
    pub fn look(&self) -> Result<View, StoreError> {
        nodes::look(&mut self.connection())
    }

    /// Says that this process is there no more.
    pub fn leave(&self) -> Result<(), StoreError> {
        nodes::leave(&mut self.connection(), &self.member)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Takes a shard that nobody owns; `None` if somebody does. It is this process's until it is given back, or is lost.
    pub fn take(&self, shard: u32) -> Result<Option<Shard>, StoreError> {
        let (number, asked) = (i64::from(shard), lease::uptime());
        let length = millis(self.member.lease);
        let (name, address) = (&self.member.name, &self.member.address);
        let params: Params<'_> = &[&number, name, address, &length];
        // On the connection that its owner goes on with, so that several can be taken at once. Asked twice it finds the shard
        // taken, by nobody who knows: it is free again after the lease.
        let mut connection = Connection::to(&self.server)?;
        let taken = connection.ask(TAKE, params, now() + ANSWER_WITHIN).map_err(failed("take a shard"))?;
        let Some(row) = taken.first() else { return Ok(None) };
        let lease = Arc::new(Lease::of(number, row.get(0), asked, self.member.lease));
        let (sequence, age_max) = (row.get::<_, i64>(1).cast_unsigned(), self.member.history_age_max);
        let reader = Connection::to(&self.server)?;
        let keeper = Arc::clone(&self.keeper);
        let shard = Shard::open([connection, reader], Arc::clone(&lease), keeper, sequence, age_max);
        self.keeper.keep(lease);
        Ok(Some(shard))
    }

    /// Gives back a shard that was taken with this epoch, so that others need not wait for the end of its lease. Nothing of it
    /// may be at work any more.
    pub fn give_back(&self, shard: u32, epoch: u64) -> Result<(), StoreError> {
        let params: Params<'_> = &[&i64::from(shard), &epoch.cast_signed()];
        // On a connection of its own: the other one may be waiting for a server that does not answer.
        let given = Connection::to(&self.server)?.once(GIVE_BACK, params, now() + ANSWER_WITHIN);
        given.map(drop).map_err(failed("give a shard back to"))
    }
}

/// A span of time as the statements have it.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn failed(doing: &'static str) -> impl FnOnce(Failure) -> StoreError {
    move |failure| StoreError::Postgres { doing, reason: failure.into_words() }
}

#[expect(clippy::disallowed_methods, reason = "how long an answer may take is not the engine's time")]
fn now() -> Instant {
    Instant::now()
}
