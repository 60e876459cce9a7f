//! What values look like: model to bytes and back. The layouts and how to change one are in `schema/keys.md`.
//!
//! Owns: one private struct per value and version, and the numbers of enums. Absent on purpose: serde on model
//! types, and any value that two builds could read differently.

mod answer;
mod modes;
mod notice;
mod numbers;
mod record;
mod redrive;
mod rows;
#[cfg(test)]
mod tests;
mod upcoming;
mod wire;

pub use answer::KeptAnswer;
pub use rows::{Tally, Told};
pub use upcoming::{Debounced, ScheduleRow};

use super::{StoreError, keys};
use crate::model::{RecordId, Time, TriggerId};

/// A value as it stands in the store.
pub trait Stored: Sized {
    /// The bytes of the newest version.
    fn encode(&self) -> Vec<u8>;

    /// Reads every version ever written. Any bytes are answered; what is not understood is named.
    fn decode(bytes: &[u8]) -> Result<Self, StoreError>;
}

const V1: u8 = 1;
const V2: u8 = 2;

/// Splits the version byte off, which must be `V1`.
fn body<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    Ok(up_to(V1, what, bytes)?.1)
}

/// Splits the version byte off, which may be any up to `newest`.
fn up_to<'a>(newest: u8, what: &'static str, bytes: &'a [u8]) -> Result<(u8, &'a [u8]), StoreError> {
    match bytes.split_first() {
        Some((version, body)) if (V1..=newest).contains(version) => Ok((*version, body)),
        Some((found, _)) => Err(StoreError::Version { what, found: *found, newest }),
        None => Err(StoreError::Length { what, found: 0, accepted: 1 }),
    }
}

fn fixed<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], StoreError> {
    let body = body(what, bytes)?;
    body.try_into().map_err(|_| StoreError::Length { what, found: body.len(), accepted: N })
}

fn versioned(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![V1];
    bytes.extend_from_slice(body);
    bytes
}

impl Stored for RecordId {
    fn encode(&self) -> Vec<u8> {
        versioned(&keys::id_bytes(*self))
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        keys::id_from(body("record id", bytes)?)
    }
}

impl Stored for TriggerId {
    fn encode(&self) -> Vec<u8> {
        versioned(&self.0.to_be_bytes())
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Ok(TriggerId(u128::from_be_bytes(fixed("trigger id", bytes)?)))
    }
}

impl Stored for u64 {
    fn encode(&self) -> Vec<u8> {
        versioned(&self.to_be_bytes())
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Ok(u64::from_be_bytes(fixed("number", bytes)?))
    }
}

impl Stored for Time {
    fn encode(&self) -> Vec<u8> {
        versioned(&self.millis().to_be_bytes())
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Ok(Time::from_millis(u64::from_be_bytes(fixed("time", bytes)?)))
    }
}
