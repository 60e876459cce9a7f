//! The table as a map, and as who reads it beside a checkpoint sees it.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::pack::{PACK_BYTES, Packer};
use super::*;

fn write(table: &Table, changes: &[Change<'_>], verification: Option<&mut Verification>) {
    table.write(&mut changes.iter().copied().peekable(), usize::MAX, verification).unwrap();
}

#[test]
fn a_table_says_how_far_it_is_and_counts_the_batches_of_each_kind() {
    let dir = tempfile::tempdir().unwrap();
    for n in 1..=3_u64 {
        let table = Table::open(dir.path().join("table"), 1 << 20, n - 1).unwrap();
        assert_eq!(table.sequence(), n - 1);
        let value = &n.to_be_bytes()[..];
        write(&table, &[(b"p", Some(value)), (b"ra", Some(value)), (b"rb", None)], None);
        // What changes nothing is no batch.
        write(&table, &[(b"p", Some(value)), (b"px", None)], None);
        table.sync(n).unwrap();
        let batches: Vec<u64> = table.trees().values().map(|tree| tree.seal.batches).collect();
        assert_eq!(batches, [n, n]);
    }
}

/// Writes in every place relative to how far it is: what was read, what is not yet, other kinds, and a new one. No two of
/// the old rows have room in one pack.
#[test]
fn a_verification_goes_on_over_what_is_written_meanwhile_and_finds_what_is_missing() {
    let rows = u32::try_from(VALUES_VERIFIED_AT_ONCE * 3).unwrap();
    let key = |kind: u8, n: u32| [&[kind][..], &n.to_be_bytes()].concat();
    for damaged in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let table = Table::open(dir.path().join("table"), 1 << 20, 0).unwrap();
        for kind in [b'p', b'r'] {
            let keys: Vec<_> = (0..rows).map(|n| key(kind, n)).collect();
            let changes: Vec<Change<'_>> = keys.iter().map(|key| (&key[..], Some(&[7; 600][..]))).collect();
            write(&table, &changes, None);
        }
        if damaged {
            table.trees().get(&b'p').unwrap().lose(&key(b'p', 7));
        }
        let mut verification = table.verification();
        let (mut portions, mut verified) = (0, table.verify(&mut verification));
        while let Ok(false) = verified {
            portions += 1;
            for (kind, n) in [(b'p', portions), (b'r', portions), (b'r', rows - portions), (b'x', portions)] {
                let (changed, gone, fresh) = (key(kind, n), key(kind, n + 100), key(kind, rows + n));
                let changes: [Change<'_>; 3] =
                    [(&changed, Some(b"new")), (&gone, None), (&fresh, Some(b"fresh"))];
                write(&table, &changes, Some(&mut verification));
            }
            verified = table.verify(&mut verification);
        }
        assert!(portions > 4, "it is done in portions");
        let missing = verified.is_err_and(|error| error.to_string().contains("rows of kind 'p' are missing"));
        assert_eq!(missing, damaged);
    }
}

/// Of packed kinds (`f`, `p`) and one that is not, near each other, so that they meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(b"fpr".to_vec()), vec(0..4_u8, 0..4))
        .prop_map(|(kind, rest)| [vec![kind], rest].concat())
}

/// Of all sizes, from nothing to more than a pack holds; some begin as a pack does.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(0..3_u8, 0..40),
        2 => (0..3_u8, 200..PACK_BYTES).prop_map(|(byte, length)| vec![byte; length]),
        1 => (0..3_u8, PACK_BYTES..3 * PACK_BYTES).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_has_the_rows_of_a_map(
        batches in vec((btree_map(key(), option::weighted(0.7, value()), 0..30), 1..20_usize), 1..8),
        ranges in vec((key(), key()), 8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut table = Table::open(dir.path().join("table"), 1 << 20, 0).unwrap();
        let mut rows = BTreeMap::new();
        for (number, (batch, values_max)) in (1..).zip(&batches) {
            let mut changes =
                batch.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).peekable();
            while changes.peek().is_some() {
                table.write(&mut changes, *values_max, None).unwrap();
            }
            for (key, value) in batch {
                match value {
                    Some(value) => rows.insert(key.clone(), value.clone()),
                    None => rows.remove(key),
                };
            }
            if number % 3 == 0 {
                table.sync(number).unwrap();
                drop(table);
                table = Table::open(dir.path().join("table"), 1 << 20, number).unwrap();
            }
            for key in batch.keys() {
                prop_assert_eq!(&table.get(key).unwrap(), &rows.get(key).cloned());
            }
        }
        for (from, to) in &ranges {
            prop_assert_eq!(&table.get(from).unwrap(), &rows.get(from).cloned());
            let mut expected: Vec<Row> = Vec::new();
            if from < to {
                expected.extend(rows.range(from.clone()..to.clone()).map(|(key, value)| (key.clone(), value.clone())));
            }
            let (from, to) = (from.min(to), to);
            let up = table.scan(from, to, Direction::Ascending, |rows| rows.collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(&up, &expected);
            let down = table.scan(from, to, Direction::Descending, |rows| rows.collect::<Vec<_>>()).unwrap();
            expected.reverse();
            prop_assert_eq!(&down, &expected);
        }
        let mut found: Vec<Row> = Vec::new();
        loop {
            let portion = table.portion(found.last().map(|(key, _)| &key[..]), 300).unwrap();
            if portion.is_empty() {
                break;
            }
            found.extend(portion);
        }
        prop_assert_eq!(found, rows.into_iter().collect::<Vec<_>>());
        let mut verification = table.verification();
        while !table.verify(&mut verification).unwrap() {}
    }
}

/// A backup goes through the rows while a checkpoint packs them anew: what does not change it finds, and once.
#[test]
fn who_reads_while_rows_are_packed_finds_what_stays_once() {
    const ROWS: u32 = 600;
    let dir = tempfile::tempdir().unwrap();
    let table = Table::open(dir.path().join("table"), 1 << 20, 0).unwrap();
    let key = |n: u32| [b"p", &n.to_be_bytes()[..]].concat();
    let all: Vec<_> = (0..ROWS).map(key).collect();
    let write_odd = |value: Option<&[u8]>| {
        let some: Vec<Change<'_>> = all.iter().skip(1).step_by(2).map(|key| (&key[..], value)).collect();
        for changes in some.chunks(16) {
            write(&table, changes, None);
        }
    };
    let changes: Vec<Change<'_>> = all.iter().map(|key| (&key[..], Some(&[1; 60][..]))).collect();
    write(&table, &changes, None);
    // Those of even numbers stay.
    let stays = |(key, _): &Row| key.last().unwrap() % 2 == 0;
    let (done, read) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for direction in [Direction::Ascending, Direction::Descending] {
                    let mut found = table
                        .scan(b"p", b"q", direction, |rows| {
                            rows.filter(stays).map(|(key, _)| key).collect::<Vec<_>>()
                        })
                        .unwrap();
                    if direction == Direction::Descending {
                        found.reverse();
                    }
                    let expected: Vec<_> = all.iter().step_by(2).cloned().collect();
                    let lost: Vec<_> = expected.iter().filter(|key| !found.contains(key)).collect();
                    assert!(
                        found == expected,
                        "{direction:?}: {} rows, not {}; without {lost:?}",
                        found.len(),
                        expected.len()
                    );
                }
                read.store(true, Ordering::Relaxed);
            }
        });
        let mut rounds = 0;
        while rounds < 12 || !read.load(Ordering::Relaxed) {
            write_odd(Some(&[2; 400]));
            write_odd(None);
            rounds += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// sled may show a value as it is after a batch behind one as it was before.
#[test]
fn rows_that_moved_to_the_next_value_meanwhile_are_handed_out_once() {
    let pack = |rows: &[&str]| {
        let mut packer = Packer::default();
        for row in rows {
            packer.add((row.as_bytes(), b""));
        }
        let (key, value) = packer.finish().remove(0);
        Ok((key.into(), value.into()))
    };
    let read = |mut values: Vec<_>, direction| {
        if direction == Direction::Descending {
            values.reverse();
        }
        let range = (Bound::Excluded(&b"a"[..]), Bound::Excluded(&b"f"[..]));
        let rows = tree::unpacked(values.into_iter(), range, direction).map(|row| row.unwrap().0);
        String::from_utf8(rows.collect::<Vec<_>>().concat()).unwrap()
    };
    let values = || vec![pack(&["a", "b", "c", "d"]), pack(&["c", "d", "e"]), pack(&["f", "g"])];
    assert_eq!(read(values(), Direction::Ascending), "bcde");
    assert_eq!(read(values(), Direction::Descending), "edcb");
}

/// A page of sled's holds many packs, and a row may be in the last pack of one page with a key that belongs to the next. When
/// its pack has no more room for it, it gets one of its own there, behind the back of who came by that page before.
#[test]
fn who_goes_down_finds_the_rows_that_move_up_meanwhile() {
    const ROWS_PER_PACK: u32 = 9;
    const PACKS: u32 = 200;
    let dir = tempfile::tempdir().unwrap();
    let table = Table::open(dir.path().join("table"), 1 << 20, 0).unwrap();
    let key = |n: u32| [b"p", &n.to_be_bytes()[..]].concat();
    // A pack's rows have even numbers, from this one on.
    let first = |pack: u32| 2 * ROWS_PER_PACK * pack;
    let change = |n: u32, value: Option<&[u8]>| write(&table, &[(&key(n), value)], None);
    let all: Vec<_> = (0..first(PACKS)).step_by(2).map(key).collect();
    let small = [1; 100];
    write(&table, &all.iter().map(|key| (&key[..], Some(&small[..]))).collect::<Vec<_>>(), None);
    for pack in (1..PACKS).step_by(2) {
        (first(pack) - 2..first(pack + 1)).step_by(2).for_each(|n| change(n, None));
        change(first(pack) + 1, Some(&small));
    }
    let found = table.scan(b"p", b"q", Direction::Descending, |rows| {
        let mut found = Vec::new();
        for (row, _) in rows {
            let pack = (2..PACKS).step_by(2).find(|pack| key(first(*pack)) == row);
            if let Some(pack) = pack {
                change(first(pack - 1) - 4, Some(&[1; 900]));
            }
            found.push(row);
        }
        found
    });
    let found = found.unwrap();
    for pack in (1..PACKS).step_by(2) {
        assert!(found.contains(&key(first(pack) + 1)), "the row that was in pack {}", pack - 1);
    }
}
