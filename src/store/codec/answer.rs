//! The first answer to a call, kept under the call's idempotency key.

use serde::{Deserialize, Serialize};

use super::{Stored, V1, body, wire};
use crate::store::StoreError;

/// The first answer to a call. What stands in it is for its maker to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// A digest of what was asked, so that the same key with another request is noticed.
    pub fingerprint: [u8; 32],
    /// How it was answered.
    pub status: u16,
    /// What was answered; empty if it was too long to keep.
    pub body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct KeptAnswerV1<'a> {
    fingerprint: [u8; 32],
    status: u16,
    #[serde(serialize_with = "wire::as_bytes")]
    body: &'a [u8],
}

impl Stored for KeptAnswer {
    fn encode(&self) -> Vec<u8> {
        let KeptAnswer { fingerprint, status, body } = self;
        wire::encode(V1, &KeptAnswerV1 { fingerprint: *fingerprint, status: *status, body })
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: KeptAnswerV1<'_> = wire::decode("answer", body("answer", bytes)?)?;
        Ok(KeptAnswer { fingerprint: value.fingerprint, status: value.status, body: value.body.to_vec() })
    }
}
