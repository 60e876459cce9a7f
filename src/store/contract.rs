//! What every backend keeps, as one suite.

use super::{Backend, Batch, Direction, Pair, StoreError};

use Direction::{Ascending, Descending};

fn batch(writes: &[(&str, Option<&str>)], events: &[&str]) -> Batch {
    let bytes = |text: &&str| text.as_bytes().to_vec();
    Batch {
        writes: writes.iter().map(|(key, value)| (bytes(key), value.as_ref().map(bytes))).collect(),
        events: events.iter().map(bytes).collect(),
    }
}

fn scan(backend: &dyn Backend, from: &str, to: &str, direction: Direction, limit: usize) -> String {
    let text = |(key, value): Pair| [key, value].map(|bytes| String::from_utf8(bytes).unwrap()).join("=");
    let pairs = backend.scan(from.as_bytes(), to.as_bytes(), direction, limit).unwrap();
    pairs.into_iter().map(text).collect::<Vec<_>>().join(" ")
}

fn events(backend: &dyn Backend, after: u64, limit: usize) -> String {
    let events = backend.history().read(after, limit).unwrap();
    let text = |(sequence, event)| format!("{sequence}:{}", String::from_utf8(event).unwrap());
    events.into_iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Runs the suite. `open` opens one and the same store, empty at first; the one before is closed by then.
pub(super) fn check(mut open: impl FnMut() -> Box<dyn Backend>) {
    let mut store = open();
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(scan(&*store, "", "~", Ascending, 10), "");
    assert_eq!(events(&*store, 0, 10), "");
    assert_eq!((store.history().oldest().unwrap(), store.history().newest()), (1, 0));

    let first = [
        ("b", Some("1")),
        ("a", Some("0")),
        ("a", Some("1")),
        ("c", Some("1")),
        ("x", Some("0")),
        ("x", None),
    ];
    store.commit(batch(&first, &["made a", "made b"])).unwrap();
    store.commit(batch(&[("b", None), ("c", Some("2")), ("bb", Some("2"))], &[])).unwrap();
    store.commit(batch(&[], &["third"])).unwrap();
    store.commit(batch(&[("absent", None), ("", Some("empty"))], &["fourth", "4b"])).unwrap();
    check_contents(&*store);

    drop(store);
    let mut store = open();
    check_contents(&*store);
    store.commit(batch(&[("a", Some("5")), ("c", None)], &["fifth"])).unwrap();
    assert_eq!(scan(&*store, "a", "d", Ascending, 10), "a=5 bb=2");
    assert_eq!(events(&*store, 4, 10), "5:fifth");
    check_many(&mut *store);
    drop(store);
    check_large(&mut open);
    check_begun(&mut *open());
}

fn check_contents(store: &dyn Backend) {
    assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()), "a later write of a key wins");
    assert_eq!(store.get(b"b").unwrap(), None);
    assert_eq!(store.get(b"").unwrap(), Some(b"empty".to_vec()));
    assert_eq!(scan(store, "a", "z", Ascending, 10), "a=1 bb=2 c=2");
    assert_eq!(scan(store, "a", "z", Descending, 10), "c=2 bb=2 a=1");
    assert_eq!(scan(store, "a", "c", Ascending, 10), "a=1 bb=2", "the end of a range is not in it");
    assert_eq!(scan(store, "", "z", Ascending, 2), "=empty a=1");
    assert_eq!(scan(store, "a", "z", Descending, 1), "c=2");
    assert_eq!(scan(store, "a", "z", Descending, 0), "");
    assert_eq!(scan(store, "b", "b", Ascending, 10), "");
    assert_eq!(scan(store, "z", "a", Descending, 10), "");
    assert_eq!(events(store, 0, 10), "1:made a 1:made b 3:third 4:fourth 4:4b");
    assert_eq!(events(store, 0, 1), "1:made a 1:made b", "commits come whole");
    assert_eq!(events(store, 1, 2), "3:third 4:fourth 4:4b");
    assert_eq!(events(store, 3, 10), "4:fourth 4:4b");
    assert_eq!(events(store, 4, 10), "");
    assert_eq!(events(store, 400, 10), "");
    let history = store.history();
    assert_eq!((history.oldest().unwrap(), history.newest()), (1, 4));
}

/// More than one batch of anything, deleted in part; compared with what it must be after every commit.
fn check_many(store: &mut dyn Backend) {
    let key = |n: u32| [b"n", &n.to_be_bytes()[..]].concat();
    for round in 0..12_u32 {
        let mut batch = Batch::default();
        for n in 0..100 {
            if (n + round) % 3 == 0 {
                batch.delete(key(n));
            } else {
                batch.put(key(n), round.to_be_bytes().to_vec());
            }
        }
        store.commit(batch).unwrap();
        let expected: Vec<Pair> = (0..100)
            .filter(|n| (n + round) % 3 != 0)
            .map(|n| (key(n), round.to_be_bytes().to_vec()))
            .collect();
        assert_eq!(store.scan(b"n", b"o", Ascending, 1000).unwrap(), expected, "round {round}");
        let mut reversed = store.scan(b"n", b"o", Descending, 1000).unwrap();
        reversed.reverse();
        assert_eq!(reversed, expected, "round {round}");
        assert_eq!(
            store.scan(&key(10), &key(90), Ascending, 5).unwrap(),
            expected_between(&expected, &key(10), 5)
        );
    }
}

fn expected_between(expected: &[Pair], from: &[u8], limit: usize) -> Vec<Pair> {
    expected.iter().filter(|(key, _)| key.as_slice() >= from).take(limit).cloned().collect()
}

/// The largest payload there is: 25 MiB, as value and as event.
fn check_large(open: &mut impl FnMut() -> Box<dyn Backend>) {
    let large: Vec<u8> = (0..25 * 1024 * 1024_u32).map(|n| n.to_be_bytes()[1] ^ n.to_be_bytes()[3]).collect();
    let mut store = open();
    let mut batch = Batch::default();
    batch.put(b"large".to_vec(), large.clone());
    batch.event(large.clone());
    store.commit(batch).unwrap();
    store.commit(Batch { writes: vec![(b"small".to_vec(), Some(Vec::new()))], ..Batch::default() }).unwrap();
    drop(store);
    let store = open();
    assert!(store.get(b"large").unwrap().as_ref() == Some(&large));
    assert_eq!(store.get(b"small").unwrap(), Some(Vec::new()));
    let events = store.history().read(5, 10).unwrap();
    assert!(events.len() == 1 && events[0].1 == large);
}

/// After `fail` made a commit fail, the same backend takes no other.
pub(super) fn check_failure(mut store: impl Backend, fail: impl FnOnce()) {
    let one = batch(&[("k", Some("v"))], &[]);
    store.commit(one.clone()).unwrap();
    fail();
    store.commit(one.clone()).unwrap_err();
    assert!(matches!(store.commit(one), Err(StoreError::Poisoned)));
}

fn check_begun(store: &mut dyn Backend) {
    let newest = store.history().newest();
    store.begin(batch(&[("begun", Some("1"))], &["one"])).unwrap();
    assert_eq!(store.get(b"begun").unwrap(), Some(b"1".to_vec()), "what was begun is read");
    store.begin(batch(&[("begun", Some("2"))], &["two"])).unwrap();
    assert_eq!(store.get(b"begun").unwrap(), Some(b"2".to_vec()));
    store.landed(1).unwrap();
    assert!(store.history().newest() > newest, "the first has landed");
    store.landed(0).unwrap();
    let (one, two) = (newest + 1, newest + 2);
    assert_eq!(events(store, newest, 10), format!("{one}:one {two}:two"));
    store.landed(0).unwrap();
    store.begin(batch(&[("begun", Some("3"))], &["three"])).unwrap();
    store.commit(batch(&[("begun", None)], &["four"])).unwrap();
    assert_eq!(store.get(b"begun").unwrap(), None);
    assert_eq!(store.history().newest(), newest + 4, "a commit waits for what was begun");
}
