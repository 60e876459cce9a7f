//! One accepted event from outside.

use super::{Name, RecordId, Time, TriggerId};

/// An accepted event: a webhook, or a call of the API or command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Made by the shell.
    pub id: TriggerId,
    /// When it was accepted.
    pub at: Time,
    /// The configured source, as in `/hooks/{source}`.
    pub source: Name,
    /// The source's kind (`github`, ...); the source's own name when it has none.
    pub kind: Name,
    /// `pull_request`, ...
    pub event: String,
    /// `review_requested`, ...
    pub action: Option<String>,
    /// The delivery id; a second trigger of the source with it is a duplicate.
    pub dedup: Option<String>,
    /// Tenant of the runs, unless the flow names one.
    pub org: Name,
    /// Environment of the runs.
    pub env: Name,
    /// The JSON text as it came.
    pub payload: Vec<u8>,
    /// The trigger it repeats by force.
    pub replay_of: Option<TriggerId>,
    /// The runs it made.
    pub runs: Vec<RecordId>,
}
