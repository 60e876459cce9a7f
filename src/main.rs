//! The `dwell` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    dwell::shell::cli::main()
}
