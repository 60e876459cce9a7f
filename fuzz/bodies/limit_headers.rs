//! Any answer to a request, at any time: read without a panic into a report that the machine takes; whatever it says of
//! limits is waited for within bounds, and a good `Retry-After` decides before all else.
//!
//! The input is a line with the status and the time (epoch milliseconds), header lines, an empty line, and the body.

use std::collections::BTreeMap;
use std::time::Duration;

use dwell::exec::http::outcome;
use dwell::machine;
use dwell::model::{
    Action, Event, HttpRequest, Policy, Record, RecordId, Report, Reset, State, Submission, Time, Work,
};
use ureq::http::{HeaderName, HeaderValue, Response, header::RETRY_AFTER};

/// A header may stand several times; more lines than these are not read.
const HEADERS_MAX: usize = 100;

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split_whitespace();
    let Some(Ok(mut head)) = first.next().map(|status| Response::builder().status(status).body(())) else {
        return;
    };
    let now = Time::from_millis(first.next().and_then(|millis| millis.parse().ok()).unwrap_or_default());
    for (name, value) in lines.filter_map(|line| line.split_once(':')).take(HEADERS_MAX) {
        let (name, value) = (name.trim().parse::<HeaderName>(), HeaderValue::from_str(value.trim()));
        if let (Ok(name), Ok(value)) = (name, value) {
            head.headers_mut().append(name, value);
        }
    }

    let report = outcome(&head, body, now);
    assert_eq!(report, outcome(&head, body, now), "the same makes the same");
    is_taken(&report, now);
    retry_after_decides(head, body, now, bytes.len() as u64 * 997);
}

/// It ends the attempt, and what the record then waits for is ahead and within the policy's bounds.
fn is_taken(report: &Report, now: Time) {
    assert!(report.is_terminal(), "{report:?}");
    let policy = Policy::default();
    let event = Event::Report { attempt: 1, report: report.clone() };
    let after = machine::step(&active(now, &policy), &event, now, &policy).unwrap().record;
    assert!(!after.state.outstanding(), "{after:?}");
    if let State::RateLimited { until, .. } = after.state {
        let furthest = now.after(policy.limits.max_wait).after(policy.limits.jitter);
        assert!((now..=furthest).contains(&until), "{until:?} at {now:?} by {report:?}");
        assert!(now < until || now == Time::MAX, "{report:?} is no wait");
    }
}

fn active(now: Time, policy: &Policy) -> Record {
    let request = HttpRequest { url: "http://host/".into(), method: "POST".into(), headers: BTreeMap::new() };
    let work = Work::of(Action::Http(request));
    let submission = Submission::of(RecordId::session(1 << 90), "api".into(), work);
    let queued = machine::admit(submission, 1, now, policy).0;
    machine::step(&queued, &Event::Dispatch, now, policy).unwrap().record
}

/// With one that is good nothing else counts, and more seconds are later; one that is not is as good as absent.
fn retry_after_decides(mut head: Response<()>, body: &str, now: Time, seconds: u64) {
    let mut with = |value: Option<String>| {
        head.headers_mut().remove(RETRY_AFTER);
        if let Some(value) = value {
            head.headers_mut().insert(RETRY_AFTER, value.parse().unwrap());
        }
        outcome(&head, body, now)
    };
    let without = with(None);
    assert_eq!(with(Some("soon".to_owned())), without);
    assert_eq!(with(Some(format!("-{seconds}"))), without);
    let at = |report: &Report| {
        if let Report::RateLimited(limit, _) = report { Some(limit.reset.clone()) } else { None }
    };
    let (sooner, later) = (with(Some(seconds.to_string())), with(Some((seconds + 1).to_string())));
    if [403, 429, 503].contains(&head.status().as_u16()) {
        let moment = |seconds| Some(Reset::At(now.after(Duration::from_secs(seconds))));
        assert_eq!((at(&sooner), at(&later)), (moment(seconds), moment(seconds + 1)));
    } else {
        assert_eq!((&sooner, &later), (&without, &without), "{} is no limit", head.status());
    }
}
