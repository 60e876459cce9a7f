//! Identifiers: `ses_`, `run_`, `trg_` + ULID. Sessions' and triggers' are made in the shell; a run's follows from
//! its trigger, so that the same trigger can never make a second set of runs.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use ulid::{ULID_LEN, Ulid};

/// Which of the two kinds a record is; the id carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Submitted directly, by CLI or API.
    Session,
    /// Made by a trigger that matched a flow.
    Run,
}

impl Kind {
    /// `session` or `run`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Session => "session",
            Kind::Run => "run",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Kind::Session => "ses_",
            Kind::Run => "run_",
        }
    }

    /// The kind that an id, or the beginning of one, names, and what stands behind it.
    fn split(id: &str) -> Option<(Kind, &str)> {
        let kinds = [Kind::Session, Kind::Run];
        kinds.into_iter().find_map(|kind| Some((kind, id.strip_prefix(kind.prefix())?)))
    }
}

/// The id of a record; ordered by kind, then by the time it was made. Packed, for it stands in every index.
#[repr(Rust, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Session or run.
    pub kind: Kind,
    /// The ULID as a number: 48 bits of milliseconds, 80 random bits.
    pub ulid: u128,
}

/// The id of an accepted trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId(pub u128);

/// The id of a paced redrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedriveId(pub u128);

/// Every id that begins with what a user typed: `low..=high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id with the prefix.
    pub low: RecordId,
    /// The last id with the prefix.
    pub high: RecordId,
}

/// The text is not an id, nor the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdError(String);

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an id: expected ses_ or run_ and up to 26 characters of a ULID", self.0)
    }
}

impl std::error::Error for IdError {}

impl TriggerId {
    /// When it was made: the first 48 bits of its ULID.
    pub fn made_at(self) -> super::Time {
        super::Time::from_millis(u64::try_from(self.0 >> 80).unwrap_or(u64::MAX))
    }

    /// The first and the last id that begin with `prefix` (`trg_01J..`); `None` if it is not the beginning of one.
    pub fn prefixed(prefix: &str) -> Option<(TriggerId, TriggerId)> {
        let digits = prefix.strip_prefix("trg_")?.to_ascii_uppercase();
        if digits.len() > 26 {
            return None;
        }
        let low = Ulid::from_string(&format!("{digits:0<26}")).ok()?.0;
        let high = Ulid::from_string(&format!("{digits:Z<26}")).map_or(u128::MAX, |ulid| ulid.0);
        Some((TriggerId(low), TriggerId(high)))
    }
}

/// The random part of a ULID.
const RANDOM: u128 = (1 << 80) - 1;
/// The last bits of it, which are the slot.
const SLOT: u128 = 0xFFFF;
/// An odd number of the width of the random part without the slot, so that its multiples do not meet.
const STRIDE: u128 = 0x9E37_79B9_7F4A_7C15;

/// Where an org's records live in a store of several shards. It is the last 16 bits of their ids, so an id says where its
/// record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

impl Slot {
    /// An org's: the first two bytes of its name's SHA-256. Stored ids have it, so it stays as it is.
    pub fn of(org: &str) -> Slot {
        let [first, second, ..]: [u8; 32] = Sha256::digest(org).into();
        Slot(u16::from_be_bytes([first, second]))
    }

    /// Which of so many shards that is.
    pub fn shard(self, shards: u32) -> u32 {
        u32::from(self.0) % shards.max(1)
    }

    const fn in_ulid(self, ulid: u128) -> u128 {
        ulid & !SLOT | self.0 as u128
    }

    const fn of_ulid(ulid: u128) -> Slot {
        Slot((ulid & SLOT) as u16)
    }
}

impl TriggerId {
    /// With this slot.
    #[must_use]
    pub const fn in_slot(self, slot: Slot) -> TriggerId {
        TriggerId(slot.in_ulid(self.0))
    }

    /// Where its trigger is.
    pub const fn slot(self) -> Slot {
        Slot::of_ulid(self.0)
    }
}

impl RecordId {
    /// With this slot.
    #[must_use]
    pub const fn in_slot(self, slot: Slot) -> RecordId {
        RecordId { kind: self.kind, ulid: slot.in_ulid(self.ulid) }
    }

    /// Where its record is, unless that came from a store that gave its ids no slots.
    pub const fn slot(self) -> Slot {
        Slot::of_ulid(self.ulid)
    }

    /// A session's id from its ULID.
    pub const fn session(ulid: u128) -> RecordId {
        RecordId { kind: Kind::Session, ulid }
    }

    /// The id of the `n`th run of `trigger`: its time and slot, and the rest of its random part moved on by a fixed odd
    /// stride, so two triggers' runs meet only if their random parts do.
    pub const fn run_of(trigger: TriggerId, n: u32) -> RecordId {
        let step = STRIDE.wrapping_mul(n as u128 + 1) << SLOT.count_ones();
        let ulid = (trigger.0 & !RANDOM) | (trigger.0.wrapping_add(step) & RANDOM);
        RecordId { kind: Kind::Run, ulid }
    }

    /// The id of a record that tells of something at `now`; `number` is its alone in its slot.
    pub const fn of_notice(now: super::Time, number: u64, slot: Slot) -> RecordId {
        let random = (STRIDE.wrapping_mul(number as u128 + 1) << SLOT.count_ones()) & RANDOM;
        RecordId { kind: Kind::Session, ulid: slot.in_ulid(((now.millis() as u128) << 80) | random) }
    }

    /// The ids that begin with `prefix` (`ses_01J..`, at least the kind).
    pub fn prefixed(prefix: &str) -> Result<IdRange, IdError> {
        let wrong = || IdError(prefix.to_owned());
        let (kind, digits) = Kind::split(prefix).ok_or_else(wrong)?;
        let digits = digits.to_ascii_uppercase();
        if digits.len() > 26 {
            return Err(wrong());
        }
        let (first, last) = (format!("{digits:0<26}"), format!("{digits:Z<26}"));
        let low = Ulid::from_string(&first).map_err(|_| wrong())?.0;
        let high = Ulid::from_string(&last).map_or(u128::MAX, |ulid| ulid.0);
        Ok(IdRange { low: RecordId { kind, ulid: low }, high: RecordId { kind, ulid: high } })
    }
}

fn shown(prefix: &str, ulid: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = String::with_capacity(prefix.len() + ULID_LEN);
    text.push_str(prefix);
    text.push_str(Ulid(ulid).array_to_str(&mut [0; ULID_LEN]));
    f.pad(&text)
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(self.kind.prefix(), self.ulid, f)
    }
}

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown("trg_", self.0, f)
    }
}

impl fmt::Display for RedriveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown("rdv_", self.0, f)
    }
}

impl FromStr for RedriveId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.strip_prefix("rdv_").and_then(|digits| Ulid::from_string(digits).ok());
        id.map(|ulid| RedriveId(ulid.0))
            .ok_or_else(|| format!("{text:?} is no redrive: expected rdv_ and a ULID"))
    }
}

impl FromStr for RecordId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = Kind::split(text).and_then(|(kind, digits)| {
            let ulid = Ulid::from_string(digits).ok()?.0;
            Some(RecordId { kind, ulid })
        });
        id.ok_or_else(|| IdError(text.to_owned()))
    }
}

impl FromStr for TriggerId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError(text.to_owned());
        let digits = text.strip_prefix("trg_").ok_or_else(wrong)?;
        Ulid::from_string(digits).map(|ulid| TriggerId(ulid.0)).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_its_prefix_contains_it() {
        let id = RecordId::session(0x0191_0000_0000_1234_5678_9abc_def0_1234);
        let text = id.to_string();
        assert_eq!((text.parse(), text.to_lowercase().parse()), (Ok(id), Ok(id)));
        assert!(text[..29].parse::<RecordId>().is_err());
        let range = RecordId::prefixed(&text[..12]).unwrap();
        assert!(range.low <= id && id <= range.high && range.low < range.high);
        assert!("trg_x".parse::<RecordId>().is_err());
        assert!(RecordId::prefixed("ses_!").is_err());
    }

    #[test]
    fn the_beginnings_of_a_trigger_s_id_contain_it() {
        let id = TriggerId(0x0191_0000_0000_1234_5678_9abc_def0_1234);
        let text = id.to_string();
        assert_eq!(TriggerId::prefixed(&text), Some((id, id)));
        for end in 4..text.len() {
            let (low, high) = TriggerId::prefixed(&text[..end]).unwrap();
            assert!(low <= id && id <= high, "{end}");
        }
        assert_eq!(TriggerId::prefixed("ses_01"), None);
        assert_eq!(TriggerId::prefixed("trg_!"), None);
    }

    #[test]
    fn an_org_keeps_its_slot_and_an_id_has_it() {
        let (acme, other) = (Slot::of("acme"), Slot::of("default"));
        assert_eq!((acme, other), (Slot(0x822b), Slot(0x37a8)), "stored ids have it");
        let id = RecordId::session(u128::MAX >> 1).in_slot(acme);
        assert_eq!((id.slot(), id.ulid >> 16), (acme, u128::MAX >> 17));
        assert_eq!(RecordId::of_notice(super::super::Time::ZERO, 7, other).slot(), other);
        let shards = |count| (0..1000).map(move |n| Slot::of(&n.to_string()).shard(count));
        assert!(shards(1).all(|shard| shard == 0));
        let mut found = [0_u32; 16];
        shards(16).for_each(|shard| found[shard as usize] += 1);
        assert!(found.iter().all(|count| (30..=100).contains(count)), "{found:?}");
    }

    #[test]
    fn runs_of_one_trigger_differ_and_keep_its_time() {
        let trigger = TriggerId(u128::MAX >> 1);
        let (a, b) = (RecordId::run_of(trigger, 0), RecordId::run_of(trigger, 1));
        assert_ne!(a, b);
        assert_eq!(a.ulid >> 80, trigger.0 >> 80);
        assert_eq!((a.slot(), b.slot()), (trigger.slot(), trigger.slot()));
        assert_eq!(RecordId::run_of(trigger, 0), a);
    }
}
