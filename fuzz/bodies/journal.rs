//! Any bytes as a journal segment: replayed up to where it is good, or refused with the place; never a panic.
//!
//! Fuzzers do not guess checksums. So the frames that the lengths in the input mark out are sealed: numbered, and
//! checksummed under a seed of their own. Sealed, cut anywhere or with a bit flipped, it is known what replay must say.

use std::fs;

use dwell::store::StoreError;
use dwell::store::local::replay::{Tail, replay};

/// Of the frames in `fuzz/seeds/journal`.
const SEED: u32 = 0x6477_656c;
/// Of sealed frames: none that the input brings along is good under it.
const SEALED: u32 = SEED ^ 1;

const HEADER_BYTES: usize = 16;

type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

pub fn check(bytes: &[u8]) {
    replayed(SEED, bytes).ok();

    let (sealed, ends) = seal(bytes);
    let Some(last) = ends.len().checked_sub(1) else { return };
    let Ok((tail, writes)) = replayed(SEALED, &sealed) else { return };
    assert_eq!((tail.end, tail.next, tail.torn), (ends[last] as u64, ends.len() as u64 + 1, false));

    let place = bytes.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let place = place % sealed.len();
    let whole = ends.iter().filter(|end| **end <= place).count();

    let (tail, found) = replayed(SEALED, &sealed[..place]).unwrap();
    let end = whole.checked_sub(1).map_or(0, |nth| ends[nth]);
    assert_eq!((tail.end, tail.next), (end as u64, whole as u64 + 1), "cut at {place} of {ends:?}");
    assert!(writes.starts_with(&found), "{found:?} is not how {writes:?} begins");

    let mut flipped = sealed;
    flipped[place] ^= 1 << (place % 8);
    match replayed(SEALED, &flipped) {
        Ok((tail, found)) => {
            assert_eq!((whole, tail.end), (last, end as u64), "a flip at {place} of {ends:?} went unseen");
            assert!(writes.starts_with(&found));
        }
        Err(error) => assert!(whole < last, "a torn tail at {place} of {ends:?} is refused: {error}"),
    }
}

fn replayed(seed: u32, segment: &[u8]) -> Result<(Tail, Writes), StoreError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("00000000000000000001.log"), segment).unwrap();
    let mut writes = Writes::new();
    let tail = replay(dir.path(), seed, 0, |key, value| {
        writes.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    });
    match &tail {
        Ok(_) => {}
        Err(StoreError::Corrupt { offset, .. }) => assert!(*offset <= segment.len() as u64, "{tail:?}"),
        // Of a newer build.
        Err(StoreError::Format { found, newest, .. }) => assert!(found > newest),
        Err(error) => panic!("{error}"),
    }
    let tail = tail?;
    assert!(tail.end <= segment.len() as u64, "{tail:?} of {} bytes", segment.len());
    Ok((tail, writes))
}

/// The frames of `bytes`, made good, and where each ends.
fn seal(bytes: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut sealed, mut ends) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let [b0, b1, b2, b3, ..] = *header;
        let length = [b0, b1, b2, b3];
        let Some((body, behind)) = behind.split_at_checked(u32::from_be_bytes(length) as usize) else {
            break;
        };
        if *header == [0; HEADER_BYTES] {
            break;
        }
        let sequence = (ends.len() as u64 + 1).to_be_bytes();
        let checksum =
            [&length[..], &sequence, body].iter().fold(SEALED, |sum, part| crc32c::crc32c_append(sum, part));
        sealed.extend_from_slice(&[&length[..], &checksum.to_be_bytes(), &sequence, body].concat());
        ends.push(sealed.len());
        rest = behind;
    }
    (sealed, ends)
}
