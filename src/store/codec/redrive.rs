//! The row of a paced redrive.

use serde::{Deserialize, Serialize};

use super::numbers::Numbered;
use super::rows::{IdV1, duration, id_v1, parts};
use super::{Stored, V1, body, wire};
use crate::model::{Cause, Fingerprint, Pace, Redrive, RedriveId, Time};
use crate::store::StoreError;

#[derive(Serialize, Deserialize)]
struct RedriveV1<'a> {
    id: u128,
    asked_at: u64,
    dead_by: u64,
    cause: Option<u8>,
    fingerprint: Option<u64>,
    #[serde(borrow)]
    flow: Option<&'a str>,
    runtime: Option<&'a str>,
    org: Option<&'a str>,
    env: Option<&'a str>,
    /// How many in how long.
    pace: (u32, (u64, u32)),
    matched: u64,
    uncounted: bool,
    redriven: u64,
    cursor: Option<(u64, IdV1)>,
    from: u64,
    done: u64,
}

impl Stored for Redrive {
    fn encode(&self) -> Vec<u8> {
        let value = RedriveV1 {
            id: self.id.0,
            asked_at: self.asked_at.millis(),
            dead_by: self.dead_by.millis(),
            cause: self.cause.map(Numbered::number),
            fingerprint: self.fingerprint.map(Fingerprint::number),
            flow: self.flow.as_deref(),
            runtime: self.runtime.as_deref(),
            org: self.org.as_deref(),
            env: self.env.as_deref(),
            pace: (self.pace.count, parts(self.pace.period)),
            matched: self.matched,
            uncounted: self.uncounted,
            redriven: self.redriven,
            cursor: self.cursor.map(|(at, id)| (at.millis(), id_v1(id))),
            from: self.from.millis(),
            done: self.done,
        };
        wire::encode(V1, &value)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: RedriveV1<'_> = wire::decode("redrive", body("redrive", bytes)?)?;
        let cursor = value.cursor.map(|(at, id)| Ok::<_, StoreError>((Time::from_millis(at), id.read()?)));
        Ok(Redrive {
            id: RedriveId(value.id),
            asked_at: Time::from_millis(value.asked_at),
            dead_by: Time::from_millis(value.dead_by),
            cause: value.cause.map(Cause::numbered).transpose()?,
            fingerprint: value.fingerprint.map(Fingerprint::from_number),
            flow: value.flow.map(str::to_owned),
            runtime: value.runtime.map(str::to_owned),
            org: value.org.map(str::to_owned),
            env: value.env.map(str::to_owned),
            pace: Pace { count: value.pace.0, period: duration(value.pace.1) },
            matched: value.matched,
            uncounted: value.uncounted,
            redriven: value.redriven,
            cursor: cursor.transpose()?,
            from: Time::from_millis(value.from),
            done: value.done,
        })
    }
}
