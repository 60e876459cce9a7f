//! See `bodies/step.rs`.
#![no_main]

#[path = "../bodies/step.rs"]
mod step;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| step::check(bytes));
