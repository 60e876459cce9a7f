//! Reads a backup and proves it while it goes: nothing is handed out of a block that is not as it was written.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::{
    About, BLOCK_BYTES_MAX, BackupError, DIGEST_BYTES, FORMAT, HEADER_BYTES, MAGIC, Part, checksum, kind,
};
use crate::model::Time;

/// The longest format line.
const FORMAT_BYTES_MAX: usize = 10;

/// Hands out every part of the backup that `from` begins with and ends after. Only the answer says that it is whole:
/// parts are handed out before its end is seen.
pub fn read(
    from: &mut dyn Read,
    take: &mut dyn FnMut(Part<'_>) -> Result<(), BackupError>,
) -> Result<About, BackupError> {
    let mut blocks = Blocks { from, sum: Sha256::new(), offset: 0, body: Vec::new() };
    blocks.magic()?;
    let (mut about, since) = blocks.about()?;
    take(Part::Begin { seed: about.seed, since })?;
    about.commit = since;
    loop {
        let (start, digest) = (blocks.offset, blocks.sum.clone());
        match blocks.block()? {
            kind::ROWS if about.commits == 0 => {
                let mut rest = blocks.body.as_slice();
                while !rest.is_empty() {
                    let row = (|| Some((take_bytes(&mut rest)?, take_bytes(&mut rest)?)))();
                    let (key, value) = row.ok_or_else(|| damaged(start, "its rows do not end with it"))?;
                    about.rows += 1;
                    take(Part::Row(key, value))?;
                }
            }
            kind::COMMIT => {
                let commit = blocks.body.split_first_chunk();
                let (sequence, frame) = commit.ok_or_else(|| damaged(start, "it is no commit"))?;
                let sequence = u64::from_be_bytes(*sequence);
                if sequence != about.commit + 1 {
                    let reason = format!("commit {sequence} follows commit {}", about.commit);
                    return Err(BackupError::Damaged { offset: start, reason });
                }
                about.commit = sequence;
                about.commits += 1;
                take(Part::Commit(sequence, frame))?;
            }
            kind::END => {
                let digest: [u8; DIGEST_BYTES] = digest.finalize().into();
                let counts = [about.commit, about.rows, about.commits].map(u64::to_be_bytes).concat();
                if blocks.body != [&counts[..], &digest[..]].concat() {
                    return Err(damaged(start, "what is before it is not what it sums up"));
                }
                blocks.nothing_more()?;
                about.bytes = blocks.offset;
                return Ok(about);
            }
            other => {
                return Err(damaged(
                    start,
                    &format!("a block of kind {:?} is out of place", char::from(other)),
                ));
            }
        }
    }
}

struct Blocks<'a> {
    from: &'a mut dyn Read,
    sum: Sha256,
    offset: u64,
    /// Of the last block read.
    body: Vec<u8>,
}

impl Blocks<'_> {
    fn magic(&mut self) -> Result<(), BackupError> {
        let mut begun = vec![0; MAGIC.len()];
        self.fill(&mut begun, "its first line")?;
        if begun != MAGIC.as_bytes() {
            return Err(BackupError::Foreign);
        }
        let mut digits = String::new();
        loop {
            let mut byte = [0];
            self.fill(&mut byte, "its first line")?;
            match byte {
                [b'\n'] => break,
                [digit @ b'0'..=b'9'] if digits.len() < FORMAT_BYTES_MAX => digits.push(char::from(digit)),
                _ => return Err(BackupError::Foreign),
            }
        }
        let found = digits.parse().map_err(|_| BackupError::Foreign)?;
        match found {
            FORMAT => Ok(()),
            newer if newer > FORMAT => Err(BackupError::Format { found }),
            _ => Err(BackupError::Foreign),
        }
    }

    /// The block about the whole, and since when commits follow.
    fn about(&mut self) -> Result<(About, u64), BackupError> {
        let start = self.offset;
        if self.block()? != kind::ABOUT {
            return Err(damaged(start, "it does not say what it is a backup of"));
        }
        let fields = || {
            let (seed, rest) = self.body.split_first_chunk()?;
            let (since, rest) = rest.split_first_chunk()?;
            let (taken_at, version) = rest.split_first_chunk()?;
            let about = About {
                seed: u32::from_be_bytes(*seed),
                taken_at: Time::from_millis(u64::from_be_bytes(*taken_at)),
                version: std::str::from_utf8(version).ok()?.to_owned(),
                commit: 0,
                rows: 0,
                commits: 0,
                bytes: 0,
            };
            Some((about, u64::from_be_bytes(*since)))
        };
        fields().ok_or_else(|| damaged(start, "it does not say what it is a backup of"))
    }

    /// Reads a good block into `body` and answers its kind.
    fn block(&mut self) -> Result<u8, BackupError> {
        let start = self.offset;
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header, "a block")?;
        let [kind, l0, l1, l2, l3, c0, c1, c2, c3] = header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length > BLOCK_BYTES_MAX {
            return Err(damaged(
                start,
                &format!("a block of {length} bytes: at most {BLOCK_BYTES_MAX} are written"),
            ));
        }
        // Grown by what is there, so that a damaged length takes no memory.
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let read = (&mut *self.from).take(u64::from(length)).read_to_end(&mut body);
        let count = read.map_err(|cause| BackupError::Io { doing: "read", cause })?;
        self.sum.update(&body);
        self.offset += count as u64;
        if count as u64 != u64::from(length) {
            return Err(damaged(self.offset, "it ends in the middle of a block"));
        }
        if checksum(start, kind, &body) != u32::from_be_bytes([c0, c1, c2, c3]) {
            return Err(damaged(start, "a block does not match its checksum"));
        }
        self.body = body;
        Ok(kind)
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), BackupError> {
        match self.from.read_exact(bytes) {
            Ok(()) => {
                self.sum.update(&*bytes);
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(damaged(self.offset, &format!("it ends before {what}")))
            }
            Err(cause) => Err(BackupError::Io { doing: "read", cause }),
        }
    }

    fn nothing_more(&mut self) -> Result<(), BackupError> {
        let mut more = Vec::new();
        let read = (&mut *self.from).take(1).read_to_end(&mut more);
        match read.map_err(|cause| BackupError::Io { doing: "read", cause })? {
            0 => Ok(()),
            _ => Err(damaged(self.offset, "something follows its end")),
        }
    }
}

fn damaged(offset: u64, reason: &str) -> BackupError {
    BackupError::Damaged { offset, reason: reason.to_owned() }
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, left) = rest.split_first_chunk()?;
    let (bytes, left) = left.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = left;
    Some(bytes)
}
