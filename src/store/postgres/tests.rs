//! On a real server, started here. Where its programs are not installed, each test says on stderr that it was skipped.

use std::sync::mpsc;
use std::time::Duration;

use super::connection::Connection;
use super::*;
use crate::fixture::{Postgres, Stop};
use crate::store::{Backend, Batch, contract};

/// Longer than a test, so that nothing is renewed but where it says so.
const LEASE: Duration = Duration::from_mins(10);

fn started() -> Option<Postgres> {
    Postgres::start_or_skip(None).unwrap()
}

fn server(postgres: &Postgres) -> Server {
    Server::of(&postgres.url("postgres"), None, None).unwrap()
}

fn member(name: &str, lease: Duration) -> Member {
    Member {
        name: name.to_owned(),
        address: format!("http://{name}:7070"),
        lease,
        history_age_max: Duration::from_hours(24),
    }
}

fn open(postgres: &Postgres, name: &str) -> Shards {
    Shards::open(server(postgres), member(name, LEASE), Box::new(drop)).unwrap()
}

fn batch(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(key.into(), value.into());
    batch.event(value.into());
    batch
}

/// What somebody does to the database behind dwell's back.
fn script(postgres: &Postgres, script: &str) {
    Connection::to(&server(postgres)).unwrap().script(script, now() + LEASE).unwrap();
}

#[test]
fn a_shard_keeps_the_contract_and_shares_nothing_with_the_next() {
    let Some(postgres) = started() else { return };
    assert_eq!(migrate(&server(&postgres), 4).unwrap(), (0, 4));
    let shards = open(&postgres, "one");
    assert_eq!(shards.count(), 4);
    let mut other = shards.take(1).unwrap().unwrap();
    other.commit(batch("a", "other")).unwrap();
    contract::check(|| {
        script(&postgres, "update dwell_shard set expires_at = 0 where shard = 0");
        Box::new(shards.take(0).unwrap().unwrap())
    });
    contract::check_failure(shards.take(2).unwrap().unwrap(), || {
        script(&postgres, "update dwell_shard set epoch = epoch + 1 where shard = 2");
    });
    assert_eq!(other.get(b"a").unwrap(), Some(b"other".to_vec()));
    assert_eq!((other.history().newest(), other.history().read(0, 9).unwrap().len()), (1, 1));
    assert!(shards.take(1).unwrap().is_none(), "it has an owner");
}

#[test]
fn who_lost_a_shard_writes_nothing_and_answers_nothing() {
    let Some(postgres) = started() else { return };
    migrate(&server(&postgres), 1).unwrap();
    let (one, two) = (open(&postgres, "one"), open(&postgres, "two"));
    let mut old = one.take(0).unwrap().unwrap();
    old.commit(batch("a", "1")).unwrap();
    assert!(two.take(0).unwrap().is_none());
    // As if it had been silent for as long as its lease.
    script(&postgres, "update dwell_shard set expires_at = 0");
    let mut new = two.take(0).unwrap().unwrap();
    assert!(new.epoch() > old.epoch());
    old.landed(0).unwrap();
    assert!(matches!(old.commit(batch("a", "late")), Err(StoreError::Fenced { shard: 0 })));
    assert!(matches!(old.landed(0), Err(StoreError::Fenced { shard: 0 })));
    assert!(matches!(old.get(b"a"), Err(StoreError::Fenced { shard: 0 })));
    assert!(matches!(old.commit(batch("a", "later")), Err(StoreError::Poisoned)));
    one.give_back(0, old.epoch()).unwrap();
    drop(old);
    assert_eq!(new.get(b"a").unwrap(), Some(b"1".to_vec()));
    new.commit(batch("a", "2")).unwrap();
    assert_eq!(new.history().read(0, 9).unwrap(), [(1, b"1".to_vec()), (2, b"2".to_vec())]);
    assert!(one.take(0).unwrap().is_none(), "who lost it gives nothing back");
    let epoch = new.epoch();
    drop(new);
    assert!(one.take(0).unwrap().is_none(), "something of it may be at work yet");
    two.give_back(0, epoch).unwrap();
    assert!(one.take(0).unwrap().is_some(), "who owns it gives it back");
}

#[test]
fn a_commit_that_landed_unheard_is_not_made_again() {
    let Some(postgres) = started() else { return };
    migrate(&server(&postgres), 1).unwrap();
    let shard = open(&postgres, "one").take(0).unwrap().unwrap();
    let lease = Lease::of(0, 1, lease::uptime(), LEASE);
    let mut connection = Connection::to(&server(&postgres)).unwrap();
    commit::commit(&mut connection, &lease, 1, &batch("a", "1")).unwrap();
    commit::commit(&mut connection, &lease, 1, &batch("a", "again")).unwrap();
    assert_eq!(shard.get(b"a").unwrap(), Some(b"1".to_vec()));
    let far = commit::commit(&mut connection, &lease, 3, &batch("a", "3"));
    assert!(matches!(far, Err(StoreError::Fenced { .. })), "a commit is missing before it");
}

#[test]
fn nothing_acknowledged_is_lost_by_a_server_that_crashes_again_and_again() {
    let Some(mut postgres) = started() else { return };
    migrate(&server(&postgres), 1).unwrap();
    let shards = open(&postgres, "one");
    let mut shard = shards.take(0).unwrap().unwrap();
    for round in 0..5 {
        for n in 0..20 {
            shard.commit(batch(&format!("{round}/{n}"), "v")).unwrap();
        }
        let how = if round % 2 == 0 { Stop::Immediate } else { Stop::Fast };
        postgres.restart(how).unwrap();
    }
    assert_eq!(shard.scan(b"", b"~", crate::store::Direction::Ascending, 1_000).unwrap().len(), 100);
    let history = shard.history().read(0, 1_000).unwrap();
    assert!(history.iter().map(|(sequence, _)| *sequence).eq(1..=100));
}

#[test]
fn old_history_goes_and_the_shard_says_from_where_on_it_is_there() {
    let Some(postgres) = started() else { return };
    migrate(&server(&postgres), 1).unwrap();
    let shards = Shards::open(
        server(&postgres),
        Member { history_age_max: Duration::from_hours(1), ..member("one", LEASE) },
        Box::new(drop),
    )
    .unwrap();
    let mut shard = shards.take(0).unwrap().unwrap();
    for n in 1..=300 {
        if n == 200 {
            script(&postgres, "update dwell_history set at = at - 7200000 where sequence <= 150");
        }
        shard.commit(batch("a", &n.to_string())).unwrap();
    }
    let history = shard.history();
    let left: Vec<u64> = history.read(0, 1_000).unwrap().into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!((left, history.oldest().unwrap()), ((151..=300).collect(), 151));
}

#[test]
fn an_idle_owner_notices_that_it_is_cut_off_and_one_with_a_server_stays() {
    let Some(mut postgres) = started() else { return };
    migrate(&server(&postgres), 1).unwrap();
    let short = Duration::from_secs(6);
    let (tell, told) = mpsc::channel();
    let heard = Box::new(move |heard| tell.send(heard).unwrap());
    let shards = Shards::open(server(&postgres), member("one", short), heard).unwrap();
    let mut shard = shards.take(0).unwrap().unwrap();
    let mut until = shard.until();
    for _ in 0..3 {
        let Ok(Heard::Kept(0, later)) = told.recv() else { panic!("it is renewed") };
        assert!(later > until);
        until = later;
    }
    shard.landed(0).unwrap();
    postgres.stop(Stop::Immediate).unwrap();
    let begun = lease::uptime();
    assert_eq!(told.iter().find(|heard| !matches!(heard, Heard::Kept(..))), Some(Heard::Lost(0)));
    assert!(lease::uptime() - begun <= 6_000, "before another could have it");
    assert!(matches!(shard.landed(0), Err(StoreError::Fenced { shard: 0 })));
    assert!(matches!(shard.commit(batch("a", "1")), Err(StoreError::Fenced { shard: 0 })));
    postgres.restart(Stop::Fast).ok();
}

#[test]
fn a_database_without_a_store_or_with_a_newer_one_is_refused_with_what_helps() {
    let Some(postgres) = started() else { return };
    let open = || Shards::open(server(&postgres), member("one", LEASE), Box::new(drop)).err();
    let told = open().unwrap().to_string();
    assert!(told.contains("dwell migrate"), "{told}");
    assert_eq!(migrate(&server(&postgres), 3).unwrap(), (0, 3));
    assert_eq!(migrate(&server(&postgres), 5).unwrap(), (FORMAT, 3), "it is cut for good");
    assert!(open().is_none());
    script(&postgres, "insert into dwell_meta values (99, 3)");
    assert!(matches!(open(), Some(StoreError::Schema { found: 99, newest: FORMAT })));
    assert!(matches!(migrate(&server(&postgres), 3), Err(StoreError::Schema { .. })));
}

#[test]
fn an_address_that_is_none_is_refused_without_a_word_of_its_password() {
    for url in [
        "postgres://u:secret@h:port/db",
        "postgres://u:secret@h/db?sslmode=sometimes",
        "postgres://u:secret@h",
        "postgresql+x://u:secret@h/db?sslmode=require",
    ] {
        let error = Server::of(url, None, None).err().unwrap().to_string();
        assert!(error.starts_with("store.url: ") && !error.contains("secret"), "{error}");
    }
}
