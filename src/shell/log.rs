//! Log lines, on stderr: text for people, or JSON.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::config::Log;

/// What is logged, for as long as something logs.
static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Logs this from now on, if something logs.
pub fn set_level(level: &str) {
    // Checked when the configuration was loaded.
    let levels: Targets = level.parse().unwrap_or_default();
    if let Some(Err(error)) = LEVELS.get().map(|handle| handle.reload(levels)) {
        tracing::error!(%error, "the log level stays as it was");
    }
}

/// From now on, until the process ends. `Err` if something logs already.
pub fn start(log: &Log) -> Result<(), TryInitError> {
    // Checked when the configuration was loaded.
    let levels: Targets = log.level.parse().unwrap_or_default();
    let (levels, handle) = reload::Layer::new(levels);
    // Set once only, as is the subscriber below.
    LEVELS.set(handle).ok();
    let registry = tracing_subscriber::registry().with(levels);
    if log.json {
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(lines).try_init()
    } else {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
        registry.with(lines).try_init()
    }
}
