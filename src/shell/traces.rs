//! A span for each attempt, for an OpenTelemetry collector: OTLP over HTTP, as JSON
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>). All attempts of a record are one trace, whose id is the record's
//! ULID, and a span's id follows from record and attempt: so whatever an attempt starts can be told its span beforehand
//! ([`traceparent`]), and nothing is remembered between an attempt's start and its end, also over restarts.
//!
//! A thread sends; nobody waits for it. What it cannot take or send is dropped and counted. Absent on purpose: retries,
//! sampling, payloads and the words of errors.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::hex::hex;
use super::metrics::Metrics;
use crate::engine::Step;
use crate::model::{Name, RecordId, StateName, Time, Transition};

/// Spans that wait to be sent; beyond it they are dropped.
pub const SPANS_QUEUED_MAX: usize = 4096;

/// Spans in one request.
const SPANS_PER_POST_MAX: usize = 512;

/// A collector that takes longer is away; so is one at a stop, which waits for nothing else then.
const POST_WITHIN: Duration = Duration::from_secs(2);

/// Sends one request's body, or says what is the matter.
pub type Post = Box<dyn FnMut(&Json) -> Result<(), String> + Send>;

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    id: RecordId,
    attempt: u32,
    org: Name,
    flow: Option<Name>,
    runtime: Name,
    /// What ended it: an event's name.
    outcome: Cow<'static, str>,
    state: StateName,
    started: Time,
    ended: Time,
}

impl Span {
    /// Of the attempt that a transition ended, if it ended one.
    pub fn of(transition: &Transition, step: &Step) -> Option<Span> {
        let (attempt, started) = step.ended?;
        Some(Span {
            id: transition.id,
            attempt,
            org: step.terms.org.clone(),
            flow: step.terms.flow.clone(),
            runtime: step.terms.runtime.clone(),
            outcome: transition.event.clone(),
            state: transition.to,
            started,
            ended: transition.at.max(started),
        })
    }

    fn document(&self) -> Json {
        let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let nanos = |at: Time| format!("{}000000", at.millis());
        let mut attributes = vec![
            text("dwell.record", &self.id.to_string()),
            json!({ "key": "dwell.attempt", "value": { "intValue": self.attempt.to_string() } }),
            text("dwell.outcome", &self.outcome),
            text("dwell.state", self.state.as_str()),
            text("dwell.org", &self.org),
            text("dwell.runtime", &self.runtime),
        ];
        attributes.extend(self.flow.as_deref().map(|flow| text("dwell.flow", flow)));
        json!({
            "traceId": trace_id(self.id),
            "spanId": span_id(self.id, self.attempt),
            "name": &*self.runtime,
            "kind": 1,
            "startTimeUnixNano": nanos(self.started),
            "endTimeUnixNano": nanos(self.ended),
            "attributes": attributes,
            "status": { "code": code(self.state) },
        })
    }
}

/// Ok, error or unset: a wait for a window or a turn is neither good nor bad.
const fn code(state: StateName) -> u8 {
    match state {
        StateName::Completed => 1,
        StateName::Backoff | StateName::DeadLettered => 2,
        StateName::Queued
        | StateName::Active
        | StateName::RateLimited
        | StateName::Draining
        | StateName::Cancelled => 0,
    }
}

fn trace_id(id: RecordId) -> String {
    let ulid = id.ulid;
    format!("{ulid:032x}")
}

fn span_id(id: RecordId, attempt: u32) -> String {
    let digest =
        Sha256::new().chain_update(id.ulid.to_be_bytes()).chain_update(attempt.to_be_bytes()).finalize();
    hex(digest.get(..8).unwrap_or_default())
}

/// What an attempt hands on to what it calls, by W3C Trace Context: <https://www.w3.org/TR/trace-context/#traceparent-header>.
pub fn traceparent(id: RecordId, attempt: u32) -> String {
    format!("00-{}-{}-01", trace_id(id), span_id(id, attempt))
}

/// The way to the thread that sends. Dropping it sends what waits, as long as the collector takes it.
pub struct Traces {
    spans: Option<Sender<Span>>,
    metrics: Arc<Metrics>,
    /// Closed when the thread is gone.
    gone: Receiver<Infallible>,
}

impl Traces {
    /// Sends to the collector at `otlp`: `http://127.0.0.1:4318`.
    pub fn start(otlp: &str, metrics: Arc<Metrics>) -> io::Result<Traces> {
        let url = format!("{}/v1/traces", otlp.trim_end_matches('/'));
        let config =
            ureq::Agent::config_builder().timeout_global(Some(POST_WITHIN)).max_redirects(0).proxy(None);
        let agent = ureq::Agent::from(config.build());
        let post = move |body: &Json| {
            agent.post(&url).send_json(body).map(drop).map_err(|error| format!("{url}: {error}"))
        };
        Traces::sending(Box::new(post), metrics)
    }

    fn sending(post: Post, metrics: Arc<Metrics>) -> io::Result<Traces> {
        let (spans, waiting) = bounded(SPANS_QUEUED_MAX);
        let (going, gone) = bounded::<Infallible>(0);
        let counted = Arc::clone(&metrics);
        thread::Builder::new().name("traces".to_owned()).spawn(move || {
            send(&waiting, post, &counted);
            drop(going);
        })?;
        Ok(Traces { spans: Some(spans), metrics, gone })
    }

    /// Hands a span over, or drops it. Never blocks.
    pub fn tell(&self, span: Span) {
        if let Some(spans) = &self.spans
            && spans.try_send(span).is_err()
        {
            self.metrics.spans(0, 1);
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.spans = None;
        // Closed by the thread's end; nothing is ever sent on it.
        self.gone.recv_timeout(POST_WITHIN).ok();
    }
}

fn send(waiting: &Receiver<Span>, mut post: Post, metrics: &Metrics) {
    let mut away = false;
    while let Ok(first) = waiting.recv() {
        let spans: Vec<Json> = std::iter::once(first)
            .chain(waiting.try_iter().take(SPANS_PER_POST_MAX - 1))
            .map(|span| span.document())
            .collect();
        let count = spans.len() as u64;
        match post(&request(&spans)) {
            Ok(()) => {
                metrics.spans(count, 0);
                if std::mem::take(&mut away) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                metrics.spans(0, count);
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!("the collector takes no spans, which are dropped: {error}");
                }
            }
        }
    }
}

fn request(spans: &[Json]) -> Json {
    let version = env!("CARGO_PKG_VERSION");
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", "dwell"), text("service.version", version)] },
        "scopeSpans": [{ "scope": { "name": "dwell", "version": version }, "spans": spans }],
    }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::metrics::Looked;

    fn span(attempt: u32) -> Span {
        Span {
            id: RecordId::session(7),
            attempt,
            org: "o".into(),
            flow: None,
            runtime: "r".into(),
            outcome: "succeeded".into(),
            state: StateName::Completed,
            started: Time::ZERO,
            ended: Time::ZERO,
        }
    }

    fn counted(metrics: &Metrics) -> (String, String) {
        let text = metrics.encode(&Looked::default(), &[]).unwrap();
        let of = |result: &str| {
            let sample = format!("dwell_spans_total{{result=\"{result}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&sample)).unwrap().to_owned()
        };
        (of("sent"), of("dropped"))
    }

    #[test]
    fn a_collector_that_hangs_costs_spans_and_nothing_else() {
        let (begun, begins) = bounded(1);
        let (release, released) = bounded::<Infallible>(0);
        let (told, posted) = bounded(SPANS_QUEUED_MAX);
        let mut posts = Vec::new();
        let post: Post = Box::new(move |body| {
            posts.push(body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len());
            if posts.len() == 1 {
                begun.send(()).unwrap();
                released.recv().unwrap_err();
                return Err("it hung".to_owned());
            }
            assert!(posts.iter().all(|spans| *spans <= SPANS_PER_POST_MAX), "{posts:?}");
            told.send(posts.last().copied().unwrap()).unwrap();
            Ok(())
        });
        let metrics = Arc::<Metrics>::default();
        let traces = Traces::sending(post, Arc::clone(&metrics)).unwrap();
        traces.tell(span(1));
        begins.recv().unwrap();
        let more = SPANS_QUEUED_MAX + 10;
        (0..more).for_each(|_| traces.tell(span(2)));
        assert_eq!(counted(&metrics), ("0".to_owned(), "10".to_owned()), "what finds no room");
        drop(release);
        // The end waits for the last ones, but not for as many as a slow machine may have.
        let mut sent = 0;
        while sent + 2 * SPANS_PER_POST_MAX < SPANS_QUEUED_MAX {
            sent += posted.recv().unwrap();
        }
        drop(traces);
        assert_eq!(counted(&metrics), (SPANS_QUEUED_MAX.to_string(), "11".to_owned()));
    }

    #[test]
    fn a_span_is_told_apart_by_its_attempt_and_belongs_to_its_record() {
        let parents = [1, 2].map(|attempt| traceparent(RecordId::session(7), attempt));
        assert_eq!(
            parents[0],
            "00-00000000000000000000000000000007-SPAN-01".replace("SPAN", &span_id(span(1).id, 1))
        );
        assert_eq!(parents[0][..36], parents[1][..36]);
        assert_ne!(parents[0], parents[1]);
        assert_eq!(parents[0].len(), 55);
    }
}
