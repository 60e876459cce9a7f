//! One step of a record's history, as the journal keeps it.

use std::borrow::Cow;

use super::{RecordId, StateName, Time};

/// A record moved (or was admitted).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: Time,
    /// Whose.
    pub id: RecordId,
    /// What happened: an event's name, or `admitted`.
    pub event: Cow<'static, str>,
    /// The state before; `None` at admission.
    pub from: Option<StateName>,
    /// The state after.
    pub to: StateName,
    /// The latest attempt after it.
    pub attempt: u32,
    /// The deadline after it.
    pub deadline: Option<Time>,
    /// The fault, cause or charge behind it, in words.
    pub detail: Option<String>,
}
