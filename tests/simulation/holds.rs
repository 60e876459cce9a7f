//! What keeps records from starting, as the model has it: pauses and windows of runtimes, drained scopes, a stop, and the
//! turns of orgs.

use std::collections::{BTreeMap, BTreeSet};

use dwell::engine::{DrainView, RuntimeView};
use dwell::model::*;

use crate::model::{Held, Model, must};
use crate::rules::Rec;

/// One row of a runtime or a model there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Until when, and whether the provider told.
    pub limited: Option<(Time, bool)>,
    pub paused: Option<Time>,
}

impl Window {
    pub fn holds(self, now: Time) -> bool {
        self.limited.is_some_and(|(until, _)| until > now) || self.paused.is_some_and(|until| until > now)
    }

    /// What of it holds something now.
    fn at(self, now: Time) -> Window {
        Window {
            limited: self.limited.filter(|(until, _)| *until > now),
            paused: self.paused.filter(|until| *until > now),
        }
    }

    /// A limit is reported: a told window replaces an estimate, never the reverse; of two alike the longer stays.
    pub fn limit(&mut self, until: Time, told: bool, now: Time) {
        self.limited = match self.limited.filter(|(held, _)| *held > now) {
            Some((held, true)) if !told => Some((held, true)),
            Some((held, was_told)) if was_told == told => Some((held.max(until), told)),
            Some(_) | None => Some((until, told)),
        };
    }
}

/// All that holds.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    pub windows: BTreeMap<Name, Window>,
    pub drains: BTreeSet<Scope>,
    pub stopping: bool,
    /// Starts of others on a runtime since an org that could start something there last did.
    passed: BTreeMap<(Name, Name), u32>,
}

impl Holds {
    pub fn window(&self, row: &Name) -> Window {
        self.windows.get(row).copied().unwrap_or_default()
    }

    /// Memory is lost with the process; rows are not.
    pub fn restarted(&mut self) {
        self.stopping = false;
        self.passed.clear();
    }
}

impl Model {
    /// Whether all of a runtime is held, by something else than its concurrency.
    pub fn closed(&self, runtime: &Name) -> bool {
        let drained = |scope: Scope| self.holds.drains.contains(&scope);
        self.holds.stopping
            || drained(Scope::All)
            || drained(Scope::Runtime(runtime.clone()))
            || self.holds.window(runtime).holds(self.now)
    }

    pub fn places(&self, runtime: &Name) -> usize {
        let max = self.rules.concurrency.get(runtime).copied().unwrap_or(0) as usize;
        max.saturating_sub(self.outstanding().filter(|(_, rec)| rec.runtime == *runtime).count())
    }

    /// How many more of a record's group could be outstanding.
    pub fn group_places(&self, rec: &Rec) -> usize {
        let Some(group) = &rec.group else { return usize::MAX };
        let same = |other: &&Rec| {
            other.flow == rec.flow && other.group.as_ref().is_some_and(|other| other.name == group.name)
        };
        let held = self.records.values().filter(same).filter(|other| other.outstanding()).count();
        (group.max as usize).saturating_sub(held)
    }

    /// Whether no rule but its group's holds it.
    fn open(&self, rec: &Rec) -> bool {
        let drained = |scope: Scope| self.holds.drains.contains(&scope);
        let model = rec.model.as_ref().map(|model| Runtime::of_model(&rec.runtime, model));
        rec.state == StateName::Queued
            && rec.lane == Some(Lane::Ready)
            && !rec.flow.clone().is_some_and(|flow| drained(Scope::Flow(flow)))
            && !drained(Scope::Org(rec.org.clone()))
            && !model.is_some_and(|row| self.holds.window(&row).holds(self.now))
    }

    /// Whether it could start if its runtime had a place and it were its turn. Of a group that takes turns there, the
    /// first in order have the places.
    pub fn free(&self, rec: &Rec) -> bool {
        self.open(rec)
            && self.mates_before(rec).filter(|mate| self.open(mate)).count() < self.group_places(rec)
    }

    /// Those of its group that take turns where it does, and come before it.
    fn mates_before<'a>(&'a self, rec: &'a Rec) -> impl Iterator<Item = &'a Rec> {
        let order = |rec: &Rec| rec.order.unwrap_or(u64::MAX);
        let group = |rec: &Rec| Some((rec.flow.clone(), rec.group.as_ref()?.name.clone()));
        self.records.values().filter(move |mate| {
            let turns = (&mate.runtime, &mate.queue) == (&rec.runtime, &rec.queue);
            turns && order(mate) < order(rec) && group(rec).is_some() && group(mate) == group(rec)
        })
    }

    /// Whether one of its group stands before it that is held, as is noticed when its turn comes.
    fn behind_one_held(&self, rec: &Rec) -> bool {
        self.mates_before(rec).any(|mate| mate.lane == Some(Lane::Ready) && !self.open(mate))
    }

    /// The windows, pauses and drained scopes that the engine shows, against the model's.
    pub fn look_at_holds(&self, views: &[RuntimeView], drains: &[DrainView]) -> Held {
        let mut shown = BTreeMap::new();
        for row in views.iter().flat_map(|view| std::iter::once(&view.runtime).chain(&view.models)) {
            let limited = row.limited.map(|pause| (pause.limit.until, pause.limit.source == Source::Told));
            shown.insert(row.name.clone(), Window { limited, paused: row.paused_until }.at(self.now));
        }
        for (name, window) in &self.holds.windows {
            let (right, said) = (window.at(self.now), shown.remove(name).unwrap_or_default());
            must!(said == right, "a window is kept as it was told", "{name}: {said:?}, not {right:?}");
        }
        let unheard = shown.iter().find(|(_, window)| window.holds(self.now));
        must!(unheard.is_none(), "a window is kept as it was told", "{unheard:?}");
        for view in views {
            let outstanding = self.outstanding().filter(|(_, rec)| rec.runtime == view.runtime.name).count();
            must!(view.outstanding as usize == outstanding, "attempts add up", "{view:?}");
        }
        let drained: BTreeSet<Scope> = drains.iter().map(|view| view.drain.scope.clone()).collect();
        must!(drained == self.holds.drains, "drained scopes are kept", "{drained:?}");
        Ok(())
    }

    /// A start on its way: nothing holds it, it is the first in order of its env, and nobody else waits too long.
    pub fn may_start(&mut self, id: RecordId) -> Held {
        let rec = &self.records[&id];
        must!(!self.closed(&rec.runtime), "what is held starts nothing", "{id} starts on {}", rec.runtime);
        must!(self.places(&rec.runtime) > 0, "concurrency", "{id} is one too many on {}", rec.runtime);
        must!(self.group_places(rec) > 0, "groups are never above max", "{id}: {:?}", rec.group);
        must!(self.open(rec), "what is held starts nothing", "{id} starts: {rec:?}");
        let (org, runtime, queue) = (rec.org.clone(), rec.runtime.clone(), rec.queue.clone());
        let rivals = self.records.iter().filter(|(other, rival)| {
            **other != id
                && rival.runtime == runtime
                && rival.queue == queue
                && rival.state == StateName::Queued
        });
        let rivals: Vec<(RecordId, &Rec)> = rivals.map(|(id, rival)| (*id, rival)).collect();
        let mut waiting = BTreeSet::new();
        for (other, rival) in rivals {
            // One behind a mate that is held waits as that mate would, until its turn shows that it is held.
            if !self.free(rival) || self.behind_one_held(rival) {
                continue;
            }
            waiting.insert(rival.org.clone());
            let before = rival.order.zip(rec.order).is_some_and(|(other, mine)| other < mine);
            let same = rival.org == org && rival.env == rec.env;
            must!(!(same && before), "order within an env", "{id} starts before {other}");
        }
        if queue.is_none() {
            self.turn(&org, &runtime, &waiting)?;
        }
        Ok(())
    }

    /// Between two starts of an org that has something to start, others have their turns and no more.
    fn turn(&mut self, org: &Name, runtime: &Name, waiting: &BTreeSet<Name>) -> Held {
        let weight = |org: &Name| self.rules.weights.get(org).copied().unwrap_or(1);
        let others: u32 = waiting.iter().chain([org]).map(weight).sum();
        self.holds.passed.retain(|(of, who), _| of != runtime || waiting.contains(who) && who != org);
        for who in waiting.iter().filter(|who| *who != org) {
            let passed = self.holds.passed.entry((runtime.clone(), who.clone())).or_default();
            *passed += 1;
            // Twice its share is slack for orgs that come and go within a round.
            must!(*passed <= 2 * others, "no org starves", "{who} waited for {passed} starts on {runtime}");
        }
        Ok(())
    }
}

impl Model {
    /// The next moment at which time alone moves something.
    pub fn next_moment(&self) -> Option<Time> {
        let claims = self.claims.values().map(|claim| claim.until).min();
        [self.next_change(), claims, self.schedules.values().copied().min()].into_iter().flatten().min()
    }

    /// The same, but for what starts or is answered by the clock whatever else there is.
    pub fn next_change(&self) -> Option<Time> {
        let deadlines = self.records.values().filter_map(|rec| rec.deadline).map(|(at, _)| at);
        let limited = self.records.values().filter(|rec| rec.state == StateName::RateLimited);
        let freed = limited.filter_map(|rec| self.holds.window(&self.window(rec)).limited);
        let freed = freed.map(|(until, _)| until.after(self.rules.limits_jitter));
        let calm = self.calm.values().map(|calm| calm.due_at);
        deadlines.chain(freed).chain(calm).chain(self.opens()).min()
    }

    /// When the windows and pauses end that alone keep queued records from starting.
    fn opens(&self) -> impl Iterator<Item = Time> {
        let drained = |scope: Scope| self.holds.drains.contains(&scope);
        let asked = |queue: &Name| self.claims.values().any(|claim| claim.queue == *queue);
        let held = move |rec: &&Rec| {
            rec.state == StateName::Queued
                && rec.lane == Some(Lane::Ready)
                && rec.queue.as_ref().is_none_or(asked)
                && self.group_places(rec) > 0
                && self.places(&rec.runtime) > 0
                && !self.holds.stopping
                && !drained(Scope::All)
                && !drained(Scope::Runtime(rec.runtime.clone()))
                && !drained(Scope::Org(rec.org.clone()))
                && !rec.flow.clone().is_some_and(|flow| drained(Scope::Flow(flow)))
        };
        let ends = |rec: &Rec| {
            let model = rec.model.as_ref().map(|model| Runtime::of_model(&rec.runtime, model));
            let rows = std::iter::once(rec.runtime.clone()).chain(model).map(|row| self.holds.window(&row));
            let ends = rows.flat_map(|row| [row.limited.map(|(until, _)| until), row.paused]);
            ends.flatten().filter(|until| *until > self.now).max().filter(|until| *until < Time::MAX)
        };
        self.records.values().filter(held).filter_map(ends)
    }
}
