//! Whether a flow acts, and where it stands.

use super::{Name, RecordId, Time, TriggerId, text_enum};

text_enum! {
    /// What becomes of the triggers that a flow matches.
    Mode {
        /// No run is admitted.
        Off = "off",
        /// Runs are recorded as they would have been, and never carried out.
        Shadow = "shadow",
        /// Runs are admitted and carried out.
        Live = "live",
    }
}

text_enum! {
    /// Who named the mode that is in force; the first that did.
    Origin {
        /// An operator, for this flow.
        Override = "override",
        /// The flow's own file.
        Flow = "flow",
        /// An operator, for all flows.
        Global = "global",
        /// Configuration.
        Default = "default",
    }
}

/// A flow's durable row. It outlives the flow's file, so an override is still in force when the file comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What an operator named for this flow.
    pub named: Option<Mode>,
    /// What is in force, whoever named it.
    pub mode: Mode,
    /// Since when it is; a change that leaves `mode` as it is does not count.
    pub since: Time,
    /// The last trigger that asked it for a run, in any mode.
    pub matched: Option<(Time, TriggerId)>,
    /// The last run of it whose first attempt started.
    pub started: Option<(Time, RecordId)>,
}

/// One thing that a flow needs to act and that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Whose.
    pub flow: Name,
    /// `runtime claude`, `program gh`, `secret of gh`.
    pub need: String,
    /// What is the matter with it.
    pub why: String,
}

/// A flow that has not been in shadow for as long as configuration asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Early {
    /// Which.
    pub flow: Name,
    /// From when on it may go live; `None`: it is not in shadow.
    pub earliest: Option<Time>,
}
