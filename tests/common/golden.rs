//! The golden files of `schema/golden/`: bytes that were written once, and are never written again.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

/// Set to write the golden files that are not there yet. One that is there is never written.
const WRITE_NEW: &str = "DWELL_GOLDEN_WRITE_NEW";

pub fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema/golden").join(file)
}

/// Sixteen bytes a line, with what is readable beside them.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let plain = line.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' });
        writeln!(text, "{:<47}  {}", hex.join(" "), plain.collect::<String>()).unwrap();
    }
    text
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.lines().flat_map(|line| line.get(..47).unwrap().split_whitespace());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

/// The bytes of a golden file; where it is missing and new ones may be written, it becomes `fresh`.
pub fn frozen(file: &str, fresh: &[u8]) -> Vec<u8> {
    let path = path(file);
    if std::env::var_os(WRITE_NEW).is_some()
        && let Ok(mut new) = fs::File::create_new(&path)
    {
        new.write_all(hex(fresh).as_bytes()).unwrap();
    }
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; {WRITE_NEW}=1 writes new ones", path.display()));
    unhex(&text)
}
