//! The file itself: whole, cut, changed, foreign.

use super::*;

/// Hands out what it was made of.
struct Made(Vec<(Vec<u8>, Vec<u8>)>, Vec<Vec<u8>>);

const SINCE: u64 = 7;

impl Base for Made {
    fn hand_out(&self, take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>) -> Result<Option<u64>, StoreError> {
        let rows = self.0.iter().map(|(key, value)| Part::Row(key, value));
        let commits = (SINCE + 1..).zip(&self.1).map(|(sequence, frame)| Part::Commit(sequence, frame));
        for part in [Part::Begin { seed: 9, since: SINCE }].into_iter().chain(rows).chain(commits) {
            if take(part).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(SINCE + self.1.len() as u64))
    }
}

fn made() -> Made {
    let rows = (0..40_u8).map(|n| (vec![b'r', n], vec![n; usize::from(n) * 600]));
    Made(rows.collect(), vec![b"first".to_vec(), Vec::new(), vec![3; 5_000]])
}

fn written(base: &dyn Base) -> (Vec<u8>, About) {
    let mut file = Vec::new();
    let about = write(base, Time::from_millis(5), "1.2.3", &mut file).unwrap();
    (file, about)
}

/// What a backup holds, in words, and what it says of itself.
fn reading(mut file: &[u8]) -> Result<(Vec<String>, About), BackupError> {
    let mut parts = Vec::new();
    let about = read(&mut file, &mut |part| {
        parts.push(format!("{part:?}"));
        Ok(())
    })?;
    Ok((parts, about))
}

#[test]
fn a_backup_reads_back_as_it_was_written() {
    let made = made();
    let (file, about) = written(&made);
    assert!(file.len() > ROWS_BYTES, "rows take more than one block");
    let mut parts = Vec::new();
    made.hand_out(&mut |part| {
        parts.push(format!("{part:?}"));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(reading(&file).unwrap(), (parts, about.clone()));
    let expected = About {
        seed: 9,
        taken_at: Time::from_millis(5),
        version: "1.2.3".to_owned(),
        commit: SINCE + 3,
        rows: 40,
        commits: 3,
        bytes: file.len() as u64,
    };
    assert_eq!(about, expected);
}

#[test]
fn an_empty_store_has_a_backup() {
    let (file, about) = written(&Made(Vec::new(), Vec::new()));
    assert_eq!(reading(&file).unwrap().1, about);
    assert_eq!((about.rows, about.commit), (0, SINCE));
}

#[test]
fn no_byte_of_a_backup_can_be_another_one() {
    let (file, _) = written(&Made(vec![(b"r1".to_vec(), b"v".to_vec())], vec![b"c".to_vec()]));
    for at in 0..file.len() {
        for bit in [1, 0x80] {
            let mut bytes = file.clone();
            bytes[at] ^= bit;
            assert!(reading(&bytes).is_err(), "byte {at}");
        }
    }
}

#[test]
fn a_backup_that_is_cut_off_says_where() {
    let (file, _) = written(&Made(vec![(b"r1".to_vec(), b"v".to_vec())], vec![b"c".to_vec()]));
    for cut in 0..file.len() {
        let BackupError::Damaged { offset, reason } = reading(&file[..cut]).unwrap_err() else {
            panic!("cut at {cut}")
        };
        assert!(offset <= cut as u64 && reason.starts_with("it ends"), "cut at {cut}: {offset} {reason}");
    }
    let more = [file.as_slice(), b"x"].concat();
    let error = reading(&more).unwrap_err().to_string();
    assert_eq!(error, format!("it is damaged at byte {}: something follows its end", file.len()));
}

#[test]
fn blocks_that_changed_places_are_refused() {
    let (file, _) = written(&Made(Vec::new(), vec![b"1".to_vec(), b"2".to_vec()]));
    let block = HEADER_BYTES + 9;
    let first = file.len() - (HEADER_BYTES + 3 * 8 + DIGEST_BYTES) - 2 * block;
    let mut swapped = file.clone();
    swapped[first..first + 2 * block].rotate_left(block);
    assert_ne!(swapped, file);
    let error = reading(&swapped).unwrap_err().to_string();
    assert_eq!(error, format!("it is damaged at byte {first}: a block does not match its checksum"));
}

#[test]
fn other_files_and_newer_backups_are_refused_by_name() {
    let say = |file: &[u8]| reading(file).unwrap_err().to_string();
    assert_eq!(say(b"dwell backup 2\nwhatever"), "it says format 2: this build reads up to 1");
    for other in [&b"-----BEGIN PGP MESSAGE"[..], b"dwell backup one\n", b"dwell backup 0\n", &[0; 40]] {
        assert_eq!(say(other), "it is no backup of dwell: it does not begin with `dwell backup 1`");
    }
}

#[test]
fn a_base_that_ends_early_makes_no_backup() {
    struct Gone;
    impl Base for Gone {
        fn hand_out(
            &self,
            take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>,
        ) -> Result<Option<u64>, StoreError> {
            assert!(take(Part::Begin { seed: 1, since: 1 }).is_continue());
            Ok(None)
        }
    }
    let error = write(&Gone, Time::ZERO, "", &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "the store was closed meanwhile");
}

/// Gives out a backup up to a point, and fails there.
struct Failing<'a>(&'a [u8]);

impl io::Read for Failing<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.0.read(bytes)? {
            0 => Err(io::Error::other("the tape broke")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_source_that_fails_is_not_taken_for_one_that_ends() {
    let (file, _) = written(&made());
    for cut in [0, 5, 20, 40, file.len() - 1] {
        let failed = read(&mut Failing(&file[..cut]), &mut |_| Ok(()));
        assert!(matches!(failed, Err(BackupError::Io { .. })), "{cut}: {failed:?}");
    }
}

#[test]
fn a_block_longer_than_any_is_refused_before_it_is_read() {
    let (file, _) = written(&made());
    let begins = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for (length, refused) in [(BLOCK_BYTES_MAX, false), (BLOCK_BYTES_MAX + 1, true), (u32::MAX, true)] {
        let mut file = file.clone();
        file[begins + 1..begins + 5].copy_from_slice(&length.to_be_bytes());
        let error = reading(&file).unwrap_err().to_string();
        assert_eq!(error.contains("at most"), refused, "{error}");
    }
}
