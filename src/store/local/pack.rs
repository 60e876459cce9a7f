//! Several rows in one value of the table. Pure; the layout is in `schema/keys.md`.
//!
//! What sled does with a value costs about the same whether it has 30 bytes or 1,000. So rows that are written together
//! and go together, side by side, share one.

use super::frame::{put_bytes, take_bytes};

/// What a pack begins with. A value that begins with anything else is that of its key alone.
const PACK: u8 = 0;

/// The most that is put into one pack; a larger row stays alone.
pub(super) const PACK_BYTES: usize = 1024;

/// Before each key and each value: its length.
const LENGTH_BYTES: usize = 4;

/// A key and its value.
pub(super) type Row<'a> = (&'a [u8], &'a [u8]);

/// Whether a value is a pack.
pub(super) fn is_pack(value: &[u8]) -> bool {
    value.first() == Some(&PACK)
}

/// The rows of a value that lies under `key`, in order; `None` if no [`Packer`] wrote it.
pub(super) fn unpack<'a>(key: &'a [u8], value: &'a [u8]) -> Option<Vec<Row<'a>>> {
    if !is_pack(value) {
        return Some(vec![(key, value)]);
    }
    let mut rows = Vec::new();
    let mut rest = value.get(1..)?;
    while !rest.is_empty() {
        let key = take_bytes(&mut rest)?;
        rows.push((key, take_bytes(&mut rest)?));
    }
    Some(rows)
}

/// Puts rows, which come in order, into as few values as hold them.
#[derive(Default)]
pub(super) struct Packer<'a> {
    /// Each under the key of its first row.
    packed: Vec<(Vec<u8>, Vec<u8>)>,
    /// Rows that the next one may share a pack with.
    open: Vec<Row<'a>>,
    open_bytes: usize,
}

impl<'a> Packer<'a> {
    pub(super) fn add(&mut self, (key, value): Row<'a>) {
        let bytes = 2 * LENGTH_BYTES + key.len() + value.len();
        if 1 + self.open_bytes + bytes > PACK_BYTES {
            self.close();
        }
        self.open.push((key, value));
        self.open_bytes += bytes;
    }

    /// How many values there are that nothing is added to.
    pub(super) fn packed(&self) -> usize {
        self.packed.len()
    }

    /// All values.
    pub(super) fn finish(mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.close();
        self.packed
    }

    fn close(&mut self) {
        let value = match &self.open[..] {
            [] => return,
            [(_, value)] if !is_pack(value) => value.to_vec(),
            rows => {
                let mut pack = Vec::with_capacity(1 + self.open_bytes);
                pack.push(PACK);
                for (key, value) in rows {
                    put_bytes(&mut pack, key);
                    put_bytes(&mut pack, value);
                }
                pack
            }
        };
        let first = self.open.first().map(|(key, _)| key.to_vec()).unwrap_or_default();
        self.packed.push((first, value));
        self.open.clear();
        self.open_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_in_order(
            rows in btree_map(vec(any::<u8>(), 0..30), vec(0..3_u8, 0..PACK_BYTES * 3 / 2), 0..30),
        ) {
            let mut packer = Packer::default();
            for (key, value) in &rows {
                packer.add((key, value));
            }
            let packed = packer.finish();
            let unpacked: Vec<Row<'_>> =
                packed.iter().flat_map(|(key, value)| unpack(key, value).unwrap()).collect();
            let rows: Vec<Row<'_>> = rows.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            prop_assert_eq!(unpacked, rows);
            for (key, value) in &packed {
                let rows = unpack(key, value).unwrap();
                prop_assert_eq!(rows[0].0, key);
                prop_assert!(rows.len() == 1 || value.len() <= PACK_BYTES);
            }
            for pair in packed.windows(2) {
                let next = unpack(&pair[1].0, &pair[1].1).unwrap()[0];
                let open: usize = unpack(&pair[0].0, &pair[0].1).unwrap().into_iter().map(bytes).sum();
                prop_assert!(1 + open + bytes(next) > PACK_BYTES, "they have room in one");
            }
        }

        #[test]
        fn any_value_is_answered(key in vec(any::<u8>(), 0..4), value in vec(0..3_u8, 0..40)) {
            if let Some(rows) = unpack(&key, &value) {
                prop_assert!(rows.len() <= value.len() + 1);
            }
        }
    }

    fn bytes((key, value): Row<'_>) -> usize {
        2 * LENGTH_BYTES + key.len() + value.len()
    }
}
