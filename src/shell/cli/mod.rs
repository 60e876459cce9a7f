//! The command line: a thin client of the HTTP interface, and the way to start the server.

mod act;
mod args;
mod backup;
mod budget;
mod check;
mod claim;
pub mod client;
pub mod exit;
mod look;
mod ls;
mod modes;
mod near;
mod nodes;
pub mod out;
mod paced;
mod pages;
mod run;
mod table;
mod token;
mod transfer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use serde_json::{Value as Json, json};

use self::args::{Cli, Command, ConfigCommand, FlowCommand, Place, Serve};
use self::client::Client;
use self::exit::{Failure, USAGE};
use crate::shell::config::{Config, ConfigError, FILE, Layers, keys};
use crate::shell::{cluster, demo, demo_agent, serve, time};
use crate::{exec, flow};

/// Parses the arguments, does what they say, and answers with the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match carry_out(&cli) {
        Ok(code) => code,
        Err(error) => {
            let error = with_nearest(&cli, error);
            // In the place of how far it had come.
            out::progress("");
            out::note(&format!("dwell: {error:#}"));
            exit::code(&error)
        }
    }
}

/// The error; if it may come of a mistyped name, with the one that may have been meant.
fn with_nearest(cli: &Cli, error: anyhow::Error) -> anyhow::Error {
    match (error.downcast::<Failure>(), Client::known(&cli.place)) {
        (Ok(failure), Ok(Some(client))) => near::suggest(failure, &client, &cli.command).into(),
        (Ok(failure), _) => failure.into(),
        (Err(error), _) => error,
    }
}

fn carry_out(cli: &Cli) -> anyhow::Result<ExitCode> {
    let place = &cli.place;
    let client = || Client::find(place);
    match &cli.command {
        Command::Serve(args) => return start(place, args),
        Command::Run(args) => return Ok(ExitCode::from(run::run(place, args)?)),
        Command::Demo => return demo::run(),
        Command::Check(args) => return Ok(ExitCode::from(check::check(place, args)?)),
        Command::DemoAgent { argv } => demo_agent::run(argv)?,
        Command::Guard { mark } => cluster::guard(mark)?,
        Command::Migrate => nodes::migrate(place)?,
        Command::Nodes(args) => nodes::nodes(&client()?, args.json)?,
        Command::Rebalance => nodes::rebalance(&client()?)?,
        Command::Hold { argv } => {
            let not_run = exec::hold(argv);
            out::note(&format!("dwell: {}", not_run.why));
            return Ok(ExitCode::from(not_run.code));
        }
        Command::Completions { shell } => pages::completions(*shell)?,
        Command::Man { dir } => pages::man(dir.as_deref())?,
        Command::Flow(FlowCommand::Check { files, json }) => return flow_check(files, *json),
        Command::Flow(FlowCommand::Schema) => out::line(flow::SCHEMA.trim_end())?,
        Command::Token(command) => token::token(place, command)?,
        Command::Config(ConfigCommand::Check { json }) => config_check(place, *json)?,
        Command::Config(ConfigCommand::Schema) => out::json(&keys::json_schema())?,
        Command::Backup(args) => backup::backup(place, args)?,
        Command::Restore(args) => backup::restore(place, args)?,
        Command::Export(args) => transfer::export(place, args)?,
        Command::Import(args) => transfer::import(place, args)?,
        Command::Trigger(args) => act::trigger(&client()?, args)?,
        Command::Replay(args) => act::replay(&client()?, args)?,
        Command::Ls(args) => ls::ls(&client()?, args)?,
        Command::Show(args) => look::show(&client()?, args)?,
        Command::History(args) => look::history(&client()?, args)?,
        Command::Why(args) => look::why(&client()?, args)?,
        Command::Logs(args) => look::logs(&client()?, args)?,
        Command::Cancel(args) => act::command(&client()?, "cancel", args)?,
        Command::Resume(args) => act::command(&client()?, "resume", args)?,
        Command::Redrive(args) => act::redrive(&client()?, args)?,
        Command::Rerun(args) => act::rerun(&client()?, args)?,
        Command::Budget(args) => budget::budget(&client()?, args)?,
        Command::Charge(args) => act::charge(&client()?.with_token(args.attempt.token.clone()), args)?,
        Command::Report(args) => act::report(&client()?.with_token(args.attempt.token.clone()), args)?,
        Command::Mode(args) => modes::mode(&client()?, args)?,
        Command::Flow(FlowCommand::Diff(args)) => modes::diff(&client()?, args)?,
        Command::Claim(args) => claim::claim(&client()?, args)?,
        Command::Runtime(command) => act::runtime(&client()?, command)?,
        Command::Drain(args) => act::drain(&client()?, args)?,
        Command::Undrain(args) => act::undrain(&client()?, args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn start(place: &Place, args: &Serve) -> anyhow::Result<ExitCode> {
    let mut flags = Vec::new();
    if let Some(listen) = &args.listen {
        flags.push(("--listen", "server.listen", listen.clone()));
    }
    if let Some(flows) = &args.flows {
        flags.push(("--flows", "flows.dir", flows.display().to_string()));
    }
    let test_clock = match &args.test_clock {
        None => None,
        Some(text) => {
            Some(time::parse(text).map_err(|error| Failure { exit: USAGE, message: error.to_string() })?)
        }
    };
    let place = place.clone();
    let read = Box::new(move || load(&place, flags.clone()));
    serve::run(read, &serve::Options { test_clock, paused: args.paused })
}

/// The configuration of this place, with more flags on top.
fn load(place: &Place, mut flags: Vec<(&'static str, &'static str, String)>) -> Result<Config, ConfigError> {
    if let Some(data) = &place.data {
        flags.push(("--data", "store.url", format!("file:{}", data.display())));
    }
    let usual = || Some(PathBuf::from(FILE)).filter(|file| file.is_file());
    let file = place.config.clone().or_else(usual);
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let layers = Layers { file, env: std::env::vars_os().filter_map(text).collect(), flags };
    let mut config = Config::load(&layers)?;
    let is_elsewhere =
        |(name, value): &(String, String)| name == "DWELL_STORE_URL" && value.starts_with("postgres");
    let elsewhere = layers.env.iter().any(is_elsewhere);
    if place.data.is_some() && elsewhere {
        config.warnings.push(
            "--data names a store in files, and goes before DWELL_STORE_URL, which names one in PostgreSQL"
                .to_owned(),
        );
    }
    Ok(config)
}

fn config_check(place: &Place, json: bool) -> anyhow::Result<()> {
    let config = load(place, Vec::new())?;
    for warning in &config.warnings {
        out::note(&format!("warning: {warning}"));
    }
    if json {
        out::json(&json!({ "items": config.items(), "warnings": config.warnings }))?;
    } else {
        out::line(config.describe().trim_end())?;
    }
    serve::keyring(&config, config.listen)?;
    Ok(())
}

fn flow_check(files: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        let text = std::fs::read_to_string(file);
        let text =
            text.map_err(|error| Failure { exit: USAGE, message: format!("{}: {error}", file.display()) })?;
        texts.push((shown(file), text));
    }
    let loaded = flow::load(texts);
    if json {
        let flows = loaded.as_ref().map_or(0, Vec::len);
        let problems: Vec<Json> = loaded.as_ref().err().into_iter().flatten().map(problem).collect();
        out::json(&json!({ "files": files.len(), "flows": flows, "items": problems }))?;
        return Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::CONFIG) });
    }
    match loaded {
        Ok(flows) => {
            out::line(&format!("{} of {} files are flows without problems", flows.len(), files.len()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            for problem in &problems {
                out::line(&problem.to_string())?;
            }
            Ok(ExitCode::from(exit::CONFIG))
        }
    }
}

fn problem(problem: &flow::Problem) -> Json {
    let flow::Problem { file, line, column, message } = problem;
    json!({ "file": file, "line": line, "column": column, "message": message })
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}
