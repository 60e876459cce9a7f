//! What a look says of a journal and a view, to the commit.

use super::journal::Run;
use super::*;
use crate::store::local::{Local, Options};
use crate::store::{Backend as _, Batch};

struct Nobody;

impl Watch for Nobody {
    fn progress(&mut self, _: &str) {}

    fn event(&mut self, _: u64, _: &[u8], _: &mut Findings) {}
}

/// A closed store with three commits, none of them in the table.
fn three(dir: &Path) {
    let mut store = Local::open(dir, Options { segment_bytes: 4096, ..Options::default() }).unwrap();
    for n in 1..=3_u8 {
        let mut batch = Batch::default();
        batch.put(vec![n], vec![n]);
        batch.event(vec![n]);
        store.commit(batch).unwrap();
    }
}

fn look(dir: &Path) -> (Checked, Findings) {
    let mut findings = Findings::default();
    let checked = check(dir, &mut Nobody, &mut findings).unwrap();
    (checked, findings)
}

#[test]
fn a_chain_leads_on_from_a_commit_that_it_holds_or_follows() {
    let run = |first, next| Run { segment: 0, first, next, start: 0, end: 0 };
    let survey = Survey { runs: vec![run(3, 5), run(5, 9), run(11, 12)], ..Survey::default() };
    let found = |checkpoint| survey.chain_of(checkpoint).map(|chain| (chain.first, chain.next));
    let expected =
        [None, None, Some((3, 9)), Some((3, 9)), Some((3, 9)), None, Some((11, 12)), Some((11, 12)), None];
    assert_eq!([0, 1, 2, 5, 8, 9, 10, 11, 12].map(found), expected);
    assert_eq!((survey.commits(), survey.next()), (7, 12));
}

#[test]
fn a_look_counts_what_is_there_and_its_view_is_only_read() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path());
    let (mut checked, findings) = look(dir.path());
    assert_eq!(findings.count(), 0);
    assert_eq!((checked.segments(), checked.commits(), checked.journal_bytes()), (1, 3, 4096));
    let files = fs::read_dir(dir.path().join("table")).unwrap();
    let bytes: u64 = files
        .map(|entry| entry.unwrap().metadata().unwrap())
        .map(|file| if file.is_file() { file.len() } else { 0 })
        .sum();
    assert!(checked.table_bytes >= bytes && bytes > 0, "{} of {bytes}", checked.table_bytes);
    let view = checked.view.as_mut().unwrap();
    assert_eq!((view.get(&[2]).unwrap(), view.history().newest()), (Some(vec![2]), 3));
    assert!(matches!(view.commit(Batch::default()), Err(StoreError::ReadOnly)));
}

#[test]
fn a_store_may_have_no_journal_as_long_as_it_never_had_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    drop(Local::open(dir.path(), Options::default()).unwrap());
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let (checked, findings) = look(dir.path());
    assert_eq!((findings.count(), checked.view.unwrap().history().newest()), (0, 0));

    let dir = tempfile::tempdir().unwrap();
    three(dir.path());
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let (checked, findings) = look(dir.path());
    assert!(checked.view.is_none() && findings.faults() == 1, "{:?}", findings.kept());
}

#[test]
fn a_table_that_is_built_anew_is_kept_from_older_builds() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path());
    let format = dir.path().join("format");
    let newest = fs::read_to_string(&format).unwrap();
    let oldest = newest.get(8..16).map(|seed| format!("dwell 1 {seed}")).unwrap();
    fs::write(&format, format!("{oldest} {:08x}\n", crc32c::crc32c(oldest.as_bytes()))).unwrap();
    // The table should have what it has not.
    mark::write(&checkpoint::mark_path(dir.path()), 3).unwrap();
    let (mut checked, findings) = look(dir.path());
    assert!(checked.view.is_none() && findings.faults() == 1, "{:?}", findings.kept());
    let done = checked.repair(&dir.path().join("beside"), false, &mut Nobody).unwrap();
    assert!(done.iter().any(|done| done.contains("anew")), "{done:?}");
    assert_eq!(fs::read_to_string(&format).unwrap(), newest);
}
