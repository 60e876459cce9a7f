//! Which shard a request is about: of the id in its path, of the org in its body, or of each item of a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value as Json, json};

use super::super::Arriving;
use super::super::ask::answer;
use super::super::intake::{Reader, expand, read_hook, read_trigger};
use super::{Asked, Front, Refused, document, merge, read_all};
use crate::engine::Filter;
use crate::model::{Pace, RecordId, Slot, TriggerId};
use crate::shell::fields::Fields;
use crate::shell::problem::Problem;

/// To the shard of the record, or trigger, in its path.
pub(super) async fn named(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let path = request.uri().path().to_owned();
    let mut parts = path.splitn(5, '/').skip(2);
    let (list, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some(slot) = slot_of(id) else {
        // The beginning of an id: it must be one record's only, whichever shard that is in.
        let asked = Asked::read(request).await?;
        let shard = find(front, &asked, list, id).await?;
        return Ok(front.ask(shard, &asked).await);
    };
    let first = slot.shard(front.shards);
    let asked = Asked::read(request).await?;
    let response = front.ask(first, &asked).await;
    if response.status() != StatusCode::NOT_FOUND || front.shards == 1 {
        return Ok(response);
    }
    // Ids of a store that was cut into shards later say nothing.
    match find(front, &asked, list, id).await {
        Ok(shard) if shard != first => Ok(front.ask(shard, &asked).await),
        Ok(_) | Err(_) => Ok(response),
    }
}

fn slot_of(id: &str) -> Option<Slot> {
    let record = id.parse::<RecordId>().ok().map(RecordId::slot);
    record.or_else(|| id.parse::<TriggerId>().ok().map(TriggerId::slot))
}

/// The only shard that knows an id, or its beginning.
async fn find(front: &Arc<Front>, asked: &Asked, list: &str, id: &str) -> Result<u32, Refused> {
    let look = asked.get(&format!("/v1/{list}/{id}"))?;
    let answers = front.each((0..front.shards).map(|shard| (shard, look.clone())).collect()).await;
    let (mut found, mut missing) = (Vec::new(), None);
    for (shard, response) in answers {
        if response.status() == StatusCode::NOT_FOUND {
            missing = Some(response);
        } else if response.status().is_success() {
            found.push((shard, document(response).await?));
        } else {
            // It may be there, or be ambiguous there.
            return Err(Refused::There(response));
        }
    }
    match (found.as_slice(), missing) {
        ([(shard, _)], _) => Ok(*shard),
        ([], Some(missing)) => Err(Refused::There(missing)),
        (several, _) => {
            let candidates: Vec<Json> =
                several.iter().filter_map(|(_, found)| found.get("id").cloned()).collect();
            let detail = format!("{id} is not unique: {}", Json::from(candidates.clone()));
            Err(Problem::new(409, "ambiguous", detail).with("candidates", json!(candidates)).into())
        }
    }
}

/// To the shard of the org that its body names, or that the runs have which a trigger makes.
pub(super) async fn of_org(
    front: &Arc<Front>,
    arriving: Arriving,
    request: Request,
) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let reader = Reader { loaded: &front.loaded, ids: &front.ids, clock: &front.entrance.clock };
    let trigger = match arriving {
        Arriving::Trigger => Some(read_trigger(&reader, &asked.headers, &mut Fields::parse(&asked.body)?)?),
        Arriving::Hook => {
            let name = asked.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
            Some(read_hook(&reader, name, &asked.headers, &asked.body)?)
        }
        Arriving::Session => None,
    };
    let slot = match trigger {
        Some(trigger) => expand(&front.loaded, trigger).0.id.slot(),
        None => org_of(asked.json().as_ref()),
    };
    Ok(front.ask(slot.shard(front.shards), &asked).await)
}

/// Of a body, or of one of its items. What is no text is for the shard to refuse.
fn org_of(body: Option<&Json>) -> Slot {
    Slot::of(body.and_then(|body| body.get("org")?.as_str()).unwrap_or("default"))
}

/// Each item to its shard; the answers in the order of the items. One call to a shard is one commit there.
pub(super) async fn items(
    front: &Arc<Front>,
    list: &'static str,
    request: Request,
) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let items = asked.json().and_then(|mut body| body.get_mut(list)?.as_array_mut().map(std::mem::take));
    let items = items.filter(|items| (1..=Filter::LIMIT_MAX).contains(&items.len()));
    // What is wrong with it is said by a shard.
    let Some(items) = items else { return Ok(front.ask(0, &asked).await) };
    let mut shards: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, item) in items.iter().enumerate() {
        let id = item.get("record").and_then(Json::as_str).and_then(slot_of);
        let slot = id.unwrap_or_else(|| org_of(Some(item)));
        shards.entry(slot.shard(front.shards)).or_default().push(at);
    }
    let part = |of: &[usize]| {
        let items: Vec<&Json> = of.iter().filter_map(|at| items.get(*at)).collect();
        asked.with_body(&json!({ list: items }))
    };
    let answers = front.each(shards.iter().map(|(shard, of)| (*shard, part(of))).collect()).await;
    let mut answered = vec![Json::Null; items.len()];
    for ((shard, response), of) in answers.into_iter().zip(shards.values()) {
        let mut told = match document(response).await {
            Ok(document) => merge::items_of(document).into_iter(),
            // The other shards have done their part, so each item says what became of it.
            Err(Refused::There(response)) => {
                let refused = refused_item(response).await;
                vec![refused; of.len()].into_iter()
            }
            Err(here @ Refused::Here(_)) => return Err(here),
        };
        for at in of {
            let told = told.next().unwrap_or_else(|| no_answer(shard));
            if let Some(place) = answered.get_mut(*at) {
                *place = told;
            }
        }
    }
    Ok(answer(StatusCode::OK, json!({ "items": answered })))
}

async fn refused_item(response: Response) -> Json {
    let status = response.status().as_u16();
    let read = axum::body::to_bytes(response.into_body(), super::ANSWER_BYTES_MAX).await.unwrap_or_default();
    let problem: Json = serde_json::from_slice(&read).unwrap_or_default();
    json!({ "status": status, "problem": problem })
}

fn no_answer(shard: u32) -> Json {
    let problem =
        Problem::internal("a shard answered fewer items than it was asked", format!("shard {shard}"));
    json!({ "status": 500, "problem": problem.document() })
}

/// Dead letters by id to their shards; by filter shard after shard, until as many as were asked for are found; with a rate
/// to all shards, each at its part of the rate.
pub(super) async fn redrive(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let Some(Json::Object(body)) = asked.json() else { return Ok(front.ask(0, &asked).await) };
    if let Some(rate) = body.get("rate").and_then(Json::as_str) {
        let Ok(pace) = rate.parse::<Pace>() else { return Ok(front.ask(0, &asked).await) };
        let part = with(&body, "rate", json!(pace.part_of(front.shards).to_string()));
        let (status, documents) = front.gather(&asked.with_body(&part)).await?;
        return Ok(answer(status, merge::redriven(documents)));
    }
    if let Some(ids) = body.get("ids").and_then(Json::as_array) {
        let mut shards: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for id in ids.iter().filter_map(Json::as_str) {
            let shard = match slot_of(id) {
                Some(slot) => slot.shard(front.shards),
                None => find(front, &asked, "records", id).await?,
            };
            shards.entry(shard).or_default().push(id);
        }
        let part = |(shard, ids): (u32, Vec<&str>)| (shard, asked.with_body(&with(&body, "ids", json!(ids))));
        let (status, documents) = read_all(front.each(shards.into_iter().map(part).collect()).await).await?;
        return Ok(answer(status, merge::redriven(documents)));
    }
    by_filter(front, &asked, &body).await
}

fn with(body: &Map<String, Json>, name: &str, value: Json) -> Json {
    let mut body = body.clone();
    body.insert(name.to_owned(), value);
    Json::Object(body)
}

/// Shard after shard. The cursor says which, and where in it.
async fn by_filter(front: &Arc<Front>, asked: &Asked, body: &Map<String, Json>) -> Result<Response, Refused> {
    let most = body.get("limit").and_then(Json::as_u64).unwrap_or(Filter::LIMIT_MAX as u64);
    let cursor = body.get("cursor").and_then(Json::as_str).unwrap_or("0:");
    let (shard, mut at) = cursor.split_once(':').unwrap_or(("", ""));
    let first: u32 = shard.parse().map_err(|_| Problem::field("cursor", "expected one of an answer"))?;
    let (mut documents, mut left, mut next, mut status) = (Vec::new(), most, None, StatusCode::ACCEPTED);
    for shard in first..front.shards {
        if left == 0 && most > 0 {
            next = Some(format!("{shard}:"));
            break;
        }
        let mut part = body.clone();
        part.remove("cursor");
        part.insert("limit".to_owned(), json!(left));
        if !at.is_empty() {
            part.insert("cursor".to_owned(), json!(at));
        }
        at = "";
        let response = front.ask(shard, &asked.with_body(&Json::Object(part))).await;
        status = response.status();
        let told = document(response).await?;
        left -= told.get("matched").and_then(Json::as_u64).unwrap_or(0).min(left);
        let more = told.get("cursor").and_then(Json::as_str).map(|cursor| format!("{shard}:{cursor}"));
        documents.push(told);
        if more.is_some() {
            next = more;
            break;
        }
    }
    let mut merged = merge::redriven(documents);
    if let (Some(next), Json::Object(members)) = (next, &mut merged) {
        members.insert("cursor".to_owned(), json!(next));
    }
    Ok(answer(status, merged))
}

/// A paced redrive is one in each shard that has dead letters of it; its name is all of theirs.
pub(super) async fn stop_redrive(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let ids = asked.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let (mut stopped, mut refused) = (Vec::new(), None);
    for id in ids.split(',') {
        let uri = format!("/v1/redrives/{id}").parse().map_err(|error| Problem::field("path", error))?;
        let one = Asked { uri, ..asked.clone() };
        for (_, response) in front.each((0..front.shards).map(|shard| (shard, one.clone())).collect()).await {
            match document(response).await {
                Ok(row) => stopped.push(row),
                Err(other) => refused = Some(other),
            }
        }
    }
    match (stopped.is_empty(), refused) {
        (true, Some(refused)) => Err(refused),
        (true, None) | (false, _) => Ok(answer(StatusCode::OK, merge::redrive(stopped))),
    }
}

/// Why nothing of a scope starts: an org is in one shard; of the rest, what holds it in any.
pub(super) async fn scope(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let path = percent_encoding::percent_decode_str(asked.uri.path()).decode_utf8_lossy().into_owned();
    if let Some(org) = path.strip_prefix("/v1/scopes/org:").and_then(|rest| rest.strip_suffix("/why")) {
        return Ok(front.ask(Slot::of(org).shard(front.shards), &asked).await);
    }
    let (status, documents) = front.gather(&asked).await?;
    Ok(answer(status, merge::why(documents)))
}

/// The shard of a record, or of the only one whose id begins so.
pub(super) async fn of_record(front: &Arc<Front>, asked: &Asked, id: &str) -> Result<u32, Refused> {
    match slot_of(id) {
        Some(slot) if front.shards == 1 => Ok(slot.shard(1)),
        Some(_) | None => find(front, asked, "records", id).await,
    }
}
