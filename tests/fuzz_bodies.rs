//! The fuzz targets' bodies as plain tests, so that they never rot: each over its seeds, and over a few thousand
//! mutations of them that are the same on every run.
//!
//! `SEED=7 cargo test --test fuzz_bodies` makes other mutations. `fuzz/` holds the targets for `cargo +nightly fuzz`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../fuzz/bodies/agent_stream.rs"]
mod agent_stream;
#[path = "../fuzz/bodies/codec.rs"]
mod codec;
#[path = "../fuzz/bodies/config_file.rs"]
mod config_file;
#[path = "../fuzz/bodies/engine_ops/mod.rs"]
mod engine_ops;
#[path = "../fuzz/bodies/flow_file.rs"]
mod flow_file;
#[path = "../fuzz/bodies/journal.rs"]
mod journal;
#[path = "../fuzz/bodies/limit_headers.rs"]
mod limit_headers;
#[path = "../fuzz/bodies/step.rs"]
mod step;
#[path = "../fuzz/bodies/webhook.rs"]
mod webhook;

use std::path::Path;

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Less than `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((x ^ (x >> 31)) >> 32).unwrap() % end.max(1)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length);
        start..start + self.below((length - start).min(64) + 1)
    }
}

fn run(target: &str, mutations: usize, body: fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seed = number("SEED").unwrap_or(1);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds for {target}");
    let inputs: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let check = |input: &[u8]| {
        let held = std::panic::catch_unwind(|| body(input));
        held.unwrap_or_else(|_| panic!("SEED={seed}: {target} fails on b\"{}\"", input.escape_ascii()));
    };
    for input in &inputs {
        check(input);
    }
    let mut random = Random(seed);
    for nth in 0..mutations {
        let mut input = inputs[nth % inputs.len()].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &inputs, &mut random);
        }
        check(&input);
    }
}

fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    const TELLING: &[u8] = b"\0\x01\x7f\x80\xff\xfe09-+.:{}[]\"'\\\n \xc3";
    let place = random.below(input.len());
    let range = random.range(input.len());
    match random.below(7) {
        0 if !input.is_empty() => input[place] ^= 1 << random.below(8),
        1 if !input.is_empty() => input[place] = TELLING[random.below(TELLING.len())],
        2 => input.insert(place, TELLING[random.below(TELLING.len())]),
        3 => input.truncate(place),
        4 => drop(input.drain(range)),
        5 => {
            let again = input[range].to_vec();
            input.splice(place..place, again);
        }
        _ => {
            let other = &others[random.below(others.len())];
            let part = other[random.range(other.len())].to_vec();
            input.splice(range, part);
        }
    }
}

#[test]
fn any_events_leave_a_record_in_order() {
    run("step", 4_000, step::check);
}

#[test]
fn any_bytes_are_a_value_or_refused() {
    run("codec", 20_000, codec::check);
}

#[test]
fn any_segment_is_replayed_or_refused() {
    run("journal", 2_000, journal::check);
}

#[test]
fn any_text_is_a_flow_or_has_problems() {
    run("flow_file", 4_000, flow_file::check);
}

#[test]
fn any_delivery_is_proven_or_refused() {
    run("webhook", 4_000, webhook::check);
}

#[test]
fn any_output_is_read_into_reports() {
    run("agent_stream", 4_000, agent_stream::check);
}

#[test]
fn any_operations_leave_an_engine_in_order() {
    run("engine_ops", 200, engine_ops::check);
}

#[test]
fn any_answer_is_read_into_a_bounded_wait() {
    run("limit_headers", 4_000, limit_headers::check);
}

#[test]
fn any_text_is_a_configuration_or_has_problems() {
    run("config_file", 1_000, config_file::check);
}
