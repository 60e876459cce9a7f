//! The dashboard at `/`: web files that are a part of the binary, read by any browser without a build step.
//!
//! What they show comes from the JSON API, as for any other client. Absent on purpose: state, and anything that differs
//! from one request to the next; whoever may ask for these files learns nothing of the store.

mod files;

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use crate::shell::hex::hex;
use crate::shell::problem::Problem;
use files::FILES;

/// Scripts, styles and connections of this server only; nothing inline, no frame around it, no form that leaves it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One web file.
struct File {
    /// Below `/ui/`.
    path: &'static str,
    bytes: &'static [u8],
}

/// Of all files together: they are made for each other, so one that changed makes all of them new.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for file in FILES {
        hash.update(file.path);
        hash.update(file.bytes);
    }
    format!("\"{}\"", hex(hash.finalize().get(..8).unwrap_or_default()))
});

/// Everything that the page loads.
pub(super) fn assets<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/ui/{*path}", get(asset))
}

/// `GET /`.
pub(super) async fn page(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    serve(&path, &headers)
}

fn serve(path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.path == path) else {
        return Problem::not_found("there is no such file of the dashboard").into_response();
    };
    // The tag is asked for each time: a browser that holds files of two builds would mix them.
    let common = [
        (header::ETAG, TAG.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if seen.is_some_and(|seen| seen.split(',').any(|tag| tag.trim().trim_start_matches("W/") == *TAG)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, kind(file.path))], file.bytes).into_response()
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests;
