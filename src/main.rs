//! The `dwell` binary.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some((first, rest)) = args.split_first()
        && first == "hold"
    {
        let not_run = dwell::exec::hold(rest);
        eprintln!("dwell: {}", not_run.why);
        return ExitCode::from(not_run.code);
    }
    ExitCode::SUCCESS
}
