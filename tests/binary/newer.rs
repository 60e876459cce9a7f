//! What a newer build wrote is refused by the real binary, in words that say what it is and what this build reads; and
//! nothing on disk is changed by the refusal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dwell::model::{Action, Drain, Policy, RecordId, RedriveId, Runtime, Scope, Submission, Time, Work};
use dwell::store::local::Options;
use dwell::store::{Backend as _, Batch, Direction, Local, Stored as _, Tally, keys};

use super::server;

/// A version that no build will write.
const NEWER: u8 = 200;

const PAGE: [u8; 4096] = [0; 4096];

const SEGMENT: &str = "journal/00000000000000000001.log";

/// A store with a record and a little around it, that this build opens.
fn store(dir: &Path) -> PathBuf {
    let data = dir.join("data");
    let id = RecordId::session(7);
    let work = Work::of(Action::Agent { prompt: "look".into(), cwd: None });
    let submission = Submission::of(id, "shell".into(), work.clone());
    let (record, _) = dwell::machine::admit(submission, 1, Time::ZERO, &Policy::default());
    let drain = Drain { scope: Scope::All, since: Time::ZERO, until: Time::ZERO };
    let mut batch = Batch::default();
    batch.put(keys::live(id), record.encode());
    batch.put(keys::work(id), work.encode());
    batch.put(keys::runtime("shell"), Runtime::open("shell".into()).encode());
    batch.put(keys::drain(&Scope::All), drain.encode());
    batch.put(keys::meta("tally"), Tally { admitted: 1, ..Tally::default() }.encode());
    commit(&data, batch);
    data
}

fn open(data: &Path) -> Local {
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let mut store = Local::open(data, options).unwrap();
    store.verified().unwrap();
    store
}

fn commit(data: &Path, batch: Batch) {
    let mut store = open(data);
    store.commit(batch).unwrap();
}

/// Every file of a store, but for who has it open, the key of tokens, and the table: to read it sled writes as well, and
/// its rows are sealed. Zeros at the end of a segment are room for more.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name == "journal" {
            files.extend(self::files(&entry.path()));
        } else if !["lock", "attempt.key", "table"].contains(&&*name) {
            let mut bytes = fs::read(entry.path()).unwrap();
            let used = bytes.chunks(PAGE.len()).rposition(|page| page != &PAGE[..page.len()]);
            bytes.truncate(used.map_or(0, |last| (last + 1) * PAGE.len()));
            files.insert(entry.path(), bytes);
        }
    }
    files
}

#[track_caller]
fn is_refused(dir: &Path, words: &str) {
    let before = files(&dir.join("data"));
    let refused = server::dwell(dir, &["serve", "--listen", "127.0.0.1:0", "--data", "data"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(said.contains(words), "{said} does not say {words:?}");
    assert!(files(&dir.join("data")) == before, "a file was changed");
}

/// All of a store's rows, which are whole.
fn rows(data: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    open(data).scan(b"", b"~", Direction::Ascending, 100).unwrap()
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let dir = server::directory("");
    let data = store(dir.path());
    let newer = "dwell 3 whatever it holds\n";
    fs::write(data.join("format"), newer).unwrap();
    is_refused(dir.path(), "data/format says format 3: this build reads up to 2");
}

/// Also the last frame: it was acknowledged, however little this build makes of it.
#[test]
fn a_commit_of_a_newer_version_is_refused_and_not_cut_off() {
    let dir = server::directory("");
    let data = store(dir.path());
    let format = fs::read_to_string(data.join("format")).unwrap();
    let seed = u32::from_str_radix(format.split(' ').nth(2).unwrap(), 16).unwrap();
    let mut journal = fs::read(data.join(SEGMENT)).unwrap();
    let first = 16 + u32::from_be_bytes(journal[..4].try_into().unwrap()) as usize;
    let (length, sequence, body) = (9_u32.to_be_bytes(), 2_u64.to_be_bytes(), [2, 1, 2, 3, 4, 5, 6, 7, 8]);
    let sum = crc32c::crc32c_append(seed, &[&length[..], &sequence, &body].concat());
    let frame = [&length[..], &sum.to_be_bytes(), &sequence, &body].concat();
    journal[first..first + frame.len()].copy_from_slice(&frame);
    fs::write(data.join(SEGMENT), journal).unwrap();
    is_refused(dir.path(), &format!("data/{SEGMENT} says format 2: this build reads up to 1"));
}

#[test]
fn a_row_of_a_newer_version_is_refused_by_name() {
    let newer = [
        ("record", 2, keys::live(RecordId::session(8))),
        ("runtime", 2, keys::runtime("claude")),
        ("drain", 1, keys::drain(&Scope::Org("acme".into()))),
        ("tally", 1, keys::meta("tally")),
        ("mode", 1, keys::setting("mode")),
        ("standing", 1, keys::setting("mode:review")),
        ("redrive", 1, keys::redrive(RedriveId(7))),
        ("notice", 1, keys::notice("ops", "stalled", "claude")),
        ("schedule", 1, keys::schedule("nightly")),
        ("debounced run", 1, keys::debounced("deploy", "main")),
    ];
    for (what, newest, key) in newer {
        let dir = server::directory("");
        let data = store(dir.path());
        let mut batch = Batch::default();
        batch.put(key, vec![NEWER, 1, 2, 3]);
        commit(&data, batch);
        let words = format!("{what} has layout version {NEWER}: this build reads up to {newest}");
        let before = rows(&data);
        is_refused(dir.path(), &words);
        assert_eq!(rows(&data), before);
    }
}
