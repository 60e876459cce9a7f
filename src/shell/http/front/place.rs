//! Which shard a request is about: of the id in its path, of the org in its body, or of each item of a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value as Json, json};

use super::super::Arriving;
use super::super::ask::answer;
use super::super::intake::{Reader, expand, read_hook, read_trigger};
use super::{Asked, Front, Refused, document, merge, read_all};
use crate::engine::Filter;
use crate::model::{RecordId, Slot, TriggerId};
use crate::shell::address::escaped;
use crate::shell::problem::Problem;

/// To the shard of the record, or trigger, in its path.
pub(super) async fn named(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let (list, id) = (part(&asked.uri, 1), part(&asked.uri, 2));
    let Some(slot) = slot_of(&id) else {
        // The beginning of an id: it must be one record's only, whichever shard that is in.
        let shard = find(front, &asked, &list, &id).await?;
        return Ok(front.ask(shard, &asked).await);
    };
    let first = slot.shard(front.shards);
    let response = front.ask(first, &asked).await;
    if response.status() != StatusCode::NOT_FOUND || front.shards == 1 {
        return Ok(response);
    }
    // Ids of a store that was cut into shards later say nothing.
    match find(front, &asked, &list, &id).await {
        Ok(shard) if shard != first => Ok(front.ask(shard, &asked).await),
        Err(Refused::There(missing)) if missing.status() == StatusCode::NOT_FOUND => Ok(response),
        Ok(_) => Ok(response),
        // It may be where nobody answers.
        Err(refused) => Err(refused),
    }
}

/// One of the names between the slashes of a path, as it is meant.
fn part(uri: &Uri, nth: usize) -> String {
    let part = uri.path().split('/').skip(1).nth(nth).unwrap_or_default();
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

fn slot_of(id: &str) -> Option<Slot> {
    let record = id.parse::<RecordId>().ok().map(RecordId::slot);
    record.or_else(|| id.parse::<TriggerId>().ok().map(TriggerId::slot))
}

/// The only shard that knows an id, or its beginning.
async fn find(front: &Arc<Front>, asked: &Asked, list: &str, id: &str) -> Result<u32, Refused> {
    let look = asked.get(&format!("/v1/{list}/{}", escaped(id)))?;
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
    let mut asked = Asked::read(request).await?;
    let reader = Reader { loaded: &front.loaded, ids: &front.ids, clock: &front.entrance.clock };
    let trigger = match arriving {
        Arriving::Trigger => {
            let mut fields = asked.fields()?;
            let trigger = read_trigger(&reader, &asked.headers, &mut fields)?;
            asked = asked.waiting(fields.any("wait").is_some());
            Some(trigger)
        }
        Arriving::Hook => Some(read_hook(&reader, part(&asked.uri, 1), &asked.headers, &asked.body)?),
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
    let slots = items.iter().map(|item| item.get("record").and_then(Json::as_str).and_then(slot_of));
    let slots: Vec<Option<Slot>> = slots.collect();
    let mut homes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, (item, slot)) in items.iter().zip(&slots).enumerate() {
        let slot = slot.unwrap_or_else(|| org_of(Some(item)));
        homes.entry(slot.shard(front.shards)).or_default().push(at);
    }
    let mut answered = vec![Json::Null; items.len()];
    Round { asked: &asked, list, items: &items }.ask(front, &homes, &mut answered).await;
    // Ids of a store that was cut into shards later say nothing: what is not where they say is elsewhere.
    let is_missing = |at: &usize| answered.get(*at).is_some_and(|told| rank(told) == MISSING);
    let strayed: Vec<(usize, Slot)> = slots
        .iter()
        .enumerate()
        .filter_map(|(at, slot)| Some((at, (*slot)?)))
        .filter(|(at, _)| is_missing(at))
        .collect();
    let elsewhere = others(front, &strayed);
    Round { asked: &asked.again(), list, items: &items }.ask(front, &elsewhere, &mut answered).await;
    Ok(answer(StatusCode::OK, json!({ "items": answered })))
}

/// Each shard with what would be in another one, by its slot.
fn others<T: Clone>(front: &Front, strayed: &[(T, Slot)]) -> BTreeMap<u32, Vec<T>> {
    let of = |shard| {
        let of = strayed.iter().filter(|(_, slot)| slot.shard(front.shards) != shard);
        (shard, of.map(|(what, _)| what.clone()).collect::<Vec<T>>())
    };
    (0..front.shards).map(of).filter(|(_, of)| !of.is_empty()).collect()
}

/// Items of a list that shards are asked for, each its own.
struct Round<'a> {
    asked: &'a Asked,
    list: &'static str,
    items: &'a [Json],
}

impl Round<'_> {
    async fn ask(self, front: &Arc<Front>, shards: &BTreeMap<u32, Vec<usize>>, answered: &mut [Json]) {
        let part = |of: &[usize]| {
            let items: Vec<&Json> = of.iter().filter_map(|at| self.items.get(*at)).collect();
            self.asked.with_body(&json!({ self.list: items }))
        };
        let answers = front.each(shards.iter().map(|(shard, of)| (*shard, part(of))).collect()).await;
        for ((shard, response), of) in answers.into_iter().zip(shards.values()) {
            let mut told = match document(response).await {
                Ok(document) => merge::items_of(document).into_iter(),
                // The other shards have done their part, so each item says what became of it.
                Err(refused) => vec![refused_item(refused).await; of.len()].into_iter(),
            };
            for at in of {
                let told = told.next().unwrap_or_else(|| no_answer(shard));
                if let Some(place) = answered.get_mut(*at).filter(|place| rank(place) < rank(&told)) {
                    *place = told;
                }
            }
        }
    }
}

/// It is not in that shard.
const MISSING: u8 = 1;

/// Of two answers to an item of a list, the one that says more counts.
fn rank(answered: &Json) -> u8 {
    match answered.get("status").and_then(Json::as_u64) {
        None => 0,
        Some(404) => MISSING,
        Some(500..) => 2,
        Some(_) => 3,
    }
}

async fn refused_item(refused: Refused) -> Json {
    let response = match refused {
        Refused::Here(problem) => problem.into_response(),
        Refused::There(response) => response,
    };
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
/// to all shards, each at its part of the rate, or to that of the only org it is for.
pub(super) async fn redrive(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    let (body, mut fields) = asked.object()?;
    let (rate, ids, org) = (fields.text("rate")?, fields.texts("ids")?, fields.text("org")?);
    let (limit, cursor) = (fields.number("limit")?, fields.text("cursor")?);
    if rate.is_some() {
        if let Some(org) = org {
            return Ok(front.ask(Slot::of(&org).shard(front.shards), &asked).await);
        }
        // Each carries out its part of it.
        let (status, documents) = front.gather(&asked).await?;
        return Ok(answer(status, merge::redriven(documents)));
    }
    match ids {
        Some(ids) if (1..=Filter::LIMIT_MAX).contains(&ids.len()) => by_ids(front, &asked, &body, &ids).await,
        Some(_) => Ok(front.ask(0, &asked).await),
        None => by_filter(front, &asked, &body, limit, cursor.as_deref()).await,
    }
}

async fn by_ids(
    front: &Arc<Front>,
    asked: &Asked,
    body: &Map<String, Json>,
    ids: &[String],
) -> Result<Response, Refused> {
    let mut homes: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for id in ids {
        let shard = match slot_of(id) {
            Some(slot) => slot.shard(front.shards),
            None => find(front, asked, "records", id).await?,
        };
        homes.entry(shard).or_default().push(id);
    }
    let tell = async |asked: Asked, shards: BTreeMap<u32, Vec<&str>>| {
        let part = |(shard, ids): (u32, Vec<&str>)| (shard, asked.with_body(&with(body, "ids", json!(ids))));
        read_all(front.each(shards.into_iter().map(part).collect()).await).await
    };
    let (status, mut documents) = tell(asked.clone(), homes).await?;
    // As with items: a shard passes over what it has not.
    let matched = merge::redriven(documents.clone());
    let matched = matched.get("ids").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let is_strayed = |id: &&String| !matched.iter().any(|known| known == id.as_str());
    let strayed: Vec<(&str, Slot)> =
        ids.iter().filter(is_strayed).filter_map(|id| Some((id.as_str(), slot_of(id)?))).collect();
    documents.extend(tell(asked.again(), others(front, &strayed)).await?.1);
    Ok(answer(status, merge::redriven(documents)))
}

fn with(body: &Map<String, Json>, name: &str, value: Json) -> Json {
    let mut body = body.clone();
    body.insert(name.to_owned(), value);
    Json::Object(body)
}

/// Shard after shard. The cursor says which, and where in it.
async fn by_filter(
    front: &Arc<Front>,
    asked: &Asked,
    body: &Map<String, Json>,
    limit: Option<u64>,
    cursor: Option<&str>,
) -> Result<Response, Refused> {
    let most = limit.unwrap_or(Filter::LIMIT_MAX as u64);
    let (shard, mut at) = cursor.unwrap_or("0:").split_once(':').unwrap_or(("", ""));
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
    let (mut stopped, mut missing) = (Vec::new(), None);
    for id in part(&asked.uri, 2).split(',') {
        let uri = format!("/v1/redrives/{}", escaped(id));
        let uri = uri.parse().map_err(|error| Problem::field("path", error))?;
        match front.gather(&Asked { uri, ..asked.clone() }).await {
            Ok((_, rows)) => stopped.extend(rows),
            // That part is over.
            Err(Refused::There(response)) if response.status() == StatusCode::NOT_FOUND => {
                missing = Some(response);
            }
            Err(refused) => return Err(refused),
        }
    }
    match missing.filter(|_| stopped.is_empty()) {
        Some(missing) => Err(Refused::There(missing)),
        None => Ok(answer(StatusCode::OK, merge::redrive(stopped))),
    }
}

/// Why nothing of a scope starts: an org is in one shard; of the rest, what holds it in any.
pub(super) async fn scope(front: &Arc<Front>, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read(request).await?;
    if let Some(org) = part(&asked.uri, 2).strip_prefix("org:") {
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
