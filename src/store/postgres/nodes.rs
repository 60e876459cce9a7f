//! Who is there and who owns what, for everybody to see.

use std::time::Duration;

use super::connection::Connection;
use super::{ANSWER_WITHIN, Member, failed, millis, now};
use crate::store::StoreError;

/// A node that is heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub name: String,
    /// Where the others reach it.
    pub address: String,
}

/// A shard, and who owns it or did last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Which.
    pub shard: u32,
    /// How many owners it has had.
    pub epoch: u64,
    /// Its latest commit.
    pub sequence: u64,
    /// Who, and where; `None`: it is free.
    pub owner: Option<Node>,
    /// How long its lease lasts yet, in milliseconds.
    pub left: u64,
}

/// Everything, as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By number.
    pub shards: Vec<Owned>,
    /// By name.
    pub nodes: Vec<Node>,
}

/// Who looks once a second is not to be missed for being late.
const HEARD_OF_MIN: Duration = Duration::from_secs(3);

const ANNOUNCE: &str = "insert into dwell_node (node, address, expires_at) \
    values ($1, $2, (extract(epoch from clock_timestamp()) * 1000)::int8 + $3::int8) \
    on conflict (node) do update set address = excluded.address, expires_at = excluded.expires_at";

const NAMESAKE: &str = "select address from dwell_node where node = $1 and address <> $2 \
    and expires_at > (extract(epoch from clock_timestamp()) * 1000)::int8";

const LEAVE: &str = "delete from dwell_node where node = $1";

const SHARDS: &str = "select shard, epoch, sequence, node, address, \
    expires_at - (extract(epoch from clock_timestamp()) * 1000)::int8 from dwell_shard order by shard";

const NODES: &str = "select node, address from dwell_node \
    where expires_at > (extract(epoch from clock_timestamp()) * 1000)::int8 order by node";

const SECRET: &str = "select secret from dwell_secret where name = 'nodes'";

pub(super) fn announce(connection: &mut Connection, member: &Member) -> Result<Option<String>, StoreError> {
    let found = connection.ask(NAMESAKE, &[&member.name, &member.address], now() + ANSWER_WITHIN);
    let found = found.map_err(failed("be a node of"))?.first().map(|row| row.get(0));
    // Its shards are to be shared among who is there when they are free, which is up to a lease after it was heard of.
    let length = millis((member.lease / 2).max(HEARD_OF_MIN));
    let asked = connection.ask(ANNOUNCE, &[&member.name, &member.address, &length], now() + ANSWER_WITHIN);
    asked.map(|_| found).map_err(failed("be a node of"))
}

pub(super) fn leave(connection: &mut Connection, member: &Member) -> Result<(), StoreError> {
    connection.ask(LEAVE, &[&member.name], now() + ANSWER_WITHIN).map(drop).map_err(failed("leave"))
}

pub(super) fn look(connection: &mut Connection) -> Result<View, StoreError> {
    let deadline = now() + ANSWER_WITHIN;
    let shards = connection.ask(SHARDS, &[], deadline).map_err(failed("look at"))?;
    let shards = shards.iter().map(|row| {
        let left = u64::try_from(row.get::<_, i64>(5)).unwrap_or(0);
        let owner = (left > 0).then(|| Node { name: row.get(3), address: row.get(4) });
        Owned {
            shard: u32::try_from(row.get::<_, i64>(0)).unwrap_or(u32::MAX),
            epoch: row.get::<_, i64>(1).cast_unsigned(),
            sequence: row.get::<_, i64>(2).cast_unsigned(),
            owner,
            left,
        }
    });
    let shards = shards.collect();
    let nodes = connection.ask(NODES, &[], deadline).map_err(failed("look at"))?;
    let nodes = nodes.iter().map(|row| Node { name: row.get(0), address: row.get(1) }).collect();
    Ok(View { shards, nodes })
}

pub(super) fn secret(connection: &mut Connection) -> Result<Vec<u8>, StoreError> {
    let rows = connection.ask(SECRET, &[], now() + ANSWER_WITHIN).map_err(failed("read the secret of"))?;
    rows.first().map(|row| row.get(0)).ok_or_else(|| StoreError::Postgres {
        doing: "read the secret of",
        reason: "it has none; `dwell migrate` makes one".to_owned(),
    })
}
