//! The rules that a record's life must follow, written down a second time: the table of legal paths as data, and in the
//! plainest way what each event does to the numbers of a record. Absent on purpose: any call of `dwell::machine`.

use std::time::Duration;

use dwell::model::StateName::{
    Active, Backoff, Cancelled, Completed, DeadLettered, Draining, Queued, RateLimited,
};
use dwell::model::*;

/// From a state, by an event of the history, to one of these.
type Path = (&'static str, &'static [StateName], &'static [StateName]);

const HELD: &[StateName] = &[Active, Draining];
const WAITS: &[StateName] = &[RateLimited, Backoff];
const SAME: &[StateName] = &[];

/// Every legal path. An empty list of targets: the state stays as it is.
pub const PATHS: &[Path] = &[
    ("dispatch", &[Queued], &[Active]),
    ("claim", &[Queued], &[Active]),
    ("burst_drained", &[Queued], &[Queued]),
    ("spawned", HELD, SAME),
    ("heartbeat", HELD, SAME),
    ("session", HELD, SAME),
    ("usage", HELD, SAME),
    ("usage", HELD, &[DeadLettered]),
    ("limit_warning", HELD, SAME),
    ("charge", HELD, SAME),
    ("succeeded", HELD, &[Completed]),
    ("failed", HELD, &[Backoff, DeadLettered]),
    ("not_resumable", HELD, &[Backoff, DeadLettered]),
    ("timed_out", HELD, &[Queued, DeadLettered]),
    ("throttled", HELD, &[Backoff, DeadLettered]),
    ("ingestion_failed", HELD, &[Backoff, DeadLettered]),
    ("unavailable", HELD, &[Backoff, DeadLettered]),
    ("rate_limited", HELD, &[RateLimited, DeadLettered]),
    ("invalid", HELD, &[DeadLettered]),
    ("needs_operator", HELD, &[DeadLettered]),
    ("limit_cleared", &[RateLimited], &[Queued]),
    ("elapsed", &[Queued], &[DeadLettered]),
    ("elapsed", &[Active], &[Queued, Backoff, DeadLettered]),
    ("elapsed", WAITS, &[Queued]),
    ("elapsed", &[Draining], &[Queued, DeadLettered]),
    ("interrupted", HELD, &[Queued, DeadLettered]),
    ("drain", HELD, &[Draining]),
    ("undrain", &[Draining], &[Active]),
    ("cancel", &[Queued, Active, RateLimited, Backoff, Draining, DeadLettered], &[Cancelled]),
    ("superseded", &[Queued, Active, RateLimited, Backoff, Draining], &[Cancelled]),
    ("resume", WAITS, &[Queued]),
    ("redrive", &[DeadLettered], &[Queued]),
    ("top_up", &[Queued, Active, RateLimited, Backoff, Draining, DeadLettered], SAME),
    ("top_up", &[DeadLettered], &[Queued]),
];

/// The table's own name of a legal step.
pub fn path(event: &str, from: StateName, to: StateName) -> Option<&'static str> {
    let legal = |(name, froms, tos): &&Path| {
        *name == event && froms.contains(&from) && (tos.contains(&to) || tos.is_empty() && from == to)
    };
    PATHS.iter().find(legal).map(|(name, ..)| *name)
}

/// The numbers the lives are lived under; those of the design, and no jitter unless a life asks for it.
pub const THROTTLED_WAIT: Duration = Duration::from_secs(30);
pub const THROTTLED_MAX: u32 = 5;
pub const TIMED_OUT_MAX: u32 = 3;
pub const LOST_MAX: u32 = 3;
pub const INGESTION_WAIT: Duration = Duration::from_secs(30);
pub const INGESTION_MAX: u32 = 5;
pub const UNAVAILABLE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
pub const RESUME: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
pub const ESTIMATE: Duration = Duration::from_secs(3600);
pub const MAX_WAIT: Duration = Duration::from_secs(8 * 24 * 3600);

/// What the model holds of one record.
#[allow(clippy::struct_excessive_bools, reason = "facts that are told one by one")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rec {
    pub state: StateName,
    pub cause: Option<Cause>,
    pub attempt: u32,
    /// The moment at which time moves it, between these two: the width is a jitter nobody told the model of.
    pub deadline: Option<(Time, Time)>,
    pub ends_at: Time,
    pub started_at: Time,
    pub streaks: [u32; Streak::ALL.len()],
    pub budget: Budget,
    pub org: Name,
    pub env: Name,
    pub flow: Option<Name>,
    pub runtime: Name,
    pub model: Option<Name>,
    pub queue: Option<Name>,
    pub group: Option<Group>,
    pub key: Option<String>,
    pub expires_at: Option<Time>,
    pub retry: Retry,
    pub timeouts: Timeouts,
    pub session: Option<String>,
    pub child: bool,
    /// `None`: nobody said yet.
    pub lane: Option<Lane>,
    pub order: Option<u64>,
    pub shadow: bool,
    pub since: Time,
    pub tells_of_death: bool,
    /// It tells of another.
    pub about: Option<RecordId>,
    pub invalid: bool,
    pub trigger: Option<TriggerId>,
    pub rerun_of: Option<RecordId>,
}

impl Rec {
    pub fn outstanding(&self) -> bool {
        HELD.contains(&self.state)
    }

    pub fn finished(&self) -> bool {
        [Completed, Cancelled].contains(&self.state)
    }

    /// Moves to a state that waits for nothing, or until `deadline`.
    pub fn to(&mut self, state: StateName, deadline: Option<Time>) {
        self.state = state;
        self.cause = None;
        self.child = self.child && self.outstanding();
        self.deadline = deadline.map(|at| (at, at));
        if state == Queued {
            self.lane = Some(Lane::Ready);
            self.deadline = self.expires_at.filter(|_| self.attempt == 0).map(|at| (at, at));
        }
    }

    pub fn dies(&mut self, cause: Cause, now: Time) {
        self.to(DeadLettered, None);
        self.cause = Some(cause);
        self.streaks = [0; Streak::ALL.len()];
        self.since = now;
    }

    pub fn finishes(&mut self, state: StateName, now: Time) {
        self.to(state, None);
        self.since = now;
    }

    fn meter(&self, measure: Measure) -> Option<(u64, u64)> {
        let meter = self.budget.of(measure)?;
        Some((meter.used, meter.limit?))
    }

    pub fn spend(&mut self, measure: Measure, amount: u64) {
        let meter = self.budget.of(measure).unwrap_or_default();
        self.budget = self.budget.clone().with(measure, Meter { used: meter.used + amount, ..meter });
    }

    /// Whether something else than calls is used up.
    pub fn exhausted(&self) -> bool {
        let used_up = |measure: &Measure| self.meter(*measure).is_some_and(|(used, limit)| used >= limit);
        [Measure::Attempts, Measure::Wall, Measure::Tokens, Measure::Cost].iter().any(used_up)
    }

    pub fn calls_used_up(&self) -> bool {
        self.meter(Measure::Calls).is_some_and(|(used, limit)| used >= limit)
    }

    pub fn counts_calls(&self) -> bool {
        self.meter(Measure::Calls).is_some()
    }

    fn running(&self, now: Time) -> u64 {
        let end = match self.state {
            Active => self.ends_at,
            Draining => self.deadline.map_or(now, |(at, _)| at),
            Queued | RateLimited | Backoff | DeadLettered | Completed | Cancelled => return 0,
        };
        now.min(end).millis().saturating_sub(self.started_at.millis())
    }

    fn wall_left(&self, now: Time) -> Option<u64> {
        let (used, limit) = self.meter(Measure::Wall)?;
        Some(limit.saturating_sub(used).saturating_sub(self.running(now)))
    }

    /// An attempt is outstanding, as if it began now.
    pub fn lease(&mut self, now: Time) {
        let bound = millis(self.timeouts.attempt);
        let bound = self.wall_left(now).map_or(bound, |left| left.min(bound));
        let ends_at = now.after(Duration::from_millis(bound));
        let child = self.child;
        self.ends_at = ends_at;
        self.to(Active, Some(self.leased(now)));
        self.child = child;
    }

    fn leased(&self, now: Time) -> Time {
        self.timeouts.silence.map_or(self.ends_at, |silence| now.after(silence).min(self.ends_at))
    }

    pub fn starts(&mut self, now: Time) {
        self.child = false;
        self.lease(now);
        self.attempt += 1;
        self.started_at = now;
    }

    /// More wall time: the bound of the attempt is moved, never to an earlier moment.
    pub fn prolong(&mut self, now: Time) {
        let end = self.started_at.after(self.timeouts.attempt);
        let rest = millis(now.until(end));
        let rest = self.wall_left(now).map_or(rest, |left| left.min(rest));
        self.ends_at = self.ends_at.max(now.after(Duration::from_millis(rest)));
        let leased = self.leased(now);
        self.deadline = Some((leased, leased));
    }

    fn alive(&mut self, now: Time) {
        if self.state != Active {
            return;
        }
        let (held, extended) = (self.deadline.map_or(now, |(at, _)| at), self.leased(now));
        let worth = self.timeouts.silence.unwrap_or_default() / 10;
        if extended >= held.after(worth) {
            self.deadline = Some((extended, extended));
        }
    }

    fn counted(&mut self, streak: Streak, max: u32, cause: Cause, now: Time) -> Option<u32> {
        let count = &mut self.streaks[streak as usize];
        *count += 1;
        let count = *count;
        if count >= max {
            self.dies(cause, now);
            return None;
        }
        Some(count)
    }

    fn waits(&mut self, wait: Duration, jitter_percent: u32, now: Time) {
        let until = now.after(wait);
        self.to(Backoff, Some(until));
        let latest = until.after(wait * jitter_percent / 100);
        self.deadline = Some((until, latest));
    }

    fn fails(&mut self, curve: Curve, now: Time) {
        if let Some(count) = self.counted(Streak::Failed, self.retry.attempts, Cause::AttemptsExhausted, now)
        {
            self.waits(grown(curve, count - 1), curve.jitter_percent, now);
        }
    }

    /// What its attempt said, which was taken in.
    pub fn hears(&mut self, report: &Report, now: Time, limits_jitter: Duration) {
        let before = self.clone();
        let spent = match report {
            Report::Failed(fault) | Report::Throttled(fault) => {
                fault.code == code::BUDGET_EXHAUSTED || fault.code == code::EXIT_75 && self.calls_used_up()
            }
            _ => false,
        };
        if spent {
            self.dies(Cause::BudgetExhausted, now);
            return self.ended(&before, true, now);
        }
        match report {
            Report::Spawned { session, .. } => {
                self.alive(now);
                self.child = true;
                self.session = session.clone().or_else(|| self.session.take());
            }
            Report::Session { id } => {
                self.alive(now);
                self.session = Some(id.clone());
            }
            Report::Heartbeat | Report::LimitWarning(_) | Report::LimitCleared => self.alive(now),
            Report::Usage(usage) => {
                self.alive(now);
                for (measure, amount) in [(Measure::Tokens, usage.tokens), (Measure::Cost, usage.cost)] {
                    if amount > 0 {
                        self.spend(measure, amount);
                    }
                }
                if !usage.of_end && !usage.is_nothing() && self.exhausted() {
                    self.dies(Cause::BudgetExhausted, now);
                }
            }
            Report::Succeeded { .. } => {
                self.streaks = [0; Streak::ALL.len()];
                self.finishes(Completed, now);
            }
            Report::Failed(_) => self.fails(self.retry.curve, now),
            Report::NotResumable(_) => {
                self.session = None;
                self.fails(Curve::doubling(RESUME.0, RESUME.1), now);
            }
            Report::TimedOut(_) => {
                if self.counted(Streak::TimedOut, TIMED_OUT_MAX, Cause::TimedOut, now).is_some() {
                    self.to(Queued, None);
                }
            }
            Report::Throttled(_) => {
                if self.counted(Streak::Throttled, THROTTLED_MAX, Cause::Throttled, now).is_some() {
                    self.waits(THROTTLED_WAIT, 0, now);
                }
            }
            Report::IngestionFailed(_) => {
                let cause = Cause::IngestionFailed;
                if self.counted(Streak::IngestionFailed, INGESTION_MAX, cause, now).is_some() {
                    self.waits(INGESTION_WAIT, 0, now);
                }
            }
            Report::Unavailable(_) => {
                self.streaks[Streak::Unavailable as usize] += 1;
                let count = self.streaks[Streak::Unavailable as usize];
                self.waits(grown(Curve::doubling(UNAVAILABLE.0, UNAVAILABLE.1), count - 1), 0, now);
            }
            Report::RateLimited(limit, _) => {
                let (until, _) = resolved(limit, now);
                self.to(RateLimited, Some(until));
                self.deadline = Some((until, until.after(limits_jitter)));
            }
            Report::Invalid(_) => self.dies(Cause::Invalid, now),
            Report::NeedsOperator(_) => self.dies(Cause::NeedsOperator, now),
        }
        self.ended(&before, !matches!(report, Report::Unavailable(_)), now);
    }

    /// Its deadline passed.
    pub fn elapses(&mut self, now: Time) {
        let before = self.clone();
        match self.state {
            Queued => self.dies(Cause::Expired, now),
            Active if self.ends_at <= now && self.wall_left(now) == Some(0) => self.to(Queued, None),
            Active if self.ends_at <= now => self.fails(self.retry.curve, now),
            Active => {
                if self.counted(Streak::Lost, LOST_MAX, Cause::Lost, now).is_some() {
                    self.to(Queued, None);
                }
            }
            RateLimited | Backoff | Draining => self.to(Queued, None),
            DeadLettered | Completed | Cancelled => {}
        }
        self.ended(&before, before.state != Draining, now);
    }

    /// dwell stopped while it was outstanding.
    pub fn is_interrupted(&mut self, now: Time) {
        let before = self.clone();
        self.to(Queued, None);
        self.ended(&before, false, now);
    }

    /// If its attempt is over, that is counted, and a used-up budget has its say.
    pub fn ended(&mut self, before: &Rec, counts: bool, now: Time) {
        if !before.outstanding() || self.outstanding() {
            return;
        }
        if counts && self.budget.of(Measure::Attempts).is_some() {
            self.spend(Measure::Attempts, 1);
        }
        if self.budget.of(Measure::Wall).is_some() {
            self.spend(Measure::Wall, before.running(now));
        }
        if [Queued, RateLimited, Backoff].contains(&self.state) && self.exhausted() {
            self.dies(Cause::BudgetExhausted, now);
        }
    }

    pub fn redriven(&mut self) {
        self.streaks = [0; Streak::ALL.len()];
        self.budget = self.budget.fresh();
        self.expires_at = None;
        self.to(Queued, None);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}

/// The wait after the `n`th in a row.
fn grown(curve: Curve, n: u32) -> Duration {
    let mut wait = millis(curve.first);
    for _ in 0..n.min(64) {
        wait = (wait * u64::from(curve.factor_percent) / 100).min(millis(curve.max));
    }
    Duration::from_millis(wait.min(millis(curve.max)))
}

/// Until when a limit holds, and whether the provider told.
pub fn resolved(limit: &LimitReport, now: Time) -> (Time, bool) {
    let overage = limit.overage.as_ref().filter(|overage| overage.rejected).map(|overage| &overage.reset);
    let named = [Some(&limit.reset), overage].into_iter().flatten().filter_map(|reset| match reset {
        Reset::At(at) if *at > now => Some(*at),
        Reset::At(_) | Reset::Absent | Reset::Unusable(_) => None,
    });
    match named.max() {
        None => (now.after(ESTIMATE), false),
        Some(at) if at > now.after(MAX_WAIT) => (now.after(MAX_WAIT), false),
        Some(at) => (at, true),
    }
}
