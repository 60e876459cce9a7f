//! sled takes a damaged byte for the torn end of its log and shows less without a word. A store does not: it opens
//! whole, or it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use dwell::store::local::Options;
use dwell::store::{Backend as _, Batch, Direction, Local, StoreError};

/// Set in the process that opens the damaged store; sled's own threads may panic there.
const STORE: &str = "DWELL_TEST_STORE";

const COMMITS: u32 = 300;
const VALUE_BYTES: usize = 5_000;

/// Places a byte is flipped at, and lengths the file is cut to; spread over all of it.
const SAMPLES: usize = 24;

/// Checkpoints every few commits; the values fill several of sled's segments.
fn options() -> Options {
    Options {
        segment_bytes: 64 * 1024,
        checkpoint_bytes: 20_000,
        overlay_bytes_max: 50_000,
        ..Options::default()
    }
}

#[test]
fn a_damaged_table_is_refused_or_whole_and_never_less() {
    if let Some(dir) = std::env::var_os(STORE) {
        return describe(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    fill(&whole);
    let bytes = fs::read(whole.join("table/db")).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();

    let mut refused = 0;
    for sample in 0..SAMPLES {
        let at = used * sample / SAMPLES;
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        for (kind, damaged) in [("flipped", flipped.as_slice()), ("cut", &bytes[..at])] {
            let store = dir.path().join(format!("{kind}-{at}"));
            assert!(Command::new("cp").arg("-r").args([&whole, &store]).status().unwrap().success());
            fs::write(store.join("table/db"), damaged).unwrap();
            let described = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_damaged_table_is_refused_or_whole_and_never_less", "--nocapture"])
                .env(STORE, &store)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&described.stdout);
            let outcome = text.lines().find(|line| line.starts_with("outcome"));
            match outcome {
                Some("outcome: whole") => {}
                Some("outcome: refused") => refused += 1,
                Some(_) | None => panic!("{kind} at {at}: {described:?}"),
            }
        }
    }
    assert!(refused > SAMPLES, "only {refused} samples of {} did any harm", 2 * SAMPLES);
}

fn fill(dir: &Path) {
    let mut store = Local::open(dir, options()).unwrap();
    for n in 0..COMMITS {
        let mut batch = Batch::default();
        batch.put(key(n), value(n));
        store.commit(&batch).unwrap();
    }
}

fn key(n: u32) -> Vec<u8> {
    [b"k", &n.to_be_bytes()[..]].concat()
}

fn value(n: u32) -> Vec<u8> {
    n.to_be_bytes().repeat(VALUE_BYTES / 4)
}

fn describe(dir: &Path) {
    let rows = Local::open(dir, options()).and_then(|mut store| {
        store.verified()?;
        store.scan(b"k", b"l", Direction::Ascending, usize::MAX)
    });
    let expected: Vec<_> = (0..COMMITS).map(|n| (key(n), value(n))).collect();
    let outcome = match rows {
        Ok(rows) if rows == expected => "whole".to_owned(),
        Ok(rows) => format!("{} rows", rows.len()),
        Err(StoreError::Table { .. }) => "refused".to_owned(),
        Err(error) => error.to_string(),
    };
    std::io::stdout().write_all(format!("\noutcome: {outcome}\n").as_bytes()).unwrap();
}
