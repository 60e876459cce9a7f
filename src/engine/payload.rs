//! What a notice says: one JSON object, the same for a flow's `on_dead_letter` and for `[notify]`. It is documented as
//! `Notice` in `schema/openapi.yaml`.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value as Json, json};

use super::core::Core;
use crate::model::{Name, NoticeEvent, Record, State, Time};

/// Labels longer than this are left out: a thousand notices are one commit.
const LABELS_BYTES_MAX: usize = 16 << 10;

/// The beginning of every notice.
pub(super) fn begun(event: NoticeEvent, count: u64, now: Time) -> Map<String, Json> {
    members([("event", json!(event.as_str())), ("at", moment(now)), ("count", json!(count))])
}

/// What there is to say of a record.
pub(super) fn record(record: &Record, labels: &BTreeMap<String, String>) -> Map<String, Json> {
    let mut said = members([
        ("id", json!(record.id.to_string())),
        ("state", json!(record.state.name().as_str())),
        ("org", json!(&*record.org)),
        ("env", json!(&*record.env)),
        ("runtime", json!(&*record.runtime)),
        ("attempt", json!(record.attempt)),
    ]);
    let bytes: usize = labels.iter().map(|(name, text)| name.len() + text.len()).sum();
    if bytes <= LABELS_BYTES_MAX {
        said.insert("labels".to_owned(), json!(labels));
    }
    let mut maybe = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            said.insert(name.to_owned(), value);
        }
    };
    maybe("flow", record.flow.as_ref().map(|flow| json!(&**flow)));
    maybe("key", record.key.as_ref().map(|key| json!(key)));
    maybe("cause", record.state.cause().map(|cause| json!(cause.as_str())));
    if let State::DeadLettered { at, .. } = record.state {
        maybe("dead_since", Some(moment(at)));
    }
    let fault = record.last_error.as_ref();
    maybe("last_error", fault.map(|fault| json!({ "code": fault.code, "message": fault.message })));
    said
}

/// What there is to say of a runtime as it stands.
pub(super) fn runtime(core: &Core, name: &Name) -> Map<String, Json> {
    let row = core.runtime(name);
    let lane = core.index.lane(name);
    let mut said = members([
        ("runtime", json!(&**name)),
        ("queued", json!(lane.map_or(0, super::index::Lane::queued))),
        ("outstanding", json!(lane.map_or(0, |lane| lane.outstanding.len()))),
    ]);
    if let Some(until) = row.held_until(core.now) {
        let by_operator = row.paused_until.is_some_and(|until| until > core.now);
        let held_by = if by_operator {
            "operator"
        } else {
            row.limited.map_or("operator", |pause| pause.limit.source.as_str())
        };
        said.extend(members([("held_until", moment(until)), ("held_by", json!(held_by))]));
    }
    said
}

/// What there is to say of a flow.
pub(super) fn flow(core: &Core, name: &Name) -> Map<String, Json> {
    members([("flow", json!(&**name)), ("mode", json!(core.mode(name).0.as_str()))])
}

fn members<const N: usize>(pairs: [(&str, Json); N]) -> Map<String, Json> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn moment(time: Time) -> Json {
    let since = Duration::from_millis(time.millis());
    Json::String(humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string())
}
