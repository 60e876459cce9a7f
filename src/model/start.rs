//! What an executor is handed to start one attempt.

use std::sync::Arc;

use super::{Name, RecordId, Work};

/// Which words an agent is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// The work's own: nothing to resume.
    Original,
    /// The provider's window has reset.
    LimitReset,
    /// It was interrupted, or failed, and its session goes on.
    Continue,
}

/// One attempt to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Whose.
    pub id: RecordId,
    /// The attempt's number.
    pub attempt: u32,
    /// Tenant.
    pub org: Name,
    /// Environment.
    pub env: Name,
    /// The flow that made it.
    pub flow: Option<Name>,
    /// The provider account to run on.
    pub runtime: Name,
    /// Which of its models to ask for.
    pub model: Option<Name>,
    /// The provider session to resume, if any.
    pub session: Option<String>,
    /// What the meter of that session showed, in millionths of a US dollar.
    pub told: u64,
    /// Which words to start an agent with.
    pub prompt: Prompt,
    /// What to do.
    pub work: Arc<Work>,
}
