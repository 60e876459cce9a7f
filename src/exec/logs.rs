//! What attempts wrote: `<logs>/<record>/<attempt>.log`, stdout and stderr as they came, bounded.
//!
//! Owns: the files, for writing and for reading. Directories are 0700 and files 0600: agents print what they read.
//! Absent on purpose: rotation; a log goes when its record does.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::model::RecordId;

/// The longest log of one attempt; one line saying so follows.
pub const LOG_BYTES_MAX: u64 = 8 << 20;

/// The most that one read answers.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// One attempt's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which attempt.
    pub attempt: u32,
    /// How long it is by now.
    pub bytes: u64,
}

/// The attempts of a record that were spawned, in order; empty if there are none.
pub fn attempts(logs: &Path, id: RecordId) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(of_record(logs, id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(attempt) = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok()) {
            found.push(Kept { attempt, bytes: entry.metadata()?.len() });
        }
    }
    found.sort_unstable_by_key(|kept| kept.attempt);
    Ok(found)
}

/// At most `max` bytes (and never more than [`READ_BYTES_MAX`]) of one attempt's log from `offset`. Empty at its end;
/// `None` if there is no such log.
pub fn read(logs: &Path, id: RecordId, attempt: u32, offset: u64, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(of_attempt(logs, id, attempt)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(max.min(READ_BYTES_MAX) as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Drops all that was captured for a record.
pub(super) fn remove(logs: &Path, id: RecordId) -> io::Result<()> {
    match fs::remove_dir_all(of_record(logs, id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn of_record(logs: &Path, id: RecordId) -> PathBuf {
    logs.join(id.to_string())
}

fn of_attempt(logs: &Path, id: RecordId, attempt: u32) -> PathBuf {
    of_record(logs, id).join(format!("{attempt}.log"))
}

/// The one writer of an attempt's log. It never fails an attempt: what cannot be written is warned about once and
/// dropped.
pub(super) struct Log {
    /// `None` once it is full or broken.
    file: Option<BufWriter<File>>,
    bytes: u64,
    path: PathBuf,
}

impl Log {
    /// Opens it at its end.
    pub fn open(logs: &Path, id: RecordId, attempt: u32) -> Log {
        let path = of_attempt(logs, id, attempt);
        let opened =
            DirBuilder::new().recursive(true).mode(0o700).create(of_record(logs, id)).and_then(|()| {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
                let bytes = file.metadata()?.len();
                Ok((BufWriter::new(file), bytes))
            });
        match opened {
            Ok((file, bytes)) => Log { file: Some(file), bytes, path },
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "output of this attempt is not kept");
                Log { file: None, bytes: 0, path }
            }
        }
    }

    /// Appends one line, and the line break it came with.
    pub fn line(&mut self, line: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let length = line.len() as u64 + 1;
        if self.bytes.saturating_add(length) > LOG_BYTES_MAX {
            self.write(|file| writeln!(file, "[dwell: output beyond {LOG_BYTES_MAX} bytes is dropped]"));
            self.flush();
            self.file = None;
            return;
        }
        self.bytes += length;
        self.write(|file| file.write_all(line).and_then(|()| file.write_all(b"\n")));
    }

    /// Lets readers see what was appended. To be called when no more is at hand.
    pub fn flush(&mut self) {
        self.write(io::Write::flush);
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if let Some(file) = &mut self.file
            && let Err(error) = write(file)
        {
            tracing::warn!(path = %self.path.display(), %error, "further output of this attempt is not kept");
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    const ID: RecordId = RecordId::session(7);

    #[test]
    fn a_log_reads_back_by_range_and_goes_with_its_record() {
        let logs = tempfile::tempdir().unwrap();
        let mut log = Log::open(logs.path(), ID, 2);
        log.line(b"one");
        log.line(b"two");
        log.flush();
        assert_eq!(attempts(logs.path(), ID).unwrap(), [Kept { attempt: 2, bytes: 8 }]);
        assert_eq!(read(logs.path(), ID, 2, 4, 100).unwrap().unwrap(), b"two\n");
        assert_eq!(read(logs.path(), ID, 2, 8, 100).unwrap().unwrap(), b"");
        assert_eq!(read(logs.path(), ID, 1, 0, 100).unwrap(), None);
        remove(logs.path(), ID).unwrap();
        assert_eq!(attempts(logs.path(), ID).unwrap(), []);
    }

    #[test]
    fn only_the_owner_may_read_a_log() {
        let logs = tempfile::tempdir().unwrap();
        Log::open(logs.path(), ID, 1).line(b"secret");
        let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(of_record(logs.path(), ID)), 0o700);
        assert_eq!(mode(of_attempt(logs.path(), ID, 1)), 0o600);
    }

    #[test]
    fn a_full_log_says_once_that_the_rest_is_dropped() {
        let logs = tempfile::tempdir().unwrap();
        let mut log = Log::open(logs.path(), ID, 1);
        let line = vec![b'x'; 1 << 20];
        for _ in 0..12 {
            log.line(&line);
        }
        log.line(b"short, and still dropped");
        let [kept] = attempts(logs.path(), ID).unwrap()[..] else { panic!("one log") };
        let end = read(logs.path(), ID, 1, 7 * ((1 << 20) + 1), 4096).unwrap().unwrap();
        let end = String::from_utf8(end).unwrap();
        assert_eq!(end, format!("[dwell: output beyond {LOG_BYTES_MAX} bytes is dropped]\n"));
        assert!(kept.bytes < LOG_BYTES_MAX + 100);
    }
}
