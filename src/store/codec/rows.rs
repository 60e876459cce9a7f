//! Every value that is not a record: `Work`, `Runtime`, `Drain`, `Trigger`, `Transition`, `Tally`; and the parts they share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::numbers::{ActionName, Numbered};
use super::{Stored, V1, V2, body, up_to, wire};
use crate::model::{
    Action, Drain, HttpRequest, Limit, Pause, RecordId, Runtime, Scope, Source, StateName, Time, Transition,
    Trigger, TriggerId, Work,
};
use crate::store::{StoreError, keys};

/// A record id: kind (0 session, 1 run) and ULID.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct IdV1(u8, u128);

pub(super) fn id_v1(id: RecordId) -> IdV1 {
    IdV1(keys::kind_number(id.kind), id.ulid)
}

impl IdV1 {
    pub(super) fn read(self) -> Result<RecordId, StoreError> {
        let kind = keys::kind_numbered(self.0)?;
        Ok(RecordId { kind, ulid: self.1 })
    }
}

/// A span of time as seconds and nanoseconds.
pub(super) fn parts(span: Duration) -> (u64, u32) {
    (span.as_secs(), span.subsec_nanos())
}

pub(super) fn duration((seconds, nanos): (u64, u32)) -> Duration {
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()))
}

#[derive(Serialize, Deserialize)]
struct WorkV1<'a> {
    action: u8,
    /// A command's program and arguments, an agent's prompt alone, or a request's URL, method and each header's name
    /// and value.
    #[serde(borrow)]
    words: Vec<&'a str>,
    cwd: Option<&'a str>,
    #[serde(serialize_with = "wire::as_bytes")]
    payload: &'a [u8],
    task: Option<&'a str>,
    labels: Vec<(&'a str, &'a str)>,
}

/// Version 2 is version 1 with more behind it.
#[derive(Serialize, Deserialize)]
struct WorkV2<'a> {
    #[serde(borrow)]
    old: WorkV1<'a>,
    /// What is sent when the record is dead-lettered, its words as those of a request.
    on_dead_letter: Option<Vec<&'a str>>,
}

impl Stored for Work {
    fn encode(&self) -> Vec<u8> {
        let (action, words, cwd) = match &self.action {
            Action::Command { argv, cwd } => {
                (ActionName::Command, argv.iter().map(String::as_str).collect(), cwd)
            }
            Action::Agent { prompt, cwd } => (ActionName::Agent, vec![prompt.as_str()], cwd),
            Action::Http(request) => (ActionName::Http, request_words(request), &None),
            Action::Worker { queue } => (ActionName::Worker, vec![&**queue], &None),
        };
        let old = WorkV1 {
            action: action.number(),
            words,
            cwd: cwd.as_deref(),
            payload: &self.payload,
            task: self.task.as_deref(),
            labels: self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        };
        wire::encode(V2, &WorkV2 { old, on_dead_letter: self.on_dead_letter.as_ref().map(request_words) })
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (value, on_dead_letter) = match up_to(V2, "work", bytes)? {
            (V1, body) => (wire::decode::<WorkV1<'_>>("work", body)?, None),
            (_, body) => {
                let WorkV2 { old, on_dead_letter } = wire::decode("work", body)?;
                (old, on_dead_letter)
            }
        };
        let cwd = value.cwd.map(str::to_owned);
        let action = match ActionName::numbered(value.action)? {
            ActionName::Command => {
                Action::Command { argv: value.words.into_iter().map(str::to_owned).collect(), cwd }
            }
            ActionName::Agent => Action::Agent { prompt: value.words.concat(), cwd },
            ActionName::Http => Action::Http(request(&value.words)?),
            ActionName::Worker => Action::Worker { queue: value.words.concat().into() },
        };
        let labels = value.labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Work {
            action,
            payload: value.payload.to_vec(),
            task: value.task.map(str::to_owned),
            labels: labels.collect(),
            on_dead_letter: on_dead_letter.map(|words| request(&words)).transpose()?,
        })
    }
}

/// URL, method, and each header's name and value.
fn request_words(HttpRequest { url, method, headers }: &HttpRequest) -> Vec<&str> {
    let headers = headers.iter().flat_map(|(name, value)| [name, value]);
    [url, method].into_iter().chain(headers).map(String::as_str).collect()
}

fn request(words: &[&str]) -> Result<HttpRequest, StoreError> {
    let (pairs, []) = words.as_chunks::<2>() else {
        return Err(StoreError::Value { what: "work", reason: "a header without its value".to_owned() });
    };
    let Some(([url, method], headers)) = pairs.split_first() else {
        return Err(StoreError::Value { what: "work", reason: "a request without a URL".to_owned() });
    };
    let headers = headers.iter().map(|[name, value]| ((*name).to_owned(), (*value).to_owned())).collect();
    Ok(HttpRequest { url: (*url).to_owned(), method: (*method).to_owned(), headers })
}

#[derive(Serialize, Deserialize)]
struct RuntimeV1<'a> {
    name: &'a str,
    limited: Option<PauseV1>,
    paused_until: Option<u64>,
}

/// Version 2 is version 1 with more behind it.
#[derive(Serialize, Deserialize)]
struct RuntimeV2<'a> {
    #[serde(borrow)]
    old: RuntimeV1<'a>,
    reopened_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct PauseV1 {
    until: u64,
    source: u8,
    since: u64,
    by: Option<IdV1>,
}

impl Stored for Runtime {
    fn encode(&self) -> Vec<u8> {
        let limited = self.limited.map(|pause| PauseV1 {
            until: pause.limit.until.millis(),
            source: pause.limit.source.number(),
            since: pause.since.millis(),
            by: pause.by.map(id_v1),
        });
        let paused_until = self.paused_until.map(Time::millis);
        let old = RuntimeV1 { name: &self.name, limited, paused_until };
        wire::encode(V2, &RuntimeV2 { old, reopened_at: self.reopened_at.map(Time::millis) })
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (value, reopened_at) = match up_to(V2, "runtime", bytes)? {
            (V1, body) => (wire::decode("runtime", body)?, None),
            (_, body) => {
                let RuntimeV2 { old, reopened_at } = wire::decode("runtime", body)?;
                (old, reopened_at)
            }
        };
        let pause = |pause: PauseV1| -> Result<Pause, StoreError> {
            let limit =
                Limit { until: Time::from_millis(pause.until), source: Source::numbered(pause.source)? };
            let by = pause.by.map(IdV1::read).transpose()?;
            Ok(Pause { limit, since: Time::from_millis(pause.since), by })
        };
        Ok(Runtime {
            name: value.name.into(),
            limited: value.limited.map(pause).transpose()?,
            paused_until: value.paused_until.map(Time::from_millis),
            reopened_at: reopened_at.map(Time::from_millis),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct DrainV1<'a> {
    scope: &'a str,
    since: u64,
    until: u64,
}

impl Stored for Drain {
    fn encode(&self) -> Vec<u8> {
        let scope = self.scope.to_string();
        let value = DrainV1 { scope: &scope, since: self.since.millis(), until: self.until.millis() };
        wire::encode(V1, &value)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: DrainV1<'_> = wire::decode("drain", body("drain", bytes)?)?;
        let scope = value.scope.parse::<Scope>();
        let scope = scope.map_err(|error| StoreError::Value { what: "drain", reason: error.to_string() })?;
        Ok(Drain { scope, since: Time::from_millis(value.since), until: Time::from_millis(value.until) })
    }
}

#[derive(Serialize, Deserialize)]
struct TriggerV1<'a> {
    id: u128,
    at: u64,
    source: &'a str,
    kind: &'a str,
    event: &'a str,
    #[serde(borrow)]
    action: Option<&'a str>,
    dedup: Option<&'a str>,
    org: &'a str,
    env: &'a str,
    #[serde(serialize_with = "wire::as_bytes")]
    payload: &'a [u8],
    runs: Vec<IdV1>,
}

/// Version 2 is version 1 with more behind it.
#[derive(Serialize, Deserialize)]
struct TriggerV2<'a> {
    #[serde(borrow)]
    old: TriggerV1<'a>,
    replay_of: Option<u128>,
}

impl Stored for Trigger {
    fn encode(&self) -> Vec<u8> {
        let old = TriggerV1 {
            id: self.id.0,
            at: self.at.millis(),
            source: &self.source,
            kind: &self.kind,
            event: &self.event,
            action: self.action.as_deref(),
            dedup: self.dedup.as_deref(),
            org: &self.org,
            env: &self.env,
            payload: &self.payload,
            runs: self.runs.iter().copied().map(id_v1).collect(),
        };
        wire::encode(V2, &TriggerV2 { old, replay_of: self.replay_of.map(|id| id.0) })
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (value, replay_of) = match up_to(V2, "trigger", bytes)? {
            (V1, body) => (wire::decode::<TriggerV1<'_>>("trigger", body)?, None),
            (_, body) => {
                let TriggerV2 { old, replay_of } = wire::decode("trigger", body)?;
                (old, replay_of)
            }
        };
        Ok(Trigger {
            id: TriggerId(value.id),
            at: Time::from_millis(value.at),
            source: value.source.into(),
            kind: value.kind.into(),
            event: value.event.to_owned(),
            action: value.action.map(str::to_owned),
            dedup: value.dedup.map(str::to_owned),
            org: value.org.into(),
            env: value.env.into(),
            payload: value.payload.to_vec(),
            replay_of: replay_of.map(TriggerId),
            runs: value.runs.into_iter().map(IdV1::read).collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct TransitionV1<'a> {
    at: u64,
    id: IdV1,
    event: &'a str,
    from: Option<u8>,
    to: u8,
    attempt: u32,
    deadline: Option<u64>,
    #[serde(borrow)]
    detail: Option<&'a str>,
}

impl Stored for Transition {
    fn encode(&self) -> Vec<u8> {
        let value = TransitionV1 {
            at: self.at.millis(),
            id: id_v1(self.id),
            event: &self.event,
            from: self.from.map(Numbered::number),
            to: self.to.number(),
            attempt: self.attempt,
            deadline: self.deadline.map(Time::millis),
            detail: self.detail.as_deref(),
        };
        wire::encode(V1, &value)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: TransitionV1<'_> = wire::decode("transition", body("transition", bytes)?)?;
        Ok(Transition {
            at: Time::from_millis(value.at),
            id: value.id.read()?,
            event: value.event.to_owned().into(),
            from: value.from.map(StateName::numbered).transpose()?,
            to: StateName::numbered(value.to)?,
            attempt: value.attempt,
            deadline: value.deadline.map(Time::from_millis),
            detail: value.detail.map(str::to_owned),
        })
    }
}

/// What the meter of a record's provider session showed when it was last told, for a resume that goes on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// In millionths of a US dollar.
    pub cost: u64,
}

impl Stored for Told {
    fn encode(&self) -> Vec<u8> {
        wire::encode(V1, &self.cost)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Ok(Told { cost: wire::decode("told", body("told", bytes)?)? })
    }
}

/// What the engine counts since the store was made, and how far its time has come: one row, rewritten by a commit
/// that changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The last committed tick; time never goes back before it.
    pub now: Time,
    /// Records admitted.
    pub admitted: u64,
    /// Records completed.
    pub completed: u64,
    /// Records cancelled.
    pub cancelled: u64,
    /// Attempts started.
    pub attempts_started: u64,
    /// Attempts ended, one way or another.
    pub attempts_ended: u64,
    /// Finished records that retention removed.
    pub purged: u64,
}

impl Tally {
    /// Of two shards together.
    #[must_use]
    pub fn joined(self, other: Tally) -> Tally {
        Tally {
            now: self.now.max(other.now),
            admitted: self.admitted + other.admitted,
            completed: self.completed + other.completed,
            cancelled: self.cancelled + other.cancelled,
            attempts_started: self.attempts_started + other.attempts_started,
            attempts_ended: self.attempts_ended + other.attempts_ended,
            purged: self.purged + other.purged,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct TallyV1 {
    now: u64,
    admitted: u64,
    completed: u64,
    cancelled: u64,
    attempts_started: u64,
    attempts_ended: u64,
    purged: u64,
}

impl Stored for Tally {
    fn encode(&self) -> Vec<u8> {
        let value = TallyV1 {
            now: self.now.millis(),
            admitted: self.admitted,
            completed: self.completed,
            cancelled: self.cancelled,
            attempts_started: self.attempts_started,
            attempts_ended: self.attempts_ended,
            purged: self.purged,
        };
        wire::encode(V1, &value)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let value: TallyV1 = wire::decode("tally", body("tally", bytes)?)?;
        Ok(Tally {
            now: Time::from_millis(value.now),
            admitted: value.admitted,
            completed: value.completed,
            cancelled: value.cancelled,
            attempts_started: value.attempts_started,
            attempts_ended: value.attempts_ended,
            purged: value.purged,
        })
    }
}
