//! Backups as files: proven while they are read, and put in their place whole.
//!
//! Absent on purpose: what is in them byte by byte (`store::backup`), and who asks for one (`cli`).

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::engine::Moment;
use crate::store::backup::{self, About, BackupError, Part};
use crate::store::local::restore;

/// A backup that was read to its end.
#[derive(Clone, Debug)]
pub struct Contents {
    /// What it says of itself.
    pub about: About,
    /// The engine's last tick in it; none has been in a store that was never written to.
    pub moment: Option<Moment>,
}

/// Reads a backup to its end, which proves it; `see` is shown every part, before that.
pub fn read(
    from: &mut dyn Read,
    see: &mut dyn FnMut(Part<'_>) -> Result<(), BackupError>,
) -> Result<Contents, BackupError> {
    let (mut moment, mut unknown) = (None, None);
    let about = backup::read(from, &mut |part| {
        match part {
            Part::Begin { .. } => {}
            Part::Row(key, value) => moment = Moment::of(key, Some(value)).or(moment),
            Part::Commit(commit, frame) => {
                if !restore::writes(frame, |key, value| moment = Moment::of(key, value).or(moment)) {
                    unknown.get_or_insert(commit);
                    return Ok(());
                }
            }
        }
        see(part)
    })?;
    match unknown {
        Some(commit) => Err(BackupError::Layout { commit, version: about.version }),
        None => Ok(Contents { about, moment }),
    }
}

/// When a commit was decided, if it says so.
pub fn moment_of(frame: &[u8]) -> Option<Moment> {
    let mut moment = None;
    restore::writes(frame, |key, value| moment = Moment::of(key, value).or(moment));
    moment
}

/// Copies a backup from `from` to `to` and proves it on its way; `tell` is shown rows and bytes so far.
pub fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    mut tell: impl FnMut(u64, u64),
) -> anyhow::Result<Contents> {
    let mut tee = Tee { from, to, refused: None };
    let (mut rows, mut told) = (0, 0);
    // Its reader asks for a few bytes at a time.
    let mut buffered = io::BufReader::with_capacity(1 << 20, &mut tee);
    let read = read(&mut buffered, &mut |part| {
        if let Part::Row(key, value) = part {
            rows += 1;
            told += (key.len() + value.len()) as u64;
            tell(rows, told);
        }
        Ok(())
    });
    if let Some(error) = tee.refused {
        return Err(error).context("cannot write the backup");
    }
    let contents = read?;
    tee.to.flush().context("cannot write the backup")?;
    Ok(contents)
}

/// What is read from `from` is written to `to`.
struct Tee<'a> {
    from: &'a mut dyn Read,
    to: &'a mut dyn Write,
    refused: Option<io::Error>,
}

impl Read for Tee<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(bytes)?;
        if let Err(error) = self.to.write_all(bytes.get(..count).unwrap_or_default()) {
            self.refused = Some(error);
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(count)
    }
}

/// A file that appears under its name once it is whole and synced: it is written as `FILE.new`.
pub struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    in_place: bool,
}

impl NewFile {
    /// For its owner alone. Only with `replace` may there be one already.
    pub fn create(path: &Path, replace: bool) -> anyhow::Result<NewFile> {
        if !replace && fs::symlink_metadata(path).is_ok() {
            bail!("{} is there already: --force replaces it", path.display());
        }
        let Some(name) = path.file_name() else { bail!("{} names no file", path.display()) };
        let mut name = name.to_owned();
        name.push(".new");
        let partial = path.with_file_name(name);
        let cannot = || format!("cannot write {}", partial.display());
        let mut options = File::options();
        let opened = options.write(true).create(true).truncate(false).mode(0o600).open(&partial);
        let file = opened.with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{} is being written already", partial.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        // One that was cut off may have left it.
        file.set_len(0)
            .and_then(|()| file.set_permissions(Permissions::from_mode(0o600)))
            .with_context(cannot)?;
        Ok(NewFile { path: path.to_owned(), partial, file, in_place: false })
    }

    /// Where to write.
    pub fn out(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name, for certain.
    pub fn put_in_place(mut self) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        self.file.sync_all().with_context(cannot)?;
        fs::rename(&self.partial, &self.path).with_context(cannot)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).with_context(cannot)?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.in_place {
            // What cannot be removed is written over by the next one.
            fs::remove_file(&self.partial).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::model::Time;
    use crate::store::StoreError;
    use crate::store::backup::Base;

    /// A store whose only commit is this.
    struct One(&'static [u8]);

    impl Base for One {
        fn hand_out(
            &self,
            take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>,
        ) -> Result<Option<u64>, StoreError> {
            let parts = [Part::Begin { seed: 1, since: 6 }, Part::Commit(7, self.0)];
            Ok(parts.into_iter().all(|part| take(part).is_continue()).then_some(7))
        }
    }

    fn taken(frame: &'static [u8]) -> anyhow::Result<Contents> {
        let mut file = Vec::new();
        backup::write(&One(frame), Time::ZERO, "9.9.9", &mut file)?;
        let mut copied = Vec::new();
        let contents = copy(&mut file.as_slice(), &mut copied, |_, _| {})?;
        assert_eq!(copied, file);
        Ok(contents)
    }

    #[test]
    fn a_commit_of_a_newer_build_is_refused_by_who_wrote_it() {
        assert_eq!(taken(&[1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap().about.commit, 7);
        let refused = taken(&[2, 0, 0]).unwrap_err().to_string();
        let expected = "commit 7 is of a layout this build does not know: it was written by dwell 9.9.9";
        assert_eq!(refused, expected);
    }

    #[test]
    fn a_full_disk_is_told_as_that() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut file = Vec::new();
        backup::write(&One(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), Time::ZERO, "", &mut file).unwrap();
        let error = copy(&mut file.as_slice(), &mut Full, |_, _| {}).unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot write the backup: no storage space");
    }
}
