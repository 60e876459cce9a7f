//! See `bodies/config_file.rs`.
#![no_main]

#[path = "../bodies/config_file.rs"]
mod config_file;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| config_file::check(bytes));
