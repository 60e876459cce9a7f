//! What the indexes hold of one live record: small, for there may be millions. The record itself is held as well, so that
//! no step waits for the disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::envs::Place;
use crate::engine::groups::{GroupId, Member, Turns};
use crate::engine::hold::Narrow;
use crate::engine::letters::{GroupKey, Letter};
use crate::engine::parked::HoldKey;
use crate::model::{Lane, Name, Record, Runtime, StateName, Time};

/// Where a record belongs. It never changes, and is shared by all that belong there.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Home {
    pub(in crate::engine) place: Place,
    pub(in crate::engine) runtime: Name,
    pub(in crate::engine) flow: Option<Name>,
    /// The row of the model it asks for there.
    pub(in crate::engine) model: Option<Name>,
    /// The queue it is claimed from, if workers carry it out.
    pub(in crate::engine) pull: Option<Name>,
}

impl Home {
    /// Tenant.
    pub(in crate::engine) const fn org(&self) -> &Name {
        &self.place.0
    }

    /// Environment within the tenant.
    pub(in crate::engine) const fn env(&self) -> &Name {
        &self.place.1
    }
}

/// Every home that a live record has.
#[derive(Debug, Default)]
pub(super) struct Homes(BTreeSet<Arc<Home>>);

impl Homes {
    /// The home of a record, shared with all that have the same.
    pub(super) fn of(&mut self, record: &Record) -> Arc<Home> {
        let home = Home {
            place: (record.org.clone(), record.env.clone()),
            runtime: record.runtime.clone(),
            flow: record.flow.clone(),
            model: record.model.as_ref().map(|model| Runtime::of_model(&record.runtime, model)),
            pull: record.queue.clone(),
        };
        if let Some(known) = self.0.get(&home) {
            return Arc::clone(known);
        }
        let home = Arc::new(home);
        self.0.insert(Arc::clone(&home));
        home
    }

    /// Forgets it if nobody else has it.
    pub(super) fn leave(&mut self, home: &Arc<Home>) {
        if Arc::strong_count(home) == 2 {
            self.0.remove(home);
        }
    }
}

/// A record as it was committed last.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Kept {
    /// The bytes of its row: it may wait for long, among many.
    Row(Box<[u8]>),
    /// Itself: its attempt is outstanding, so there are few and each is told of soon; or it is one of a bounded number.
    Record(Arc<Record>),
}

impl Kept {
    /// Whether it is one of that number.
    pub(super) fn is_extra(&self) -> bool {
        matches!(self, Kept::Record(record) if !record.state.outstanding())
    }
}

/// What the indexes know of one live record.
#[derive(Debug)]
pub(in crate::engine) struct Entry {
    pub(in crate::engine) home: Arc<Home>,
    /// Empty until it is committed.
    pub(in crate::engine) kept: Kept,
    pub(in crate::engine) state: StateName,
    /// Which of the two queues it stands in, if it is queued.
    pub(in crate::engine) queue: Option<Lane>,
    /// Why it is parked outside that queue's rotation, if it is.
    pub(super) parked: Option<Narrow>,
    pub(in crate::engine) order: u64,
    /// Its part in its group.
    pub(in crate::engine) member: Option<Box<Member>>,
    pub(super) deadline: Option<Time>,
    /// Boxed, because most records are alive.
    pub(in crate::engine) letter: Option<Box<Letter>>,
}

impl Entry {
    /// That of a record which stands nowhere yet.
    pub(super) fn of(record: &Record, member: Option<Box<Member>>, home: Arc<Home>, kept: Kept) -> Entry {
        Entry {
            home,
            kept,
            state: record.state.name(),
            queue: record.state.lane(),
            parked: None,
            order: record.order,
            member,
            deadline: record.deadline(),
            letter: Letter::of(record).map(Box::new),
        }
    }

    /// Where a dead letter stands among the others.
    pub(super) fn group(&self) -> Option<(GroupKey, Time)> {
        let letter = self.letter.as_ref()?;
        let (flow, runtime) = (self.home.flow.clone(), self.home.runtime.clone());
        let key = GroupKey { cause: letter.cause, flow, runtime, fingerprint: letter.fingerprint };
        Some((key, letter.at))
    }

    /// Whether its attempt may finish and nothing new starts for it.
    pub(in crate::engine) fn draining(&self) -> bool {
        self.state == StateName::Draining
    }

    /// Whether an attempt is outstanding.
    pub(in crate::engine) const fn outstanding(&self) -> bool {
        matches!(self.state, StateName::Active | StateName::Draining)
    }

    /// The queue of workers it waits in, if it does.
    pub(in crate::engine) fn waits_in(&self) -> Option<&Name> {
        self.home.pull.as_ref().filter(|_| self.queue.is_some())
    }

    /// Where it takes turns.
    pub(in crate::engine) fn turns(&self) -> Turns {
        Turns { runtime: self.home.runtime.clone(), pull: self.home.pull.clone() }
    }

    /// What it waits for while it is parked for this.
    pub(super) fn key(&self, narrow: Narrow) -> HoldKey {
        match narrow {
            Narrow::Flow => HoldKey::Flow(self.home.flow.clone().unwrap_or_default()),
            Narrow::Org => HoldKey::Org(self.home.org().clone()),
            Narrow::Model => HoldKey::Model(self.home.model.clone().unwrap_or_default()),
            Narrow::Group => {
                let group = self.member.as_ref().map(|member| member.key.clone());
                let none = || GroupId { flow: None, name: Name::default() };
                HoldKey::Group { group: group.unwrap_or_else(none), turns: self.turns() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;
    use crate::model::{Action, Policy, RecordId, Submission, Work};

    fn record(org: &str) -> Record {
        let work = Work::of(Action::Agent { prompt: "review it".to_owned(), cwd: None });
        let submission =
            Submission { org: org.into(), ..Submission::of(RecordId::session(1), "claude".into(), work) };
        machine::admit(submission, 1, Time::ZERO, &Policy::default()).0
    }

    #[test]
    fn a_home_is_shared_and_goes_with_the_last_who_has_it() {
        let mut homes = Homes::default();
        let (one, other) = (homes.of(&record("acme")), homes.of(&record("globex")));
        let same = homes.of(&record("acme"));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        homes.leave(&same);
        drop(same);
        assert_eq!(homes.0.len(), 2, "one still has it");
        homes.leave(&one);
        assert_eq!(homes.0.iter().map(|home| &**home.org()).collect::<Vec<_>>(), ["globex"]);
    }
}
