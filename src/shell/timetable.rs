//! Flows with a schedule, as the engine asks them: when, and what then.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{flows, time};
use crate::engine::Timetable;
use crate::flow::{Flow, SCHEDULE_EVENT, SCHEDULE_SOURCE};
use crate::model::{Name, Policy, Slot, Submission, Time, Trigger, TriggerId};

/// Whose the triggers of schedules are.
const ORG: &str = "default";

/// The timetables of those flows that have one, by name.
pub fn of(flows: &[Flow], policy: &Policy) -> BTreeMap<Name, Arc<dyn Timetable>> {
    let scheduled = flows.iter().filter(|flow| flow.schedule().is_some());
    let table = |flow: &Flow| -> (Name, Arc<dyn Timetable>) {
        (flow.name().clone(), Arc::new(Scheduled { flow: flow.clone(), policy: policy.clone() }))
    };
    scheduled.map(table).collect()
}

/// Where triggers of schedules live.
pub fn slot() -> Slot {
    Slot::of(ORG)
}

#[derive(Debug)]
struct Scheduled {
    flow: Flow,
    policy: Policy,
}

impl Timetable for Scheduled {
    fn expression(&self) -> String {
        self.flow.schedule().map(ToString::to_string).unwrap_or_default()
    }

    fn next(&self, after: Time) -> Option<Time> {
        self.flow.schedule()?.next(after)
    }

    fn fire(&self, due: Time, now: Time) -> (Trigger, Vec<Submission>) {
        let dedup = format!("{}@{}", self.flow.name(), time::format(due));
        let trigger = Trigger {
            id: id(now, &dedup),
            at: now,
            source: SCHEDULE_SOURCE.into(),
            kind: SCHEDULE_SOURCE.into(),
            event: SCHEDULE_EVENT.to_owned(),
            action: Some(self.flow.name().to_string()),
            dedup: Some(dedup),
            org: ORG.into(),
            env: "default".into(),
            payload: json!({ "scheduled_for": time::format(due) }).to_string().into_bytes(),
            replay_of: None,
            runs: Vec::new(),
        };
        let runs = flows::expand(slice::from_ref(&self.flow), &trigger, &self.policy);
        (trigger, runs)
    }
}

/// A ULID of that moment whose random part follows from what it is for, so that it needs no generator.
fn id(now: Time, of: &str) -> TriggerId {
    let digest: [u8; 32] = Sha256::digest(of).into();
    let random = digest.iter().take(10).fold(0, |random, byte| random << 8 | u128::from(*byte));
    TriggerId(u128::from(now.millis()) << 80 | random).in_slot(slot())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_of_one_flow_is_one_trigger_and_its_run_knows_the_time() {
        let text = "name: f\non: { schedule: { cron: '0 9 * * *' } }\n\
                    run: { command: [echo, '${scheduled_for}'] }\n";
        let flows = [crate::flow::parse("f.yaml", text).unwrap()];
        let tables = of(&flows, &Policy::default());
        let table = &tables["f"];
        let due = table.next(Time::ZERO).unwrap();
        let now = due.after(std::time::Duration::from_secs(5));
        let (trigger, runs) = table.fire(due, now);
        assert_eq!((trigger.id.made_at(), table.fire(due, now).0.id), (now, trigger.id));
        assert_ne!(table.fire(table.next(due).unwrap(), now).0.id, trigger.id);
        let argv = vec!["echo".to_owned(), "1970-01-01T09:00:00.000Z".to_owned()];
        assert_eq!(runs[0].work.action, crate::model::Action::Command { argv, cwd: None });
    }
}
