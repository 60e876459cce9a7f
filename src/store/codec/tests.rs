//! Every value comes back as it went in, and no bytes make a reader panic.

use std::fmt::Debug;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::model::*;

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn name() -> impl Strategy<Value = Name> {
    text().prop_map(Name::from)
}

fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time::from_millis)
}

fn span() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn id() -> impl Strategy<Value = RecordId> {
    (prop_oneof![Just(Kind::Session), Just(Kind::Run)], any::<u128>())
        .prop_map(|(kind, ulid)| RecordId { kind, ulid })
}

fn one_of<T: Copy + Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(|n| all[n])
}

fn state() -> impl Strategy<Value = State> {
    let child = || {
        let child = (any::<u32>(), any::<u64>(), any::<u64>());
        option::of(child.prop_map(|(pid, started, boot)| Child { pid, started, boot }))
    };
    prop_oneof![
        one_of(Lane::ALL).prop_map(|lane| State::Queued { lane }),
        (time(), time(), child()).prop_map(|(lease_until, ends_at, child)| State::Active {
            lease_until,
            ends_at,
            child
        }),
        (time(), one_of(Source::ALL)).prop_map(|(until, source)| State::RateLimited { until, source }),
        (time(), one_of(Streak::ALL)).prop_map(|(until, streak)| State::Backoff { until, streak }),
        (time(), child()).prop_map(|(until, child)| State::Draining { until, child }),
        (time(), one_of(Cause::ALL)).prop_map(|(at, cause)| State::DeadLettered { at, cause }),
        time().prop_map(|at| State::Completed { at }),
        time().prop_map(|at| State::Cancelled { at }),
    ]
}

prop_compose! {
    fn retry()(
        attempts: u32, first in span(), factor_percent: u32, max in span(), jitter_percent: u32,
    ) -> Retry {
        Retry { attempts, curve: Curve { first, factor_percent, max, jitter_percent } }
    }
}

fn budget() -> impl Strategy<Value = Budget> {
    let meter = (any::<u64>(), option::of(any::<u64>()), option::of(any::<u64>()));
    (vec(option::of(meter), Measure::ALL.len()), any::<bool>()).prop_map(|(meters, ask)| {
        let used = Measure::ALL.iter().zip(meters).filter_map(|(measure, meter)| Some((*measure, meter?)));
        let mut budget = used.fold(Budget::default(), |budget, (measure, (used, limit, soft))| {
            budget.with(measure, Meter { used, limit, soft })
        });
        budget.ask = ask;
        budget
    })
}

prop_compose! {
    fn group()(
        name in name(), max: u32, cancel_in_progress: bool, queued_max in option::of(any::<u32>()),
    ) -> Group {
        Group { name, max, cancel_in_progress, queued_max }
    }
}

prop_compose! {
    fn record()(
        (id, org, env, key, flow, trigger, rerun_of, runtime) in (
            id(), name(), name(), option::of(text()), option::of(name()),
            option::of(any::<u128>()), option::of(id()), name(),
        ),
        (order, created_at, updated_at, expires_at, attempt) in (
            any::<u64>(), time(), time(), option::of(time()), any::<u32>(),
        ),
        (streaks, budget, retry, attempt_timeout, silence) in (
            any::<[u32; Streak::ALL.len()]>(), budget(), retry(), span(),
            option::of(span()),
        ),
        (session, last_error, result, state) in (
            option::of(text()), option::of((text(), text())), option::of(text()), state(),
        ),
        (started_at, queue, model, group, about, shadow) in (
            option::of(time()), option::of(name()), option::of(name()), option::of(group()), option::of(id()),
            any::<bool>(),
        ),
    ) -> Record {
        let terms = Terms {
            org, env, key, flow, trigger: trigger.map(TriggerId), rerun_of, runtime, retry, queue, model, group, about,
        };
        Record {
            id, terms: terms.into(), order, created_at, updated_at, expires_at, attempt,
            streaks: Streaks::from_counts(streaks),
            budget,
            timeouts: Timeouts { attempt: attempt_timeout, silence },
            session,
            last_error: last_error.map(|(code, message)| Fault { code, message }),
            result, state, started_at, shadow,
        }
    }
}

fn request() -> impl Strategy<Value = HttpRequest> {
    (text(), text(), btree_map(text(), text(), 0..3)).prop_map(|(url, method, headers)| HttpRequest {
        url,
        method,
        headers,
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (vec(text(), 0..4), option::of(text())).prop_map(|(argv, cwd)| Action::Command { argv, cwd }),
        (text(), option::of(text())).prop_map(|(prompt, cwd)| Action::Agent { prompt, cwd }),
        request().prop_map(Action::Http),
        name().prop_map(|queue| Action::Worker { queue }),
    ]
}

prop_compose! {
    fn work()(
        action in action(), payload in vec(any::<u8>(), 0..300), task in option::of(text()),
        labels in btree_map(text(), text(), 0..4), on_dead_letter in option::of(request()),
    ) -> Work {
        Work { action, payload, task, labels, on_dead_letter }
    }
}

prop_compose! {
    fn runtime()(
        name in name(),
        limited in option::of((time(), one_of(Source::ALL), time(), option::of(id()))),
        paused_until in option::of(time()),
        reopened_at in option::of(time()),
    ) -> Runtime {
        let limited =
            limited.map(|(until, source, since, by)| Pause { limit: Limit { until, source }, since, by });
        Runtime { name, limited, paused_until, reopened_at }
    }
}

prop_compose! {
    fn trigger()(
        id: u128, at in time(), source in name(), kind in name(), event in text(), action in option::of(text()),
        dedup in option::of(text()), org in name(), env in name(), payload in vec(any::<u8>(), 0..300),
        replay_of in option::of(any::<u128>()), runs in vec(id(), 0..4),
    ) -> Trigger {
        Trigger { id: TriggerId(id), at, source, kind, event, action, dedup, org, env, payload, replay_of: replay_of.map(TriggerId), runs }
    }
}

prop_compose! {
    fn transition()(
        at in time(), id in id(), event in text(), from in option::of(one_of(StateName::ALL)),
        to in one_of(StateName::ALL), attempt: u32, deadline in option::of(time()), detail in option::of(text()),
    ) -> Transition {
        Transition { at, id, event: event.into(), from, to, attempt, deadline, detail }
    }
}

prop_compose! {
    fn standing()(
        named in option::of(one_of(Mode::ALL)), mode in one_of(Mode::ALL), since in time(),
        matched in option::of((time(), any::<u128>())), started in option::of((time(), id())),
    ) -> Standing {
        let matched = matched.map(|(at, id)| (at, TriggerId(id)));
        Standing { named, mode, since, matched, started }
    }
}

fn check<T: Stored + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = value.encode();
    prop_assert_eq!(&T::decode(&bytes).unwrap(), value);
    for cut in 0..bytes.len() {
        prop_assert!(T::decode(&bytes[..cut]).is_err(), "cut at {}", cut);
    }
    prop_assert!(T::decode(&[bytes.as_slice(), &[0]].concat()).is_err(), "one byte more");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn values_come_back_whole_or_not_at_all(
        record in record(), work in work(), runtime in runtime(), trigger in trigger(),
        transition in transition(), standing in standing(), id in id(), time in time(), counts: [u64; 6],
    ) {
        check(&record)?;
        check(&work)?;
        check(&runtime)?;
        check(&trigger)?;
        check(&transition)?;
        check(&standing)?;
        check(&standing.mode)?;
        check(&id)?;
        check(&TriggerId(id.ulid))?;
        check(&time)?;
        let [admitted, completed, cancelled, attempts_started, attempts_ended, purged] = counts;
        check(&Told { cost: counts[0] })?;
        check(&Tally { now: time, admitted, completed, cancelled, attempts_started, attempts_ended, purged })?;
    }

    #[test]
    fn damaged_values_are_answered(record in record(), at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // A flipped bit may make another valid record; it must never panic, and a version is always noticed.
        let refused = matches!(Record::decode(&bytes), Err(StoreError::Version { what: "record", newest: V2, .. }));
        prop_assert_eq!(refused, at == 0);
    }

    #[test]
    fn arbitrary_bytes_are_answered(version in V1..=V2, body in vec(any::<u8>(), 0..200)) {
        let bytes = [vec![version], body].concat();
        // What is read at all is read completely: it encodes and reads to the same again.
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        }
        if let Ok(work) = Work::decode(&bytes) {
            prop_assert_eq!(Work::decode(&work.encode()).unwrap(), work);
        }
        if let Ok(trigger) = Trigger::decode(&bytes) {
            prop_assert_eq!(Trigger::decode(&trigger.encode()).unwrap(), trigger);
        }
    }
}

#[test]
fn an_unknown_number_is_named() {
    let action = Action::Command { argv: vec!["true".to_owned()], cwd: None };
    let submission = Submission::of(RecordId::session(7), "a".into(), Work::of(action));
    let (queued, _) = crate::machine::admit(submission, 0, Time::ZERO, &Policy::default());
    let record = Record { state: State::Completed { at: Time::ZERO }, ..queued };
    let mut bytes = record.encode();
    // Eight fields of version 2 stand behind it, all absent.
    let state = bytes.len() - 13;
    assert_eq!(bytes[state..], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes[state] = 77;
    assert_eq!(Record::decode(&bytes).unwrap_err().to_string(), "77 is no state this build knows");
}

#[test]
fn a_lying_length_allocates_nothing() {
    let mut bytes = vec![V1, 1, 253];
    bytes.extend_from_slice(&[0xff; 8]);
    assert!(matches!(Work::decode(&bytes), Err(StoreError::Value { what: "work", .. })));
}
