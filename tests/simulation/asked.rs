//! From the steps of a script to what is configured, and to what is asked of the engine.

use std::time::Duration;

use dwell::engine::{Burst, Flow, NOTIFY, Org, Pacing, Rate, Settings};
use dwell::model::*;

use crate::asks::{Ask, Row};
use crate::common::T0;
use crate::flows;
use crate::life::Life;
use crate::model::{Rules, Violation, must};
use crate::script::{Setup, Step};

const HOUR: Duration = Duration::from_secs(3600);

/// What a life is configured with, for the engine and for the model.
pub fn settings(setup: &Setup) -> (Settings, Rules) {
    let mut settings = Settings::default();
    let runtimes = [("claude", 2), ("shell", 4), (NOTIFY, 2)];
    settings.runtimes = runtimes.map(|(name, max)| (name.into(), max)).into();
    let pacing = Pacing { ramp: setup.ramp, by_model: setup.by_model };
    settings.pacing = runtimes.map(|(name, _)| (name.into(), pacing)).into();
    settings.retention = HOUR * u32::try_from(setup.retention_hours).unwrap();
    settings.policy.limits.jitter = Duration::from_secs(setup.limits_jitter_seconds);
    settings.queued_max = setup.queued_max;
    settings.mode = setup.mode;
    settings.decoded_max = setup.decoded_max;
    settings.flows = flows::NAMES.map(|name| (name.into(), Flow { mode: None })).into();
    let rate = Rate { window: Duration::from_millis(200), threshold: 2, hold: Duration::from_millis(500) };
    settings.burst = Burst { rate, drain_batch: 1, drain_concurrency: 3, ..Burst::default() };
    let org = |burst, weight| Org { burst, weight, queued_max: setup.env_queued_max };
    let orgs = [("o0", setup.burst, 1), ("o1", setup.burst, 1), ("o2", false, 2), ("o3", false, 1)];
    settings.orgs = orgs.map(|(name, burst, weight)| (name.into(), org(burst, weight))).into();
    let period = setup.period_hours * 3_600_000;
    settings.schedules = [flows::Every::shared("clock", period)].into();
    let rules = Rules {
        concurrency: settings.runtimes.clone(),
        by_model: setup.by_model,
        ramp: setup.ramp,
        retention: settings.retention,
        limits_jitter: settings.policy.limits.jitter,
        queued_max: setup.queued_max.into(),
        env_queued_max: setup.env_queued_max.into(),
        burst_orgs: orgs.iter().filter(|(_, burst, _)| *burst).map(|(name, ..)| (*name).into()).collect(),
        weights: orgs.map(|(name, _, weight)| (name.into(), weight)).into(),
        periods: [("clock".into(), period)].into(),
        mode: setup.mode,
        never: None,
    };
    (settings, rules)
}

impl Life {
    /// The request that a step makes, about `who`.
    pub fn asked(&mut self, step: &Step, who: Option<RecordId>) -> Result<Ask, Violation> {
        let now = self.rig.clock.max(self.model.now);
        let id = who.unwrap_or(RecordId::session(0));
        let attempt = |late: bool| {
            let latest = self.model.records.get(&id).map_or(1, |rec| rec.attempt);
            latest.saturating_sub(u32::from(late))
        };
        let row = |row: &str| match Runtime::model_of(row) {
            Some((runtime, model)) => Row { runtime: runtime.into(), model: Some(model.into()) },
            None => Row { runtime: row.into(), model: None },
        };
        Ok(match step {
            Step::Submit(session) => {
                let submission = session.submission();
                self.names.insert(submission.id, format!("s{}", session.number));
                Ask::Submit(Box::new(submission))
            }
            Step::Deliver(delivery) => {
                let id = TriggerId((u128::from(T0) << 80) | (1 << 70) | u128::from(delivery.number));
                let (trigger, runs) = delivery.trigger(id, now, &self.policy);
                let wanted = delivery.wanted();
                must!(runs.len() == wanted, "flows make the runs asked for", "{} of {wanted}", runs.len());
                for (nth, run) in runs.iter().enumerate() {
                    self.names.insert(run.id, format!("t{}.{nth}", delivery.number));
                }
                let corrupt = delivery.corrupt != flows::Corrupt::Not;
                self.rough.note(if corrupt { "corrupt trigger" } else { "trigger" });
                Ask::Trigger { trigger: Box::new(trigger), runs, spool: delivery.spool }
            }
            Step::Report { late, say, .. } => {
                Ask::Report { id, attempt: attempt(*late), report: say.report(now) }
            }
            Step::Charge { late, calls, .. } => Ask::Charge { id, attempt: attempt(*late), calls: *calls },
            Step::Command { command, .. } => Ask::Command { id, command: *command },
            Step::TopUp { measure, amount, .. } => Ask::TopUp { id, measure: *measure, amount: *amount },
            Step::Rerun { number, .. } => {
                let fresh = RecordId { kind: id.kind, ulid: (u128::from(T0) << 80) | u128::from(*number) };
                self.names.insert(fresh, format!("s{number}"));
                Ask::Rerun { id, fresh }
            }
            Step::Pause { row: name, seconds } => {
                let until = seconds.map_or(Time::MAX, |seconds| now.after(Duration::from_secs(seconds)));
                Ask::Pause { row: row(name), until }
            }
            Step::Resume { row: name } => Ask::Resume { row: row(name) },
            Step::Stop { seconds } => Ask::Stop { until: now.after(Duration::from_secs(*seconds)) },
            Step::Drain { scope, seconds } => {
                Ask::Drain { scope: scope.parse().unwrap(), timeout: Duration::from_secs(*seconds) }
            }
            Step::Undrain { scope } => Ask::Undrain { scope: scope.parse().unwrap() },
            Step::Mode { flow, mode } => Ask::Mode { flow: flow.map(Name::from), mode: *mode },
            Step::RedriveAll { cause } => Ask::RedriveAll { cause: *cause },
            Step::Pace { number, cause, per_minute } => Ask::Pace {
                id: RedriveId(u128::from(*number)),
                cause: *cause,
                pace: Pace { count: *per_minute, period: Duration::from_secs(60) },
            },
            Step::StopPace { number } => Ask::StopPace { id: RedriveId(u128::from(*number)) },
            other => panic!("{other} is no request"),
        })
    }
}
