//! A commit written down in a file of its own: its sequence (8 bytes) and the CRC-32C of that (4).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{failed, replace};
use crate::store::StoreError;

/// The file that holds a commit known to be acknowledged. It is not the newest: it is written when a segment begins and
/// when the store is opened and closed. A journal that ends before it did not lose a torn commit.
pub(super) fn acknowledged(dir: &Path) -> PathBuf {
    dir.join("acknowledged")
}

pub(super) fn write(path: &Path, sequence: u64) -> Result<(), StoreError> {
    let sequence = sequence.to_be_bytes();
    replace(path, &[&sequence[..], &crc32c::crc32c(&sequence).to_be_bytes()].concat())
}

/// The commit; 0 if there is no such file.
pub(super) fn read(path: &Path) -> Result<u64, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let good = bytes
        .split_first_chunk()
        .filter(|(sequence, checksum)| crc32c::crc32c(&sequence[..]).to_be_bytes() == **checksum);
    let Some((sequence, _)) = good else {
        let reason = "it is not a sequence and its checksum".to_owned();
        return Err(StoreError::Corrupt { file: path.to_owned(), offset: 0, reason });
    };
    Ok(u64::from_be_bytes(*sequence))
}
