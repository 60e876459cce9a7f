//! The file `format`: which version of the store's files this is, and the seed of its checksums.

use std::fs;
use std::io;
use std::path::Path;

use super::files::{failed, replace};
use crate::store::StoreError;

/// What this build writes, and the newest it reads. 1: each row of the table has a value of its own. A table without packs
/// is one of 2 as well, so nothing is rewritten; but whoever writes to a table has raised the format first.
const FORMAT: u32 = 2;

/// Reads the seed of the store in `dir`; a new store gets one. A newer format is refused, an older one stays.
///
/// Every frame's checksum starts from the seed, so bytes that were not written as a frame of this very store (a
/// payload that looks like one, a segment of another store) are not taken for one.
pub(super) fn seed(dir: &Path) -> Result<u32, StoreError> {
    let path = dir.join("format");
    if let Some((_, seed)) = both(&path)? {
        return Ok(seed);
    }
    if let Some(left) = left(dir) {
        let reason = format!("it is missing, but {left} is there");
        return Err(StoreError::Corrupt { file: path, offset: 0, reason });
    }
    let (seed, ..) = uuid::Uuid::new_v4().as_fields();
    replace(&path, text(FORMAT, seed).as_bytes())?;
    Ok(seed)
}

/// Makes an older format this build's: from here on an older build refuses the store.
pub(super) fn raise(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("format");
    match both(&path)? {
        Some((format, seed)) if format < FORMAT => replace(&path, text(FORMAT, seed).as_bytes()),
        Some(_) | None => Ok(()),
    }
}

/// What of a store is in `dir` beside its format.
pub(super) fn left(dir: &Path) -> Option<&'static str> {
    ["journal", "table", "checkpoint"].into_iter().find(|left| dir.join(left).exists())
}

/// The seed of the store in `dir`; `None` if there is no such file.
pub(super) fn read(dir: &Path) -> Result<Option<u32>, StoreError> {
    Ok(both(&dir.join("format"))?.map(|(_, seed)| seed))
}

/// The format that the file says, and the seed.
fn both(path: &Path) -> Result<Option<(u32, u32)>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => parse(path, &String::from_utf8_lossy(&bytes)).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn text(format: u32, seed: u32) -> String {
    let words = format!("dwell {format} {seed:08x}");
    format!("{words} {:08x}\n", crc32c::crc32c(words.as_bytes()))
}

fn parse(path: &Path, found: &str) -> Result<(u32, u32), StoreError> {
    let corrupt = || {
        let reason =
            format!("{:?} is not `dwell <format> <seed> <checksum>`", found.get(..40).unwrap_or(found));
        StoreError::Corrupt { file: path.to_owned(), offset: 0, reason }
    };
    let mut words = found.split_whitespace();
    let (Some("dwell"), Some(format)) = (words.next(), words.next()) else { return Err(corrupt()) };
    let format: u32 = format.parse().map_err(|_| corrupt())?;
    if format > FORMAT {
        return Err(StoreError::Format { file: path.to_owned(), found: format, newest: FORMAT });
    }
    let seed = words.next().and_then(|seed| u32::from_str_radix(seed, 16).ok()).ok_or_else(corrupt)?;
    if found == text(format, seed) { Ok((format, seed)) } else { Err(corrupt()) }
}
