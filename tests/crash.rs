//! The real binary, busy, killed with SIGKILL again and again, and ended at every crash point: whatever it acknowledged
//! is there after each restart, and no two attempts of one record are ever alive at once. By `dwell::fixture`.
//!
//! `DWELL_CRASH_KILLS=2000 cargo test --release --test crash -- --nocapture` kills more often; `DWELL_CRASH_SEED` draws
//! other instants, `DWELL_CRASH_BINARY` names another binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use dwell::fixture::{CONFIG, CRASH_POINTS, Crash, Verdict, heavy, mixed};

fn crash() -> Crash {
    let binary = std::env::var("DWELL_CRASH_BINARY");
    let seed = std::env::var("DWELL_CRASH_SEED").map_or(1, |text| text.parse().unwrap());
    Crash::of(binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_dwell").to_owned())).seed(seed)
}

fn clean(verdict: &Verdict) {
    eprintln!("{verdict}");
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_at_random_instants() {
    let kills = std::env::var("DWELL_CRASH_KILLS").map_or(8, |text| text.parse().unwrap());
    let verdict = crash().kills(kills).stores(2).run().unwrap();
    clean(&verdict);
    assert_eq!(verdict.kills, kills);
    for asked in ["created", "charged", "reported", "cancelled", "claimed", "delivered", "set"] {
        assert!(verdict.acknowledged.contains_key(asked), "the server was hardly busy: {verdict}");
    }
}

/// A debug build is slow, so it passes fewer places less often; `.ci/run` tests the released binary.
fn is_debug() -> bool {
    cfg!(debug_assertions) && std::env::var_os("DWELL_CRASH_BINARY").is_none()
}

#[test]
fn nothing_acknowledged_is_lost_at_any_crash_point() {
    let mut run = crash().stores(2);
    for point in CRASH_POINTS.into_iter().filter(|point| !is_far(point)) {
        let once = ["open.", "address.", "stop."].iter().any(|place| point.starts_with(place));
        let passings: &[u32] = if once {
            &[1]
        } else if is_debug() {
            &[9]
        } else {
            &[1, 2, 9, 40]
        };
        run = passings.iter().fold(run, |run, nth| run.at(format!("{point}:{nth}")));
    }
    every_point_was_passed(&run.load(mixed).run().unwrap());
}

#[test]
fn nothing_acknowledged_is_lost_at_the_ends_of_segments_and_checkpoints() {
    // Nothing of the history is kept that recovery does not need, so that there is something to release.
    let mut run = crash().config(format!("{CONFIG}\n[retention]\nhistory = \"1ms\"\n"));
    for point in CRASH_POINTS.into_iter().filter(|point| is_far(point)) {
        // Only a segment that is full is followed by another, and released; and big webhooks are slow to read.
        if !is_debug() || point == "checkpoint.after_file" {
            run = run.at(point);
        }
    }
    every_point_was_passed(&run.load(heavy).run().unwrap());
}

/// Those that the ordinary load does not come to.
fn is_far(point: &str) -> bool {
    point.starts_with("checkpoint.") || point.starts_with("segment.")
}

fn every_point_was_passed(verdict: &Verdict) {
    clean(verdict);
    assert_eq!(verdict.unreached, Vec::<String>::new(), "{verdict}");
    assert!(!verdict.points.is_empty());
}
