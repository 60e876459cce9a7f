//! What the commands that hold things back, and let them go, are asked.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How long what is outstanding may take [default: drain.timeout]
    #[arg(long, value_name = "SPAN")]
    pub timeout: Option<String>,
    /// Drain a flow that is not loaded: it is drained once it is
    #[arg(long, requires = "flow")]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Undrain {
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ScopeArgs {
    /// Everything
    #[arg(long)]
    pub all: bool,
    /// What runs on this provider account
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// The runs of this flow
    #[arg(long, value_name = "NAME")]
    pub flow: Option<String>,
    /// What belongs to this tenant
    #[arg(long, value_name = "NAME")]
    pub org: Option<String>,
}

impl ScopeArgs {
    /// As the server knows it.
    pub fn text(&self) -> String {
        let named = [("runtime", &self.runtime), ("flow", &self.flow), ("org", &self.org)];
        let named = named.into_iter().find_map(|(kind, name)| Some(format!("{kind}:{}", name.as_ref()?)));
        named.unwrap_or_else(|| "all".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub enum Runtime {
    /// Let nothing start on it
    #[command(
        after_help = "Examples:\n  dwell runtime pause claude\n  dwell runtime pause claude --until +2h"
    )]
    Pause {
        name: String,
        /// Of what asks for this model only
        #[arg(long)]
        model: Option<String>,
        /// RFC 3339, epoch seconds, or +90m [default: until resumed]
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End the pauses of it
    #[command(after_help = "Example:\n  dwell runtime resume claude --model opus")]
    Resume {
        name: String,
        /// Those of this model only [default: those of the account; its models' stay]
        #[arg(long)]
        model: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
