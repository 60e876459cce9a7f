//! What keys look like. One kind byte first, then big-endian fields of fixed width, so that bytes sort as what they
//! stand for. The table with every layout is `schema/keys.md`.
//!
//! Owns: the kind bytes. Absent on purpose: what stands under a key (`codec`).

use crate::model::{IdRange, Kind, RecordId, RedriveId, Scope, Time, TriggerId};

use super::StoreError;

/// A half-open range of keys, as [`super::Backend::scan`] takes it.
pub type Range = (Vec<u8>, Vec<u8>);

// A byte is never given to another kind.
const LIVE: u8 = b'r';
const FINISHED: u8 = b'f';
const POINTER: u8 = b'i';
const WORK: u8 = b'p';
const NAME: u8 = b'n';
const TRIGGER: u8 = b't';
const RUNTIME: u8 = b'u';
const SETTING: u8 = b's';
const META: u8 = b'm';
const REDRIVE: u8 = b'v';
const TOLD: u8 = b'c';
const NOTICE: u8 = b'o';
const ANSWER: u8 = b'a';
const SCHEDULE: u8 = b'k';
const DEBOUNCE: u8 = b'b';

/// Every kind byte, and what stands under it.
pub const KINDS: [(u8, &str); 15] = [
    (LIVE, "live record"),
    (FINISHED, "finished record"),
    (POINTER, "pointer to the finished record"),
    (WORK, "work of"),
    (NAME, "name"),
    (TRIGGER, "trigger"),
    (RUNTIME, "runtime"),
    (SETTING, "setting"),
    (META, "meta row"),
    (REDRIVE, "redrive"),
    (TOLD, "meter of"),
    (NOTICE, "notice"),
    (ANSWER, "kept answer"),
    (SCHEDULE, "schedule"),
    (DEBOUNCE, "debounced run"),
];

/// Whether rows of a kind come, and go, about in the order of their keys.
pub fn are_in_order(kind: u8) -> bool {
    matches!(kind, FINISHED | POINTER | WORK)
}

/// No key begins like this, or comes after it.
pub const LAST: &[u8] = &[0xff; 64];

/// What the settings that are drained scopes begin with.
const DRAIN: &str = "drain:";

const NAME_OF_RECORD: u8 = 0;
const NAME_OF_DELIVERY: u8 = 1;

const ANSWER_BY_NAME: u8 = 0;
const ANSWER_BY_TIME: u8 = 1;

const DEBOUNCED: u8 = 0;
const DEBOUNCED_RECORD: u8 = 1;
const DEBOUNCED_WORK: u8 = 2;

/// The width of an encoded record id: its kind, then its ULID.
pub(super) const ID_BYTES: usize = 17;

/// A record that is not finished -> `Record`.
pub fn live(id: RecordId) -> Vec<u8> {
    key(LIVE, &[&id_bytes(id)])
}

/// A finished record, by the time it finished -> `Record`.
pub fn finished(at: Time, id: RecordId) -> Vec<u8> {
    key(FINISHED, &[&at.millis().to_be_bytes(), &id_bytes(id)])
}

/// When a finished record finished, so that it is found by its id -> `Time`.
pub fn pointer(id: RecordId) -> Vec<u8> {
    key(POINTER, &[&id_bytes(id)])
}

/// What was asked of a record -> `Work`.
pub fn work(id: RecordId) -> Vec<u8> {
    key(WORK, &[&id_bytes(id)])
}

/// The caller's own name for a record -> `RecordId`.
pub fn name(org: &str, env: &str, key: &str) -> Vec<u8> {
    fields(vec![NAME, NAME_OF_RECORD], &[org, env, key])
}

/// A delivery of a source -> `TriggerId`.
pub fn delivery(source: &str, dedup: &str) -> Vec<u8> {
    fields(vec![NAME, NAME_OF_DELIVERY], &[source, dedup])
}

/// An accepted trigger -> `Trigger`.
pub fn trigger(id: TriggerId) -> Vec<u8> {
    key(TRIGGER, &[&id.0.to_be_bytes()])
}

/// A runtime's durable pauses -> `Runtime`.
pub fn runtime(name: &str) -> Vec<u8> {
    key(RUNTIME, &[name.as_bytes()])
}

/// A setting -> whatever it holds.
pub fn setting(name: &str) -> Vec<u8> {
    key(SETTING, &[name.as_bytes()])
}

/// A drained scope -> `Drain`.
pub fn drain(scope: &Scope) -> Vec<u8> {
    setting(&format!("{DRAIN}{scope}"))
}

/// Which setting a key names; `None` for any other key.
pub fn setting_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(&[SETTING])?).ok()
}

/// Whether a key is that of a drained scope.
pub fn is_drain(key: &[u8]) -> bool {
    setting_name(key).is_some_and(|name| name.starts_with(DRAIN))
}

/// Every setting whose name begins like this, by name.
pub fn settings(prefix: &str) -> Range {
    let (from, mut to) = (setting(prefix), setting(prefix));
    // UTF-8 has no such byte, so it is above every name that goes on.
    to.push(0xff);
    (from, to)
}

/// What the engine knows of itself (`tally` -> `Tally`).
pub fn meta(name: &str) -> Vec<u8> {
    key(META, &[name.as_bytes()])
}

/// A paced redrive that is running -> `Redrive`.
pub fn redrive(id: RedriveId) -> Vec<u8> {
    key(REDRIVE, &[&id.0.to_be_bytes()])
}

/// What the meter of a record's provider session showed -> `Told`.
pub fn told(id: RecordId) -> Vec<u8> {
    key(TOLD, &[&id_bytes(id)])
}

/// What somebody was told, and is to be told -> `Notice`.
pub fn notice(to: &str, event: &str, subject: &str) -> Vec<u8> {
    fields(vec![NOTICE], &[to, event, subject])
}

/// The first answer to a call, by the digest of its idempotency key -> `KeptAnswer`.
pub fn answer(name: &[u8; 32]) -> Vec<u8> {
    key(ANSWER, &[&[ANSWER_BY_NAME], name])
}

/// The same by the time it was given, for retention -> nothing.
pub fn answered(at: Time, name: &[u8; 32]) -> Vec<u8> {
    key(ANSWER, &[&[ANSWER_BY_TIME], &at.millis().to_be_bytes(), name])
}

/// The next time of a flow's schedule -> `ScheduleRow`.
pub fn schedule(flow: &str) -> Vec<u8> {
    key(SCHEDULE, &[flow.as_bytes()])
}

/// The run that a flow's triggers of one key will make -> `Debounced`.
pub fn debounced(flow: &str, key: &str) -> Vec<u8> {
    fields(vec![DEBOUNCE, DEBOUNCED], &[flow, key])
}

/// The run, as if it had been admitted with the last of them -> `Record`.
pub fn debounced_record(flow: &str, key: &str) -> Vec<u8> {
    fields(vec![DEBOUNCE, DEBOUNCED_RECORD], &[flow, key])
}

/// What it will do -> `Work`.
pub fn debounced_work(flow: &str, key: &str) -> Vec<u8> {
    fields(vec![DEBOUNCE, DEBOUNCED_WORK], &[flow, key])
}

/// When an answer was given, and its name; `None` for any other key.
pub fn answered_name(key: &[u8]) -> Option<(Time, [u8; 32])> {
    let (at, name) = key.strip_prefix(&[ANSWER, ANSWER_BY_TIME])?.split_first_chunk()?;
    Some((Time::from_millis(u64::from_be_bytes(*at)), name.try_into().ok()?))
}

/// Whose live record a key names; `None` for any other key.
pub fn live_id(key: &[u8]) -> Option<RecordId> {
    id_from(key.strip_prefix(&[LIVE])?).ok()
}

/// Whose pointer a key is; `None` for any other key.
pub fn pointer_id(key: &[u8]) -> Option<RecordId> {
    id_from(key.strip_prefix(&[POINTER])?).ok()
}

/// Which finished record a key names, and when it finished; `None` for any other key.
pub fn finished_id(key: &[u8]) -> Option<(Time, RecordId)> {
    let (at, id) = key.strip_prefix(&[FINISHED])?.split_first_chunk()?;
    Some((Time::from_millis(u64::from_be_bytes(*at)), id_from(id).ok()?))
}

/// Which trigger a key names; `None` for any other key.
pub fn trigger_id(key: &[u8]) -> Option<TriggerId> {
    Some(TriggerId(u128::from_be_bytes(key.strip_prefix(&[TRIGGER])?.try_into().ok()?)))
}

/// Whose work or meter a key names; `None` for any other key.
pub fn owner_id(key: &[u8]) -> Option<RecordId> {
    id_from(key.strip_prefix(&[WORK]).or_else(|| key.strip_prefix(&[TOLD]))?).ok()
}

/// The name of a kept answer; `None` for any other key.
pub fn answer_name(key: &[u8]) -> Option<[u8; 32]> {
    key.strip_prefix(&[ANSWER, ANSWER_BY_NAME])?.try_into().ok()
}

/// What a key of a debounced run's record has in common with its others; `None` for any other key.
pub fn debounced_record_of(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(&[DEBOUNCE, DEBOUNCED_RECORD])
}

/// What all keys of a debounced run have in common; `None` for any other key.
pub fn debounced_of(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(&[DEBOUNCE])?.get(1..)
}

/// A key in words: what stands under it, and whose it is.
pub fn words(key: &[u8]) -> String {
    let Some((kind, rest)) = key.split_first() else { return "the empty key".to_owned() };
    let id = live_id(key).or_else(|| pointer_id(key)).or_else(|| owner_id(key));
    let id = id.or_else(|| finished_id(key).map(|(_, id)| id)).map(|id| id.to_string());
    let id = id.or_else(|| trigger_id(key).map(|id| id.to_string()));
    let text =
        || texts(rest).unwrap_or_else(|| rest.escape_ascii().take(WORDS_BYTES_MAX).map(char::from).collect());
    match KINDS.iter().find(|(known, _)| known == kind) {
        Some((_, words)) => format!("{words} {}", id.unwrap_or_else(text)),
        None => format!("row of the unknown kind {:?}: {}", char::from(*kind), text()),
    }
}

/// The texts of [`fields`], as far as it is those.
fn texts(rest: &[u8]) -> Option<String> {
    let mut found = Vec::new();
    // Most stand behind a byte that says which of several they are.
    let mut rest =
        if rest.first()? <= &DEBOUNCED_WORK && rest.get(1) <= Some(&0) { rest.get(1..)? } else { rest };
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk()?;
        let (text, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
        found.push(std::str::from_utf8(text).ok()?);
        rest = behind;
    }
    Some(found.join("/"))
}

/// The most of a key that is shown.
const WORDS_BYTES_MAX: usize = 200;

/// Every live record, by id.
pub fn all_live() -> Range {
    all(LIVE)
}

/// Every finished record, the longest finished first.
pub fn all_finished() -> Range {
    all(FINISHED)
}

/// Every pointer, by id.
pub fn all_pointers() -> Range {
    all(POINTER)
}

/// Every accepted trigger, by id.
pub fn all_triggers() -> Range {
    all(TRIGGER)
}

/// What was asked of every record, by id.
pub fn all_work() -> Range {
    all(WORK)
}

/// What meters showed, by record.
pub fn all_told() -> Range {
    all(TOLD)
}

/// Every caller's own name of a record.
pub fn all_names() -> Range {
    (vec![NAME, NAME_OF_RECORD], vec![NAME, NAME_OF_DELIVERY])
}

/// Every delivery of a source.
pub fn all_deliveries() -> Range {
    (vec![NAME, NAME_OF_DELIVERY], vec![NAME, NAME_OF_DELIVERY + 1])
}

/// Every setting, by name.
pub fn all_settings() -> Range {
    all(SETTING)
}

/// Everything the engine knows of itself.
pub fn all_meta() -> Range {
    all(META)
}

/// Every kept answer, by name.
pub fn all_answers() -> Range {
    (vec![ANSWER, ANSWER_BY_NAME], vec![ANSWER, ANSWER_BY_TIME])
}

/// The record of every run that waits for the end of its triggers.
pub fn all_debounced_records() -> Range {
    (vec![DEBOUNCE, DEBOUNCED_RECORD], vec![DEBOUNCE, DEBOUNCED_WORK])
}

/// The work of every run that waits for the end of its triggers.
pub fn all_debounced_work() -> Range {
    (vec![DEBOUNCE, DEBOUNCED_WORK], vec![DEBOUNCE, DEBOUNCED_WORK + 1])
}

/// What no build before this one wrote: keys that begin with none of [`KINDS`].
pub fn all_unknown() -> Vec<Range> {
    let known = |byte: u8| KINDS.iter().any(|(kind, _)| *kind == byte);
    let unknown = (0..u8::MAX).filter(|byte| !known(*byte)).map(|byte| (vec![byte], vec![byte + 1]));
    unknown.chain([(vec![u8::MAX], vec![u8::MAX; 64])]).collect()
}

/// Everything that somebody was told, and is to be told.
pub fn all_notices() -> Range {
    all(NOTICE)
}

/// Every paced redrive that is running, by id.
pub fn all_redrives() -> Range {
    all(REDRIVE)
}

/// Every runtime, by name.
pub fn all_runtimes() -> Range {
    all(RUNTIME)
}

/// Every drained scope, by its text.
pub fn all_drains() -> Range {
    let from = setting(DRAIN);
    let mut to = from.clone();
    if let Some(colon) = to.last_mut() {
        *colon += 1;
    }
    (from, to)
}

/// Every schedule, by flow.
pub fn all_schedules() -> Range {
    all(SCHEDULE)
}

/// Every run that waits for the end of its triggers.
pub fn all_debounced() -> Range {
    (vec![DEBOUNCE, DEBOUNCED], vec![DEBOUNCE, DEBOUNCED_RECORD])
}

/// Every answer by the time it was given, the oldest first.
pub fn all_answered() -> Range {
    (vec![ANSWER, ANSWER_BY_TIME], vec![ANSWER, ANSWER_BY_TIME + 1])
}

/// The triggers of a range of ids, both ends included.
pub fn trigger_range(low: TriggerId, high: TriggerId) -> Range {
    (trigger(low), just_after(trigger(high)))
}

/// The live records of a range of ids, both ends included.
pub fn live_range(ids: IdRange) -> Range {
    (live(ids.low), just_after(live(ids.high)))
}

/// The pointers of a range of ids, both ends included.
pub fn pointer_range(ids: IdRange) -> Range {
    (pointer(ids.low), just_after(pointer(ids.high)))
}

/// A record id as keys and values hold it: 0 for a session or 1 for a run, then the ULID.
pub(super) fn id_bytes(id: RecordId) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    let (kind, ulid) = bytes.split_at_mut(1);
    kind.copy_from_slice(&[kind_number(id.kind)]);
    ulid.copy_from_slice(&id.ulid.to_be_bytes());
    bytes
}

/// The reverse of [`id_bytes`].
pub(super) fn id_from(bytes: &[u8]) -> Result<RecordId, StoreError> {
    let wrong = || StoreError::Length { what: "record id", found: bytes.len(), accepted: ID_BYTES };
    let (kind, ulid) = bytes.split_first().ok_or_else(wrong)?;
    let ulid = u128::from_be_bytes(ulid.try_into().map_err(|_| wrong())?);
    Ok(RecordId { kind: kind_numbered(*kind)?, ulid })
}

/// A kind of record as a number, in keys and values.
pub(super) const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Session => 0,
        Kind::Run => 1,
    }
}

/// The reverse of [`kind_number`].
pub(super) fn kind_numbered(number: u8) -> Result<Kind, StoreError> {
    match number {
        0 => Ok(Kind::Session),
        1 => Ok(Kind::Run),
        found => Err(StoreError::Number { what: "record kind", found }),
    }
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    bytes.push(kind);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Texts after one another, each behind its length, so that `a`,`bc` and `ab`,`c` differ. A length that two bytes do
/// not hold is `ffff` and eight more.
fn fields(mut bytes: Vec<u8>, texts: &[&str]) -> Vec<u8> {
    for text in texts {
        match u16::try_from(text.len()) {
            Ok(length) if length < u16::MAX => bytes.extend_from_slice(&length.to_be_bytes()),
            Ok(_) | Err(_) => {
                bytes.extend_from_slice(&u16::MAX.to_be_bytes());
                bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn all(kind: u8) -> Range {
    (vec![kind], vec![kind + 1])
}

fn just_after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

#[cfg(test)]
mod tests;
