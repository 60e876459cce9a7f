//! A whole engine on the memory backend and a manual clock, driven by lines of text.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod modes;
pub mod twin;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dwell::engine::*;
use dwell::model::*;
use dwell::store::memory::Fault as DiskFault;
use dwell::store::{Backend, Durable, Memory};

pub const T0: u64 = 1_700_000_000_000;

type Answers = Arc<Mutex<Vec<Result<Answer, Rejected>>>>;

/// An engine, its disk, its clock, and the names a script gave.
pub struct World {
    pub disk: Memory,
    /// Where it is as well.
    place: Option<twin::Place>,
    pub engine: Option<Engine>,
    pub now: Time,
    pub settings: Settings,
    names: BTreeMap<String, RecordId>,
    /// How many paced redrives were asked for.
    paced: u128,
    triggers: BTreeMap<String, TriggerId>,
    /// What flows need and is not there, by `lacks`.
    missing: Vec<Missing>,
    pub effects: Vec<Effect>,
    /// Those who listen to a claim, by worker, and what they were told.
    listeners: BTreeMap<String, Arc<()>>,
    told: Told,
    /// Every attempt that a worker was ever told to carry out.
    pub claimed: Vec<(RecordId, u32)>,
}

type Told = Arc<Mutex<Vec<(String, Result<Answer, Rejected>)>>>;

impl World {
    /// Runtimes: claude (2 at once), shell (8).
    pub fn new() -> World {
        let mut settings = Settings::default();
        settings.policy.retry.curve.jitter_percent = 0;
        settings.runtimes = BTreeMap::from([("claude".into(), 2), ("shell".into(), 8)]);
        World::with(settings)
    }

    pub fn with(settings: Settings) -> World {
        let now = Time::from_millis(T0);
        let mut world = World {
            disk: Memory::new(),
            place: twin::Place::next(),
            engine: None,
            now,
            settings,
            names: BTreeMap::new(),
            triggers: BTreeMap::new(),
            missing: Vec::new(),
            paced: 0,
            effects: Vec::new(),
            listeners: BTreeMap::new(),
            told: Told::default(),
            claimed: Vec::new(),
        };
        world.open();
        world
    }

    /// Opens the engine on what the disk holds; answers what an earlier one left outstanding.
    pub fn open(&mut self) -> Vec<Survivor> {
        let disk: Box<dyn Backend> = match &self.place {
            None => Box::new(self.disk.clone()),
            Some(place) => {
                // It gives its shard back.
                self.engine = None;
                Box::new(place.open(self.disk.clone()))
            }
        };
        let (opening, survivors) = Engine::open(disk, self.settings.clone(), self.now).unwrap();
        self.engine = Some(opening.survivors_stopped());
        survivors.into_inner()
    }

    pub fn id(&mut self, name: &str) -> RecordId {
        let next = self.names.len() as u128 + 1;
        *self.names.entry(name.to_owned()).or_insert(RecordId::session((u128::from(T0) << 80) | next))
    }

    fn name(&self, id: RecordId) -> String {
        self.names.iter().find(|(_, known)| **known == id).map_or(id.to_string(), |(name, _)| name.clone())
    }

    /// One tick with these requests; the answers, and in words the steps and effects it released. `Err`: the commit
    /// failed and the engine is gone.
    pub fn tick(
        &mut self,
        requests: Vec<Request>,
    ) -> Result<(Vec<Result<Answer, Rejected>>, String), String> {
        let answers: Answers = Answers::default();
        let arrivals = requests.into_iter().map(|request| {
            let (answers, told) = (answers.clone(), self.told.clone());
            let worker = if let Request::Claim(claim) = &request { Some(claim.worker.clone()) } else { None };
            let reply: Reply = Box::new(move |answer: Durable<_>| match worker {
                Some(worker) => told.lock().unwrap().push((worker, answer.into_inner())),
                None => answers.lock().unwrap().push(answer.into_inner()),
            });
            Arrival { request, reply }
        });
        let engine = self.engine.take().expect("the engine is open");
        let (engine, released) =
            engine.tick(self.now, arrivals.collect()).map_err(|error| error.to_string())?;
        self.engine = Some(engine);
        let mut words = Vec::new();
        for step in released.transitions.into_inner() {
            let attempt =
                if step.to == StateName::Active { format!("/{}", step.attempt) } else { String::new() };
            let waits = [StateName::RateLimited, StateName::Backoff, StateName::Draining].contains(&step.to);
            let until = step.deadline.filter(|_| waits).map(|at| self.span(at)).unwrap_or_default();
            if step.event.starts_with("budget_") {
                let detail = step.detail.unwrap_or_default();
                words.push(format!("{} {} {detail}", self.name(step.id), step.event));
                continue;
            }
            words.push(format!("{} {}{attempt}{until}", self.name(step.id), step.to));
        }
        for effect in released.effects.into_inner() {
            words.push(match &effect {
                Effect::Start(start) => {
                    format!("start {}/{} {:?}", self.name(start.id), start.attempt, start.prompt)
                }
                Effect::Release { id, attempt } => format!("release {}/{attempt}", self.name(*id)),
                Effect::Stop { id, attempt, .. } => format!("stop {}/{attempt}", self.name(*id)),
                Effect::Forget { id } => format!("forget {}", self.name(*id)),
            });
            self.effects.push(effect);
        }
        for pair in released.replies.each() {
            let (reply, answer) = pair.split();
            reply.into_inner()(answer);
        }
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        for (worker, answer) in told {
            if let Ok(Answer::Claimed(claimed)) = &answer {
                self.claimed.extend(claimed.iter().map(|claimed| (claimed.start.id, claimed.start.attempt)));
            }
            words.push(self.told(&worker, answer));
        }
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        Ok((answers, words.join(", ")))
    }

    fn told(&self, worker: &str, answer: Result<Answer, Rejected>) -> String {
        match answer {
            Ok(Answer::Claimed(claimed)) if claimed.is_empty() => format!("{worker} has nothing"),
            Ok(Answer::Claimed(claimed)) => {
                let of = |Claimed { start, lease_until }: &Claimed| {
                    let resume = start.session.as_ref().map(|_| format!(" {:?}", start.prompt));
                    let (name, lease) = (self.name(start.id), self.span(*lease_until));
                    format!("{name}/{}{lease}{}", start.attempt, resume.unwrap_or_default())
                };
                format!("{worker} has {}", claimed.iter().map(of).collect::<Vec<_>>().join(" and "))
            }
            Ok(other) => panic!("{other:?}"),
            Err(rejected) => format!("{worker} is rejected {}", rejected.code()),
        }
    }

    /// `claim me q [max=1] [wait=20s] [lease=1m]`; whoever claims anew listens to the answer before no more.
    pub fn claim(&mut self, worker: &str, queue: &str, options: &[&str]) -> Request {
        let options: BTreeMap<&str, &str> =
            options.iter().map(|option| option.split_once('=').unwrap()).collect();
        let span = |key: &str, default: &str| duration(options.get(key).copied().unwrap_or(default));
        let listener = Arc::new(());
        let claim = Claim {
            worker: worker.to_owned(),
            queue: queue.into(),
            max: options.get("max").map_or(1, |max| max.parse().unwrap()),
            wait: span("wait", "0s"),
            lease: span("lease", "1m"),
            listener: Arc::downgrade(&listener),
        };
        self.listeners.insert(worker.to_owned(), listener);
        Request::Claim(Box::new(claim))
    }

    fn span(&self, at: Time) -> String {
        format!(" +{}", humantime::format_duration(self.now.until(at)))
    }
}

/// Runs a script: each line is `what -> words`, and the words are what the answer, the steps and the effects say.
///
/// `submit a [runtime=claude] [org=o] [env=e] [key=k] [budget=20] [wall=2h] [soft.cost_usd=0.8] [ask=yes] [silence=10m] [expires=1h] [flow=f] [model=m]
/// [group=g [max=1] [queue=1] [newest]]`,
/// `a/1 <report> [+time]`,
/// `a/1 charge 3`, `a/1 usage 0.4 5t [end]`, `top_up a +1 cost_usd`, `cancel a`, `resume a`, `redrive a`, `rerun a b`, `pause claude +1h`, `pause claude/m +1h`, `open claude`, `drain +30s` (a stop), `drain org:o [+30s]`,
/// `undrain org:o`, `drains`, `held` (pauses and limits), `a/1 rate_limited +1h overage=+2h` (rejected), `.. credits=+2h` (not), `+90m` (time
/// passes, one tick), `+90m step` (from deadline to deadline), `crash` (open anew, survivors stopped), `lose`, `land`
/// (what the next commit does), `show a`, `pace 10/s [cause=lost] [org=o]` (redrive dead letters so fast), `redrives`,
/// `stop 1` (the first of them), `groups`; triggers and modes as in `modes`;
/// `claim me q [max=1] [wait=20s] [lease=1m]` (a worker; `submit a worker=q`), `gone me` (it hangs up);
/// `once KEY <request>` (under that idempotency key; the request's words are its fingerprint).
pub fn check(script: &str) {
    check_in(&mut World::new(), script);
}

pub fn check_in(world: &mut World, script: &str) {
    let mut seen = String::new();
    let mut wanted = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (what, words) = line.split_once("->").expect(line);
        let said = world.line(what.trim());
        seen.push_str(&format!("{} -> {said}\n", what.trim()));
        wanted.push_str(&format!("{} -> {}\n", what.trim(), words.trim()));
    }
    assert!(seen == wanted, "the script says\n{wanted}\nand this happened\n{seen}");
}

impl World {
    /// One line of a script.
    pub fn does(&mut self, what: &str) -> String {
        self.line(what)
    }

    fn line(&mut self, what: &str) -> String {
        let once = what.strip_prefix("once ").and_then(|rest| rest.split_once(' '));
        let what = once.map_or(what, |(_, request)| request);
        let words: Vec<&str> = what.split_whitespace().collect();
        let request = match words.as_slice() {
            [by] if by.starts_with('+') => {
                self.now = self.now.after(duration(by));
                return self.said(Vec::new());
            }
            [by, "step"] => return self.steps(duration(by)),
            ["crash"] => {
                self.engine = None;
                let survivors = self.open();
                let stopped: Vec<String> = survivors
                    .iter()
                    .map(|left| format!("{}/{} was outstanding", self.name(left.id), left.attempt))
                    .collect();
                let said = self.said(Vec::new());
                return [stopped.join(", "), said]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(", ");
            }
            ["lose"] => return self.fault(DiskFault::Lose),
            ["land"] => return self.fault(DiskFault::LandUnanswered),
            ["show", name] => return self.show(name),
            ["submit", name, options @ ..] => Request::Submit(Box::new(self.submission(name, options))),
            ["cancel", name] => self.command(name, Command::Cancel),
            ["resume", name] => self.command(name, Command::ResumeNow),
            ["rerun", name, fresh] => Request::Rerun { id: self.id(name), fresh: self.id(fresh) },
            ["redrive", name] => self.command(name, Command::Redrive),
            ["pause", row, by] => {
                let (name, model) = row_of(row);
                Request::PauseRuntime { name, model, until: self.now.after(duration(by)) }
            }
            ["open", row] => {
                let (name, model) = row_of(row);
                Request::ResumeRuntime { name, model }
            }
            ["drain", by] if by.starts_with('+') => Request::Drain { until: self.now.after(duration(by)) },
            ["drain", scope, by @ ..] => Request::DrainScope {
                scope: scope.parse().unwrap(),
                timeout: by.first().map(|by| duration(by)),
            },
            ["undrain", scope] => Request::UndrainScope { scope: scope.parse().unwrap() },
            ["drains"] => Request::Drains,
            ["held"] => Request::Runtimes,
            ["pace", rate, options @ ..] => self.pace(rate, options),
            ["redrives"] => Request::Redrives,
            ["stop", number] => Request::StopRedrive { id: RedriveId(number.parse().unwrap()) },
            ["groups"] => Request::Groups { limit: 10 },
            ["trigger" | "mode" | "modes" | "lacks" | "has", ..] => match self.about_modes(&words) {
                Some(request) => request,
                None => return String::new(),
            },
            ["claim", worker, queue, options @ ..] => self.claim(worker, queue, options),
            ["gone", worker] => {
                self.listeners.remove(*worker);
                return String::new();
            }
            ["top_up", name, amount, measure] => {
                let measure = measure.parse().unwrap();
                Request::TopUp { id: self.id(name), measure, amount: units(measure, amount) }
            }
            [attempt, "charge", calls] => {
                let (id, attempt) = self.attempt(attempt);
                Request::Charge { id, attempt, calls: calls.parse().unwrap() }
            }
            [attempt, report, rest @ ..] => {
                let (id, attempt) = self.attempt(attempt);
                Request::Report { id, attempt, report: self.report(report, rest) }
            }
            _ => panic!("what is {what:?}?"),
        };
        self.said(vec![match once {
            Some((key, _)) => under(key, what, request),
            None => request,
        }])
    }

    fn said(&mut self, requests: Vec<Request>) -> String {
        let (answers, words) = match self.tick(requests) {
            Ok(said) => said,
            Err(error) => return error,
        };
        let mut parts = Vec::new();
        for answer in answers {
            match answer {
                Err(rejected) => parts.push(format!("rejected {}", rejected.code())),
                Ok(Answer::Charged(Some(Meter { used, limit: Some(limit), .. }))) => {
                    parts.push(format!("used {used} of {limit}"));
                }
                Ok(Answer::Admitted { detail, duplicate: true }) => {
                    parts.push(format!("duplicate of {}", self.name(detail.record.id)));
                }
                Ok(Answer::Drains(drains)) => parts.extend(drains.iter().map(|view| {
                    format!(
                        "{} until{}, {} outstanding",
                        view.drain.scope,
                        self.span(view.drain.until),
                        view.outstanding
                    )
                })),
                Ok(Answer::Paced(paced)) => parts.push(match paced.redrive {
                    Some(id) => format!("redrive {} of {}", id.0, paced.matched),
                    None => format!("no redrive of {}", paced.matched),
                }),
                Ok(Answer::Redrives(rows)) => parts.extend(rows.iter().map(|row| {
                    format!(
                        "{} has {} of {} by{}",
                        row.id.0,
                        row.redriven,
                        row.matched,
                        self.span(row.next_at())
                    )
                })),
                Ok(Answer::Groups(groups)) => parts.extend(groups.iter().map(|group| {
                    let since = |at: Time| humantime::format_duration(at.until(self.now)).to_string();
                    let (oldest, newest) = (since(group.oldest), since(group.newest));
                    let example = self.name(group.example);
                    format!(
                        "{} {} {:?} {oldest} to {newest} like {example}",
                        group.count, group.cause, group.sample
                    )
                })),
                Ok(Answer::Told(told)) => {
                    let again = if told.again { "again " } else { "" };
                    parts.push(format!("{again}{}", String::from_utf8(told.body).unwrap()));
                }
                Ok(Answer::Runtimes(views)) => parts.extend(self.held(&views)),
                Ok(answer) => parts.extend(self.told_of_modes(&answer)),
            }
        }
        if !words.is_empty() {
            parts.push(words);
        }
        parts.join(", ")
    }

    /// The rows that hold something now: `claude/m told +1h by a`, `shell paused +1h`.
    fn held(&self, views: &[RuntimeView]) -> Vec<String> {
        let rows = views.iter().flat_map(|view| std::iter::once(&view.runtime).chain(&view.models));
        let mut held = Vec::new();
        for row in rows {
            if let Some(pause) = row.limited.filter(|pause| pause.limit.until > self.now) {
                let (by, until) = (self.name(pause.by.unwrap()), self.span(pause.limit.until));
                held.push(format!("{} {}{until} by {by}", row.name, pause.limit.source));
            }
            if let Some(until) = row.paused_until.filter(|until| *until > self.now) {
                held.push(format!("{} paused{}", row.name, self.span(until)));
            }
        }
        held
    }

    fn pace(&mut self, rate: &str, options: &[&str]) -> Request {
        let mut asked = Redrives::default();
        for option in options {
            match option.split_once('=').unwrap_or((option, "")) {
                ("cause", cause) => asked.filter.cause = Some(cause.parse().unwrap()),
                ("org", org) => asked.filter.org = Some(org.to_owned()),
                ("fingerprint", text) => asked.filter.fingerprint = Some(text.parse().unwrap()),
                ("older", by) => {
                    asked.dead_by = Some(Time::from_millis(
                        self.now.millis() - u64::try_from(duration(by).as_millis()).unwrap(),
                    ));
                }
                ("dry", _) => asked.dry_run = true,
                (name, _) => panic!("what is {name:?}?"),
            }
        }
        self.paced += 1;
        Request::Pace { id: RedriveId(self.paced), asked: Box::new(asked), pace: rate.parse().unwrap() }
    }

    /// Time passes as it does: a tick at each deadline on the way.
    fn steps(&mut self, by: Duration) -> String {
        let target = self.now.after(by);
        let mut said = Vec::new();
        while let Some(next) = self.engine.as_ref().unwrap().next_wake().filter(|next| *next <= target) {
            self.now = self.now.max(next);
            said.push(self.said(Vec::new()));
        }
        self.now = target;
        said.push(self.said(Vec::new()));
        said.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ")
    }

    fn fault(&mut self, fault: DiskFault) -> String {
        self.disk.fail_next(fault);
        String::new()
    }

    fn show(&mut self, name: &str) -> String {
        let id = self.id(name);
        let (answers, _) = self.tick(vec![Request::Get { id }]).unwrap();
        match answers.into_iter().next().unwrap() {
            Err(rejected) => format!("rejected {}", rejected.code()),
            Ok(Answer::Detail(detail)) => {
                let record = detail.record;
                let cause = if let State::DeadLettered { cause, .. } = record.state {
                    format!(" {cause}")
                } else {
                    String::new()
                };
                let counts: u32 = record.streaks.counts().iter().sum();
                let budget: String = (record.budget.meters())
                    .map(|(measure, meter)| match (measure, meter.limit) {
                        (Measure::Calls, Some(limit)) => format!(", used {} of {limit}", meter.used),
                        _ => format!(", {}", dwell::machine::written(measure, meter)),
                    })
                    .collect();
                format!("{}{cause}/{}, {counts} in a row{budget}", record.state.name(), record.attempt)
            }
            Ok(other) => panic!("{other:?}"),
        }
    }

    fn command(&mut self, name: &str, command: Command) -> Request {
        Request::Command { id: self.id(name), command }
    }

    fn attempt(&mut self, text: &str) -> (RecordId, u32) {
        let (name, attempt) = text.split_once('/').expect(text);
        (self.id(name), attempt.parse().unwrap())
    }

    pub fn submission(&mut self, name: &str, options: &[&str]) -> Submission {
        let options: BTreeMap<&str, &str> =
            options.iter().map(|option| option.split_once('=').unwrap_or((option, ""))).collect();
        let text = |key: &str, default: &str| options.get(key).copied().unwrap_or(default).to_owned();
        let silence = options.get("silence").map(|by| duration(by));
        Submission {
            org: text("org", "default").as_str().into(),
            env: text("env", "default").as_str().into(),
            key: options.get("key").map(|key| (*key).to_owned()),
            flow: options.get("flow").map(|flow| (*flow).into()),
            group: options.get("group").map(|group| dwell::model::Group {
                name: (*group).into(),
                max: text("max", "1").parse().unwrap(),
                cancel_in_progress: options.contains_key("newest"),
                queued_max: options.get("queue").map(|max| max.parse().unwrap()),
            }),
            budget: budget(&options),
            timeouts: Some(Timeouts { attempt: Duration::from_secs(7200), silence }),
            expires: options.get("expires").map(|by| duration(by)),
            model: options.get("model").map(|model| (*model).into()),
            ..Submission::of(
                self.id(name),
                text("runtime", "claude").as_str().into(),
                Work::of(match options.get("worker") {
                    Some(queue) => Action::Worker { queue: (*queue).into() },
                    None => Action::Agent { prompt: "do it".into(), cwd: None },
                }),
            )
        }
    }

    fn report(&self, name: &str, rest: &[&str]) -> Report {
        let fault = Fault::new(
            if name == "failed" || name == "throttled" { rest.first().unwrap_or(&name) } else { name },
            "words",
        );
        let reset = match rest.first() {
            Some(&"soon") => Reset::Unusable("soon".into()),
            Some(by) if by.starts_with('-') => Reset::At(Time::from_millis(self.now.millis() - 60_000)),
            Some(by) if by.starts_with('+') => Reset::At(self.now.after(duration(by))),
            Some(_) | None => Reset::Absent,
        };
        let overage = rest.iter().find_map(|word| {
            let (by, rejected) = match word.split_once('=')? {
                ("overage", by) => (by, true),
                ("credits", by) => (by, false),
                (name, _) => panic!("what is {name:?}?"),
            };
            Some(Overage { rejected, reset: Reset::At(self.now.after(duration(by))) })
        });
        let limit = LimitReport { reset, overage, ..LimitReport::default() };
        match name {
            "spawned" => Report::Spawned {
                child: Child { pid: 4711, started: 1, boot: 1 },
                session: rest.first().map(|id| (*id).to_owned()),
            },
            "heartbeat" => Report::Heartbeat,
            "session" => Report::Session { id: rest[0].to_owned() },
            "usage" => Report::Usage(usage(rest)),
            "succeeded" => Report::Succeeded { result: None },
            "failed" => Report::Failed(fault),
            "timed_out" => Report::TimedOut(fault),
            "throttled" => Report::Throttled(fault),
            "unavailable" => Report::Unavailable(fault),
            "rate_limited" => Report::RateLimited(limit, Fault::new(code::RATE_LIMITED, "window used up")),
            "limit_warning" => Report::LimitWarning(limit),
            "limit_cleared" => Report::LimitCleared,
            "invalid" => Report::Invalid(fault),
            "ingestion_failed" => Report::IngestionFailed(fault),
            "needs_operator" => Report::NeedsOperator(fault),
            "not_resumable" => Report::NotResumable(fault),
            "unheard" => Report::named(name, Particulars::default(), "raw words"),
            _ => panic!("what is report {name:?}?"),
        }
    }
}

/// `budget=20`, the other measures by their names, `soft.cost_usd=0.8`, `ask=yes`.
fn budget(options: &BTreeMap<&str, &str>) -> Budget {
    let mut budget = Budget::default();
    for measure in Measure::ALL {
        let name = if *measure == Measure::Calls { "budget" } else { measure.as_str() };
        let amount = |name: &str| options.get(name).map(|amount| units(*measure, amount));
        let (limit, soft) = (amount(name), amount(&format!("soft.{name}")));
        if limit.is_some() || soft.is_some() {
            budget = budget.with(*measure, Meter { used: 0, limit, soft });
        }
    }
    budget.ask = options.contains_key("ask");
    budget
}

/// `0.4` dollars, `5t` tokens, and `end` if the attempt's end follows.
fn usage(words: &[&str]) -> Usage {
    let mut usage = Usage::default();
    for word in words {
        match word.strip_suffix('t') {
            Some(tokens) => usage.tokens = tokens.parse().unwrap(),
            None if *word == "end" => usage.of_end = true,
            None => usage.cost = units(Measure::Cost, word),
        }
    }
    usage
}

fn units(measure: Measure, amount: &str) -> u64 {
    let number = amount.trim_start_matches('+');
    match measure {
        Measure::Calls | Measure::Attempts | Measure::Tokens => number.parse().unwrap(),
        Measure::Wall => u64::try_from(duration(amount).as_millis()).unwrap(),
        Measure::Cost => micros(number.parse().unwrap()).unwrap(),
    }
}

/// `claude` or `claude/opus`.
fn row_of(row: &str) -> (Name, Option<Name>) {
    Runtime::model_of(row).map_or((row.into(), None), |(name, model)| (name.into(), Some(model.into())))
}

/// A request under an idempotency key; its answer is told in a few words.
pub fn under(key: &str, words: &str, request: Request) -> Request {
    let digest = |text: &str| {
        let mut digest = [0; 32];
        text.bytes().zip(&mut digest).for_each(|(byte, slot)| *slot = byte);
        digest
    };
    let tell: Tell = Box::new(|answer| {
        let words = if let Answer::Charged(Some(Meter { used, limit: Some(limit), .. })) = answer {
            format!("used {used} of {limit}")
        } else if let Answer::Record(record) = answer {
            record.state.name().to_string()
        } else {
            assert!(matches!(answer, Answer::Admitted { .. }), "{answer:?}");
            "admitted".to_owned()
        };
        (200, words.into_bytes())
    });
    Request::Once(Box::new(Once { name: digest(key), fingerprint: digest(words), request, tell }))
}

/// An event of source `s` for the default tenant, without a delivery id.
pub fn trigger(number: u128, at: Time) -> Trigger {
    Trigger {
        id: TriggerId((u128::from(T0) << 80) | number),
        at,
        source: "s".into(),
        kind: "s".into(),
        event: "e".into(),
        action: None,
        dedup: None,
        org: "default".into(),
        env: "default".into(),
        payload: b"{}".to_vec(),
        replay_of: None,
        runs: Vec::new(),
    }
}

/// `SplitMix64`: small, seedable, and the same on every machine.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % sides
    }

    pub fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.roll(words.len() as u64)).unwrap()]
    }
}

pub fn duration(text: &str) -> Duration {
    let text = text.trim_start_matches('+');
    // `89m59s` as well as humantime's own forms.
    humantime::parse_duration(text).expect(text)
}
