//! What holds after every operation: what the engine answers is what its disk says, counts add up, nothing that anybody
//! was told of is lost, nothing is late, and nothing starts that may not or waits for nothing.

use std::collections::{BTreeMap, BTreeSet};

use dwell::engine::{Answer, EnvFilter, Filter, Page, Request, Status, Upcoming};
use dwell::model::{Lane, Name, Record, RecordId, StateName, Time};
use dwell::store::{Backend as _, Direction, Stored as _, keys};

use super::Life;

/// More than any input makes.
const ROWS_MAX: usize = 10_000;

/// What was seen of records before.
#[derive(Default)]
pub struct Order {
    attempts: BTreeMap<RecordId, u32>,
    finished: BTreeMap<RecordId, Record>,
}

impl Order {
    /// What retention took away may not be missed.
    pub fn forget(&mut self, id: RecordId) {
        self.attempts.remove(&id);
        self.finished.remove(&id);
    }

    /// Attempts are never numbered anew, and what is finished is history.
    fn moved_on(&mut self, record: &Record) {
        let attempt = self.attempts.entry(record.id).or_default();
        assert!(*attempt <= record.attempt, "attempt {attempt} of {record:?} was seen");
        *attempt = record.attempt;
        if record.state.finished_at().is_some() {
            let first = self.finished.entry(record.id).or_insert_with(|| record.clone());
            assert_eq!(first, record);
        } else {
            assert!(!self.finished.contains_key(&record.id), "{record:?} was finished");
        }
    }
}

/// The records of the disk, read without the engine.
struct Disk {
    live: BTreeMap<RecordId, Record>,
    finished: BTreeMap<RecordId, Record>,
}

impl Disk {
    fn count(&self, is: impl Fn(&Record) -> bool) -> u64 {
        self.live.values().filter(|record| is(record)).count() as u64
    }

    fn outstanding(&self) -> impl Iterator<Item = &Record> {
        self.live.values().filter(|record| record.state.outstanding())
    }
}

impl Life {
    /// The engine is asked when nothing is due any more, so asking writes nothing.
    pub fn is_in_order(&mut self) {
        self.disk.heal();
        self.put(Vec::new());
        let committed = self.disk.history().newest();
        let filter = Filter { limit: Filter::LIMIT_MAX, ..Filter::default() };
        let asked = vec![
            Request::Status,
            Request::List(filter),
            Request::Runtimes,
            Request::Envs(EnvFilter { limit: Filter::LIMIT_MAX, ..EnvFilter::default() }),
            Request::Queues,
            Request::Groups { limit: Filter::LIMIT_MAX },
            Request::Upcoming { limit: Filter::LIMIT_MAX },
        ];
        let answers = self.ask(asked);
        assert_eq!(self.disk.history().newest(), committed, "who asks changes nothing");
        let disk = self.read();
        let mut upcoming = None;
        for answer in answers.into_iter().map(Result::unwrap) {
            if let Answer::Status(status) = &answer {
                adds_up(status, &disk);
            } else if let Answer::Page(page) = &answer {
                self.is_listed(page, &disk);
            } else if let Answer::Upcoming(rows) = &answer {
                upcoming = rows.first().and_then(Upcoming::due_at);
            } else {
                agrees(&answer, &disk);
            }
        }
        assert!(upcoming.is_none_or(|due| due > self.now), "{upcoming:?} is late at {:?}", self.now);
        self.starts_and_waits(&disk);
    }

    fn read(&self) -> Disk {
        let rows = |(from, to): keys::Range| {
            self.disk.scan(&from, &to, Direction::Ascending, ROWS_MAX).unwrap().into_iter()
        };
        let records = |range| {
            rows(range)
                .map(|(_, row)| Record::decode(&row).unwrap())
                .map(|record| (record.id, record))
                .collect()
        };
        let disk = Disk { live: records(keys::all_live()), finished: records(keys::all_finished()) };
        let pointers: BTreeSet<RecordId> =
            rows(keys::all_pointers()).map(|(key, _)| keys::pointer_id(&key).unwrap()).collect();
        assert!(pointers.iter().eq(disk.finished.keys()), "each finished record has its pointer");
        disk
    }

    /// Everything is listed once, the newest first; nothing anybody was told of is gone; and what is queued is held by
    /// something, or it would have started.
    fn is_listed(&mut self, page: &Page, disk: &Disk) {
        let on_disk: BTreeMap<_, _> = disk.live.iter().chain(&disk.finished).collect();
        assert!(
            page.next.is_some()
                || page.records.iter().map(|record| &**record).rev().eq(on_disk.values().copied())
        );
        for id in &self.known {
            assert!(on_disk.contains_key(id) || self.purges(), "{id} was acknowledged, and is gone");
        }
        let known: BTreeSet<RecordId> = self.known.iter().copied().collect();
        self.known.extend(on_disk.keys().copied().filter(|id| !known.contains(id)));
        for record in &page.records {
            self.order.moved_on(record);
            let queued = record.state.name() == StateName::Queued;
            assert_eq!(page.holds.contains_key(&record.id), queued, "what holds {record:?}?");
        }
    }

    /// A purge that landed without an answer was told to nobody.
    fn purges(&self) -> bool {
        self.landed && self.settings.retention <= super::span(9)
    }

    /// One attempt of each record, within the bounds; what waits has a deadline, which is ahead.
    fn starts_and_waits(&self, disk: &Disk) {
        let mut groups: BTreeMap<(Option<&Name>, &Name), u32> = BTreeMap::new();
        for record in disk.outstanding() {
            let runs = self.running.get(&record.id) == Some(&record.attempt);
            assert!(runs || record.queue.is_some(), "{record:?} is outstanding nowhere");
            if let Some(group) = &record.group {
                let outstanding = groups.entry((record.flow.as_ref(), &group.name)).or_default();
                *outstanding += 1;
                assert!(*outstanding <= group.max, "{outstanding} of {group:?}");
            }
        }
        for (id, attempt) in &self.running {
            let record = disk.live.get(id).filter(|record| record.state.outstanding());
            assert_eq!(record.map(|record| record.attempt), Some(*attempt), "{id} runs on");
        }
        for record in disk.live.values() {
            let deadline = record.deadline();
            let late = deadline.is_some_and(|deadline| deadline <= self.now && deadline < Time::MAX);
            assert!(!late, "{record:?} is late at {:?}", self.now);
            let waits = matches!(record.state.name(), StateName::Queued | StateName::DeadLettered);
            assert!(waits || deadline.is_some(), "{record:?} has no way forward");
        }
    }
}

fn adds_up(status: &Status, disk: &Disk) {
    for (state, count) in &status.counts {
        let rows = disk.count(|record| record.state.name() == *state);
        let finished = [StateName::Completed, StateName::Cancelled].contains(state);
        assert!(finished || rows == *count, "{rows} are {state}, and {count} are counted");
    }
    assert_eq!(status.counts.values().sum::<u64>(), status.admitted, "{status:?}");
    assert_eq!(status.attempts_started, status.attempts_ended + status.outstanding, "{status:?}");
    assert_eq!(status.outstanding, disk.outstanding().count() as u64);
    if let Some(next) = disk.live.values().filter_map(Record::deadline).min() {
        assert!(status.next_deadline.is_some_and(|seen| seen <= next), "{next:?} is not seen: {status:?}");
    }
}

/// The views of parts are of what is there.
fn agrees(answer: &Answer, disk: &Disk) {
    if let Answer::Runtimes(views) = answer {
        for view in views {
            let of = |record: &Record| record.runtime == view.runtime.name;
            let outstanding = disk.count(|record| of(record) && record.state.outstanding());
            assert_eq!(u64::from(view.outstanding), outstanding, "{view:?}");
            assert_eq!(
                view.queued,
                disk.count(|record| of(record) && record.state.lane().is_some()),
                "{view:?}"
            );
            assert!(view.outstanding <= view.concurrency, "{view:?}");
        }
    } else if let Answer::Envs(page) = answer {
        for env in &page.envs {
            let of = |record: &Record| (&record.org, &record.env) == (&env.org, &env.env);
            let queued = |lane| disk.count(|record| of(record) && record.state.lane() == Some(lane));
            assert_eq!((env.ready, env.burst), (queued(Lane::Ready), queued(Lane::Burst)), "{env:?}");
            assert_eq!(
                env.outstanding,
                disk.count(|record| of(record) && record.state.outstanding()),
                "{env:?}"
            );
        }
        let places = |record: &&Record| record.state.lane().is_some() || record.state.outstanding();
        let places = disk.live.values().filter(places).map(|record| (&record.org, &record.env));
        assert_eq!(places.collect::<BTreeSet<_>>().len(), page.envs.len());
    } else if let Answer::Queues(views) = answer {
        let queued: u64 = views.iter().map(|view| view.queued).sum();
        assert_eq!(queued, disk.count(|record| record.queue.is_some() && record.state.lane().is_some()));
    } else if let Answer::Groups(groups) = answer {
        let dead: u64 = groups.iter().map(|group| group.count).sum();
        assert_eq!(dead, disk.count(|record| record.state.name() == StateName::DeadLettered));
    } else {
        panic!("nobody asked for {answer:?}");
    }
}
