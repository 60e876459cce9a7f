//! The modes an operator named, and where each flow stands.

use serde::{Deserialize, Serialize};

use super::numbers::Numbered;
use super::rows::{IdV1, id_v1};
use super::{Stored, V1, body, fixed, versioned, wire};
use crate::model::{Mode, Standing, Time, TriggerId};
use crate::store::StoreError;

impl Stored for Mode {
    fn encode(&self) -> Vec<u8> {
        versioned(&[self.number()])
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let [number] = fixed("mode", bytes)?;
        Mode::numbered(number)
    }
}

#[derive(Serialize, Deserialize)]
struct StandingV1 {
    named: Option<u8>,
    mode: u8,
    since: u64,
    matched: Option<(u64, u128)>,
    started: Option<(u64, IdV1)>,
}

impl Stored for Standing {
    fn encode(&self) -> Vec<u8> {
        let value = StandingV1 {
            named: self.named.map(Numbered::number),
            mode: self.mode.number(),
            since: self.since.millis(),
            matched: self.matched.map(|(at, id)| (at.millis(), id.0)),
            started: self.started.map(|(at, id)| (at.millis(), id_v1(id))),
        };
        wire::encode(V1, &value)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: StandingV1 = wire::decode("standing", body("standing", bytes)?)?;
        let started = |(at, id): (u64, IdV1)| Ok::<_, StoreError>((Time::from_millis(at), id.read()?));
        Ok(Standing {
            named: value.named.map(Mode::numbered).transpose()?,
            mode: Mode::numbered(value.mode)?,
            since: Time::from_millis(value.since),
            matched: value.matched.map(|(at, id)| (Time::from_millis(at), TriggerId(id))),
            started: value.started.map(started).transpose()?,
        })
    }
}
