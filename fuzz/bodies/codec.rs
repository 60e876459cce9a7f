//! Any bytes as any value and any key: never a panic, and what is understood is written so that it reads the same.

use std::fmt::Debug;

use dwell::model::{
    Drain, Mode, Notice, Record, RecordId, Redrive, Runtime, Standing, Time, Transition, Trigger, TriggerId,
    Work,
};
use dwell::store::{Debounced, KeptAnswer, ScheduleRow, Stored, Tally, Told, keys};

pub fn check(bytes: &[u8]) {
    value::<Record>(bytes);
    value::<Work>(bytes);
    value::<Runtime>(bytes);
    value::<Trigger>(bytes);
    value::<Transition>(bytes);
    value::<Tally>(bytes);
    value::<Told>(bytes);
    value::<RecordId>(bytes);
    value::<TriggerId>(bytes);
    value::<Time>(bytes);
    value::<Drain>(bytes);
    value::<Mode>(bytes);
    value::<Standing>(bytes);
    value::<Redrive>(bytes);
    value::<Notice>(bytes);
    value::<KeptAnswer>(bytes);
    value::<ScheduleRow>(bytes);
    value::<Debounced>(bytes);

    key(bytes, keys::live_id, |id| keys::live(*id));
    key(bytes, keys::pointer_id, |id| keys::pointer(*id));
    key(bytes, keys::finished_id, |(at, id)| keys::finished(*at, *id));
    key(bytes, keys::trigger_id, |id| keys::trigger(*id));
    key(bytes, keys::answered_name, |(at, name)| keys::answered(*at, name));
}

fn value<T: Stored + PartialEq + Debug>(bytes: &[u8]) {
    match T::decode(bytes) {
        Ok(value) => assert_eq!(T::decode(&value.encode()).unwrap(), value),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn key<T: PartialEq + Debug>(bytes: &[u8], read: fn(&[u8]) -> Option<T>, write: impl Fn(&T) -> Vec<u8>) {
    if let Some(parts) = read(bytes) {
        assert_eq!(read(&write(&parts)), Some(parts));
    }
}
