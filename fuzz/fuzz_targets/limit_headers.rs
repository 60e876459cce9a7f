//! See `bodies/limit_headers.rs`.
#![no_main]

#[path = "../bodies/limit_headers.rs"]
mod limit_headers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| limit_headers::check(bytes));
