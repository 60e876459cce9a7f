//! Every number a rule uses, as data. The defaults are the engine's; the shell overrides them from configuration.

use std::time::Duration;

/// A delay that grows: `first` x `factor`^n, at most `max`, plus up to `jitter` percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    /// The first delay.
    pub first: Duration,
    /// Growth in percent: 200 doubles.
    pub factor_percent: u32,
    /// The longest delay before jitter.
    pub max: Duration,
    /// Added on top by a hash of id and attempt, never subtracted, so nothing is early.
    pub jitter_percent: u32,
}

impl Curve {
    /// A doubling curve without jitter.
    pub const fn doubling(first: Duration, max: Duration) -> Curve {
        Curve { first, factor_percent: 200, max, jitter_percent: 0 }
    }
}

/// How failed attempts of a record are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Dead-lettered at this many failures in a row.
    pub attempts: u32,
    /// The wait after each.
    pub curve: Curve,
}

impl Default for Retry {
    fn default() -> Self {
        let curve = Curve { jitter_percent: 10, ..Curve::doubling(seconds(30), seconds(600)) };
        Retry { attempts: 5, curve }
    }
}

/// The bounds of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The longest an attempt may take.
    pub attempt: Duration,
    /// The longest it may show no sign of life; `None`: its process being there is sign enough.
    pub silence: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { attempt: seconds(24 * 3600), silence: None }
    }
}

/// What to make of reset times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitPolicy {
    /// The wait when no usable reset is named.
    pub estimate: Duration,
    /// A reset further away than this is clamped to it.
    pub max_wait: Duration,
    /// A record's wait for a reset is longer by up to this, by a hash of id and attempt.
    pub jitter: Duration,
}

/// Every number the rules use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For records that bring none.
    pub retry: Retry,
    /// For records that bring none.
    pub timeouts: Timeouts,
    /// Mutating calls of a run that brings no budget (sessions have none).
    pub run_budget: u32,
    /// After `throttled`.
    pub throttled_wait: Duration,
    /// Dead-lettered at this many in a row.
    pub throttled_max: u32,
    /// Dead-lettered at this many in a row.
    pub timed_out_max: u32,
    /// Dead-lettered at this many in a row.
    pub lost_max: u32,
    /// After `ingestion_failed`.
    pub ingestion_wait: Duration,
    /// Dead-lettered at this many in a row.
    pub ingestion_max: u32,
    /// After `unavailable`.
    pub unavailable: Curve,
    /// After `not_resumable`.
    pub resume: Curve,
    /// Reset times.
    pub limits: LimitPolicy,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            retry: Retry::default(),
            timeouts: Timeouts::default(),
            run_budget: 20,
            throttled_wait: seconds(30),
            throttled_max: 5,
            timed_out_max: 3,
            lost_max: 3,
            ingestion_wait: seconds(30),
            ingestion_max: 5,
            unavailable: Curve::doubling(seconds(5), seconds(300)),
            resume: Curve::doubling(seconds(10), seconds(300)),
            limits: LimitPolicy {
                estimate: seconds(3600),
                max_wait: seconds(8 * 24 * 3600),
                jitter: Duration::ZERO,
            },
        }
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
