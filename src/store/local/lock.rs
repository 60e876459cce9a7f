//! One process per store: an advisory lock on the file `lock`, which holds the owner's pid for the others' message.
//!
//! The lock belongs to the open file, which a child shares from its fork to its exec. An owner killed in between leaves
//! it held for a moment by a process that is about to let go; so a lock whose owner is gone is waited for, briefly. An
//! owner that lives lets go by name, for all who share the file.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::files::failed;
use crate::store::StoreError;

/// How long a lock may outlive its owner. A fork comes to its exec within milliseconds.
const ORPHANED_FOR_MAX: Duration = Duration::from_secs(5);

/// Held as long as it lives; the operating system takes it back from a process that dies.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails the file is closed all the same.
        self.0.unlock().ok();
    }
}

impl Lock {
    /// Takes the lock of the store in `dir`, or says who has it.
    pub fn take(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join("lock");
        let mut options = File::options();
        let opened = options.create(true).read(true).write(true).truncate(false).open(&path);
        let mut file = locked(opened.map_err(failed("open", &path))?, dir)?;
        let pid = format!("{}\n", std::process::id());
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(pid.as_bytes())
        };
        write(&mut file).map_err(failed("write", &path))?;
        Ok(Lock(file))
    }

    /// The same without leaving a trace. `None`: nobody ever had the store open.
    pub(super) fn look(dir: &Path) -> Result<Option<Lock>, StoreError> {
        let path = dir.join("lock");
        match File::open(&path) {
            Ok(file) => Ok(Some(Lock(locked(file, dir)?))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }
}

/// The file, locked; or who has it.
fn locked(mut file: File, dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(failed("read", &path))?;
            let pid = pid.trim().to_owned();
            if is_alive(&pid) {
                return Err(StoreError::Locked { dir: dir.to_owned(), pid });
            }
            let inode = file.metadata().map_err(failed("read", &path))?.ino();
            let waited = wait(file).map_err(failed("lock", &path))?;
            // Whoever only looks at a store does not write itself down.
            waited
                .ok_or_else(|| StoreError::Locked { dir: dir.to_owned(), pid: holder(inode).unwrap_or(pid) })
        }
        Err(TryLockError::Error(cause)) => Err(failed("lock", &path)(cause)),
    }
}

/// Who holds a lock on the file of this inode, by the kernel's own list.
fn holder(inode: u64) -> Option<String> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = words.as_slice() else { return None };
        place.ends_with(&format!(":{inode}")).then(|| (*pid).to_owned())
    })
}

/// Whether a process of that number runs; one that has ended and is not reaped yet does not.
fn is_alive(pid: &str) -> bool {
    // The state follows the program's name, which may hold anything but ends with the last parenthesis.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until nobody holds a lock on the file, or for as long as an orphan can.
pub(super) fn wait_until_free(file: File) -> io::Result<()> {
    wait(file)?.map_or(Ok(()), |file| file.unlock())
}

/// The locked file, unless somebody holds it for longer than an orphan can.
fn wait(file: File) -> io::Result<Option<File>> {
    let (locked, taken) = bounded(1);
    thread::Builder::new().name("lock".to_owned()).spawn(move || {
        // Nobody may be waiting any more; then the file is closed, and the lock with it.
        locked.send(file.lock().map(|()| file)).ok();
    })?;
    taken.recv_timeout(ORPHANED_FOR_MAX).ok().transpose()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_lock_that_outlives_its_owner_for_a_moment_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let held = File::options().create_new(true).write(true).open(dir.path().join("lock")).unwrap();
        (&held).write_all(gone.id().to_string().as_bytes()).unwrap();
        held.lock().unwrap();
        // As between fork and exec: another process has the same open file, until it ends.
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(held).spawn().unwrap();
        let store = dir.path().to_owned();
        let taking = thread::spawn(move || Lock::take(&store));
        drop(child.stdin.take());
        child.wait().unwrap();
        taking.join().unwrap().unwrap();
    }

    #[test]
    fn a_child_that_is_about_to_begin_keeps_no_lock_that_was_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let mut cat = Command::new("cat");
        cat.stdin(Stdio::piped());
        let mut child = cat.stdout(lock.0.try_clone().unwrap()).spawn().unwrap();
        drop(lock);
        Lock::take(dir.path()).unwrap();

        let free = File::open(dir.path().join("lock")).unwrap();
        let mut other = cat.stdout(free.try_clone().unwrap()).spawn().unwrap();
        wait_until_free(free).unwrap();
        Lock::take(dir.path()).unwrap();
        for child in [&mut child, &mut other] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_lock_whose_owner_runs_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let refused = Lock::take(dir.path()).unwrap_err();
        assert!(
            refused.to_string().ends_with(&format!("is open in process {}", std::process::id())),
            "{refused}"
        );
        drop(lock);
        Lock::take(dir.path()).unwrap();
    }
}
