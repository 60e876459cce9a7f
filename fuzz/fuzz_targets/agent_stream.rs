//! See `bodies/agent_stream.rs`.
#![no_main]

#[path = "../bodies/agent_stream.rs"]
mod agent_stream;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| agent_stream::check(bytes));
