//! The held start, from the child's side: `dwell hold -- ARGV...`.
//!
//! The child is spawned as this program, so it has a pid and a start time that can be made durable before anything
//! of ARGV runs; exec keeps both. It waits for a gate line on stdin, and whatever else comes (above all the end of
//! the pipe, because dwell died) means that nothing ever runs. Absent on purpose: `pre_exec`, which is unsafe.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What opens the gate. What follows it on stdin is the payload, so exactly this much is read.
pub(super) const GATE: &[u8; 3] = b"go\n";

/// Set to `null` for a program that is to read nothing: its stdin becomes `/dev/null`.
pub(super) const STDIN_VAR: &str = "DWELL_STDIN";

/// The exit code of a child whose gate never opened.
const NOT_RELEASED: u8 = 125;
const NOT_RUNNABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Why a held child did not become its program.
#[derive(Debug)]
pub struct NotRun {
    /// To exit with: 125 not released, 126 not runnable, 127 not found, as env(1) has them.
    pub code: u8,
    /// For stderr; names the program.
    pub why: String,
}

/// Waits for the gate, then becomes ARGV; returns only if that cannot be. `args` is what follows `hold`; a leading
/// `--` is skipped.
pub fn hold(args: &[OsString]) -> NotRun {
    let (code, why) = become_program(args);
    NotRun { code, why }
}

fn become_program(args: &[OsString]) -> (u8, String) {
    let command = args.strip_prefix(&[OsString::from("--")]).unwrap_or(args);
    let Some((program, rest)) = command.split_first() else {
        return (NOT_RUNNABLE, "nothing to run: expected hold -- PROGRAM [ARG]...".to_owned());
    };
    match released() {
        Ok(true) => {}
        Ok(false) => return (NOT_RELEASED, "not released: nothing was run".to_owned()),
        Err(error) => return (NOT_RELEASED, format!("not released, nothing was run: {error}")),
    }
    if std::env::var_os(STDIN_VAR).as_deref() == Some(OsStr::new("null"))
        && let Err(error) = null_stdin()
    {
        return (NOT_RUNNABLE, format!("cannot run {}: stdin to /dev/null: {error}", program.display()));
    }
    let error = Command::new(program).args(rest).env_remove(STDIN_VAR).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
    (code, format!("cannot run {}: {error}", program.display()))
}

/// Reads the gate and not a byte more: std's stdin would buffer the payload away from the program.
fn released() -> io::Result<bool> {
    let mut gate = [0; GATE.len()];
    let mut filled = 0;
    while let Some(rest) = gate.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(rustix::stdio::stdin(), rest) {
            Ok(0) => return Ok(false),
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(&gate == GATE)
}

fn null_stdin() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(File::open("/dev/null")?)?)
}
