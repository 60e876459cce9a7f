//! What people are told about, and what somebody is still to be told.

use super::{Name, RecordId, Time, text_enum};

text_enum! {
    /// Something that people may want to be told.
    NoticeEvent {
        /// A record waits for an operator.
        DeadLettered = "dead_lettered",
        /// A record finished well.
        Completed = "completed",
        /// A record used up what its budget softly bounds.
        BudgetSoft = "budget_soft",
        /// A record used up its budget and asks for more.
        BudgetAsked = "budget_asked",
        /// Nothing more starts on a runtime: its window is used up, or an operator paused it.
        RuntimePaused = "runtime_paused",
        /// A paused runtime is open again.
        RuntimeResumed = "runtime_resumed",
        /// Records wait for a runtime that nothing holds, and none has started on it for long.
        Stalled = "stalled",
        /// Another mode is in force for a flow.
        ModeChanged = "mode_changed",
    }
}

/// That somebody was told of something, and when they may be told again. Its row is the only memory of what happened
/// meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The configured name of whom.
    pub to: Name,
    /// Of what.
    pub event: NoticeEvent,
    /// Of which flow or runtime.
    pub subject: Name,
    /// When the next notice of it may be sent, and is if `pending` is not 0.
    pub next_at: Time,
    /// How often it happened since the last one.
    pub pending: u64,
    /// The record it happened to last.
    pub about: Option<RecordId>,
    /// What more there is to say of the last time.
    pub detail: Option<String>,
}
