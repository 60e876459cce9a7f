//! The `dwell` binary.

use std::process::ExitCode;

/// What one thread allocates another frees, in sled and between the engine and those who ask; the system's allocator lets
/// threads wait for each other then.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dwell::shell::cli::main()
}
