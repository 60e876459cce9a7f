//! Keeps web pages out: without tokens, whoever can reach loopback may ask, and a browser reaches it for any page. (With
//! tokens a page has nothing to show, and dwell may be reached under any name.) And clients that look for another store's server, which listened here before. Says to whom it refuses that the
//! connection ends, and to browsers that nothing here is a page.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use super::Entrance;
use crate::shell::address;
use crate::shell::problem::Problem;

/// Refuses a page of another origin, and a name that was made to point here (DNS rebinding). Webhooks are proven by
/// their signature and come through tunnels under any name.
pub(super) fn admit(entrance: &Entrance, request: &Request) -> Result<(), Problem> {
    let store = request.headers().get(address::STORE_HEADER);
    if store.is_some_and(|store| store.as_bytes() != entrance.store.as_bytes()) {
        let detail = "no server runs on this store: another store's listens at its address";
        return Err(Problem::new(421, "other_store", detail));
    }
    let headers = request.headers();
    let foreign =
        [("Host", host(headers)), ("Origin", origin(headers))].into_iter().find(|(_, local)| !local);
    // The token file is looked at last: most requests are local.
    if let Some((name, _)) = foreign
        && !request.uri().path().starts_with("/hooks/")
        && !entrance.keyring.in_force()
    {
        let detail = format!("{name} is not this machine: only loopback names are served");
        return Err(Problem::new(403, "not_local", detail));
    }
    Ok(())
}

/// Whoever is refused may have sent a body that nobody reads; the connection cannot go on behind that. The answer says so,
/// or the next request would be lost on it.
pub(super) fn see_off(has_body: bool, response: &mut Response) {
    let status = response.status();
    if has_body && (status.is_client_error() || status.is_server_error()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Says to browsers what an answer is not: a page, another type than it says, or anything to keep. A handler that answers
/// with a page says so itself.
pub(super) fn plain(response: &mut Response) {
    let said = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in said {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn host(headers: &HeaderMap) -> bool {
    headers.get(header::HOST).is_none_or(|value| value.to_str().is_ok_and(is_local))
}

fn origin(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::ORIGIN) else { return true };
    value.to_str().ok().and_then(|text| text.strip_prefix("http://")).is_some_and(is_local)
}

/// `localhost`, `127.0.0.1` and their like, with or without a port.
fn is_local(authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => authority,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_local() {
        for local in ["localhost", "localhost:7070", "127.0.0.1:7070", "[::1]:7070", "[::1]", "127.9.9.9"] {
            assert!(is_local(local), "{local}");
        }
        for other in
            ["evil.example:7070", "10.0.0.1", "localhost.evil.example", "127.0.0.1.nip.io", "", "null"]
        {
            assert!(!is_local(other), "{other}");
        }
    }
}
