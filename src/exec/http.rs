//! An attempt that is one HTTP request.
//!
//! It has no child, so nothing has to be durable before it may be sent, and it starts at once. The payload is its body,
//! `Idempotency-Key: <id>.<attempt>` its name: a server that keeps it sees at most one of each attempt, also when dwell
//! dies before the answer. The status says what became of it; until when to wait says `limits`.
//! Redirects are not followed, nor proxies asked: what is reached is what the URL names. A request cannot be taken back:
//! after a stop its answer is not reported, but the record's next attempt waits for it.

use std::io::Read as _;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{after, bounded, never, select};
use ureq::http::request::Builder;
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use ureq::{Agent, Body, Error, Timeout};

use super::attempt::{Attempt, Control};
use super::limits;
use super::logs::Log;
use crate::model::{self, Fault, HttpRequest, LimitReport, Report, Reset, Time, code};

/// Longer than any connection takes that is going to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// As much of an answer as is read; more than is kept, because a limit may be named anywhere in an error's details.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// The methods whose requests carry the payload.
const WITH_PAYLOAD: [Method; 3] = [Method::POST, Method::PUT, Method::PATCH];
/// What dwell sets, or what follows from the body.
const OWN_HEADERS: [&str; 4] = ["idempotency-key", "content-length", "transfer-encoding", "connection"];

/// Says what of a request cannot be sent.
pub fn check(request: &HttpRequest) -> Result<(), String> {
    built(request, "").map(drop)
}

/// The request without its body, and whether it takes one.
fn built(request: &HttpRequest, key: &str) -> Result<(Builder, bool), String> {
    let HttpRequest { url, method, headers } = request;
    let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(format!("{url:?} is not a URL: expected http:// or https://, and a host"));
    }
    if !HttpRequest::METHODS.contains(&method.as_str()) {
        let known = HttpRequest::METHODS.join(", ");
        return Err(format!("method {method:?} is not known: expected one of {known}"));
    }
    let takes_body = WITH_PAYLOAD.iter().any(|with| with == method.as_str());
    let mut builder = Request::builder().method(method.as_str()).uri(uri);
    for (name, value) in headers {
        let named = HeaderName::try_from(name).map_err(|_| format!("{name:?} is not a header's name"))?;
        if OWN_HEADERS.contains(&named.as_str()) {
            return Err(format!("header {name:?} is set by dwell"));
        }
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("header {name:?} has a value that no header can have"))?;
        builder = builder.header(named, value);
    }
    if takes_body && !headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
        builder = builder.header(header::CONTENT_TYPE, "application/json");
    }
    if !key.is_empty() {
        builder = builder.header("idempotency-key", key);
    }
    Ok((builder, takes_body))
}

/// The body of an attempt's thread: sends it, and reports the answer unless the attempt is over by then.
pub(super) fn carry_out(attempt: &Attempt, request: &HttpRequest) {
    let start = &attempt.start;
    let (builder, takes_body) = match built(request, &format!("{}.{}", start.id, start.attempt)) {
        Ok((builder, takes_body)) => (traced(attempt, request, builder), takes_body),
        Err(what) => return attempt.tell(Report::Invalid(Fault::new("http", &what))),
    };
    let payload = if takes_body { start.work.payload.clone() } else { Vec::new() };
    let agent = agent(attempt.setup.answer_within);
    let (answered, answer) = bounded(1);
    let send = move || {
        let sent = if takes_body {
            builder.body(payload).map_err(Error::Http).and_then(|request| agent.run(request))
        } else {
            builder.body(()).map_err(Error::Http).and_then(|request| agent.run(request))
        };
        // The attempt may have been left at a shutdown.
        answered.send(sent.map(Answer::read)).ok();
    };
    if let Err(error) = thread::Builder::new().name("request".to_owned()).spawn(send) {
        let message = format!("no thread for the request: {error}");
        return attempt.tell(Report::Unavailable(Fault::new("not_spawned", &message)));
    }
    let mut over = false;
    let mut left_at = never();
    loop {
        select! {
            recv(answer) -> received => {
                if let (Ok(received), false) = (received, over) {
                    report(attempt, request, received);
                }
                return;
            }
            recv(attempt.control) -> message => match message {
                Ok(Control::Release) => {}
                Ok(Control::Shutdown(grace)) => {
                    over = true;
                    left_at = after(grace);
                }
                Ok(Control::Stop { .. } | Control::Superseded | Control::Refused) | Err(_) => over = true,
            },
            recv(left_at) -> _ => return,
        }
    }
}

/// Names the attempt's span to whom it calls, unless the request names one itself.
fn traced(attempt: &Attempt, request: &HttpRequest, builder: Builder) -> Builder {
    let named = request.headers.keys().any(|name| name.eq_ignore_ascii_case("traceparent"));
    match attempt.setup.traceparent.filter(|_| !named) {
        Some(of) => builder.header("traceparent", of(attempt.start.id, attempt.start.attempt)),
        None => builder,
    }
}

fn agent(within: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_WITHIN))
        .timeout_global(Some(within))
        .proxy(None)
        .user_agent(concat!("dwell/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// What came back.
struct Answer {
    head: Response<()>,
    text: String,
}

impl Answer {
    /// The status is the answer; a body that breaks off is kept as far as it came.
    fn read(response: Response<Body>) -> Answer {
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).ok();
        Answer { head: Response::from_parts(parts, ()), text: String::from_utf8_lossy(&bytes).into_owned() }
    }
}

fn report(attempt: &Attempt, request: &HttpRequest, received: Result<Answer, Error>) {
    let (outcome, said) = match received {
        Ok(answer) => {
            let said = format!("{}\n{}", answer.head.status(), answer.text);
            (outcome(&answer.head, &answer.text, (attempt.setup.now)()), said)
        }
        Err(error) => (unanswered(&error), error.to_string()),
    };
    let mut log = Log::open(&attempt.setup.logs, attempt.start.id, attempt.start.attempt);
    for line in format!("{} {}: {said}", request.method, request.url).lines() {
        log.line(line.as_bytes());
    }
    // Whoever hears of the end may read how it came.
    log.flush();
    attempt.tell(outcome);
}

/// What an answer means for the record: its status, its headers about limits, and its text.
pub fn outcome(head: &Response<()>, text: &str, now: Time) -> Report {
    let status = head.status();
    let fault = || Fault::new(&format!("http_{}", status.as_u16()), &format!("{status}: {text}"));
    if let Some(told) = limits::limit(status.as_u16(), head.headers(), text, now) {
        let limit = LimitReport { reset: Reset::At(told.at), ..LimitReport::default() };
        let message = format!("{status}, until when says {}: {text}", told.by);
        return Report::RateLimited(limit, Fault::new(code::RATE_LIMITED, &message));
    }
    match status.as_u16() {
        200..=299 => Report::Succeeded { result: (!text.is_empty()).then(|| model::bounded(text)) },
        400 | 404 | 410 | 413 | 422 => Report::Invalid(fault()),
        // A 403 that names no limit is about permissions, which do not come by waiting.
        401..=403 => Report::NeedsOperator(fault()),
        429 | 529 => Report::Throttled(fault()),
        502..=504 => Report::Unavailable(fault()),
        _ => Report::Failed(fault()),
    }
}

/// Nothing, or nothing of HTTP, came back.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else ureq may tell is about the connection")]
fn unanswered(error: &Error) -> Report {
    let fault = |code: &str| Fault::new(code, &error.to_string());
    match error {
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => Report::Unavailable(fault("connect")),
        Error::Timeout(_) => Report::TimedOut(fault("timed_out")),
        Error::BadUri(_) | Error::Http(_) => Report::Invalid(fault("http")),
        Error::Rustls(_) | Error::Tls(_) => Report::Failed(fault("tls")),
        // How a handshake that fails half-way is told.
        Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => Report::Failed(fault("tls")),
        _ => Report::Unavailable(fault("connect")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, method: &str, header: Option<(&str, &str)>) -> HttpRequest {
        let headers = header.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        HttpRequest { url: url.to_owned(), method: method.to_owned(), headers: headers.collect() }
    }

    fn name(status: u16, headers: &[(&str, &str)]) -> &'static str {
        let mut head = Response::builder().status(status);
        for (name, value) in headers {
            head = head.header(*name, *value);
        }
        outcome(&head.body(()).unwrap(), "said", Time::ZERO).name()
    }

    #[test]
    fn statuses_name_their_cases() {
        for (expected, statuses) in [
            ("succeeded", &[200, 201, 202, 204][..]),
            ("failed", &[302, 304, 405, 409, 500, 501]),
            ("invalid", &[400, 404, 410, 413, 422]),
            ("needs_operator", &[401, 402, 403]),
            ("throttled", &[429, 529]),
            ("unavailable", &[502, 503, 504]),
        ] {
            for status in statuses {
                assert_eq!(name(*status, &[]), expected, "{status}");
            }
        }
    }

    #[test]
    fn a_limit_that_names_its_end_is_a_limit() {
        let hint = [("retry-after", "60")];
        for status in [403, 429, 503] {
            assert_eq!(name(status, &hint), "rate_limited", "{status}");
        }
        assert_eq!(name(529, &hint), "throttled");
        assert_eq!(name(429, &[("retry-after", "soon")]), "throttled");
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        let check = |request: HttpRequest, expected: &str| {
            let what = super::check(&request).unwrap_err();
            assert!(what.contains(expected), "{what}");
        };
        check(request("ftp://host/", "POST", None), "expected http:// or https://, and a host");
        check(request("/path", "POST", None), "expected http:// or https://, and a host");
        check(request("http://host/a b", "POST", None), "is not a URL");
        check(request("http://host/", "post", None), "expected one of POST, PUT, PATCH, GET, HEAD, DELETE");
        check(request("http://host/", "POST", Some(("a b", "c"))), "is not a header's name");
        check(request("http://host/", "POST", Some(("a", "b\r\nc: d"))), "a value that no header can have");
        check(request("http://host/", "POST", Some(("Idempotency-Key", "x"))), "is set by dwell");
        for (url, method) in [("https://host:8443/x?y=1", "PUT"), ("http://127.0.0.1/", "GET")] {
            assert_eq!(super::check(&request(url, method, Some(("Authorization", "Bearer x")))), Ok(()));
        }
    }
}
