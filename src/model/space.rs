//! How much room there is on the disk, and how amounts of bytes are written.

use std::fmt;
use std::str::FromStr;

use super::Name;

/// The room on the disk of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The store, as it was named.
    pub store: Name,
    /// Bytes that are free.
    pub free: u64,
    /// Below this new work is refused.
    pub min_free: u64,
}

impl Space {
    /// Whether there is too little for new work.
    pub const fn is_short(&self) -> bool {
        self.free < self.min_free
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Space { store, free, min_free } = self;
        let (free, min_free) = (Size(*free), Size(*min_free));
        write!(
            f,
            "store {store} has {free} free, store.min_free is {min_free}: new work is refused until there is room"
        )
    }
}

/// A number of bytes; for people in whole units, at least ten of them if it is rounded (down), and exact with `{:#}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = f.alternate();
        let fits = |(_, unit): &&(&str, u64)| {
            let whole = self.0 >= *unit && self.0.is_multiple_of(*unit);
            whole || !exact && self.0 / unit >= 10
        };
        let (name, unit) = UNITS.iter().find(fits).copied().unwrap_or(("B", 1));
        write!(f, "{}{}{name}", self.0 / unit, if exact { "" } else { " " })
    }
}

/// The text is no number of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeError(String);

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a size: expected a whole number of KiB, MiB, GiB or TiB, like 64MiB", self.0)
    }
}

impl std::error::Error for SizeError {}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        let wrong = || SizeError(text.to_owned());
        let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let unit = text.strip_prefix(digits).unwrap_or_default().trim_start();
        let known = UNITS.iter().find(|(name, _)| unit == *name || unit.is_empty() && *name == "B");
        let (_, bytes) = known.ok_or_else(wrong)?;
        digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes)).map(Size).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, shown) in [
            ("64MiB", 64 << 20, "64 MiB"),
            ("64 MiB", 64 << 20, "64 MiB"),
            ("3KiB", 3 << 10, "3 KiB"),
            ("0", 0, "0 B"),
            ("1535", 1535, "1535 B"),
            ("15350", 15350, "14 KiB"),
            ("2TiB", 2 << 40, "2 TiB"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size, size.to_string().as_str()), (Size(bytes), shown));
            assert_eq!(format!("{size:#}").parse::<Size>(), Ok(size), "{text}");
        }
        for text in ["", "MiB", "1.5GiB", "-1MiB", "64mb", "99999999TiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError(text.to_owned())));
        }
    }
}
