//! Carries a request to another node, whole, and its answer back as it comes.
//!
//! No request waits for ever: its answer begins in time ([`Asked::within`]), and ends when its shard has another owner, or none,
//! by what this node sees. A node that stands still has neither an error nor an end by itself.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::super::access::Caller;
use super::Asked;
use crate::shell::problem::Problem;
use crate::shell::time;

/// What a node proves itself to another with.
pub const NODE_HEADER: HeaderName = HeaderName::from_static("dwell-node");

/// Which shard is asked. What has it is never forwarded again.
pub const SHARD_HEADER: &str = "dwell-shard";

/// Who asked the node that forwards.
const CALLER_HEADER: HeaderName = HeaderName::from_static("dwell-caller");

const NOT_ITS_OWNER: &str = "it owns the shard no more";

/// Nodes are near each other.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Of one connection only (RFC 9110, 7.6.1), or said anew.
const NOT_FORWARDED: [HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::HOST, header::TE];

/// The way to other nodes.
pub(super) struct Forward {
    client: Client<HttpConnector, Body>,
    proof: String,
}

impl Forward {
    pub(super) fn new(proof: String) -> Forward {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        connector.set_nodelay(true);
        Forward { client: Client::builder(TokioExecutor::new()).build(connector), proof }
    }

    /// Sends it to the node at `address`, which owns the shard until `moved` has ended. So does the answer.
    pub(super) async fn to_shard(
        &self,
        address: &str,
        shard: u32,
        asked: &Asked,
        moved: impl Future<Output = ()> + Send + 'static,
    ) -> Response {
        let mut moved: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(moved);
        let told = tokio::select! {
            told = self.send(address, Some(shard), asked) => told,
            () = &mut moved => Err(NOT_ITS_OWNER.to_owned()),
        };
        match told {
            Ok(response) => response.map(|body| Body::new(Owned { body: Body::new(body), moved })),
            Err(error) => {
                tracing::warn!(shard, "the owner of a shard is not reached: {error}");
                unreachable(&format!("the node that owns shard {shard} is not reached; try again"))
                    .into_response()
            }
        }
    }

    /// Sends it to the node at `address`, about none of its shards.
    pub(super) async fn to_node(&self, address: &str, asked: &Asked) -> Result<StatusCode, String> {
        Ok(self.send(address, None, asked).await?.status())
    }

    async fn send(
        &self,
        address: &str,
        shard: Option<u32>,
        asked: &Asked,
    ) -> Result<Response<Incoming>, String> {
        let mut request = asked.request();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("{}{path}", address.trim_end_matches('/')).parse::<Uri>();
        *request.uri_mut() = uri.map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        for name in NOT_FORWARDED {
            headers.remove(name);
        }
        let said = [
            (NODE_HEADER, Some(self.proof.clone())),
            (HeaderName::from_static(SHARD_HEADER), shard.map(|shard| shard.to_string())),
            (CALLER_HEADER, asked.caller.map(named)),
        ];
        for (name, text) in said {
            headers.remove(&name);
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(name, value);
            }
        }
        let answered = timeout(asked.within, self.client.request(request)).await;
        let answered =
            answered.map_err(|_| format!("no answer within {}", time::format_span(asked.within)))?;
        let mut response = answered.map_err(|error| error.to_string())?;
        for name in NOT_FORWARDED {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }
}

/// What is left of an answer, as long as who gives it owns the shard.
struct Owned {
    body: Body,
    moved: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for Owned {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                self.moved.as_mut().poll(context).map(|()| Some(Err(axum::Error::new(NOT_ITS_OWNER))))
            }
            ready @ Poll::Ready(_) => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn unreachable(detail: &str) -> Problem {
    Problem::new(503, "owner_unreachable", detail)
}

fn named(caller: Caller) -> String {
    match caller {
        Caller::Anyone => "anyone".to_owned(),
        Caller::Holder => "holder".to_owned(),
        Caller::Attempt(id, attempt) => format!("{id}.{attempt}"),
    }
}

/// Who asked, as the node that forwards it says.
pub(super) fn caller(headers: &HeaderMap) -> Caller {
    let text = headers.get(CALLER_HEADER).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let attempt = || {
        let (id, attempt) = text.split_once('.')?;
        Some(Caller::Attempt(id.parse().ok()?, attempt.parse().ok()?))
    };
    match text {
        "holder" => Caller::Holder,
        _ => attempt().unwrap_or(Caller::Anyone),
    }
}
