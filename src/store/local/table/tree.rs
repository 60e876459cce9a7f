//! The rows of one kind byte: a tree of sled with the seal over its values. Where rows come and go in the order of their
//! keys ([`keys::are_in_order`]) a value holds several of them.
//!
//! Owns: what lies under which key of sled. A row is in the last value whose key is not behind its own. A pack gives rows
//! only to new ones behind it, so whoever goes through values that are newer and newer comes by each row.
//! Absent on purpose: an answer to sled's panics (`Table`).

use std::io;
use std::iter::Peekable;
use std::ops::{Bound, RangeBounds};

use sled::IVec;

use super::{Row, kind};
use crate::store::local::overlay::Change;
use crate::store::local::pack::{self, PACK_BYTES, Packer};
use crate::store::local::seal::{Seal, Verification};
use crate::store::{Direction, keys};

/// A key of sled with its value.
type Value = (IVec, IVec);

#[derive(Clone)]
pub(super) struct Tree {
    kind: u8,
    is_packed: bool,
    sled: sled::Tree,
    pub(super) seal: Seal,
}

impl Tree {
    pub(super) fn open(db: &sled::Db, kind: u8) -> sled::Result<Tree> {
        let sled = db.open_tree([kind])?;
        let seal = sled.get(seal_key(kind))?.and_then(|bytes| Seal::decode(&bytes)).unwrap_or_default();
        Ok(Tree { kind, is_packed: keys::are_in_order(kind), sled, seal })
    }

    pub(super) fn get(&self, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
        if !self.is_packed {
            return Ok(self.sled.get(key)?.map(|value| value.to_vec()));
        }
        let Some((first, value)) = self.value_of(key)? else { return Ok(None) };
        let found = unpack(&first, &value)?.into_iter().find(|(found, _)| *found == key);
        Ok(found.map(|(_, value)| value.to_vec()))
    }

    /// The rows between two bounds, in the order of `direction`.
    pub(super) fn rows<'a>(
        &self,
        from: Bound<&'a [u8]>,
        to: Bound<&'a [u8]>,
        direction: Direction,
    ) -> sled::Result<Box<dyn Iterator<Item = sled::Result<Row>> + 'a>> {
        let mut first = from.map(IVec::from);
        if self.is_packed
            && let Bound::Included(key) | Bound::Excluded(key) = from
            && let Some((holding, _)) = self.value_of(key)?
        {
            first = Bound::Included(holding);
        }
        let range = (first, to.map(IVec::from));
        let values: Box<dyn Iterator<Item = sled::Result<Value>>> = match direction {
            Direction::Ascending => Box::new(self.sled.range::<IVec, _>(range)),
            Direction::Descending if self.is_packed => Box::new(one_by_one_down(self.sled.clone(), range)),
            Direction::Descending => Box::new(self.sled.range::<IVec, _>(range).rev()),
        };
        let kind = self.kind;
        let values = values.filter(move |value| value.as_ref().map_or(true, |(key, _)| !is_seal(kind, key)));
        if !self.is_packed {
            return Ok(Box::new(
                values.map(|value| value.map(|(key, value)| (key.to_vec(), value.to_vec()))),
            ));
        }
        Ok(Box::new(unpacked(values, (from, to), direction)))
    }

    /// All values behind a key of sled's.
    pub(super) fn values(&self, after: Bound<&[u8]>) -> impl Iterator<Item = sled::Result<Value>> + use<> {
        let kind = self.kind;
        let values = self.sled.range::<IVec, _>((after.map(IVec::from), Bound::Unbounded));
        values.filter(move |value| value.as_ref().map_or(true, |(key, _)| !is_seal(kind, key)))
    }

    /// Takes changes until they are of another kind, or make up so many of sled's values, and writes them.
    pub(super) fn write<'c>(
        &mut self,
        changes: &mut Peekable<impl Iterator<Item = Change<'c>>>,
        values_max: usize,
        verification: Option<&mut Verification>,
    ) -> sled::Result<usize> {
        let kind = self.kind;
        let mut writing =
            Writing { tree: self, verification, batch: sled::Batch::default(), is_changed: false, values: 0 };
        while writing.values < values_max && changes.peek().is_some_and(|(key, _)| super::kind(key) == kind) {
            if writing.tree.is_packed {
                writing.packs(changes, values_max)?;
            } else if let Some((key, value)) = changes.next() {
                let old = writing.tree.sled.get(key)?;
                writing.change((key, value), old.as_deref());
            }
        }
        writing.apply()
    }

    /// Loses one of sled's values, as damage to its log does.
    #[cfg(test)]
    pub(super) fn lose(&self, key: &[u8]) {
        self.sled.remove(key).unwrap().unwrap();
    }

    /// The last value whose key is not behind this one.
    fn value_of(&self, key: &[u8]) -> sled::Result<Option<Value>> {
        let found = self.sled.range(..=key).next_back().transpose()?;
        Ok(found.filter(|(key, _)| !is_seal(self.kind, key)))
    }
}

/// Changes of a tree, to be written in one batch.
struct Writing<'t, 'v> {
    tree: &'t mut Tree,
    verification: Option<&'v mut Verification>,
    batch: sled::Batch,
    is_changed: bool,
    /// How many of sled's values were changed, or looked at in vain, which is most of what they cost.
    values: usize,
}

impl Writing<'_, '_> {
    /// Takes the changes of rows that are, or belong, in one value of sled's.
    fn packs<'c>(
        &mut self,
        changes: &mut Peekable<impl Iterator<Item = Change<'c>>>,
        values_max: usize,
    ) -> sled::Result<()> {
        let Some((key, _)) = changes.peek().copied() else { return Ok(()) };
        let values = self.values;
        // What is read here stands behind what the batch has changed so far, so sled has it as it is.
        // A large row stays where it is, unless it is what changes: what comes behind it is a new value.
        let there =
            self.tree.value_of(key)?.filter(|(first, value)| value.len() <= PACK_BYTES || first == key);
        let next = self.tree.values(Bound::Excluded(key)).next().transpose()?.map(|(key, _)| key);
        let rows = there.as_ref().map_or(Ok(Vec::new()), |(key, value)| unpack(key, value))?;
        let mut rows = rows.into_iter().peekable();
        let mut packer = Packer::default();
        while self.values + packer.packed() < values_max
            && let Some((key, value)) = changes.next_if(|(key, _)| {
                kind(key) == self.tree.kind && next.as_deref().is_none_or(|next| *key < next)
            })
        {
            while let Some(row) = rows.next_if(|(before, _)| *before < key) {
                packer.add(row);
            }
            rows.next_if(|(same, _)| *same == key);
            if let Some(value) = value {
                packer.add((key, value));
            }
        }
        rows.for_each(|row| packer.add(row));
        let packed = packer.finish();
        let old = there.as_ref().map(|(key, value)| (&key[..], &value[..]));
        if let Some((key, value)) = old.filter(|(key, _)| packed.iter().all(|(first, _)| first != key)) {
            self.change((key, None), Some(value));
        }
        for (key, value) in &packed {
            let old = old.filter(|(first, _)| first == key).map(|(_, value)| value);
            if old != Some(value) {
                self.change((key, Some(value)), old);
            }
        }
        self.values = self.values.max(values + 1);
        Ok(())
    }

    /// Changes one of sled's values, which is `old`.
    fn change(&mut self, change: Change<'_>, old: Option<&[u8]>) {
        self.values += 1;
        self.is_changed |= change.1.is_some() || old.is_some();
        self.tree.seal.change(change, old);
        if let Some(verification) = &mut self.verification {
            verification.change(self.tree.kind, change, old);
        }
        match change {
            (key, Some(value)) => self.batch.insert(key, value),
            (key, None) if old.is_some() => self.batch.remove(key),
            (_, None) => {}
        }
    }

    /// Writes what changed, if anything did, and the seal with it.
    fn apply(mut self) -> sled::Result<usize> {
        if !self.is_changed {
            return Ok(self.values);
        }
        self.tree.seal.batches += 1;
        self.batch.insert(&seal_key(self.tree.kind), &self.tree.seal.encode());
        self.tree.sled.apply_batch(self.batch)?;
        Ok(self.values)
    }
}

/// Values from the last one down, each as it is when it is asked for. sled's own iterator goes through a page as that was when
/// it came to it; rows that a pack gives to one on such a page meanwhile would be nowhere for it.
fn one_by_one_down(
    tree: sled::Tree,
    (from, mut to): (Bound<IVec>, Bound<IVec>),
) -> impl Iterator<Item = sled::Result<Value>> {
    std::iter::from_fn(move || {
        let value = tree.range::<IVec, _>((from.clone(), to.clone())).next_back()?;
        if let Ok((key, _)) = &value {
            to = Bound::Excluded(key.clone());
        }
        Some(value)
    })
}

/// The rows of values, as far as they are in a range. Between two values a pack that was handed out may have given rows to the
/// next one: those are not handed out again.
pub(super) fn unpacked<'a>(
    values: impl Iterator<Item = sled::Result<Value>> + 'a,
    range: (Bound<&'a [u8]>, Bound<&'a [u8]>),
    direction: Direction,
) -> impl Iterator<Item = sled::Result<Row>> + 'a {
    let mut last: Option<Vec<u8>> = None;
    let mut rows_of = move |(key, value): Value| -> sled::Result<Vec<Row>> {
        let mut rows = unpack(&key, &value)?;
        if direction == Direction::Descending {
            rows.reverse();
        }
        rows.retain(|(key, _)| {
            let is_new = last.as_deref().is_none_or(|last| match direction {
                Direction::Ascending => last < *key,
                Direction::Descending => last > *key,
            });
            is_new && RangeBounds::<[u8]>::contains(&range, *key)
        });
        if let Some((key, _)) = rows.last() {
            last = Some(key.to_vec());
        }
        Ok(rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
    };
    values.flat_map(move |value| match value.and_then(&mut rows_of) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    })
}

fn unpack<'a>(key: &'a [u8], value: &'a [u8]) -> sled::Result<Vec<pack::Row<'a>>> {
    pack::unpack(key, value).ok_or_else(|| {
        let reason = format!("a pack of rows is none: {}", keys::words(key));
        sled::Error::Io(io::Error::new(io::ErrorKind::InvalidData, reason))
    })
}

/// The key of a tree's seal: no key of its kind, for those begin with the kind (or are empty, in the tree of 0).
fn seal_key(kind: u8) -> [u8; 1] {
    [!kind]
}

fn is_seal(kind: u8, key: &[u8]) -> bool {
    *key == seal_key(kind)
}
