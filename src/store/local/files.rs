//! The few ways the store touches files: synced directories, files replaced whole, errors that name the path.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::store::StoreError;

/// Turns an I/O error into one that says what was being done to which file.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |cause| {
        if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            StoreError::Full { doing, path }
        } else {
            StoreError::Io { doing, path, cause }
        }
    }
}

/// Makes `dir`, for its owner alone, and the directories above it; each survives power loss.
pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
    for made in missing {
        sync_parent(made)?;
    }
    Ok(())
}

/// Makes what was created, renamed or removed in `dir` survive power loss.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

/// Puts `bytes` in the place of the file at `path`, whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let write = |mut file: File| file.write_all(bytes).and_then(|()| file.sync_all());
    File::create(&new).and_then(write).map_err(failed("write", &new))?;
    fs::rename(&new, path).map_err(failed("replace", path))?;
    sync_parent(path)
}

/// Syncs every file and directory at and below `dir`. One that another thread removes meanwhile needs no sync.
pub(super) fn sync_tree(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
            continue;
        }
        match File::open(&path).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("sync", &path)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    sync_dir(dir)
}

/// From now on a write to the file at `path` is on stable storage when it returns; if it is a directory, so is a
/// change of its names, and what is made in it is like it (`chattr +S`; ext4, XFS). Answers whether the file system
/// can do that.
pub(super) fn write_through(path: &Path) -> Result<bool, StoreError> {
    let file = File::open(path).map_err(failed("open", path))?;
    let set = || {
        let flags = ioctl_getflags(&file)?;
        ioctl_setflags(&file, flags | IFlags::SYNC)
    };
    Ok(set().is_ok())
}

/// Makes what happened to the name of `path` survive power loss.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        Some(_) | None => sync_dir(Path::new(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_by_then_needs_no_sync() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("there"), "x").unwrap();
        std::os::unix::fs::symlink("gone", dir.path().join("listed")).unwrap();
        sync_tree(dir.path()).unwrap();
        assert!(sync_tree(&dir.path().join("gone")).is_err());
    }

    #[test]
    fn a_file_is_written_through_where_the_file_system_can_and_stays_so() {
        // A file system of the disk, where there is one that can.
        let program = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let flags = |path: &Path| ioctl_getflags(File::open(path).unwrap());
        let (asked, set) = (dir.path().join("asked"), dir.path().join("set"));
        for path in [&asked, &set] {
            fs::write(path, "x").unwrap();
        }
        let able =
            flags(&set).and_then(|flags| ioctl_setflags(File::open(&set).unwrap(), flags | IFlags::SYNC));
        for _ in 0..2 {
            assert_eq!(write_through(&asked).unwrap(), able.is_ok());
            assert_eq!(flags(&asked).ok(), flags(&set).ok());
        }
    }
}
