//! The commits of a traced process, each a function of its number; so everybody knows what a store has to hold.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::Path;

use dwell::store::local::Options;
use dwell::store::{Backend as _, Batch, Direction, Local};
use proptest::prelude::{Rng as _, RngExt as _};
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::replay::ACKNOWLEDGED;

/// Why a store is not as it has to be.
pub type Fault = Box<dyn Error>;

/// Every commit rewrites this key with its number.
const LAST: &[u8] = b"z";

/// Rows of each kind; few, so that most commits overwrite.
const ROWS: u8 = 24;

/// Kinds of rows, each a tree of its own in the table, and the commit from which on they are written.
const KINDS: [(u8, u64); 4] = [(b'a', 1), (b'b', 1), (b'm', 30), (b'p', 60)];

/// So many commits come to a value that sled keeps in a file of its own.
const COMMITS_PER_LARGE_VALUE: u64 = 23;
const LARGE_VALUE_BYTES: usize = 200_000;
const VALUE_BYTES_MAX: usize = 6_000;

/// Small enough that segments, checkpoints and the release of segments come every few commits.
pub fn options() -> Options {
    Options {
        segment_bytes: 48 * 1024,
        checkpoint_bytes: 100_000,
        overlay_bytes_max: 400_000,
        history_bytes_max: 150_000,
        ..Options::default()
    }
}

/// A generator of its own for each series of numbers.
pub fn random(series: u64, number: u64) -> TestRng {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&series.to_be_bytes());
    seed[8..16].copy_from_slice(&number.to_be_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
}

/// All commits there can be, from the first.
pub struct Story {
    batches: Vec<Batch>,
}

impl Story {
    pub fn new(commits: u64) -> Story {
        Story { batches: (1..=commits).map(batch).collect() }
    }

    /// What the traced process does: it opens the store and says how much it found, then goes on from there.
    pub fn live(&self, dir: &Path, commits: u64) {
        let mut store = Local::open(dir, options()).unwrap();
        let last = self.check(&store).unwrap();
        acknowledge(last);
        for n in last + 1..=last + commits {
            self.commit(&mut store, n).unwrap();
            acknowledge(n);
        }
    }

    pub fn commit(&self, store: &mut Local, n: u64) -> Result<(), Fault> {
        Ok(store.commit(self.batches[index(n)].clone())?)
    }

    /// The last commit in the store, after a check that it holds all that it has to after that, and no more.
    pub fn check(&self, store: &Local) -> Result<u64, Fault> {
        let last = store.get(LAST)?;
        let last = last.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
        let rows = store.scan(b"a", LAST, Direction::Ascending, usize::MAX)?;
        if !rows.iter().map(|(key, value)| (&key[..], &value[..])).eq(self.rows(last)) {
            return Err(format!("its rows are not those after commit {last}").into());
        }
        let history = store.history();
        let oldest = history.oldest()?;
        let events = history.read(oldest - 1, usize::MAX)?;
        let events: Vec<u64> = events.into_iter().map(|(n, _)| n).collect();
        if !events.iter().copied().eq(oldest..=last) || events.is_empty() != (last == 0) {
            return Err(format!("its history from {oldest} to {last} holds {events:?}").into());
        }
        Ok(last)
    }

    /// The rows after `n` commits.
    fn rows(&self, n: u64) -> BTreeMap<&[u8], &[u8]> {
        let mut rows = BTreeMap::new();
        for (key, value) in
            self.batches.iter().take(usize::try_from(n).unwrap()).flat_map(|batch| &batch.writes)
        {
            match value {
                Some(value) => rows.insert(&key[..], &value[..]),
                None => rows.remove(&key[..]),
            };
        }
        rows.remove(LAST);
        rows
    }
}

fn batch(n: u64) -> Batch {
    let mut random = random(0, n);
    let kinds: Vec<u8> = KINDS.iter().filter(|(_, from)| *from <= n).map(|(kind, _)| *kind).collect();
    let mut batch = Batch::default();
    for nth in 0..random.random_range(2..7) {
        let key = vec![kinds[random.random_range(0..kinds.len())], random.random_range(0..ROWS)];
        if random.random_bool(0.2) {
            batch.delete(key);
            continue;
        }
        let is_large = nth == 0 && n.is_multiple_of(COMMITS_PER_LARGE_VALUE);
        let bytes = if is_large { LARGE_VALUE_BYTES } else { random.random_range(0..VALUE_BYTES_MAX) };
        let mut value = vec![0; bytes];
        random.fill_bytes(&mut value);
        batch.put(key, value);
    }
    batch.put(LAST.to_vec(), n.to_be_bytes().to_vec());
    batch.event(n.to_be_bytes().to_vec());
    batch
}

/// The place of commit `n`, the first of which is 1.
fn index(n: u64) -> usize {
    usize::try_from(n - 1).unwrap()
}

fn acknowledge(n: u64) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("{ACKNOWLEDGED}{n}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}
