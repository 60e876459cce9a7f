-- What a store in PostgreSQL holds. Every number is an int8 and every moment milliseconds since 1970 by the server's clock,
-- so that the same statements run on what speaks PostgreSQL's protocol besides.

-- One row: which of these files has been run last, and into how many shards the store is cut, for good.
create table dwell_meta (
    format int8 not null primary key,
    shards int8 not null
);

-- One row for each shard: who owns it, and how far its commits reach.
create table dwell_shard (
    shard int8 not null primary key,
    -- Grows with each owner. A commit names its owner's, and changes nothing once there is a later one.
    epoch int8 not null,
    -- The latest commit.
    sequence int8 not null,
    -- The oldest commit whose events are kept, or would be if it had any.
    oldest int8 not null,
    node text not null,
    -- Where the other nodes reach it.
    address text not null,
    -- The shard is free from then on.
    expires_at int8 not null
);

-- The rows of `schema/keys.md`.
create table dwell_kv (
    shard int8 not null,
    key bytea not null,
    value bytea not null,
    primary key (shard, key)
);

-- The events of each commit that has any, each behind its length in four bytes.
create table dwell_history (
    shard int8 not null,
    sequence int8 not null,
    at int8 not null,
    events bytea not null,
    primary key (shard, sequence)
);
