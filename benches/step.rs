//! The pure rule: one event on one record, in memory only.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dwell::machine;
use dwell::model::{Action, Budget, Event, Policy, Record, RecordId, Submission, Time, Work};

const NOW: Time = Time::from_millis(1_790_000_000_000);

fn queued(policy: &Policy) -> Record {
    let submission = Submission {
        org: "acme".into(),
        env: "prod".into(),
        key: Some("pr-17".to_owned()),
        budget: Budget::calls(u32::MAX),
        ..Submission::of(
            RecordId::session(1 << 90),
            "claude".into(),
            Work::of(Action::Agent { prompt: "review it".to_owned(), cwd: None }),
        )
    };
    machine::admit(submission, 1, NOW, policy).0
}

fn step(criterion: &mut Criterion) {
    let policy = Policy::default();
    let queued = queued(&policy);
    let active = machine::step(&queued, &Event::Dispatch, NOW, &policy).unwrap().record;
    let later = active.deadline().unwrap();
    let mut group = criterion.benchmark_group("step");
    for (name, record, event, now) in [
        ("dispatch/queued", &queued, Event::Dispatch, NOW),
        ("charge/active", &active, Event::Charge { attempt: 1, calls: 1 }, NOW),
        ("elapsed/active", &active, Event::Elapsed, later),
        ("elapsed_refused/active", &active, Event::Elapsed, NOW),
    ] {
        assert_eq!(machine::step(record, &event, now, &policy).is_ok(), !name.contains("refused"));
        group.bench_function(name, |bencher| {
            bencher.iter(|| machine::step(black_box(record), black_box(&event), now, &policy));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = step
}
criterion_main!(benches);
