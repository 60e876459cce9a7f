-- One row for each node, as long as it is heard of.
create table dwell_node (
    node text not null primary key,
    -- Where the other nodes reach it.
    address text not null,
    -- It is taken for gone from then on.
    expires_at int8 not null
);

-- What all nodes prove themselves and their attempts with. Whoever reads the database can act as a node.
create table dwell_secret (
    name text not null primary key,
    secret bytea not null
);
