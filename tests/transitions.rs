//! Every state x every event, against the machine itself: the table in `schema/states.md` is generated from it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dwell::machine::{self, Next, RuntimeChange, owed};
use dwell::model::*;

const T0: u64 = 1_700_000_000_000;
const SESSION: &str = "9f6c0000-0000-4000-8000-000000000000";

fn now() -> Time {
    Time::from_millis(T0)
}

fn at(seconds: u64) -> Time {
    now().after(Duration::from_secs(seconds))
}

fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.retry.curve.jitter_percent = 0;
    policy
}

/// A session on runtime `claude`, budget 20 and 1 USD, silence 10 m, attempt 2 h, expiry 24 h.
fn admitted() -> Record {
    let submission = Submission {
        org: "o".into(),
        env: "e".into(),
        budget: Budget::calls(20).with(Measure::Cost, Meter { limit: Some(1_000_000), ..Meter::default() }),
        timeouts: Some(Timeouts {
            attempt: Duration::from_secs(7200),
            silence: Some(Duration::from_secs(600)),
        }),
        expires: Some(Duration::from_secs(86_400)),
        ..Submission::of(
            RecordId::session(u128::from(T0) << 80),
            "claude".into(),
            Work::of(Action::Command { argv: vec!["true".into()], cwd: None }),
        )
    };
    machine::admit(submission, 7, now(), &policy()).0
}

fn child() -> Child {
    Child { pid: 4711, started: 1, boot: 2 }
}

fn fault(code: &str) -> Fault {
    Fault::new(code, "words")
}

/// As [`in_state`]; what is claimed waits in a queue of workers.
fn subject(state: StateName, event: &Event) -> Record {
    let queue = matches!(event, Event::Claim { .. }).then(|| "reviews".into());
    let record = in_state(state);
    let terms = Terms { queue, ..Terms::clone(&record.terms) };
    Record { terms: terms.into(), ..record }
}

/// One record in each state, attempt 1 outstanding where one can be, its child spawned.
fn in_state(state: StateName) -> Record {
    let state = match state {
        StateName::Queued => State::Queued { lane: Lane::Ready },
        StateName::Active => State::Active { lease_until: at(60), ends_at: at(7200), child: None },
        StateName::RateLimited => State::RateLimited { until: at(5400), source: Source::Told },
        StateName::Backoff => State::Backoff { until: at(30), streak: Streak::Failed },
        StateName::Draining => State::Draining { until: at(30), child: None },
        StateName::DeadLettered => State::DeadLettered { at: now(), cause: Cause::Throttled },
        StateName::Completed => State::Completed { at: now() },
        StateName::Cancelled => State::Cancelled { at: now() },
    };
    let attempt = u32::from(!matches!(state, State::Queued { .. }));
    Record { attempt, state, session: Some(SESSION.into()), ..admitted() }
}

fn usage(cost: u64) -> Usage {
    Usage { cost, ..Usage::default() }
}

/// The same, dead-lettered for its budget if it is dead-lettered.
fn spent(mut record: Record) -> Record {
    if let State::DeadLettered { cause, .. } = &mut record.state {
        *cause = Cause::BudgetExhausted;
    }
    record
}

fn report(report: Report) -> Event {
    Event::Report { attempt: 1, report }
}

fn limit_report() -> LimitReport {
    LimitReport { reset: Reset::At(at(3600)), ..LimitReport::default() }
}

/// Every event, each report with a fault of its own name.
fn events() -> Vec<(&'static str, Event)> {
    let events = vec![
        ("dispatch", Event::Dispatch),
        ("claim(1m)", Event::Claim { worker: "me".into(), lease: Duration::from_secs(60) }),
        ("spawned(N)", report(Report::Spawned { child: child(), session: None })),
        ("heartbeat(N)", report(Report::Heartbeat)),
        ("session(N)", report(Report::Session { id: "other".into() })),
        ("succeeded(N)", report(Report::Succeeded { result: None })),
        ("failed(N)", report(Report::Failed(fault("failed")))),
        ("not_resumable(N)", report(Report::NotResumable(fault("not_resumable")))),
        ("timed_out(N)", report(Report::TimedOut(fault("timed_out")))),
        ("throttled(N)", report(Report::Throttled(fault("throttled")))),
        ("ingestion_failed(N)", report(Report::IngestionFailed(fault("ingestion_failed")))),
        ("unavailable(N)", report(Report::Unavailable(fault("unavailable")))),
        ("rate_limited(N, +1h)", report(Report::RateLimited(limit_report(), fault("rate_limited")))),
        ("limit_warning(N, +1h)", report(Report::LimitWarning(limit_report()))),
        ("limit_cleared(N)", report(Report::LimitCleared)),
        ("invalid(N)", report(Report::Invalid(fault("invalid")))),
        ("needs_operator(N)", report(Report::NeedsOperator(fault("needs_operator")))),
        ("usage(N, 0.4 USD)", report(Report::Usage(usage(400_000)))),
        ("usage(N, 1 USD)", report(Report::Usage(usage(1_000_000)))),
        ("charge(N, 1)", Event::Charge { attempt: 1, calls: 1 }),
        ("elapsed", Event::Elapsed),
        ("interrupted", Event::Interrupted),
        ("limit_cleared(runtime)", Event::LimitCleared),
        ("drain(+10s)", Event::Drain { until: at(10) }),
        ("undrain", Event::Undrain),
        ("cancel", Event::Command(Command::Cancel)),
        ("resume_now", Event::Command(Command::ResumeNow)),
        ("redrive", Event::Command(Command::Redrive)),
        ("top_up(+20 calls)", Event::TopUp { measure: Measure::Calls, amount: 20 }),
        ("burst_drained", Event::BurstDrained),
        ("superseded", Event::Superseded { by: RecordId::session(1) }),
    ];
    let covered = events.iter().map(|(_, event)| event.name()).collect::<std::collections::BTreeSet<_>>();
    assert!(covered.len() >= 28, "an event is missing from the table: {covered:?}");
    events
}

/// `elapsed` is shown when the deadline is due.
fn moment(record: &Record, event: &Event) -> Time {
    record.deadline().filter(|_| *event == Event::Elapsed).unwrap_or_else(now)
}

fn span(from: Time, to: Time) -> String {
    format!("+{}", humantime::format_duration(from.until(to)))
}

fn cell(before: &Record, outcome: Result<Next, Rejected>, now: Time) -> String {
    let next = match outcome {
        Ok(next) => next,
        Err(rejected) => {
            let words = rejected.to_string().replace(&before.id.to_string(), "it");
            return format!("*{}*: {words}", rejected.code());
        }
    };
    let after = &next.record;
    let mut text = if after == before { "stays".to_owned() } else { format!("**{}**", after.state.name()) };
    if let State::DeadLettered { cause, .. } = after.state
        && after != before
    {
        write!(text, " `{cause}`").unwrap();
    }
    if after.state != before.state
        && let Some(deadline) = after.deadline()
    {
        write!(text, " {}", span(now, deadline)).unwrap();
    }
    if after.attempt != before.attempt {
        text.push_str(", attempt+1");
    }
    for streak in Streak::ALL {
        if after.streaks.of(*streak) > before.streaks.of(*streak) {
            write!(text, ", {streak}+1").unwrap();
        }
    }
    for (measure, is) in after.budget.meters() {
        if before.budget.of(measure) != Some(is) {
            write!(text, ", {}", machine::written(measure, is)).unwrap();
        }
    }
    if before.session != after.session {
        text.push_str(if after.session.is_some() { ", session kept" } else { ", session forgotten" });
    }
    let effects = owed(Some(before), after);
    for (is, word) in
        [(effects.start, "start"), (effects.release, "release"), (effects.stop.is_some(), "stop")]
    {
        if is {
            write!(text, "; {word}").unwrap();
        }
    }
    match next.runtime {
        Some(RuntimeChange::Limited(limit)) => {
            write!(text, "; runtime paused {}", span(now, limit.until)).unwrap();
        }
        Some(RuntimeChange::Cleared) => text.push_str("; runtime open"),
        None => {}
    }
    text
}

fn table() -> String {
    let mut text = String::from(
        "# States\n\nGenerated from the machine by `tests/transitions.rs` (`DWELL_WRITE_SCHEMA=1 cargo test --test \
         transitions` writes it anew). Read it with the rules in `src/machine`.\n\n```mermaid\nstateDiagram-v2\n",
    );
    text.push_str("    [*] --> queued: admitted\n    [*] --> dead_lettered: admitted, but invalid\n");
    for (from, to, names) in edges() {
        writeln!(text, "    {from} --> {to}: {}", names.join(", ")).unwrap();
    }
    text.push_str("    completed --> [*]: purged\n    cancelled --> [*]: purged\n```\n\n");
    text.push_str(
        "The record of the examples: attempt 1 outstanding where one can be, streaks at 0, budget 0 of 20 calls and of 1 USD, a silence \
         bound of 10 m, an attempt bound of 2 h, expiry after 24 h. A deadline is shown from the moment of the event. \
         After the semicolon: what it owes to the executor, and what it says about the runtime.\n",
    );
    for (name, event) in events() {
        writeln!(text, "\n## {name}\n\n| state | next, deadline, effect; or the rejection |\n|---|---|")
            .unwrap();
        for state in StateName::ALL {
            let record = subject(*state, &event);
            let now = moment(&record, &event);
            let outcome = machine::step(&record, &event, now, &policy());
            writeln!(text, "| {state} | {} |", cell(&record, outcome, now)).unwrap();
        }
        let burst = machine::divert(subject(StateName::Queued, &event));
        let now = moment(&burst, &event);
        let outcome = machine::step(&burst, &event, now, &policy());
        writeln!(text, "| queued, lane burst | {} |", cell(&burst, outcome, now)).unwrap();
    }
    text.push_str("\n## A budget that is topped up\n\n| state | next |\n|---|---|\n");
    let dead = spent(in_state(StateName::DeadLettered));
    let more = Event::TopUp { measure: Measure::Calls, amount: 20 };
    let outcome = machine::step(&dead, &more, now(), &policy());
    writeln!(text, "| dead_lettered `budget_exhausted` | {} |", cell(&dead, outcome, now())).unwrap();
    text.push_str(&bounds());
    text
}

/// Which events lead from one state to another, with fresh and with full streaks.
fn edges() -> Vec<(StateName, StateName, Vec<String>)> {
    let mut edges: BTreeMap<(StateName, StateName), Vec<String>> = BTreeMap::new();
    for full in [false, true] {
        for state in StateName::ALL {
            for (name, event) in events() {
                let mut record = subject(*state, &event);
                if full {
                    record.streaks = Streaks::from_counts([9; Streak::ALL.len()]);
                    record = spent(record);
                }
                let Ok(next) = machine::step(&record, &event, moment(&record, &event), &policy()) else {
                    continue;
                };
                let to = next.record.state.name();
                if to != *state {
                    let names = edges.entry((*state, to)).or_default();
                    let name = name.split('(').next().unwrap().to_owned();
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
        }
    }
    edges.into_iter().map(|((from, to), names)| (from, to, names)).collect()
}

/// The boundary of every counter: what the nth bad end in a row does.
fn bounds() -> String {
    let mut text = String::from(
        "\n## In a row\n\nWhat the nth report of a kind does to an active record, all else at 0.\n\n\
         | report | 1 | 2 | 3 | 4 | 5 | 6 |\n|---|---|---|---|---|---|---|\n",
    );
    let reports = [
        ("failed", Streak::Failed, Report::Failed(fault("failed"))),
        ("not_resumable", Streak::Failed, Report::NotResumable(fault("not_resumable"))),
        ("timed_out", Streak::TimedOut, Report::TimedOut(fault("timed_out"))),
        ("throttled", Streak::Throttled, Report::Throttled(fault("throttled"))),
        ("ingestion_failed", Streak::IngestionFailed, Report::IngestionFailed(fault("ingestion_failed"))),
        ("unavailable", Streak::Unavailable, Report::Unavailable(fault("unavailable"))),
    ];
    for (name, streak, kind) in reports {
        write!(text, "| {name} |").unwrap();
        for n in 0..6 {
            let mut record = in_state(StateName::Active);
            (0..n).for_each(|_| {
                record.streaks.add(streak);
            });
            let next = machine::step(&record, &report(kind.clone()), now(), &policy()).unwrap().record;
            let deadline =
                next.deadline().map(|deadline| format!(" {}", span(now(), deadline))).unwrap_or_default();
            write!(text, " {}{deadline} |", next.state.name()).unwrap();
        }
        text.push('\n');
    }
    let mut record = in_state(StateName::Active);
    record.state = State::Active { lease_until: now(), ends_at: at(7200), child: None };
    text.push_str("| lease lost |");
    for _ in 0..6 {
        let next = machine::step(&record, &Event::Elapsed, now(), &policy()).unwrap().record;
        write!(text, " {} |", next.state.name()).unwrap();
        record.streaks.add(Streak::Lost);
    }
    text.push('\n');
    text
}

#[test]
fn the_table_in_the_schema_is_what_the_machine_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/states.md");
    let text = table();
    if std::env::var_os("DWELL_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    let differs = stored.lines().zip(text.lines()).find(|(stored, new)| stored != new);
    assert!(stored == text, "schema/states.md is not what the machine does; first difference: {differs:#?}");
}

#[test]
fn a_redrive_begins_with_streaks_at_zero_whatever_was_stored() {
    let mut record = in_state(StateName::DeadLettered);
    record.streaks.add(Streak::Throttled);
    let next = machine::step(&record, &Event::Command(Command::Redrive), now(), &policy()).unwrap().record;
    assert_eq!((next.state.name(), next.streaks), (StateName::Queued, Streaks::default()));
}
