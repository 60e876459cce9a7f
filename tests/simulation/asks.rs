//! What a life asks of the engine, as plain values: the model reads them, and the engine gets a request made of them.

use std::time::Duration;

use dwell::engine::{Answer, Filter, Flip, Once, Redrives, Request, Target, Tell};
use dwell::model::*;

/// One request, in a form that can be kept and compared.
#[derive(Clone, Debug)]
pub enum Ask {
    Submit(Box<Submission>),
    Trigger {
        trigger: Box<Trigger>,
        runs: Vec<Submission>,
        spool: bool,
    },
    Command {
        id: RecordId,
        command: Command,
    },
    Report {
        id: RecordId,
        attempt: u32,
        report: Report,
    },
    Charge {
        id: RecordId,
        attempt: u32,
        calls: u32,
    },
    TopUp {
        id: RecordId,
        measure: Measure,
        amount: u64,
    },
    Pause {
        row: Row,
        until: Time,
    },
    Resume {
        row: Row,
    },
    Rerun {
        id: RecordId,
        fresh: RecordId,
    },
    Stop {
        until: Time,
    },
    Drain {
        scope: Scope,
        timeout: Duration,
    },
    Undrain {
        scope: Scope,
    },
    Mode {
        flow: Option<Name>,
        mode: Option<Mode>,
    },
    RedriveAll {
        cause: Option<Cause>,
    },
    Pace {
        id: RedriveId,
        cause: Option<Cause>,
        pace: Pace,
    },
    StopPace {
        id: RedriveId,
    },
    /// Under an idempotency key.
    Once {
        key: u8,
        ask: Box<Ask>,
    },
}

/// A runtime, or one model there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub runtime: Name,
    pub model: Option<Name>,
}

impl Row {
    pub fn name(&self) -> Name {
        self.model
            .as_ref()
            .map_or_else(|| self.runtime.clone(), |model| Runtime::of_model(&self.runtime, model))
    }
}

impl Ask {
    pub fn request(&self) -> Request {
        match self.clone() {
            Ask::Submit(submission) => Request::Submit(submission),
            Ask::Trigger { trigger, runs, spool } => Request::Trigger { trigger, runs, spool },
            Ask::Command { id, command } => Request::Command { id, command },
            Ask::Report { id, attempt, report } => Request::Report { id, attempt, report },
            Ask::Charge { id, attempt, calls } => Request::Charge { id, attempt, calls },
            Ask::TopUp { id, measure, amount } => Request::TopUp { id, measure, amount },
            Ask::Pause { row: Row { runtime, model }, until } => {
                Request::PauseRuntime { name: runtime, model, until }
            }
            Ask::Resume { row: Row { runtime, model } } => Request::ResumeRuntime { name: runtime, model },
            Ask::Rerun { id, fresh } => Request::Rerun { id, fresh },
            Ask::Stop { until } => Request::Drain { until },
            Ask::Drain { scope, timeout } => Request::DrainScope { scope, timeout: Some(timeout) },
            Ask::Undrain { scope } => Request::UndrainScope { scope },
            Ask::Mode { flow, mode } => {
                let target = match flow {
                    Some(flow) => Target::Flow(flow, mode),
                    None => Target::Global(mode.unwrap_or(Mode::Live)),
                };
                Request::Flip(Box::new(Flip { target, force: false, missing: Vec::new() }))
            }
            Ask::RedriveAll { cause } => Request::RedriveMany(Box::new(dead_of(cause))),
            Ask::Pace { id, cause, pace } => Request::Pace { id, asked: Box::new(dead_of(cause)), pace },
            Ask::StopPace { id } => Request::StopRedrive { id },
            Ask::Once { key, ask } => Request::Once(Box::new(Once {
                name: [key; 32],
                fingerprint: ask.fingerprint(),
                request: ask.request(),
                tell: said(),
            })),
        }
    }

    /// What tells it from another request under the same key.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (at, byte) in format!("{self:?}").bytes().enumerate() {
            digest[at % 32] = u8::wrapping_add(u8::wrapping_mul(digest[at % 32], 31), byte);
        }
        digest
    }
}

fn dead_of(cause: Option<Cause>) -> Redrives {
    let filter = Filter { cause, limit: Filter::LIMIT_MAX, ..Filter::default() };
    Redrives { filter, ..Redrives::default() }
}

/// Says in a word which record was admitted, or how much is used.
fn said() -> Tell {
    Box::new(|answer| {
        let words = if let Answer::Admitted { detail, .. } = answer {
            detail.record.id.to_string()
        } else if let Answer::Charged(meter) = answer {
            format!("used {}", meter.map_or(0, |meter| meter.used))
        } else {
            "done".to_owned()
        };
        (200, words.into_bytes())
    })
}
