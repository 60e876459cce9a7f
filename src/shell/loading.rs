//! What a configuration and its flow files make: settings for the engine, runtimes for the executor, sources and flows for
//! HTTP. All of it is read and checked together, at the start and at each reload.

use std::collections::BTreeMap;

use super::capabilities::{Capabilities, Runtimes};
use super::cli::exit::{self, Failure};
use super::config::{self, Config};
use super::http::{self, FlowRow, Loaded};
use super::{flows, notify, sources, timetable};
use crate::engine;
use crate::exec;
use crate::flow::Flow;
use crate::model::Name;

/// Everything that was read, and is in force nowhere yet.
pub struct Loading<'c> {
    config: &'c Config,
    flows: Vec<Flow>,
    sources: BTreeMap<Name, http::Source>,
    notify: BTreeMap<Name, engine::Notify>,
}

impl<'c> Loading<'c> {
    /// Reads flow files and secrets; the error says what of them cannot be used.
    pub fn read(config: &'c Config) -> anyhow::Result<Loading<'c>> {
        let unusable = |error: anyhow::Error| Failure { exit: exit::CONFIG, message: error.to_string() };
        Ok(Loading {
            config,
            flows: flows::load(config.flows.as_deref())?,
            sources: sources::open(&config.sources).map_err(unusable)?,
            notify: notify::open(&config.notify).map_err(unusable)?,
        })
    }

    /// How many flows there are.
    pub const fn flows(&self) -> usize {
        self.flows.len()
    }

    /// For the engine of all of a store.
    pub fn settings(&self) -> engine::Settings {
        let Loading { config, flows, sources: _, notify } = self;
        let runtimes = config.runtimes.iter().map(|(name, runtime)| (name.clone(), runtime.concurrency));
        let pacing = config.runtimes.iter().map(|(name, runtime)| (name.clone(), runtime.pacing));
        let modes = flows.iter().map(|flow| (flow.name().clone(), engine::Flow { mode: flow.mode() }));
        engine::Settings {
            policy: config.policy.clone(),
            runtimes: runtimes.collect(),
            pacing: pacing.collect(),
            retention: config.finished_for,
            finished_max: config.finished_max,
            drain_timeout: config.drain_timeout,
            queued_max: config.queued_max,
            burst: config.burst,
            orgs: config.orgs.clone(),
            flows: modes.collect(),
            mode: config.mode,
            min_shadow: config.min_shadow,
            notify: notify.clone(),
            stalled_after: config.stalled_after,
            schedules: timetable::of(flows, &config.policy),
            shard: engine::Shard::default(),
            pool: None,
            decoded_max: engine::DECODED_MAX,
        }
    }

    /// For the executor: what it starts attempts with from then on.
    pub fn setup(&self) -> impl FnOnce(&mut exec::Setup) + Send + 'static {
        let config = self.config;
        let (runtimes, answer_within, kill_after) =
            (runtimes(config), config.answer_within, config.kill_after);
        let (limit_prompt, continue_prompt) = (config.resume_prompt.clone(), config.continue_prompt.clone());
        let withheld = config.secret_variables();
        move |setup| {
            setup.runtimes = runtimes;
            // What a configuration named once is still in dwell's environment, and still a secret.
            setup.withheld.extend(withheld);
            setup.answer_within = answer_within;
            setup.kill_after = kill_after;
            setup.limit_prompt = limit_prompt;
            setup.continue_prompt = continue_prompt;
        }
    }

    /// For HTTP.
    pub fn loaded(self) -> Loaded {
        let Loading { config, flows, sources, notify: _ } = self;
        let capabilities = Capabilities::of(&flows, &config.sources, runtimes(config));
        let policy = config.policy.clone();
        Loaded {
            sources,
            flows: flows.iter().map(row).collect(),
            missing: Box::new(move || capabilities.missing()),
            expand: Box::new(move |trigger| flows::expand(&flows, trigger, &policy)),
            prompts: http::Prompts {
                limit_reset: config.resume_prompt.clone(),
                go_on: config.continue_prompt.clone(),
            },
        }
    }
}

/// The same for the engine of a shard: schedules are of one.
pub fn of_shard(settings: &engine::Settings, shard: engine::Shard) -> engine::Settings {
    let mut settings = engine::Settings { shard, ..settings.clone() };
    if !shard.has(timetable::slot()) {
        settings.schedules.clear();
    }
    settings
}

fn row(flow: &Flow) -> FlowRow {
    let (name, runtime) = (flow.name().clone(), flow.runtime().clone());
    FlowRow { name, file: flow.file().to_owned(), on: flow.on(), runtime }
}

/// How runtimes are started, those that may start anything.
pub fn runtimes(config: &Config) -> Runtimes {
    let able = config.runtimes.iter().filter(|(_, runtime)| runtime.concurrency > 0);
    let setup = |runtime: &config::Runtime| exec::RuntimeSetup {
        adapter: runtime.adapter,
        argv: runtime.argv.clone(),
        resume_argv: (!runtime.resume_argv.is_empty()).then(|| runtime.resume_argv.clone()),
        env: runtime.env.clone(),
        cwd: runtime.cwd.clone(),
    };
    able.map(|(name, runtime)| (name.clone(), setup(runtime))).collect()
}
