//! What time alone will admit: schedules, and runs that wait for the end of their triggers.

use serde::{Deserialize, Serialize};

use super::rows::{IdV1, id_v1};
use super::{Stored, V1, body, wire};
use crate::model::{Name, RecordId, Time, TriggerId};
use crate::store::StoreError;

/// The next time of a flow's schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Whose.
    pub flow: Name,
    /// What it was computed from.
    pub expression: String,
    /// `None`: it has no more times.
    pub next_at: Option<Time>,
}

#[derive(Serialize, Deserialize)]
struct ScheduleRowV1<'a> {
    flow: &'a str,
    expression: &'a str,
    next_at: Option<u64>,
}

impl Stored for ScheduleRow {
    fn encode(&self) -> Vec<u8> {
        let next_at = self.next_at.map(Time::millis);
        wire::encode(V1, &ScheduleRowV1 { flow: &self.flow, expression: &self.expression, next_at })
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: ScheduleRowV1<'_> = wire::decode("schedule", body("schedule", bytes)?)?;
        let next_at = value.next_at.map(Time::from_millis);
        Ok(ScheduleRow { flow: value.flow.into(), expression: value.expression.to_owned(), next_at })
    }
}

/// A run that is admitted when no trigger of its key came for a while. Its record and its work stand under keys of their
/// own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debounced {
    /// Whose triggers.
    pub flow: Name,
    /// Of this key.
    pub key: Name,
    /// When the first of them came.
    pub first_at: Time,
    /// When the run is admitted.
    pub due_at: Time,
    /// The run that the last of them makes.
    pub run: RecordId,
    /// The last of them.
    pub trigger: Option<TriggerId>,
}

#[derive(Serialize, Deserialize)]
struct DebouncedV1<'a> {
    flow: &'a str,
    key: &'a str,
    first_at: u64,
    due_at: u64,
    run: IdV1,
    trigger: Option<u128>,
}

impl Stored for Debounced {
    fn encode(&self) -> Vec<u8> {
        let value = DebouncedV1 {
            flow: &self.flow,
            key: &self.key,
            first_at: self.first_at.millis(),
            due_at: self.due_at.millis(),
            run: id_v1(self.run),
            trigger: self.trigger.map(|trigger| trigger.0),
        };
        wire::encode(V1, &value)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: DebouncedV1<'_> = wire::decode("debounced run", body("debounced run", bytes)?)?;
        Ok(Debounced {
            flow: value.flow.into(),
            key: value.key.into(),
            first_at: Time::from_millis(value.first_at),
            due_at: Time::from_millis(value.due_at),
            run: value.run.read()?,
            trigger: value.trigger.map(TriggerId),
        })
    }
}
