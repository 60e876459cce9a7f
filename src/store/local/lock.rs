//! One process per store: an advisory lock on the file `lock`, which holds the owner's pid for the others' message.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use super::files::failed;
use crate::store::StoreError;

/// Held as long as it lives; the operating system takes it back from a process that dies.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the store in `dir`, or says who has it.
    pub(super) fn take(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join("lock");
        let mut options = File::options();
        let opened = options.create(true).read(true).write(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(failed("read", &path))?;
                return Err(StoreError::Locked { dir: dir.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(failed("lock", &path)(cause)),
        }
        let pid = format!("{}\n", std::process::id());
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(pid.as_bytes())
        };
        write(&mut file).map_err(failed("write", &path))?;
        Ok(Lock { _file: file })
    }
}
