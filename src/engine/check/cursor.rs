//! Rows one after the other, read in pages; and several kinds of rows side by side.

use std::vec::IntoIter;

use crate::store::keys::Range;
use crate::store::{Backend, Direction, Pair, StoreError};

/// Rows of a page whose values are small.
const SMALL_PER_PAGE: usize = 1024;

/// Rows of a page whose values may be as large as a payload.
const LARGE_PER_PAGE: usize = 16;

/// The rows of a range, in order.
pub(super) struct Rows<'a> {
    disk: &'a dyn Backend,
    from: Vec<u8>,
    to: Vec<u8>,
    limit: usize,
    page: IntoIter<Pair>,
    over: bool,
}

impl<'a> Rows<'a> {
    /// Of a kind whose values are small.
    pub(super) fn small(disk: &'a dyn Backend, range: Range) -> Rows<'a> {
        Rows::new(disk, range, SMALL_PER_PAGE)
    }

    /// Of a kind that holds payloads.
    pub(super) fn large(disk: &'a dyn Backend, range: Range) -> Rows<'a> {
        Rows::new(disk, range, LARGE_PER_PAGE)
    }

    fn new(disk: &'a dyn Backend, (from, to): Range, limit: usize) -> Rows<'a> {
        Rows { disk, from, to, limit, page: IntoIter::default(), over: false }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.over {
            let page = match self.disk.scan(&self.from, &self.to, Direction::Ascending, self.limit) {
                Ok(page) => page,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            };
            self.over = page.len() < self.limit;
            if let Some((last, _)) = page.last() {
                self.from.clone_from(last);
                self.from.push(0);
            }
            self.page = page.into_iter();
        }
        self.page.next().map(Ok)
    }
}

/// The next row of a kind, to be taken when its turn comes.
pub(super) struct Cursor<'a> {
    rows: Rows<'a>,
    /// Bytes of a key before what it shares with the other kinds.
    prefix: usize,
    head: Option<Pair>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(mut rows: Rows<'a>, prefix: usize) -> Result<Cursor<'a>, StoreError> {
        let head = rows.next().transpose()?;
        Ok(Cursor { rows, prefix, head })
    }

    /// Whose row is next.
    pub(super) fn owner(&self) -> Option<&[u8]> {
        self.head.as_ref().and_then(|(key, _)| key.get(self.prefix..))
    }

    /// The row, if it is this one's.
    pub(super) fn take(&mut self, owner: &[u8]) -> Result<Option<Pair>, StoreError> {
        if self.owner() != Some(owner) {
            return Ok(None);
        }
        let next = self.rows.next().transpose()?;
        Ok(std::mem::replace(&mut self.head, next))
    }
}

/// The first whose turn it is.
pub(super) fn first(cursors: &[&Cursor<'_>]) -> Option<Vec<u8>> {
    cursors.iter().filter_map(|cursor| cursor.owner()).min().map(<[u8]>::to_vec)
}
