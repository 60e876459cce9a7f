//! Asks a running server.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

use super::args::Place;
use super::exit::{Failure, UNREACHABLE};
use crate::shell::address;
pub use crate::shell::address::escaped;
use crate::shell::keyring::{self, TokenFileError};

/// Loopback answers at once or not at all; another machine gets a little longer.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The largest answer: a full page of records.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Speaks with one server.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
    /// Whose server it must be, where only the store said where it listens.
    store: Option<String>,
}

impl Client {
    /// To the server at `url`; `http://` may be left out.
    pub fn to(url: &str) -> Client {
        let url = url.trim_end_matches('/');
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_WITHIN))
            .proxy(None)
            .build();
        Client { agent: config.into(), url, token: None, store: None }
    }

    /// To the server that was named, or that the store says it has.
    pub fn find(place: &Place) -> anyhow::Result<Client> {
        if let Some(client) = Client::known(place)? {
            return Ok(client);
        }
        let data = super::load(place, Vec::new())?.data;
        let message = format!(
            "no server has run on the store {}; start one with: dwell serve, or name another's with --server",
            data.display()
        );
        Err(Failure { exit: UNREACHABLE, message }.into())
    }

    /// As [`Client::find`]; `None` if nobody named one and none has run on the store.
    pub fn known(place: &Place) -> anyhow::Result<Option<Client>> {
        let token = token(place)?;
        if let Some(url) = &place.server {
            return Ok(Some(Client::to(url).with_token(token)));
        }
        let config = super::load(place, Vec::new())?;
        let unread = |error: std::io::Error| {
            let data = config.data.display();
            Failure::failed(format!(
                "cannot look into the store {data}: {error}; name its server with --server"
            ))
        };
        let Some(url) = address::read(&config.data).map_err(unread)? else { return Ok(None) };
        // A crash removes no address, and another store's server may listen there by now.
        let store = address::store_header(&std::fs::canonicalize(&config.data)?);
        Ok(Some(Client { store: Some(store), token, ..Client::to(&url) }))
    }

    /// Shows this token instead, if there is one.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Client {
        Client { token: token.or(self.token), ..self }
    }

    /// Whether a dwell answers there.
    pub fn alive(&self) -> bool {
        self.get("/healthz").is_ok_and(|answer| answer.get("alive") == Some(&Json::Bool(true)))
    }

    /// The JSON at `path`.
    pub fn get(&self, path: &str) -> Result<Json, Failure> {
        self.json(self.send("GET", path, &[])?)
    }

    /// What `path` answers to `body`.
    pub fn post(&self, path: &str, body: &Json) -> Result<Json, Failure> {
        self.json(self.send("POST", path, body.to_string().as_bytes())?)
    }

    /// What `path` answers when it is made to be `body`.
    pub fn put(&self, path: &str, body: &Json) -> Result<Json, Failure> {
        self.json(self.send("PUT", path, body.to_string().as_bytes())?)
    }

    /// What `path` answers when it is taken away.
    pub fn delete(&self, path: &str) -> Result<Json, Failure> {
        self.json(self.send("DELETE", path, &[])?)
    }

    /// The bytes at `path`, as they come.
    pub fn stream(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let response = self.send("GET", path, &[])?;
        if response.status().is_success() {
            return Ok(response.into_body().into_reader());
        }
        Err(match self.json(response) {
            Err(failure) => failure,
            Ok(_) => Failure::failed("the server answered something else than it was asked"),
        })
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(store) = &self.store {
            request = request.header(address::STORE_HEADER, store);
        }
        let request =
            request.body(body).map_err(|error| Failure::failed(format!("{}: {error}", self.url)))?;
        self.agent.run(request).map_err(|error| self.unreachable(&error))
    }

    fn json(&self, mut response: Response<Body>) -> Result<Json, Failure> {
        let status = response.status().as_u16();
        let read = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = read.map_err(|error| self.unreachable(&error))?;
        let answer = serde_json::from_str(&text);
        if (200..300).contains(&status) {
            return answer.map_err(|error| Failure::failed(format!("{} answers no JSON: {error}", self.url)));
        }
        let detail = answer.ok().and_then(|problem: Json| Some(problem.get("detail")?.as_str()?.to_owned()));
        let message = detail.unwrap_or_else(|| format!("{} answers {status}", self.url));
        Err(Failure::of_status(status, message))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let message = format!("no server answers at {}: {error}; start one with: dwell serve", self.url);
        Failure { exit: UNREACHABLE, message }
    }
}

/// The token to show: of the file that the command line names, else of the environment. An attempt has its own there, which
/// goes before a file that dwell itself was given.
fn token(place: &Place) -> anyhow::Result<Option<String>> {
    let named = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let file = match (&place.token_file, named("DWELL_TOKEN")) {
        (None, Some(token)) => return Ok(Some(token)),
        (None, None) => named("DWELL_TOKEN_FILE").map(PathBuf::from),
        (Some(file), _) => Some(file.clone()),
    };
    let Some(file) = file else { return Ok(None) };
    let text = keyring::read_private(&file).map_err(|error| {
        let missing = matches!(error, TokenFileError::Missing { .. });
        let none = || format!("{}: there is no such file", file.display());
        Failure::failed(if missing { none() } else { error.to_string() })
    })?;
    Ok(Some(text.trim().to_owned()))
}
