//! What is asked of the engine: settings and requests from the characters of a script.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dwell::engine::{
    Claim, Filter, Flip, Flow, Notify, Once, Org, Pacing, Rate, Redrives, Request, Settings, Target,
    Timetable,
};
use dwell::model::{
    Action, Budget, Child, Command, Debounce, Fault, Group, HttpRequest, LimitReport, Measure, Meter, Mode,
    NoticeEvent, RecordId, RedriveId, Report, Reset, Scope, Submission, Time, Timeouts, Trigger, TriggerId,
    Usage, Work, code,
};

use super::{Life, START, Script, digit, span};

/// Bit by bit: a schedule, somebody who is told of everything, an enrolled org, narrow queues; and how long what is
/// finished is kept.
pub fn settings(switches: usize, retention: usize) -> Settings {
    let runtimes = BTreeMap::from([("claude".into(), 2), ("shell".into(), 3), ("notify".into(), 1)]);
    let mut settings = Settings { runtimes, ..Settings::default() };
    let by_model = Pacing { by_model: true, ..Pacing::default() };
    settings.pacing = BTreeMap::from([("claude".into(), by_model)]);
    settings.flows = [("f0", Mode::Live), ("f1", Mode::Shadow), ("f2", Mode::Off), ("f3", Mode::Live)]
        .map(|(name, mode)| (name.into(), Flow { mode: Some(mode) }))
        .into();
    settings.burst.rate = Rate { threshold: 2, ..Rate::default() };
    settings.burst.drain_batch = 1;
    settings.burst.drain_concurrency = 2;
    settings.retention = if retention == 0 { Duration::from_secs(1 << 40) } else { span(retention) };
    if switches & 1 > 0 {
        settings.schedules.insert("f0".into(), Arc::new(Hourly));
    }
    if switches & 2 > 0 {
        let ops = Notify {
            to: HttpRequest { url: "http://ops/".into(), method: "POST".into(), headers: BTreeMap::new() },
            events: NoticeEvent::ALL.iter().copied().collect(),
            flows: BTreeSet::new(),
            orgs: BTreeSet::new(),
            every: span(5),
        };
        settings.notify.insert("ops".into(), ops);
    }
    let burst = switches & 4 > 0;
    let queued_max = if switches & 8 > 0 { 3 } else { 1_000 };
    settings.orgs.insert("o0".into(), Org { burst, weight: 1, queued_max });
    settings.orgs.insert("o1".into(), Org { weight: 3, ..Org::default() });
    settings
}

/// A flow that starts on the hour.
#[derive(Debug)]
struct Hourly;

impl Timetable for Hourly {
    fn expression(&self) -> String {
        "hourly".to_owned()
    }

    fn next(&self, after: Time) -> Option<Time> {
        const HOUR: u64 = 3_600_000;
        Some(Time::from_millis((after.millis() / HOUR + 1) * HOUR)).filter(|next| *next > after)
    }

    fn fire(&self, due: Time, now: Time) -> (Trigger, Vec<Submission>) {
        let id = TriggerId((u128::from(due.millis()) << 80) | 1 << 79);
        let trigger = Trigger { at: now, ..trigger(id, None) };
        let run =
            Submission { flow: Some("f0".into()), trigger: Some(id), ..command(RecordId::run_of(id, 0)) };
        (trigger, vec![run])
    }
}

fn trigger(id: TriggerId, dedup: Option<String>) -> Trigger {
    Trigger {
        id,
        at: START,
        source: "hub".into(),
        kind: "github".into(),
        event: "push".to_owned(),
        action: None,
        dedup,
        org: "o0".into(),
        env: "default".into(),
        payload: b"{}".to_vec(),
        replay_of: None,
        runs: Vec::new(),
    }
}

fn command(id: RecordId) -> Submission {
    let action = Action::Command { argv: vec!["true".to_owned()], cwd: None };
    Submission::of(id, "shell".into(), Work::of(action))
}

impl Life {
    /// What a character asks; `None` if nothing.
    pub fn request(&mut self, symbol: u8, script: &mut Script<'_>) -> Option<Request> {
        let request = match symbol {
            b's' => Request::Submit(Box::new(self.submission(script))),
            b't' => self.trigger(script),
            b'r' => {
                let (id, attempt) = self.attempt(script)?;
                Request::Report { id, attempt, report: self.report(script)? }
            }
            b'$' => {
                let (id, attempt) = self.attempt(script)?;
                Request::Charge { id, attempt, calls: u32::try_from(digit(script)).ok()? }
            }
            b'^' => Request::TopUp {
                id: self.one(script)?,
                measure: Measure::ALL[digit(script) % 5],
                amount: [1, 2, 1_000, 1_000_000, u64::MAX][digit(script) % 5],
            },
            b'c' => Request::Command { id: self.one(script)?, command: Command::Cancel },
            b'z' => Request::Command { id: self.one(script)?, command: Command::ResumeNow },
            b'y' => Request::Command { id: self.one(script)?, command: Command::Redrive },
            b'n' => {
                let id = self.one(script)?;
                Request::Rerun { id, fresh: RecordId { kind: id.kind, ulid: self.ulid() } }
            }
            b'k' => Request::Claim(Box::new(self.claim(script))),
            b'p' | b'o' => {
                let (runtime, model) =
                    [("claude", None), ("claude", Some("m1")), ("claude", Some("m2")), ("shell", None)]
                        [digit(script) % 4];
                let (name, model) = (runtime.into(), model.map(Into::into));
                match symbol {
                    b'p' => Request::PauseRuntime { name, model, until: self.now.after(span(digit(script))) },
                    _ => Request::ResumeRuntime { name, model },
                }
            }
            b'D' => Request::DrainScope { scope: scope(script), timeout: Some(span(digit(script))) },
            b'U' => Request::UndrainScope { scope: scope(script) },
            b'Q' => Request::Drain { until: self.now.after(span(digit(script))) },
            b'm' => Request::Flip(Box::new(flip(script))),
            b'Y' => Request::RedriveMany(Box::new(redrives())),
            b'a' => Request::Pace {
                id: RedriveId(self.ulid()),
                asked: Box::default(),
                pace: ["1/s", "10/s", "1/h"][digit(script) % 3].parse().unwrap(),
            },
            b'x' => Request::StopRedrive { id: RedriveId(self.numbers) },
            _ => return None,
        };
        Some(match self.key.take() {
            Some(key) => under(key, request),
            None => request,
        })
    }

    fn ulid(&mut self) -> u128 {
        self.numbers += 1;
        (u128::from(self.now.millis()) << 80) | self.numbers
    }

    /// A record that somebody was told of, the newest first.
    fn one(&self, script: &mut Script<'_>) -> Option<RecordId> {
        self.known.iter().rev().cycle().nth(digit(script)).copied()
    }

    /// An attempt that dwell or a worker carries out, or carried out.
    fn attempt(&mut self, script: &mut Script<'_>) -> Option<(RecordId, u32)> {
        let attempts = self.running.iter().chain(&self.working).map(|(id, attempt)| (*id, *attempt));
        let count = self.running.len() + self.working.len();
        let (id, attempt) = attempts.collect::<Vec<_>>()[digit(script).checked_rem(count)?];
        Some((id, attempt.wrapping_add(std::mem::take(&mut self.aim))))
    }

    /// Two digits: org and runtime, and what is special about it.
    fn submission(&mut self, script: &mut Script<'_>) -> Submission {
        let (place, special) = (digit(script), digit(script));
        let session = RecordId::session(self.ulid());
        let plain = Submission {
            org: ["o0", "o1", "o2"][place % 3].into(),
            runtime: if place < 5 { "claude" } else { "shell" }.into(),
            timeouts: Some(Timeouts { attempt: Duration::from_hours(2), silence: None }),
            ..command(session)
        };
        let group = |max, cancel_in_progress, queued_max| {
            Some(Group { name: format!("g{special}").as_str().into(), max, cancel_in_progress, queued_max })
        };
        let queue = |name: &str| Work::of(Action::Worker { queue: name.into() });
        match special {
            1 => Submission { key: Some("k".to_owned()), ..plain },
            2 => Submission { work: queue("q1"), ..plain },
            3 => Submission { work: queue("q2"), group: group(1, false, Some(1)), ..plain },
            4 => Submission { model: Some("m1".into()), budget: Budget::calls(3), ..plain },
            5 => Submission { group: group(1, false, None), ..plain },
            6 => Submission { group: group(2, true, None), ..plain },
            7 => {
                let timeouts = Timeouts { attempt: span(6), silence: Some(span(5)) };
                Submission { expires: Some(span(4)), timeouts: Some(timeouts), ..plain }
            }
            8 => {
                let mut budget = Budget::default().with(Measure::Attempts, meter(2));
                budget.ask = true;
                Submission { budget: budget.with(Measure::Tokens, meter(10)), ..plain }
            }
            9 => Submission { invalid: Some(Fault::new("template", "no field x")), ..plain },
            _ => plain,
        }
    }

    /// Two digits: its delivery (0: none), and the flows that match.
    fn trigger(&mut self, script: &mut Script<'_>) -> Request {
        let (delivery, what) = (digit(script), digit(script));
        let id = TriggerId(self.ulid());
        let runs = (0..=what % 4).map(|nth| {
            let number = u32::try_from(nth).unwrap();
            let debounce = Debounce { key: "d".into(), quiet: span(4), max: span(5) };
            let group = Group { name: "g".into(), max: 1, cancel_in_progress: what > 7, queued_max: Some(2) };
            Submission {
                org: "o0".into(),
                flow: Some(format!("f{nth}").as_str().into()),
                trigger: Some(id),
                debounce: (what > 4 && nth == 0).then_some(debounce),
                group: (what > 5).then_some(group),
                ..command(RecordId::run_of(id, number))
            }
        });
        let runs = runs.collect();
        let dedup = (delivery > 0).then(|| format!("d{delivery}"));
        self.sent.extend(dedup.clone().map(|dedup| (id, dedup)));
        Request::Trigger { trigger: Box::new(trigger(id, dedup)), runs, spool: delivery % 2 == 0 }
    }

    fn claim(&mut self, script: &mut Script<'_>) -> Claim {
        let (queue, wait) = (digit(script), digit(script));
        let listener = Arc::new(());
        let claim = Claim {
            worker: "w".to_owned(),
            queue: ["q1", "q2"][queue % 2].into(),
            max: 1 + queue / 2,
            wait: span(wait),
            lease: span(5),
            listener: Arc::downgrade(&listener),
        };
        self.listeners.push(listener);
        claim
    }

    fn report(&self, script: &mut Script<'_>) -> Option<Report> {
        let fault = |code: &str| Fault::new(code, "words");
        let child = Child { pid: 4711, started: 1, boot: 1 };
        let limit = |letter, script: &mut Script<'_>| {
            let reset = match digit(script) {
                0 => Reset::Absent,
                1 => Reset::Unusable("soon".to_owned()),
                later => Reset::At(self.now.after(span(later))),
            };
            let limit = LimitReport { reset, ..LimitReport::default() };
            match letter {
                b'r' => Report::RateLimited(limit, fault(code::RATE_LIMITED)),
                _ => Report::LimitWarning(limit),
            }
        };
        Some(match script.next()? {
            b'h' => Report::Heartbeat,
            b'p' => Report::Spawned { child, session: Some("0b4c".to_owned()) },
            b'a' => Report::Usage(Usage { tokens: 6, cost: 1, of_end: false, session_cost: Some(7) }),
            b's' => Report::Succeeded { result: None },
            b'f' => Report::Failed(fault("exit_1")),
            b'b' => Report::Throttled(fault(code::BUDGET_EXHAUSTED)),
            b'o' => Report::TimedOut(fault("timed_out")),
            b't' => Report::Throttled(fault("throttled")),
            b'u' => Report::Unavailable(fault("unavailable")),
            letter @ (b'r' | b'w') => limit(letter, script),
            b'c' => Report::LimitCleared,
            b'v' => Report::Invalid(fault("invalid")),
            b'n' => Report::NeedsOperator(fault("needs_operator")),
            b'x' => Report::NotResumable(fault("not_resumable")),
            _ => return None,
        })
    }
}

fn redrives() -> Redrives {
    Redrives { filter: Filter { limit: 10, ..Filter::default() }, ..Redrives::default() }
}

fn meter(limit: u64) -> Meter {
    Meter { used: 0, limit: Some(limit), soft: Some(limit / 2) }
}

fn scope(script: &mut Script<'_>) -> Scope {
    ["all", "runtime:claude", "runtime:shell", "org:o0", "org:o1", "flow:f0"][digit(script) % 6]
        .parse()
        .unwrap()
}

fn flip(script: &mut Script<'_>) -> Flip {
    let (place, mode) = (digit(script), digit(script));
    let mode = Mode::ALL.get(mode % 4).copied();
    let target = match (place % 5, mode) {
        (0, mode) => Target::Global(mode.unwrap_or(Mode::Live)),
        (nth, mode) => Target::Flow(format!("f{}", nth - 1).as_str().into(), mode),
    };
    Flip { target, force: place > 4, missing: Vec::new() }
}

/// The answer is told as what it was, behind its key, so that a repeated one can be compared.
fn under(key: usize, request: Request) -> Request {
    let mut fingerprint = [0; 32];
    format!("{request:?}").bytes().enumerate().for_each(|(nth, byte)| fingerprint[nth % 32] ^= byte);
    let tell = Box::new(move |answer| (200, format!("{key}{answer:?}").into_bytes()));
    let name = [u8::try_from(key).unwrap(); 32];
    Request::Once(Box::new(Once { name, fingerprint, request, tell }))
}
