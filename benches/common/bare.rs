//! What the disk takes for the bytes of a commit alone.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dwell::store::Batch;

const BYTES: u64 = 64 << 20;

/// A file of zeros that is written to from its beginning, and again from there once it is full.
pub struct Bare {
    file: File,
    end: u64,
}

impl Bare {
    pub fn new(path: &Path) -> Bare {
        let file = File::create_new(path).unwrap();
        let zeros = vec![0; 1 << 20];
        for at in (0..BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).unwrap();
        }
        file.sync_all().unwrap();
        Bare { file, end: 0 }
    }

    /// A write and an fdatasync.
    pub fn append(&mut self, bytes: &[u8]) {
        if self.end + bytes.len() as u64 > BYTES {
            self.end = 0;
        }
        self.file.write_all_at(bytes, self.end).unwrap();
        self.file.sync_data().unwrap();
        self.end += bytes.len() as u64;
    }
}

/// The size of the frame that a commit of `batch` writes (`schema/keys.md`).
pub fn frame_bytes(batch: &Batch) -> usize {
    let writes = batch.writes.iter().map(|(key, value)| 9 + key.len() + value.as_ref().map_or(0, Vec::len));
    let events = batch.events.iter().map(|event| 4 + event.len());
    25 + writes.sum::<usize>() + events.sum::<usize>()
}
