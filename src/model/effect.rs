//! What leaves the engine after a commit, towards an executor.

use super::{Child, RecordId, Start};

/// One thing for an executor to carry out. It travels as `store::Durable<Effect>` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start an attempt: spawn its child held, report it `spawned`, and wait for [`Effect::Release`].
    Start(Box<Start>),
    /// The child's identity is durable: let it run.
    Release {
        /// Whose.
        id: RecordId,
        /// Which attempt.
        attempt: u32,
    },
    /// The attempt is over for the engine: end what is left of it.
    Stop {
        /// Whose.
        id: RecordId,
        /// Which attempt.
        attempt: u32,
        /// Its process, if one was spawned.
        child: Option<Child>,
        /// Its own report ended it, so its process may finish what it is doing.
        grace: bool,
    },
    /// A record that dwell itself carried out is purged: drop what was captured for it.
    Forget {
        /// Whose.
        id: RecordId,
    },
}
