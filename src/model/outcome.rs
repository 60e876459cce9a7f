//! What an executor (or a tool inside the attempt) says about attempt N.

use super::{Child, LimitReport, Usage, bounded};

/// What went wrong, in the reporter's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A short stable word: `exit_1`, `silent`, `lease_expired`, see [`code`].
    pub code: String,
    /// Bounded text for humans.
    pub message: String,
}

impl Fault {
    /// A fault with its text bounded.
    pub fn new(code: &str, message: &str) -> Fault {
        Fault { code: bounded(code), message: bounded(message) }
    }

    /// Both, for humans.
    pub fn words(&self) -> String {
        [&self.code, ": ", &self.message].concat()
    }
}

/// Fault codes that rules look at.
pub mod code {
    /// The provider's window was reached.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// The attempt ended on a refused charge.
    pub const BUDGET_EXHAUSTED: &str = "budget_exhausted";
    /// The process exited with 75 (EX_TEMPFAIL), which is also what a refused `dwell charge` exits with.
    pub const EXIT_75: &str = "exit_75";
    /// The lease ran out.
    pub const LEASE_EXPIRED: &str = "lease_expired";
    /// The attempt reached its time bound.
    pub const ATTEMPT_TIMEOUT: &str = "attempt_timeout";
    /// It stayed queued past its expiry.
    pub const EXPIRED: &str = "expired";
    /// The engine that ran the attempt stopped or crashed.
    pub const INTERRUPTED: &str = "interrupted";
    /// A report type that is not known.
    pub const UNKNOWN_REPORT: &str = "unknown_report";
    /// A process that ended without any of what its adapter calls terminal.
    pub const SILENT: &str = "silent";
}

/// A report about one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A child was spawned and is held until this is durable; with the provider session id chosen for it, if any.
    Spawned {
        /// The process.
        child: Child,
        /// The session id it will be told to use.
        session: Option<String>,
    },
    /// It is alive.
    Heartbeat,
    /// The provider named (or renamed) the session.
    Session {
        /// To resume with.
        id: String,
    },
    /// It used this much more, and goes on.
    Usage(Usage),
    /// Done.
    Succeeded {
        /// JSON or text, bounded.
        result: Option<String>,
    },
    /// A handler error, counted.
    Failed(Fault),
    /// No acknowledgement in time.
    TimedOut(Fault),
    /// Busy, without a hint.
    Throttled(Fault),
    /// The transport is down; uncounted.
    Unavailable(Fault),
    /// The provider's window is used up; the attempt is over; uncounted.
    RateLimited(LimitReport, Fault),
    /// The window is used up but the provider goes on (overage): the attempt stays, new work pauses.
    LimitWarning(LimitReport),
    /// The provider says the window is open.
    LimitCleared,
    /// It can never be done as it stands.
    Invalid(Fault),
    /// Its outcome could not be taken in.
    IngestionFailed(Fault),
    /// Authentication, billing, spend cap.
    NeedsOperator(Fault),
    /// The provider does not know the session: start afresh; counted as failed, with the resume curve.
    NotResumable(Fault),
}

/// What a reporter says beside a report's name. Which of it counts depends on the name.
#[derive(Clone, Debug, Default)]
pub struct Particulars {
    /// A fault's code; else the report's name.
    pub code: Option<String>,
    /// A fault's message.
    pub message: Option<String>,
    /// The window, for the limit reports.
    pub limit: LimitReport,
    /// For `succeeded`.
    pub result: Option<String>,
    /// For `session`.
    pub session: Option<String>,
    /// For `usage`.
    pub usage: Usage,
}

impl Report {
    /// The names [`Report::named`] knows.
    pub const NAMES: [&'static str; 15] = [
        "heartbeat",
        "session",
        "usage",
        "succeeded",
        "failed",
        "timed_out",
        "throttled",
        "unavailable",
        "rate_limited",
        "limit_warning",
        "limit_cleared",
        "invalid",
        "ingestion_failed",
        "needs_operator",
        "not_resumable",
    ];

    /// The report of this name. One that is not known counts as failed, with `raw` kept; a session without an id is a
    /// sign of life. `spawned` is not among them: only an executor can say it.
    pub fn named(name: &str, about: Particulars, raw: &str) -> Report {
        let fault = |about: &Particulars| {
            Fault::new(about.code.as_deref().unwrap_or(name), about.message.as_deref().unwrap_or_default())
        };
        match name {
            "heartbeat" => Report::Heartbeat,
            "session" => about.session.map_or(Report::Heartbeat, |id| Report::Session { id: bounded(&id) }),
            "usage" => Report::Usage(about.usage),
            "succeeded" => Report::Succeeded { result: about.result.as_deref().map(bounded) },
            "failed" => Report::Failed(fault(&about)),
            "timed_out" => Report::TimedOut(fault(&about)),
            "throttled" => Report::Throttled(fault(&about)),
            "unavailable" => Report::Unavailable(fault(&about)),
            "rate_limited" => Report::RateLimited(about.limit.clone(), fault(&about)),
            "limit_warning" => Report::LimitWarning(about.limit),
            "limit_cleared" => Report::LimitCleared,
            "invalid" => Report::Invalid(fault(&about)),
            "ingestion_failed" => Report::IngestionFailed(fault(&about)),
            "needs_operator" => Report::NeedsOperator(fault(&about)),
            "not_resumable" => Report::NotResumable(fault(&about)),
            _ => {
                let message = format!("unknown report {name:?}: {raw}");
                Report::Failed(Fault::new(code::UNKNOWN_REPORT, &message))
            }
        }
    }

    /// The name used in JSON, history and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Report::Spawned { .. } => "spawned",
            Report::Heartbeat => "heartbeat",
            Report::Session { .. } => "session",
            Report::Usage(_) => "usage",
            Report::Succeeded { .. } => "succeeded",
            Report::Failed(_) => "failed",
            Report::TimedOut(_) => "timed_out",
            Report::Throttled(_) => "throttled",
            Report::Unavailable(_) => "unavailable",
            Report::RateLimited(..) => "rate_limited",
            Report::LimitWarning(_) => "limit_warning",
            Report::LimitCleared => "limit_cleared",
            Report::Invalid(_) => "invalid",
            Report::IngestionFailed(_) => "ingestion_failed",
            Report::NeedsOperator(_) => "needs_operator",
            Report::NotResumable(_) => "not_resumable",
        }
    }

    /// Whether the attempt goes on after it.
    pub const fn is_terminal(&self) -> bool {
        match self {
            Report::Spawned { .. }
            | Report::Heartbeat
            | Report::Session { .. }
            | Report::Usage(_)
            | Report::LimitWarning(_)
            | Report::LimitCleared => false,
            Report::Succeeded { .. }
            | Report::Failed(_)
            | Report::TimedOut(_)
            | Report::Throttled(_)
            | Report::Unavailable(_)
            | Report::RateLimited(..)
            | Report::Invalid(_)
            | Report::IngestionFailed(_)
            | Report::NeedsOperator(_)
            | Report::NotResumable(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_makes_its_own_report() {
        for name in Report::NAMES {
            let about = Particulars { session: Some("s".to_owned()), ..Particulars::default() };
            assert_eq!(Report::named(name, about, "").name(), name);
        }
        let Report::Failed(fault) = Report::named("succedeed", Particulars::default(), "{}") else {
            panic!("known")
        };
        assert_eq!(fault.code, code::UNKNOWN_REPORT);
    }
}
