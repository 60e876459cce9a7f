//! Records: lists, one, its history, and the commands.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::time::timeout;

use super::Shared;
use super::ask::{Params, Part, answer, ask, get, resolve, unexpected};
use super::once::Call;
use crate::engine::{Answer, Asked, Detail, Filter, Request};
use crate::model::{Command, Kind, RecordId, StateName, Transition};
use crate::shell::budgets;
use crate::shell::fields::Fields;
use crate::shell::problem::Problem;
use crate::shell::time;
use crate::shell::view::{self, Document};
use crate::store::{History, StoreError};

/// A page without `?limit=`.
pub(super) const LIMIT_DEFAULT: usize = 50;

/// The longest long poll; proxies give up on quieter connections after a minute.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(50);

/// While a test clock stands still, `updated_at` tells nothing apart, so who missed a change looks again soon.
const WAIT_TEST_CLOCK_MAX: Duration = Duration::from_millis(100);

/// Events read from the history at once.
const HISTORY_BATCH: usize = 4_096;

/// `GET /v1/sessions`.
pub(super) async fn sessions(
    State(shared): State<Arc<Shared>>,
    Params(query): Params,
) -> Result<Response, Problem> {
    list(&shared, query, |filter| filter.kind = Some(Kind::Session)).await
}

/// `GET /v1/runs`.
pub(super) async fn runs(
    State(shared): State<Arc<Shared>>,
    Params(query): Params,
) -> Result<Response, Problem> {
    list(&shared, query, |filter| filter.kind = Some(Kind::Run)).await
}

/// `GET /v1/dead-letters`.
pub(super) async fn dead_letters(
    State(shared): State<Arc<Shared>>,
    Params(query): Params,
) -> Result<Response, Problem> {
    list(&shared, query, |filter| filter.state = Some(StateName::DeadLettered)).await
}

async fn list(shared: &Shared, query: Fields, narrow: impl FnOnce(&mut Filter)) -> Result<Response, Problem> {
    let mut filter = filter(query)?;
    narrow(&mut filter);
    let Answer::Page(page) = ask(shared, Request::List(filter)).await? else { return Err(unexpected()) };
    Ok(answer(StatusCode::OK, view::page(&page)))
}

fn filter(mut query: Fields) -> Result<Filter, Problem> {
    let filter = Filter {
        kind: None,
        state: word(&mut query, "state")?,
        org: query.text("org")?,
        env: query.text("env")?,
        flow: query.text("flow")?,
        runtime: query.text("runtime")?,
        key: query.text("key")?,
        cause: word(&mut query, "cause")?,
        label: label(&mut query)?,
        shadow: word(&mut query, "shadow")?,
        fingerprint: word(&mut query, "fingerprint")?,
        before: word(&mut query, "cursor")?,
        limit: limit(&mut query, Filter::LIMIT_MAX)?,
    };
    query.finish()?;
    Ok(filter)
}

/// `?name=`, parsed.
pub(super) fn word<T: FromStr<Err: std::fmt::Display>>(
    query: &mut Fields,
    name: &'static str,
) -> Result<Option<T>, Problem> {
    let Some(text) = query.text(name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|error: T::Err| Problem::field(name, error))
}

/// `?label=name=value`.
pub(super) fn label(query: &mut Fields) -> Result<Option<Box<(String, String)>>, Problem> {
    let Some(text) = query.text("label")? else { return Ok(None) };
    let pair = text.split_once('=').ok_or_else(|| query.problem("label", "expected name=value"))?;
    Ok(Some(Box::new((pair.0.to_owned(), pair.1.to_owned()))))
}

/// `?limit=`, between 1 and `max`.
pub(super) fn limit(query: &mut Fields, max: usize) -> Result<usize, Problem> {
    let Some(limit) = query.number("limit")? else { return Ok(LIMIT_DEFAULT.min(max)) };
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| query.problem("limit", &format!("expected 1 to {max}")))
}

/// `GET /v1/records/{id}`; with `?wait=20s&while=<updated_at>` it answers once the record is not as it was then, or
/// the wait is over.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let wait = query.span("wait")?.unwrap_or_default().min(longest_wait(&shared));
    let seen = match query.text("while")? {
        None => None,
        Some(text) => Some(time::parse(&text).map_err(|error| query.problem("while", &error.to_string()))?),
    };
    query.finish()?;
    let id = resolve(&shared, &id).await?;
    let waits = wait > Duration::ZERO && seen.is_some();
    let _waiter = if waits { Some(shared.feed.waiter()?) } else { None };
    // Watching begins before the first look, so no change falls between the two.
    let mut watching = shared.feed.watch();
    let changed = async {
        let detail = get(&shared, id).await?;
        if Some(detail.record.updated_at) != seen || !watching.moved(id).await {
            return Ok::<Detail, Problem>(detail);
        }
        get(&shared, id).await
    };
    let detail = match timeout(wait, changed).await {
        Ok(detail) => detail?,
        Err(_) => get(&shared, id).await?,
    };
    Ok(answer(StatusCode::OK, view::detail(&detail)))
}

/// As long as anybody may wait for a change of a record.
pub(super) const fn longest_wait(shared: &Shared) -> Duration {
    if shared.clock.is_test() { WAIT_TEST_CLOCK_MAX } else { WAIT_MAX }
}

/// `GET /v1/records/{id}/why`.
pub(super) async fn why(State(shared): State<Arc<Shared>>, Part(id): Part) -> Result<Response, Problem> {
    let asked = Request::Why(Asked::Record(resolve(&shared, &id).await?));
    let Answer::Why(why) = ask(&shared, asked).await? else { return Err(unexpected()) };
    Ok(answer(StatusCode::OK, view::why(&why)))
}

/// `GET /v1/records/{id}/history`: its latest transitions, oldest first.
pub(super) async fn history(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Params(mut query): Params,
) -> Result<Response, Problem> {
    let limit = match query.number("limit")? {
        None => Filter::LIMIT_MAX,
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, Filter::LIMIT_MAX),
    };
    query.finish()?;
    let id = resolve(&shared, &id).await?;
    let (history, decode) = (shared.handle.history(), shared.decode);
    let read = tokio::task::spawn_blocking(move || of_record(&*history, decode, id, limit)).await;
    let steps = match read {
        Ok(Ok(steps)) => steps,
        Ok(Err(error)) => return Err(Problem::internal("the history cannot be read", error)),
        Err(error) => return Err(Problem::internal("the history cannot be read", error)),
    };
    if steps.is_empty() {
        // Purged from the history, or never there; the record itself says which.
        get(&shared, id).await?;
    }
    let items = steps.iter().map(|(sequence, step)| view::transition(*sequence, step)).collect();
    Ok(answer(StatusCode::OK, view::list(items, None)))
}

fn of_record(
    history: &dyn History,
    decode: fn(&[u8]) -> Option<Transition>,
    id: RecordId,
    limit: usize,
) -> Result<VecDeque<(u64, Transition)>, StoreError> {
    let (mut steps, mut after) = (VecDeque::new(), 0);
    loop {
        let events = history.read(after, HISTORY_BATCH)?;
        let Some((last, _)) = events.last() else { return Ok(steps) };
        after = *last;
        for (sequence, bytes) in &events {
            if let Some(step) = decode(bytes).filter(|step| step.id == id) {
                if steps.len() == limit {
                    steps.pop_front();
                }
                steps.push_back((*sequence, step));
            }
        }
    }
}

/// `POST /v1/records/{id}/cancel`.
pub(super) async fn cancel(state: State<Arc<Shared>>, id: Part, call: Call) -> Result<Response, Problem> {
    command(state, id, call, Command::Cancel).await
}

/// `POST /v1/records/{id}/resume`.
pub(super) async fn resume(state: State<Arc<Shared>>, id: Part, call: Call) -> Result<Response, Problem> {
    command(state, id, call, Command::ResumeNow).await
}

/// `POST /v1/records/{id}/redrive`.
pub(super) async fn redrive(state: State<Arc<Shared>>, id: Part, call: Call) -> Result<Response, Problem> {
    command(state, id, call, Command::Redrive).await
}

/// `POST /v1/records/{id}/rerun`.
pub(super) async fn rerun(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    fields.finish()?;
    let id = resolve(&shared, &id).await?;
    let fresh = shared.ids.like(id, shared.clock.now());
    let show = |answer| {
        let Answer::Admitted { detail, .. } = answer else { return None };
        Some((StatusCode::CREATED, view::admitted(&detail, false)))
    };
    once.carry_out(&shared, Request::Rerun { id, fresh }, show).await
}

/// `POST /v1/records/{id}/budget`: more of what it names, or of what the record waits for.
pub(super) async fn budget(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Call { mut fields, once }: Call,
) -> Result<Response, Problem> {
    let id = resolve(&shared, &id).await?;
    let measure = match word(&mut fields, "of")? {
        Some(measure) => measure,
        None => budgets::wanted(&get(&shared, id).await?.record),
    };
    let amount = budgets::amount(&mut fields, "add", measure)?.filter(|amount| *amount > 0);
    let amount = amount.ok_or_else(|| fields.problem("add", &format!("expected how much more {measure}")))?;
    fields.finish()?;
    once.carry_out(&shared, Request::TopUp { id, measure, amount }, show_record).await
}

async fn command(
    State(shared): State<Arc<Shared>>,
    Part(id): Part,
    Call { fields, once }: Call,
    command: Command,
) -> Result<Response, Problem> {
    fields.finish()?;
    let id = resolve(&shared, &id).await?;
    once.carry_out(&shared, Request::Command { id, command }, show_record).await
}

/// A record as it is after what was asked.
pub(super) fn show_record(answer: Answer) -> Option<(StatusCode, Document)> {
    let Answer::Record(record) = answer else { return None };
    Some((StatusCode::OK, view::record(&record)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::decode;
    use super::*;
    use crate::model::Cause;
    use crate::store::{Backend as _, Batch, Memory};

    fn query(pairs: &[(&str, &str)]) -> Fields {
        Fields::query(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
            .unwrap()
    }

    #[test]
    fn filters_are_read_and_bounded() {
        let read =
            filter(query(&[("state", "backoff"), ("cause", "lost"), ("limit", "7"), ("org", "o")])).unwrap();
        assert_eq!(read.state, Some(StateName::Backoff));
        assert_eq!(read.cause, Some(Cause::Lost));
        assert_eq!((read.limit, read.org.as_deref()), (7, Some("o")));
        assert_eq!(filter(query(&[])).unwrap().limit, LIMIT_DEFAULT);
        for (pair, detail) in [
            (("limit", "1001"), "limit: expected 1 to 1000"),
            (("limit", "0"), "limit: expected 1 to 1000"),
            (("state", "paused"), "state: unknown value \"paused\""),
            (("cursor", "x"), "cursor: \"x\" is not an id"),
            (("colour", "x"), "colour: unknown field"),
        ] {
            let refused = filter(query(&[pair])).unwrap_err().detail;
            assert!(refused.starts_with(detail), "{refused}");
        }
    }

    #[test]
    fn a_record_s_history_is_its_own_and_its_latest() {
        let mut store = Memory::new();
        for attempt in 1..=5 {
            let mut batch = Batch::default();
            batch.event(vec![1, attempt]);
            batch.event(vec![2, attempt]);
            store.commit(batch).unwrap();
        }
        let steps = of_record(&store, decode, RecordId::session(2), 3).unwrap();
        let shown: Vec<(u64, u32)> = steps.iter().map(|(sequence, step)| (*sequence, step.attempt)).collect();
        assert_eq!(shown, [(3, 3), (4, 4), (5, 5)]);
    }
}
