//! From a trigger to the runs a flow makes of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::condition::hears;
use super::template::{Scope, Template};
use super::{Flow, Retries, Run, Schedule};
use crate::model::{
    Action, Curve, Debounce, Fault, MODEL_BYTES_MAX, Name, Policy, RecordId, Retry, Runtime, Submission,
    Timeouts, Trigger, Work, bounded,
};

/// The most runs one flow makes of one trigger.
pub const FAN_OUT_MAX: usize = 1_000;

/// The most bytes the payloads of these runs may have together: each run carries its own copy.
pub const FAN_OUT_BYTES_MAX: usize = 64 << 20;

/// The longest org, env, group or debounce key, in bytes.
const SCOPE_BYTES_MAX: usize = 256;

/// The fault's code of a run whose templates cannot be filled.
const TEMPLATE: &str = "template";

/// The fault's code of the one run made where there would be too many.
const FAN_OUT: &str = "fan_out";

impl Flow {
    /// Whether the flow wants this trigger. It may still make no run of it: where `for_each` finds nothing.
    pub fn matches(&self, trigger: &Trigger, payload: &Value) -> bool {
        let hears = hears(&self.on, trigger);
        let due = self.schedule.is_some() && Schedule::made(trigger, &self.name);
        (hears || due) && self.conditions.iter().all(|condition| condition.holds(payload))
    }

    /// The runs to admit: none if it does not match, else one, or one for each value of `for_each`.
    ///
    /// `payload` is the trigger's payload, parsed. What cannot be carried out is a run as well, with
    /// [`Submission::invalid`] naming flow, key and expression: a template whose field is missing (`template`), and
    /// a fan-out beyond [`FAN_OUT_MAX`] or [`FAN_OUT_BYTES_MAX`], which makes that one run only (`fan_out`).
    pub fn expand(
        &self,
        trigger: &Trigger,
        payload: &Value,
        policy: &Policy,
        mut next_id: impl FnMut() -> RecordId,
    ) -> Vec<Submission> {
        if !self.matches(trigger, payload) {
            return Vec::new();
        }
        let Some(path) = &self.for_each else {
            return vec![self.submission(trigger, Scope { payload, item: None }, policy, next_id())];
        };
        let items = path.select(payload);
        let bytes = items.len().saturating_mul(trigger.payload.len());
        if items.len() > FAN_OUT_MAX || bytes > FAN_OUT_BYTES_MAX {
            let message = format!(
                "flow {}: for_each: {path} finds {} values with {bytes} bytes of payload: expected at most \
                 {FAN_OUT_MAX} values and {FAN_OUT_BYTES_MAX} bytes",
                self.name,
                items.len()
            );
            let mut all = self.submission(trigger, Scope { payload, item: None }, policy, next_id());
            all.invalid = Some(Fault::new(FAN_OUT, &message));
            return vec![all];
        }
        let each = |item| self.submission(trigger, Scope { payload, item: Some(item) }, policy, next_id());
        items.into_iter().map(each).collect()
    }

    fn submission(&self, trigger: &Trigger, scope: Scope, policy: &Policy, id: RecordId) -> Submission {
        let mut filler = Filler { scope, faults: Vec::new() };
        let org = filler.tenant("org", self.org.as_ref(), &trigger.org);
        let env = filler.tenant("env", self.env.as_ref(), &trigger.env);
        let group = self.concurrency.as_ref().map(|shared| shared.named(&filler.group(&shared.group)));
        let action = filler.action(&self.run);
        let model = filler.model(&self.run);
        let before = filler.faults.len();
        let on_dead_letter =
            self.on_dead_letter.as_ref().map(|request| filler.request("on_dead_letter.http", request));
        if on_dead_letter.as_ref().is_some_and(|told| told.bytes() > Work::ON_DEAD_LETTER_BYTES_MAX) {
            let most = Work::ON_DEAD_LETTER_BYTES_MAX;
            filler.faults.push(format!("on_dead_letter.http becomes longer than {most} bytes"));
        }
        // What cannot be addressed is not sent.
        let on_dead_letter = on_dead_letter.filter(|_| filler.faults.len() == before);
        let task = self.task.as_ref().map(|task| bounded(&filler.fill("task", task)));
        let labels: BTreeMap<String, String> = self
            .labels
            .iter()
            .map(|(key, label)| (key.clone(), filler.fill(&format!("labels.{key}"), label)))
            .collect();
        let debounce = self.debounce.as_ref().and_then(|spec| {
            let key = filler.name("debounce.key", &spec.key)?;
            Some(Debounce { key, quiet: spec.quiet, max: spec.max })
        });
        let invalid = (!filler.faults.is_empty())
            .then(|| Fault::new(TEMPLATE, &format!("flow {}: {}", self.name, filler.faults.join("; "))));
        let spans = self.spans;
        let timeouts = (spans.attempt.is_some() || spans.silence.is_some()).then(|| Timeouts {
            attempt: spans.attempt.unwrap_or(policy.timeouts.attempt),
            silence: spans.silence.or(policy.timeouts.silence),
        });
        let work = Work {
            payload: run_payload(&trigger.payload, scope.item),
            task,
            labels,
            on_dead_letter,
            ..Work::of(action)
        };
        Submission {
            org,
            env,
            flow: Some(self.name.clone()),
            trigger: Some(trigger.id),
            budget: self.budget.over(policy),
            retry: self.retry.map(|retry| retry.over(policy.retry)),
            timeouts,
            expires: spans.expires,
            group,
            model,
            debounce,
            invalid,
            ..Submission::of(id, self.runtime().clone(), work)
        }
    }
}

/// As it came; under `for_each` with the item beside it.
fn run_payload(payload: &[u8], item: Option<&Value>) -> Vec<u8> {
    let Some(item) = item else { return payload.to_vec() };
    let payload = if payload.is_empty() { b"null" } else { payload };
    [format!("{{\"item\":{item},\"payload\":").as_bytes(), payload, b"}"].concat()
}

impl Retries {
    /// What the flow names, and the policy's for the rest.
    fn over(self, policy: Retry) -> Retry {
        let first = self.backoff.unwrap_or(policy.curve.first);
        let curve = Curve {
            first,
            factor_percent: self.factor.unwrap_or(policy.curve.factor_percent),
            // A first wait that is longer than the policy's longest is meant.
            max: self.max.unwrap_or_else(|| policy.curve.max.max(first)),
            jitter_percent: self.jitter.unwrap_or(policy.curve.jitter_percent),
        };
        Retry { attempts: self.attempts.unwrap_or(policy.attempts), curve }
    }
}

/// Fills the templates of one run; what cannot be filled stays as it stands in the file, beside the fault.
pub(super) struct Filler<'v> {
    scope: Scope<'v>,
    faults: Vec<String>,
}

impl Filler<'_> {
    pub(super) fn fill(&mut self, key: &str, template: &Template) -> String {
        template.fill(self.scope).unwrap_or_else(|what| {
            self.faults.push(format!("{key}: {what}"));
            template.source().to_owned()
        })
    }

    /// An org or env. A name that cannot be one leaves the run in the trigger's.
    fn tenant(&mut self, key: &str, template: Option<&Template>, trigger: &Name) -> Name {
        template.and_then(|template| self.name(key, template)).unwrap_or_else(|| trigger.clone())
    }

    /// A short text without control characters.
    fn name(&mut self, key: &str, template: &Template) -> Option<Name> {
        let before = self.faults.len();
        let text = self.fill(key, template);
        if self.faults.len() > before {
            return None;
        }
        self.is_name(key, template, &text).then(|| text.into())
    }

    /// A group's name; one that cannot be one is a fault, and then the run is in none that counts.
    fn group(&mut self, template: &Template) -> String {
        const KEY: &str = "concurrency.group";
        let before = self.faults.len();
        let text = self.fill(KEY, template);
        let fits = self.faults.len() == before && self.is_name(KEY, template, &text);
        if fits { text } else { String::new() }
    }

    /// Whether a name may be this; a fault if not.
    fn is_name(&mut self, key: &str, template: &Template, text: &str) -> bool {
        let fits = !text.is_empty() && text.len() <= SCOPE_BYTES_MAX && !text.contains(char::is_control);
        if !fits {
            let expected =
                format!("expected a name of 1 to {SCOPE_BYTES_MAX} bytes without control characters");
            self.faults.push(format!("{key}: {:?} becomes {text:.80?}: {expected}", template.source()));
        }
        fits
    }

    /// What cannot be a model's name is a fault.
    fn model(&mut self, run: &Run) -> Option<Name> {
        let Run::Agent { model: Some(template), .. } = run else { return None };
        let before = self.faults.len();
        let text = self.fill("run.model", template);
        if self.faults.len() > before {
            return None;
        }
        if !Runtime::is_model(&text) {
            let expected =
                format!("expected 1 to {MODEL_BYTES_MAX} visible ASCII characters, the first not -");
            self.faults.push(format!("run.model: {:?} becomes {text:.80?}: {expected}", template.source()));
            return None;
        }
        Some(text.into())
    }

    fn action(&mut self, run: &Run) -> Action {
        match run {
            Run::Agent { prompt, cwd, .. } => Action::Agent {
                prompt: self.fill("run.prompt", prompt),
                cwd: cwd.as_ref().map(|cwd| self.directory(cwd)),
            },
            Run::Command { argv, cwd, .. } => {
                let argv = argv.iter().enumerate();
                let argv = argv.map(|(n, one)| self.fill(&format!("run.command[{n}]"), one)).collect();
                Action::Command { argv, cwd: cwd.as_ref().map(|cwd| self.directory(cwd)) }
            }
            Run::Worker { queue, .. } => Action::Worker { queue: queue.clone() },
            Run::Http { request, .. } => Action::Http(self.request("run.http", request)),
        }
    }

    /// A name in a payload must not lead out of where the flow says the work is.
    fn directory(&mut self, cwd: &Template) -> String {
        let text = self.fill("run.cwd", cwd);
        if cwd.has_fields() && text.split('/').any(|component| component == "..") {
            self.faults.push(format!("run.cwd: {:?} becomes a path with .. in it", cwd.source()));
        }
        text
    }
}
