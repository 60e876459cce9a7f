//! Delays that grow, with jitter that a restart cannot change.

use std::time::Duration;

use crate::model::{Curve, Record};

/// The delay after the `n`th bad end in a row (0 is the first): never shorter than the curve says, longer by up to its
/// jitter, and the same for the same record and attempt.
pub(super) fn wait(curve: &Curve, n: u32, record: &Record) -> Duration {
    let max = millis(curve.max);
    let mut delay = millis(curve.first).min(max);
    for _ in 0..n {
        let grown = delay.saturating_mul(u64::from(curve.factor_percent)) / 100;
        if grown <= delay || grown >= max {
            delay = grown.clamp(delay, max);
            break;
        }
        delay = grown;
    }
    let spread = delay.saturating_mul(u64::from(curve.jitter_percent)) / 100;
    Duration::from_millis(delay.saturating_add(share(spread, record)))
}

/// How much longer than others this attempt of a record waits, of at most `spread`.
pub(super) fn jitter(spread: Duration, record: &Record) -> Duration {
    Duration::from_millis(share(millis(spread), record))
}

fn share(spread: u64, record: &Record) -> u64 {
    let share = (u128::from(spread) * u128::from(hash(record.id.ulid, record.attempt))) >> 64;
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// SplitMix64's finalizer over id and attempt: evenly spread, and fixed for ever.
fn hash(ulid: u128, attempt: u32) -> u64 {
    let folded = (ulid ^ (ulid >> 64)) & u128::from(u64::MAX);
    let mut x = u64::try_from(folded).unwrap_or(0) ^ (u64::from(attempt) << 32);
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::queued;

    fn seconds(curve: &Curve, n: u32) -> u64 {
        wait(curve, n, &queued()).as_secs()
    }

    #[test]
    fn a_curve_doubles_up_to_its_cap() {
        let resume = Curve::doubling(Duration::from_secs(10), Duration::from_secs(300));
        let waits: Vec<u64> = (0..7).map(|n| seconds(&resume, n)).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(seconds(&resume, u32::MAX), 300);
    }

    #[test]
    fn a_flat_or_shrinking_curve_stays_where_it_is() {
        let flat = Curve {
            factor_percent: 50,
            ..Curve::doubling(Duration::from_secs(10), Duration::from_secs(300))
        };
        assert_eq!(seconds(&flat, 9), 10);
    }

    /// The first numbers that SplitMix64 gives for the seeds 0 and 1234567.
    #[test]
    fn shares_are_spread_by_the_published_numbers() {
        assert_eq!(hash(0, 0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(hash(1_234_567, 0), 6_457_827_717_110_365_317);
        // Both halves of the id count, and so does the attempt.
        assert_eq!(hash(1_234_567 << 64, 0), hash(1_234_567, 0));
        assert_eq!(hash(1 << 64 | 1, 0), hash(0, 0));
        assert_eq!(hash(0, 3), hash(3 << 32, 0));
        assert_eq!(hash(3 << 32, 3), hash(0, 0));
    }

    #[test]
    fn the_longest_delay_and_the_largest_jitter_do_not_overflow() {
        let endless = Duration::from_millis(u64::MAX);
        let curve = Curve { jitter_percent: u32::MAX, ..Curve::doubling(endless, endless) };
        assert_eq!(wait(&curve, 9, &queued()), endless);
    }

    #[test]
    fn jitter_only_adds_and_is_the_same_every_time() {
        let plain = Curve::doubling(Duration::from_secs(30), Duration::from_secs(600));
        let curve = Curve { jitter_percent: 10, ..plain };
        let mut seen = std::collections::BTreeSet::new();
        for attempt in 1..200 {
            let record = Record { attempt, ..queued() };
            let delay = wait(&curve, 0, &record);
            assert!((Duration::from_secs(30)..=Duration::from_secs(33)).contains(&delay), "{delay:?}");
            assert_eq!(delay, wait(&curve, 0, &record));
            seen.insert(delay);
        }
        assert!(seen.len() > 150, "jitter hardly spreads: {}", seen.len());
    }
}
