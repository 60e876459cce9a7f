//! Random lives of a whole engine: one seed, one life, against a small model of what must be true, compared after every
//! tick.
//!
//! `SEED=7 cargo test --test simulation` replays one seed, `DWELL_SIM_SEEDS=100000` lives more of them. A failure
//! is told as its shortest story.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and a model looks at the events it knows"
)]

mod answers;
mod asked;
mod asks;
#[path = "../common/mod.rs"]
mod common;
mod flows;
mod holds;
mod life;
mod model;
mod plan;
mod rig;
mod rough;
mod rules;
mod script;
mod settle;
mod shrink;
mod ticks;
mod verdicts;

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dwell::model::{Command, StateName};

use crate::life::live;
use crate::plan::plan;
use crate::rough::Rough;
use crate::script::Step;
use crate::shrink::shortest;

const SEEDS_DEFAULT: u64 = 1_000;

thread_local! {
    /// A life that ends in a panic is a finding, told once and shortly.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics within lives from being printed; those of the tests are.
fn quietly<T>(lives: impl FnOnce() -> T) -> T {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let lived = lives();
    QUIET.set(before);
    lived
}

/// Lives one seed; a failure is told as its shortest story.
fn live_seed(seed: u64) -> Result<Rough, String> {
    quietly(|| {
        let (setup, steps) = plan(seed);
        live(&setup, &steps, None).map_err(|found| {
            let story = shortest(&setup, found, None);
            format!("seed {seed} fails (SEED={seed} cargo test --test simulation) in {setup:?}\n{story}")
        })
    })
}

#[test]
fn simulation() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let (first, end) = match (number("SEED"), number("DWELL_SIM_SEEDS")) {
        (Some(seed), None) => (seed, seed + 1),
        (first, count) => (first.unwrap_or(0), first.unwrap_or(0) + count.unwrap_or(SEEDS_DEFAULT)),
    };
    let next = AtomicU64::new(first);
    let failed = AtomicBool::new(false);
    let (total, failures) = (Mutex::new(Rough::default()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Rough::default();
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    match live_seed(seed) {
                        Ok(rough) => mine.add(&rough),
                        Err(story) => {
                            failed.store(true, Ordering::Relaxed);
                            failures.lock().unwrap().push(story);
                        }
                    }
                }
                total.lock().unwrap().add(&mine);
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let total = total.into_inner().unwrap();
    eprintln!("{} seeds\n{total}", end - first);
    // A few lives alone need not be rough.
    let smooth = if end - first >= 300 { total.too_smooth(end - first) } else { Vec::new() };
    assert!(smooth.is_empty(), "too smooth to mean much:\n{}", smooth.join("\n"));
}

/// Lives on a real PostgreSQL, each answer of which is held against memory's. They wait for its disk, so they are few.
#[test]
fn lives_on_postgresql() {
    const LIVES: usize = 12;
    let lives: fn() = || {
        let on_memory = (0..).filter(|seed| plan(*seed).0.local.is_none());
        for seed in on_memory.take(LIVES) {
            live_seed(seed).unwrap_or_else(|story| panic!("on PostgreSQL: {story}"));
        }
    };
    common::twin::on_postgres(&[lives]);
}

#[test]
fn a_planted_violation_is_told_as_a_short_story_with_its_cause() {
    let never = Some(StateName::Cancelled);
    let cancels = |step: &Step| matches!(step, Step::Command { command: Command::Cancel, .. });
    let told = quietly(|| {
        (0..100).find_map(|seed| {
            let (setup, steps) = plan(seed);
            let found = live(&setup, &steps, never).err()?;
            // A newer record of its group may cancel one as well.
            let by_command = found.1.iter().any(cancels);
            let story = (found.0.rule == "planted" && by_command).then(|| shortest(&setup, found, never))?;
            story.steps.iter().any(cancels).then_some(story)
        })
    });
    let story = told.expect("somebody is cancelled in a hundred lives");
    assert!(story.steps.len() <= 4, "{story}");
    let text = story.to_string();
    assert!(text.starts_with("planted: ") && text.contains("\n    cancel "), "{text}");
}
