//! One connection to the server: made when it is needed, made again after it was lost. Every call ends in the time it is
//! given, also where the server, or the network, says nothing any more.
//!
//! What is asked of it here may be asked twice, or is looked at by who asks before it is asked again: a connection that was
//! lost does not say what became of the last statement.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Runtime;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::now;
use crate::store::StoreError;

/// What a statement is asked with.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The first pause before a statement, or a connection, is tried again; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long what was sent may stay without a sign that it arrived: then another connection may do better.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// What holds for every statement of a connection: a commit is on stable storage when it is answered, whatever the server
/// does for others. (One that waits for its replicas goes on doing so.) And rows are found by their keys: a plan that was made
/// when a table was small, and is kept, reads all of it. A server that does not know such a setting goes without.
const SESSION: &str = "select set_config('synchronous_commit', 'on', false) \
    where current_setting('synchronous_commit') = 'off'; \
    select set_config(name, 'off', false) \
    from (values ('enable_seqscan'), ('enable_bitmapscan'), ('enable_hashjoin'), ('enable_mergejoin')) as ways (name) \
    where current_setting(name, true) is not null";

/// How long a statement may take, where no lease says so.
const STATEMENT_WITHIN: Duration = Duration::from_secs(5);

/// Which server, which database and as whom.
#[derive(Clone)]
pub struct Server {
    config: Config,
    tls: MakeRustlsConnect,
    statement_within: Duration,
}

impl Server {
    /// As a `postgres://` URL says it (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>),
    /// with the password that stands elsewhere, if one does. With TLS, the server's certificate must be of its name, and of an
    /// authority in the PEM file `authorities`, or of one that browsers trust.
    ///
    /// # Errors
    /// [`StoreError::Address`] if that is no such URL, or no such file.
    pub fn of(
        url: &str,
        password: Option<&str>,
        authorities: Option<&PathBuf>,
    ) -> Result<Server, StoreError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(StoreError::Address { reason: "it does not begin with postgres://".to_owned() });
        }
        let mut config: Config = known_modes(url).parse().map_err(|error: tokio_postgres::Error| {
            // It names the parameter, never its value.
            StoreError::Address { reason: told(&error) }
        })?;
        if let Some(password) = password {
            config.password(password);
        }
        if config.get_dbname().is_none() {
            return Err(StoreError::Address { reason: "it names no database".to_owned() });
        }
        config.application_name("dwell");
        // What another server has may be older than what the shard's row says.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.tcp_user_timeout(SILENCE_MAX);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(SILENCE_MAX);
        }
        let roots = match authorities {
            None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
            Some(path) => {
                // Who names one does not mean to do without, whoever answers.
                if config.get_ssl_mode() == SslMode::Prefer {
                    config.ssl_mode(SslMode::Require);
                }
                read_authorities(path)?
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| StoreError::Address { reason: error.to_string() })?;
        let tls = MakeRustlsConnect::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(Server { config, tls, statement_within: STATEMENT_WITHIN })
    }

    /// The same, for a process with leases of this length: what it gave up waiting for does not go on there, and keep others
    /// from its rows, until they are over.
    pub(super) fn under(self, lease: Duration) -> Server {
        Server { statement_within: (lease / 3).min(STATEMENT_WITHIN), ..self }
    }
}

/// A URL without the two `sslmode`s that the library does not know: what they ask for is checked in any case.
fn known_modes(url: &str) -> String {
    let Some((server, options)) = url.split_once('?') else { return url.to_owned() };
    let known = options.split('&').map(|option| match option {
        "sslmode=verify-ca" | "sslmode=verify-full" => "sslmode=require",
        other => other,
    });
    format!("{server}?{}", known.collect::<Vec<_>>().join("&"))
}

fn read_authorities(path: &PathBuf) -> Result<RootCertStore, StoreError> {
    let unreadable = |reason: String| StoreError::Address { reason: format!("{}: {reason}", path.display()) };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Why a statement has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says no, and would again.
    Refused(String),
    /// It did nothing, and may do it the next time.
    Again(String),
    /// Nobody knows what became of it: the connection was lost, or there was no answer in time.
    Lost(String),
}

impl Failure {
    fn of(error: &tokio_postgres::Error) -> Failure {
        let told = told(error);
        match error.code() {
            Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE => Failure::Again(told),
            Some(code) if *code == SqlState::T_R_DEADLOCK_DETECTED => Failure::Again(told),
            // The server ends, begins, or has no seat for one more; a statement may have been cut off in its middle.
            Some(code) if is_passing(code) => Failure::Lost(told),
            None if is_of_the_way(error) => Failure::Lost(told),
            Some(_) | None => Failure::Refused(told),
        }
    }

    pub(super) fn into_words(self) -> String {
        match self {
            Failure::Refused(words) | Failure::Again(words) | Failure::Lost(words) => words,
        }
    }
}

/// Whether it is the connection that failed, and not what was asked on it, or the certificate of who answers.
fn is_of_the_way(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    error.is_closed() || cause.is_some_and(|cause| cause.kind() != io::ErrorKind::InvalidData)
}

/// Whether what a server says so will pass
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>: classes 08, 53 and 57P0x, a cancelled statement, a commit
/// of which nobody knows, and a server that only reads, where another one writes by now).
fn is_passing(code: &SqlState) -> bool {
    let code = code.code();
    ["08", "53", "57P0", "57014", "40003", "25006"].iter().any(|class| code.starts_with(class))
}

/// The server's own words where it has some; the library's say only which step failed.
fn told(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let hint = said.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        return format!("{}{hint}", said.message());
    }
    let Some(cause) = std::error::Error::source(error) else { return error.to_string() };
    let told = format!("{error}: {cause}");
    if told.contains("invalid peer certificate") {
        return format!(
            "{told} (store.tls_ca names the authority to trust; `?sslmode=disable` does without TLS)"
        );
    }
    told
}

pub(super) struct Connection {
    server: Server,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    open: Option<Open>,
}

impl Drop for Connection {
    /// Where it is dropped nobody may be able to wait.
    fn drop(&mut self) {
        self.open = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Open {
    client: Client,
    /// Prepared on this connection.
    statements: HashMap<&'static str, Statement>,
}

impl Connection {
    /// To `server`, when it is needed.
    pub(super) fn to(server: &Server) -> Result<Connection, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Address { reason: error.to_string() })?;
        Ok(Connection { server: server.clone(), runtime: Some(runtime), open: None })
    }

    /// One statement, asked once, until `deadline`.
    pub(super) fn once(
        &mut self,
        statement: &'static str,
        params: Params<'_>,
        deadline: Instant,
    ) -> Result<Vec<Row>, Failure> {
        let asked = {
            let Connection { server, runtime, open } = self;
            within(runtime.as_ref(), deadline, async {
                let Open { client, statements } = connected(server, open).await?;
                let prepared = match statements.get(statement) {
                    Some(prepared) => prepared.clone(),
                    None => client.prepare(statement).await?,
                };
                statements.insert(statement, prepared.clone());
                client.query(&prepared, params).await
            })
        };
        asked.inspect_err(|failure| self.let_go(failure))
    }

    /// Several statements that are one transaction, asked once.
    pub(super) fn script(&mut self, script: &str, deadline: Instant) -> Result<(), Failure> {
        let asked = {
            let Connection { server, runtime, open } = self;
            within(runtime.as_ref(), deadline, async {
                connected(server, open).await?.client.batch_execute(script).await
            })
        };
        asked.inspect_err(|failure| self.let_go(failure))
    }

    /// A statement that may be carried out twice: asked until it is answered, or it is `deadline`.
    pub(super) fn ask(
        &mut self,
        statement: &'static str,
        params: Params<'_>,
        deadline: Instant,
    ) -> Result<Vec<Row>, Failure> {
        let mut pause = PAUSE;
        loop {
            match self.once(statement, params, deadline) {
                Err(failure @ (Failure::Again(_) | Failure::Lost(_))) => {
                    if !self.pause(&mut pause, deadline) {
                        return Err(failure);
                    }
                }
                answered => return answered,
            }
        }
    }

    /// Lets some time pass before the next attempt, each time more; `false` if there is none left.
    pub(super) fn pause(&self, pause: &mut Duration, deadline: Instant) -> bool {
        if now() + *pause >= deadline {
            return false;
        }
        let length = *pause;
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async move { tokio::time::sleep(length).await });
        }
        *pause = (*pause * 2).min(PAUSE_MAX);
        true
    }

    /// Another connection may do better, also where the server said no: what was prepared on this one may be of no use any more.
    fn let_go(&mut self, failure: &Failure) {
        if matches!(failure, Failure::Lost(_) | Failure::Refused(_)) {
            self.open = None;
        }
    }
}

/// The first pause there is between two attempts.
pub(super) const fn first_pause() -> Duration {
    PAUSE
}

/// An attempt has half of what is left, so that there is time for another.
fn within<T>(
    runtime: Option<&Runtime>,
    deadline: Instant,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    let left = deadline.saturating_duration_since(now()) / 2;
    let Some(runtime) = runtime else { return Err(Failure::Lost("it is closed".to_owned())) };
    match runtime.block_on(async { tokio::time::timeout(left, asked).await }) {
        Ok(answer) => answer.map_err(|error| Failure::of(&error)),
        Err(_) => Err(Failure::Lost("it does not answer in time".to_owned())),
    }
}

async fn connected<'a>(
    server: &Server,
    open: &'a mut Option<Open>,
) -> Result<&'a mut Open, tokio_postgres::Error> {
    let client = match open.take() {
        Some(still) if !still.client.is_closed() => return Ok(open.insert(still)),
        Some(_) | None => {
            let (client, connection) = server.config.connect(server.tls.clone()).await?;
            // It moves bytes while somebody waits for an answer, and ends with the client.
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!("a connection to PostgreSQL ended: {error}");
                }
            });
            let within = server.statement_within.as_millis();
            client.batch_execute(&format!("set statement_timeout = {within}; {SESSION}")).await?;
            client
        }
    };
    Ok(open.insert(Open { client, statements: HashMap::new() }))
}
