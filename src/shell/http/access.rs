//! Who may ask a route: by the token a request shows, before anything else of it is read.
//!
//! Absent on purpose: what each route asks for, which stands in `ROUTES`; and cookies. A page of another origin can make a
//! browser send no token, so nothing here can be forged by one.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::{Entrance, Method};
use crate::model::RecordId;
use crate::shell::keyring::{Right, Worth};
use crate::shell::problem::Problem;
use crate::shell::tokens;

/// What a route asks of who asks it, where tokens are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// A signature of the body, which is the handler's to verify.
    Signed,
    /// A token with this right.
    Holder(Right),
    /// A token with this right, or that of an attempt of the record `{id}`.
    Attempt(Right),
}

impl Access {
    /// Of a route that says nothing else: who changes something operates.
    pub(super) const fn usual(method: Method) -> Access {
        match method {
            Method::Get => Access::Holder(Right::Read),
            Method::Post | Method::Put | Method::Delete => Access::Holder(Right::Operate),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Nobody was asked.
    Anyone,
    /// The holder of a token with the right that the route asks for.
    Holder,
    /// An attempt of the record that the path names.
    Attempt(RecordId, u32),
}

/// Lets in whom the route lets in, and says in the request who that is.
pub(super) async fn check(
    State((entrance, access)): State<(Arc<Entrance>, Access)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let record = params.ok().and_then(|params| {
        let (_, id) = params.iter().find(|(name, _)| *name == "id")?;
        id.parse().ok()
    });
    match caller(&entrance, access, request.headers(), record) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            let unproven = problem.status == 401;
            let mut response = problem.into_response();
            if unproven {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

/// The token of a request; empty if it shows something else.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        // Another server on the way may have looked at the other one.
        return Some("");
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or_default();
    Some(if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" })
}

fn caller(
    entrance: &Entrance,
    access: Access,
    headers: &HeaderMap,
    record: Option<RecordId>,
) -> Result<Caller, Problem> {
    let (asked, attempts) = match access {
        Access::Open | Access::Signed => return Ok(Caller::Anyone),
        Access::Holder(right) => (right, false),
        Access::Attempt(right) => (right, true),
    };
    let token = bearer(headers);
    match entrance.keyring.worth(token, entrance.clock.now()) {
        Worth::Open => return Ok(Caller::Anyone),
        Worth::Holds(right) if right >= asked => return Ok(Caller::Holder),
        Worth::Holds(right) => {
            let detail = format!("this takes the scope {}; the token has {}", asked.as_str(), right.as_str());
            return Err(Problem::new(403, "forbidden", detail));
        }
        Worth::Nothing => {}
    }
    let Some(token) = token else {
        let detail = "a token is needed: Authorization: Bearer TOKEN, for the command line in DWELL_TOKEN";
        return Err(Problem::new(401, "no_token", detail));
    };
    let proven = tokens::named(token).filter(|(id, attempt)| (entrance.token_ok)(*id, *attempt, token));
    let Some((id, attempt)) = proven else {
        return Err(Problem::new(401, "bad_token", "the token is unknown, expired or revoked"));
    };
    if attempts && record == Some(id) {
        return Ok(Caller::Attempt(id, attempt));
    }
    let detail =
        format!("an attempt of {id} may read, charge and report of {id}, named whole, and nothing else");
    Err(Problem::new(403, "forbidden", detail))
}
