//! What a stopped store holds, read as open would read it, and never written.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tempfile::TempDir;

use crate::store::local::history::Reader;
use crate::store::local::overlay::Overlay;
use crate::store::local::table::Table;
use crate::store::local::{mark, replay, scan};
use crate::store::{Backend, Batch, Direction, History, Pair, StoreError};

/// The rows of a stopped store.
pub struct View {
    overlay: Overlay,
    table: Table,
    history: Arc<Reader>,
    /// The table's files; they go with the view.
    _copy: TempDir,
}

impl View {
    /// What open would serve, or its refusal.
    pub(super) fn open(
        dir: &Path,
        seed: u32,
        checkpoint: u64,
        table: Table,
        copy: TempDir,
    ) -> Result<View, StoreError> {
        let journal = dir.join("journal");
        let mut overlay = Overlay::default();
        let newest = if journal.is_dir() {
            let tail = replay::replay(&journal, seed, checkpoint, |key, value| overlay.set(key, value))?;
            tail.up_to(mark::read(&mark::acknowledged(dir))?, &journal)?.next - 1
        } else if checkpoint == 0 && mark::read(&mark::acknowledged(dir))? == 0 {
            0
        } else {
            let reason = format!("it is missing, but {checkpoint} commits were brought into the table");
            return Err(StoreError::Corrupt { file: journal, offset: 0, reason });
        };
        let history = Arc::new(Reader::new(journal, seed, Arc::new(AtomicU64::new(newest))));
        Ok(View { overlay, table, history, _copy: copy })
    }
}

impl Backend for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.overlay.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.table.get(key),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        scan(&self.overlay, &self.table, (from, to), direction, limit)
    }

    fn commit(&mut self, _batch: Batch) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::clone(&self.history) as Arc<dyn History>
    }
}
