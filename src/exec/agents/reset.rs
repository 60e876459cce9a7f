//! Reset times as providers and tools write them.

use serde_json::Value;

use crate::model::{Reset, Time, bounded};

/// Reads a reset: RFC 3339, epoch seconds, or epoch milliseconds, the last two told apart by magnitude (1e12 seconds
/// are the year 33658). Whatever else stands there is kept as [`Reset::Unusable`]; whether a time makes sense (past,
/// too far away) is for the machine to say.
pub fn reset_of(value: Option<&Value>) -> Reset {
    match value {
        None | Some(Value::Null) => Reset::Absent,
        Some(Value::Number(number)) => {
            number.as_f64().and_then(epoch).map_or_else(|| Reset::Unusable(number.to_string()), Reset::At)
        }
        Some(Value::String(text)) => written(text.trim()),
        Some(other @ (Value::Bool(_) | Value::Array(_) | Value::Object(_))) => {
            Reset::Unusable(bounded(&other.to_string()))
        }
    }
}

/// A reset in words: a number as above, or RFC 3339.
pub(super) fn written(text: &str) -> Reset {
    if text.is_empty() {
        return Reset::Absent;
    }
    let numbered = || text.parse::<f64>().ok().and_then(epoch);
    let dated =
        || text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    numbered()
        .or_else(|| dated().map(Time::from_millis))
        .map_or_else(|| Reset::Unusable(bounded(text)), Reset::At)
}

fn epoch(number: f64) -> Option<Time> {
    const MILLIS_FROM: f64 = 1e12;
    if !number.is_finite() || number <= 0.0 {
        return None;
    }
    let millis = if number >= MILLIS_FROM { number } else { number * 1e3 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and saturates")]
    let millis = millis as u64;
    Some(Time::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_written_form_of_one_moment_is_that_moment() {
        let moment = Reset::At(Time::from_millis(1_771_390_800_000));
        for form in [
            json!(1_771_390_800),
            json!(1_771_390_800_000_u64),
            json!(1_771_390_800.0),
            json!("1771390800"),
            json!("2026-02-18T05:00:00Z"),
            json!("2026-02-18T06:00:00.000+01:00"),
        ] {
            assert_eq!(reset_of(Some(&form)), moment, "{form}");
        }
    }

    #[test]
    fn what_is_no_time_is_kept_as_it_stood() {
        for (form, raw) in [
            (json!("soon"), "soon"),
            (json!(-5), "-5"),
            (json!(0), "0"),
            (json!(true), "true"),
            (json!("NaN"), "NaN"),
            (json!("1969-12-31T00:00:00Z"), "1969-12-31T00:00:00Z"),
        ] {
            assert_eq!(reset_of(Some(&form)), Reset::Unusable(raw.to_owned()));
        }
        assert_eq!(reset_of(Some(&json!(null))), Reset::Absent);
        assert_eq!(reset_of(None), Reset::Absent);
        assert_eq!(reset_of(Some(&json!(1e300))), Reset::At(Time::MAX));
    }
}
