//! Structs to bytes and back. The one file that knows bincode, so that it can be replaced here.
//!
//! A value is its version byte, then the struct of that version: integers as varints, texts and lists behind their
//! length, options behind a 0 or 1, nothing after the end.

use bincode::Options;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

fn options() -> impl Options {
    bincode::DefaultOptions::new()
}

/// As most values are: a record, or a step of its history.
const BYTES_LIKELY: usize = 256;

#[expect(clippy::expect_used, reason = "texts, numbers and lists of known length always encode")]
pub(super) fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES_LIKELY);
    bytes.push(version);
    options().serialize_into(&mut bytes, value).expect("a plain struct encodes");
    bytes
}

/// Reads `body`, which is what stands behind the version byte; `what` is for the message. The limit is the length
/// of what is there, so a lying length inside allocates nothing.
pub(super) fn decode<'a, T: Deserialize<'a>>(what: &'static str, body: &'a [u8]) -> Result<T, StoreError> {
    options()
        .with_limit(body.len() as u64)
        .deserialize(body)
        .map_err(|error| StoreError::Value { what, reason: error.to_string() })
}

/// Writes a byte string at once instead of element by element; the layout is the same.
pub(super) fn as_bytes<S: serde::Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}
