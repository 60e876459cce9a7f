//! Carries a request to another node, whole, and its answer back as it comes.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::super::access::Caller;
use crate::shell::problem::Problem;

/// What a node proves itself to another with.
pub const NODE_HEADER: HeaderName = HeaderName::from_static("dwell-node");

/// Which shard is asked. What has it is never forwarded again.
pub const SHARD_HEADER: &str = "dwell-shard";

/// Who asked the node that forwards.
const CALLER_HEADER: HeaderName = HeaderName::from_static("dwell-caller");

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

    /// Sends it to the node at `address`, which owns the shard.
    pub(super) async fn send(&self, address: &str, shard: u32, mut request: Request) -> Response {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = match format!("{}{path}", address.trim_end_matches('/')).parse() {
            Ok(uri) => uri,
            Err(error) => return unreachable(shard, &error).into_response(),
        };
        *request.uri_mut() = uri;
        let caller = request.extensions().get::<Caller>().copied();
        let headers = request.headers_mut();
        for name in NOT_FORWARDED {
            headers.remove(name);
        }
        let said = [
            (NODE_HEADER, self.proof.clone()),
            (HeaderName::from_static(SHARD_HEADER), shard.to_string()),
            (CALLER_HEADER, caller.map_or_else(String::new, named)),
        ];
        for (name, text) in said {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
        match self.client.request(request).await {
            Ok(mut response) => {
                for name in NOT_FORWARDED {
                    response.headers_mut().remove(name);
                }
                response.map(Body::new)
            }
            Err(error) => unreachable(shard, &error).into_response(),
        }
    }
}

fn unreachable(shard: u32, error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(shard, "the owner of a shard is not reached: {error}");
    let detail = format!("the node that owns shard {shard} is not reached; try again");
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
