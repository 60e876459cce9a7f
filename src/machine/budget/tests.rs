//! What budgets count, what stops an attempt, and what a top-up makes of a record.

use super::super::step;
use super::super::testing::queued;
use super::*;
use crate::model::{Child, Command, Policy, Streak, Streaks};

const T0: Time = Time::from_millis(1_000_000_000_000);

fn at(minutes: u64) -> Time {
    T0.after(Duration::from_mins(minutes))
}

fn limited(measure: Measure, limit: u64) -> Record {
    let budget = Budget::default().with(measure, Meter { limit: Some(limit), ..Meter::default() });
    Record { budget, ..queued() }
}

fn active(record: &Record, now: Time) -> Record {
    happen(record, &Event::Dispatch, now)
}

fn happen(record: &Record, event: &Event, now: Time) -> Record {
    step(record, event, now, &Policy::default()).unwrap().record
}

fn reported(record: &Record, report: Report, now: Time) -> Record {
    happen(record, &Event::Report { attempt: record.attempt, report }, now)
}

fn cost(dollars: f64) -> Report {
    let cost = crate::model::micros(dollars).unwrap();
    Report::Usage(Usage { cost, ..Usage::default() })
}

fn failed() -> Report {
    Report::Failed(Fault::new("exit_1", "words"))
}

fn words(record: &Record) -> String {
    let fault = record.last_error.as_ref().unwrap();
    assert_eq!(fault.code, code::BUDGET_EXHAUSTED);
    fault.message.clone()
}

const fn is_spent(record: &Record) -> bool {
    matches!(record.state, State::DeadLettered { cause: Cause::BudgetExhausted, .. })
}

#[test]
fn usage_that_reaches_the_limit_stops_the_attempt() {
    let record = active(&limited(Measure::Cost, 1_000_000), T0);
    let record = reported(&record, cost(0.4), T0);
    assert!(record.state.outstanding());
    for last in [0.6, 0.7, 1e12] {
        assert!(is_spent(&reported(&record, cost(last), T0)), "{last}");
    }
    assert_eq!(words(&reported(&record, cost(0.8), T0)), "cost_usd: used 1.2 of 1");
}

#[test]
fn usage_without_a_limit_is_counted_and_ends_nothing() {
    let record = active(&queued(), T0);
    let huge = Usage { tokens: u64::MAX, cost: u64::MAX, ..Usage::default() };
    let record = reported(&record, Report::Usage(huge), T0);
    assert!(record.state.outstanding());
    let meter = Meter { used: USAGE_MAX, ..Meter::default() };
    assert_eq!(
        (record.budget.of(Measure::Tokens), record.budget.of(Measure::Cost)),
        (Some(meter), Some(meter))
    );
    assert_eq!(record.budget.fresh(), queued().budget, "nothing is left of it in a fresh one");
}

#[test]
fn usage_told_with_the_end_leaves_it_to_the_end() {
    let record = active(&limited(Measure::Tokens, 10), T0);
    let last = Usage { tokens: 11, of_end: true, ..Usage::default() };
    let record = reported(&record, Report::Usage(last), T0);
    assert!(record.state.outstanding());
    let done = reported(&record, Report::Succeeded { result: None }, T0);
    assert!(done.state.finished_at().is_some());
    assert!(is_spent(&reported(&record, failed(), T0)));
    assert!(is_spent(&happen(&record, &Event::Interrupted, T0)));
    let unwell = Report::NeedsOperator(Fault::new("api_401", "words"));
    assert_eq!(reported(&record, unwell, T0).state.cause(), Some(Cause::NeedsOperator));
}

#[test]
fn the_last_attempt_a_budget_allows_is_not_followed_by_another() {
    let record = reported(&active(&limited(Measure::Attempts, 2), T0), failed(), T0);
    assert!(waits(&record));
    let record = Record { state: State::Queued { lane: Lane::Ready }, ..record };
    let last = active(&record, T0);
    assert_eq!(words(&reported(&last, failed(), T0)), "attempts: used 2 of 2");
    assert!(reported(&last, Report::Succeeded { result: None }, T0).state.finished_at().is_some());
    let invalid = Report::Invalid(Fault::new("invalid", "words"));
    assert_eq!(reported(&last, invalid, T0).state.cause(), Some(Cause::Invalid));
}

#[test]
fn an_attempt_that_dwell_ended_or_that_reached_nobody_is_not_counted() {
    let record = active(&limited(Measure::Attempts, 1), T0);
    let down = Report::Unavailable(Fault::new("refused", "words"));
    let drained = happen(&record, &Event::Drain { until: at(1) }, T0);
    for after in [
        happen(&record, &Event::Interrupted, T0),
        reported(&record, down, T0),
        happen(&drained, &Event::Elapsed, at(1)),
    ] {
        assert!(waits(&after), "{:?}", after.state);
        assert_eq!(after.budget, record.budget);
    }
    assert!(is_spent(&reported(&drained, failed(), T0)));
}

#[test]
fn time_is_counted_as_attempts_end_and_bounds_the_next_one() {
    let record = active(&limited(Measure::Wall, 3_600_000), T0);
    assert_eq!(record.deadline(), Some(at(60)));
    let record = reported(&record, failed(), at(40));
    let record = Record { state: State::Queued { lane: Lane::Ready }, ..record };
    let record = active(&record, at(100));
    assert_eq!(record.deadline(), Some(at(120)));
    let early = step(&record, &Event::Elapsed, at(119), &Policy::default());
    assert!(early.is_err());
    // However late it is looked at, what is counted ends with the attempt's bound.
    for late in [120, 500] {
        let dead = happen(&record, &Event::Elapsed, at(late));
        assert_eq!(words(&dead), "wall: used 1h of 1h");
        assert_eq!(dead.streaks, Streaks::default());
    }
    assert!(is_spent(&happen(&record, &Event::Interrupted, at(500))));
}

#[test]
fn time_in_which_dwell_was_down_during_a_drain_is_not_counted() {
    let record = active(&limited(Measure::Wall, 3_600_000), T0);
    let draining = happen(&record, &Event::Drain { until: at(11) }, at(10));
    for event in [Event::Interrupted, Event::Elapsed] {
        let after = happen(&draining, &event, at(500));
        assert!(waits(&after), "{:?}", after.state);
        assert_eq!(after.budget.of(Measure::Wall).unwrap().used, 11 * 60_000);
    }
}

#[test]
fn an_attempt_that_reaches_its_own_bound_first_has_failed() {
    let record = active(&limited(Measure::Wall, 48 * 3_600_000), T0);
    let record = happen(&record, &Event::Elapsed, at(24 * 60));
    assert!(matches!(record.state, State::Backoff { .. }));
    assert_eq!(written(Measure::Wall, record.budget.of(Measure::Wall).unwrap()), "wall: used 1day of 2days");
}

#[test]
fn an_undrained_attempt_has_what_time_its_budget_leaves() {
    let record = active(&limited(Measure::Wall, 3_600_000), T0);
    let record = happen(&record, &Event::Drain { until: at(50) }, at(10));
    assert_eq!(happen(&record, &Event::Undrain, at(20)).deadline(), Some(at(60)));
}

#[test]
fn more_time_prolongs_the_attempt_within_its_own_bound() {
    let record = active(&limited(Measure::Wall, 3_600_000), T0);
    let child = Some(Child { pid: 1, started: 1, boot: 1 });
    let State::Active { lease_until, ends_at, .. } = record.state else { panic!() };
    let record = Record { state: State::Active { lease_until, ends_at, child }, ..record };
    let more = |minutes: u64| {
        let event = Event::TopUp { measure: Measure::Wall, amount: minutes * 60_000 };
        happen(&record, &event, at(30))
    };
    assert_eq!((more(30).deadline(), more(30).state.child()), (Some(at(90)), child));
    assert_eq!(more(48 * 60).deadline(), Some(at(24 * 60)));
}

#[test]
fn a_top_up_queues_what_waits_for_it_and_keeps_what_was_used() {
    let record = active(&limited(Measure::Cost, 1_000_000), T0);
    let failed_once = Streaks::from_counts([1; Streak::ALL.len()]);
    let record = Record { session: Some("s".to_owned()), streaks: failed_once, ..record };
    let dead = reported(&record, cost(1.2), T0);
    let more = |amount| happen(&dead, &Event::TopUp { measure: Measure::Cost, amount }, T0);
    let again = more(1_000_000);
    assert_eq!(again.state, State::Queued { lane: Lane::Ready });
    assert_eq!((again.session.as_deref(), again.attempt), (Some("s"), 1));
    assert_eq!(again.streaks, Streaks::default());
    let meter = Meter { used: 1_200_000, limit: Some(2_000_000), soft: None };
    assert_eq!(again.budget.of(Measure::Cost), Some(meter));
    assert!(is_spent(&more(200_000)), "used up still");
    assert!(is_spent(&happen(&more(100_000), &Event::TopUp { measure: Measure::Cost, amount: 50_000 }, T0)));
}

#[test]
fn more_of_something_else_resumes_nothing() {
    let both = limited(Measure::Tokens, 10)
        .budget
        .with(Measure::Calls, Meter { limit: Some(1), ..Meter::default() });
    let record = active(&Record { budget: both, ..queued() }, T0);
    let refused = Report::Failed(Fault::new(code::BUDGET_EXHAUSTED, "words"));
    let dead = reported(&happen(&record, &Event::Charge { attempt: 1, calls: 1 }, T0), refused, T0);
    assert!(is_spent(&dead));
    let more = |measure| happen(&dead, &Event::TopUp { measure, amount: 5 }, T0);
    assert!(is_spent(&more(Measure::Tokens)) && waits(&more(Measure::Calls)));
    let other = Record { state: State::DeadLettered { at: T0, cause: Cause::Invalid }, ..dead };
    assert_eq!(happen(&other, &Event::TopUp { measure: Measure::Calls, amount: 5 }, T0).state, other.state);
}

#[test]
fn a_top_up_of_what_is_unlimited_or_finished_is_refused() {
    let event = Event::TopUp { measure: Measure::Cost, amount: 1 };
    let refused = step(&queued(), &event, T0, &Policy::default()).unwrap_err();
    assert_eq!(refused, Rejected::NoLimit { id: queued().id, measure: Measure::Cost });
    let record = happen(&limited(Measure::Cost, 5), &Event::Command(Command::Cancel), T0);
    assert_eq!(step(&record, &event, T0, &Policy::default()).unwrap_err().code(), "illegal_transition");
}

#[test]
fn a_soft_mark_is_crossed_once() {
    let meter = |used| Meter { used, limit: Some(20), soft: Some(8) };
    let record = |used| Record { budget: Budget::default().with(Measure::Calls, meter(used)), ..queued() };
    let news = |from, to| {
        crossed(&record(from), &record(to))
            .map(|(measure, meter)| written(measure, meter))
            .collect::<Vec<_>>()
    };
    let none: Vec<String> = Vec::new();
    for (from, to) in [(0, 7), (8, 9), (8, 8), (20, 0)] {
        assert_eq!(none, news(from, to), "{from} to {to}");
    }
    for (from, to, told) in [(7, 8, "calls: used 8 of 20 (soft 8)"), (0, 20, "calls: used 20 of 20 (soft 8)")]
    {
        assert_eq!(vec![told.to_owned()], news(from, to));
    }
}

#[test]
fn a_soft_mark_of_calls_alone_counts_and_refuses_nothing() {
    let budget = Budget::default().with(Measure::Calls, Meter { used: 0, limit: None, soft: Some(2) });
    let record = active(&Record { budget, ..queued() }, T0);
    let after = happen(&record, &Event::Charge { attempt: 1, calls: 3 }, T0);
    assert_eq!(crossed(&record, &after).count(), 1);
    assert_eq!(written(Measure::Calls, after.budget.of(Measure::Calls).unwrap()), "calls: used 3 (soft 2)");
}
