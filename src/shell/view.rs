//! How the nouns look in JSON. Model types do not derive `Serialize`: what is stored and what is shown change apart.

mod claims;
mod document;
mod why;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::time;
use crate::engine::{
    BurstStatus, Detail, DrainView, Group, Hold, Paced, Page, Reason, Redriven, RuntimeView, Status,
    Triggered, Upcoming,
};
use crate::model::{
    Action, Budget, Cause, Fault, HttpRequest, Lane, Measure, Meter, Missing, Name, Record, Redrive, Runtime,
    Source, Space, State, StateName, Streak, Time, Transition, Trigger,
};

pub use claims::{claimed, queue};
pub use document::{Document, Object, Plain};
pub use why::{env, why};

fn moment(at: Time) -> Plain<impl fmt::Display> {
    Plain(time::shown(at))
}

/// A record, without what was asked for.
pub fn record(record: &Record) -> Document {
    about(record).done()
}

/// A record with what was asked for.
pub fn detail(detail: &Detail) -> Document {
    whole(detail).done()
}

fn whole(Detail { record, work }: &Detail) -> Object {
    let labels = (!work.labels.is_empty()).then(|| labels(&work.labels));
    about(record)
        .maybe("task", work.task.as_deref())
        .with("action", action(&work.action))
        .maybe("payload", (!work.payload.is_empty()).then(|| raw(&work.payload)))
        .maybe("labels", labels)
        .maybe("on_dead_letter", work.on_dead_letter.as_ref().map(request))
}

/// A record that was admitted, now or before.
pub fn admitted(of: &Detail, duplicate: bool) -> Document {
    whole(of).maybe("duplicate", duplicate.then_some(true)).done()
}

fn labels(labels: &BTreeMap<String, String>) -> Document {
    labels
        .iter()
        .fold(Object::default(), |object, (name, text)| object.with_named(name, text.as_str()))
        .done()
}

fn about(record: &Record) -> Object {
    let count = |object: Object, streak: &Streak| object.with(streak.as_str(), record.streaks.of(*streak));
    let streaks = Streak::ALL.iter().fold(Object::default(), count).done();
    Object::roomy(1024)
        .with("id", Plain(record.id))
        .with("kind", record.kind().as_str())
        .with("state", record.state.name().as_str())
        .with("attempt", record.attempt)
        .with("org", &*record.org)
        .with("env", &*record.env)
        .with("runtime", &*record.runtime)
        .maybe("flow", record.flow.as_deref())
        .maybe("model", record.model.as_deref())
        .maybe("queue", record.queue.as_deref())
        .maybe("group", record.group.as_ref().map(|group| &*group.name))
        .maybe("about", record.about.map(Plain))
        .maybe("shadow", record.shadow.then_some(true))
        .maybe("trigger", record.trigger.map(Plain))
        .maybe("rerun_of", record.rerun_of.map(Plain))
        .maybe("key", record.key.as_deref())
        .maybe("lane", record.state.lane().map(Lane::as_str))
        .with("created_at", moment(record.created_at))
        .with("updated_at", moment(record.updated_at))
        .maybe("started_at", record.started_at.map(moment))
        .maybe("deadline", record.deadline().map(moment))
        .maybe("expires_at", record.expires_at.map(moment))
        .maybe("finished_at", record.state.finished_at().map(moment))
        .with("streaks", streaks)
        .maybe("budget", budget(&record.budget))
        .maybe("wait", wait(&record.state))
        .maybe("cause", record.state.cause().map(Cause::as_str))
        .maybe("last_error", record.last_error.as_ref().map(fault))
        .maybe("result", record.result.as_ref().map(|text| raw(text.as_bytes())))
        .maybe("resume_token", record.session.as_deref())
}

fn wait(state: &State) -> Option<Json> {
    match state {
        State::RateLimited { until, source } => Some(json!({
            "until": time::format(*until),
            "reason": "rate_limited",
            "source": source.as_str(),
            "estimated": *source == Source::Estimated,
        })),
        State::Backoff { until, streak } => Some(json!({
            "until": time::format(*until),
            "reason": streak.as_str(),
            "estimated": false,
        })),
        State::Queued { .. }
        | State::Active { .. }
        | State::Draining { .. }
        | State::DeadLettered { .. }
        | State::Completed { .. }
        | State::Cancelled { .. } => None,
    }
}

fn fault(fault: &Fault) -> Json {
    json!({ "code": fault.code, "message": fault.message })
}

fn action(action: &Action) -> Document {
    match action {
        Action::Command { argv, cwd } => {
            Object::default().with("command", argv.clone()).maybe("cwd", cwd.as_deref()).done()
        }
        Action::Agent { prompt, cwd } => {
            let agent = Object::default().with("prompt", prompt.as_str()).maybe("cwd", cwd.as_deref()).done();
            Object::default().with("agent", agent).done()
        }
        Action::Http(http) => request(http),
        Action::Worker { queue } => Object::default().with("worker", &**queue).done(),
    }
}

fn request(HttpRequest { url, method, headers }: &HttpRequest) -> Document {
    // The values may be secrets.
    let headers: Map<String, Json> = headers.keys().map(|name| (name.clone(), json!("***"))).collect();
    json!({ "http": { "url": url, "method": method, "headers": headers } }).into()
}

/// JSON as JSON, anything else as text.
fn raw(bytes: &[u8]) -> Json {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(bytes).into_owned()))
}

/// What a charge answers; both are null for a record without a budget of calls.
pub fn charged(meter: Option<Meter>) -> Document {
    Object::default()
        .with("used", meter.map(|meter| meter.used))
        .with("limit", meter.and_then(|meter| meter.limit))
        .done()
}

/// The meter of calls as it is, the others under their own names.
fn budget(budget: &Budget) -> Option<Document> {
    let mut shown = Object::default();
    for (measure, meter) in budget.meters() {
        let of = amounts(measure, meter);
        shown =
            if measure == Measure::Calls { shown.and(&of) } else { shown.with(measure.as_str(), of.done()) };
    }
    (!shown.is_empty()).then(|| shown.maybe("on_exhausted", budget.ask.then_some("ask")).done())
}

/// In the units people use: time as text, money in dollars.
fn amounts(measure: Measure, Meter { used, limit, soft }: Meter) -> Object {
    let amount = |amount: u64| match measure {
        Measure::Calls | Measure::Attempts | Measure::Tokens => json!(amount),
        Measure::Wall => json!(humantime::format_duration(Duration::from_millis(amount)).to_string()),
        Measure::Cost => json!(Duration::from_micros(amount).as_secs_f64()),
    };
    Object::default()
        .with("used", amount(used))
        .with("limit", limit.map(amount))
        .maybe("soft", soft.map(amount))
}

/// A list with its cursor, if there may be more.
pub fn list(items: Vec<Document>, cursor: Option<String>) -> Document {
    Object::default().with("items", items).maybe("cursor", cursor).done()
}

/// A page of records; those that are queued say what holds them.
pub fn page(page: &Page) -> Document {
    let held = |of: &Record| page.holds.get(&of.id).map(Hold::name);
    let items = page.records.iter().map(|of| about(of).maybe("hold", held(of)).done());
    list(items.collect(), page.next.map(|id| id.to_string()))
}

/// A runtime: `state` is what holds it now; of its models those that are held by themselves.
pub fn runtime(view: &RuntimeView, now: Time) -> Document {
    let model = |row: &Runtime| {
        let (_, model) = Runtime::model_of(&row.name)?;
        Some(standing(row, now).with("model", model).done())
    };
    let models: Vec<Document> = view.models.iter().filter_map(model).collect();
    standing(&view.runtime, now)
        .with("name", &*view.runtime.name)
        .with("concurrency", view.concurrency)
        .with("outstanding", view.outstanding)
        .with("queued", view.queued)
        .maybe("models", (!models.is_empty()).then_some(models))
        .done()
}

/// What holds a row.
fn standing(row: &Runtime, now: Time) -> Object {
    let held = |until: Option<Time>| until.is_some_and(|until| until > now);
    let state = match (held(row.paused_until), held(row.limited.map(|pause| pause.limit.until))) {
        (true, _) => "paused",
        (false, true) => "limited",
        (false, false) => "open",
    };
    let limited = row.limited.map(|pause| {
        Object::default()
            .with("until", moment(pause.limit.until))
            .with("source", pause.limit.source.as_str())
            .with("estimated", pause.limit.source == Source::Estimated)
            .with("since", moment(pause.since))
            .maybe("by", pause.by.map(Plain))
            .done()
    });
    Object::default()
        .with("state", state)
        .maybe("held_until", row.held_until(now).map(moment))
        .maybe("paused_until", row.paused_until.map(moment))
        .maybe("limited", limited)
}

/// A drained scope.
pub fn drain(view: &DrainView) -> Document {
    Object::default()
        .with("scope", view.drain.scope.to_string())
        .with("since", moment(view.drain.since))
        .with("until", moment(view.drain.until))
        .with("outstanding", view.outstanding)
        .done()
}

/// An accepted trigger, without its payload.
pub fn trigger(trigger: &Trigger) -> Document {
    about_trigger(trigger).done()
}

/// An accepted trigger, whole.
pub fn trigger_with_payload(trigger: &Trigger) -> Document {
    about_trigger(trigger)
        .maybe("payload", (!trigger.payload.is_empty()).then(|| raw(&trigger.payload)))
        .done()
}

fn about_trigger(trigger: &Trigger) -> Object {
    let runs: Vec<String> = trigger.runs.iter().map(ToString::to_string).collect();
    Object::default()
        .with("id", Plain(trigger.id))
        .with("at", moment(trigger.at))
        .with("source", &*trigger.source)
        .with("kind", &*trigger.kind)
        .with("event", trigger.event.as_str())
        .maybe("action", trigger.action.as_deref())
        .maybe("dedup", trigger.dedup.as_deref())
        .with("org", &*trigger.org)
        .with("env", &*trigger.env)
        .maybe("replay_of", trigger.replay_of.map(Plain))
        .with("runs", runs)
}

/// What became of a trigger; with its runs as they are, if those were waited for.
pub fn triggered(triggered: &Triggered, records: Option<Vec<Document>>) -> Document {
    let runs: Vec<String> = triggered.runs.iter().map(ToString::to_string).collect();
    let debounced = triggered.debounced.iter();
    let debounced: Vec<Json> = debounced
        .map(|row| json!({ "flow": &*row.flow, "key": &*row.key, "due_at": time::format(row.due_at) }))
        .collect();
    let names = |flows: &[Name]| flows.iter().map(ToString::to_string).collect::<Vec<_>>();
    Object::default()
        .with("trigger", Plain(triggered.trigger))
        .with("duplicate", triggered.duplicate)
        .with("outcome", triggered.outcome.as_str())
        .with("runs", runs)
        .with("shadow", names(&triggered.shadow))
        .with("off", names(&triggered.off))
        .with("debounced", json!(debounced))
        .maybe("records", records)
        .done()
}

/// What a flow needs and is not there.
pub fn missing(missing: &Missing) -> Json {
    json!({ "flow": &*missing.flow, "need": missing.need, "why": missing.why })
}

/// What time alone will admit.
pub fn upcoming(upcoming: &Upcoming) -> Document {
    let due = Object::default().maybe("due_at", upcoming.due_at().map(moment));
    match upcoming {
        Upcoming::Schedule(row) => due
            .with("kind", "schedule")
            .with("flow", &*row.flow)
            .with("schedule", row.expression.as_str())
            .done(),
        Upcoming::Debounced(row) => due
            .with("kind", "debounced")
            .with("flow", &*row.flow)
            .with("key", &*row.key)
            .with("first_at", moment(row.first_at))
            .maybe("trigger", row.trigger.map(Plain))
            .done(),
    }
}

/// What became of dead letters.
pub fn redriven(redriven: &Redriven) -> Document {
    let ids: Vec<String> = redriven.matched.iter().map(ToString::to_string).collect();
    Object::default()
        .with("matched", ids.len())
        .with("redriven", if redriven.dry_run { 0 } else { ids.len() })
        .with("ids", ids)
        .with("redrive", Json::Null)
        .maybe("cursor", redriven.next.map(Plain))
        .done()
}

/// What became of a paced redrive that was asked for: nothing yet, or a row that carries it out.
pub fn paced(paced: &Paced) -> Document {
    Object::default()
        .with("matched", paced.matched)
        .with("redriven", 0_u32)
        .with("ids", json!([]))
        .with("redrive", paced.redrive.map(Plain))
        .maybe("uncounted", paced.uncounted.then_some(true))
        .done()
}

/// A paced redrive that is running.
pub fn redrive(row: &Redrive) -> Document {
    Object::default()
        .with("id", Plain(row.id))
        .with("asked_at", moment(row.asked_at))
        .with("dead_by", moment(row.dead_by))
        .with("rate", Plain(row.pace))
        .maybe("cause", row.cause.map(Cause::as_str))
        .maybe("fingerprint", row.fingerprint.map(Plain))
        .maybe("flow", row.flow.as_deref())
        .maybe("runtime", row.runtime.as_deref())
        .maybe("org", row.org.as_deref())
        .maybe("env", row.env.as_deref())
        .with("matched", row.matched)
        .maybe("uncounted", row.uncounted.then_some(true))
        .with("redriven", row.redriven)
        .with("next_at", moment(row.next_at()))
        .done()
}

/// Dead letters of one kind.
pub fn group(group: &Group) -> Document {
    Object::default()
        .with("cause", group.cause.as_str())
        .maybe("flow", group.flow.as_deref())
        .with("runtime", &*group.runtime)
        .with("fingerprint", Plain(group.fingerprint))
        .with("sample", group.sample.as_str())
        .with("count", group.count)
        .with("oldest", moment(group.oldest))
        .with("newest", moment(group.newest))
        .with("example", Plain(group.example))
        .done()
}

/// How things are; every state has its count. And what is said of the flows together.
pub fn status(status: &Status, flows: &Object) -> Document {
    let counts: Map<String, Json> = (StateName::ALL.iter())
        .map(|state| (state.as_str().to_owned(), json!(status.counts.get(state).copied().unwrap_or(0))))
        .collect();
    Object::default()
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("now", moment(status.now))
        .with("counts", counts)
        .with("admitted", status.admitted)
        .with("attempts_started", status.attempts_started)
        .with("attempts_ended", status.attempts_ended)
        .with("outstanding", status.outstanding)
        .maybe("next_deadline", status.next_deadline.map(moment))
        .maybe("draining_until", status.draining_until.map(moment))
        .with("drains", status.drains.iter().map(|drain| drain.scope.to_string()).collect::<Vec<_>>())
        .with("ticks", status.ticks)
        .with("commits", status.commits)
        .with("burst", burst(&status.burst))
        .maybe("disk", status.space.as_ref().map(disk))
        .and(flows)
        .done()
}

/// Bytes, and whether new work is refused for want of them.
fn disk(space: &Space) -> Json {
    json!({ "free": space.free, "min_free": space.min_free, "full": space.is_short() })
}

/// The gate's decisions by outcome and reason, as the counters of a metric would be.
fn burst(burst: &BurstStatus) -> Document {
    let decisions = burst.decisions.iter().map(|((outcome, reason), count)| {
        Object::default()
            .with("outcome", outcome.as_str())
            .maybe("reason", reason.map(Reason::as_str))
            .with("count", *count)
            .done()
    });
    Object::default()
        .with("decisions", decisions.collect::<Vec<_>>())
        .with("queued", burst.queued)
        .with("released", burst.released)
        .done()
}

/// One step of a record's history.
pub fn transition(sequence: u64, step: &Transition) -> Document {
    Object::default()
        .with("sequence", sequence)
        .with("at", moment(step.at))
        .with("id", Plain(step.id))
        .with("event", &*step.event)
        .maybe("from", step.from.map(StateName::as_str))
        .with("to", step.to.as_str())
        .with("attempt", step.attempt)
        .maybe("deadline", step.deadline.map(moment))
        .maybe("detail", step.detail.as_deref())
        .done()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::machine;
    use crate::model::{Limit, Name, Pause, Policy, RecordId, Submission, Work};

    fn limited() -> Detail {
        let action = Action::Command { argv: vec!["true".to_owned()], cwd: None };
        let labels = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
        let (payload, task) = (br#"{"n":1}"#.to_vec(), Some("t".to_owned()));
        let submission = Submission {
            org: "o".into(),
            env: "e".into(),
            key: Some("k".to_owned()),
            ..Submission::of(
                RecordId::session(1),
                "claude".into(),
                Work { payload, task, labels, ..Work::of(action) },
            )
        };
        let (record, work) = machine::admit(submission, 1, Time::ZERO, &Policy::default());
        let calls = Meter { used: 3, limit: Some(20), soft: None };
        let record = Record {
            updated_at: Time::from_millis(5),
            attempt: 1,
            budget: Budget::default().with(Measure::Calls, calls),
            session: Some("s-1".to_owned()),
            last_error: Some(Fault::new("rate_limited", "You've hit your limit")),
            state: State::RateLimited { until: Time::from_millis(1_000), source: Source::Estimated },
            ..record
        };
        Detail { record: record.into(), work: work.into() }
    }

    #[test]
    fn a_record_shows_its_wait_and_leaves_out_what_it_has_not() {
        let expected = json!({
            "id": "ses_00000000000000000000000001", "kind": "session", "state": "rate_limited", "attempt": 1,
            "org": "o", "env": "e", "runtime": "claude", "key": "k",
            "created_at": "1970-01-01T00:00:00.000Z", "updated_at": "1970-01-01T00:00:00.005Z",
            "deadline": "1970-01-01T00:00:01.000Z",
            "streaks": {"failed": 0, "timed_out": 0, "throttled": 0, "ingestion_failed": 0, "lost": 0, "unavailable": 0},
            "budget": {"used": 3, "limit": 20},
            "wait": {"until": "1970-01-01T00:00:01.000Z", "reason": "rate_limited", "source": "estimated", "estimated": true},
            "last_error": {"code": "rate_limited", "message": "You've hit your limit"},
            "resume_token": "s-1", "action": {"command": ["true"]}, "task": "t", "payload": {"n": 1},
            "labels": {"team": "red"},
        });
        assert_eq!(detail(&limited()).json(), expected);
        assert_eq!(admitted(&limited(), true).json()["duplicate"], true);
        assert_eq!(admitted(&limited(), false).json().get("duplicate"), None);
    }

    #[test]
    fn a_request_is_shown_without_what_its_headers_hold() {
        let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer secret".to_owned())]);
        let (url, method) = ("https://example.org/".to_owned(), "POST".to_owned());
        let shown = action(&Action::Http(HttpRequest { url, method, headers })).json();
        let headers = json!({ "Authorization": "***" });
        assert_eq!(
            shown,
            json!({"http": {"url": "https://example.org/", "method": "POST", "headers": headers}})
        );
    }

    #[test]
    fn a_runtime_says_what_holds_it_now() {
        let name: Name = "claude".into();
        let limit = Limit { until: Time::from_millis(9), source: Source::Told };
        let pause = Pause { limit, since: Time::ZERO, by: None };
        let row = Runtime { limited: Some(pause), ..Runtime::open(name) };
        let opus = Runtime { name: "claude/opus".into(), ..row.clone() };
        let view =
            RuntimeView { runtime: row, models: vec![opus], concurrency: 5, outstanding: 0, queued: 2 };
        let shown = |view: &RuntimeView, at| runtime(view, Time::from_millis(at)).json();
        let model = &shown(&view, 8)["models"][0];
        assert_eq!((&model["model"], &model["state"]), (&json!("opus"), &json!("limited")));
        assert_eq!(shown(&view, 8)["state"], "limited");
        assert_eq!(shown(&view, 9)["state"], "open");
        let paused = Runtime { paused_until: Some(Time::MAX), ..view.runtime.clone() };
        let view = RuntimeView { runtime: paused, ..view };
        let shown = shown(&view, 8);
        assert_eq!(shown["state"], "paused");
        assert_eq!(shown["held_until"], "9999-12-31T23:59:59.999Z");
        assert_eq!(shown["limited"]["estimated"], false);
    }
}
