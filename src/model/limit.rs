//! Provider limits as they are reported, and as they are held.

use super::{RecordId, Time, text_enum};

text_enum! {
    /// Where a reset time comes from.
    Source {
        /// Ours: the provider named none, or none that can be used.
        Estimated = "estimated",
        /// The provider's.
        Told = "told",
    }
}

/// A reset time as a provider or tool wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Reset {
    /// Not named.
    #[default]
    Absent,
    /// Named, and readable.
    At(Time),
    /// Named, but not a time; kept for the warning.
    Unusable(String),
}

/// The window beyond the main one, paid for separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overage {
    /// Whether it is used up (or not allowed) too; only then its reset counts.
    pub rejected: bool,
    /// When it opens again.
    pub reset: Reset,
}

/// A limit as reported.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LimitReport {
    /// The main window's reset.
    pub reset: Reset,
    /// The overage window, if the report speaks of one.
    pub overage: Option<Overage>,
    /// Whether the provider is serving from overage right now.
    pub using_overage: bool,
}

/// A limit as held: a usable moment and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Resume.
    pub until: Time,
    /// Told or estimated.
    pub source: Source,
}

/// A runtime's durable pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Until when, and where that comes from.
    pub limit: Limit,
    /// Since when.
    pub since: Time,
    /// Whose report made it.
    pub by: Option<RecordId>,
}
