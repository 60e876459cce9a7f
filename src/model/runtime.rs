//! A runtime's durable row: its pauses. How it is started and its concurrency are configuration.

use super::{Name, Pause, Time};

/// The durable part of a named provider account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Its name in the configuration.
    pub name: Name,
    /// The provider's window, by report.
    pub limited: Option<Pause>,
    /// An operator's pause; [`Time::MAX`] is until resumed. No provider report touches it.
    pub paused_until: Option<Time>,
    /// When it was last opened before a pause was over.
    pub reopened_at: Option<Time>,
}

impl Runtime {
    /// A runtime that nothing holds.
    pub const fn open(name: Name) -> Runtime {
        Runtime { name, limited: None, paused_until: None, reopened_at: None }
    }

    /// Until when nothing may start on it, if that is after `now`.
    pub fn held_until(&self, now: Time) -> Option<Time> {
        let limited = self.limited.map(|pause| pause.limit.until);
        limited.max(self.paused_until).filter(|until| *until > now)
    }
}
