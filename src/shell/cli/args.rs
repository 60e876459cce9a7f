//! The command line as it is typed.

mod hold;
mod look;
mod whole;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::Value as Json;

pub use self::hold::{Drain, Runtime, Undrain};
pub use self::look::{Diff, Logs, Ls, One, What, Why};
pub use self::whole::{Backup, Check, Export, Import, Restore};
use super::budget;
use crate::model::{self, Time};
use crate::shell::keyring::Right;
use crate::shell::time;

/// dwell: durable agent sessions and flow runs. Every wait is a deadline on disk.
#[derive(Debug, Parser)]
#[command(
    name = "dwell",
    version,
    about,
    arg_required_else_help = true,
    after_help = "\
Examples:
  dwell serve                                        start the engine on ./dwell-data
  dwell run -- ./nightly-report.sh                   one durable session, output followed
  dwell run --runtime claude --prompt \"Fix the flaky test\"
  dwell ls dead                                      what waits for you
  dwell history ses_01K                              every step of a record; a unique prefix is enough

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused by state, 69 server unreachable,
75 budget exhausted or rate limited, 78 bad configuration."
)]
pub struct Cli {
    #[command(flatten)]
    pub place: Place,
    #[command(subcommand)]
    pub command: Command,
}

/// Where things are.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Configuration file [default: ./dwell.toml if it is there]
    #[arg(long, global = true, env = "DWELL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Store directory [default: ./dwell-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Server to ask [default: what the store's server wrote to DIR/address]
    #[arg(long, global = true, env = "DWELL_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// File with the token to show the server [default: $DWELL_TOKEN, or the file $DWELL_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the engine and serve HTTP
    #[command(after_help = "Example:\n  dwell serve --data /var/lib/dwell --flows ./flows")]
    Serve(Serve),
    /// Run one durable session and follow it
    #[command(after_help = "Examples:
  dwell run -- make test                       a command, in this directory
  dwell run --key nightly-1121 -- ./nightly    once, however often this is typed
  dwell run --prompt \"Review the open PRs\"     an agent on the runtime claude
  dwell run --worker reviews --payload pr.json  whatever claims it from that queue
Without a running server it starts one in the foreground and stops it when the session ends.")]
    Run(Run),
    /// Hand in an event by hand
    #[command(after_help = "Example:\n  dwell trigger github pull_request --action opened payload.json")]
    Trigger(Trigger),
    /// Match an accepted trigger against today's flows
    #[command(after_help = "Examples:
  dwell replay trg_01K              what it made; nothing new
  dwell replay trg_01K --force      new runs, of a new trigger that names the old one")]
    Replay(Replay),
    /// List records and what is around them
    #[command(
        after_help = "Examples:\n  dwell ls\n  dwell ls runs --state backoff --flow review\n  dwell ls runtimes --json"
    )]
    Ls(Ls),
    /// Show one record, or one trigger with its payload
    #[command(after_help = "Examples:\n  dwell show ses_01K --json\n  dwell show trg_01K")]
    Show(One),
    /// Show every step a record made
    #[command(after_help = "Example:\n  dwell history run_01K")]
    History(One),
    /// Say what keeps a record, or a runtime or flow, from starting
    #[command(
        after_help = "Examples:\n  dwell why ses_01K\n  dwell why runtime:claude\n  dwell why flow:review --json"
    )]
    Why(Why),
    /// Print what the attempts of a record wrote
    #[command(after_help = "Examples:\n  dwell logs ses_01K\n  dwell logs ses_01K --attempt 2 -f")]
    Logs(Logs),
    /// End records for good
    #[command(after_help = "Example:\n  dwell cancel ses_01K run_01M")]
    Cancel(Many),
    /// End a wait early
    #[command(after_help = "Examples:
  dwell resume ses_01K               its own wait; a limit holds its whole runtime, and it with it
  dwell runtime resume claude        the limit of a runtime, and the waits of all its records")]
    Resume(Many),
    /// Give dead-lettered records another life
    #[command(after_help = "Examples:
  dwell redrive ses_01K
  dwell redrive --cause throttled --older 1h --dry-run     which ones would go
  dwell redrive --all
  dwell redrive --flow review --rate 10/s                  so many at a time; goes on without this command
  dwell ls redrives                                        those that are running
  dwell redrive --stop rdv_01K...")]
    Redrive(Redrive),
    /// Do what a record was asked for once more, as a new record
    #[command(
        after_help = "Example:\n  dwell rerun ses_01K\nPrints the new id. It has no key, and a budget of its own."
    )]
    Rerun(One),
    /// Show what a record may use up, or give it more
    #[command(after_help = "Examples:
  dwell budget ses_01K
  dwell budget ses_01K --add 20                  of what it waits for, else of calls
  dwell budget ses_01K --add 2h --of wall
A record that waits as dead_lettered budget_exhausted goes on where it stopped, with the same provider session.")]
    Budget(Budget),
    /// Inside an attempt: take mutating calls from its budget
    #[command(after_help = "Example, in a tool that is about to write:
  dwell charge || exit 75
Prints used and limit. Exits 75 when the budget does not hold the calls; then nothing was taken.")]
    Charge(Charge),
    /// Inside an attempt: report how it goes
    #[command(after_help = "Examples:
  dwell report heartbeat
  dwell report rate_limited --reset-at 2026-11-21T02:10:00Z --message \"limit reached\"
  dwell report usage --tokens 1200 --cost-usd 0.04
  dwell report failed --code no_network --message \"cannot reach the registry\"")]
    Report(Report),
    /// Take attempts from a queue of workers, to carry them out in a script
    #[command(after_help = "Example, a worker in a shell:
  while attempt=$(dwell claim reviews --wait 20s); do
    [ -n \"$attempt\" ] || continue
    printf '%s\\n' \"$attempt\" | {
      read -r DWELL_ID DWELL_ATTEMPT DWELL_TOKEN payload
      export DWELL_ID DWELL_ATTEMPT DWELL_TOKEN
      if printf %s \"$payload\" | ./review; then dwell report succeeded; else dwell report failed; fi
    }
  done
Prints a line for each attempt: its id, number, token and payload; nothing when there were none.
`dwell report heartbeat` renews the lease. Once it has run out, the work can be claimed again.")]
    Claim(Claim),
    /// Pause or resume a runtime
    #[command(subcommand)]
    Runtime(Runtime),
    /// Let nothing of a scope start; what is outstanding may finish
    #[command(after_help = "Examples:
  dwell drain --runtime claude           until dwell undrain, also after a restart
  dwell drain --all --timeout 10m        what is outstanding has ten minutes")]
    Drain(Drain),
    /// Let a drained scope go
    #[command(after_help = "Example:\n  dwell undrain --flow review")]
    Undrain(Undrain),
    /// Say what becomes of the triggers that flows match, or change it
    #[command(after_help = "Examples:
  dwell mode                        every flow: its mode, who named it, what it does, since when
  dwell mode shadow                 every flow without a mode of its own: record what it would do, act on nothing
  dwell mode review live            one flow, whatever the rest does
  dwell mode review --clear         back to what the rest does
off makes no run, shadow records the run it would have made, live runs it. It is in force for the next
trigger; what is queued goes on in any mode. Going live is refused while what a flow needs is missing.")]
    Mode(Mode),
    /// Copy the store into a file, while it is served or not
    #[command(after_help = "Examples:
  dwell backup /backups/dwell-$(date +%F)
  dwell backup - | ssh elsewhere 'cat > dwell.backup'
Work goes on meanwhile. The file is the state at one commit, is there whole or not at all, and proves itself when it is
restored. It holds payloads and prompts as they are; the output of attempts (DIR/logs) is not in it.")]
    Backup(Backup),
    /// Make a store of a backup
    #[command(after_help = "Examples:
  dwell restore /backups/dwell-2026-11-21 --data ./restored
  dwell restore FILE --segments /archive --until 2026-11-21T10:00:00Z --data ./restored
  dwell restore FILE --segments /archive --segments ./dwell-data/journal --data ./rebuilt
All of it is read and proven before anything is written. Start the restored store only where the one it was made
from is gone: two servers would carry out the same work.")]
    Restore(Restore),
    /// Write a stopped store into a file, for a store of another kind
    #[command(after_help = "Example:
  dwell export store.dwell --data ./dwell-data
  DWELL_STORE_URL=postgres://dwell@db/dwell dwell migrate
  DWELL_STORE_URL=postgres://dwell@db/dwell dwell import store.dwell
From files to PostgreSQL, or back: of store.url or --data. Nothing may run on it. Transitions of the past and the output of
attempts stay behind. It says how many rows there are and their sha256; import reads what it wrote and compares.")]
    Export(Export),
    /// Make a store of an export
    #[command(after_help = "Examples:
  dwell import store.dwell --data ./new                             into files
  DWELL_STORE_URL=postgres://dwell@db/dwell dwell import store.dwell   into a store that dwell migrate has just made")]
    Import(Import),
    /// Make a store in PostgreSQL, or bring one up to this version
    #[command(after_help = "Example:
  DWELL_STORE_URL=postgres://dwell@db/dwell dwell migrate
Cuts a new store into store.shards shards, for good. Refuses a store that a newer version has made; nodes refuse to start
on one that is older than they are.")]
    Migrate,
    /// Show the nodes of a store in PostgreSQL, and which shards each owns
    #[command(
        after_help = "Example:\n  dwell nodes --server http://node1:7070\nThe node that answers is marked with *."
    )]
    Nodes(Listed),
    /// Let every node give back the shards that are more than its share
    #[command(after_help = "Example:\n  dwell rebalance
For after a node has come back or was added. A shard that moves starts nothing more, waits for what runs (drain.timeout),
and goes on with its next owner.")]
    Rebalance,
    /// Say who may ask the server, and what
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at flow files
    #[command(subcommand)]
    Flow(FlowCommand),
    /// Say whether a stopped store is whole, and what can be put right
    #[command(after_help = "Examples:
  dwell check --data /var/lib/dwell
  dwell check --repair                only what loses nothing
Reads every byte and writes none without --repair. The table is read in a copy: the directory for temporary files
($TMPDIR) needs as much room as DIR/table has.
--repair puts what it takes out into DIR/repair-<time>/ and says each thing it does. Exits 0 if the store is whole, else 1.")]
    Check(Check),
    /// Print what makes a shell complete dwell's command line
    #[command(after_help = "Examples:
  dwell completions bash > /etc/bash_completion.d/dwell
  dwell completions zsh > \"${fpath[1]}/_dwell\"
  dwell completions fish > ~/.config/fish/completions/dwell.fish")]
    Completions {
        /// Which one
        shell: Shell,
    },
    /// Print dwell's man page, or write one for each command
    #[command(after_help = "Examples:\n  dwell man | man -l -\n  dwell man --dir /usr/local/share/man/man1")]
    Man {
        /// Write dwell.1, dwell-run.1 and all others there
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// See it work: a webhook, a limit, a kill -9, the resume; 20 seconds
    Demo,
    /// Play the demo's scripted agent
    #[command(hide = true)]
    DemoAgent {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
    /// Stop a node's attempts when its leases are over
    #[command(hide = true)]
    Guard { mark: String },
    /// Wait for the gate on stdin, then become the program
    #[command(hide = true)]
    Hold {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args)]
pub struct Listed {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Address to listen on [default: 127.0.0.1:7070]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Directory of flow files [default: ./flows if it is there]
    #[arg(long, value_name = "DIR")]
    pub flows: Option<PathBuf>,
    /// Start with everything drained: nothing is dispatched until dwell undrain --all
    #[arg(long)]
    pub paused: bool,
    /// Stand still at this time; moved by POST /v1/clock/advance
    #[arg(long, value_name = "TIME")]
    pub test_clock: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true)))]
pub struct Run {
    /// Provider account [default: shell for a command, claude for a prompt, worker for a worker]
    #[arg(long)]
    pub runtime: Option<String>,
    /// Which of the runtime's models to ask for [default: the agent's own]
    #[arg(long)]
    pub model: Option<String>,
    /// Your own name for it; a second run with it answers with the first
    #[arg(long)]
    pub key: Option<String>,
    /// Tenant
    #[arg(long)]
    pub org: Option<String>,
    /// Environment
    #[arg(long)]
    pub env: Option<String>,
    /// Mutating calls it may make, or calls=20,wall=2h,cost_usd=1,soft.cost_usd=0.8,on_exhausted=ask [default: unlimited]
    #[arg(long, value_name = "N|LIMITS", value_parser = budget::asked)]
    pub budget: Option<Json>,
    /// A mark of your own, to list by; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// A line for humans
    #[arg(long, value_name = "TEXT")]
    pub task: Option<String>,
    /// What the runtime's agent is asked
    #[arg(long, value_name = "TEXT", group = "what")]
    pub prompt: Option<String>,
    /// The queue that a worker claims it from; its result is printed
    #[arg(long, value_name = "QUEUE", group = "what")]
    pub worker: Option<String>,
    /// JSON that it is given: on stdin, or to the worker; - is stdin
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// Print its id and leave
    #[arg(long)]
    pub detach: bool,
    /// Program and arguments
    #[arg(last = true, group = "what")]
    pub argv: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Trigger {
    /// Source, as in /hooks/SOURCE
    pub source: String,
    /// Event, like pull_request
    pub event: String,
    /// Action, like opened
    #[arg(long)]
    pub action: Option<String>,
    /// Delivery id: a second trigger with it is a duplicate
    #[arg(long)]
    pub id: Option<String>,
    /// Tenant
    #[arg(long)]
    pub org: Option<String>,
    /// Environment
    #[arg(long)]
    pub env: Option<String>,
    /// JSON payload; - is stdin
    pub file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Replay {
    /// Trigger id, or a unique beginning of it
    pub id: String,
    /// Make new runs
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Budget {
    /// Record id, or a unique beginning of it
    pub id: String,
    /// How much more: a number, for wall a span like 2h, for cost_usd dollars
    #[arg(long, value_name = "AMOUNT")]
    pub add: Option<String>,
    /// Of what [default: what the record waits for, else calls]
    #[arg(long, value_name = "MEASURE", requires = "add", value_parser = measures())]
    pub of: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn measures() -> PossibleValuesParser {
    PossibleValuesParser::new(model::Measure::ALL.iter().map(|measure| measure.as_str()))
}

#[derive(Debug, Args)]
pub struct Many {
    /// Record ids, or unique beginnings of them
    #[arg(required = true)]
    pub ids: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
// Only what says which: a group of its own takes in every argument of the struct unless they are named.
#[group(id = "redrive", skip)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag as it is typed")]
pub struct Redrive {
    /// Record ids, or unique beginnings of them
    #[arg(group = "which")]
    pub ids: Vec<String>,
    /// Every dead letter
    #[arg(long, group = "which", conflicts_with = "ids")]
    pub all: bool,
    /// Dead-lettered for this
    #[arg(long, group = "which")]
    pub cause: Option<String>,
    /// Of this flow
    #[arg(long, group = "which")]
    pub flow: Option<String>,
    /// On this runtime
    #[arg(long, group = "which")]
    pub runtime: Option<String>,
    /// Of this tenant
    #[arg(long, group = "which")]
    pub org: Option<String>,
    /// With an error of this kind, as `dwell ls dead --groups` names it
    #[arg(long, group = "which")]
    pub fingerprint: Option<String>,
    /// Dead for at least this long
    #[arg(long, group = "which", value_name = "SPAN")]
    pub older: Option<String>,
    /// So many at a time: 10/s, 5/m, 100/h
    #[arg(long, conflicts_with = "ids")]
    pub rate: Option<String>,
    /// With --rate: print its id and leave
    #[arg(long, requires = "rate")]
    pub detach: bool,
    /// End a paced redrive where it is
    #[arg(long, group = "which", value_name = "ID", conflicts_with_all = ["ids", "all", "rate", "dry_run"])]
    pub stop: Option<String>,
    /// Say which, and leave them as they are
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which attempt speaks; its environment says so.
#[derive(Debug, Args)]
pub struct Speaker {
    /// Record id
    #[arg(long, env = "DWELL_ID")]
    pub id: String,
    /// Attempt number
    #[arg(long, env = "DWELL_ATTEMPT")]
    pub attempt: u32,
    /// Its token; where the server asks for none it may be left out
    #[arg(long, env = "DWELL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

#[derive(Debug, Args)]
pub struct Charge {
    /// Mutating calls
    #[arg(default_value_t = 1)]
    pub calls: u32,
    #[command(flatten)]
    pub attempt: Speaker,
}

#[derive(Debug, Args)]
pub struct Claim {
    /// Queue, as in dwell run --worker QUEUE
    pub queue: String,
    /// At most this many attempts
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub max: u32,
    /// How long an attempt may show no sign of life
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    pub lease: String,
    /// How long to wait if there is none; longer than 60s counts as 60s
    #[arg(long, value_name = "SPAN", default_value = "0s")]
    pub wait: String,
    /// What this worker is called in the history [default: dwell-claim-PID]
    #[arg(long, value_name = "NAME")]
    pub worker: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Report {
    /// What became of it. A terminal outcome ends the attempt; its process group is stopped after a grace
    #[arg(value_parser = PossibleValuesParser::new(model::Report::NAMES))]
    pub outcome: String,
    /// What happened, for people
    #[arg(long)]
    pub message: Option<String>,
    /// A short stable word for it
    #[arg(long)]
    pub code: Option<String>,
    /// When the limit resets: RFC 3339, epoch seconds, or +90m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = moment)]
    pub reset_at: Option<String>,
    /// For usage: tokens since the last such report
    #[arg(long, value_name = "N")]
    pub tokens: Option<u64>,
    /// For usage: dollars since the last such report
    #[arg(long, value_name = "DOLLARS")]
    pub cost_usd: Option<f64>,
    /// The provider's session id, to resume with
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    #[command(flatten)]
    pub attempt: Speaker,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every effective value and where it came from
    #[command(after_help = "Example:\n  DWELL_LIMITS_ESTIMATE=2h dwell config check")]
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of dwell.toml
    Schema,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once: only its digest is kept
    #[command(after_help = "Examples:
  dwell token add --scope admin --name me > ~/.dwell-token      then: dwell --token-file ~/.dwell-token ls
  dwell token add --scope operate --name worker-7 --expires 90d
From the first token on the server asks for one, on loopback too; it notices by itself. The scopes:
  read       look at everything but a backup
  operate    give and take work, report, cancel, redrive, pause, drain. Work may be a command: it is a shell on that machine
  admin      change modes, take a backup, move the test clock")]
    Add {
        /// What its holder may do; each scope holds those before it
        #[arg(long, default_value = "read", value_parser = PossibleValuesParser::new(Right::ALL.map(Right::as_str)))]
        scope: String,
        /// What it is listed and revoked by [default: the first free token-N]
        #[arg(long)]
        name: Option<String>,
        /// How long it is good for, like 90d [default: until it is revoked]
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
    },
    /// List the tokens there are, without themselves
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a token away; the server does not accept it any more from its next request on
    #[command(after_help = "Example:\n  dwell token revoke worker-7")]
    Revoke {
        /// As ls shows it
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// Say what is wrong, by file and line
    #[command(after_help = "Example:\n  dwell flow check flows/*.yaml")]
    Check {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of flow files
    Schema,
    /// List what flows in shadow would have run, newest first
    #[command(after_help = "Example:\n  dwell flow diff review-on-request --json")]
    Diff(Diff),
}

#[derive(Debug, Args)]
pub struct Mode {
    /// One flow; without it all that have no mode of their own
    pub flow: Option<String>,
    /// off, shadow or live
    #[arg(value_name = "MODE", value_parser = PossibleValuesParser::new(model::Mode::ALL.iter().map(|mode| mode.as_str())))]
    pub to: Option<String>,
    /// Go live without the time in shadow that cutover.min_shadow asks for
    #[arg(long, conflicts_with = "clear")]
    pub force: bool,
    /// Take the flow's own mode back
    #[arg(long, conflicts_with = "to", requires = "flow")]
    pub clear: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A typed word that is no time is the typist's mistake; a provider's would be estimated around.
fn moment(text: &str) -> Result<String, String> {
    match time::parse_relative(text, Time::ZERO) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
