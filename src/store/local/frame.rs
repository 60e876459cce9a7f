//! One commit as bytes: length, checksum, sequence, batch. Pure; the layout is in `schema/keys.md`.

use crate::store::{Batch, StoreError};

/// Length of the body (4), CRC-32C (4), sequence (8); all big-endian.
pub(super) const HEADER_BYTES: usize = 16;

/// The largest body: many times the largest payload, and far from what four bytes can count.
const BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The version byte a body begins with, and the newest there is.
pub(super) const V1: u8 = 1;

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) body_bytes: u32,
    pub(super) checksum: u32,
    /// 1 for a store's first commit; 0 where nothing was written.
    pub(super) sequence: u64,
}

impl Header {
    pub(super) fn read(bytes: [u8; HEADER_BYTES]) -> Header {
        let [.., s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
        Header {
            body_bytes: u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            checksum: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            sequence: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        }
    }

    /// Whether nothing was written here.
    pub(super) fn is_blank(&self) -> bool {
        *self == Header { body_bytes: 0, checksum: 0, sequence: 0 }
    }

    /// Whether `body` is what this header was written for.
    pub(super) fn vouches_for(&self, seed: u32, body: &[u8]) -> bool {
        body.len() as u64 == u64::from(self.body_bytes)
            && self.checksum == checksum(seed, self.body_bytes, self.sequence, body)
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }
}

/// The good frame that `bytes` begin with, if they do.
pub(super) fn first(seed: u32, bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (header, rest) = bytes.split_first_chunk()?;
    let header = Header::read(*header);
    let body = rest.get(..usize::try_from(header.body_bytes).ok()?)?;
    (!header.is_blank() && header.vouches_for(seed, body)).then_some((header, body))
}

/// Replaces what is in `frame` by the frame of `batch`.
pub(super) fn encode(seed: u32, sequence: u64, batch: &Batch, frame: &mut Vec<u8>) -> Result<(), StoreError> {
    let writes = batch.writes.iter().map(|(key, value)| 9 + key.len() + value.as_ref().map_or(0, Vec::len));
    let events = batch.events.iter().map(|event| 4 + event.len());
    let bytes = 9 + writes.sum::<usize>() + events.sum::<usize>();
    if bytes > BODY_BYTES_MAX {
        return Err(StoreError::BatchTooLarge { bytes, accepted: BODY_BYTES_MAX });
    }
    frame.clear();
    frame.reserve(HEADER_BYTES + bytes);
    frame.extend_from_slice(&[0; HEADER_BYTES]);
    frame.push(V1);
    put_length(frame, batch.writes.len());
    for (key, value) in &batch.writes {
        put_bytes(frame, key);
        frame.push(u8::from(value.is_some()));
        if let Some(value) = value {
            put_bytes(frame, value);
        }
    }
    put_length(frame, batch.events.len());
    for event in &batch.events {
        put_bytes(frame, event);
    }
    if let Some((header, body)) = frame.split_first_chunk_mut::<HEADER_BYTES>() {
        let body_bytes = narrow(body.len());
        let checksum = checksum(seed, body_bytes, sequence, body);
        let number = u128::from(body_bytes) << 96 | u128::from(checksum) << 64 | u128::from(sequence);
        *header = number.to_be_bytes();
    }
    Ok(())
}

/// The version of a body, if it is newer than this build.
pub(super) fn newer(body: &[u8]) -> Option<u8> {
    body.first().copied().filter(|version| *version > V1)
}

/// Hands out what a body holds, in order. `None` if it is not a body that [`encode`] writes.
pub(super) fn decode<'a>(
    body: &'a [u8],
    mut write: impl FnMut(&'a [u8], Option<&'a [u8]>),
    mut event: impl FnMut(&'a [u8]),
) -> Option<()> {
    let mut rest = body;
    if take(&mut rest, 1)? != [V1] {
        return None;
    }
    for _ in 0..take_length(&mut rest)? {
        let key = take_bytes(&mut rest)?;
        match take(&mut rest, 1)? {
            [0] => write(key, None),
            [1] => write(key, Some(take_bytes(&mut rest)?)),
            _ => return None,
        }
    }
    for _ in 0..take_length(&mut rest)? {
        event(take_bytes(&mut rest)?);
    }
    rest.is_empty().then_some(())
}

fn checksum(seed: u32, body_bytes: u32, sequence: u64, body: &[u8]) -> u32 {
    let checksum = crc32c::crc32c_append(seed, &body_bytes.to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(checksum, &sequence.to_be_bytes()), body)
}

fn put_length(frame: &mut Vec<u8>, length: usize) {
    frame.extend_from_slice(&narrow(length).to_be_bytes());
}

#[expect(clippy::cast_possible_truncation, reason = "a length inside a body of at most BODY_BYTES_MAX")]
const fn narrow(length: usize) -> u32 {
    length as u32
}

/// Adds bytes behind their length, as [`take_bytes`] takes them.
pub(super) fn put_bytes(frame: &mut Vec<u8>, bytes: &[u8]) {
    put_length(frame, bytes.len());
    frame.extend_from_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_length(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

/// Takes what [`put_bytes`] put there; `None` if it is cut off.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(rest)?;
    take(rest, usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..20)
    }

    fn batch() -> impl Strategy<Value = Batch> {
        (vec((bytes(), option::of(bytes())), 0..6), vec(bytes(), 0..6))
            .prop_map(|(writes, events)| Batch { writes, events })
    }

    fn read(body: &[u8]) -> Option<Batch> {
        let mut batch = Batch::default();
        let (mut writes, mut events) = (Vec::new(), Vec::new());
        decode(
            body,
            |key, value| writes.push((key.to_vec(), value.map(<[u8]>::to_vec))),
            |event| events.push(event.to_vec()),
        )?;
        (batch.writes, batch.events) = (writes, events);
        Some(batch)
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_whole_or_not_at_all(
            batch in batch(), seed: u32, sequence in 1..u64::MAX, flip: prop::sample::Index, bit in 0..8u8,
        ) {
            let mut frame = Vec::new();
            encode(seed, sequence, &batch, &mut frame).unwrap();
            let (header, body) = first(seed, &frame).unwrap();
            prop_assert_eq!(header.sequence, sequence);
            prop_assert_eq!(header.frame_bytes(), frame.len() as u64);
            prop_assert_eq!(read(body), Some(batch));
            for cut in 0..frame.len() {
                prop_assert!(first(seed, &frame[..cut]).is_none());
            }
            prop_assert!(first(seed ^ 1, &frame).is_none());
            let flip = flip.index(frame.len());
            frame[flip] ^= 1 << bit;
            prop_assert!(first(seed, &frame).is_none());
        }

        #[test]
        fn any_body_is_answered(body in vec(any::<u8>(), 0..60)) {
            let body = [vec![V1], body].concat();
            if let Some(batch) = read(&body) {
                let mut frame = Vec::new();
                encode(0, 1, &batch, &mut frame).unwrap();
                prop_assert_eq!(&frame[HEADER_BYTES..], body.as_slice());
            }
        }
    }
}
