//! `Record`, the value that is rewritten at every transition.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::numbers::Numbered;
use super::rows::{IdV1, duration, id_v1, parts};
use super::{Stored, V1, V2, up_to, wire};
use crate::model::{
    Budget, Cause, Child, Curve, Fault, Group, Lane, Measure, Meter, Record, Retry, Source, State, StateName,
    Streak, Streaks, Terms, Time, Timeouts, TriggerId,
};
use crate::store::StoreError;

#[derive(Serialize, Deserialize)]
struct RecordV1<'a> {
    id: IdV1,
    org: &'a str,
    env: &'a str,
    #[serde(borrow)]
    key: Option<&'a str>,
    flow: Option<&'a str>,
    trigger: Option<u128>,
    rerun_of: Option<IdV1>,
    runtime: &'a str,
    order: u64,
    created_at: u64,
    updated_at: u64,
    expires_at: Option<u64>,
    attempt: u32,
    /// Number and count of each streak that is not 0.
    streaks: Vec<(u8, u32)>,
    /// Calls used and their limit; from version 2 on absent.
    budget: Option<(u32, u32)>,
    retry: RetryV1,
    attempt_timeout: (u64, u32),
    silence_timeout: Option<(u64, u32)>,
    session: Option<&'a str>,
    /// Code, message.
    last_error: Option<(&'a str, &'a str)>,
    result: Option<&'a str>,
    state: StateV1,
}

/// Version 2 is version 1 with more behind it.
#[derive(Serialize, Deserialize)]
struct RecordV2<'a> {
    #[serde(borrow)]
    old: RecordV1<'a>,
    new: NewV2<'a>,
}

#[derive(Default, Serialize, Deserialize)]
struct NewV2<'a> {
    /// Measure, used, limit, soft mark.
    meters: Vec<(u8, u64, Option<u64>, Option<u64>)>,
    ask: bool,
    started_at: Option<u64>,
    #[serde(borrow)]
    queue: Option<&'a str>,
    model: Option<&'a str>,
    /// Name, max, cancel in progress, queued max.
    group: Option<(&'a str, u32, bool, Option<u32>)>,
    about: Option<IdV1>,
    shadow: bool,
}

#[derive(Serialize, Deserialize)]
struct RetryV1 {
    attempts: u32,
    first: (u64, u32),
    factor_percent: u32,
    max: (u64, u32),
    jitter_percent: u32,
}

/// One layout for all eight states. `at` is the state's moment (lease, deadline, or since when); what a state does
/// not have is 0 or absent.
#[derive(Default, Serialize, Deserialize)]
struct StateV1 {
    name: u8,
    at: u64,
    ends_at: u64,
    /// Lane, source, streak or cause, by `name`.
    mark: u8,
    /// Pid, started, boot.
    child: Option<(u32, u64, u64)>,
}

impl Stored for Record {
    fn encode(&self) -> Vec<u8> {
        let curve = self.retry.curve;
        let old = RecordV1 {
            id: id_v1(self.id),
            org: &self.org,
            env: &self.env,
            key: self.key.as_deref(),
            flow: self.flow.as_deref(),
            trigger: self.trigger.map(|trigger| trigger.0),
            rerun_of: self.rerun_of.map(id_v1),
            runtime: &self.runtime,
            order: self.order,
            created_at: self.created_at.millis(),
            updated_at: self.updated_at.millis(),
            expires_at: self.expires_at.map(Time::millis),
            attempt: self.attempt,
            streaks: streaks_v1(&self.streaks),
            budget: None,
            retry: RetryV1 {
                attempts: self.retry.attempts,
                first: parts(curve.first),
                factor_percent: curve.factor_percent,
                max: parts(curve.max),
                jitter_percent: curve.jitter_percent,
            },
            attempt_timeout: parts(self.timeouts.attempt),
            silence_timeout: self.timeouts.silence.map(parts),
            session: self.session.as_deref(),
            last_error: self.last_error.as_ref().map(|fault| (fault.code.as_str(), fault.message.as_str())),
            result: self.result.as_deref(),
            state: state_v1(&self.state),
        };
        let meters = self.budget.meters();
        let new = NewV2 {
            meters: meters.map(|(measure, of)| (measure.number(), of.used, of.limit, of.soft)).collect(),
            ask: self.budget.ask,
            started_at: self.started_at.map(Time::millis),
            queue: self.queue.as_deref(),
            model: self.model.as_deref(),
            group: self
                .group
                .as_ref()
                .map(|group| (&*group.name, group.max, group.cancel_in_progress, group.queued_max)),
            about: self.about.map(id_v1),
            shadow: self.shadow,
        };
        wire::encode(V2, &RecordV2 { old, new })
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (value, new) = match up_to(V2, "record", bytes)? {
            (V1, body) => (wire::decode("record", body)?, NewV2::default()),
            (_, body) => {
                let RecordV2 { old, new } = wire::decode("record", body)?;
                (old, new)
            }
        };
        let terms = Terms {
            org: value.org.into(),
            env: value.env.into(),
            key: value.key.map(str::to_owned),
            flow: value.flow.map(Into::into),
            trigger: value.trigger.map(TriggerId),
            rerun_of: value.rerun_of.map(IdV1::read).transpose()?,
            runtime: value.runtime.into(),
            retry: Retry {
                attempts: value.retry.attempts,
                curve: Curve {
                    first: duration(value.retry.first),
                    factor_percent: value.retry.factor_percent,
                    max: duration(value.retry.max),
                    jitter_percent: value.retry.jitter_percent,
                },
            },
            queue: new.queue.map(Into::into),
            model: new.model.map(Into::into),
            group: new.group.map(|(name, max, cancel_in_progress, queued_max)| Group {
                name: name.into(),
                max,
                cancel_in_progress,
                queued_max,
            }),
            about: new.about.map(IdV1::read).transpose()?,
        };
        Ok(Record {
            id: value.id.read()?,
            terms: Arc::new(terms),
            order: value.order,
            created_at: Time::from_millis(value.created_at),
            updated_at: Time::from_millis(value.updated_at),
            expires_at: value.expires_at.map(Time::from_millis),
            attempt: value.attempt,
            streaks: streaks(&value.streaks)?,
            budget: budget(value.budget, new.meters, new.ask)?,
            timeouts: Timeouts {
                attempt: duration(value.attempt_timeout),
                silence: value.silence_timeout.map(duration),
            },
            started_at: new.started_at.map(Time::from_millis),
            shadow: new.shadow,
            session: value.session.map(str::to_owned),
            last_error: value
                .last_error
                .map(|(code, message)| Fault { code: code.to_owned(), message: message.to_owned() }),
            result: value.result.map(str::to_owned),
            state: state(&value.state)?,
        })
    }
}

/// The calls of version 1, or the meters of version 2.
fn budget(
    calls: Option<(u32, u32)>,
    meters: Vec<(u8, u64, Option<u64>, Option<u64>)>,
    ask: bool,
) -> Result<Budget, StoreError> {
    let mut budget = Budget::default();
    budget.ask = ask;
    if let Some((used, limit)) = calls {
        let calls = Meter { used: used.into(), limit: Some(limit.into()), soft: None };
        budget = budget.with(Measure::Calls, calls);
    }
    for (measure, used, limit, soft) in meters {
        budget = budget.with(Measure::numbered(measure)?, Meter { used, limit, soft });
    }
    Ok(budget)
}

fn streaks_v1(streaks: &Streaks) -> Vec<(u8, u32)> {
    let counts = Streak::ALL.iter().map(|streak| (streak.number(), streaks.of(*streak)));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn streaks(value: &[(u8, u32)]) -> Result<Streaks, StoreError> {
    let mut counts = Streaks::default().counts();
    for (number, count) in value {
        let streak = Streak::numbered(*number)?;
        for (slot, _) in counts.iter_mut().zip(Streak::ALL).filter(|(_, of)| **of == streak) {
            *slot = *count;
        }
    }
    Ok(Streaks::from_counts(counts))
}

fn state_v1(state: &State) -> StateV1 {
    let child_v1 = |child: &Option<Child>| child.map(|child| (child.pid, child.started, child.boot));
    let value = StateV1 { name: state.name().number(), ..StateV1::default() };
    match state {
        State::Queued { lane } => StateV1 { mark: lane.number(), ..value },
        State::Active { lease_until, ends_at, child } => {
            StateV1 { at: lease_until.millis(), ends_at: ends_at.millis(), child: child_v1(child), ..value }
        }
        State::RateLimited { until, source } => {
            StateV1 { at: until.millis(), mark: source.number(), ..value }
        }
        State::Backoff { until, streak } => StateV1 { at: until.millis(), mark: streak.number(), ..value },
        State::Draining { until, child } => StateV1 { at: until.millis(), child: child_v1(child), ..value },
        State::DeadLettered { at, cause } => StateV1 { at: at.millis(), mark: cause.number(), ..value },
        State::Completed { at } | State::Cancelled { at } => StateV1 { at: at.millis(), ..value },
    }
}

fn state(value: &StateV1) -> Result<State, StoreError> {
    let at = Time::from_millis(value.at);
    let child = value.child.map(|(pid, started, boot)| Child { pid, started, boot });
    Ok(match StateName::numbered(value.name)? {
        StateName::Queued => State::Queued { lane: Lane::numbered(value.mark)? },
        StateName::Active => {
            State::Active { lease_until: at, ends_at: Time::from_millis(value.ends_at), child }
        }
        StateName::RateLimited => State::RateLimited { until: at, source: Source::numbered(value.mark)? },
        StateName::Backoff => State::Backoff { until: at, streak: Streak::numbered(value.mark)? },
        StateName::Draining => State::Draining { until: at, child },
        StateName::DeadLettered => State::DeadLettered { at, cause: Cause::numbered(value.mark)? },
        StateName::Completed => State::Completed { at },
        StateName::Cancelled => State::Cancelled { at },
    })
}
