//! See `bodies/engine_ops/mod.rs`.
#![no_main]

#[path = "../bodies/engine_ops/mod.rs"]
mod engine_ops;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| engine_ops::check(bytes));
