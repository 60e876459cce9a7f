//! Why something does not start: every rule by name, and random lives in which every answer is put to the proof. What is
//! named holds while nothing changes, and taking it away lets the record start or names another rule.
//!
//! `SEED=7 cargo test --test engine why::` replays one seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dwell::engine::{Answer, Asked, Filter, Hold, Org, Pacing, Request, Rule, Settings, Why};
use dwell::model::*;

use super::common::{self, Dice, World, check_in};

/// A runtime, or the one model that is told apart.
fn account(dice: &mut Dice) -> (Name, Option<Name>) {
    match dice.of(&["claude", "shell", "large"]) {
        "large" => ("claude".into(), Some("large".into())),
        name => (name.into(), None),
    }
}

fn settings() -> Settings {
    let mut settings = World::new().settings;
    settings.runtimes = BTreeMap::from([("claude".into(), 2), ("shell".into(), 3)]);
    settings.pacing = BTreeMap::from([("claude".into(), Pacing { by_model: true, ..Pacing::default() })]);
    settings.burst.rate.threshold = 1;
    settings.burst.rate.hold = Duration::from_secs(600);
    settings.burst.drain_concurrency = 2;
    settings.orgs = BTreeMap::from([("o".into(), Org { burst: true, ..Org::default() })]);
    settings.retention = Duration::from_secs(1_000_000_000);
    settings
}

/// More live records than this and the next steps only end some.
const LIVE_MAX: usize = 40;

struct Life {
    world: World,
    dice: Dice,
    made: u128,
    /// How often each rule was met.
    met: BTreeMap<&'static str, u64>,
}

fn name(rule: &Rule) -> &'static str {
    match rule {
        Rule::Held(Hold::Stopping { .. }) => "stopping",
        Rule::Held(Hold::Drained(_)) => "drained",
        Rule::Held(Hold::Paused { .. }) => "paused",
        Rule::Held(Hold::Limited(_)) => "limited",
        Rule::Held(Hold::Model(_)) => "model",
        Rule::Held(Hold::Unclaimed { .. }) => "unclaimed",
        Rule::Held(Hold::Burst { .. }) => "burst",
        Rule::Held(Hold::Group { .. }) => "group",
        Rule::Held(Hold::Ramp { .. }) => "ramp",
        Rule::Held(Hold::Full { .. }) => "full",
        Rule::Turn => "turn",
        Rule::Deadline { .. } => "deadline",
        Rule::Outstanding { .. } => "outstanding",
        Rule::Dead(_) => "dead",
        Rule::Finished => "finished",
        Rule::Mode(..) => "mode",
        Rule::StoreFull(_) => "store_full",
        Rule::Open => "open",
    }
}

fn waits(rule: &Rule) -> bool {
    matches!(rule, Rule::Held(_) | Rule::Turn | Rule::Deadline { .. })
}

impl Life {
    fn new(seed: u64) -> Life {
        Life { world: World::with(settings()), dice: Dice(seed), made: 0, met: BTreeMap::new() }
    }

    /// Ticks until nothing is left to do at this moment; the ids that started.
    fn settle(&mut self, requests: Vec<Request>) -> Vec<RecordId> {
        self.world.tick(requests).unwrap();
        for _ in 0..100 {
            let next = self.world.engine.as_ref().unwrap().next_wake();
            if next.is_none_or(|at| at > self.world.now) {
                let effects = std::mem::take(&mut self.world.effects);
                let started = effects.into_iter().filter_map(|effect| match effect {
                    Effect::Start(start) => Some(start.id),
                    Effect::Release { .. } | Effect::Stop { .. } | Effect::Forget { .. } => None,
                });
                return started.collect();
            }
            self.world.tick(Vec::new()).unwrap();
        }
        panic!("the engine never comes to rest");
    }

    fn answers(&mut self, requests: Vec<Request>) -> Vec<Answer> {
        let (answers, _) = self.world.tick(vec![Request::Each(requests)]).unwrap();
        let Some(Ok(Answer::Each(answers))) = answers.into_iter().next() else { panic!("no answers") };
        answers.into_iter().map(Result::unwrap).collect()
    }

    fn live(&mut self) -> Vec<Record> {
        let filter = |state| Request::List(Filter { state: Some(state), limit: 1000, ..Filter::default() });
        let states = [
            StateName::Queued,
            StateName::Active,
            StateName::Draining,
            StateName::Backoff,
            StateName::RateLimited,
        ];
        let pages = self.answers(states.map(filter).into());
        let records = |answer| {
            let Answer::Page(page) = answer else { panic!("{answer:?}") };
            page.records
        };
        pages.into_iter().flat_map(records).map(Arc::unwrap_or_clone).collect()
    }

    fn why(&mut self, ids: &[RecordId]) -> Vec<Why> {
        let asked = ids.iter().map(|id| Request::Why(Asked::Record(*id))).collect();
        let whys = self.answers(asked).into_iter().map(|answer| {
            let Answer::Why(why) = answer else { panic!("{answer:?}") };
            *why
        });
        whys.collect()
    }

    fn submission(&mut self, orgs: &[&'static str]) -> Submission {
        self.made += 1;
        let group = self.dice.of(&["", "", "group=g", "group=h"]);
        let [org, env, flow, runtime, max] = [
            self.dice.of(orgs),
            self.dice.of(&["env=x", "env=y"]),
            self.dice.of(&["flow=f", "flow=g"]),
            self.dice.of(&["runtime=claude", "runtime=shell"]),
            self.dice.of(&["max=1", "max=1", "max=2"]),
        ];
        let mut options = vec![org, env, flow, runtime];
        options.extend((self.dice.roll(6) == 0).then_some("worker=q"));
        options.extend((self.dice.roll(4) == 0).then_some("model=large"));
        if !group.is_empty() {
            options.extend([group, max]);
            options.extend((self.dice.roll(10) == 0).then_some("newest"));
            options.extend((self.dice.roll(5) == 0).then_some("queue=3"));
        }
        self.world.submission(&self.made.to_string(), &options)
    }

    fn scope(&mut self) -> Scope {
        let scopes = ["all", "runtime:claude", "runtime:shell", "flow:f", "flow:g", "org:o", "org:p"];
        self.dice.of(&scopes).parse().unwrap()
    }

    /// Something happens.
    fn request(&mut self, live: &[Record]) -> Request {
        let now = self.world.now;
        let soon = |dice: &mut Dice| now.after(Duration::from_secs(dice.roll(600) + 1));
        match self.dice.roll(if live.len() > LIVE_MAX { 8 } else { 20 }) {
            8..13 => Request::Submit(Box::new(self.submission(&["org=o", "org=p", "org=q"]))),
            13..16 => {
                let runs = vec![self.submission(&["org=o"])];
                let trigger = common::trigger(self.made, now);
                Request::Trigger { trigger: Box::new(trigger), runs, spool: true }
            }
            16 => {
                let (name, model) = account(&mut self.dice);
                Request::PauseRuntime { name, model, until: soon(&mut self.dice) }
            }
            17 => Request::DrainScope { scope: self.scope(), timeout: None },
            18 => Request::UndrainScope { scope: self.scope() },
            19 => {
                let (name, model) = account(&mut self.dice);
                Request::ResumeRuntime { name, model }
            }
            roll => {
                let some = live.get(usize::try_from(self.dice.roll(live.len().max(1) as u64)).unwrap());
                let Some(record) = some else { return Request::Drains };
                if roll == 0 {
                    return Request::Command { id: record.id, command: Command::Cancel };
                }
                let report = match roll {
                    1 => {
                        let reset = Reset::At(soon(&mut self.dice));
                        Report::RateLimited(LimitReport { reset, ..LimitReport::default() }, fault())
                    }
                    2 => Report::Failed(fault()),
                    3 => Report::Heartbeat,
                    _ => Report::Succeeded { result: None },
                };
                Request::Report { id: record.id, attempt: record.attempt, report }
            }
        }
    }

    fn step(&mut self) {
        let live = self.live();
        let requests = (0..self.dice.roll(4)).map(|_| self.request(&live)).collect();
        match self.dice.roll(12) {
            0..4 => self.world.now = self.world.now.after(Duration::from_millis(self.dice.roll(60_000))),
            4 => {
                let next = self.world.engine.as_ref().unwrap().next_wake();
                self.world.now = self.world.now.max(next.unwrap_or_default());
            }
            _ => {}
        }
        self.settle(requests);
        if self.dice.roll(100) == 0 {
            self.world.engine = None;
            self.world.open();
            self.settle(Vec::new());
        }
    }

    /// Every waiting record has a rule, and stays where it is while nothing changes.
    fn ask_all(&mut self) -> Vec<Why> {
        let waiting: Vec<RecordId> =
            self.live().iter().filter(|record| !record.state.outstanding()).map(|record| record.id).collect();
        let whys = self.why(&waiting);
        for why in &whys {
            *self.met.entry(name(&why.rule)).or_default() += 1;
            assert!(waits(&why.rule), "{why:?} waits for nothing");
            assert!(why.rule != Rule::Turn, "{why:?}: nothing holds it and it did not start");
        }
        assert_eq!(self.settle(Vec::new()), [], "something started although a rule was named for each");
        whys
    }

    /// Takes the named rule away, and what is named then, until the record starts.
    fn free(&mut self, mut why: Why) {
        let Asked::Record(id) = why.asked else { panic!("{why:?}") };
        for _ in 0..300 {
            if let Some(earliest) = why.earliest.filter(|at| *at > self.world.now) {
                self.world.now = Time::from_millis(earliest.millis() - 1);
                assert!(!self.settle(Vec::new()).contains(&id), "{id} starts before {earliest:?}");
                let same = self.why(&[id]).remove(0);
                assert!(waits(&same.rule), "{why:?} became {same:?} before its time");
                why = same;
            }
            let started = self.remove(&why);
            if started.contains(&id) {
                return;
            }
            let next = self.why(&[id]).remove(0);
            if !waits(&next.rule) {
                return;
            }
            assert!(
                (&next.rule, &next.by) != (&why.rule, &why.by),
                "{why:?} was taken away, and is named again"
            );
            why = next;
        }
        panic!("{id} never starts: {why:?}");
    }

    fn remove(&mut self, why: &Why) -> Vec<RecordId> {
        let runtime = || why.runtime.clone().unwrap();
        let request = match &why.rule {
            Rule::Held(Hold::Drained(drain)) => Request::UndrainScope { scope: drain.scope.clone() },
            Rule::Held(Hold::Paused { until }) if self.dice.roll(2) == 0 => return self.pass(*until),
            Rule::Held(Hold::Limited(pause)) if self.dice.roll(2) == 0 => {
                return self.pass(pause.limit.until);
            }
            Rule::Held(Hold::Model(row)) if self.dice.roll(2) == 0 => {
                return self.pass(row.held_until(self.world.now).unwrap());
            }
            Rule::Held(Hold::Model(_)) => {
                Request::ResumeRuntime { name: runtime(), model: Some("large".into()) }
            }
            Rule::Held(Hold::Paused { .. } | Hold::Limited(_)) => {
                Request::ResumeRuntime { name: runtime(), model: None }
            }
            Rule::Held(Hold::Ramp { until }) | Rule::Deadline { until, .. } => return self.pass(*until),
            Rule::Held(Hold::Burst { .. } | Hold::Group { .. } | Hold::Full { .. }) => {
                let id = *why.by.first().expect("somebody holds the places");
                Request::Command { id, command: Command::Cancel }
            }
            Rule::Held(Hold::Unclaimed { queue, .. }) => {
                // Each takes from one runtime, and there are two; who gets nothing at once waits.
                let claims =
                    ["me", "you"].map(|worker| self.world.claim(worker, queue, &["max=100", "wait=1h"]));
                return self.settle(claims.into());
            }
            Rule::Held(Hold::Stopping { .. })
            | Rule::Turn
            | Rule::Outstanding { .. }
            | Rule::Dead(_)
            | Rule::Finished
            | Rule::Mode(..)
            | Rule::StoreFull(_)
            | Rule::Open => panic!("{why:?}"),
        };
        self.settle(vec![request])
    }

    fn pass(&mut self, until: Time) -> Vec<RecordId> {
        self.world.now = self.world.now.max(until);
        self.settle(Vec::new())
    }
}

fn fault() -> Fault {
    Fault::new("some", "words")
}

fn live(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut life = Life::new(seed);
    for step in 0..200 {
        life.step();
        let mut whys = life.ask_all();
        if step % 5 == 0 && !whys.is_empty() {
            let chosen = life.dice.roll(whys.len() as u64);
            life.free(whys.swap_remove(usize::try_from(chosen).unwrap()));
        }
    }
    life.met
}

#[test]
fn every_named_rule_holds_while_nothing_changes_and_is_what_kept_the_record() {
    let seed = std::env::var("SEED").ok().map(|text| text.parse::<u64>().expect("SEED"));
    let seeds = seed.map_or(0..50, |seed| seed..seed + 1);
    let mut met: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds.clone() {
        let rules = std::panic::catch_unwind(|| live(seed));
        let rules =
            rules.unwrap_or_else(|_| panic!("seed {seed} fails: SEED={seed} cargo test --test engine why::"));
        for (rule, count) in rules {
            *met.entry(rule).or_default() += count;
        }
    }
    eprintln!("{seeds:?}: {met:?}");
    if seeds.end - seeds.start > 1 {
        for rule in [
            "drained",
            "paused",
            "limited",
            "model",
            "burst",
            "group",
            "unclaimed",
            "ramp",
            "full",
            "deadline",
        ] {
            assert!(met.get(rule).is_some_and(|count| *count > 100), "{rule} was hardly met: {met:?}");
        }
    }
}

fn why(world: &mut World, asked: Asked) -> Why {
    let (answers, _) = world.tick(vec![Request::Why(asked)]).unwrap();
    match answers.into_iter().next() {
        Some(Ok(Answer::Why(why))) => *why,
        other => panic!("{other:?}"),
    }
}

fn rule(world: &mut World, name: &str) -> Rule {
    let id = world.id(name);
    why(world, Asked::Record(id)).rule
}

#[test]
fn what_is_not_waiting_says_what_it_is() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a        -> a queued, a active/1, start a/1 Original
         submit b        -> b queued, b active/1, start b/1 Original
         a/1 invalid     -> a dead_lettered, stop a/1
         b/1 succeeded   -> b completed, stop b/1
         submit c        -> c queued, c active/1, start c/1 Original
         drain all +10m  -> c draining +10m",
    );
    let until = world.now.after(Duration::from_secs(600));
    assert_eq!(rule(&mut world, "a"), Rule::Dead(Cause::Invalid));
    assert_eq!(rule(&mut world, "b"), Rule::Finished);
    assert_eq!(rule(&mut world, "c"), Rule::Outstanding { until });
}

#[test]
fn a_record_behind_others_is_told_its_place_and_who_is_outstanding() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a -> a queued, a active/1, start a/1 Original
         submit b -> b queued, b active/1, start b/1 Original
         submit c -> c queued
         submit d org=o -> d queued
         submit e -> e queued",
    );
    let (a, b, e) = (world.id("a"), world.id("b"), world.id("e"));
    let told = why(&mut world, Asked::Record(e));
    assert_eq!(told.rule, Rule::Held(Hold::Full { outstanding: 2, concurrency: 2 }));
    assert_eq!(told.by, [a, b]);
    let place = told.place.unwrap();
    assert_eq!((place.ahead_in_env, place.orgs), (1, 2));
    assert_eq!((told.counters["queued"], told.counters["queued_in_env"]), (3, 2));
    let of_runtime = why(&mut world, Asked::Scope(Scope::Runtime("claude".into())));
    assert_eq!((of_runtime.rule, of_runtime.by), (told.rule, told.by));
}

#[test]
fn a_limit_says_until_when_whose_report_it_is_and_that_it_is_estimated() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a        -> a queued, a active/1, start a/1 Original
         submit c        -> c queued, c active/1, start c/1 Original
         submit b        -> b queued
         a/1 rate_limited -> a rate_limited +1h, stop a/1",
    );
    let (a, b) = (world.id("a"), world.id("b"));
    let until = world.now.after(Duration::from_secs(3600));
    let told = why(&mut world, Asked::Record(b));
    let Rule::Held(Hold::Limited(pause)) = told.rule else { panic!("{told:?}") };
    assert_eq!((pause.limit, told.by), (Limit { until, source: Source::Estimated }, vec![a]));
    assert_eq!(told.earliest, Some(until));
    assert_eq!(rule(&mut world, "a"), Rule::Deadline { until, source: Some(Source::Estimated) });
    let (answers, _) = world.tick(vec![Request::Why(Asked::Scope("runtime:none".parse().unwrap()))]).unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().code(), "unknown_runtime");
}
