//! Power loss: what a store acknowledged is there, whole, whatever instant the power goes.
//!
//! A process that commits is traced; its system calls are told to a model of a disk, which knows what is synced and
//! what is only written. At any point between two calls the power is cut: of what was not synced, nothing, all, or any
//! part is laid out as a store, and that store is opened. sled's file is in it like all others.
//!
//! `DWELL_POWER_IMAGES=10000 cargo test --release --test power_loss` opens more images, `DWELL_POWER_SEED=7` others.
//! A failure names a directory with the recorded calls; `DWELL_POWER_RECORDED=<it> DWELL_POWER_IMAGE=<number>` with the
//! seed opens that image alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod disk;
mod disk_tests;
mod replay;
mod story;
mod trace;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use disk::{Cut, Disk, Tree, lay_out, read_tree};
use dwell::store::Local;
use proptest::prelude::RngExt as _;
use replay::Replay;
use story::{Fault, Story};
use trace::{Operation, Trace, traced};

/// Set in the traced process: the store it commits to, and how often.
const STORE: &str = "DWELL_TEST_STORE";
const COMMITS: &str = "DWELL_TEST_COMMITS";

const COMMITS_OF_FIRST_LIFE: u64 = 160;
const COMMITS_OF_SECOND_LIFE: u64 = 40;
/// Few, so that most cuts are near the open: what it found it has to sync before it shows it.
const COMMITS_OF_THIRD_LIFE: u64 = 3;

const IMAGES: u64 = 160;

/// The part of a life's cuts that is taken for its open: one in so many.
const OPEN_SHARE: usize = 8;

/// Of one kind of cut.
const FAILURES_SHOWN_MAX: usize = 10;

/// What kind of file system the model is of. sled's own order of writes is safe only where each is on stable storage
/// when it returns, so that is what a table asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum On {
    /// One that grants it: the power may go at any time.
    WriteThrough,
    /// One that does not: while no checkpoint is under way.
    Rest,
}

/// A process's life as it was recorded in a directory: the files it found (`start`), its calls (`trace`), and the
/// files it left (`disk`), whose paths the calls name.
struct Recording {
    dir: PathBuf,
    /// Acknowledged before it.
    acknowledged: u64,
    trace: Trace,
    /// The life and the step in which the process before it was killed, whose files it found; then not all of them was
    /// synced. None if it found what a power cut left, or nothing.
    killed: Option<(Arc<Recording>, usize)>,
}

impl Recording {
    fn make(
        dir: &Path,
        start: &Tree,
        acknowledged: u64,
        commits: u64,
        killed: Option<(&Arc<Recording>, usize)>,
    ) -> Recording {
        for (name, tree) in [("start", start), ("disk", start)] {
            fs::create_dir_all(dir.join(name)).unwrap();
            lay_out(tree, &dir.join(name));
        }
        fs::write(dir.join("acknowledged"), acknowledged.to_string()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "nothing_acknowledged_is_lost_with_the_power",
            "--nocapture",
            "--test-threads=1",
        ]);
        command.env(STORE, dir.join("disk/store")).env(COMMITS, commits.to_string());
        let lived = traced(&command, &dir.join("trace"))
            .output()
            .expect("strace is needed for this test: apt-get install strace");
        assert!(lived.status.success(), "{}", String::from_utf8_lossy(&lived.stderr));
        if let Some((_, at)) = killed {
            fs::write(dir.join("killed"), at.to_string()).unwrap();
        }
        Recording::read(dir, killed.map(|(before, _)| before))
    }

    fn read(dir: &Path, before: Option<&Arc<Recording>>) -> Recording {
        let recording = Recording {
            dir: dir.to_owned(),
            acknowledged: fs::read_to_string(dir.join("acknowledged")).unwrap().parse().unwrap(),
            trace: Trace::read(&fs::read_to_string(dir.join("trace")).unwrap()),
            killed: before.map(|before| {
                let at = fs::read_to_string(dir.join("killed")).unwrap().parse().unwrap();
                (Arc::clone(before), at)
            }),
        };
        let mut replay = recording.replay(On::Rest);
        for step in &recording.trace.steps {
            replay.step(*step, &recording.trace.calls);
        }
        let told = replay.disk.image(Cut::Written, &mut story::random(0, 0));
        let left = read_tree(&dir.join("disk"));
        assert!(told == left, "the calls do not lead to the files that are there: {}", dir.display());
        recording
    }

    fn replay(&self, on: On) -> Replay {
        let disk = match &self.killed {
            Some((before, at)) => before.replay_until(*at, on).disk.after_kill(),
            None => Disk::of(&self.dir.join("start"), on == On::WriteThrough),
        };
        Replay::new(&self.dir.join("disk"), disk)
    }

    /// As it is after step `at`.
    fn replay_until(&self, at: usize, on: On) -> Replay {
        let mut replay = self.replay(on);
        for step in &self.trace.steps[..=at] {
            replay.step(*step, &self.trace.calls);
        }
        replay
    }

    /// The steps after which a cut may leave something new.
    fn cuts(&self, on: On) -> Vec<usize> {
        let mut replay = self.replay(on);
        let mut cuts = Vec::new();
        for (at, step) in self.trace.steps.iter().enumerate() {
            if replay.step(*step, &self.trace.calls) && (on == On::WriteThrough || replay.at_rest) {
                cuts.push(at);
            }
        }
        cuts
    }
}

/// A recorded life on a kind of file system.
struct Life<'a> {
    recording: &'a Recording,
    on: On,
}

/// Three recordings, two of them on two kinds of file systems; an image's number says which. The third ends before its
/// first checkpoint.
const LIVES: usize = 5;

impl fmt::Debug for Life<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} life, {:?}", disk::name(&self.recording.dir), self.on)
    }
}

/// What became of the images of one kind.
#[derive(Default)]
struct Outcomes {
    whole: u64,
    failures: Vec<String>,
}

/// Opens the store of `tree`; it has to hold at least what was acknowledged, at most what was begun, and to go on.
fn examine(story: &Story, tree: &Tree, acknowledged: u64) -> Result<u64, Fault> {
    let image = tempfile::tempdir_in(images_dir())?;
    lay_out(tree, image.path());
    let found = {
        let mut store = Local::open(&image.path().join("store"), story::options())?;
        store.verified()?;
        let found = story.check(&store)?;
        if found != acknowledged && found != acknowledged + 1 {
            return Err(format!("{acknowledged} commits were acknowledged, {found} are there").into());
        }
        story.commit(&mut store, found + 1)?;
        store.verified()?;
        found
    };
    // sled's threads may hold its files for a moment longer than the store.
    let copy = tempfile::tempdir_in(images_dir())?;
    lay_out(&read_tree(image.path()), copy.path());
    let mut store = Local::open(&copy.path().join("store"), story::options())?;
    store.verified()?;
    let next = story.check(&store)?;
    if next == found + 1 { Ok(found) } else { Err(format!("{next} commits, the next time").into()) }
}

/// Where images are laid out; in memory if possible, for a sync of theirs proves nothing.
fn images_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Makes and opens the images of these numbers; each is a function of seed and number alone.
fn examine_images(story: &Story, life: &Life<'_>, seed: u64, numbers: &[u64]) -> BTreeMap<Cut, Outcomes> {
    let Life { recording, on } = *life;
    let cuts = recording.cuts(on);
    assert!(!cuts.is_empty(), "{life:?}: there is nothing to cut");
    let mut planned: Vec<_> = numbers
        .iter()
        .map(|number| {
            let mut random = story::random(seed, *number);
            // An open is short, and every life begins with one.
            let near_open = random.random_bool(0.25);
            let last = if near_open { cuts.len().div_ceil(OPEN_SHARE) } else { cuts.len() };
            let at = cuts[random.random_range(0..last)];
            (at, *number, Cut::ALL[index(*number) / LIVES % Cut::ALL.len()], random)
        })
        .collect();
    planned.sort_by_key(|(at, number, ..)| (*at, *number));
    let mut planned = planned.into_iter().peekable();
    let mut outcomes: BTreeMap<Cut, Outcomes> = BTreeMap::new();
    let mut replay = recording.replay(on);
    for (at, step) in recording.trace.steps.iter().enumerate() {
        replay.step(*step, &recording.trace.calls);
        while let Some((_, number, cut, mut random)) = planned.next_if(|(cut_at, ..)| *cut_at == at) {
            let tree = replay.disk.image(cut, &mut random);
            let acknowledged = replay.acknowledged.unwrap_or(recording.acknowledged);
            let outcome = outcomes.entry(cut).or_default();
            match examine(story, &tree, acknowledged) {
                Ok(_) => outcome.whole += 1,
                Err(failure) => {
                    let call = recording.trace.told(*step);
                    outcome.failures.push(format!("image {number}, cut at step {at}, {call}: {failure}"));
                }
            }
        }
    }
    outcomes
}

/// Shares the images among the processors, and tells what became of them; answers whether all are whole.
fn examine_life(story: &Story, life: &Life<'_>, seed: u64, numbers: &[u64]) -> bool {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let shares = numbers.chunks(numbers.len().div_ceil(workers).max(1));
    let outcomes: Vec<_> = thread::scope(|scope| {
        let working: Vec<_> =
            shares.map(|share| scope.spawn(|| examine_images(story, life, seed, share))).collect();
        working.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    eprintln!("{life:?}: {} places to cut at", life.recording.cuts(life.on).len());
    let mut is_whole = true;
    for cut in Cut::ALL {
        let of_cut: Vec<_> = outcomes.iter().filter_map(|outcomes| outcomes.get(&cut)).collect();
        let whole: u64 = of_cut.iter().map(|outcomes| outcomes.whole).sum();
        let failures: Vec<_> = of_cut.iter().flat_map(|outcomes| &outcomes.failures).collect();
        eprintln!("  {cut:?}: {whole} images whole, {} not", failures.len());
        for failure in failures.iter().take(FAILURES_SHOWN_MAX) {
            eprintln!("    {failure}");
        }
        is_whole &= failures.is_empty();
    }
    is_whole
}

/// Cuts the power of `recording` at the instant at which its journal is torn, and answers the files and the commits
/// they hold.
fn torn_tail(story: &Story, recording: &Recording, seed: u64) -> (Tree, u64) {
    let steps = &recording.trace.steps;
    let half = steps.len() / 2;
    let mut replay = recording.replay_until(half - 1, On::WriteThrough);
    for (at, step) in steps.iter().enumerate().skip(half) {
        replay.step(*step, &recording.trace.calls);
        let mut random = story::random(seed, u64::MAX - at as u64);
        let [synced, written, torn] =
            [Cut::Synced, Cut::Written, Cut::Ordered].map(|cut| replay.disk.image(cut, &mut random));
        if journal(&torn) != journal(&synced) && journal(&torn) != journal(&written) {
            let found = examine(story, &torn, replay.acknowledged.unwrap_or_default());
            let found = found.unwrap_or_else(|fault| panic!("the journal is torn: {fault}"));
            return (torn, found);
        }
    }
    panic!("no cut tears the journal");
}

/// Kills the process of `recording` at the instant at which a commit is written and not synced; answers the step, the
/// files, and what was acknowledged.
fn unsynced_tail(recording: &Recording) -> (usize, Tree, u64) {
    let steps = &recording.trace.steps;
    let half = steps.len() / 2;
    let mut replay = recording.replay_until(half - 1, On::WriteThrough);
    for (at, step) in steps.iter().enumerate().skip(half) {
        replay.step(*step, &recording.trace.calls);
        let mut random = story::random(0, 0);
        let [synced, written] = [Cut::Synced, Cut::Written].map(|cut| replay.disk.image(cut, &mut random));
        if journal(&written) != journal(&synced) && recording.trace.ends_write(*step) {
            return (at, written, replay.acknowledged.unwrap());
        }
    }
    panic!("no commit is written before it is synced");
}

/// The segments.
fn journal(tree: &Tree) -> Vec<&[u8]> {
    let segment =
        |path: &Path| path.starts_with("store/journal") && path.extension().is_some_and(|e| e == "log");
    tree.iter().filter(|(path, _)| segment(path)).filter_map(|(_, content)| content.as_deref()).collect()
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let story = Story::new(COMMITS_OF_FIRST_LIFE + COMMITS_OF_SECOND_LIFE + 2);
    if let Some(dir) = std::env::var_os(STORE) {
        return story.live(Path::new(&dir), variable(COMMITS).unwrap());
    }
    let seed = variable("DWELL_POWER_SEED").unwrap_or(1);
    let images = variable("DWELL_POWER_IMAGES").unwrap_or(IMAGES);
    let recorded = std::env::var_os("DWELL_POWER_RECORDED").map(PathBuf::from);
    // Below `target`, for a temporary directory may lie in memory.
    let made = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep();
    let dir = recorded.clone().unwrap_or_else(made);
    let [first, second, third] = ["first", "second", "third"].map(|life| dir.join(life));
    let (first, second, third) = if recorded.is_some() {
        let first = Arc::new(Recording::read(&first, None));
        let third = Recording::read(&third, Some(&first));
        (first, Recording::read(&second, None), third)
    } else {
        let first = Recording::make(&first, &Tree::new(), 0, COMMITS_OF_FIRST_LIFE, None);
        let first = Arc::new(first);
        let (torn, found) = torn_tail(&story, &first, seed);
        let second = Recording::make(&second, &torn, found, COMMITS_OF_SECOND_LIFE, None);
        let (at, written, acknowledged) = unsynced_tail(&first);
        let killed = Some((&first, at));
        let third = Recording::make(&third, &written, acknowledged, COMMITS_OF_THIRD_LIFE, killed);
        (first, second, third)
    };
    let numbers = match variable("DWELL_POWER_IMAGE") {
        Some(number) => number..number + 1,
        None => 0..images,
    };
    let lives: [Life<'_>; LIVES] = [
        Life { recording: &first, on: On::WriteThrough },
        Life { recording: &second, on: On::WriteThrough },
        Life { recording: &third, on: On::WriteThrough },
        Life { recording: &first, on: On::Rest },
        Life { recording: &second, on: On::Rest },
    ];
    eprintln!("seed {seed}");
    let mut is_whole = true;
    let writes_through =
        first.trace.calls.iter().any(|call| matches!(call.operation, Operation::WriteThrough(_)));
    for (nth, life) in lives.iter().enumerate() {
        if life.on == On::WriteThrough && !writes_through {
            // There dwell warns and promises less.
            eprintln!("no file system that can write through: nothing is said of a cut at any time");
            continue;
        }
        let numbers: Vec<u64> = numbers.clone().filter(|number| index(*number) % LIVES == nth).collect();
        is_whole &= examine_life(&story, life, seed, &numbers);
    }
    assert!(is_whole, "seed {seed}, recorded in {}", dir.display());
    if recorded.is_none() {
        fs::remove_dir_all(dir).unwrap();
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
