//! The part of the scripts' language that is about triggers and modes.
//!
//! `trigger t f g [option..]` (a trigger that flows f and g match, one run each, named t.f and t.g, with the options of
//! `submit`; said twice it is the same delivery), `mode live`, `mode f shadow [force]`, `mode f clear`, `modes`, `lacks f` and `has f` (what it needs).

use std::collections::BTreeMap;

use dwell::engine::{Answer, Flip, FlowView, Request, Target};
use dwell::model::*;

use super::{T0, World};

impl World {
    /// `None`: nothing to ask.
    pub(super) fn about_modes(&mut self, words: &[&str]) -> Option<Request> {
        match words {
            ["trigger", name, flows @ ..] => return Some(self.trigger(name, flows)),
            ["modes"] => return Some(Request::Modes),
            ["lacks", flow] => {
                let (need, why) = ("program x".to_owned(), "program x is not found".to_owned());
                self.missing.push(Missing { flow: (*flow).into(), need, why });
                None
            }
            ["has", flow] => {
                self.missing.retain(|missing| &*missing.flow != *flow);
                None
            }
            ["mode", flow, "clear"] => Some(Target::Flow((*flow).into(), None)),
            ["mode", mode] => Some(Target::Global(mode.parse().unwrap())),
            ["mode", flow, mode, ..] => Some(Target::Flow((*flow).into(), Some(mode.parse().unwrap()))),
            _ => panic!("what is {words:?}?"),
        }
        .map(|target| {
            let force = words.last() == Some(&"force");
            Request::Flip(Box::new(Flip { target, force, missing: self.missing.clone() }))
        })
    }

    pub fn trigger(&mut self, name: &str, words: &[&str]) -> Request {
        let (options, flows): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.contains('='));
        let next = self.triggers.len() as u128 + 1;
        let id = *self.triggers.entry(name.to_owned()).or_insert(TriggerId((u128::from(T0) << 80) | next));
        let mut runs = Vec::new();
        for (number, flow) in flows.into_iter().enumerate() {
            let run = format!("{name}.{flow}");
            self.names.insert(run.clone(), RecordId::run_of(id, u32::try_from(number).unwrap()));
            let submission = self.submission(&run, &options);
            runs.push(Submission { flow: Some(flow.into()), trigger: Some(id), ..submission });
        }
        let trigger = Trigger {
            id,
            at: self.now,
            source: "hub".into(),
            kind: "github".into(),
            event: "push".to_owned(),
            action: None,
            dedup: Some(name.to_owned()),
            org: "default".into(),
            env: "default".into(),
            payload: Vec::new(),
            runs: Vec::new(),
            replay_of: None,
        };
        Request::Trigger { trigger: Box::new(trigger), runs, spool: true }
    }

    pub(super) fn told_of_modes(&self, answer: &Answer) -> Vec<String> {
        if let Answer::Flipped(flipped) = answer {
            let woke = if flipped.woke { ", woke" } else { "" };
            return vec![format!("from {} to {}{woke}", flipped.from, flipped.to)];
        }
        if let Answer::Modes(modes) = answer {
            return modes.flows.iter().map(|flow| self.standing(flow)).collect();
        }
        let Answer::Triggered(triggered) = answer else { return Vec::new() };
        let list = |what: &str, flows: &[Name]| {
            let flows: Vec<&str> = flows.iter().map(|flow| &**flow).collect();
            (!flows.is_empty()).then(|| format!("{what} {}", flows.join(" ")))
        };
        let duplicate = triggered.duplicate.then(|| "duplicate".to_owned());
        let shadow = list("in shadow", &triggered.shadow);
        duplicate.into_iter().chain(shadow).chain(list("off", &triggered.off)).collect()
    }

    fn standing(&self, flow: &FlowView) -> String {
        let FlowView { name, origin, standing } = flow;
        let names: BTreeMap<TriggerId, &String> =
            self.triggers.iter().map(|(name, id)| (*id, name)).collect();
        let since = humantime::format_duration(standing.since.until(self.now));
        let matched = standing.matched.map(|(_, id)| format!(" matched {}", names[&id])).unwrap_or_default();
        let started =
            standing.started.map(|(_, id)| format!(" started {}", self.name(id))).unwrap_or_default();
        format!("{name} {} by {origin} since {since}{matched}{started}", standing.mode)
    }
}
