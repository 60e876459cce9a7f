//! The flows of every life: real files, read by the product, and what their triggers carry.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use dwell::engine::Timetable;
use dwell::flow::Flow;
use dwell::model::*;
use serde_json::{Value, json};

/// One file for each thing a flow can ask for.
const FILES: &[(&str, &str)] = &[
    (
        "fan.yaml",
        "name: fan
on: { github: { push: } }
for_each: items[*]
org: ${org}
budget: { calls: 4, attempts: 3, tokens: 100 }
retry: { attempts: 3, jitter: 0% }
timeout: { attempt: 2h, silence: 10m, expires: 12h }
run: { agent: claude, prompt: \"do ${item.name} of ${n}\" }
on_dead_letter: { http: { url: \"http://told/${n}\" } }
",
    ),
    (
        "turns.yaml",
        "name: turns
on: { github: { pull_request: } }
org: ${org}
env: ${env}
concurrency: { group: \"g-${n}\", max: 2, queue: 2 }
retry: { attempts: 4 }
timeout: { attempt: 1h }
run: { command: [echo, \"${n}\"], runtime: shell }
",
    ),
    (
        "newest.yaml",
        "name: newest
on: { github: { pull_request: } }
org: ${org}
concurrency: { group: \"g-${n}\", max: 1, cancel_in_progress: true }
budget: { calls: 2, wall: 20m, cost_usd: 1, on_exhausted: ask }
run: { worker: q1, runtime: claude }
",
    ),
    (
        "calm.yaml",
        "name: calm
on: { github: { release: } }
org: ${org}
debounce: { key: \"k-${n}\", quiet: 30s, max: 2m }
timeout: { expires: 1h }
run: { command: [echo, \"${n}\"], runtime: shell }
",
    ),
    (
        "clock.yaml",
        "name: clock
on: { schedule: { cron: \"0 * * * *\" } }
run: { command: [date], runtime: shell }
",
    ),
];

pub static FLOWS: LazyLock<Vec<Flow>> = LazyLock::new(|| {
    dwell::flow::load(FILES.iter().copied()).expect("the flows of the simulation are valid")
});

/// The flows by name.
pub const NAMES: [&str; 5] = ["fan", "turns", "newest", "calm", "clock"];

/// What a forge sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub number: u32,
    /// The delivery id: a redelivery has that of an earlier one.
    pub dedup: u32,
    pub event: &'static str,
    pub org: &'static str,
    pub n: u64,
    pub items: u64,
    /// A field that templates ask for is missing, or it is no JSON at all.
    pub corrupt: Corrupt,
    pub spool: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    Not,
    NoName,
    NoJson,
}

impl Delivery {
    fn payload(&self) -> Value {
        let item = |nth| match self.corrupt {
            Corrupt::NoName => json!({ "id": nth }),
            Corrupt::Not | Corrupt::NoJson => json!({ "name": format!("item {nth}") }),
        };
        let items: Vec<Value> = (0..self.items).map(item).collect();
        let mut payload =
            json!({ "org": self.org, "env": format!("e{}", self.n % 2), "n": self.n, "items": items });
        if self.corrupt == Corrupt::NoName
            && let Some(fields) = payload.as_object_mut()
        {
            fields.remove("n");
        }
        payload
    }

    /// The trigger as the shell would make it, and the runs that the flows make of it.
    pub fn trigger(&self, id: TriggerId, at: Time, policy: &Policy) -> (Trigger, Vec<Submission>) {
        let payload = self.payload();
        let bytes = match self.corrupt {
            Corrupt::NoJson => b"{ \"org\": ".to_vec(),
            Corrupt::Not | Corrupt::NoName => payload.to_string().into_bytes(),
        };
        let payload = if self.corrupt == Corrupt::NoJson { Value::Null } else { payload };
        let trigger = Trigger {
            id,
            at,
            source: "hub".into(),
            kind: "github".into(),
            event: self.event.to_owned(),
            action: None,
            dedup: Some(format!("delivery {}", self.dedup)),
            org: "o0".into(),
            env: "e0".into(),
            payload: bytes,
            replay_of: None,
            runs: Vec::new(),
        };
        let mut made = 0;
        let mut runs = Vec::new();
        for flow in FLOWS.iter() {
            runs.extend(flow.expand(&trigger, &payload, policy, || {
                made += 1;
                RecordId::run_of(id, made - 1)
            }));
        }
        (trigger, runs)
    }

    /// How many runs it must make, whatever their modes.
    pub fn wanted(&self) -> usize {
        match (self.event, self.corrupt) {
            ("push", Corrupt::NoJson) => 0,
            ("push", _) => usize::try_from(self.items).unwrap(),
            ("pull_request", _) => 2,
            _ => 1,
        }
    }
}

/// What is sent when somebody dies.
pub fn obituary() -> HttpRequest {
    HttpRequest { url: "http://told".to_owned(), method: "POST".to_owned(), headers: BTreeMap::new() }
}

/// Starts so many milliseconds apart.
#[derive(Debug)]
pub struct Every {
    pub flow: Name,
    pub period: u64,
}

impl Every {
    pub fn shared(flow: &str, period: u64) -> (Name, Arc<dyn Timetable>) {
        (flow.into(), Arc::new(Every { flow: flow.into(), period }))
    }
}

impl Timetable for Every {
    fn expression(&self) -> String {
        format!("every {} ms", self.period)
    }

    fn next(&self, after: Time) -> Option<Time> {
        Some(Time::from_millis((after.millis() / self.period + 1) * self.period))
    }

    fn fire(&self, due: Time, now: Time) -> (Trigger, Vec<Submission>) {
        fired(&self.flow, due, now)
    }
}

/// The trigger of one time of a schedule, and its run.
pub fn fired(flow: &Name, due: Time, now: Time) -> (Trigger, Vec<Submission>) {
    let id = TriggerId(u128::from(due.millis()) << 80 | 1 << 79);
    let trigger = Trigger {
        id,
        at: now,
        source: "schedule".into(),
        kind: "schedule".into(),
        event: "cron".into(),
        action: None,
        dedup: Some(format!("{flow}@{}", due.millis())),
        org: "o0".into(),
        env: "e0".into(),
        payload: b"{}".to_vec(),
        replay_of: None,
        runs: Vec::new(),
    };
    let work = Work::of(Action::Command { argv: vec!["date".to_owned()], cwd: None });
    let run = Submission::of(RecordId::run_of(id, 0), "shell".into(), work);
    let (org, env) = ("o0".into(), "e0".into());
    (trigger, vec![Submission { flow: Some(flow.clone()), trigger: Some(id), org, env, ..run }])
}
