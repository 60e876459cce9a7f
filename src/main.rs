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
    let layers = dwell::shell::config::Layers { file: Some("dwell.toml".into()), env: vec![], flags: vec![] };
    let config = dwell::shell::config::Config::load(&layers).unwrap();
    let clock = if std::env::var_os("TESTCLOCK").is_some() {
        dwell::shell::clock::Clock::test(dwell::model::Time::from_millis(1_795_226_400_000))
    } else {
        dwell::shell::clock::Clock::System
    };
    let _log = tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let running = match dwell::shell::serve::Running::start(
        &config,
        if args.iter().any(|a| a == "--listen") { "127.0.0.1:0".parse().unwrap() } else { config.listen },
        clock,
    ) {
        Ok(r) => r,
        Err(e) => {
            eprintln!("dwell: {e:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on http://{}", running.address());
    let stop = running.stopper();
    ctrlc::set_handler(move || stop()).unwrap();
    running.wait().unwrap();
    ExitCode::SUCCESS
}
