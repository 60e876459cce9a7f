//! Rows of a store that go apart into shards, and come together again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::ops::ControlFlow;

use dwell::machine;
use dwell::model::{
    Action, Policy, Record, RecordId, Runtime, Slot, Submission, Time, Trigger, TriggerId, Work,
};
use dwell::store::transfer::{Placing, Whole, Writing, is_empty, is_unfinished, serve};
use dwell::store::{Backend, Batch, Memory, Stored as _, Tally, keys};

fn record(n: u128, org: &str) -> Record {
    let work = Work::of(Action::Command { argv: vec!["true".to_owned()], cwd: None });
    let submission = Submission { org: org.into(), ..Submission::of(RecordId::session(n), "r".into(), work) };
    machine::admit(submission, 0, Time::ZERO, &Policy::default()).0
}

/// A store of before ids had slots: 64 records of 8 orgs, what belongs to them, and what belongs to none.
fn old() -> Memory {
    let (mut store, mut batch) = (Memory::new(), Batch::default());
    for n in 0..64_u128 {
        let record = record(n << 16 | n, &format!("org{}", n % 8));
        batch.put(keys::live(record.id), record.encode());
        batch.put(keys::work(record.id), vec![1]);
        batch.put(keys::name(&record.org, "e", &n.to_string()), record.id.encode());
        let trigger = TriggerId(n << 16 | (n + 1));
        let row = Trigger {
            id: trigger,
            at: Time::ZERO,
            source: "s".into(),
            kind: "s".into(),
            event: "e".to_owned(),
            action: None,
            dedup: None,
            org: "default".into(),
            env: "e".into(),
            payload: Vec::new(),
            replay_of: None,
            runs: vec![record.id],
        };
        batch.put(keys::trigger(trigger), row.encode());
        batch.put(keys::delivery("s", &n.to_string()), trigger.encode());
    }
    batch.put(keys::runtime("r"), Runtime::open("r".into()).encode());
    batch.put(
        keys::meta("tally"),
        Tally { admitted: 70, completed: 6, attempts_started: 9, ..Tally::default() }.encode(),
    );
    batch.put(keys::notice("a", "b", "c"), vec![1]);
    store.commit(batch).unwrap();
    store
}

#[test]
fn rows_that_were_placed_among_shards_are_the_same_again_and_each_is_with_its_record() {
    let from = Whole::of(vec![Box::new(old())]);
    let mut placing = Placing::among(5);
    let mut see = |key: &[u8], value: &[u8]| {
        placing.see(key, value).unwrap();
        ControlFlow::Continue(())
    };
    from.each(&mut see).unwrap();
    let shards: Vec<Memory> = (0..5).map(|_| Memory::new()).collect();
    assert!(shards.iter().all(|shard| is_empty(shard).unwrap()));
    let mut writing = Writing::begin(shards).unwrap();
    from.each(&mut |key, value| {
        writing.put(&placing, key, value).unwrap();
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut shards = writing.finish(&placing).unwrap();
    for shard in &mut shards {
        assert!(!is_empty(shard).unwrap() && is_unfinished(shard).unwrap(), "nobody has looked at it yet");
        serve(shard).unwrap();
        assert!(!is_unfinished(shard).unwrap());
    }
    for (number, shard) in shards.iter().enumerate() {
        for n in 0..64_u128 {
            let (id, trigger) = (RecordId::session(n << 16 | n), TriggerId(n << 16 | (n + 1)));
            let org = format!("org{}", n % 8);
            let here = Slot::of(&org).shard(5) as usize == number;
            for key in [
                keys::live(id),
                keys::work(id),
                keys::name(&org, "e", &n.to_string()),
                keys::trigger(trigger),
                keys::delivery("s", &n.to_string()),
            ] {
                assert_eq!(shard.get(&key).unwrap().is_some(), here, "{}", keys::words(&key));
            }
        }
        assert!(shard.get(&keys::runtime("r")).unwrap().is_some());
        assert_eq!(shard.get(&keys::notice("a", "b", "c")).unwrap().is_some(), number == 0);
    }
    let back = Whole::of(shards.into_iter().map(|shard| Box::new(shard) as Box<dyn Backend>).collect());
    let (there, here) = (from.digest().unwrap(), back.digest().unwrap());
    assert_eq!((here.rows, here.hex()), (there.rows, there.hex()));
    assert_eq!(there.rows, 64 * 5 + 3);
}
