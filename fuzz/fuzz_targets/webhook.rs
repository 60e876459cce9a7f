//! See `bodies/webhook.rs`.
#![no_main]

#[path = "../bodies/webhook.rs"]
mod webhook;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webhook::check(bytes));
