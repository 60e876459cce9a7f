//! L1, flow files: what a flow is made of, which triggers it wants, and the runs it makes of them.
//!
//! Owns: the YAML format of `schema/flow.schema.json`, templates, conditions. Pure: text in, values out.
//! Absent on purpose: reading files, and admitting runs.

mod budget;
mod concurrency;
mod condition;
mod debounce;
mod expand;
mod keys;
mod parse;
mod path;
mod problem;
mod read;
mod request;
mod schedule;
mod template;
mod tree;

use std::collections::BTreeMap;
use std::time::Duration;

pub use expand::{FAN_OUT_BYTES_MAX, FAN_OUT_MAX};
pub use parse::parse;
pub use problem::Problem;
pub use schedule::{EVENT as SCHEDULE_EVENT, SOURCE as SCHEDULE_SOURCE, Schedule};
pub use template::FILLED_BYTES_MAX;
pub use tree::FLOW_BYTES_MAX;

use crate::model::{Mode, Name};
use budget::Bounds;
use concurrency::Concurrency;
use condition::{Condition, Source};
use debounce::Debouncing;
use path::Path;
use problem::Position;
use request::Request;
use template::Template;

/// The JSON Schema of a flow file, for editors.
pub const SCHEMA: &str = include_str!("../../schema/flow.schema.json");

/// A flow as read from its file. Its templates are compiled and its paths parsed.
#[derive(Clone, Debug)]
pub struct Flow {
    file: String,
    name: Name,
    /// Where the name stands.
    at: Position,
    on: Vec<Source>,
    schedule: Option<Schedule>,
    debounce: Option<Debouncing>,
    conditions: Vec<Condition>,
    for_each: Option<Path>,
    org: Option<Template>,
    env: Option<Template>,
    mode: Option<Mode>,
    concurrency: Option<Concurrency>,
    budget: Bounds,
    retry: Option<Retries>,
    spans: Spans,
    run: Run,
    on_dead_letter: Option<Request>,
    task: Option<Template>,
    labels: BTreeMap<String, Template>,
}

/// `retry`: what the file names; the rest is the policy's.
#[derive(Clone, Copy, Debug)]
struct Retries {
    attempts: Option<u32>,
    backoff: Option<Duration>,
    /// In percent.
    factor: Option<u32>,
    max: Option<Duration>,
    /// In percent.
    jitter: Option<u32>,
}

/// `timeout`.
#[derive(Clone, Copy, Debug, Default)]
struct Spans {
    attempt: Option<Duration>,
    silence: Option<Duration>,
    expires: Option<Duration>,
}

/// `run`.
#[derive(Clone, Debug)]
enum Run {
    Agent { runtime: Name, model: Option<Template>, prompt: Template, cwd: Option<Template> },
    Command { runtime: Name, argv: Vec<Template>, cwd: Option<Template> },
    Worker { runtime: Name, queue: Name },
    Http { runtime: Name, request: Request },
}

/// What the attempts of a flow's runs are, as far as that is known before a trigger comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starts {
    /// The runtime's agent.
    Agent,
    /// This program; `None` where a template names it.
    Program(Option<String>),
    /// What needs no program here: a request, or whatever claims it.
    NoProgram,
}

impl Flow {
    /// Unique among the flows loaded together.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The runtime its runs start on: the agent, or the one that is named, `shell`, `http` or `worker` by default.
    pub const fn runtime(&self) -> &Name {
        match &self.run {
            Run::Agent { runtime, .. }
            | Run::Command { runtime, .. }
            | Run::Http { runtime, .. }
            | Run::Worker { runtime, .. } => runtime,
        }
    }

    /// The mode its file names.
    pub const fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// Sources that start it, each by its name or its kind.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.on.iter().map(|source| source.name.as_str())
    }

    /// What its attempts are.
    pub fn starts(&self) -> Starts {
        match &self.run {
            Run::Agent { .. } => Starts::Agent,
            Run::Command { argv, .. } => Starts::Program(argv.first().and_then(Template::literal)),
            Run::Http { .. } | Run::Worker { .. } => Starts::NoProgram,
        }
    }

    /// Whether its attempts run in a directory of its own, and not in the runtime's.
    pub const fn has_cwd(&self) -> bool {
        match &self.run {
            Run::Agent { cwd, .. } | Run::Command { cwd, .. } => cwd.is_some(),
            Run::Http { .. } | Run::Worker { .. } => false,
        }
    }

    /// What starts it, a line for each source: `github: pull_request [review_requested]`.
    pub fn on(&self) -> Vec<String> {
        let schedule = self.schedule.iter().map(|schedule| format!("schedule: {schedule}"));
        self.on.iter().map(ToString::to_string).chain(schedule).collect()
    }

    /// When it starts by itself, if it does.
    pub const fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// The file it was read from, as it was named to [`parse`].
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// Reads all flow files, given as name and text: all of them, or every problem of every one. Two flows of one name
/// are a problem of the second.
pub fn load<F, T>(files: impl IntoIterator<Item = (F, T)>) -> Result<Vec<Flow>, Vec<Problem>>
where
    F: AsRef<str>,
    T: AsRef<str>,
{
    let mut flows: Vec<Flow> = Vec::new();
    let mut problems = Vec::new();
    for (file, text) in files {
        match parse(file.as_ref(), text.as_ref()) {
            Ok(flow) => flows.push(flow),
            Err(found) => problems.extend(found),
        }
    }
    let mut first: BTreeMap<&Name, &Flow> = BTreeMap::new();
    for flow in &flows {
        if let Some(other) = first.get(&flow.name) {
            let message = format!("name {:?} is taken by {}:{}", flow.name, other.file, other.at.line);
            let Position { line, column } = flow.at;
            problems.push(Problem { file: flow.file.clone(), line, column, message });
        } else {
            first.insert(&flow.name, flow);
        }
    }
    if problems.is_empty() { Ok(flows) } else { Err(problems) }
}
