//! From the tree to a [`Flow`]: what each key means. Goes on after a problem, so that all are told at once.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::budget::Bounds;
use super::condition::{Condition, Event, Expected, Source};
use super::keys::{FLOW, HTTP, ON_DEAD_LETTER, ON_DEAD_LETTER_HTTP, RETRY, RUN, TIMEOUT};
use super::path::Path;
use super::problem::{Problem, Problems};
use super::read::{Fields, Reader, is_name};
use super::request::Request;
use super::schedule::{SOURCE, Schedule};
use super::template::Template;
use super::tree::{Node, Tree, read};
use super::{Flow, Retries, Run, Spans};
use crate::model::{Mode, Name};

/// Time is kept in milliseconds; less than one is no time at all.
pub(super) const MOMENT: Duration = Duration::from_millis(1);

/// The runtime of a command that names none.
const RUNTIME_DEFAULT: &str = "shell";

/// The runtime of a request that names none.
const HTTP_RUNTIME_DEFAULT: &str = "http";

/// The runtime of what workers claim, if none is named.
const WORKER_RUNTIME_DEFAULT: &str = "worker";

/// More failures in a row than this are not patience.
const ATTEMPTS_MAX: u32 = 1_000;

/// Reads one flow file. `file` is how problems call it. All problems that can be found are answered, in the order
/// of the file.
pub fn parse(file: &str, text: &str) -> Result<Flow, Vec<Problem>> {
    let mut problems = Problems::of(file);
    let tree = read(text, &mut problems);
    let mut reader = Reader { problems };
    let flow = tree.and_then(|root| reader.flow(file, &root));
    match flow {
        Some(flow) if reader.problems.is_empty() => Ok(flow),
        Some(_) | None => Err(reader.problems.into_sorted()),
    }
}

impl Reader<'_> {
    /// `None` leaves at least one problem; so may `Some`.
    fn flow(&mut self, file: &str, root: &Node) -> Option<Flow> {
        let fields = self.fields(root, &FLOW)?;
        let name = self.required(root, &fields, "name", "the flow's own, unique name");
        let name = name.and_then(|node| Some((self.name(node, "name")?, node.at)));
        let on = self.required(root, &fields, "on", "sources, each with the events that start a run");
        let on = on.map(|node| self.sources(node));
        let run = self.required(root, &fields, "run", "an agent, a command, a request or a worker");
        let run = run.and_then(|node| self.run(node));
        let conditions = fields.get("if").map(|(node, _)| self.conditions(node)).unwrap_or_default();
        let for_each = fields.get("for_each").and_then(|(node, _)| self.for_each(node));
        let mode = fields.get("mode").and_then(|(node, key)| self.mode(node, &key));
        let concurrency = fields.get("concurrency").and_then(|(node, _)| self.concurrency(node));
        let debounce = fields.get("debounce").and_then(|(node, _)| self.debounce(node));
        let budget =
            fields.get("budget").map_or(Some(Bounds::default()), |(node, key)| self.budget(node, &key));
        let retry = fields.get("retry").and_then(|(node, _)| self.retry(node));
        let spans = fields.get("timeout").and_then(|(node, _)| self.spans(node)).unwrap_or_default();
        let on_dead_letter = fields.get("on_dead_letter").map(|(node, _)| self.on_dead_letter(node));
        let labels = fields.get("labels").map(|(node, _)| self.labels(node)).unwrap_or_default();
        let [org, env, task] = ["org", "env", "task"]
            .map(|key| fields.get(key).and_then(|(node, key)| self.template(node, &key)));
        let (name, at) = name?;
        let (on, schedule) = on?;
        Some(Flow {
            file: file.to_owned(),
            name,
            at,
            on,
            schedule,
            debounce,
            conditions,
            for_each,
            org,
            env,
            mode,
            concurrency,
            budget: budget?,
            retry,
            spans,
            run: run?,
            on_dead_letter: on_dead_letter.flatten(),
            task,
            labels,
        })
    }

    fn on_dead_letter(&mut self, node: &Node) -> Option<Request> {
        let fields = self.fields(node, &ON_DEAD_LETTER)?;
        let http = self.required(node, &fields, "http", "the request that tells of it")?;
        self.request(http, &ON_DEAD_LETTER_HTTP)
    }

    pub(super) fn required<'n>(
        &mut self,
        node: &Node,
        fields: &Fields<'n>,
        key: &str,
        what: &str,
    ) -> Option<&'n Node> {
        let found = fields.get(key).map(|(node, _)| node);
        if found.is_none() {
            self.problems.add(node.at, format!("key {key:?} is missing: expected {what}"));
        }
        found
    }

    fn sources(&mut self, node: &Node) -> (Vec<Source>, Option<Schedule>) {
        const EXPECTED: &str = "a mapping of sources, each with its events: {github: {push: }}";
        let entries = self.map(node, "on", EXPECTED).unwrap_or_default();
        if let Tree::Map(entries) = &node.value
            && entries.is_empty()
        {
            self.wrong(node, "on", EXPECTED);
        }
        let (mut sources, mut schedule) = (Vec::new(), None);
        for (key, node) in entries {
            if key.text == SOURCE {
                schedule = self.schedule(node);
                continue;
            }
            if !is_name(&key.text) {
                let message = format!(
                    "on: {:?} is not a source: expected the name of one, or a kind like github",
                    key.text
                );
                self.problems.add(key.at, message);
            }
            sources.push(Source { name: key.text.clone(), events: self.events(node, &key.text) });
        }
        (sources, schedule)
    }

    fn events(&mut self, node: &Node, source: &str) -> Vec<Event> {
        const EXPECTED: &str = "a mapping of events to actions: {pull_request: [opened]}";
        let key = format!("on.{source}");
        let entries = self.map(node, &key, EXPECTED).unwrap_or_default();
        if let Tree::Map(entries) = &node.value
            && entries.is_empty()
        {
            self.wrong(node, &key, EXPECTED);
        }
        let event = |(event, node): &(_, Node)| {
            let event: &super::tree::Key = event;
            Event { name: event.text.clone(), actions: self.actions(node, &format!("{key}.{}", event.text)) }
        };
        entries.iter().map(event).collect()
    }

    /// `None` is any action.
    fn actions(&mut self, node: &Node, key: &str) -> Option<Vec<String>> {
        match &node.value {
            Tree::Nothing => None,
            Tree::Text(text) if text == "*" => None,
            Tree::List(list) if !list.is_empty() => {
                let mut actions = Vec::new();
                for element in list {
                    actions.extend(self.text(element, key, "an action").map(str::to_owned));
                }
                Some(actions)
            }
            Tree::Text(_) | Tree::List(_) | Tree::Map(_) | Tree::Bool(_) | Tree::Number(_) => {
                self.wrong(node, key, "a list of actions, or \"*\" or nothing for any");
                None
            }
        }
    }

    fn conditions(&mut self, node: &Node) -> Vec<Condition> {
        let entries = self.map(node, "if", "a mapping of paths to what must be there").unwrap_or_default();
        let mut conditions = Vec::new();
        for (key, node) in entries {
            let path =
                key.text.parse::<Path>().map_err(|what| self.problems.add(key.at, format!("if: {what}")));
            let name = format!("if.{}", key.text);
            let mut any_of = Vec::new();
            match &node.value {
                Tree::List(list) if !list.is_empty() => {
                    for element in list {
                        any_of.extend(self.expected(element, &name));
                    }
                }
                Tree::List(_)
                | Tree::Text(_)
                | Tree::Bool(_)
                | Tree::Number(_)
                | Tree::Map(_)
                | Tree::Nothing => {
                    any_of.extend(self.expected(node, &name));
                }
            }
            conditions.extend(path.ok().map(|path| Condition { path, any_of }));
        }
        conditions
    }

    fn expected(&mut self, node: &Node, key: &str) -> Option<Expected> {
        match &node.value {
            Tree::Bool(value) => Some(Expected::Equal(Value::Bool(*value))),
            Tree::Number(number) => Some(Expected::Equal(Value::Number(number.clone()))),
            Tree::Text(text) => {
                let regex = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
                let Some(regex) = regex.filter(|regex| !regex.is_empty()) else {
                    return Some(Expected::Equal(Value::String(text.clone())));
                };
                let compiled = Regex::new(regex).map_err(|error| {
                    // The crate draws the expression over several lines; the last one says what is wrong.
                    let error = error.to_string();
                    let what = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    self.problems.add(node.at, format!("{key}: {text} is not a regular expression: {what}"));
                });
                compiled.ok().map(Expected::Match)
            }
            Tree::Nothing | Tree::List(_) | Tree::Map(_) => {
                self.wrong(
                    node,
                    key,
                    "text, a /regular expression/, a number, true or false, or a list of them",
                );
                None
            }
        }
    }

    fn for_each(&mut self, node: &Node) -> Option<Path> {
        let text = self.text(node, "for_each", "a path like requested_reviewers[*]")?;
        match text.parse::<Path>() {
            Ok(path) if path.is_many() => return Some(path),
            Ok(_) => self.wrong(node, "for_each", "a path to every element of a list: with [*]"),
            Err(what) => self.problems.add(node.at, format!("for_each: {what}")),
        }
        None
    }

    fn mode(&mut self, node: &Node, key: &str) -> Option<Mode> {
        const EXPECTED: &str = "off, shadow or live";
        let mode = self.text(node, key, EXPECTED)?.parse().ok();
        if mode.is_none() {
            self.wrong(node, key, EXPECTED);
        }
        mode
    }

    fn retry(&mut self, node: &Node) -> Option<Retries> {
        let fields = self.fields(node, &RETRY)?;
        let at = |key| fields.get(key);
        let backoff = at("backoff").and_then(|(node, key)| self.duration(node, &key, Duration::ZERO));
        let max = at("max").and_then(|(node, key)| self.duration(node, &key, Duration::ZERO));
        if let (Some(first), Some(longest), Some((node, key))) = (backoff, max, at("max"))
            && longest < first
        {
            self.wrong(node, &key, "at least retry.backoff");
        }
        Some(Retries {
            attempts: at("attempts").and_then(|(node, key)| self.count(node, &key, 1, ATTEMPTS_MAX)),
            backoff,
            factor: at("factor").and_then(|(node, key)| self.factor(node, &key)),
            max,
            jitter: at("jitter").and_then(|(node, key)| self.percent(node, &key)),
        })
    }

    fn spans(&mut self, node: &Node) -> Option<Spans> {
        let fields = self.fields(node, &TIMEOUT)?;
        let mut span = |key| fields.get(key).and_then(|(node, key)| self.duration(node, &key, MOMENT));
        Some(Spans { attempt: span("attempt"), silence: span("silence"), expires: span("expires") })
    }

    fn run(&mut self, node: &Node) -> Option<Run> {
        let fields = self.fields(node, &RUN)?;
        let cwd = fields.get("cwd").and_then(|(node, key)| self.template(node, &key));
        let misplaced = |reader: &mut Self, key: &str, with: &str| {
            if let Some(at) = fields.key_at(key) {
                reader.problems.add(at, format!("key \"run.{key}\" goes with run.{with} only"));
            }
        };
        match (fields.get("agent"), fields.get("command"), fields.get("http"), fields.get("worker")) {
            (Some((agent, key)), None, None, None) => {
                let runtime = self.name(agent, &key);
                misplaced(self, "runtime", "command, run.http or run.worker");
                let prompt = self.required(node, &fields, "prompt", "what the agent is asked");
                let prompt = self.template(prompt?, "run.prompt");
                let model = fields.get("model").and_then(|(node, key)| self.template(node, &key));
                Some(Run::Agent { runtime: runtime?, model, prompt: prompt?, cwd })
            }
            (None, Some((command, key)), None, None) => {
                let argv = self.argv(command, &key);
                misplaced(self, "prompt", "agent");
                misplaced(self, "model", "agent");
                let runtime = self.runtime(&fields, RUNTIME_DEFAULT);
                Some(Run::Command { runtime: runtime?, argv: argv?, cwd })
            }
            (None, None, Some((http, _)), None) => {
                misplaced(self, "prompt", "agent");
                misplaced(self, "model", "agent");
                misplaced(self, "cwd", "agent or run.command");
                let runtime = self.runtime(&fields, HTTP_RUNTIME_DEFAULT);
                let request = self.request(http, &HTTP);
                Some(Run::Http { runtime: runtime?, request: request? })
            }
            (None, None, None, Some((queue, key))) => {
                misplaced(self, "prompt", "agent");
                misplaced(self, "model", "agent");
                misplaced(self, "cwd", "agent or run.command");
                let queue = self.name(queue, &key);
                let runtime = self.runtime(&fields, WORKER_RUNTIME_DEFAULT);
                Some(Run::Worker { runtime: runtime?, queue: queue? })
            }
            (None, None, None, None) => {
                let message = "run has neither agent, command, http nor worker: expected one of them";
                self.problems.add(node.at, message.to_owned());
                None
            }
            (agent, command, http, worker) => {
                let all = [("agent", agent), ("command", command), ("http", http), ("worker", worker)];
                let given: Vec<&str> =
                    all.iter().filter(|(_, found)| found.is_some()).map(|(key, _)| *key).collect();
                let message = format!("run has both {}: expected one of them", given.join(" and "));
                self.problems.add(node.at, message);
                None
            }
        }
    }

    fn runtime(&mut self, fields: &Fields, default: &str) -> Option<Name> {
        match fields.get("runtime") {
            Some((node, key)) => self.name(node, &key),
            None => Some(Name::from(default)),
        }
    }

    /// An argument may be empty text, the program may not.
    fn argv(&mut self, node: &Node, key: &str) -> Option<Vec<Template>> {
        const EXPECTED: &str = "a list of a program and its arguments, as it is never given to a shell";
        let Tree::List(list) = &node.value else {
            self.wrong(node, key, EXPECTED);
            return None;
        };
        if list.is_empty() {
            self.wrong(node, key, EXPECTED);
            return None;
        }
        let mut argv = Vec::new();
        for (n, element) in list.iter().enumerate() {
            let key = format!("{key}[{n}]");
            let empty = matches!(&element.value, Tree::Text(text) if text.is_empty());
            argv.push(if n > 0 && empty { Template::compile("").ok() } else { self.template(element, &key) });
        }
        argv.into_iter().collect()
    }

    fn labels(&mut self, node: &Node) -> BTreeMap<String, Template> {
        let entries = self.map(node, "labels", "a mapping of names to text").unwrap_or_default();
        let mut labels = BTreeMap::new();
        for (key, node) in entries {
            let name = format!("labels.{}", key.text);
            if !is_name(&key.text) {
                let what = "is not a label's name: expected up to 64 lower-case letters, digits and - _ .";
                self.problems.add(key.at, format!("{name} {what}"));
            }
            labels.extend(self.template(node, &name).map(|template| (key.text.clone(), template)));
        }
        labels
    }
}
