//! Many at once: each call is one request to the engine, and so one commit.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use super::ask::{resolve, unexpected};
use super::intake::submission;
use super::once::{Call, Once};
use super::records::{label, show_record, word};
use super::reports::{self, is_token, required_attempt};
use crate::engine::{Answer, Filter, Redrives, Request};
use crate::model::{IdError, Pace, Time};
use crate::shell::fields::Fields;
use crate::shell::problem::Problem;
use crate::shell::view::{self, Document, Object};

/// The most of anything in one call.
const ITEMS_MAX: usize = Filter::LIMIT_MAX;

/// `POST /v1/sessions/batch`.
pub(super) async fn sessions(
    State(shared): State<Arc<Shared>>,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    let read = |fields| Ok(Request::Submit(Box::new(submission(&shared, fields, None)?)));
    let read = list(fields, "sessions")?.into_iter().map(read).collect();
    let show = |answer| {
        let Answer::Admitted { detail, duplicate } = answer else { return None };
        let status = if duplicate { StatusCode::OK } else { StatusCode::CREATED };
        Some((status, view::admitted(&detail, duplicate)))
    };
    each(&shared, once, read, show).await
}

/// `POST /v1/reports`.
pub(super) async fn reports(
    State(shared): State<Arc<Shared>>,
    Call { fields, once }: Call,
) -> Result<Response, Problem> {
    let now = shared.clock.now();
    let read = list(fields, "reports")?.into_iter().map(|fields| report(&shared, fields, now)).collect();
    each(&shared, once, read, show_record).await
}

fn report(shared: &Shared, mut fields: Fields, now: Time) -> Result<Request, Problem> {
    let record = fields.required("record")?;
    let id = record.parse().map_err(|error: IdError| fields.problem("record", &error.to_string()))?;
    let attempt = required_attempt(&mut fields)?;
    if let Some(token) = fields.text("token")? {
        is_token(shared, &token, id, attempt)?;
    }
    Ok(Request::Report { id, attempt, report: reports::read(fields, now)? })
}

/// The only field of the body: a list that is not empty.
fn list(mut fields: Fields, name: &'static str) -> Result<Vec<Fields>, Problem> {
    let expected = format!("expected 1 to {ITEMS_MAX} of them");
    let items = fields.objects(name)?.filter(|items| (1..=ITEMS_MAX).contains(&items.len()));
    let items = items.ok_or_else(|| fields.problem(name, &expected))?;
    fields.finish()?;
    Ok(items)
}

/// Asks what could be read, all of it in one commit, and answers each in its place.
async fn each(
    shared: &Shared,
    once: Once,
    read: Vec<Result<Request, Problem>>,
    show: fn(Answer) -> Option<(StatusCode, Document)>,
) -> Result<Response, Problem> {
    let mut requests = Vec::with_capacity(read.len());
    let mut unread = Vec::with_capacity(read.len());
    for read in read {
        unread.push(read.map(|request| requests.push(request)));
    }
    let show_all = move |answer| {
        let Answer::Each(answers) = answer else { return None };
        let mut answers = answers.into_iter();
        let item = |status: u16, name, told: Document| {
            Object::roomy(32 + told.size()).with("status", u32::from(status)).with(name, told).done()
        };
        let items = unread.into_iter().map(|read| {
            let told = read.and_then(|()| answers.next().ok_or_else(unexpected)?.map_err(Problem::from));
            match told.and_then(|answer| show(answer).ok_or_else(unexpected)) {
                Ok((status, record)) => item(status.as_u16(), "record", record),
                Err(problem) => item(problem.status, "problem", problem.document().into()),
            }
        });
        Some((StatusCode::OK, view::list(items.collect(), None)))
    };
    once.carry_out(shared, Request::Each(requests), show_all).await
}

/// `POST /v1/dead-letters/redrive`.
pub(super) async fn redrive(
    State(shared): State<Arc<Shared>>,
    Call { mut fields, once }: Call,
) -> Result<Response, Problem> {
    if let Some(rate) = fields.text("rate")? {
        return paced(&shared, once, &rate, fields).await;
    }
    let named = fields.texts("ids")?;
    let mut asked = redrives(fields, shared.clock.now())?;
    if let Some(named) = named {
        if named.len() > ITEMS_MAX {
            return Err(Problem::field("ids", format!("expected at most {ITEMS_MAX}")));
        }
        let mut ids = Vec::with_capacity(named.len());
        for id in &named {
            ids.push(resolve(&shared, id).await?);
        }
        asked.ids = Some(ids);
    }
    let show = |answer| {
        let Answer::Redriven(redriven) = answer else { return None };
        Some((StatusCode::ACCEPTED, view::redriven(&redriven)))
    };
    once.carry_out(&shared, Request::RedriveMany(Box::new(asked)), show).await
}

/// With a rate: all that match, so many at a time, by a row that outlives this call.
async fn paced(shared: &Shared, once: Once, rate: &str, mut fields: Fields) -> Result<Response, Problem> {
    let pace: Pace = rate.parse().map_err(|error: String| fields.problem("rate", &error))?;
    for name in ["ids", "label", "limit", "cursor"] {
        if fields.any(name).is_some() {
            return Err(fields.problem(name, "it does not go with rate: a paced redrive takes all that match cause, flow, runtime, org, env, fingerprint and older"));
        }
    }
    let now = shared.clock.now();
    let asked = Box::new(redrives(fields, now)?);
    let asked = Request::Pace { id: shared.ids.redrive(now), asked, pace };
    let show = |answer| {
        let Answer::Paced(paced) = answer else { return None };
        Some((StatusCode::ACCEPTED, view::paced(&paced)))
    };
    once.carry_out(shared, asked, show).await
}

fn redrives(mut fields: Fields, now: Time) -> Result<Redrives, Problem> {
    let limit = fields.number("limit")?.map_or(Some(ITEMS_MAX), |limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=ITEMS_MAX).contains(limit));
    let filter = Filter {
        cause: word(&mut fields, "cause")?,
        label: label(&mut fields)?,
        fingerprint: word(&mut fields, "fingerprint")?,
        flow: fields.text("flow")?,
        runtime: fields.text("runtime")?,
        org: fields.text("org")?,
        env: fields.text("env")?,
        before: word(&mut fields, "cursor")?,
        limit: limit.ok_or_else(|| fields.problem("limit", &format!("expected 1 to {ITEMS_MAX}")))?,
        ..Filter::default()
    };
    let since = |span| Time::ZERO.after(Time::ZERO.until(now).saturating_sub(span));
    let dead_by = fields.span("older")?.map(since);
    let asked = Redrives { ids: None, filter, dead_by, dry_run: fields.flag("dry_run")? };
    fields.finish()?;
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cause;

    fn read(json: &str) -> Result<Redrives, String> {
        let now = Time::from_millis(7_200_000);
        redrives(Fields::parse(json.as_bytes()).unwrap(), now).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_redrive_is_read_whole_and_bounded() {
        let asked = read(
            r#"{"cause":"lost","flow":"f","runtime":"r","org":"o","env":"e","older":"1h","dry_run":true,"limit":7}"#,
        );
        let asked = asked.unwrap();
        assert_eq!((asked.filter.cause, asked.filter.limit), (Some(Cause::Lost), 7));
        assert_eq!((asked.dead_by, asked.dry_run), (Some(Time::from_millis(3_600_000)), true));
        assert_eq!(read("{}").unwrap().filter.limit, ITEMS_MAX);
        assert_eq!(read(r#"{"older":"9999d"}"#).unwrap().dead_by, Some(Time::ZERO));
        for (json, detail) in [
            (r#"{"limit":1001}"#, "limit: expected 1 to 1000"),
            (r#"{"fingerprint":"1"}"#, "fingerprint: \"1\" is no fingerprint"),
            (r#"{"cause":"bad luck"}"#, "cause: unknown value"),
            (r#"{"state":"dead_lettered"}"#, "state: unknown field"),
        ] {
            let refused = read(json).unwrap_err();
            assert!(refused.starts_with(detail), "{json}: {refused}");
        }
    }
}
