//! Puts a stopped store in order, as far as that loses nothing; and, only if it is asked to, with loss. Whatever is taken
//! out is kept beside, in a directory of its own.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::journal::{Chain, Run};
use super::{Checked, Mark, TABLE_CACHE_BYTES, Watch, copy_tree};
use crate::store::local::checkpoint;
use crate::store::local::files::{failed, make_dir, sync_dir};
use crate::store::local::lock::Lock;
use crate::store::local::overlay::Overlay;
use crate::store::local::segments::Segment;
use crate::store::local::table::Table;
use crate::store::local::{Local, Options, format, frame, mark};
use crate::store::{Backend as _, Batch, Fix, StoreError, keys};

/// What a table that is built anew holds in memory at once.
const OVERLAY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The file of a repair's directory that holds rows as they were.
const ROWS: &str = "rows.jsonl";

impl Checked {
    /// Puts the files in order. `beside` is the directory for what is taken out; `cut`: go on without acknowledged commits
    /// if nothing else helps. Answers what was done, in words; nothing if nothing can be, or has to be.
    ///
    /// # Errors
    /// If a file cannot be read or written; what was moved by then is in `beside`.
    pub fn repair(
        &mut self,
        beside: &Path,
        cut: bool,
        watch: &mut dyn Watch,
    ) -> Result<Vec<String>, StoreError> {
        let Some(seed) = self.seed else { return Ok(Vec::new()) };
        if self.lock.is_none() {
            self.lock = Some(Lock::take(&self.dir)?);
        }
        let mut repair = Repair { checked: self, beside: beside.to_owned(), done: Vec::new() };
        if repair.checked.table.is_none() {
            if let Some(whole) = repair.checked.whole() {
                repair.rebuild(&whole, seed, watch)?;
            }
            return Ok(repair.done);
        }
        let has = repair.checked.has();
        match repair.checked.kept() {
            Some(chain) => repair.arrange(&chain, has)?,
            None if cut => {
                let goes_on = Chain { first: has + 1, next: has + 1, runs: Vec::new() };
                let chain = repair.checked.survey.chain_of(has).unwrap_or(goes_on);
                repair.cut(&chain, has)?;
            }
            None => {}
        }
        Ok(repair.done)
    }
}

struct Repair<'a> {
    checked: &'a Checked,
    beside: PathBuf,
    done: Vec<String>,
}

impl Repair<'_> {
    /// Leaves the commits of `chain` in the journal and nothing else, and makes the small files say so.
    fn arrange(&mut self, chain: &Chain, has: u64) -> Result<(), StoreError> {
        let dir = self.checked.dir.clone();
        let mut late = Vec::new();
        for (nth, segment) in self.checked.survey.segments.iter().enumerate() {
            let run = chain.runs.iter().find(|run| run.segment == nth);
            self.arrange_segment(segment, run, chain, &mut late)?;
        }
        let journal = dir.join("journal");
        for (segment, bytes) in late {
            write_synced(&segment.path, &bytes)?;
            self.done.push(format!(
                "kept the commits from {} on in {}",
                segment.first,
                segment.path.display()
            ));
        }
        if journal.is_dir() {
            sync_dir(&journal)?;
        }
        let checkpoint = self.checked.mark.sequence();
        if self.checked.mark == Mark::Damaged || chain.first > checkpoint + 1 {
            let path = checkpoint::mark_path(&dir);
            mark::write(&path, has)?;
            self.done.push(format!("wrote {}: the table has all up to commit {has}", path.display()));
        }
        let promise = mark::acknowledged(&dir);
        if self.checked.acknowledged + 1 > chain.next || mark::read(&promise).is_err() {
            mark::write(&promise, chain.next - 1)?;
            self.done.push(format!(
                "wrote {}: the journal reaches commit {}",
                promise.display(),
                chain.next - 1
            ));
        }
        Ok(())
    }

    fn arrange_segment(
        &mut self,
        segment: &Segment,
        run: Option<&Run>,
        chain: &Chain,
        late: &mut Vec<(Segment, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        let bytes = fs::read(&segment.path).map_err(failed("read", &segment.path))?;
        let Some(run) = run else {
            // Room that was made and not used yet.
            if segment.first != chain.next || bytes.iter().any(|byte| *byte != 0) {
                self.move_aside(&segment.path)?;
            }
            return Ok(());
        };
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let good = bytes.get(place(run.start)..place(run.end)).unwrap_or_default();
        let behind = bytes.get(place(run.end)..).unwrap_or_default();
        if run.start > 0 {
            let journal = segment.path.parent().unwrap_or(Path::new("."));
            late.push((Segment::new(journal, run.first), good.to_vec()));
            return self.move_aside(&segment.path);
        }
        if behind.iter().any(|byte| *byte != 0) {
            self.copy_aside(&segment.path)?;
            let file =
                File::options().write(true).open(&segment.path).map_err(failed("open", &segment.path))?;
            let blank = vec![0; behind.len()];
            let cut = file.write_all_at(&blank, run.end).and_then(|()| file.sync_all());
            cut.map_err(failed("cut", &segment.path))?;
            self.done.push(format!(
                "cut {} off at byte {}, behind commit {}",
                segment.path.display(),
                run.end,
                run.next - 1
            ));
        }
        Ok(())
    }

    /// As [`Repair::arrange`], where commits that were acknowledged go.
    fn cut(&mut self, chain: &Chain, has: u64) -> Result<(), StoreError> {
        let end = self.checked.survey.next().max(self.checked.acknowledged + 1);
        self.done.push(format!(
            "went on without commit {} and all after it, {} that are known of",
            chain.next,
            end.saturating_sub(chain.next)
        ));
        self.arrange(chain, has)?;
        if chain.runs.is_empty() {
            let journal = self.checked.dir.join("journal");
            make_dir(&journal)?;
            let segment = Segment::new(&journal, chain.next);
            write_synced(&segment.path, &[])?;
            sync_dir(&journal)?;
        }
        Ok(())
    }

    /// Builds the table from a journal that reaches back to the first commit.
    fn rebuild(&mut self, chain: &Chain, seed: u32, watch: &mut dyn Watch) -> Result<(), StoreError> {
        let dir = self.checked.dir.clone();
        let (old, new) = (dir.join("table"), dir.join("table.new"));
        if new.exists() {
            fs::remove_dir_all(&new).map_err(failed("remove", &new))?;
        }
        let table = Table::open(new.clone(), TABLE_CACHE_BYTES, 0)?;
        let mut overlay = Overlay::default();
        for (nth, run) in chain.runs.iter().enumerate() {
            watch.progress(&format!("table: building it from segment {} of {}", nth + 1, chain.runs.len()));
            let Some(segment) = self.checked.survey.segments.get(run.segment) else { continue };
            let bytes = fs::read(&segment.path).map_err(failed("read", &segment.path))?;
            let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
            let mut rest = bytes.get(place(run.start)..place(run.end)).unwrap_or_default();
            while let Some((header, body)) = frame::first(seed, rest) {
                // Every body of the chain was read once already.
                frame::decode(body, |key, value| overlay.set(key, value), |_| {}).unwrap_or_default();
                rest = rest.get(place(header.frame_bytes())..).unwrap_or_default();
                if overlay.active_bytes() > OVERLAY_BYTES_MAX {
                    table.write_all(&overlay.freeze())?;
                    drop(overlay.thaw());
                }
            }
        }
        table.write_all(&overlay.freeze())?;
        table.sync(chain.next - 1)?;
        drop(table);
        format::raise(&dir)?;
        if old.exists() {
            self.move_aside(&old)?;
        }
        fs::rename(&new, &old).map_err(failed("replace", &old))?;
        sync_dir(&dir)?;
        mark::write(&checkpoint::mark_path(&dir), chain.next - 1)?;
        self.done.push(format!(
            "built {} anew from the journal, up to commit {}",
            old.display(),
            chain.next - 1
        ));
        Ok(())
    }

    fn move_aside(&mut self, path: &Path) -> Result<(), StoreError> {
        let target = self.aside(path)?;
        fs::rename(path, &target).map_err(failed("move", path))?;
        sync_dir(&self.beside)?;
        self.done.push(format!("moved {} to {}", path.display(), target.display()));
        Ok(())
    }

    fn copy_aside(&mut self, path: &Path) -> Result<(), StoreError> {
        let target = self.aside(path)?;
        if path.is_dir() {
            copy_tree(path, &target)?;
        } else {
            fs::copy(path, &target).map_err(failed("copy", path))?;
            File::open(&target).and_then(|file| file.sync_all()).map_err(failed("sync", &target))?;
        }
        sync_dir(&self.beside)?;
        self.done.push(format!("copied {} to {}", path.display(), target.display()));
        Ok(())
    }

    fn aside(&self, path: &Path) -> Result<PathBuf, StoreError> {
        make_dir(&self.beside)?;
        Ok(self.beside.join(path.file_name().unwrap_or_default()))
    }
}

/// Writes rows as they were to `beside`, and then as they are to be into the store in `dir`, in one commit.
///
/// # Errors
/// If the store does not open, or one of the files cannot be written.
pub fn put_right(dir: &Path, fixes: &[Fix], beside: &Path) -> Result<(), StoreError> {
    make_dir(beside)?;
    let path = beside.join(ROWS);
    let mut lines = String::new();
    let mut batch = Batch::default();
    for fix in fixes {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = json!({
            "row": keys::words(&fix.key),
            "key": hex(&fix.key),
            "old": fix.old.as_deref().map(hex),
            "new": fix.new.as_deref().map(hex),
        });
        lines.push_str(&format!("{line}\n"));
        batch.writes.push((fix.key.clone(), fix.new.clone()));
    }
    let opened = File::options().create(true).append(true).open(&path);
    let written = opened.and_then(|mut file| file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(failed("write", &path))?;
    sync_dir(beside)?;
    Local::open(dir, Options::default())?.commit(batch)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = |mut file: File| file.write_all(bytes).and_then(|()| file.sync_all());
    File::create(path).and_then(write).map_err(failed("write", path))
}
