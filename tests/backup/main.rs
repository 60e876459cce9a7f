//! Backup and restore: what comes back is the state at one commit, or nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod commands;
mod load;
mod moments;
#[path = "../common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use dwell::store::backup::{self, About, Part};
use dwell::store::local::restore;

/// All keys of a store with their values.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(rows: &mut Rows, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => rows.insert(key.to_vec(), value.to_vec()),
        None => rows.remove(key),
    };
}

/// What a backup restores to, and what it says of itself.
fn unpacked(mut file: &[u8]) -> (Rows, About) {
    let mut rows = Rows::new();
    let about = backup::read(&mut file, &mut |part| {
        match part {
            Part::Begin { .. } => {}
            Part::Row(key, value) => write(&mut rows, key, Some(value)),
            Part::Commit(_, frame) => {
                assert!(restore::writes(frame, |key, value| write(&mut rows, key, value)));
            }
        }
        Ok(())
    })
    .unwrap();
    (rows, about)
}

/// What the commits of these segment files make, up to one of them: read as `schema/keys.md` says, with nothing of dwell.
fn replayed(dirs: &[&Path], upto: u64) -> Rows {
    let mut files = BTreeMap::new();
    for dir in dirs {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                files.insert(path.file_name().unwrap().to_owned(), path);
            }
        }
    }
    let (mut rows, mut next) = (Rows::new(), 1);
    for path in files.values() {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        while rest.len() >= 16 && rest[..16] != [0; 16] {
            let length = number(&mut rest);
            let (header, after) = rest.split_at(12);
            let sequence = u64::from_be_bytes(header[4..].try_into().unwrap());
            let (mut body, after) = after.split_at(length);
            rest = after;
            if sequence > upto {
                return rows;
            }
            assert_eq!(sequence, next, "in {}", path.display());
            next += 1;
            assert_eq!(body[0], 1);
            body = &body[1..];
            for _ in 0..number(&mut body) {
                let key = text(&mut body);
                let kept = body[0] == 1;
                body = &body[1..];
                let value = kept.then(|| text(&mut body));
                write(&mut rows, key, value);
            }
        }
    }
    assert_eq!(next, upto + 1, "the segments end before commit {upto}");
    rows
}

fn number(rest: &mut &[u8]) -> usize {
    let (number, left) = rest.split_at(4);
    *rest = left;
    u32::from_be_bytes(number.try_into().unwrap()) as usize
}

fn text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = number(rest);
    let (text, left) = rest.split_at(length);
    *rest = left;
    text
}

/// The differences of two stores, in words short enough to read.
fn differences(found: &Rows, expected: &Rows) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differ = keys.into_iter().filter(|key| found.get(*key) != expected.get(*key));
    differ.map(|key| String::from_utf8_lossy(key).into_owned()).take(10).collect()
}
