//! What the commands about a whole store are asked.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct Backup {
    /// Where to; - is stdout
    pub file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The backup
    pub file: PathBuf,
    /// Go on with the commits after it: an archive (store.archive), or a store's journal; may be given again
    #[arg(long, value_name = "DIR")]
    pub segments: Vec<PathBuf>,
    /// Only up to the last commit at or before this moment: RFC 3339
    #[arg(long, value_name = "TIME", requires = "segments")]
    pub until: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Put right what can be without losing anything
    #[arg(long)]
    pub repair: bool,
    /// With --repair, where commits are damaged that the state needs: go on without them and all after them
    #[arg(long, requires = "repair")]
    pub cut: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Export {
    /// Where to
    pub file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Import {
    /// What `dwell export` wrote
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
