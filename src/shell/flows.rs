//! Flow files on disk: which there are, and what they make of a trigger.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::flow::{self, Flow, Problem};
use crate::model::{Policy, RecordId, Submission, Trigger};

/// The most flow files of a directory.
const FILES_MAX: usize = 10_000;

/// Every flow of a directory (`*.yaml`, `*.yml`), in the order of their file names; or all that is wrong with them.
pub fn load(dir: Option<&Path>) -> anyhow::Result<Vec<Flow>> {
    let Some(dir) = dir else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read flows in {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        bail!("{} has {} flow files: at most {FILES_MAX} are read", dir.display(), paths.len());
    }
    paths.sort();
    read(&paths)
}

/// The flows of these files; or all that is wrong with them, a line each.
pub fn read(paths: &[impl AsRef<Path>]) -> anyhow::Result<Vec<Flow>> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let path = path.as_ref();
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read flow {}", path.display()))?;
        files.push((path.display().to_string(), text));
    }
    flow::load(files).map_err(|problems| Broken(problems).into())
}

/// Flow files that cannot be used.
#[derive(Debug)]
pub struct Broken(pub Vec<Problem>);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Broken {}

/// The runs that `flows` make of a trigger, numbered through. A payload that is no JSON matches nothing that looks
/// into it.
pub fn expand(flows: &[Flow], trigger: &Trigger, policy: &Policy) -> Vec<Submission> {
    let payload = serde_json::from_slice(&trigger.payload).unwrap_or_default();
    let mut made = 0;
    let mut next_id = || {
        made += 1;
        RecordId::run_of(trigger.id, made - 1)
    };
    flows.iter().flat_map(|flow| flow.expand(trigger, &payload, policy, &mut next_id)).collect()
}
