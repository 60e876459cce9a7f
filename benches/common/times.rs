//! Figures of times.

use std::time::Duration;

pub fn per_second(count: u64, time: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = count as f64;
    count / time.as_secs_f64()
}

/// Of times in order of length.
pub fn percentile<T: Copy>(times: &[T], part: usize) -> T {
    times[(times.len() - 1) * part / 100]
}
