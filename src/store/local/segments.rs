//! The files of the journal: `journal/<first sequence, 20 digits>.log`, preallocated, zeros after the last frame.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use super::files::{failed, sync_dir};
use crate::store::{StoreError, crash_point};

/// A segment file by the sequence its first frame has, or will have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(journal: &Path, first: u64) -> Segment {
        Segment { first, path: journal.join(format!("{first:020}.log")) }
    }

    /// A new file of `bytes` zeros that survives power loss, open for writing.
    pub(super) fn create(&self, bytes: u64) -> Result<File, StoreError> {
        let mut options = File::options();
        let file = options
            .create_new(true)
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(failed("create", &self.path))?;
        crash_point("segment.after_create");
        self.grow(&file, bytes)?;
        sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(file)
    }

    /// Makes the file `bytes` long and gives it the room now, so that a full disk is met here and not by a frame;
    /// and so that a frame changes no length, which would make each sync dearer.
    pub(super) fn grow(&self, file: &File, bytes: u64) -> Result<(), StoreError> {
        let grown = match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes),
            other => other.map_err(Into::into),
        };
        grown.and_then(|()| file.sync_all()).map_err(failed("preallocate", &self.path))
    }
}

/// Every segment, oldest first. A name that is not a segment's is passed over.
pub(super) fn list(journal: &Path) -> Result<Vec<Segment>, StoreError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(journal).map_err(failed("list", journal))? {
        let path = entry.map_err(failed("list", journal))?.path();
        let digits = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log"));
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            segments.push(Segment { first, path });
        }
    }
    segments.sort_unstable();
    Ok(segments)
}
