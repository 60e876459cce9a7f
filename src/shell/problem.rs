//! RFC 9457 problem documents: how a refusal or a failure looks to a client.

use serde_json::{Map, Value as Json, json};

use super::{time, view};
use crate::engine::Closed;
use crate::model::{Early, Rejected};

/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs.
    pub code: &'static str,
    /// What is the matter, in a sentence for people.
    pub detail: String,
    /// Members of its own, like `candidates`.
    pub extra: Map<String, Json>,
}

impl Problem {
    /// One without extra members.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), extra: Map::new() }
    }

    /// A field of the request that cannot be used, 400.
    pub fn field(field: &str, message: impl std::fmt::Display) -> Problem {
        Problem::new(400, "bad_request", format!("{field}: {message}")).with("field", json!(field))
    }

    /// Nothing by that id, 404.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(404, "not_found", detail)
    }

    /// Something broke here, 500; the cause is logged, not told.
    pub fn internal(what: &str, error: impl std::fmt::Display) -> Problem {
        tracing::error!(%error, "{what}");
        Problem::new(500, "internal", what)
    }

    /// With one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Json) -> Problem {
        self.extra.insert(name.to_owned(), value);
        self
    }

    /// The document.
    pub fn document(&self) -> Json {
        let mut document = self.extra.clone();
        let members = [
            ("type", json!(format!("urn:dwell:problem:{}", self.code))),
            ("title", json!(title(self.status))),
            ("status", json!(self.status)),
            ("detail", json!(self.detail)),
            ("code", json!(self.code)),
        ];
        document.extend(members.map(|(name, value)| (name.to_owned(), value)));
        Json::Object(document)
    }
}

const fn title(status: u16) -> &'static str {
    match status {
        400 => "bad request",
        401 => "not proven",
        403 => "forbidden",
        404 => "not found",
        405 => "method not allowed",
        408 => "too slow",
        409 => "refused by state",
        410 => "gone",
        413 => "too large",
        422 => "cannot be carried out",
        429 => "too many",
        501 => "not of this store",
        503 => "not now",
        507 => "no room",
        _ => "internal error",
    }
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Problem {
        let status = match &rejected {
            Rejected::NotFound { .. }
            | Rejected::NotDrained { .. }
            | Rejected::UnknownRedrive { .. }
            | Rejected::UnknownFlow { .. } => 404,
            Rejected::Illegal { .. }
            | Rejected::StaleAttempt { .. }
            | Rejected::DrainsFull { .. }
            | Rejected::ModelsFull { .. }
            | Rejected::FlowOff { .. }
            | Rejected::CapabilitiesMissing { .. }
            | Rejected::CutoverEarly { .. } => 409,
            Rejected::UnknownRuntime { .. } | Rejected::NoLimit { .. } | Rejected::KeyReused => 422,
            Rejected::BudgetExhausted { .. }
            | Rejected::QueueFull { .. }
            | Rejected::ClaimsFull { .. }
            | Rejected::TooManyRedrives { .. } => 429,
            Rejected::Stopping => 503,
            Rejected::StoreFull(_) => 507,
        };
        let problem = Problem::new(status, rejected.code(), rejected.to_string());
        match rejected {
            Rejected::Illegal { state, event, .. } => {
                problem.with("state", json!(state.as_str())).with("event", json!(event))
            }
            Rejected::StaleAttempt { latest, state, .. } => {
                problem.with("state", json!(state.as_str())).with("latest_attempt", json!(latest))
            }
            Rejected::BudgetExhausted { used, limit } => {
                problem.with("used", json!(used)).with("limit", json!(limit))
            }
            Rejected::QueueFull { scope, queued, limit } => {
                problem.with("scope", json!(scope)).with("queued", json!(queued)).with("limit", json!(limit))
            }
            Rejected::StoreFull(space) => {
                problem.with("free", json!(space.free)).with("min_free", json!(space.min_free))
            }
            Rejected::CapabilitiesMissing { missing } => {
                problem.with("missing", missing.iter().map(view::missing).collect())
            }
            Rejected::CutoverEarly { flows } => {
                let early = |early: &Early| match early.earliest {
                    Some(at) => json!({ "flow": &*early.flow, "earliest": time::format(at) }),
                    None => json!({ "flow": &*early.flow }),
                };
                problem.with("early", flows.iter().map(early).collect())
            }
            Rejected::NotFound { .. }
            | Rejected::UnknownRedrive { .. }
            | Rejected::NoLimit { .. }
            | Rejected::NotDrained { .. }
            | Rejected::DrainsFull { .. }
            | Rejected::ModelsFull { .. }
            | Rejected::UnknownRuntime { .. }
            | Rejected::UnknownFlow { .. }
            | Rejected::FlowOff { .. }
            | Rejected::Stopping
            | Rejected::KeyReused => problem,
            Rejected::ClaimsFull { limit } | Rejected::TooManyRedrives { limit } => {
                problem.with("limit", json!(limit))
            }
        }
    }
}

impl From<Closed> for Problem {
    fn from(closed: Closed) -> Problem {
        let (status, code) = match closed {
            Closed::Stopped => (503, "stopping"),
            Closed::Full => (503, "busy"),
            Closed::TooLarge => (413, "too_large"),
        };
        Problem::new(status, code, closed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Measure, Missing, RecordId, Space, StateName, Time};

    fn full() -> Space {
        Space { store: "./dwell-data".into(), free: 12 << 20, min_free: 256 << 20 }
    }

    #[test]
    fn a_full_store_says_how_full_it_is() {
        let document = Problem::from(Rejected::StoreFull(full())).document();
        let detail = "store ./dwell-data has 12 MiB free, store.min_free is 256 MiB: new work is refused until there is room";
        assert_eq!(document["detail"], detail);
        assert_eq!((&document["free"], &document["min_free"]), (&json!(12 << 20), &json!(256 << 20)));
    }

    #[test]
    fn every_refusal_has_its_status_and_its_words() {
        let id = RecordId::session(0);
        let illegal =
            Rejected::Illegal { id, event: "redrive", state: StateName::Backoff, hint: "not dead_lettered" };
        let missing = Missing {
            flow: "x".into(),
            need: "runtime y".to_owned(),
            why: "runtime y is not configured".to_owned(),
        };
        let early = Early { flow: "x".into(), earliest: Some(Time::ZERO) };
        let table = [
            (illegal, 409, "illegal_transition"),
            (
                Rejected::StaleAttempt { id, named: 1, latest: 2, state: StateName::Active },
                409,
                "stale_attempt",
            ),
            (Rejected::BudgetExhausted { used: 20, limit: 20 }, 429, "budget_exhausted"),
            (Rejected::NoLimit { id, measure: Measure::Tokens }, 422, "no_limit"),
            (Rejected::NotFound { id: id.to_string() }, 404, "not_found"),
            (Rejected::UnknownRuntime { name: "x".into() }, 422, "unknown_runtime"),
            (Rejected::UnknownRedrive { id: crate::model::RedriveId(1) }, 404, "not_found"),
            (Rejected::TooManyRedrives { limit: 16 }, 429, "too_many_redrives"),
            (Rejected::QueueFull { scope: "o/e".to_owned(), queued: 2, limit: 2 }, 429, "queue_full"),
            (Rejected::StoreFull(full()), 507, "store_full"),
            (Rejected::UnknownFlow { name: "x".into() }, 404, "unknown_flow"),
            (Rejected::FlowOff { name: "x".into() }, 409, "flow_off"),
            (Rejected::CapabilitiesMissing { missing: vec![missing] }, 409, "capabilities_missing"),
            (Rejected::CutoverEarly { flows: vec![early] }, 409, "cutover_early"),
            (Rejected::KeyReused, 422, "idempotency_key_reused"),
        ];
        for (rejected, status, code) in table {
            let text = rejected.to_string();
            let document = Problem::from(rejected).document();
            assert_eq!(document["status"], status);
            assert_eq!(document["code"], code);
            assert_eq!(document["detail"], text);
            assert_eq!(document["type"], format!("urn:dwell:problem:{code}"));
        }
    }
}
