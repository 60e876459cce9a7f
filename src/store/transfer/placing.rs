//! Which shard a row goes to. A record goes where its org lives, and what belongs to a record goes with it; what all shards
//! are told goes to all of them.
//!
//! All rows are seen once before any is placed: the org of a record stands in the record, and its other rows come before it.

use std::collections::HashMap;

use crate::model::{Record, RecordId, Slot, StateName, Trigger, TriggerId};
use crate::store::{StoreError, Stored as _, Tally, keys};

/// Where a row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To one.
    Shard(u32),
    /// To all of them.
    All,
    /// To each its part: [`Placing::tallies`].
    Parted,
}

/// What was seen of a store's rows.
pub struct Placing {
    shards: u32,
    /// Records that live elsewhere than their ids say.
    records: HashMap<RecordId, u32>,
    triggers: HashMap<TriggerId, u32>,
    /// By what follows the kind in its keys.
    debounced: HashMap<Vec<u8>, u32>,
    counts: Vec<Tally>,
    total: Tally,
    order_max: u64,
}

impl Placing {
    /// Among so many shards.
    pub fn among(shards: u32) -> Placing {
        let counts = (0..shards).map(|_| Tally::default()).collect();
        let (records, triggers, debounced) = (HashMap::new(), HashMap::new(), HashMap::new());
        Placing { shards, records, triggers, debounced, counts, total: Tally::default(), order_max: 0 }
    }

    /// Sees a row. Every row is seen, in the order of keys, before the first is placed.
    pub fn see(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if keys::live_id(key).is_some() || keys::finished_id(key).is_some() {
            let record = Record::decode(value)?;
            self.order_max = self.order_max.max(record.order);
            let shard = Slot::of(&record.org).shard(self.shards);
            if shard != record.id.slot().shard(self.shards) {
                self.records.insert(record.id, shard);
            }
            if let Some(counts) = self.counts.get_mut(shard as usize) {
                counts.admitted += 1;
                counts.completed += u64::from(record.state.name() == StateName::Completed);
                counts.cancelled += u64::from(record.state.name() == StateName::Cancelled);
            }
        } else if let Some(id) = keys::trigger_id(key) {
            let trigger = Trigger::decode(value)?;
            let mut runs = trigger.runs.iter().map(|run| self.of_record(*run));
            let common = runs.next().filter(|first| runs.all(|other| other == *first));
            let shard = common.unwrap_or_else(|| Slot::of(&trigger.org).shard(self.shards));
            if shard != id.slot().shard(self.shards) {
                self.triggers.insert(id, shard);
            }
        } else if let Some(of) = keys::debounced_record_of(key) {
            let shard = Slot::of(&Record::decode(value)?.org).shard(self.shards);
            self.debounced.insert(of.to_vec(), shard);
        } else if key == keys::meta("tally") {
            self.total = Tally::decode(value)?;
        }
        Ok(())
    }

    /// Where a row goes.
    pub fn of(&self, key: &[u8], value: &[u8]) -> Result<Place, StoreError> {
        let record = keys::live_id(key).or_else(|| keys::finished_id(key).map(|(_, id)| id));
        let record = record.or_else(|| keys::pointer_id(key)).or_else(|| keys::owner_id(key));
        if let Some(id) = record {
            return Ok(Place::Shard(self.of_record(id)));
        }
        if let Some(id) = keys::trigger_id(key) {
            return Ok(Place::Shard(self.of_trigger(id)));
        }
        if let Some(of) = keys::debounced_of(key) {
            return Ok(Place::Shard(self.debounced.get(of).copied().unwrap_or(0)));
        }
        let among = |(from, to): keys::Range| (from.as_slice()..to.as_slice()).contains(&key);
        if among(keys::all_names()) {
            return Ok(Place::Shard(self.of_record(RecordId::decode(value)?)));
        }
        if among(keys::all_deliveries()) {
            return Ok(Place::Shard(self.of_trigger(TriggerId::decode(value)?)));
        }
        if among(keys::all_schedules()) {
            return Ok(Place::Shard(Slot::of("default").shard(self.shards)));
        }
        if key == keys::meta("tally") {
            return Ok(Place::Parted);
        }
        // Of an answer nobody knows which shard gave it, and each carries out its part of a paced redrive.
        let told = [
            keys::all_runtimes(),
            keys::all_settings(),
            keys::all_answers(),
            keys::all_answered(),
            keys::all_redrives(),
        ];
        Ok(if told.into_iter().any(among) { Place::All } else { Place::Shard(0) })
    }

    /// The highest place in the queue that any record has or had.
    pub const fn order_max(&self) -> u64 {
        self.order_max
    }

    /// The tally of each shard: what is there now; the first has what cannot be told apart as well.
    pub fn tallies(&self) -> Vec<Tally> {
        let mut rest = self.total;
        let mut tallies: Vec<Tally> =
            self.counts.iter().map(|counts| Tally { now: self.total.now, ..*counts }).collect();
        for tally in tallies.iter().skip(1) {
            rest.admitted = rest.admitted.saturating_sub(tally.admitted);
            rest.completed = rest.completed.saturating_sub(tally.completed);
            rest.cancelled = rest.cancelled.saturating_sub(tally.cancelled);
        }
        if let Some(first) = tallies.first_mut() {
            *first = rest;
        }
        tallies
    }

    fn of_record(&self, id: RecordId) -> u32 {
        self.records.get(&id).copied().unwrap_or_else(|| id.slot().shard(self.shards))
    }

    fn of_trigger(&self, id: TriggerId) -> u32 {
        self.triggers.get(&id).copied().unwrap_or_else(|| id.slot().shard(self.shards))
    }
}
