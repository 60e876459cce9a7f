//! See `bodies/flow_file.rs`.
#![no_main]

#[path = "../bodies/flow_file.rs"]
mod flow_file;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flow_file::check(bytes));
