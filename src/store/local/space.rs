//! The room on the store's disk, looked at now and then. Absent on purpose: what follows from too little of it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::now;
use crate::model::{Name, Space};

/// A look is good for so long, as long as it finds room.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// `min_free` is never more than one part in this of the filesystem, so that a small one takes work at all.
const FILESYSTEM_PART: u64 = 4;

/// A filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Bytes that this process may still fill.
    pub free: u64,
    /// All its bytes; 0 if it does not say.
    pub size: u64,
}

/// How the filesystem of a directory is measured.
#[derive(Clone)]
pub struct Measure(Arc<Measuring>);

type Measuring = dyn Fn(&Path) -> io::Result<Filesystem> + Send + Sync;

impl Measure {
    /// By asking `measure`, for tests.
    pub fn new(measure: impl Fn(&Path) -> io::Result<Filesystem> + Send + Sync + 'static) -> Measure {
        Measure(Arc::new(measure))
    }
}

impl Default for Measure {
    /// By asking the operating system.
    fn default() -> Measure {
        Measure::new(|dir| {
            let found = rustix::fs::statvfs(dir)?;
            let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
            Ok(Filesystem { free: bytes(found.f_bavail), size: bytes(found.f_blocks) })
        })
    }
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measure")
    }
}

/// What a store knows of its disk.
pub(super) struct Gauge {
    dir: PathBuf,
    store: Name,
    min_free: u64,
    measure: Measure,
    /// The latest look that found room.
    roomy: Mutex<Option<(Instant, Space)>>,
}

impl Gauge {
    pub(super) fn new(dir: &Path, min_free: u64, measure: Measure) -> Gauge {
        let store = dir.display().to_string().into();
        Gauge { dir: dir.to_owned(), store, min_free, measure, roomy: Mutex::default() }
    }

    /// The room as it was a moment ago, or as it is if there was too little; `None` if it cannot be measured.
    pub(super) fn lately(&self) -> Option<Space> {
        let roomy = self.roomy().clone();
        match roomy.filter(|(at, _)| at.elapsed() < LOOK_EVERY) {
            Some((_, space)) => Some(space),
            None => self.space(),
        }
    }

    /// The room as it is.
    pub(super) fn space(&self) -> Option<Space> {
        let Filesystem { free, size } = (self.measure.0)(&self.dir).ok().filter(|found| found.size > 0)?;
        let min_free = self.min_free.min(size / FILESYSTEM_PART);
        let space = Space { store: self.store.clone(), free, min_free };
        *self.roomy() = (!space.is_short()).then(|| (now(), space.clone()));
        Some(space)
    }

    /// How much would have to be freed until `bytes` and what is to stay free are there.
    pub(super) fn lacking(&self, bytes: u64) -> u64 {
        self.space().map_or(0, |space| space.min_free.saturating_add(bytes).saturating_sub(space.free))
    }

    /// Whether `bytes` are there, of which none need stay free.
    pub(super) fn has(&self, bytes: u64) -> bool {
        self.space().is_none_or(|space| space.free >= bytes)
    }

    fn roomy(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Space)>> {
        self.roomy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_disk_with_room_is_looked_at_now_and_then_and_one_without_each_time() {
        let (free, looks) = (Arc::new(AtomicU64::new(100)), Arc::new(AtomicU64::new(0)));
        let measure = Measure::new({
            let (free, looks) = (Arc::clone(&free), Arc::clone(&looks));
            move |_| {
                looks.fetch_add(1, Ordering::Relaxed);
                Ok(Filesystem { free: free.load(Ordering::Relaxed), size: 4_000 })
            }
        });
        let gauge = Gauge::new(Path::new("here"), 50, measure);
        for _ in 0..10 {
            assert!(!gauge.lately().unwrap().is_short());
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        free.store(49, Ordering::Relaxed);
        assert!(gauge.space().unwrap().is_short());
        for _ in 0..10 {
            assert!(gauge.lately().unwrap().is_short());
        }
        assert_eq!(looks.load(Ordering::Relaxed), 12);
        assert_eq!((gauge.lacking(30), gauge.has(49), gauge.has(50)), (31, true, false));
    }

    #[test]
    fn what_is_to_stay_free_is_at_most_a_quarter_of_the_disk() {
        let min_free = |wanted, size| {
            let gauge = Gauge::new(
                Path::new("here"),
                wanted,
                Measure::new(move |_| Ok(Filesystem { free: 0, size })),
            );
            gauge.space().map(|space| space.min_free)
        };
        assert_eq!(min_free(256, 64), Some(16));
        assert_eq!(min_free(256, 2048), Some(256));
        assert_eq!(min_free(256, 0), None, "a filesystem that says nothing is never full");
    }

    #[test]
    fn a_real_directory_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        let space = Gauge::new(dir.path(), 1, Measure::default()).space().unwrap();
        assert!(space.free > 0);
        assert_eq!(&*space.store, dir.path().to_str().unwrap());
    }
}
