//! Every kind of damage to every file of a store: it opens with all that was acknowledged, or says which file is wrong and
//! where. Never a panic, never less without a word. And `dwell check` finds whatever is wrong, also where opening does not
//! look.
//!
//! Sampled; `DWELL_DAMAGE_ALL=1` goes through every byte. `cargo test --test damage -- --nocapture` prints the table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use dwell::store::local::Options;
use dwell::store::local::check::{self, Watch};
use dwell::store::{Backend as _, Batch, Direction, Findings, Local, StoreError};

const PAGE: usize = 512;

/// What a store is filled with.
#[derive(Clone, Copy)]
struct Shape {
    commits: u64,
    /// About how many times eight bytes a value has.
    value: usize,
    segment: u64,
}

/// A few commits pass through every file there is.
const SMALL: Shape = Shape { commits: 160, value: 5, segment: 4096 };

/// The values fill several of sled's segments.
const LARGE: Shape = Shape { commits: 300, value: 620, segment: 64 * 1024 };

impl Shape {
    fn options(self) -> Options {
        Options {
            segment_bytes: self.segment,
            checkpoint_bytes: 3_000,
            overlay_bytes_max: 50_000,
            table_cache_bytes: 1024 * 1024,
            ..Options::default()
        }
    }

    fn value(self, n: u64) -> Vec<u8> {
        n.to_be_bytes().repeat(self.value + usize::try_from(n % 7).unwrap())
    }

    fn fill(self, dir: &Path) {
        let mut store = Local::open(dir, self.options()).unwrap();
        for n in 1..=self.commits {
            let mut batch = Batch::default();
            batch.put(key(n), self.value(n));
            batch.event(self.value(n));
            store.commit(batch).unwrap();
            store.verified().unwrap();
        }
    }

    /// Opens it and reads all of it. Answers with which commit its history begins.
    fn opened(self, dir: &Path) -> Result<u64, StoreError> {
        let mut store = Local::open(dir, self.options())?;
        store.verified()?;
        let mut expected: Vec<_> = (1..=self.commits).map(|n| (key(n), self.value(n))).collect();
        expected.sort();
        let found = store.scan(&[0], &[255], Direction::Ascending, usize::MAX)?;
        assert!(found == expected, "{}: {} rows without a word", dir.display(), found.len());
        let history = store.history().read(0, usize::MAX)?;
        let oldest = store.history().oldest()?;
        let expected: Vec<_> = (oldest..=self.commits).map(|n| (n, self.value(n))).collect();
        assert!(history == expected, "{}: {} events without a word", dir.display(), history.len());
        Ok(oldest)
    }
}

fn is_all() -> bool {
    std::env::var_os("DWELL_DAMAGE_ALL").is_some()
}

/// Places `0..end`: all of them, or about `count`, and always the first and the last.
fn places(end: usize, count: usize) -> Vec<usize> {
    let step = if is_all() { 1 } else { (end / count).max(1) };
    let mut places: Vec<usize> = (0..end).step_by(step).collect();
    if let Some(last) = end.checked_sub(1).filter(|last| places.last() != Some(last)) {
        places.push(last);
    }
    places
}

fn key(n: u64) -> Vec<u8> {
    [if n.is_multiple_of(3) { b"p" } else { b"r" }, &n.to_be_bytes()[..]].concat()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// The segments of a store's journal, by their names.
fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
    found.sort();
    found
}

/// A store, and a place for damaged copies of it.
struct Suite {
    shape: Shape,
    dir: tempfile::TempDir,
    table: Vec<(&'static str, BTreeMap<&'static str, u32>)>,
    /// Of sled, that came back as errors.
    panics: u32,
}

#[derive(Default)]
struct Nobody;

impl Watch for Nobody {
    fn progress(&mut self, _line: &str) {}
    fn event(&mut self, _sequence: u64, _bytes: &[u8], _findings: &mut Findings) {}
}

/// How many faults `dwell check` finds, or its refusal.
fn faults(dir: &Path) -> Result<u64, StoreError> {
    let mut findings = Findings::default();
    check::check(dir, &mut Nobody, &mut findings)?;
    Ok(findings.faults())
}

impl Suite {
    fn new(shape: Shape) -> Suite {
        // Where it can be, in memory: what a sync costs is not what is tried here.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        shape.fill(&dir.path().join("whole"));
        let suite = Suite { shape, dir, table: Vec::new(), panics: 0 };
        assert_eq!(faults(&suite.whole()).unwrap(), 0);
        let damaged = suite.damaged();
        shape.opened(&damaged).unwrap();
        assert_eq!(faults(&damaged).unwrap(), 0, "opened once more");
        suite
    }

    fn whole(&self) -> PathBuf {
        self.dir.path().join("whole")
    }

    fn damaged(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = self.dir.path().join(format!("damaged-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        copy(&self.whole(), &dir);
        dir
    }

    /// Damages a copy of the store, and sees what it comes to.
    fn case(&mut self, name: &'static str, damage: impl FnOnce(&Path)) {
        let dir = self.damaged();
        damage(&dir);
        let found = faults(&dir);
        let outcome = match self.shape.opened(&dir) {
            Ok(1) => "recovered",
            // As retention leaves it.
            Ok(_) => "shorter",
            Err(error) => {
                let words = error.to_string();
                self.panics += u32::from(words.contains("panicked"));
                let names_it = words.contains(&dir.display().to_string());
                let typed = matches!(
                    error,
                    StoreError::Corrupt { .. }
                        | StoreError::Table { .. }
                        | StoreError::Format { .. }
                        | StoreError::Io { .. }
                );
                assert!(names_it && typed, "{name} in {}: {words}", dir.display());
                assert!(
                    found.is_err() || found.as_ref().is_ok_and(|faults| *faults > 0),
                    "{name}: check does not find {words}"
                );
                "refused"
            }
        };
        let known = self.table.iter().position(|(known, _)| *known == name);
        let row = known.unwrap_or_else(|| {
            self.table.push((name, BTreeMap::new()));
            self.table.len() - 1
        });
        *self.table[row].1.entry(outcome).or_insert(0) += 1;
        fs::remove_dir_all(dir).unwrap();
    }

    /// Every damage that bytes of one file can have.
    fn bytes(&mut self, names: [&'static str; 4], file: &Path, count: usize) {
        let bytes = fs::read(self.whole().join(file)).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let [flipped, cut, zeroed, moved] = names;
        for at in places(used, count) {
            self.case(flipped, |dir| {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << (at % 8);
                fs::write(dir.join(file), bytes).unwrap();
            });
        }
        for at in places(used, count) {
            self.case(cut, |dir| fs::write(dir.join(file), &bytes[..at]).unwrap());
        }
        let pages = used.div_ceil(PAGE);
        for page in places(pages, count) {
            if pages == 1 {
                continue;
            }
            let range = page * PAGE..((page + 1) * PAGE).min(bytes.len());
            self.case(zeroed, |dir| {
                let mut bytes = bytes.clone();
                bytes[range.clone()].fill(0);
                fs::write(dir.join(file), bytes).unwrap();
            });
            self.case(moved, |dir| {
                let mut bytes = bytes.clone();
                let from = (page + 1) % pages * PAGE;
                let there = bytes[from..(from + PAGE).min(bytes.len())].to_vec();
                let length = there.len().min(range.len());
                bytes[range.start..range.start + length].copy_from_slice(&there[..length]);
                fs::write(dir.join(file), bytes).unwrap();
            });
        }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> =
            segments(&self.whole()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        found.sort();
        found.into_iter().map(|name| Path::new("journal").join(name)).collect()
    }

    fn print(&self) {
        let mut text = format!(
            "\n{:<44}{:>8}{:>11}{:>9}{:>17}\n",
            "case", "count", "recovered", "refused", "shorter history"
        );
        for (name, outcomes) in &self.table {
            let of = |outcome| outcomes.get(outcome).copied().unwrap_or(0);
            let (recovered, refused, shorter) = (of("recovered"), of("refused"), of("shorter"));
            let count = recovered + refused + shorter;
            text.push_str(&format!("{name:<44}{count:>8}{recovered:>11}{refused:>9}{shorter:>17}\n"));
        }
        std::io::stdout().write_all(text.as_bytes()).unwrap();
    }

    fn count(&self, name: &str, outcome: &str) -> u32 {
        let (_, outcomes) = self.table.iter().find(|(found, _)| *found == name).unwrap();
        outcomes.get(outcome).copied().unwrap_or(0)
    }
}

#[test]
fn a_damaged_journal_is_refused_or_whole_and_never_less() {
    let mut suite = Suite::new(SMALL);
    let segments = suite.segments();
    assert!(segments.len() > 3, "{segments:?}");
    let names = [
        "journal: a byte flipped",
        "journal: cut",
        "journal: a page zeroed",
        "journal: a page from elsewhere",
    ];
    for segment in &segments {
        suite.bytes(names, segment, 8);
    }
    for pair in segments.windows(2) {
        suite.case("journal: two segments swapped", |dir| {
            let (a, b) = (dir.join(&pair[0]), dir.join(&pair[1]));
            let (first, second) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
            fs::write(a, second).unwrap();
            fs::write(b, first).unwrap();
        });
        for (from, to) in [(0, 1), (1, 0)] {
            suite.case("journal: a segment twice", |dir| {
                fs::copy(dir.join(&pair[from]), dir.join(&pair[to])).map(|_| ()).unwrap();
            });
        }
    }
    let other = suite.dir.path().join("other");
    SMALL.fill(&other);
    for segment in &segments {
        let foreign = other.join(segment);
        if foreign.exists() {
            suite.case("journal: a segment of another store", |dir| {
                fs::copy(&foreign, dir.join(segment)).map(|_| ()).unwrap();
            });
        }
        suite.case("journal: a segment missing", |dir| fs::remove_file(dir.join(segment)).unwrap());
    }
    suite.case("journal: all of it missing", |dir| fs::remove_dir_all(dir.join("journal")).unwrap());
    suite.print();
    for name in ["journal: a byte flipped", "journal: cut", "journal: a segment missing"] {
        assert_eq!(suite.count(name, "recovered"), 0, "{name}");
    }
    let shorter: u32 = suite.table.iter().map(|(name, _)| suite.count(name, "shorter")).sum();
    assert_eq!(shorter, 1, "only the oldest segment may be gone as if it had been released");
}

#[test]
fn damaged_small_files_are_refused_or_whole_and_never_less() {
    let mut suite = Suite::new(SMALL);
    for (file, names) in [
        (
            "format",
            [
                "format: a byte flipped",
                "format: cut",
                "format: a page zeroed",
                "format: a page from elsewhere",
            ],
        ),
        (
            "checkpoint",
            [
                "checkpoint: a byte flipped",
                "checkpoint: cut",
                "checkpoint: a page zeroed",
                "checkpoint: a page from elsewhere",
            ],
        ),
        (
            "acknowledged",
            [
                "acknowledged: a byte flipped",
                "acknowledged: cut",
                "acknowledged: a page zeroed",
                "acknowledged: a page from elsewhere",
            ],
        ),
    ] {
        suite.bytes(names, Path::new(file), 26);
        suite.case("a small file missing", |dir| fs::remove_file(dir.join(file)).unwrap());
    }
    suite.case("format: a newer one", |dir| {
        fs::write(dir.join("format"), "dwell 3 00000000 00000000\n").unwrap();
    });
    suite.case("journal: a frame of a newer layout", |dir| {
        let text = fs::read_to_string(dir.join("format")).unwrap();
        let seed = u32::from_str_radix(text.split(' ').nth(2).unwrap(), 16).unwrap();
        let path = segments(dir).pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        bytes[16] = 2;
        let sum = [&bytes[..4], &bytes[8..16], &bytes[16..16 + length]];
        let sum = sum.iter().fold(seed, |sum, part| crc32c::crc32c_append(sum, part));
        bytes[4..8].copy_from_slice(&sum.to_be_bytes());
        fs::write(path, bytes).unwrap();
    });
    suite.print();
    assert_eq!(suite.count("format: a newer one", "refused"), 1);
    assert_eq!(suite.count("journal: a frame of a newer layout", "refused"), 1);
    assert_eq!(suite.count("checkpoint: a byte flipped", "recovered"), 0);
}

/// Set in the process that opens damaged tables: sled's own threads may panic there.
const TABLES: &str = "DWELL_TEST_TABLES";

#[test]
fn a_damaged_table_is_refused_or_whole_and_never_less() {
    if std::env::var_os(TABLES).is_some() {
        return damage_tables();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_damaged_table_is_refused_or_whole_and_never_less", "--nocapture"])
        .env(TABLES, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    std::io::stdout().write_all(said.as_bytes()).unwrap();
    assert!(child.status.success(), "{said}{errors}");
    assert!(!errors.contains("panicked"), "what sled says while it panics is nobody's business: {errors}");
    let panics = said.lines().find_map(|line| line.strip_prefix("contained panics: "));
    assert_ne!(panics, Some("0"), "nothing made sled panic");
}

fn damage_tables() {
    let mut suite = Suite::new(SMALL);
    let names =
        ["table: a byte flipped", "table: cut", "table: a page zeroed", "table: a page from elsewhere"];
    suite.bytes(names, Path::new("table/db"), 10);
    suite.bytes(
        [
            "table conf: a byte flipped",
            "table conf: cut",
            "table conf: zeroed",
            "table conf: a page from elsewhere",
        ],
        Path::new("table/conf"),
        8,
    );
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(suite.whole().join("table")).unwrap() {
        files.push(Path::new("table").join(entry.unwrap().file_name()));
    }
    for file in files {
        suite.case("table: a file missing", |dir| {
            let path = dir.join(&file);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        });
    }
    suite.case("table: all of it missing", |dir| fs::remove_dir_all(dir.join("table")).unwrap());
    let small = suite;
    small.print();
    let mut suite = Suite::new(LARGE);
    suite.bytes(names, Path::new("table/db"), 8);
    suite.print();
    std::io::stdout()
        .write_all(format!("contained panics: {}\n", small.panics + suite.panics).as_bytes())
        .unwrap();
    let refused = suite.count("table: a byte flipped", "refused") + suite.count("table: cut", "refused");
    assert!(refused > 8, "only {refused} cases did any harm");
}
