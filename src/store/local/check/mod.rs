//! Looks at a stopped store: every file of it, byte by byte, without changing one. What the rows mean is for the engine
//! to check, on the [`View`] this ends with.
//!
//! sled writes to its files when it opens them, so the table is looked at in a copy, in the directory for temporary
//! files.

mod journal;
mod repair;
#[cfg(test)]
mod tests;
mod view;

pub use repair::put_right;
pub use view::View;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use self::journal::{Chain, Survey};
use super::files::failed;
use super::lock::Lock;
use super::table::Table;
use super::{checkpoint, format, mark};
use crate::store::{Finding, Findings, Place, Severity, StoreError};

/// Whoever waits for a check and sees what the journal holds.
pub trait Watch {
    /// A line to show while it goes on.
    fn progress(&mut self, line: &str);

    /// An event of the history, with its commit.
    fn event(&mut self, sequence: u64, bytes: &[u8], findings: &mut Findings);
}

/// What the file `checkpoint` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Nothing: there is none.
    None,
    At(u64),
    Damaged,
}

impl Mark {
    /// The commit from which open would go on.
    const fn sequence(self) -> u64 {
        match self {
            Mark::At(sequence) => sequence,
            Mark::None | Mark::Damaged => 0,
        }
    }
}

/// What a look at a store came to. It holds the store's lock.
pub struct Checked {
    dir: PathBuf,
    seed: Option<u32>,
    mark: Mark,
    survey: Survey,
    /// How far the table is, if it is whole.
    table: Option<u64>,
    /// Commits up to which the journal has to reach.
    acknowledged: u64,
    /// Whether its small files are as open wants them.
    opens: bool,
    lock: Option<Lock>,
    /// What the store holds; `None` if that cannot be told.
    pub view: Option<View>,
    /// In `table/`.
    pub table_bytes: u64,
}

impl Checked {
    /// Segments of the journal.
    pub fn segments(&self) -> usize {
        self.survey.segments.len()
    }

    /// Good commits in them.
    pub fn commits(&self) -> u64 {
        self.survey.commits()
    }

    /// The bytes of them.
    pub fn journal_bytes(&self) -> u64 {
        self.survey.bytes
    }
}

/// Whether there is a store, or what is left of one.
pub fn is_store(dir: &Path) -> bool {
    dir.join("format").is_file() || format::left(dir).is_some()
}

/// Reads all of the store in `dir`, which no process may have open, and writes nothing there.
///
/// # Errors
/// [`StoreError::Locked`] if a process has it open; [`StoreError::Io`] if there is no store or it cannot be read. What
/// is wrong with it is no error but in `findings`.
pub fn check(dir: &Path, watch: &mut dyn Watch, findings: &mut Findings) -> Result<Checked, StoreError> {
    let lock = Lock::look(dir)?;
    let mut checked = Checked {
        dir: dir.to_owned(),
        seed: None,
        mark: Mark::None,
        survey: Survey::default(),
        table: None,
        acknowledged: 0,
        opens: true,
        lock,
        view: None,
        table_bytes: 0,
    };
    match format::read(dir) {
        Ok(Some(seed)) => checked.seed = Some(seed),
        Ok(None) => {
            let path = dir.join("format");
            let Some(left) = format::left(dir) else {
                return Err(failed("read", &path)(io::ErrorKind::NotFound.into()));
            };
            findings.add(Finding {
                severity: Severity::Damage,
                place: Place::File(path, None),
                what: format!("it is missing, but {left} is there"),
                remedy: NO_SEED.to_owned(),
            });
        }
        Err(error) => findings.add(damage(error, NO_SEED)?),
    }
    checked.mark = match checkpoint::read_mark(dir) {
        Ok(0) => Mark::None,
        Ok(sequence) => Mark::At(sequence),
        Err(error) => {
            findings
                .add(damage(error, "`dwell check --repair` writes it anew if the table says how far it is")?);
            checked.opens = false;
            Mark::Damaged
        }
    };
    match mark::read(&mark::acknowledged(dir)) {
        Ok(sequence) => checked.acknowledged = sequence,
        Err(error) => {
            findings.add(damage(error, "`dwell check --repair` writes it anew from what the journal holds")?);
            checked.opens = false;
        }
    }
    let Some(seed) = checked.seed else { return Ok(checked) };
    let journal = dir.join("journal");
    if journal.is_dir() {
        checked.survey = journal::survey(&journal, seed, checked.acknowledged, watch, findings)?;
    }
    let table = checked.look_at_table(watch, findings)?;
    checked.tell_breaks(findings);
    if let Some((table, copy)) = table
        && checked.opens
    {
        match View::open(dir, seed, checked.mark.sequence(), table, copy) {
            Ok(view) => checked.view = Some(view),
            // A break that was told says why already.
            Err(error) => {
                let told = checked.survey.breaks.iter().any(|found| !found.torn);
                let finding = damage(error, &checked.remedy())?;
                if !told {
                    findings.add(finding);
                }
            }
        }
    }
    Ok(checked)
}

const NO_SEED: &str =
    "without it no commit can be told from damage: restore the last backup with `dwell restore`";

impl Checked {
    /// Opens a copy of the table and reads all of it.
    fn look_at_table(
        &mut self,
        watch: &mut dyn Watch,
        findings: &mut Findings,
    ) -> Result<Option<(Table, tempfile::TempDir)>, StoreError> {
        watch.progress("table: copying it");
        let dir = self.dir.join("table");
        let copy = tempfile::tempdir().map_err(failed("make a copy in", &std::env::temp_dir()))?;
        if dir.exists() {
            self.table_bytes = copy_tree(&dir, copy.path())?;
        }
        watch.progress("table: reading it");
        let opened = Table::open(copy.path().to_owned(), TABLE_CACHE_BYTES, self.mark.sequence());
        let opened = opened.and_then(|table| {
            let mut verification = table.verification();
            while !table.verify(&mut verification)? {}
            Ok(table)
        });
        match opened {
            Ok(table) => {
                self.table = Some(table.sequence());
                Ok(Some((table, copy)))
            }
            Err(StoreError::Table { reason, .. }) => {
                let remedy = if self.whole().is_some() {
                    "the journal reaches back to the first commit: `dwell check --repair` builds the table anew"
                } else {
                    "the journal does not reach back to the first commit: restore the last backup with `dwell restore`"
                };
                findings.add(Finding {
                    severity: Severity::Damage,
                    place: Place::File(dir, None),
                    what: reason,
                    remedy: remedy.to_owned(),
                });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What the table has for certain.
    fn has(&self) -> u64 {
        self.table.unwrap_or(0).max(self.mark.sequence())
    }

    /// The commits that a repair without loss keeps: all after what the table has, to the end.
    fn kept(&self) -> Option<Chain> {
        let end = self.survey.next().max(self.acknowledged + 1);
        self.survey.chain_of(self.has()).filter(|chain| chain.next == end)
    }

    /// All commits there ever were.
    fn whole(&self) -> Option<Chain> {
        let end = self.survey.next().max(self.acknowledged + 1).max(self.mark.sequence() + 1);
        self.survey.chain_of(0).filter(|chain| chain.next == end && end > 1)
    }

    /// What can be done about a journal with a break.
    fn remedy(&self) -> String {
        if self.kept().is_some() {
            return "the state is whole without it: `dwell check --repair` puts it aside".to_owned();
        }
        let has = self.has();
        let goes_on = self.survey.chain_of(has).map_or(has + 1, |chain| chain.next);
        let lost = self.survey.next().max(self.acknowledged + 1).saturating_sub(goes_on);
        format!(
            "restore the last backup with `dwell restore`; as a last resort `dwell check --repair --cut` goes on \
             without commit {goes_on} and all after it: {lost} are known of"
        )
    }

    fn tell_breaks(&self, findings: &mut Findings) {
        let remedy = self.remedy();
        for found in &self.survey.breaks {
            findings.add(if found.torn {
                found.finding(&self.survey, Severity::Note, "the next start cuts it off".to_owned())
            } else {
                found.finding(&self.survey, Severity::Damage, remedy.clone())
            });
        }
    }
}

/// sled's cache while a table is only read.
const TABLE_CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// What damage looks like as a finding; any other error stays one.
fn damage(error: StoreError, remedy: &str) -> Result<Finding, StoreError> {
    if let StoreError::Corrupt { file, offset, reason } = error {
        let place = Place::File(file, Some(offset));
        return Ok(Finding { severity: Severity::Damage, place, what: reason, remedy: remedy.to_owned() });
    }
    Err(error)
}

/// Copies the files of a directory; answers how many bytes they have.
fn copy_tree(from: &Path, to: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    fs::create_dir_all(to).map_err(failed("create", to))?;
    for entry in fs::read_dir(from).map_err(failed("list", from))? {
        let path = entry.map_err(failed("list", from))?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        if path.is_dir() {
            bytes += copy_tree(&path, &target)?;
        } else {
            // Not its permissions: a copy is written to.
            let copied =
                File::open(&path).and_then(|mut from| io::copy(&mut from, &mut File::create(&target)?));
            bytes += copied.map_err(failed("copy", &path))?;
        }
    }
    Ok(bytes)
}
