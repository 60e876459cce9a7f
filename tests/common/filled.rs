//! A store with something under every kind of key, a record in every state and every value at its newest version; and
//! what this build says of it. Half of it is in the table, half in the journal only.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dwell::engine::{
    Answer, Claim, EnvFilter, Flip, Flow, Notify, Once, Org, Pacing, Rate, Redrives, Request, Settings,
    Target, Timetable,
};
use dwell::model::*;
use dwell::shell::view::{self, Document, Object};
use dwell::store::local::Options;
use dwell::store::{Backend as _, Local, Stored as _};
use serde_json::{Value, json};

use super::at::{ALL, At};

/// 2026-11-21T02:00:00Z.
pub const START: Time = Time::from_millis(1_795_226_400_000);
const HOUR: Duration = Duration::from_hours(1);

/// At the full hour, in the name of flow `nightly`.
#[derive(Debug)]
struct Hourly;

impl Timetable for Hourly {
    fn expression(&self) -> String {
        "0 * * * *".to_owned()
    }

    fn next(&self, after: Time) -> Option<Time> {
        Some(Time::from_millis((after.millis() / 3_600_000 + 1) * 3_600_000))
    }

    fn fire(&self, due: Time, now: Time) -> (Trigger, Vec<Submission>) {
        let id = TriggerId(u128::from(due.millis()) << 80);
        (Trigger { at: now, ..trigger(id, None) }, Vec::new())
    }
}

/// What the store was written with, and is opened with.
pub fn settings() -> Settings {
    let mut settings = Settings { retention: Duration::from_hours(100 * 24), ..Settings::default() };
    settings.policy.retry.curve.jitter_percent = 0;
    settings.runtimes = [("claude", 3), ("shell", 2), ("held", 1), ("notify", 1)]
        .map(|(name, places)| (name.into(), places))
        .into();
    settings.pacing.insert("claude".into(), Pacing { by_model: true, ..Pacing::default() });
    settings.flows = [("review", Mode::Live), ("dry", Mode::Shadow), ("nightly", Mode::Live)]
        .map(|(name, mode)| (name.into(), Flow { mode: Some(mode) }))
        .into();
    settings.orgs.insert("acme".into(), Org { burst: true, ..Org::default() });
    settings.burst.rate = Rate { threshold: 1, ..Rate::default() };
    settings.burst.drain_concurrency = 1;
    settings.schedules.insert("nightly".into(), Arc::new(Hourly));
    let to = HttpRequest { url: "http://ops/".into(), method: "POST".into(), headers: BTreeMap::new() };
    let events = NoticeEvent::ALL.iter().copied().collect();
    let ops = Notify { to, events, flows: [].into(), orgs: [].into(), every: HOUR };
    settings.notify.insert("ops".into(), ops);
    settings
}

fn trigger(id: TriggerId, dedup: Option<&str>) -> Trigger {
    Trigger {
        id,
        at: START,
        source: "hub".into(),
        kind: "github".into(),
        event: "push".to_owned(),
        action: Some("opened".to_owned()),
        dedup: dedup.map(str::to_owned),
        org: "acme".into(),
        env: "prod".into(),
        payload: br#"{"n":17}"#.to_vec(),
        replay_of: Some(TriggerId(7)),
        runs: Vec::new(),
    }
}

struct Filling {
    at: At,
    now: Time,
    numbers: u128,
}

/// Fills the store that is made in `dir`.
pub fn fill(dir: &Path) -> Value {
    let options = Options { segment_bytes: 64 << 10, checkpoint_bytes: 2_000, ..Options::default() };
    let at = At::open(Local::open(dir, options).unwrap(), settings(), START);
    let mut filling = Filling { at, now: START, numbers: 0 };
    filling.waits();
    filling.ends();
    drop(filling.at);
    // What is written now stays in the journal.
    let store = Local::open(dir, Options { segment_bytes: 64 << 10, ..Options::default() }).unwrap();
    let history = store.history();
    filling.at = At::open(store, settings(), START);
    filling.runs();
    filling.outstanding();
    let said = said(&mut filling.at, filling.now);
    let steps = history.read(0, 10 * ALL).unwrap().into_iter();
    let steps = steps
        .map(|(sequence, event)| view::transition(sequence, &Transition::decode(&event).unwrap()).json());
    let mut all = said;
    all["history"] = steps.collect();
    all
}

/// What an engine on such a store says of it.
pub fn said(at: &mut At, now: Time) -> Value {
    let mut ask = |request| at.ask(now, request).unwrap();
    let mut said = json!({ "now": dwell::shell::time::format(now) });
    for (what, request) in [
        ("status", Request::Status),
        ("runtimes", Request::Runtimes),
        ("envs", Request::Envs(EnvFilter { limit: ALL, ..EnvFilter::default() })),
        ("triggers", Request::Triggers { before: None, limit: ALL }),
        ("drains", Request::Drains),
        ("redrives", Request::Redrives),
        ("upcoming", Request::Upcoming { limit: ALL }),
        ("groups", Request::Groups { limit: ALL }),
    ] {
        let answer = ask(request);
        said[what] = shown(&answer, now);
    }
    let ids: Vec<RecordId> = at.records(now).into_keys().collect();
    let details = ids.into_iter().map(|id| at.ask(now, Request::Get { id }).unwrap());
    said["records"] = details.map(|answer| shown(&answer, now)).collect();
    said
}

fn shown(answer: &Answer, now: Time) -> Value {
    fn all<T>(rows: &[T], show: impl Fn(&T) -> Document) -> Value {
        rows.iter().map(|row| show(row).json()).collect()
    }
    if let Answer::Status(status) = answer {
        view::status(status, &Object::default()).json()
    } else if let Answer::Runtimes(rows) = answer {
        all(rows, |row| view::runtime(row, now))
    } else if let Answer::Envs(page) = answer {
        all(&page.envs, view::env)
    } else if let Answer::Triggers(rows) = answer {
        all(rows, view::trigger_with_payload)
    } else if let Answer::Drains(rows) = answer {
        all(rows, view::drain)
    } else if let Answer::Redrives(rows) = answer {
        all(rows, view::redrive)
    } else if let Answer::Upcoming(rows) = answer {
        all(rows, view::upcoming)
    } else if let Answer::Groups(rows) = answer {
        all(rows, view::group)
    } else if let Answer::Detail(detail) = answer {
        view::detail(detail).json()
    } else {
        panic!("{answer:?} is not shown")
    }
}

/// A call under an idempotency key, whose answer is kept.
pub fn once() -> Request {
    let request = Request::PauseRuntime { name: "held".into(), model: None, until: Time::MAX };
    let tell = Box::new(|_| (200, b"paused".to_vec()));
    Request::Once(Box::new(Once { name: [7; 32], fingerprint: [8; 32], request, tell }))
}

impl Filling {
    fn ulid(&mut self) -> u128 {
        self.numbers += 1;
        (u128::from(self.now.millis()) << 80) | self.numbers
    }

    fn ask(&mut self, request: Request) -> Answer {
        let answer = self.at.ask(self.now, request).unwrap();
        // What a tick left is done in the next.
        self.at.records(self.now);
        answer
    }

    fn submit(&mut self, runtime: &str, change: impl FnOnce(Submission) -> Submission) -> RecordId {
        let id = RecordId::session(self.ulid());
        let action = Action::Command { argv: vec!["gh".into(), "pr".into()], cwd: Some("/srv".into()) };
        let submission = Submission::of(id, runtime.into(), Work::of(action));
        self.ask(Request::Submit(Box::new(change(submission))));
        id
    }

    fn report(&mut self, id: RecordId, report: Report) {
        self.ask(Request::Report { id, attempt: 1, report });
    }

    /// On a paused runtime: a record with every field in use, and a cancelled one.
    fn waits(&mut self) {
        self.ask(once());
        self.ask(Request::Flip(Box::new(Flip {
            target: Target::Global(Mode::Live),
            force: true,
            missing: Vec::new(),
        })));
        self.submit("held", |plain| {
            let headers = [("Authorization".to_owned(), "Bearer x".to_owned())].into();
            let request = HttpRequest { url: "https://example.org/".into(), method: "PUT".into(), headers };
            let work = Work {
                payload: br#"{"t":"\u00fcber"}"#.to_vec(),
                task: Some("look".into()),
                labels: [("team".to_owned(), "core".to_owned())].into(),
                on_dead_letter: Some(request.clone()),
                ..Work::of(Action::Http(request))
            };
            let mut budget = Budget::calls(20);
            for measure in [Measure::Attempts, Measure::Wall, Measure::Tokens, Measure::Cost] {
                budget = budget.with(measure, Meter { used: 0, limit: Some(300_000), soft: Some(70) });
            }
            budget.ask = true;
            Submission {
                org: "acme".into(),
                env: "prod".into(),
                key: Some("pr-17".into()),
                model: Some("large".into()),
                group: Some(Group {
                    name: "g".into(),
                    max: 1,
                    cancel_in_progress: false,
                    queued_max: Some(5),
                }),
                timeouts: Some(Timeouts { attempt: HOUR, silence: Some(HOUR / 6) }),
                expires: Some(HOUR * 24),
                budget,
                work,
                ..plain
            }
        });
        let id = self.submit("held", |plain| plain);
        self.ask(Request::Command { id, command: Command::Cancel });
    }

    /// Every end of an attempt, and what comes of it.
    fn ends(&mut self) {
        let fault = |code| Fault::new(code, "no such host: \u{fc}ber");
        let limit = |span| LimitReport { reset: Reset::At(START.after(span)), ..LimitReport::default() };
        let done = self.submit("shell", |plain| Submission { key: Some("done".into()), ..plain });
        self.report(done, Report::Session { id: "0b4c".into() });
        let usage = Usage { tokens: 300, cost: 70_000, of_end: false, session_cost: Some(1_250_000) };
        self.report(done, Report::Usage(usage));
        self.report(done, Report::Succeeded { result: Some(r#"{"answer":42}"#.into()) });
        for _ in 0..2 {
            let dead = self.submit("shell", |plain| plain);
            self.report(dead, Report::Invalid(fault("invalid")));
        }
        let failed = self.submit("shell", |plain| plain);
        self.report(failed, Report::Failed(fault("exit_1")));
        let agent = |plain| Submission {
            work: Work::of(Action::Agent { prompt: "look at it".into(), cwd: None }),
            model: Some("large".into()),
            ..plain
        };
        let limited = self.submit("claude", agent);
        self.report(limited, Report::RateLimited(limit(HOUR * 5), fault(code::RATE_LIMITED)));
        let fresh = RecordId::session(self.ulid());
        self.ask(Request::Rerun { id: done, fresh });
        self.ask(Request::Report { id: fresh, attempt: 1, report: Report::Throttled(fault("throttled")) });
        let asked = Redrives::default();
        let id = RedriveId(self.ulid());
        self.ask(Request::Pace { id, asked: Box::new(asked), pace: "1/h".parse().unwrap() });
    }

    /// Triggers: runs in both lanes, one in shadow, one that waits for the end of its triggers, one delivered before.
    fn runs(&mut self) {
        for number in 0..4 {
            let id = TriggerId(self.ulid());
            let run = |nth: u32, flow: &str| {
                let work = Work::of(Action::Worker { queue: "reviews".into() });
                let run = Submission::of(RecordId::run_of(id, nth), "held".into(), work);
                let (org, env) = ("acme".into(), "prod".into());
                Submission { org, env, flow: Some(flow.into()), trigger: Some(id), ..run }
            };
            let debounce = Debounce { key: "main".into(), quiet: HOUR * 2, max: HOUR * 9 };
            let runs = vec![
                run(0, "review"),
                run(1, "dry"),
                Submission { debounce: Some(debounce), ..run(2, "nightly") },
            ];
            let trigger = trigger(id, (number == 0).then_some("72d3162e"));
            self.ask(Request::Trigger { trigger: Box::new(trigger), runs, spool: true });
        }
    }

    /// One with a child, one that a worker holds, one that drains.
    fn outstanding(&mut self) {
        self.now = self.now.after(Duration::from_millis(1_500));
        let drains = self.submit("shell", |plain| Submission { org: "beta".into(), ..plain });
        let child = Child { pid: 4711, started: 123_456, boot: 0xfeed_beef };
        self.report(drains, Report::Spawned { child, session: None });
        let scope = Scope::Org("beta".into());
        self.ask(Request::DrainScope { scope, timeout: Some(HOUR / 2) });
        let active = self.submit("claude", |plain| plain);
        self.report(active, Report::Spawned { child, session: Some("5eed".into()) });
        let queue = Name::from("builds");
        let work = Work::of(Action::Worker { queue: queue.clone() });
        self.submit("claude", |plain| Submission { work, ..plain });
        let listener = Arc::new(());
        let claim = Claim {
            worker: "me".into(),
            queue,
            max: 1,
            wait: Duration::ZERO,
            lease: HOUR,
            listener: Arc::downgrade(&listener),
        };
        self.ask(Request::Claim(Box::new(claim)));
    }
}
