//! What flows need to act, and what of it is not there. It is looked at anew each time it is asked for: programs and
//! secrets come and go while dwell runs.
//!
//! Absent on purpose: what follows from it. The engine refuses to go live, and status says `blocked`.

use std::collections::BTreeMap;
use std::fmt;

use super::config::{SecretRef, Source};
use crate::exec::RuntimeSetup;
use crate::flow::{Flow, Starts};
use crate::model::{Missing, Name};

/// What every flow needs, and how the runtimes that may serve it are started.
pub struct Capabilities {
    needs: Vec<(Name, Vec<Need>)>,
    runtimes: Runtimes,
}

/// How runtimes are started, by name.
pub type Runtimes = BTreeMap<Name, RuntimeSetup>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Its runtime, which is not configured.
    Runtime(Name),
    /// An agent, which its runtime has not.
    Agent(Name),
    Program {
        runtime: Name,
        program: String,
    },
    /// Of a source that it hears.
    Secret {
        source: Name,
        secrets: Vec<SecretRef>,
    },
}

impl Capabilities {
    /// What these flows need.
    pub fn of(flows: &[Flow], sources: &BTreeMap<Name, Source>, runtimes: Runtimes) -> Capabilities {
        let needs = |flow: &Flow| {
            let mut needs: Vec<Need> = started(flow, &runtimes).into_iter().collect();
            let heard = |name: &Name, source: &Source| {
                flow.sources().any(|wanted| wanted == &**name || wanted == source.kind)
            };
            let heard = sources.iter().filter(|(name, source)| heard(name, source));
            let secret = |(name, source): (&Name, &Source)| Need::Secret {
                source: name.clone(),
                secrets: source.secrets.clone(),
            };
            needs.extend(heard.map(secret));
            needs
        };
        let needs = flows.iter().map(|flow| (flow.name().clone(), needs(flow))).collect();
        Capabilities { needs, runtimes }
    }

    /// What is not there now.
    pub fn missing(&self) -> Vec<Missing> {
        // Many flows need the same few things.
        let mut looked: BTreeMap<&Need, Option<String>> = BTreeMap::new();
        let mut missing = Vec::new();
        for (flow, needs) in &self.needs {
            for need in needs {
                let why = looked.entry(need).or_insert_with(|| need.fault(&self.runtimes)).clone();
                missing.extend(why.map(|why| Missing { flow: flow.clone(), need: need.to_string(), why }));
            }
        }
        missing
    }
}

/// What carries its runs out.
fn started(flow: &Flow, runtimes: &Runtimes) -> Option<Need> {
    let name = flow.runtime();
    let Some(runtime) = runtimes.get(name) else { return Some(Need::Runtime(name.clone())) };
    let program = match flow.starts() {
        Starts::NoProgram | Starts::Program(None) => return None,
        Starts::Program(Some(program)) => program,
        Starts::Agent => match runtime.agent_program() {
            Some(program) => program.to_owned(),
            None => return Some(Need::Agent(name.clone())),
        },
    };
    // From a directory that a trigger may name, nothing can be looked up.
    let elsewhere = flow.has_cwd() && program.contains('/') && !program.starts_with('/');
    (!elsewhere).then(|| Need::Program { runtime: name.clone(), program })
}

impl Need {
    /// What is the matter with it, if anything is.
    fn fault(&self, runtimes: &Runtimes) -> Option<String> {
        match self {
            Need::Runtime(name) => Some(format!("runtime {name} is not configured")),
            Need::Agent(name) => Some(format!("runtime {name} has no agent: its argv is empty")),
            Need::Program { runtime, program } => {
                let found = runtimes.get(runtime).is_some_and(|setup| setup.finds(program));
                (!found).then(|| format!("program {program} is not found from runtime {runtime}"))
            }
            Need::Secret { source, secrets } if secrets.is_empty() => {
                Some(format!("source {source} has no secrets: every webhook to it is refused"))
            }
            Need::Secret { source, secrets } => {
                let fault = secrets.iter().find_map(|secret| secret.resolve().err());
                fault.map(|fault| format!("source {source}: {fault}"))
            }
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Runtime(name) => write!(f, "runtime {name}"),
            Need::Agent(name) => write!(f, "agent of runtime {name}"),
            Need::Program { program, .. } => write!(f, "program {program}"),
            Need::Secret { source, .. } => write!(f, "secret of {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Adapter;
    use crate::flow;

    fn runtime(adapter: Adapter, argv: &[&str]) -> RuntimeSetup {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        RuntimeSetup { adapter, argv, resume_argv: None, env: BTreeMap::new(), cwd: None }
    }

    /// What a flow lacks that hears `on` and does `run`, on a machine with the runtimes `empty`, `shell` and `agent`.
    fn lacks(on: &str, run: &str) -> Vec<String> {
        let file = format!("name: f\non: {{ {on}: {{ push: }} }}\nrun: {run}\n");
        let flows = flow::load([("f.yaml", file)]).unwrap();
        let source = |secrets: &[&str]| Source {
            kind: "github".to_owned(),
            secrets: secrets.iter().map(|secret| secret.parse().unwrap()).collect(),
        };
        let sources = [("open".into(), source(&[])), ("gh".into(), source(&["plain:s", "file:/nowhere"]))];
        let runtimes = [
            ("empty".into(), runtime(Adapter::Plain, &[])),
            ("shell".into(), runtime(Adapter::Plain, &[])),
            ("agent".into(), runtime(Adapter::Claude, &["no-such-agent"])),
        ];
        let all = Capabilities::of(&flows, &sources.into(), runtimes.into()).missing();
        all.into_iter().map(|missing| missing.need).collect()
    }

    #[test]
    fn a_flow_lacks_what_its_runs_cannot_do_without() {
        for (run, lacking) in [
            ("{ command: [sh] }", vec![]),
            ("{ command: [no-such-program] }", vec!["program no-such-program"]),
            ("{ command: [sh], runtime: farm }", vec!["runtime farm"]),
            ("{ agent: agent, prompt: p }", vec!["program no-such-agent"]),
            ("{ agent: empty, prompt: p }", vec!["agent of runtime empty"]),
            ("{ http: { url: 'http://h/' }, runtime: shell }", vec![]),
            // What only a trigger names is not looked for.
            ("{ command: ['${program}'] }", vec![]),
            ("{ command: [./no-such-program], cwd: '${dir}' }", vec![]),
            ("{ command: [./no-such-program] }", vec!["program ./no-such-program"]),
        ] {
            assert_eq!(lacks("cli", run), lacking, "{run}");
        }
    }

    #[test]
    fn a_flow_lacks_the_secrets_of_each_source_that_it_hears() {
        let run = "{ command: [sh] }";
        assert_eq!(lacks("open", run), ["secret of open"], "none is set");
        assert_eq!(lacks("gh", run), ["secret of gh"], "one cannot be read");
        assert_eq!(lacks("github", run), ["secret of gh", "secret of open"]);
    }
}
