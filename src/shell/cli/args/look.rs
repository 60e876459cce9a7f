//! What the commands that only look are asked.

use clap::{Args, ValueEnum};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    Sessions,
    Runs,
    Flows,
    Runtimes,
    /// Envs of orgs: what waits and runs in each
    Scopes,
    /// Drained scopes
    Drains,
    /// Queues of workers
    Queues,
    Dead,
    Triggers,
    Redrives,
    Upcoming,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag as it is typed")]
pub struct Ls {
    /// What to list [default: sessions and runs]
    pub what: Option<What>,
    /// In this state
    #[arg(long)]
    pub state: Option<String>,
    /// Of this tenant
    #[arg(long)]
    pub org: Option<String>,
    /// Of this environment
    #[arg(long)]
    pub env: Option<String>,
    /// Of this flow
    #[arg(long)]
    pub flow: Option<String>,
    /// On this runtime
    #[arg(long)]
    pub runtime: Option<String>,
    /// Dead-lettered for this
    #[arg(long)]
    pub cause: Option<String>,
    /// Dead-lettered with an error of this kind, as `dwell ls dead --groups` names it
    #[arg(long)]
    pub fingerprint: Option<String>,
    /// With this key
    #[arg(long)]
    pub key: Option<String>,
    /// With this label
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Option<String>,
    /// Only what flows in shadow recorded
    #[arg(long)]
    pub shadow: bool,
    /// Dead letters only: by cause, flow, runtime and kind of error, the largest group first
    #[arg(long)]
    pub groups: bool,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Times as they are, not as they are from now; what is piped on always has them so
    #[arg(long)]
    pub absolute: bool,
    /// Show it anew each second, until ctrl-c
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct One {
    /// Record id, or a unique beginning of it
    pub id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Why {
    /// Record id, or a unique beginning of it; or all, runtime:NAME, flow:NAME, org:NAME
    pub of: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Record id, or a unique beginning of it
    pub id: String,
    /// One attempt only
    #[arg(long)]
    pub attempt: Option<u32>,
    /// Go on until the record is done
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// Of this flow
    pub flow: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
