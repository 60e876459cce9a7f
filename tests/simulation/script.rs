//! A life as data: what is configured, and the steps. The same script always makes the same life, and one that was cut
//! shorter makes a shorter one.

use std::fmt;
use std::time::Duration;

use dwell::model::*;

use crate::common::T0;
use crate::flows::Delivery;
use crate::rig::DiskFault;

/// What differs between lives and does not change in one.
#[derive(Clone, Debug)]
pub struct Setup {
    pub ramp: bool,
    pub by_model: bool,
    pub retention_hours: u64,
    pub limits_jitter_seconds: u64,
    pub queued_max: u32,
    pub env_queued_max: u32,
    pub burst: bool,
    pub mode: Mode,
    pub period_hours: u64,
    pub decoded_max: usize,
    /// On the real journal; with checkpoints, or with torn tails.
    pub local: Option<bool>,
}

/// Whom a step is about: somebody who is there when it is taken, or one that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Running(u64),
    Dead(u64),
    Waiting(u64),
    Any(u64),
    Named(RecordId, String),
}

/// What an attempt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    Spawned,
    Heartbeat,
    Session,
    Succeeded,
    Bad(&'static str, &'static str),
    RateLimited(When),
    Warning(When),
    Cleared,
    Usage { tokens: u64, cost: u64, of_end: bool },
}

/// When a window opens, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Nothing,
    NoTime,
    Past,
    Never,
    In(u64),
    /// The main window, and an overage that is rejected too.
    Overage(u64, u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub number: u32,
    pub org: &'static str,
    pub env: &'static str,
    pub runtime: &'static str,
    pub model: Option<&'static str>,
    pub queue: Option<&'static str>,
    pub key: Option<u8>,
    pub group: Option<(u8, u32)>,
    pub budget: Option<(Measure, u64)>,
    pub calls: Option<u32>,
    pub ask: bool,
    pub silence: Option<u64>,
    pub expires: Option<u64>,
    pub dirge: bool,
}

/// One step. Requests wait for the next tick; everything else happens at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Tick,
    /// So many milliseconds, forward.
    Pass(u64),
    /// To the next moment at which the engine has something to do, or just before it.
    ToNext {
        early: bool,
    },
    /// The wall clock is set back.
    Back(u64),
    Crash,
    /// The disk fails while it is opened after the next crash.
    Unreadable(u32),
    Disk(DiskFault),
    Submit(Session),
    Deliver(Delivery),
    Report {
        who: Who,
        late: bool,
        say: Say,
    },
    Charge {
        who: Who,
        late: bool,
        calls: u32,
    },
    Command {
        who: Who,
        command: Command,
    },
    TopUp {
        who: Who,
        measure: Measure,
        amount: u64,
    },
    Rerun {
        who: Who,
        number: u32,
    },
    Pause {
        row: &'static str,
        seconds: Option<u64>,
    },
    Resume {
        row: &'static str,
    },
    Stop {
        seconds: u64,
    },
    Drain {
        scope: &'static str,
        seconds: u64,
    },
    Undrain {
        scope: &'static str,
    },
    Mode {
        flow: Option<&'static str>,
        mode: Option<Mode>,
    },
    RedriveAll {
        cause: Option<Cause>,
    },
    Pace {
        number: u32,
        cause: Option<Cause>,
        per_minute: u32,
    },
    StopPace {
        number: u32,
    },
    Claim {
        worker: &'static str,
        queue: &'static str,
        max: usize,
        wait: u64,
        lease: u64,
    },
    HangUp {
        worker: &'static str,
    },
    /// The next request is made under an idempotency key.
    Once {
        key: u8,
    },
}

impl Step {
    /// Whom it is about.
    pub fn who(&mut self) -> Option<&mut Who> {
        match self {
            Step::Report { who, .. }
            | Step::Charge { who, .. }
            | Step::Command { who, .. }
            | Step::TopUp { who, .. }
            | Step::Rerun { who, .. } => Some(who),
            _ => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Running(nth) => write!(f, "(running {nth})"),
            Who::Dead(nth) => write!(f, "(dead {nth})"),
            Who::Waiting(nth) => write!(f, "(waiting {nth})"),
            Who::Any(nth) => write!(f, "(any {nth})"),
            Who::Named(_, name) => f.write_str(name),
        }
    }
}

/// A line of a story.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |millis: &u64| humantime::format_duration(Duration::from_millis(*millis));
        let late = |late: &bool| if *late { " of an earlier attempt" } else { "" };
        match self {
            Step::Tick => f.write_str("tick"),
            Step::Pass(millis) => write!(f, "+{}", span(millis)),
            Step::ToNext { early: false } => f.write_str("to the next wake"),
            Step::ToNext { early: true } => f.write_str("to 1ms before the next wake"),
            Step::Back(millis) => write!(f, "the clock is set back by {}", span(millis)),
            Step::Crash => f.write_str("crash"),
            Step::Unreadable(reads) => write!(f, "the next open fails after {reads} reads"),
            Step::Disk(fault) => write!(f, "the next commit is {fault:?}"),
            Step::Submit(session) => write!(f, "submit s{} {session:?}", session.number),
            Step::Deliver(delivery) => write!(f, "trigger t{} {delivery:?}", delivery.number),
            Step::Report { who, late: of, say } => write!(f, "{who} reports {say:?}{}", late(of)),
            Step::Charge { who, late: of, calls } => write!(f, "{who} charges {calls}{}", late(of)),
            Step::Command { who, command } => write!(f, "{} {who}", command.name()),
            Step::TopUp { who, measure, amount } => write!(f, "top up {who} by {amount} {measure}"),
            Step::Rerun { who, number } => write!(f, "rerun {who} as s{number}"),
            Step::Pause { row, seconds: Some(seconds) } => write!(f, "pause {row} for {seconds}s"),
            Step::Pause { row, seconds: None } => write!(f, "pause {row} until resumed"),
            Step::Resume { row } => write!(f, "open {row}"),
            Step::Stop { seconds } => write!(f, "stop within {seconds}s"),
            Step::Drain { scope, seconds } => write!(f, "drain {scope} within {seconds}s"),
            Step::Undrain { scope } => write!(f, "undrain {scope}"),
            Step::Mode { flow, mode } => write!(f, "mode {} {mode:?}", flow.unwrap_or("of all")),
            Step::RedriveAll { cause } => write!(f, "redrive all {cause:?}"),
            Step::Pace { number, cause, per_minute } => {
                write!(f, "redrive {number} {cause:?} {per_minute}/m")
            }
            Step::StopPace { number } => write!(f, "stop redrive {number}"),
            Step::Claim { worker, queue, max, wait, lease } => {
                write!(f, "{worker} claims {max} of {queue}, waits {wait}s, lease {lease}s")
            }
            Step::HangUp { worker } => write!(f, "{worker} hangs up"),
            Step::Once { key } => write!(f, "under key {key}:"),
        }
    }
}

impl Session {
    /// As it is submitted.
    pub fn submission(&self) -> Submission {
        let action = match self.queue {
            Some(queue) => Action::Worker { queue: queue.into() },
            None => Action::Agent { prompt: "do it".to_owned(), cwd: None },
        };
        let mut budget = self.calls.map(Budget::calls).unwrap_or_default();
        if let Some((measure, limit)) = self.budget {
            budget = budget.with(measure, Meter { limit: Some(limit), soft: Some(limit / 2), used: 0 });
        }
        budget.ask = self.ask;
        let group = self.group.map(|(number, max)| Group {
            name: format!("g{number}").as_str().into(),
            max,
            cancel_in_progress: false,
            queued_max: None,
        });
        let seconds = Duration::from_secs;
        let on_dead_letter = self.dirge.then(crate::flows::obituary);
        let id = RecordId::session((u128::from(T0) << 80) | u128::from(self.number));
        Submission {
            org: self.org.into(),
            env: self.env.into(),
            key: self.key.map(|key| format!("k{key}")),
            model: self.model.map(Name::from),
            group,
            budget,
            timeouts: Some(Timeouts { attempt: seconds(7_200), silence: self.silence.map(seconds) }),
            expires: self.expires.map(seconds),
            ..Submission::of(id, self.runtime.into(), Work { on_dead_letter, ..Work::of(action) })
        }
    }
}

impl When {
    fn limit(self, now: Time) -> LimitReport {
        let hence = |seconds| Reset::At(now.after(Duration::from_secs(seconds)));
        let reset = match self {
            When::Nothing => Reset::Absent,
            When::NoTime => Reset::Unusable("soon".to_owned()),
            When::Past => Reset::At(Time::from_millis(now.millis() - 60_000)),
            When::Never => Reset::At(Time::MAX),
            When::In(seconds) | When::Overage(seconds, _) => hence(seconds),
        };
        let overage = match self {
            When::Overage(_, seconds) => Some(Overage { rejected: true, reset: hence(seconds) }),
            When::Nothing | When::NoTime | When::Past | When::Never | When::In(_) => None,
        };
        LimitReport { reset, overage, using_overage: false }
    }
}

impl Say {
    /// As it is reported.
    pub fn report(&self, now: Time) -> Report {
        match self {
            Say::Spawned => {
                let child = Child { pid: 4711, started: 1, boot: 1 };
                Report::Spawned { child, session: Some("s".to_owned()) }
            }
            Say::Heartbeat => Report::Heartbeat,
            Say::Session => Report::Session { id: "t".to_owned() },
            Say::Succeeded => Report::Succeeded { result: None },
            Say::Bad(name, code) => {
                let about = Particulars { code: Some((*code).to_owned()), ..Particulars::default() };
                Report::named(name, about, "raw words")
            }
            Say::RateLimited(when) => Report::RateLimited(when.limit(now), Fault::new("limit", "words")),
            Say::Warning(when) => Report::LimitWarning(when.limit(now)),
            Say::Cleared => Report::LimitCleared,
            Say::Usage { tokens, cost, of_end } => {
                Report::Usage(Usage { tokens: *tokens, cost: *cost, of_end: *of_end, session_cost: None })
            }
        }
    }
}
