//! `budget`: a number of calls, or limits by name.

use std::time::Duration;

use super::keys::{BUDGET, SOFT};
use super::problem::Position;
use super::read::{Fields, Reader};
use super::tree::{Node, Tree};
use crate::model::{Budget, Measure, Meter, Policy, USAGE_MAX, micros};

/// What a run may use up.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    calls: Calls,
    /// The rest, with the soft mark of calls.
    others: Budget,
}

/// How many mutating calls a run may make.
#[derive(Clone, Copy, Debug, Default)]
enum Calls {
    /// As the engine's policy says.
    #[default]
    Policy,
    Unlimited,
    Limit(u32),
}

impl Bounds {
    /// As the file says, and the policy where it says nothing.
    pub(super) fn over(&self, policy: &Policy) -> Budget {
        let limit = match self.calls {
            Calls::Policy => policy.run_budget,
            Calls::Unlimited => return self.others.clone(),
            Calls::Limit(calls) => calls,
        };
        let meter = self.others.of(Measure::Calls).unwrap_or_default();
        self.others.clone().with(Measure::Calls, Meter { limit: Some(limit.into()), ..meter })
    }
}

impl Reader<'_> {
    pub(super) fn budget(&mut self, node: &Node, key: &str) -> Option<Bounds> {
        if let Tree::Map(_) = &node.value {
            return self.bounds(node);
        }
        let others = Budget::default();
        self.calls(node, key, "a number of calls, or unlimited").map(|calls| Bounds { calls, others })
    }

    fn bounds(&mut self, node: &Node) -> Option<Bounds> {
        let fields = self.fields(node, &BUDGET)?;
        let soft = fields.get("soft").and_then(|(node, _)| self.fields(node, &SOFT));
        let calls = fields.get("calls").map_or(Some(Calls::Policy), |(node, key)| {
            self.calls(node, &key, "a number of calls, or unlimited")
        });
        let mut others = Budget::default();
        for measure in Measure::ALL {
            let limit = match (measure, calls) {
                (Measure::Calls, Some(Calls::Limit(calls))) => Some(calls.into()),
                (Measure::Calls, _) => None,
                (Measure::Attempts | Measure::Wall | Measure::Tokens | Measure::Cost, _) => {
                    self.amount(&fields, *measure)
                }
            };
            let mark = soft
                .as_ref()
                .and_then(|soft| Some((self.amount(soft, *measure)?, position(soft, *measure)?)));
            if let (Some((mark, at)), Some(limit)) = (mark, limit)
                && mark > limit
            {
                self.problems.add(at, format!("budget.soft.{measure} is beyond budget.{measure}"));
            }
            let mark = mark.map(|(mark, _)| mark);
            if limit.is_some() || mark.is_some() {
                others = others.with(*measure, Meter { used: 0, limit, soft: mark });
            }
        }
        if let Some((node, key)) = fields.get("on_exhausted") {
            match self.text(node, &key, "dead_letter or ask")? {
                "ask" => others.ask = true,
                "dead_letter" => {}
                _ => self.wrong(node, &key, "dead_letter or ask"),
            }
        }
        Some(Bounds { calls: calls?, others })
    }

    fn calls(&mut self, node: &Node, key: &str, expected: &str) -> Option<Calls> {
        match &node.value {
            Tree::Nothing => Some(Calls::Unlimited),
            Tree::Text(text) if text == "unlimited" => Some(Calls::Unlimited),
            Tree::Number(number) if number.as_u64().is_some_and(|calls| u32::try_from(calls).is_ok()) => {
                self.count(node, key, 0, u32::MAX).map(Calls::Limit)
            }
            Tree::Number(_) | Tree::Text(_) | Tree::Bool(_) | Tree::List(_) | Tree::Map(_) => {
                self.wrong(node, key, expected);
                None
            }
        }
    }

    /// So much of a measure, in its units.
    fn amount(&mut self, fields: &Fields, measure: Measure) -> Option<u64> {
        let (node, key) = fields.get(measure.as_str())?;
        let amount = match (measure, &node.value) {
            (Measure::Calls | Measure::Attempts, _) => {
                return self.count(node, &key, 1, u32::MAX).map(u64::from);
            }
            (Measure::Wall, _) => {
                let span = self.duration(node, &key, Duration::from_millis(1))?;
                return u64::try_from(span.as_millis()).ok();
            }
            (Measure::Tokens, Tree::Number(number)) => number.as_u64(),
            (Measure::Cost, Tree::Number(number)) => number.as_f64().and_then(micros),
            (Measure::Tokens | Measure::Cost, _) => None,
        };
        let amount = amount.filter(|amount| (1..USAGE_MAX).contains(amount));
        if amount.is_none() {
            self.wrong(node, &key, "a number above 0");
        }
        amount
    }
}

fn position(fields: &Fields, measure: Measure) -> Option<Position> {
    fields.get(measure.as_str()).map(|(node, _)| node.at)
}
