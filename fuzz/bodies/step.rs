//! Any sequence of events, at any times, under any policy that can be configured: the record stays in order.
//!
//! The input is text. Four digits (budget, silence, expiry, policy), then one character an event, some with a digit
//! behind it; see [`Life::event`]. Other characters stand for nothing.

use std::iter::Copied;
use std::slice::Iter;
use std::sync::Arc;
use std::time::Duration;

use dwell::machine::{self, Owed, owed};
use dwell::model::{
    Action, Budget, Child, Command, Curve, Event, Fault, LimitPolicy, LimitReport, Measure, Meter, Overage,
    Policy, Record, RecordId, Rejected, Report, Reset, Retry, State, Submission, TEXT_BYTES_MAX, Time,
    Timeouts, Usage, Work, code,
};
use dwell::store::Stored as _;

/// What a digit means as a span, in milliseconds; the last one overflows every clock.
const SPANS: [u64; 10] =
    [0, 1, 1_000, 30_000, 600_000, 3_600_000, 86_400_000, 691_200_000, 34_560_000_000, u64::MAX];

/// What a digit means as a number of calls.
const CALLS: [u32; 10] = [0, 1, 2, 3, 5, 10, 20, 21, u32::MAX - 1, u32::MAX];

const START: Time = Time::from_millis(1_790_000_000_000);

pub fn check(bytes: &[u8]) {
    let mut script = bytes.iter().copied();
    let [budget, silence, expires, knob] = [(); 4].map(|()| digit(&mut script));
    let policy = policy(knob);
    let record = admitted(budget, silence, expires, &policy);
    let mut life = Life { record, now: START, aim: 0, policy };
    while let Some(symbol) = script.next() {
        if let Some(event) = life.event(symbol, &mut script) {
            life.happen(&event);
        }
    }
}

fn digit(script: &mut Copied<Iter<'_, u8>>) -> usize {
    usize::from(script.next().unwrap_or(b'0').wrapping_sub(b'0')) % 10
}

fn span(digit: usize) -> Duration {
    Duration::from_millis(SPANS[digit])
}

/// 0 is the default; the others reach both ends of what the configuration accepts.
fn policy(knob: usize) -> Policy {
    if knob == 0 {
        return Policy::default();
    }
    let max = u32::try_from(knob).unwrap();
    let curve = Curve {
        first: span(knob - 1),
        factor_percent: [100, 101, 200, 10_000][knob % 4],
        max: span(knob),
        jitter_percent: [0, 1, 100][knob % 3],
    };
    Policy {
        retry: Retry { attempts: max, curve },
        timeouts: Timeouts { attempt: span(knob), silence: None },
        throttled_max: max,
        timed_out_max: max,
        lost_max: max,
        ingestion_max: max,
        unavailable: curve,
        resume: curve,
        limits: LimitPolicy { estimate: span(knob - 1), max_wait: span(knob), jitter: span(0) },
        ..Policy::default()
    }
}

fn admitted(budget: usize, silence: usize, expires: usize, policy: &Policy) -> Record {
    let submission = Submission {
        org: "acme".into(),
        env: "prod".into(),
        budget: bounds(budget),
        timeouts: (silence > 0).then(|| Timeouts { silence: Some(span(silence)), ..policy.timeouts }),
        expires: (expires > 0).then(|| span(expires)),
        ..Submission::of(
            RecordId::session(1 << 90),
            "claude".into(),
            Work::of(Action::Agent { prompt: "do it".to_owned(), cwd: None }),
        )
    };
    machine::admit(submission, 1, START, policy).0
}

/// As many calls, and of an even digit the other measures as well.
fn bounds(digit: usize) -> Budget {
    let mut budget = if digit > 0 { Budget::calls(CALLS[digit]) } else { Budget::default() };
    if digit > 0 && digit.is_multiple_of(2) {
        for measure in [Measure::Attempts, Measure::Wall, Measure::Tokens, Measure::Cost] {
            let limit = if measure == Measure::Wall { SPANS[digit] } else { u64::from(CALLS[digit]) };
            budget = budget.with(measure, Meter { used: 0, limit: Some(limit), soft: Some(limit / 2) });
        }
    }
    budget
}

struct Life {
    record: Record,
    now: Time,
    /// Added to the attempt that the next report names.
    aim: u32,
    policy: Policy,
}

impl Life {
    /// The event of a symbol; `None` where time passes, or nothing happens.
    fn event(&mut self, symbol: u8, script: &mut Copied<Iter<'_, u8>>) -> Option<Event> {
        Some(match symbol {
            b'+' => return self.pass(self.now.after(span(digit(script)))),
            b'T' => return self.pass(self.record.deadline().unwrap_or(self.now)),
            b'<' => return self.aim_at(u32::MAX),
            b'>' => return self.aim_at(1),
            b'q' => return self.wait_for_workers(),
            b'd' => Event::Dispatch,
            b'k' => Event::Claim { worker: "me".to_owned(), lease: span(digit(script)) },
            b'E' => Event::Elapsed,
            b'I' => Event::Interrupted,
            b'L' => Event::LimitCleared,
            b'U' => Event::Undrain,
            b'D' => Event::Drain { until: self.now.after(span(digit(script))) },
            b'C' => Event::Command(Command::Cancel),
            b'Z' => Event::Command(Command::ResumeNow),
            b'Y' => Event::Command(Command::Redrive),
            b'B' => Event::BurstDrained,
            b'G' => Event::Superseded { by: RecordId::session(2 << 90) },
            b'^' => Event::TopUp {
                measure: Measure::ALL[digit(script) % 5],
                amount: u64::from(CALLS[digit(script)]),
            },
            b'$' => Event::Charge { attempt: self.named(), calls: CALLS[digit(script)] },
            _ => {
                let report = self.report(symbol, script)?;
                Event::Report { attempt: self.named(), report }
            }
        })
    }

    fn report(&self, symbol: u8, script: &mut Copied<Iter<'_, u8>>) -> Option<Report> {
        let fault = |code: &str| Fault::new(code, "words");
        let child = Child { pid: 4711, started: 1, boot: 1 };
        Some(match symbol {
            b'h' => Report::Heartbeat,
            b'p' => Report::Spawned { child, session: None },
            b'P' => Report::Spawned { child, session: Some("0b4c".to_owned()) },
            b'i' => Report::Session { id: "s".repeat(digit(script) * 1_000) },
            b'a' => Report::Usage(Life::usage(script, false)),
            b'z' => Report::Usage(Life::usage(script, true)),
            b's' => Report::Succeeded { result: Some("\u{fc}".repeat(digit(script) * 1_000)) },
            b'f' => Report::Failed(fault("exit_1")),
            b'e' => Report::Failed(fault(code::EXIT_75)),
            b'b' => Report::Throttled(fault(code::BUDGET_EXHAUSTED)),
            b'o' => Report::TimedOut(fault("timed_out")),
            b't' => Report::Throttled(fault("throttled")),
            b'u' => Report::Unavailable(fault("unavailable")),
            b'r' => Report::RateLimited(self.limit(script), fault(code::RATE_LIMITED)),
            b'w' => Report::LimitWarning(self.limit(script)),
            b'c' => Report::LimitCleared,
            b'v' => Report::Invalid(fault("invalid")),
            b'g' => Report::IngestionFailed(fault("ingestion_failed")),
            b'n' => Report::NeedsOperator(fault("needs_operator")),
            b'x' => Report::NotResumable(fault("not_resumable")),
            _ => return None,
        })
    }

    /// Two digits: tokens, and millionths of a dollar; the last one is more than any agent can use.
    fn usage(script: &mut Copied<Iter<'_, u8>>, of_end: bool) -> Usage {
        let amount = |digit: usize| if digit == 9 { u64::MAX } else { CALLS[digit].into() };
        let (tokens, cost) = (amount(digit(script)), amount(digit(script)));
        Usage { tokens, cost, of_end, session_cost: None }
    }

    /// Two digits: the main reset and overage's; 0 is none, 1 one that is no time.
    fn limit(&self, script: &mut Copied<Iter<'_, u8>>) -> LimitReport {
        let mut reset = || match digit(script) {
            0 => Reset::Absent,
            1 => Reset::Unusable("soon".to_owned()),
            2 => Reset::At(START),
            later => Reset::At(self.now.after(span(later))),
        };
        let (main, beyond) = (reset(), reset());
        let overage = Overage { rejected: beyond != Reset::Absent, reset: beyond };
        LimitReport { reset: main, overage: Some(overage), using_overage: false }
    }

    fn pass(&mut self, to: Time) -> Option<Event> {
        self.now = self.now.max(to);
        None
    }

    fn wait_for_workers(&mut self) -> Option<Event> {
        if self.record.attempt == 0 {
            Arc::make_mut(&mut self.record.terms).queue = Some("reviews".into());
        }
        None
    }

    fn aim_at(&mut self, aim: u32) -> Option<Event> {
        self.aim = aim;
        None
    }

    fn named(&mut self) -> u32 {
        self.record.attempt.wrapping_add(std::mem::take(&mut self.aim))
    }

    fn happen(&mut self, event: &Event) {
        let before = &self.record;
        let answer = machine::step(before, event, self.now, &self.policy);
        assert_eq!(answer, machine::step(before, event, self.now, &self.policy), "the same makes the same");
        let named = match event {
            Event::Report { attempt, .. } | Event::Charge { attempt, .. } => Some(*attempt),
            Event::Dispatch
            | Event::Claim { .. }
            | Event::Elapsed
            | Event::Interrupted
            | Event::LimitCleared
            | Event::Drain { .. }
            | Event::Undrain
            | Event::Command(_)
            | Event::TopUp { .. }
            | Event::BurstDrained
            | Event::Superseded { .. } => None,
        };
        if named.is_some_and(|named| !before.state.outstanding() || named != before.attempt) {
            assert!(matches!(answer, Err(Rejected::StaleAttempt { .. })), "{event:?} on {before:?}");
        }
        let Ok(next) = answer else { return };
        assert!(before.state.finished_at().is_none(), "{event:?} happened to a finished {before:?}");
        if *event == Event::Elapsed {
            assert!(before.deadline().is_some_and(|deadline| deadline <= self.now), "early: {before:?}");
        }
        moved_in_order(before, event, &next.record, self.now);
        is_in_order(&next.record);
        self.record = next.record;
    }
}

fn moved_in_order(before: &Record, event: &Event, after: &Record, now: Time) {
    let claimed = matches!(event, Event::Claim { .. });
    let starts = claimed || *event == Event::Dispatch;
    assert!(!starts || claimed == before.queue.is_some(), "{event:?} on {before:?}");
    assert_eq!(after.attempt, before.attempt + u32::from(starts), "attempts are numbered: {event:?}");
    spent_in_order(before, event, after);
    let kept =
        |record: &Record| (record.id, record.order, record.created_at, record.retry, record.timeouts.attempt);
    assert_eq!(kept(after), kept(before));
    assert!(claimed || after.timeouts == before.timeouts, "{event:?} moved the bounds of an attempt");

    let goes_on = before.state.outstanding() && after.state.outstanding();
    let owed = owed(Some(before), after);
    if before.queue.is_some() {
        assert_eq!(owed, Owed::default(), "a worker's process is not dwell's: {event:?}");
    } else {
        assert_eq!(owed.start, starts);
        assert_eq!(owed.stop.is_some(), before.state.outstanding() && !goes_on, "{event:?} on {before:?}");
        assert_eq!(owed.release, before.state.child().is_none() && after.state.child().is_some());
    }

    if let State::Active { lease_until, ends_at, .. } = after.state {
        assert!(lease_until <= ends_at, "{after:?}");
        if let State::Active { lease_until: earlier, ends_at: same, .. } = before.state {
            let prolonged = matches!(event, Event::TopUp { measure: Measure::Wall, .. });
            assert!(
                lease_until >= earlier && (ends_at == same || prolonged && ends_at > same),
                "{event:?} made {after:?} of {before:?}"
            );
        } else {
            assert!(lease_until >= now, "{after:?} at {now:?}");
        }
    }
}

/// Bounds only grow, by what is added; what is used only grows, until another life; and nothing waits for an attempt
/// that it may not make.
fn spent_in_order(before: &Record, event: &Event, after: &Record) {
    let fresh = *event == Event::Command(Command::Redrive);
    if !matches!(event, Event::TopUp { .. }) {
        assert_eq!(after.budget.fresh(), before.budget.fresh(), "{event:?}");
    }
    for (measure, was) in before.budget.meters() {
        let is = after.budget.of(measure).unwrap_or_default();
        assert!(is.used >= was.used || fresh, "{measure} of {was:?} is {is:?} by {event:?}");
        assert!(is.limit >= was.limit, "{measure} of {was:?} is {is:?} by {event:?}");
    }
    let ended = before.state.outstanding() && !after.state.outstanding();
    let waits =
        matches!(after.state, State::Queued { .. } | State::RateLimited { .. } | State::Backoff { .. });
    if ended && waits {
        assert_eq!(after.budget.exhausted(), None, "{event:?} on {before:?}");
    }
    for (measure, meter) in machine::crossed(before, after) {
        assert!(meter.soft > before.budget.of(measure).map(|meter| meter.used));
    }
}

/// What holds of every record, however it came about.
fn is_in_order(record: &Record) {
    let calls = record.budget.of(Measure::Calls);
    assert!(calls.is_none_or(|calls| Some(calls.used) <= calls.limit), "{calls:?}");
    let waits_in_line = matches!(record.state, State::Queued { .. } | State::DeadLettered { .. });
    let has_way = waits_in_line || record.deadline().is_some() || record.state.finished_at().is_some();
    assert!(has_way, "no way forward: {record:?}");
    for text in [&record.session, &record.result].into_iter().flatten() {
        assert!(text.len() <= TEXT_BYTES_MAX);
    }
    assert_eq!(&Record::decode(&record.encode()).unwrap(), record);
}
