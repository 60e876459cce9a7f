//! Names, deliveries, triggers and kept answers: each leads to something that leads back.

use std::collections::BTreeSet;

use super::Checker;
use super::cursor::Rows;
use crate::model::{RecordId, Trigger, TriggerId};
use crate::store::{KeptAnswer, StoreError, Stored, keys};

pub(super) fn check(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    names(checker)?;
    deliveries(checker)?;
    triggers(checker)?;
    answers(checker)
}

fn names(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    for row in Rows::small(checker.disk, keys::all_names()) {
        let (key, value) = checker.count(row?);
        let Some(id) = checker.decoded::<RecordId>(&key, &value) else { continue };
        match checker.record(id)? {
            // A record that cannot be read is told of by itself.
            None if checker.counted.unsure => {}
            None => checker.orphan(&key, value, &format!("it leads to {id}, which is not there")),
            Some(record) => {
                let own = record.key.as_ref().map(|own| keys::name(&record.org, &record.env, own));
                if own.as_ref() != Some(&key) {
                    checker.broken(&key, format!("it leads to {id}, which has another name"));
                }
            }
        }
    }
    Ok(())
}

fn deliveries(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    for row in Rows::small(checker.disk, keys::all_deliveries()) {
        let (key, value) = checker.count(row?);
        let Some(id) = checker.decoded::<TriggerId>(&key, &value) else { continue };
        let Some(bytes) = checker.disk.get(&keys::trigger(id))? else {
            checker.orphan(&key, value, &format!("it leads to {id}, which is not there"));
            continue;
        };
        let Ok(trigger) = Trigger::decode(&bytes) else { continue };
        let own = trigger.dedup.map(|dedup| keys::delivery(&trigger.source, &dedup));
        if own.as_ref() != Some(&key) {
            checker.broken(&key, format!("it leads to {id}, which was delivered under another id"));
        }
    }
    Ok(())
}

fn triggers(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    for row in Rows::large(checker.disk, keys::all_triggers()) {
        let (key, value) = checker.count(row?);
        let Some(trigger) = checker.decoded::<Trigger>(&key, &value) else { continue };
        if keys::trigger(trigger.id) != key {
            checker.broken(&key, format!("it holds {}", trigger.id));
        }
        if trigger.at > checker.contents.now {
            checker.broken(&key, "it was accepted after the store's time".to_owned());
        }
        if let Some(dedup) = &trigger.dedup {
            let delivery = keys::delivery(&trigger.source, dedup);
            match checker.disk.get(&delivery)? {
                None => {
                    let what = "it is missing, so a redelivery would be taken for new";
                    checker.absent(&delivery, trigger.id.encode(), what);
                }
                Some(found) if found != trigger.id.encode() => {
                    checker.broken(&key, format!("its delivery id {dedup:?} leads to another trigger"));
                }
                Some(_) => {}
            }
        }
        for run in &trigger.runs {
            match checker.record(*run)? {
                Some(record) if record.trigger != Some(trigger.id) => {
                    checker.broken(&key, format!("it made {run}, which another trigger made"));
                }
                None if !checker.has_purged() && !checker.counted.unsure => {
                    checker.broken(&key, format!("it made {run}, which is not there"));
                }
                Some(_) | None => {}
            }
        }
    }
    Ok(())
}

fn answers(checker: &mut Checker<'_>) -> Result<(), StoreError> {
    let mut timed = BTreeSet::new();
    for row in Rows::small(checker.disk, keys::all_answered()) {
        let (key, value) = checker.count(row?);
        let Some((at, name)) = keys::answered_name(&key) else {
            checker.damage(&key, "it is no time and name".to_owned());
            continue;
        };
        if at > checker.contents.now {
            checker.broken(&key, "it was given after the store's time".to_owned());
        }
        if checker.disk.get(&keys::answer(&name))?.is_none() {
            checker.orphan(&key, value, "there is no such answer");
        } else if !timed.insert(name) {
            checker.orphan(&key, value, "the answer was given at another time as well");
        }
    }
    for row in Rows::small(checker.disk, keys::all_answers()) {
        let (key, value) = checker.count(row?);
        if keys::answer_name(&key).is_none_or(|name| !timed.contains(&name)) {
            checker.orphan(&key, value, "no time is known of it, so it would be kept for ever");
        } else {
            checker.decoded::<KeptAnswer>(&key, &value);
        }
    }
    Ok(())
}
