//! Calls that change something and create nothing of their own name: under an `Idempotency-Key` they are carried out
//! once, and the first answer is repeated.
//!
//! The answer is shown on the engine's thread, so that it is kept in the commit it speaks of. What creates (a session, a
//! trigger) takes the header as its name instead (`intake`).

use axum::body::Bytes;
use axum::extract::{FromRequest, Request as HttpRequest};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest, Sha256};

use super::Shared;
use super::ask::{answer, ask, bytes, unexpected};
use crate::engine::{self, Answer, Request, Tell, Told};
use crate::shell::fields::Fields;
use crate::shell::problem::Problem;
use crate::shell::view::Document;

/// Says that an answer is the first one, repeated.
const REPEATED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A call that changes something: its body (an empty one is `{}`), and the key it came under.
pub(super) struct Call {
    pub fields: Fields,
    pub once: Once,
}

/// The idempotency key of a call, if it has one.
pub(super) struct Once(Option<Named>);

/// Digests: of method, path and key; and of the body.
struct Named {
    name: [u8; 32],
    fingerprint: [u8; 32],
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Problem;
    async fn from_request(request: HttpRequest, state: &S) -> Result<Call, Problem> {
        let key = idempotency_key(request.headers())?;
        let asked = key.map(|key| format!("{} {}\n{key}", request.method(), request.uri().path()));
        let mut body = bytes(request, state).await?;
        if body.is_empty() {
            body = Bytes::from_static(b"{}");
        }
        let once = asked.map(|asked| Named {
            // Neither a method nor a path has a line break in it.
            name: Sha256::digest(asked).into(),
            fingerprint: Sha256::digest(&body).into(),
        });
        Ok(Call { fields: Fields::parse(&body)?, once: Once(once) })
    }
}

/// The header is a name like any other, so it goes through the same check.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::field("Idempotency-Key", "expected visible ASCII"))?;
    Fields::query(vec![("Idempotency-Key".to_owned(), text.to_owned())])?.name("Idempotency-Key")
}

impl Once {
    /// Asks the engine and shows its answer; under a key only the first time. `show` answers `None` to a shape that the
    /// request does not promise.
    pub(super) async fn carry_out(
        self,
        shared: &Shared,
        request: Request,
        show: impl FnOnce(Answer) -> Option<(StatusCode, Document)> + Send + 'static,
    ) -> Result<Response, Problem> {
        let Once(Some(Named { name, fingerprint })) = self else {
            let (status, document) = show(ask(shared, request).await?).ok_or_else(unexpected)?;
            return Ok(answer(status, document));
        };
        let tell: Tell = Box::new(move |answer| match show(answer) {
            Some((status, document)) => (status.as_u16(), document.into_bytes()),
            None => (500, Document::from(unexpected().document()).into_bytes()),
        });
        let asked = Request::Once(Box::new(engine::Once { name, fingerprint, request, tell }));
        let Answer::Told(told) = ask(shared, asked).await? else { return Err(unexpected()) };
        told_response(told)
    }
}

fn told_response(Told { status, body, again }: Told) -> Result<Response, Problem> {
    if again && body.is_empty() {
        let detail = "this was carried out the first time; its answer was too long to keep";
        return Err(Problem::new(410, "answer_not_kept", detail));
    }
    let status = StatusCode::from_u16(status).map_err(|_| unexpected())?;
    let json = HeaderValue::from_static("application/json");
    let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
    if again {
        response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_too_long_to_keep_is_not_made_up() {
        let told = |body: &[u8], again| told_response(Told { status: 202, body: body.to_vec(), again });
        assert_eq!(told(b"", true).unwrap_err().code, "answer_not_kept");
        let first = told(b"{}", false).unwrap();
        assert!(first.headers().get(REPEATED).is_none());
        let again = told(b"{}", true).unwrap();
        assert_eq!((again.status(), again.headers().contains_key(REPEATED)), (StatusCode::ACCEPTED, true));
    }
}
