//! Everything that can happen to a record, and the refusal of what cannot.

use std::time::Duration;

use super::{Early, Measure, Missing, Name, RecordId, RedriveId, Report, Scope, Space, StateName, Time};

/// What an operator or client asks of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ends it for good.
    Cancel,
    /// Ends a wait early.
    ResumeNow,
    /// Gives a dead-lettered record another life.
    Redrive,
}

impl Command {
    /// The name used in JSON, history and refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Command::Cancel => "cancel",
            Command::ResumeNow => "resume",
            Command::Redrive => "redrive",
        }
    }
}

/// Everything that can happen to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The engine's turn: the next attempt starts.
    Dispatch,
    /// A pull worker's turn: it carries the next attempt out.
    Claim {
        /// What it calls itself.
        worker: String,
        /// How long it may show no sign of life.
        lease: Duration,
    },
    /// The outstanding attempt, or one that was, says something.
    Report {
        /// Which attempt speaks; anything but the outstanding one is refused.
        attempt: u32,
        /// What it says.
        report: Report,
    },
    /// The outstanding attempt wants to make mutating calls.
    Charge {
        /// Which attempt.
        attempt: u32,
        /// How many calls.
        calls: u32,
    },
    /// Its deadline is due.
    Elapsed,
    /// Found outstanding at open: dwell itself stopped or crashed. Never counted.
    Interrupted,
    /// The runtime's window is open again.
    LimitCleared,
    /// A drained scope holds it, or the engine stops.
    Drain {
        /// The outstanding attempt may finish until then.
        until: Time,
    },
    /// The drained scope is free again.
    Undrain,
    /// An operator's or client's command.
    Command(Command),
    /// An operator gives it more of what its budget bounds.
    TopUp {
        /// Of what.
        measure: Measure,
        /// How much more, in the measure's units.
        amount: u64,
    },
    /// The drainer's turn: out of the burst lane, into the ready one.
    BurstDrained,
    /// A newer record of its group takes its place.
    Superseded {
        /// Which.
        by: RecordId,
    },
}

impl Event {
    /// The name used in history and refusals.
    pub const fn name(&self) -> &'static str {
        match self {
            Event::Dispatch => "dispatch",
            Event::Claim { .. } => "claim",
            Event::Report { report, .. } => report.name(),
            Event::Charge { .. } => "charge",
            Event::Elapsed => "elapsed",
            Event::Interrupted => "interrupted",
            Event::LimitCleared => "limit_cleared",
            Event::Drain { .. } => "drain",
            Event::Undrain => "undrain",
            Event::Command(command) => command.name(),
            Event::TopUp { .. } => "top_up",
            Event::BurstDrained => "burst_drained",
            Event::Superseded { .. } => "superseded",
        }
    }
}

/// A refusal: a value, not a failure. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The state does not take this event.
    Illegal {
        /// Whose.
        id: RecordId,
        /// The event's name.
        event: &'static str,
        /// The state it is in.
        state: StateName,
        /// What would have been accepted, or what is the matter, in words.
        hint: &'static str,
    },
    /// The report or charge names an attempt that is not outstanding.
    StaleAttempt {
        /// Whose.
        id: RecordId,
        /// What was named.
        named: u32,
        /// The latest attempt.
        latest: u32,
        /// The state it is in.
        state: StateName,
    },
    /// The budget does not hold this charge; `used` is unchanged.
    BudgetExhausted {
        /// Taken so far.
        used: u64,
        /// All there is.
        limit: u64,
    },
    /// What it is to be given more of is not bounded.
    NoLimit {
        /// Whose.
        id: RecordId,
        /// Of what.
        measure: Measure,
    },
    /// Nothing by that id.
    NotFound {
        /// What was asked for.
        id: String,
    },
    /// The runtime is not configured.
    UnknownRuntime {
        /// What was named.
        name: Name,
    },
    /// The scope is not drained.
    NotDrained {
        /// What was named.
        scope: Scope,
    },
    /// As many models of a runtime are held as may be.
    ModelsFull {
        /// Of which.
        runtime: Name,
        /// As many as may be.
        limit: usize,
    },
    /// As many scopes are drained as may be.
    DrainsFull {
        /// As many as may be.
        limit: usize,
    },
    /// No paced redrive of that id is running.
    UnknownRedrive {
        /// What was asked for.
        id: RedriveId,
    },
    /// As many paced redrives are running as may be.
    TooManyRedrives {
        /// As many as may be.
        limit: usize,
    },
    /// As many records are queued as may be.
    QueueFull {
        /// Where: an org and env, or all of dwell.
        scope: String,
        /// Queued there now.
        queued: u64,
        /// As many as may be.
        limit: u64,
    },
    /// The store's disk has too little room for new work.
    StoreFull(Space),
    /// No flow of that name is loaded.
    UnknownFlow {
        /// What was named.
        name: Name,
    },
    /// The flow's mode lets no run of it be admitted.
    FlowOff {
        /// Which.
        name: Name,
    },
    /// What a flow needs to act is not there, so it does not go live.
    CapabilitiesMissing {
        /// All of it.
        missing: Vec<Missing>,
    },
    /// A flow has not been in shadow for long enough to go live.
    CutoverEarly {
        /// Those that have not.
        flows: Vec<Early>,
    },
    /// As many claims wait as may.
    ClaimsFull {
        /// As many as may.
        limit: usize,
    },
    /// dwell is about to stop: nothing new starts.
    Stopping,
    /// The idempotency key was sent with another request before.
    KeyReused,
}

impl Rejected {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Rejected::Illegal { .. } => "illegal_transition",
            Rejected::StaleAttempt { .. } => "stale_attempt",
            Rejected::BudgetExhausted { .. } => "budget_exhausted",
            Rejected::NoLimit { .. } => "no_limit",
            Rejected::NotFound { .. } | Rejected::UnknownRedrive { .. } => "not_found",
            Rejected::TooManyRedrives { .. } => "too_many_redrives",
            Rejected::UnknownRuntime { .. } => "unknown_runtime",
            Rejected::NotDrained { .. } => "not_drained",
            Rejected::DrainsFull { .. } => "drains_full",
            Rejected::ModelsFull { .. } => "models_full",
            Rejected::QueueFull { .. } => "queue_full",
            Rejected::StoreFull(_) => "store_full",
            Rejected::UnknownFlow { .. } => "unknown_flow",
            Rejected::FlowOff { .. } => "flow_off",
            Rejected::CapabilitiesMissing { .. } => "capabilities_missing",
            Rejected::CutoverEarly { .. } => "cutover_early",
            Rejected::ClaimsFull { .. } => "claims_full",
            Rejected::Stopping => "stopping",
            Rejected::KeyReused => "idempotency_key_reused",
        }
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rejected::Illegal { id, event, state, hint } => {
                write!(f, "cannot {event} {id}: it is {state}, {hint}")
            }
            Rejected::StaleAttempt { id, named, latest, state } => {
                write!(
                    f,
                    "attempt {named} of {id} is not outstanding: it is {state}, its latest attempt is {latest}"
                )
            }
            Rejected::BudgetExhausted { used, limit } => write!(
                f,
                "rate-limit budget exhausted: used {used} of {limit} mutating calls for this flow run"
            ),
            Rejected::NoLimit { id, measure } => {
                write!(f, "{id} has no limit of {measure}, so there is nothing to add to")
            }
            Rejected::NotFound { id } => write!(f, "no record {id}"),
            Rejected::UnknownRuntime { name } => write!(f, "runtime {name} is not configured"),
            Rejected::NotDrained { scope } => write!(f, "{scope} is not drained"),
            Rejected::DrainsFull { limit } => {
                write!(f, "{limit} scopes are drained already; undrain one first")
            }
            Rejected::ModelsFull { runtime, limit } => {
                write!(f, "{limit} models of {runtime} are held already; resume one first")
            }
            Rejected::UnknownRedrive { id } => write!(f, "no redrive {id} is running"),
            Rejected::TooManyRedrives { limit } => {
                write!(f, "{limit} redrives are running already; stop one or come back later")
            }
            Rejected::QueueFull { scope, queued, limit } => {
                write!(f, "{queued} of {limit} records are queued in {scope}; come back later")
            }
            Rejected::StoreFull(space) => write!(f, "{space}"),
            Rejected::UnknownFlow { name } => write!(f, "no flow {name} is loaded"),
            Rejected::FlowOff { name } => write!(f, "flow {name} is off: no run of it is admitted"),
            Rejected::CapabilitiesMissing { missing } => {
                let all: Vec<String> =
                    missing.iter().map(|one| format!("flow {}: {}", one.flow, one.why)).collect();
                write!(f, "cannot go live: {}", all.join("; "))
            }
            Rejected::CutoverEarly { flows } => {
                let all: Vec<&str> = flows.iter().map(|early| &*early.flow).collect();
                write!(
                    f,
                    "cannot go live: not in shadow for cutover.min_shadow yet: {}; force overrides",
                    all.join(", ")
                )
            }
            Rejected::ClaimsFull { limit } => write!(f, "{limit} claims wait already; come back later"),
            Rejected::Stopping => f.write_str("dwell is about to stop; come back later"),
            Rejected::KeyReused => f.write_str("this idempotency key came with another request before"),
        }
    }
}

impl std::error::Error for Rejected {}
