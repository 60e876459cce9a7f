//! Configuration: defaults < `dwell.toml` < `DWELL_*` < flags, checked as a whole before anything runs.
//!
//! Every key has a default, so no file is needed. The keys themselves are data, in `keys`. Absent on purpose:
//! reading secrets before a server needs them.

pub mod keys;
mod layers;
mod postgres;
mod secret;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

pub use layers::{Layers, Origin, Problem, Setting, Settings};
pub use postgres::Postgres;
pub use secret::SecretRef;
pub use value::{StoreUrl, Value};

use crate::engine;
use crate::exec::Adapter;
use crate::model::{Curve, LimitPolicy, Mode, Name, NoticeEvent, Policy, Retry, Timeouts};
use crate::shell::http::Limits;
use crate::shell::keyring::TokenFile;

/// The file that is read when none is named and it is there.
pub const FILE: &str = "dwell.toml";

/// A stop needs this long besides the drain: to sync, and to close what listens.
const STOP_MARGIN: Duration = Duration::from_secs(1);

/// The adapter of a name that was checked when it was read.
fn adapter(text: &str) -> Adapter {
    match text {
        "claude" => Adapter::Claude,
        "codex" => Adapter::Codex,
        "gemini" => Adapter::Gemini,
        "opencode" => Adapter::Opencode,
        _ => Adapter::Plain,
    }
}

/// How attempts of a runtime are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// How the program's output is read.
    pub adapter: Adapter,
    /// Starts an agent; `{prompt}` and `{session}` are filled. Empty: the adapter's own.
    pub argv: Vec<String>,
    /// Resumes one. Empty: the adapter's own.
    pub resume_argv: Vec<String>,
    /// Attempts outstanding at once.
    pub concurrency: u32,
    /// What a limit holds of it, and how it comes back after a pause.
    pub pacing: engine::Pacing,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Working directory, if not dwell's own.
    pub cwd: Option<PathBuf>,
}

/// Whose webhooks a source takes, and what proves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `github`, `forgejo`, `gitlab` or `standard`.
    pub kind: String,
    /// Any of them may have signed.
    pub secrets: Vec<SecretRef>,
}

/// Who is told what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Where to.
    pub url: String,
    /// How.
    pub method: String,
    /// With these; a value may be a reference to where it stands.
    pub headers: BTreeMap<String, String>,
    /// Of what.
    pub events: Vec<NoticeEvent>,
    /// Of records of these flows only; empty is any.
    pub flows: Vec<String>,
    /// Of records of these orgs only; empty is any.
    pub orgs: Vec<String>,
    /// At most one notice in this.
    pub every: Duration,
}

/// Where records are kept.
#[derive(Clone, Debug)]
pub enum Store {
    /// In the directory [`Config::data`].
    Files,
    /// In PostgreSQL.
    Postgres(Postgres),
}

/// How log lines look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// JSON lines, else text.
    pub json: bool,
    /// A `tracing_subscriber` filter.
    pub level: String,
}

/// Everything configured, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// The tokens that are accepted, if not those in the store's directory.
    pub token_file: Option<PathBuf>,
    /// How much is served at once.
    pub limits: Limits,
    /// Where records are kept.
    pub store: Store,
    /// The directory of a store in files, or of what a node keeps beside a store in PostgreSQL.
    pub data: PathBuf,
    /// New work is refused while the disk has less than this free.
    pub min_free: u64,
    /// Bytes of a journal file.
    pub segment_bytes: u64,
    /// Where flow files are; `None`: nobody named one and `./flows` is not there.
    pub flows: Option<PathBuf>,
    /// The mode of flows until somebody names one.
    pub mode: Mode,
    /// How long a flow must have been in shadow before it goes live; zero asks for nothing.
    pub min_shadow: Duration,
    /// The numbers the rules use.
    pub policy: Policy,
    /// What an agent is told when its window has reset.
    pub resume_prompt: String,
    /// What an agent is told when its session goes on otherwise.
    pub continue_prompt: String,
    /// How long outstanding attempts may finish at a stop.
    pub drain_timeout: Duration,
    /// How long an `http` attempt waits for its answer.
    pub answer_within: Duration,
    /// Between SIGTERM and SIGKILL.
    pub kill_after: Duration,
    /// The whole stop.
    pub shutdown_timeout: Duration,
    /// Where segments of the journal are kept for good.
    pub archive: Option<PathBuf>,
    /// How long finished records are kept.
    pub finished_for: Duration,
    /// Finished records kept.
    pub finished_max: u32,
    /// How long transitions are kept.
    pub history_for: Duration,
    /// Bytes of journal that are kept for them.
    pub history_bytes: u64,
    /// By name; `shell` and `claude` are always among them.
    pub runtimes: BTreeMap<Name, Runtime>,
    /// By name.
    pub sources: BTreeMap<Name, Source>,
    /// Records that may be queued in all.
    pub queued_max: u32,
    /// The burst gate and its drainer.
    pub burst: engine::Burst,
    /// By name, those that differ from the defaults.
    pub orgs: BTreeMap<Name, engine::Org>,
    /// Who is told what, by name.
    pub notify: BTreeMap<Name, Notify>,
    /// How long a runtime that nothing holds may start nothing of what waits.
    pub stalled_after: Duration,
    /// How log lines look.
    pub log: Log,
    /// Where spans of attempts are sent.
    pub otlp: Option<String>,
    /// To be said at start, one line each.
    pub warnings: Vec<String>,
    settings: BTreeMap<String, Setting>,
}

/// All that is wrong with a configuration, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks all layers.
    pub fn load(layers: &Layers) -> Result<Config, ConfigError> {
        let mut settings = Settings::read(layers);
        check(&mut settings);
        if !settings.problems.is_empty() {
            settings.problems.sort_by(|a, b| a.at.cmp(&b.at));
            return Err(ConfigError(settings.problems));
        }
        Ok(build(settings.values))
    }

    /// Where the tokens are that are accepted.
    pub fn tokens(&self) -> TokenFile {
        TokenFile::at(self.token_file.clone().unwrap_or_else(|| self.data.join("tokens")))
    }

    /// Whether `listen` is served only with tokens: others than this machine reach it, or somebody named their file.
    pub fn needs_tokens(&self, listen: SocketAddr) -> bool {
        !listen.ip().is_loopback() || self.token_file.is_some()
    }

    /// The environment variables that a secret is read from.
    pub fn secret_variables(&self) -> BTreeSet<String> {
        let sources = self.sources.values().flat_map(|source| source.secrets.iter().cloned());
        let headers = self.notify.values().flat_map(|notify| notify.headers.values());
        let password = match &self.store {
            Store::Postgres(postgres) => postgres.password.clone(),
            Store::Files => None,
        };
        let references = sources.chain(password).chain(headers.filter_map(|value| value.parse().ok()));
        let variable = |secret| match secret {
            SecretRef::Env(name) => Some(name),
            SecretRef::File(_) | SecretRef::Plain(_) => None,
        };
        references.filter_map(variable).collect()
    }

    /// Every key with its effective value and where it came from, as TOML lines with comments.
    pub fn describe(&self) -> String {
        let lines: Vec<(String, &Origin)> = (self.settings.iter())
            .filter_map(|(path, setting)| {
                let kind = keys::find(path)?.kind;
                Some((format!("{path} = {}", value::Shown(kind, &setting.value)), &setting.origin))
            })
            .collect();
        let width = lines
            .iter()
            .map(|(line, _)| line.chars().count())
            .filter(|width| *width <= 60)
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for (line, origin) in lines {
            // Writing to a String cannot be refused.
            writeln!(text, "{line:width$}  # {origin}").unwrap_or_default();
        }
        text
    }

    /// As [`Config::describe`], for programs: each key with its value as TOML would have it, and where that came from.
    pub fn items(&self) -> Vec<Json> {
        let item = |(path, setting): (&String, &Setting)| {
            let shown = value::Shown(keys::find(path)?.kind, &setting.value).to_string();
            let value = toml::from_str::<BTreeMap<String, Json>>(&format!("value = {shown}")).ok()?;
            Some(json!({ "key": path, "value": value.get("value"), "origin": setting.origin.to_string() }))
        };
        self.settings.iter().filter_map(item).collect()
    }

    /// The keys that have another value there, by their full paths; one that is not here or there has none.
    pub fn changed<'a>(&'a self, other: &'a Config) -> BTreeSet<&'a str> {
        let value = |config: &'a Config, path: &str| config.settings.get(path).map(|setting| &setting.value);
        let paths = self.settings.keys().chain(other.settings.keys());
        paths.map(String::as_str).filter(|path| value(self, path) != value(other, path)).collect()
    }

    /// Where a key's value came from, by its full path.
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.settings.get(path).map(|setting| &setting.origin)
    }
}

/// What no key can see by itself.
fn check(settings: &mut Settings) {
    let found = |path: &str| settings.values.get(path).cloned();
    let mut problems = Vec::new();
    if let (Some(drain), Some(shutdown)) = (found("drain.timeout"), found("shutdown.timeout"))
        && let (Value::Span(Some(drain_span)), Value::Span(Some(limit))) = (&drain.value, &shutdown.value)
        && drain_span.saturating_add(STOP_MARGIN) >= *limit
    {
        let (drain_text, limit) = (super::time::format_span(*drain_span), super::time::format_span(*limit));
        let message = format!("drain.timeout {drain_text} + 1s is not below shutdown.timeout {limit}");
        problems.push((drain.origin.max(shutdown.origin), message));
    }
    if let Some(Setting { value: Value::Path(dir), origin }) = found("flows.dir")
        && origin != Origin::Default
        && !dir.is_dir()
    {
        problems.push((origin, format!("flows.dir: {} is not a directory", dir.display())));
    }
    postgres::problems(&found, &mut problems);
    for name in
        ["runtimes", "sources", "orgs", "notify"].into_iter().flat_map(|section| settings.names(section))
    {
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            let message = format!("{name:?} is not a name here: expected letters, digits, - and _");
            problems.push((Origin::Default, message));
        }
    }
    for name in settings.names("notify") {
        notify_problems(&found, name, &mut problems);
    }
    if let Some(Setting { value: Value::Text(level), origin }) = found("log.level")
        && let Some(fault) = crate::shell::log::fault(&level)
    {
        problems.push((origin, format!("log.level: {fault}")));
    }
    if let Some(Setting { value: Value::Text(otlp), origin }) = found("telemetry.otlp")
        && !(otlp.is_empty() || is_collector(&otlp))
    {
        let message =
            format!("telemetry.otlp: {otlp:?} is no collector: expected http://HOST:PORT or https://HOST");
        problems.push((origin, message));
    }
    for (origin, message) in problems {
        settings.problem(origin, message);
    }
}

/// A base that `/v1/traces` can be put behind.
fn is_collector(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/') && !text.contains(['?', '#', ' ']))
}

/// A target needs a URL and something to tell.
fn notify_problems(
    found: &dyn Fn(&str) -> Option<Setting>,
    name: &str,
    problems: &mut Vec<(Origin, String)>,
) {
    let (url, events) = (format!("notify.{name}.http.url"), format!("notify.{name}.events"));
    if let Some(Setting { value: Value::Text(text), origin }) = found(&url)
        && text.is_empty()
    {
        problems.push((origin, format!("{url}: it is missing")));
    }
    if let Some(Setting { value: Value::Texts(words), origin }) = found(&events) {
        if words.is_empty() {
            let expected = NoticeEvent::ALL.iter().map(|event| event.as_str()).collect::<Vec<_>>().join(", ");
            problems.push((origin, format!("{events}: nothing is told: expected some of {expected}")));
            return;
        }
        let wrong = words.iter().filter_map(|word| word.parse::<NoticeEvent>().err());
        problems.extend(wrong.map(|error| (origin.clone(), format!("{events}: {error}"))));
    }
}

/// Typed reading of what [`Settings::read`] has checked; a wrong path or type here is a bug in this file.
struct Read<'a>(&'a BTreeMap<String, Setting>);

impl<'a> Read<'a> {
    fn value(&self, path: &str) -> &'a Value {
        let Some(setting) = self.0.get(path) else { unreachable!("{path} is not a key") };
        &setting.value
    }

    fn maybe_span(&self, path: &str) -> Option<Duration> {
        let Value::Span(span) = self.value(path) else { unreachable!("{path} is not a duration") };
        *span
    }

    fn span(&self, path: &str) -> Duration {
        let Some(span) = self.maybe_span(path) else { unreachable!("{path} cannot be off") };
        span
    }

    fn number(&self, path: &str) -> u32 {
        let Value::Number(number) = self.value(path) else { unreachable!("{path} is not a number") };
        *number
    }

    fn size(&self, path: &str) -> u64 {
        let Value::Size(bytes) = self.value(path) else { unreachable!("{path} is not a size") };
        *bytes
    }

    fn flag(&self, path: &str) -> bool {
        let Value::Flag(flag) = self.value(path) else { unreachable!("{path} is not a flag") };
        *flag
    }

    fn text(&self, path: &str) -> &'a str {
        let Value::Text(text) = self.value(path) else { unreachable!("{path} is not a text") };
        text
    }

    fn path(&self, path: &str) -> &'a Path {
        let Value::Path(found) = self.value(path) else { unreachable!("{path} is not a path") };
        found
    }

    fn maybe_path(&self, path: &str) -> Option<PathBuf> {
        Some(self.path(path)).filter(|found| !found.as_os_str().is_empty()).map(Path::to_owned)
    }

    fn maybe_text(&self, path: &str) -> Option<String> {
        Some(self.text(path)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Where records are kept, and the directory beside it.
    fn store(&self) -> (Store, PathBuf) {
        let Value::Store(url) = self.value("store.url") else { unreachable!("store.url is not a store") };
        if let StoreUrl::File(dir) = url {
            return (Store::Files, dir.clone());
        }
        let Value::Secrets(password) = self.value("store.password") else {
            unreachable!("store.password is not a secret")
        };
        let postgres = Postgres {
            url: url.clone(),
            password: password.first().cloned(),
            tls_ca: self.maybe_path("store.tls_ca"),
            shards: self.number("store.shards"),
            name: self.maybe_text("node.name"),
            address: self.maybe_text("node.address"),
            lease: self.span("node.lease"),
        };
        (Store::Postgres(postgres), self.path("node.dir").to_owned())
    }

    fn texts(&self, path: &str) -> Vec<String> {
        let Value::Texts(texts) = self.value(path) else { unreachable!("{path} is not a list") };
        texts.clone()
    }

    fn runtime(&self, name: &str) -> Runtime {
        let key = |last: &str| format!("runtimes.{name}.{last}");
        let Value::Table(env) = self.value(&key("env")) else { unreachable!("env is not a table") };
        let cwd = self.path(&key("cwd"));
        Runtime {
            adapter: adapter(self.text(&key("adapter"))),
            argv: self.texts(&key("argv")),
            resume_argv: self.texts(&key("resume_argv")),
            concurrency: self.number(&key("concurrency")),
            pacing: engine::Pacing {
                ramp: self.text(&key("ramp")) == "on",
                by_model: self.text(&key("limit_scope")) == "model",
            },
            env: env.clone(),
            cwd: (!cwd.as_os_str().is_empty()).then(|| cwd.to_owned()),
        }
    }

    fn notify(&self, name: &str) -> Notify {
        let key = |last: &str| format!("notify.{name}.{last}");
        let Value::Table(headers) = self.value(&key("http.headers")) else {
            unreachable!("headers are not a table")
        };
        Notify {
            url: self.text(&key("http.url")).to_owned(),
            method: self.text(&key("http.method")).to_owned(),
            headers: headers.clone(),
            events: self.texts(&key("events")).iter().filter_map(|word| word.parse().ok()).collect(),
            flows: self.texts(&key("flows")),
            orgs: self.texts(&key("orgs")),
            every: self.span(&key("every")),
        }
    }

    fn source(&self, name: &str) -> Source {
        let Value::Secrets(secrets) = self.value(&format!("sources.{name}.secrets")) else {
            unreachable!("secrets are not secrets")
        };
        Source { kind: self.text(&format!("sources.{name}.kind")).to_owned(), secrets: secrets.clone() }
    }

    fn burst(&self) -> engine::Burst {
        engine::Burst {
            switches: engine::Switches {
                enabled: self.flag("burst.enabled"),
                shadow: self.flag("burst.shadow"),
            },
            rate: engine::Rate {
                window: self.span("burst.window"),
                threshold: self.number("burst.threshold"),
                hold: self.span("burst.hold"),
            },
            drain_batch: self.number("burst.drain_batch"),
            drain_concurrency: self.number("burst.drain_concurrency"),
            orgs_per_tick: self.number("burst.orgs_per_tick"),
        }
    }

    fn org(&self, name: &str) -> engine::Org {
        engine::Org {
            burst: self.flag(&format!("orgs.{name}.burst")),
            weight: self.number(&format!("orgs.{name}.weight")),
            queued_max: self.number(&format!("orgs.{name}.max_queued")),
        }
    }

    fn mode(&self) -> Mode {
        let Ok(mode) = self.text("flows.mode").parse() else { unreachable!("flows.mode is not a mode") };
        mode
    }

    fn policy(&self) -> Policy {
        let curve = Curve {
            first: self.span("retry.backoff"),
            factor_percent: self.number("retry.factor"),
            max: self.span("retry.max"),
            jitter_percent: self.number("retry.jitter"),
        };
        Policy {
            retry: Retry { attempts: self.number("retry.attempts"), curve },
            timeouts: Timeouts {
                attempt: self.span("timeouts.attempt"),
                silence: self.maybe_span("timeouts.silence"),
            },
            run_budget: self.number("run.budget"),
            limits: LimitPolicy {
                estimate: self.span("limits.estimate"),
                max_wait: self.span("limits.max_wait"),
                jitter: self.span("limits.jitter"),
            },
            ..Policy::default()
        }
    }
}

fn build(values: BTreeMap<String, Setting>) -> Config {
    let settings = Settings { values, problems: Vec::new() };
    let read = Read(&settings.values);
    let Value::Address(listen) = read.value("server.listen") else {
        unreachable!("server.listen is not an address")
    };
    let (store, data) = read.store();
    let flows = Some(read.path("flows.dir")).filter(|dir| dir.is_dir()).map(Path::to_owned);
    let sources: BTreeMap<Name, Source> =
        settings.names("sources").into_iter().map(|name| (Name::from(name), read.source(name))).collect();
    let mut warnings = Vec::new();
    for (name, source) in &sources {
        if source.secrets.is_empty() {
            warnings.push(format!("source {name} has no secrets: every webhook to it is refused"));
        }
        if source.secrets.iter().any(|secret| matches!(secret, SecretRef::Plain(_))) {
            warnings.push(format!(
                "source {name} has a secret in plain text; file: or env: keeps it out of this file"
            ));
        }
    }
    Config {
        listen: *listen,
        token_file: read.maybe_path("server.token_file"),
        limits: Limits {
            connections: usize::try_from(read.number("server.connections_max")).unwrap_or(usize::MAX),
            peer_rate: read.number("server.peer_rate"),
        },
        store,
        data,
        min_free: read.size("store.min_free"),
        segment_bytes: read.size("store.segment"),
        flows,
        mode: read.mode(),
        min_shadow: read.maybe_span("cutover.min_shadow").unwrap_or_default(),
        policy: read.policy(),
        resume_prompt: read.text("limits.resume_prompt").to_owned(),
        continue_prompt: read.text("limits.continue_prompt").to_owned(),
        drain_timeout: read.span("drain.timeout"),
        answer_within: read.span("timeouts.ack"),
        kill_after: read.span("drain.kill_after"),
        shutdown_timeout: read.span("shutdown.timeout"),
        archive: read.maybe_path("store.archive"),
        finished_for: read.span("retention.finished"),
        finished_max: read.number("retention.finished_max"),
        history_for: read.span("retention.history"),
        history_bytes: read.size("retention.history_bytes"),
        runtimes: settings
            .names("runtimes")
            .into_iter()
            .map(|name| (Name::from(name), read.runtime(name)))
            .collect(),
        sources,
        queued_max: read.number("limits.max_queued"),
        burst: read.burst(),
        orgs: settings.names("orgs").into_iter().map(|name| (Name::from(name), read.org(name))).collect(),
        notify: (settings.names("notify").into_iter())
            .map(|name| (Name::from(name), read.notify(name)))
            .collect(),
        stalled_after: read.span("timeouts.stalled"),
        otlp: read.maybe_text("telemetry.otlp"),
        log: Log { json: read.text("log.format") == "json", level: read.text("log.level").to_owned() },
        warnings,
        settings: settings.values,
    }
}
