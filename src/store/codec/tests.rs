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
            any::<[u32; Streak::ALL.len()]>(), option::of((any::<u32>(), any::<u32>())), retry(), span(),
            option::of(span()),
        ),
        (session, last_error, result, state) in (
            option::of(text()), option::of((text(), text())), option::of(text()), state(),
        ),
    ) -> Record {
        Record {
            id, org, env, key, flow, trigger: trigger.map(TriggerId), rerun_of, runtime, order, created_at,
            updated_at, expires_at, attempt,
            streaks: Streaks::from_counts(streaks),
            budget: budget.map(|(used, limit)| Budget { used, limit }),
            retry,
            timeouts: Timeouts { attempt: attempt_timeout, silence },
            session,
            last_error: last_error.map(|(code, message)| Fault { code, message }),
            result, state,
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (vec(text(), 0..4), option::of(text())).prop_map(|(argv, cwd)| Action::Command { argv, cwd }),
        (text(), option::of(text())).prop_map(|(prompt, cwd)| Action::Agent { prompt, cwd }),
        (text(), text(), btree_map(text(), text(), 0..3))
            .prop_map(|(url, method, headers)| Action::Http(HttpRequest { url, method, headers })),
    ]
}

prop_compose! {
    fn work()(
        action in action(), payload in vec(any::<u8>(), 0..300), task in option::of(text()),
        labels in btree_map(text(), text(), 0..4),
    ) -> Work {
        Work { action, payload, task, labels }
    }
}

prop_compose! {
    fn runtime()(
        name in name(),
        limited in option::of((time(), one_of(Source::ALL), time(), option::of(id()))),
        paused_until in option::of(time()),
    ) -> Runtime {
        let limited =
            limited.map(|(until, source, since, by)| Pause { limit: Limit { until, source }, since, by });
        Runtime { name, limited, paused_until }
    }
}

prop_compose! {
    fn trigger()(
        id: u128, at in time(), source in name(), kind in name(), event in text(), action in option::of(text()),
        dedup in option::of(text()), org in name(), env in name(), payload in vec(any::<u8>(), 0..300),
        runs in vec(id(), 0..4),
    ) -> Trigger {
        Trigger { id: TriggerId(id), at, source, kind, event, action, dedup, org, env, payload, runs }
    }
}

prop_compose! {
    fn transition()(
        at in time(), id in id(), event in text(), from in option::of(one_of(StateName::ALL)),
        to in one_of(StateName::ALL), attempt: u32, deadline in option::of(time()), detail in option::of(text()),
    ) -> Transition {
        Transition { at, id, event, from, to, attempt, deadline, detail }
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
        transition in transition(), id in id(), time in time(), counts: [u64; 6],
    ) {
        check(&record)?;
        check(&work)?;
        check(&runtime)?;
        check(&trigger)?;
        check(&transition)?;
        check(&id)?;
        check(&TriggerId(id.ulid))?;
        check(&time)?;
        let [admitted, completed, cancelled, attempts_started, attempts_ended, purged] = counts;
        check(&Tally { now: time, admitted, completed, cancelled, attempts_started, attempts_ended, purged })?;
    }

    #[test]
    fn damaged_values_are_answered(record in record(), at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // A flipped bit may make another valid record; it must never panic, and a version is always noticed.
        let refused = matches!(Record::decode(&bytes), Err(StoreError::Version { what: "record", newest: 1, .. }));
        prop_assert_eq!(refused, at == 0);
    }

    #[test]
    fn arbitrary_bytes_are_answered(body in vec(any::<u8>(), 0..200)) {
        let bytes = [vec![V1], body].concat();
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
    let name = Name::from("a");
    let record = Record {
        id: RecordId::session(7),
        org: name.clone(),
        env: name.clone(),
        key: None,
        flow: None,
        trigger: None,
        rerun_of: None,
        runtime: name,
        order: 0,
        created_at: Time::ZERO,
        updated_at: Time::ZERO,
        expires_at: None,
        attempt: 0,
        streaks: Streaks::default(),
        budget: None,
        retry: Retry::default(),
        timeouts: Timeouts::default(),
        session: None,
        last_error: None,
        result: None,
        state: State::Completed { at: Time::ZERO },
    };
    let mut bytes = record.encode();
    let state = bytes.len() - 5;
    assert_eq!(bytes[state..], [7, 0, 0, 0, 0]);
    bytes[state] = 77;
    assert_eq!(Record::decode(&bytes).unwrap_err().to_string(), "77 is no state this build knows");
}

#[test]
fn a_lying_length_allocates_nothing() {
    let mut bytes = vec![V1, 1, 253];
    bytes.extend_from_slice(&[0xff; 8]);
    assert!(matches!(Work::decode(&bytes), Err(StoreError::Value { what: "work", .. })));
}
