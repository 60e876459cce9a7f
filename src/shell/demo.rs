//! placeholder
use std::process::ExitCode;
/// placeholder
pub fn run() -> anyhow::Result<ExitCode> {
    anyhow::bail!("not wired")
}
