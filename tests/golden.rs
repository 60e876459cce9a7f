//! Nothing is on disk that has no golden file: every kind of key, every version of every value, and what stands beside
//! them in a store. `schema/keys.md` says how to add one; `tests/format.rs` holds the values themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/golden.rs"]
mod golden;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dwell::model::*;
use dwell::store::local::Options;
use dwell::store::{
    Backend as _, Batch, Debounced, Direction, KeptAnswer, Local, ScheduleRow, StoreError, Stored, Tally,
    Told, keys,
};
use golden::{frozen, hex, path};

/// A version that no build will write.
const NEWER: u8 = 200;

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store").join(file)
}

/// The kinds of keys as the source names them: the byte, and the second bytes of a kind that has several.
fn kinds() -> BTreeMap<char, Vec<u8>> {
    let text = fs::read_to_string(source("keys.rs")).unwrap();
    let constants: Vec<(&str, &str)> = (text.lines())
        .filter_map(|line| line.strip_prefix("const ")?.strip_suffix(';')?.split_once(": u8 = "))
        .collect();
    let mut kinds = BTreeMap::new();
    let bytes =
        constants.iter().filter_map(|(name, value)| Some((name, value.strip_prefix("b'")?.chars().next()?)));
    for (name, kind) in bytes {
        let below = constants.iter().filter(|(other, _)| other.starts_with(name));
        kinds.insert(kind, below.filter_map(|(_, value)| value.parse().ok()).collect());
    }
    kinds
}

#[test]
fn every_kind_of_key_is_frozen_and_written_down() {
    let kinds = kinds();
    assert!(kinds.len() >= 15, "{kinds:?}");
    let mut files = BTreeSet::new();
    let layouts = fs::read_to_string(path("../keys.md")).unwrap();
    for (kind, below) in &kinds {
        assert!(layouts.contains(&format!("\n| `{kind}` |")), "schema/keys.md has no row for {kind:?}");
        files.extend(below.iter().map(|second| format!("key-{kind}{second}.hex")));
        if below.is_empty() {
            files.insert(format!("key-{kind}.hex"));
        }
    }
    let there =
        fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<String> = there.filter(|file| file.starts_with("key-")).collect();
    assert_eq!(there, files);
}

/// The newest version of a value, as it says itself when it refuses a newer one; which it does by its own name.
fn newest<T: Stored>(name: &str) -> u8 {
    let Err(error) = T::decode(&[NEWER]) else { panic!("{name} takes version {NEWER}") };
    let StoreError::Version { what, found: NEWER, newest } = error else { panic!("{name}: {error}") };
    assert_eq!(
        error.to_string(),
        format!("{what} has layout version {NEWER}: this build reads up to {newest}")
    );
    newest
}

#[test]
fn every_version_of_every_value_is_frozen_and_a_newer_one_is_refused_by_name() {
    // The type, how one of its golden files is called, and its newest version.
    let values = [
        ("Record", "record-bare", newest::<Record>("Record")),
        ("Work", "work-command", newest::<Work>("Work")),
        ("Runtime", "runtime-open", newest::<Runtime>("Runtime")),
        ("Drain", "drain", newest::<Drain>("Drain")),
        ("Trigger", "trigger", newest::<Trigger>("Trigger")),
        ("Transition", "transition", newest::<Transition>("Transition")),
        ("Told", "told", newest::<Told>("Told")),
        ("Tally", "tally", newest::<Tally>("Tally")),
        ("RecordId", "record-id", newest::<RecordId>("RecordId")),
        ("TriggerId", "trigger-id", newest::<TriggerId>("TriggerId")),
        ("Time", "time", newest::<Time>("Time")),
        ("u64", "number", newest::<u64>("u64")),
        ("Mode", "mode-live", newest::<Mode>("Mode")),
        ("Standing", "standing", newest::<Standing>("Standing")),
        ("Redrive", "redrive", newest::<Redrive>("Redrive")),
        ("Notice", "notice", newest::<Notice>("Notice")),
        ("KeptAnswer", "answer", newest::<KeptAnswer>("KeptAnswer")),
        ("ScheduleRow", "schedule", newest::<ScheduleRow>("ScheduleRow")),
        ("Debounced", "debounced", newest::<Debounced>("Debounced")),
    ];
    for (name, file, newest) in values {
        for version in 1..=newest {
            let file = format!("{file}.{version}.hex");
            assert!(path(&file).exists(), "{name} has no {file}");
        }
    }
    let codec = fs::read_dir(source("codec")).unwrap();
    let text: String = codec.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let implied = text.lines().filter_map(|line| line.strip_prefix("impl Stored for ")?.strip_suffix(" {"));
    assert_eq!(implied.collect::<BTreeSet<_>>(), values.map(|(name, ..)| name).into());
}

/// Rows of two kinds, in the first of two commits; a checkpoint brings both into the table.
fn store_with_a_checkpoint(dir: &Path) {
    fs::write(dir.join("format"), "dwell 1 0000beef f2b99fc4\n").unwrap();
    let options = Options { checkpoint_bytes: 1, ..Options::default() };
    let mut store = Local::open(dir, options).unwrap();
    // What is verified first is no checkpoint, and one at a time is under way.
    store.verified().unwrap();
    let mut first = Batch::default();
    first.put(keys::live(RecordId::session(7)), b"one".to_vec());
    first.put(keys::meta("tally"), b"two".to_vec());
    store.commit(first).unwrap();
    store.verified().unwrap();
    let mut second = Batch::default();
    second.put(keys::live(RecordId::session(7)), b"three".to_vec());
    second.put(keys::live(RecordId::session(8)), b"four".to_vec());
    store.commit(second).unwrap();
    store.verified().unwrap();
}

#[test]
fn what_stands_beside_the_rows_is_written_as_frozen() {
    let dir = tempfile::tempdir().unwrap();
    store_with_a_checkpoint(dir.path());
    for file in ["checkpoint", "acknowledged"] {
        let mark = fs::read(dir.path().join(file)).unwrap();
        assert_eq!(hex(&mark), hex(&frozen(&format!("{file}-1.hex"), &mark)));
    }

    let table = sled::Config::new().path(dir.path().join("table")).open().unwrap();
    let contents = table.get("contents").unwrap().unwrap();
    assert_eq!(hex(&contents), hex(&frozen("contents-1.hex", &contents)));
    let seal = table.open_tree("r").unwrap().get([!b'r']).unwrap().unwrap();
    assert_eq!(hex(&seal), hex(&frozen("seal-1.hex", &seal)));
}

/// Rows of a kind that comes and goes in order: two that share a pack, one that is too large for one, and one behind it.
#[test]
fn rows_are_packed_as_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { checkpoint_bytes: 1, ..Options::default() };
    let mut store = Local::open(dir.path(), options()).unwrap();
    store.verified().unwrap();
    let rows = [(7, b"one".to_vec()), (8, b"".to_vec()), (9, vec![1; 1_024]), (10, vec![0; 3])]
        .map(|(n, value)| (keys::work(RecordId::session(n)), value));
    let mut batch = Batch::default();
    for (key, value) in &rows {
        batch.put(key.clone(), value.clone());
    }
    store.commit(batch).unwrap();
    store.verified().unwrap();
    drop(store);

    let table = sled::Config::new().path(dir.path().join("table")).open().unwrap();
    let tree = table.open_tree("p").unwrap();
    let value = |n| tree.get(keys::work(RecordId::session(n))).unwrap().map(|value| value.to_vec());
    let pack = value(7).unwrap();
    assert_eq!(hex(&pack), hex(&frozen("pack-1.hex", &pack)));
    assert_eq!([8, 9].map(value), [None, Some(vec![1; 1_024])]);
    let alone = value(10).unwrap();
    assert_eq!(hex(&alone), hex(&frozen("pack-1-of-one.hex", &alone)), "or it would be taken for a pack");
    drop((tree, table));

    let store = Local::open(dir.path(), options()).unwrap();
    let (from, to) = keys::all_work();
    assert_eq!(store.scan(&from, &to, Direction::Ascending, 10).unwrap(), rows);
}

#[test]
fn a_new_store_says_its_format_and_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    drop(Local::open(dir.path(), Options::default()).unwrap());
    let format = fs::read_to_string(dir.path().join("format")).unwrap();
    let words: Vec<&str> = format.split(' ').collect();
    let ["dwell", "2", seed, checksum] = words[..] else { panic!("{format:?}") };
    assert_eq!(seed.len(), 8);
    assert_eq!(checksum, format!("{:08x}\n", crc32c::crc32c(format!("dwell 2 {seed}").as_bytes())));
}
