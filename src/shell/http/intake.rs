//! What comes in: sessions, triggers and webhooks.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use tokio::task::block_in_place;
use tokio::time::timeout;

use super::ask::{Input, Part, answer, ask, bytes, get, unexpected};
use super::once::idempotency_key;
use super::records::longest_wait;
use super::{Current, Shared};
use crate::engine::{Answer, Detail, Request, Triggered};
use crate::model::{self, Action, Group, Name, RecordId, Slot, Submission, Trigger, Work};
use crate::shell::budgets;
use crate::shell::clock::Clock;
use crate::shell::fields::Fields;
use crate::shell::hook::{self, HookRefusal};
use crate::shell::ids::Ids;
use crate::shell::problem::Problem;
use crate::shell::view::{self, Document};

/// The most labels of a session; their texts are bounded by the body.
const LABELS_MAX: usize = 64;

/// Whose triggers webhooks are.
const ORG: &str = "default";

/// `POST /v1/sessions`.
pub(super) async fn session(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Input(fields): Input,
) -> Result<Response, Problem> {
    let submission = submission(&shared, fields, idempotency_key(&headers)?)?;
    let asked = Request::Submit(Box::new(submission));
    let Answer::Admitted { detail, duplicate } = ask(&shared, asked).await? else { return Err(unexpected()) };
    let status = if duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok(answer(status, view::admitted(&detail, duplicate)))
}

/// `POST /v1/triggers`.
pub(super) async fn trigger(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Input(mut fields): Input,
) -> Result<Response, Problem> {
    let trigger = read_trigger(&Reader::from(&*shared), &headers, &mut fields)?;
    let wait = fields.span("wait")?.unwrap_or_default();
    fields.finish()?;
    if wait.is_zero() {
        return admit(&shared, trigger, false).await;
    }
    let (trigger, mut runs) = expand(&shared.loaded, trigger);
    for run in &mut runs {
        run.awaited = true;
    }
    let _waiter = shared.feed.waiter()?;
    let triggered = admitted(&shared, trigger, runs, false).await?;
    let records = ended(&shared, &triggered.runs, wait.min(longest_wait(&shared))).await?;
    Ok(answer(status(&triggered), view::triggered(&triggered, Some(records))))
}

/// What a trigger is read with.
pub(super) struct Reader<'a> {
    pub(super) loaded: &'a Current,
    pub(super) ids: &'a Ids,
    pub(super) clock: &'a Clock,
}

impl<'a> From<&'a Shared> for Reader<'a> {
    fn from(shared: &'a Shared) -> Self {
        Reader { loaded: &shared.loaded, ids: &shared.ids, clock: &shared.clock }
    }
}

/// A trigger as it is asked for.
pub(super) fn read_trigger(
    with: &Reader<'_>,
    headers: &HeaderMap,
    fields: &mut Fields,
) -> Result<Trigger, Problem> {
    let source = Name::from(required_name(fields, "source")?);
    let loaded = with.loaded.get();
    let (at, org) = (with.clock.now(), fields.scope("org")?);
    Ok(Trigger {
        id: with.ids.trigger(at, Slot::of(&org)),
        at,
        kind: loaded.sources.get(&source).map_or_else(|| source.clone(), |source| source.name.clone()),
        source,
        event: required_name(fields, "event")?,
        action: fields.name("action")?,
        dedup: fields.name("id")?.or(idempotency_key(headers)?),
        org,
        env: fields.scope("env")?,
        payload: fields
            .any("payload")
            .map_or_else(|| b"{}".to_vec(), |payload| payload.to_string().into_bytes()),
        replay_of: None,
        runs: Vec::new(),
    })
}

/// A trigger with the runs that today's flows make of it. They live where their org does, if they have one in common, and
/// else where the trigger's does.
pub(super) fn expand(loaded: &Current, mut trigger: Trigger) -> (Trigger, Vec<Submission>) {
    let mut runs = block_in_place(|| (loaded.get().expand)(&trigger));
    if let Some((first, rest)) = runs.split_first()
        && first.org != trigger.org
        && rest.iter().all(|run| run.org == first.org)
    {
        let slot = Slot::of(&first.org);
        trigger.id = trigger.id.in_slot(slot);
        for run in &mut runs {
            (run.id, run.trigger) = (run.id.in_slot(slot), Some(trigger.id));
        }
    }
    (trigger, runs)
}

/// The runs as they are once all have come to their end, or when the wait is over.
async fn ended(shared: &Shared, runs: &[RecordId], wait: Duration) -> Result<Vec<Document>, Problem> {
    let over = |detail: &Detail| {
        let state = &detail.record.state;
        state.finished_at().is_some() || state.cause().is_some()
    };
    // Watching begins before the first look, so no end falls between the two.
    let mut watching = shared.feed.watch();
    let all = async {
        for id in runs {
            while !over(&get(shared, *id).await?) && watching.moved(*id).await {}
        }
        Ok::<(), Problem>(())
    };
    // A wait that is over is no failure.
    if let Ok(ended) = timeout(wait, all).await {
        ended?;
    }
    let mut records = Vec::with_capacity(runs.len());
    for id in runs {
        records.push(view::record(&get(shared, *id).await?.record));
    }
    Ok(records)
}

/// `POST /hooks/{source}`.
pub(super) async fn hook(
    State(shared): State<Arc<Shared>>,
    Part(name): Part,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let body = bytes(request, &()).await?;
    // A forge never retries what it was refused, or gives the hook up.
    admit(&shared, read_hook(&Reader::from(&*shared), name, &headers, &body)?, true).await
}

/// The trigger that a webhook is, once it is proven.
pub(super) fn read_hook(
    with: &Reader<'_>,
    name: String,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Trigger, Problem> {
    let name = Name::from(name);
    let loaded = with.loaded.get();
    let source = loaded.sources.get(&name);
    let source = source.ok_or_else(|| Problem::not_found(format!("source {name} is not configured")))?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let at = with.clock.now();
    let read = block_in_place(|| hook::read(source.kind, &source.secrets, &header, body, at));
    let hook = read.map_err(|refusal| {
        tracing::warn!(source = %name, %refusal, "webhook refused");
        if matches!(refusal, HookRefusal::Signature(_)) {
            Problem::new(401, "bad_signature", refusal.to_string())
        } else {
            Problem::field("body", refusal)
        }
    })?;
    Ok(Trigger {
        id: with.ids.trigger(at, Slot::of(ORG)),
        at,
        source: name,
        kind: source.name.clone(),
        event: hook.event,
        action: hook.action,
        dedup: hook.dedup,
        org: ORG.into(),
        env: "default".into(),
        payload: hook.payload,
        replay_of: None,
        runs: Vec::new(),
    })
}

async fn admit(shared: &Shared, trigger: Trigger, spool: bool) -> Result<Response, Problem> {
    let (trigger, runs) = expand(&shared.loaded, trigger);
    let triggered = admitted(shared, trigger, runs, spool).await?;
    Ok(answer(status(&triggered), view::triggered(&triggered, None)))
}

async fn admitted(
    shared: &Shared,
    trigger: Trigger,
    runs: Vec<Submission>,
    spool: bool,
) -> Result<Triggered, Problem> {
    let asked = Request::Trigger { trigger: Box::new(trigger), runs, spool };
    let Answer::Triggered(triggered) = ask(shared, asked).await? else { return Err(unexpected()) };
    Ok(triggered)
}

const fn status(triggered: &Triggered) -> StatusCode {
    if triggered.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED }
}

/// A session as it is asked for; `key` is its name unless the body has one.
pub(super) fn submission(
    shared: &Shared,
    fields: Fields,
    key: Option<String>,
) -> Result<Submission, Problem> {
    read(|org| shared.ids.session(shared.clock.now(), Slot::of(org)), fields, key)
}

fn read(
    id: impl FnOnce(&str) -> RecordId,
    mut fields: Fields,
    key: Option<String>,
) -> Result<Submission, Problem> {
    let runtime = Name::from(required_name(&mut fields, "runtime")?);
    let labels = fields.table("labels")?;
    if labels.len() > LABELS_MAX {
        return Err(fields.problem("labels", &format!("expected at most {LABELS_MAX}")));
    }
    let work = Work {
        payload: fields.any("payload").map(|payload| payload.to_string().into_bytes()).unwrap_or_default(),
        task: fields.text("task")?.map(|text| crate::model::bounded(&text)),
        labels,
        on_dead_letter: on_dead_letter(&mut fields)?,
        ..Work::of(action(&mut fields)?)
    };
    let org = fields.scope("org")?;
    let submission = Submission {
        env: fields.scope("env")?,
        key: fields.name("key")?.or(key),
        budget: budgets::read(&mut fields)?,
        expires: fields.span("expires")?,
        group: group(&mut fields)?,
        model: fields.model("model")?,
        ..Submission::of(id(&org), runtime, work)
    };
    let submission = Submission { org, ..submission };
    fields.finish()?;
    Ok(submission)
}

/// `concurrency`, as a flow has it; the name is what a template would be filled to.
fn group(fields: &mut Fields) -> Result<Option<Group>, Problem> {
    let Some(mut concurrency) = fields.object("concurrency")? else { return Ok(None) };
    let group = Group {
        name: required_name(&mut concurrency, "group")?.into(),
        max: concurrency.small("max")?.unwrap_or(1),
        cancel_in_progress: concurrency.flag("cancel_in_progress")?,
        queued_max: concurrency.small("queue")?,
    };
    if group.max == 0 {
        return Err(concurrency.problem("max", "expected at least 1"));
    }
    concurrency.finish()?;
    Ok(Some(group))
}

fn action(fields: &mut Fields) -> Result<Action, Problem> {
    let expected = "expected {\"command\": [..]} {\"agent\": {\"prompt\": ..}} {\"http\": {\"url\": ..}} or {\"worker\": ..}";
    let mut action = fields.object("action")?.ok_or_else(|| fields.problem("action", expected))?;
    let queue = action.name("worker")?;
    let read = match (action.texts("command")?, action.object("agent")?, action.object("http")?, queue) {
        (Some(argv), None, None, None) if argv.iter().any(|text| text.contains('\0')) => {
            return Err(action.problem("command", "expected texts without NUL: no program can be given one"));
        }
        (Some(argv), None, None, None) if argv.first().is_some_and(|program| !program.is_empty()) => {
            Action::Command { argv, cwd: action.text("cwd")? }
        }
        (Some(_), None, None, None) => {
            return Err(action.problem("command", "expected a program and its arguments"));
        }
        (None, Some(mut agent), None, None) => {
            let prompt = agent.required("prompt")?;
            if prompt.trim().is_empty() || prompt.contains('\0') {
                return Err(agent.problem("prompt", "expected a text that is not empty, without NUL"));
            }
            let read = Action::Agent { prompt, cwd: agent.text("cwd")? };
            agent.finish()?;
            read
        }
        (None, None, Some(http), None) => Action::Http(request(&action, http)?),
        (None, None, None, Some(queue)) => Action::Worker { queue: queue.into() },
        _ => return Err(fields.problem("action", expected)),
    };
    action.finish()?;
    Ok(read)
}

/// `within.http`.
fn request(within: &Fields, mut http: Fields) -> Result<model::HttpRequest, Problem> {
    let url = http.required("url")?;
    let method = http.text("method")?.unwrap_or_else(|| "POST".to_owned());
    let request = model::HttpRequest { url, method, headers: http.table("headers")? };
    http.finish()?;
    crate::exec::http::check(&request).map_err(|what| within.problem("http", &what))?;
    Ok(request)
}

/// As a flow has it.
fn on_dead_letter(fields: &mut Fields) -> Result<Option<model::HttpRequest>, Problem> {
    const BYTES_MAX: usize = Work::ON_DEAD_LETTER_BYTES_MAX;
    let Some(mut told) = fields.object("on_dead_letter")? else { return Ok(None) };
    let http = told.object("http")?.ok_or_else(|| told.problem("http", "it is missing"))?;
    let request = request(&told, http)?;
    told.finish()?;
    if request.bytes() > BYTES_MAX {
        return Err(fields.problem("on_dead_letter", &format!("expected at most {BYTES_MAX} bytes")));
    }
    Ok(Some(request))
}

pub(super) fn required_name(fields: &mut Fields, name: &'static str) -> Result<String, Problem> {
    fields.name(name)?.ok_or_else(|| fields.problem(name, "it is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Budget;

    fn read(json: &str) -> Result<Submission, String> {
        let fields = Fields::parse(json.as_bytes()).unwrap();
        let id = |_: &str| RecordId::session(1);
        super::read(id, fields, Some("header".to_owned())).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_request_is_read_and_one_that_cannot_be_sent_is_refused() {
        let read = |http: &str| read(&format!(r#"{{"runtime":"http","action":{{"http":{http}}}}}"#));
        let submission = read(r#"{"url":"https://example.org/","headers":{"A":"b"}}"#).unwrap();
        let headers = [("A".to_owned(), "b".to_owned())].into();
        let (url, method) = ("https://example.org/".to_owned(), "POST".to_owned());
        let request = model::HttpRequest { url, method, headers };
        assert_eq!(submission.work.action, Action::Http(request));
        for (http, expected) in [
            ("{}", "action.http.url: it is missing"),
            (r#"{"url":"example.org"}"#, "is not a URL"),
            (r#"{"url":"http://h/","method":"BREW"}"#, "method \"BREW\" is not known"),
            (r#"{"url":"http://h/","body":1}"#, "action.http.body: unknown field"),
        ] {
            let refused = read(http).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn what_is_sent_of_a_dead_letter_is_checked_like_any_request() {
        let read = |told: &str| {
            read(&format!(r#"{{"runtime":"r","action":{{"command":["x"]}},"on_dead_letter":{told}}}"#))
        };
        let told = read(r#"{"http":{"url":"http://h/","method":"PUT"}}"#).unwrap().work.on_dead_letter;
        assert_eq!(told.map(|request| request.method), Some("PUT".to_owned()));
        let long =
            format!(r#"{{"http":{{"url":"http://h/{}"}}}}"#, "x".repeat(Work::ON_DEAD_LETTER_BYTES_MAX));
        for (told, expected) in [
            ("{}", "on_dead_letter.http: it is missing"),
            (r#"{"http":{"url":"h"}}"#, "on_dead_letter.http: \"h\""),
            (
                r#"{"https":{"url":"http://h/"},"http":{"url":"http://h/"}}"#,
                "on_dead_letter.https: unknown field",
            ),
            (long.as_str(), "on_dead_letter: expected at most 16384 bytes"),
        ] {
            let refused = read(told).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }

    #[test]
    fn a_session_is_read_whole() {
        let submission = read(
            r#"{"runtime":"shell","action":{"command":["make","-k"],"cwd":"/srv"},"org":"o","env":"e","task":"t",
                "budget":20,"payload":{"a":1},"labels":{"k":"v"},"expires":"24h"}"#,
        );
        let submission = submission.unwrap();
        assert_eq!(submission.key.as_deref(), Some("header"));
        assert_eq!(submission.budget, Budget::calls(20));
        assert_eq!(submission.expires, Some(std::time::Duration::from_hours(24)));
        assert_eq!(submission.work.payload, br#"{"a":1}"#);
        let argv = vec!["make".to_owned(), "-k".to_owned()];
        assert_eq!(submission.work.action, Action::Command { argv, cwd: Some("/srv".to_owned()) });
        let pulled = read(r#"{"runtime":"r","action":{"worker":"q"}}"#).unwrap().work.action;
        assert_eq!(pulled, Action::Worker { queue: "q".into() });
        let keyed = read(r#"{"runtime":"claude","action":{"agent":{"prompt":"p"}},"key":"body"}"#).unwrap();
        assert_eq!(keyed.key.as_deref(), Some("body"));
        assert_eq!(&*keyed.org, "default");
        assert_eq!(keyed.group, None);
        let grouped = r#"{"runtime":"r","action":{"command":["x"]},
            "concurrency":{"group":"g","max":3,"cancel_in_progress":true,"queue":5}}"#;
        let group = Group { name: "g".into(), max: 3, cancel_in_progress: true, queued_max: Some(5) };
        assert_eq!(read(grouped).unwrap().group, Some(group));
    }

    #[test]
    fn what_cannot_be_read_names_its_field() {
        for (json, detail) in [
            (r#"{"action":{"command":["x"]}}"#, "runtime: it is missing"),
            (r#"{"runtime":"r"}"#, "action: expected"),
            (r#"{"runtime":"r","action":{"worker":"q","command":["x"]}}"#, "action: expected"),
            (r#"{"runtime":"r","action":{"worker":""}}"#, "action.worker: expected 1 to 256 bytes"),
            (r#"{"runtime":"r","action":{"worker":"q","cwd":"/"}}"#, "action.cwd: unknown field"),
            (r#"{"runtime":"r","action":{"command":[]}}"#, "action.command: expected a program"),
            (
                r#"{"runtime":"r","action":{"command":["x","a\u0000b"]}}"#,
                "action.command: expected texts without NUL",
            ),
            (r#"{"runtime":"r","action":{"agent":{"prompt":" "}}}"#, "action.agent.prompt: expected a text"),
            (
                r#"{"runtime":"r","action":{"command":"x"}}"#,
                "action.command: expected an array of strings, not a string",
            ),
            (r#"{"runtime":"r","action":{"agent":{}}}"#, "action.agent.prompt: it is missing"),
            (
                r#"{"runtime":"r","action":{"agent":{"prompt":"p","model":"m"}}}"#,
                "action.agent.model: unknown field",
            ),
            (r#"{"runtime":"r","action":{"command":["x"]},"budget":-1}"#, "budget: expected a whole number"),
            (
                r#"{"runtime":"r","action":{"command":["x"]},"labels":{"a":1}}"#,
                "labels.a: expected a string, not a number",
            ),
            (r#"{"runtime":"r","action":{"command":["x"]},"prio":1}"#, "prio: unknown field"),
            (
                r#"{"runtime":"r","action":{"command":["x"]},"concurrency":{}}"#,
                "concurrency.group: it is missing",
            ),
            (
                r#"{"runtime":"r","action":{"command":["x"]},"concurrency":{"group":"g","max":0}}"#,
                "concurrency.max: expected at least 1",
            ),
        ] {
            let refused = read(json).unwrap_err();
            assert!(refused.starts_with(detail), "{json}: {refused}");
        }
    }
}
