//! Proof that a tree of the table has all its rows, and their newest values.
//!
//! Where a byte of sled's log is damaged, sled leaves out the rest of that segment without a word, and with it any
//! rows. So each batch also writes the sum of all the tree's rows and a count of its batches, in the same tree, and
//! each checkpoint ends with the counts of all trees. Rows that are gone show in the sum; a tree that is whole, but
//! an old one, shows in the count.

use sha2::{Digest as _, Sha256};

use super::overlay::Change;

/// What a tree says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    /// Of the hashes of its rows; in any order, so that a change takes one out and puts another in.
    pub(super) sum: u64,
    /// Batches ever written.
    pub(super) batches: u64,
}

impl Seal {
    /// Takes a row in.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_add(hash(key, value));
    }

    /// Takes a row out.
    pub(super) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_sub(hash(key, value));
    }

    /// Takes in what a change does to a row that is now `old`.
    pub(super) fn change(&mut self, (key, new): Change<'_>, old: Option<&[u8]>) {
        if let Some(old) = old {
            self.remove(key, old);
        }
        if let Some(new) = new {
            self.add(key, new);
        }
    }

    pub(super) fn encode(self) -> [u8; 16] {
        (u128::from(self.sum) << 64 | u128::from(self.batches)).to_be_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Seal> {
        let (sum, batches) = bytes.split_first_chunk()?;
        Some(Seal { sum: u64::from_be_bytes(*sum), batches: u64::from_be_bytes(batches.try_into().ok()?) })
    }
}

/// How far all rows were read: a few at a time, for they may be many, and the table is written to meanwhile.
#[derive(Default)]
pub(super) struct Verification {
    /// The kinds that are left; the last one is being read.
    pub(super) kinds: Vec<u8>,
    /// Its last key that was read.
    pub(super) last: Option<Vec<u8>>,
    /// What was read of it, as it now is.
    pub(super) found: Seal,
}

impl Verification {
    /// Takes in what a change does to a row that was read.
    pub(super) fn change(&mut self, kind: u8, change: Change<'_>, old: Option<&[u8]>) {
        if self.kinds.last() == Some(&kind) && self.last.as_deref().is_some_and(|last| change.0 <= last) {
            self.found.change(change, old);
        }
    }
}

/// What a checkpoint says of the table: the last commit in it, and the batches of each tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) sequence: u64,
    pub(super) trees: Vec<(u8, u64)>,
}

impl Contents {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.sequence.to_be_bytes().to_vec();
        for (kind, batches) in &self.trees {
            bytes.push(*kind);
            bytes.extend_from_slice(&batches.to_be_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Contents> {
        let (sequence, trees) = bytes.split_first_chunk()?;
        let trees = trees.chunks(9).map(|tree| {
            let (kind, batches) = tree.split_first()?;
            Some((*kind, u64::from_be_bytes(batches.try_into().ok()?)))
        });
        Some(Contents { sequence: u64::from_be_bytes(*sequence), trees: trees.collect::<Option<_>>()? })
    }
}

/// The first eight bytes of SHA-256 over key length, key and value. Not a CRC: those of two rows that change in the
/// same way would cancel out.
fn hash(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_that_of_its_rows_however_they_came_about() {
        let mut seal = Seal::default();
        seal.change((b"a", Some(b"1")), None);
        seal.change((b"b", Some(b"1")), None);
        seal.change((b"a", Some(b"2")), Some(b"1"));
        seal.change((b"b", None), Some(b"1"));
        seal.change((b"c", None), None);
        let mut expected = Seal::default();
        expected.add(b"a", b"2");
        assert_eq!(seal, expected);
        assert_eq!(Seal::decode(&seal.encode()), Some(seal));
        assert_eq!(Seal::decode(b"short"), None);
    }

    #[test]
    fn contents_read_back() {
        let contents = Contents { sequence: 7, trees: vec![(b'p', 300), (b'r', 1)] };
        assert_eq!(Contents::decode(&contents.encode()), Some(contents.clone()));
        assert_eq!(Contents::decode(&contents.encode()[..20]), None);
    }
}
