//! What an attempt used up, as its agent tells it.

/// The most of anything that one report may tell, so that no slip of a tool fills a meter for good.
pub const USAGE_MAX: u64 = 1_000_000_000_000_000;

/// What was used up since the attempt last told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of every kind, in and out.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost: u64,
    /// Told in one breath with how the attempt ended: it counts, and leaves it to that report what becomes of it.
    pub of_end: bool,
    /// What the agent's own meter of the provider session shows, in millionths of a US dollar: some go on from it when
    /// the session is resumed.
    pub session_cost: Option<u64>,
}

impl Usage {
    /// Whether there is nothing in it to count.
    pub const fn is_nothing(&self) -> bool {
        self.tokens == 0 && self.cost == 0
    }
}

/// Dollars in millionths, rounded, at most [`USAGE_MAX`]; `None` for what is no amount of money.
pub fn micros(dollars: f64) -> Option<u64> {
    let micros = (dollars * 1e6).round();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let most = USAGE_MAX as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the most")]
    (micros.is_finite() && dollars >= 0.0).then(|| micros.min(most) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_counted_in_millionths_and_what_is_none_is_not() {
        let table = [
            (0.4, Some(400_000)),
            (0.1 + 0.2, Some(300_000)),
            (0.000_000_4, Some(0)),
            (0.0, Some(0)),
            (1e300, Some(USAGE_MAX)),
            (-0.1, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (f64::NEG_INFINITY, None),
        ];
        for (dollars, expected) in table {
            assert_eq!(micros(dollars), expected, "{dollars}");
        }
    }
}
