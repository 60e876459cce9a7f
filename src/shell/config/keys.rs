//! Every configuration key: its path, type, default and meaning. The one place that knows them: reading, the nearest
//! key of an unknown one, `config check` and `schema/config.schema.json` all follow from this table.

use serde_json::{Map, Value as Json, json};

use crate::model::HttpRequest;
use crate::shell::slip;

/// One key. In `runtimes.*.argv` the star stands for a name.
pub struct Key {
    /// Dotted, as in TOML.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// As it would be written; empty for an empty list, table or text.
    pub default: &'static str,
    /// One line for people.
    pub doc: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ip:port`.
    Address,
    /// `file:DIR` or `postgres://..`.
    StoreUrl,
    /// `file:PATH` or `env:NAME`; empty: none.
    Secret,
    /// A path, relative to the working directory.
    Path,
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number, at least this.
    Number(u32),
    /// `true` or `false`.
    Flag,
    /// A humantime duration, or whole seconds.
    Span,
    /// A number of bytes from the first to the second.
    Size(u64, u64),
    /// A duration, or `off`.
    SpanOrOff,
    /// `10%`, or 10.
    Percent,
    /// A growth factor of at least 1, two decimals.
    Factor,
    /// An array of texts.
    Texts,
    /// A table of texts.
    Table,
    /// An array of `file:PATH`, `env:NAME` or `plain:TEXT`.
    Secrets,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, doc }
}

/// All of them, in the order they are shown.
pub const KEYS: &[Key] = &[
    key(
        "server.listen",
        Kind::Address,
        "127.0.0.1:7070",
        "where HTTP is served; beyond loopback it takes tokens",
    ),
    key(
        "server.token_file",
        Kind::Path,
        "",
        "the tokens that are accepted; empty: tokens in the store's directory, if it is there",
    ),
    key(
        "server.connections_max",
        Kind::Number(16),
        "4096",
        "connections at once, and never more than half of the files dwell may open; those that ask nothing give way",
    ),
    key(
        "server.peer_rate",
        Kind::Number(1),
        "1000",
        "requests a second of one address other than loopback; then 429",
    ),
    key(
        "store.url",
        Kind::StoreUrl,
        "file:./dwell-data",
        "where records are kept: file:DIR, or postgres://USER@HOST/DATABASE for several nodes",
    ),
    key("store.password", Kind::Secret, "", "the password for PostgreSQL: file:PATH or env:NAME"),
    key(
        "store.tls_ca",
        Kind::Path,
        "",
        "the authorities that PostgreSQL's certificate may be of, a PEM file; empty: those that browsers trust",
    ),
    key(
        "store.shards",
        Kind::Number(1),
        "16",
        "into how many shards dwell migrate cuts a store in PostgreSQL, for good; at most 1024",
    ),
    key(
        "node.dir",
        Kind::Path,
        "./dwell-data",
        "with a store in PostgreSQL: where this node keeps logs, tokens and its address",
    ),
    key("node.name", Kind::Text, "", "what the node is called; empty: the machine's name and the port"),
    key(
        "node.address",
        Kind::Text,
        "",
        "where other nodes reach this one: http://HOST:PORT; empty: where it listens",
    ),
    key("node.lease", Kind::Span, "10s", "how long a node that is silent keeps its shards; at least 3s"),
    key(
        "store.archive",
        Kind::Path,
        "",
        "where segments of the journal are kept for good, each before it may be removed; empty: nowhere",
    ),
    key(
        "store.min_free",
        Kind::Size(0, u64::MAX),
        "256MiB",
        "while the disk has less than this free (or a quarter of it, if that is less) new work is refused",
    ),
    key(
        "store.segment",
        Kind::Size(1 << 20, 1 << 30),
        "64MiB",
        "size of a journal file; the store keeps one in use and one in reserve",
    ),
    key("flows.dir", Kind::Path, "./flows", "where flow files are read from; the default may be absent"),
    key(
        "flows.mode",
        Kind::Choice(&["off", "shadow", "live"]),
        "live",
        "the mode of flows until somebody names one: off, shadow (record, never act) or live",
    ),
    key(
        "cutover.min_shadow",
        Kind::SpanOrOff,
        "off",
        "how long a flow must have been in shadow before a flip makes it live",
    ),
    key("limits.estimate", Kind::Span, "1h", "the wait when a provider names no usable reset time"),
    key("limits.max_wait", Kind::Span, "8d", "a reset further away than this is clamped to it"),
    key("limits.jitter", Kind::Span, "0s", "a wait for a reset is longer by up to this, by id and attempt"),
    key(
        "limits.resume_prompt",
        Kind::Text,
        "Rate limit window has reset. Continue working on the task where you left off.",
        "what an agent is told when its provider's window has reset",
    ),
    key(
        "limits.continue_prompt",
        Kind::Text,
        "You were interrupted. Continue working on the task where you left off.",
        "what an agent is told when its session goes on after an interruption",
    ),
    key(
        "limits.max_queued",
        Kind::Number(1),
        "10000000",
        "records queued in all; then 429, except for webhooks",
    ),
    key("burst.enabled", Kind::Flag, "true", "false: the burst gate asks nobody and lets everything pass"),
    key("burst.shadow", Kind::Flag, "false", "judge every org, and only log what would have been diverted"),
    key("burst.window", Kind::Span, "200ms", "triggers of an env are counted over this"),
    key("burst.threshold", Kind::Number(1), "100", "so many within the window are fine; one more is a burst"),
    key("burst.hold", Kind::Span, "500ms", "how long an env is diverted before it is judged again"),
    key("burst.drain_batch", Kind::Number(1), "10", "diverted runs released of one org in one tick"),
    key("burst.drain_concurrency", Kind::Number(1), "50", "released runs of a runtime that are not over yet"),
    key("burst.orgs_per_tick", Kind::Number(1), "500", "orgs that are served in one tick"),
    key("drain.timeout", Kind::Span, "30s", "how long outstanding attempts may finish at a stop or drain"),
    key("drain.kill_after", Kind::Span, "5s", "between SIGTERM and SIGKILL of an attempt's process group"),
    key("shutdown.timeout", Kind::Span, "40s", "the whole stop; more than drain.timeout + 1s"),
    key("retention.finished", Kind::Span, "7d", "how long finished records are kept"),
    key(
        "retention.finished_max",
        Kind::Number(1),
        "10000000",
        "finished records kept; beyond them the oldest go before their time",
    ),
    key("retention.history", Kind::Span, "7d", "how long transitions are kept"),
    key(
        "retention.history_bytes",
        Kind::Size(0, u64::MAX),
        "1GiB",
        "the journal beyond what recovery needs; the oldest transitions go first",
    ),
    key("retry.attempts", Kind::Number(1), "5", "dead-lettered at this many failures in a row"),
    key("retry.backoff", Kind::Span, "30s", "the wait after the first failure"),
    key("retry.factor", Kind::Factor, "2", "how the wait grows with each further failure"),
    key("retry.max", Kind::Span, "10m", "the longest wait before jitter"),
    key("retry.jitter", Kind::Percent, "10%", "added to a wait, never taken from it"),
    key("timeouts.attempt", Kind::Span, "24h", "the longest an attempt may take"),
    key("timeouts.silence", Kind::SpanOrOff, "off", "the longest an attempt may show no sign of life"),
    key("timeouts.ack", Kind::Span, "30s", "how long an http attempt waits for its answer"),
    key(
        "timeouts.stalled",
        Kind::Span,
        "15m",
        "a runtime that nothing holds has stalled if none starts for this",
    ),
    key("run.budget", Kind::Number(0), "20", "mutating calls of a flow run that names no budget"),
    key(
        "runtimes.*.adapter",
        Kind::Choice(&["plain", "claude", "codex", "gemini", "opencode"]),
        "plain",
        "how the program's output is read",
    ),
    key(
        "runtimes.*.argv",
        Kind::Texts,
        "",
        "starts an agent: {prompt} and {session} are filled; empty: the adapter's own",
    ),
    key("runtimes.*.resume_argv", Kind::Texts, "", "resumes one; empty: the adapter's own, or argv"),
    key("runtimes.*.concurrency", Kind::Number(1), "5", "attempts outstanding at once"),
    key(
        "runtimes.*.ramp",
        Kind::Choice(&["on", "off"]),
        "on",
        "after a pause it starts 1, 2, 4, .. a second",
    ),
    key(
        "runtimes.*.limit_scope",
        Kind::Choice(&["account", "model"]),
        "account",
        "what a limit holds: the whole runtime, or the model it was reported of",
    ),
    key("runtimes.*.env", Kind::Table, "", "added to the environment of its attempts"),
    key("runtimes.*.cwd", Kind::Path, "", "working directory of its attempts; empty: dwell's own"),
    key(
        "sources.*.kind",
        Kind::Choice(&["github", "forgejo", "gitlab", "standard"]),
        "github",
        "whose webhooks these are",
    ),
    key(
        "sources.*.secrets",
        Kind::Secrets,
        "",
        "any of these proves a webhook: file:PATH, env:NAME or plain:TEXT",
    ),
    key("orgs.*.burst", Kind::Flag, "false", "whether the org's bursts are diverted"),
    key("orgs.*.weight", Kind::Number(1), "1", "turns the org has where another has one"),
    key(
        "orgs.*.max_queued",
        Kind::Number(1),
        "10000000",
        "records queued in each env of the org; then 429, except for webhooks",
    ),
    key("notify.*.http.url", Kind::Text, "", "where notices are sent: http:// or https://"),
    key("notify.*.http.method", Kind::Choice(&HttpRequest::METHODS), "POST", "how they are sent"),
    key(
        "notify.*.http.headers",
        Kind::Table,
        "",
        "sent with them; a value file:PATH or env:NAME stands for what is there",
    ),
    key("notify.*.events", Kind::Texts, "", "what is told: any of the events of a notice"),
    key("notify.*.flows", Kind::Texts, "", "of records, only those of these flows; empty: any"),
    key("notify.*.orgs", Kind::Texts, "", "of records, only those of these orgs; empty: any"),
    key(
        "notify.*.every",
        Kind::Span,
        "1m",
        "at most one notice in this of each event and flow or runtime; further ones are counted",
    ),
    key("log.format", Kind::Choice(&["text", "json"]), "text", "how log lines look, on stderr"),
    key("log.level", Kind::Text, "info", "off, error, warn, info, debug, trace, or target=level,..."),
    key(
        "telemetry.otlp",
        Kind::Text,
        "",
        "the OpenTelemetry collector that is sent a span of each attempt: http://127.0.0.1:4318; empty: none",
    ),
];

/// Runtimes that are there without being configured, with what differs from the defaults. `claude` needs its program
/// only once an agent attempt starts on it.
pub const BUILT_IN_RUNTIMES: &[(&str, &[(&str, &str)])] = &[
    ("claude", &[("adapter", "claude")]),
    ("http", &[("concurrency", "8")]),
    ("notify", &[]),
    ("shell", &[("concurrency", "8")]),
    ("worker", &[("concurrency", "10000")]),
];

/// The key of a full path; a star matches any one name.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| {
        let (mut pattern, mut given) = (key.path.split('.'), path.split('.'));
        loop {
            match (pattern.next(), given.next()) {
                (None, None) => return true,
                (Some(want), Some(have)) if want == "*" || want == have => {}
                (_, _) => return false,
            }
        }
    })
}

/// What a reload may change; for any other key it takes a restart.
const RELOADED: [&str; 15] = [
    "flows.",
    "cutover.",
    "limits.",
    "burst.",
    "drain.",
    "shutdown.",
    "retention.finished",
    "retry.",
    "timeouts.",
    "run.",
    "runtimes.",
    "sources.",
    "orgs.",
    "notify.",
    "log.level",
];

/// Whether a reload may change the key of a full path.
pub fn is_reloaded(path: &str) -> bool {
    RELOADED.iter().any(|beginning| path.starts_with(beginning))
}

/// Whether some key lies below `path`.
pub fn is_section(path: &str) -> bool {
    let depth = path.split('.').count();
    KEYS.iter().any(|key| {
        let mut pattern = key.path.split('.');
        pattern.clone().count() > depth
            && path.split('.').all(|have| pattern.next().is_some_and(|want| want == "*" || want == have))
    })
}

/// The name of the environment variable that sets it; only keys without a free name have one.
pub fn env_name(key: &Key) -> Option<String> {
    (!key.path.contains('*')).then(|| format!("DWELL_{}", key.path.replace('.', "_").to_uppercase()))
}

/// The key, or section, most like `path`, with the names of `path` in place of stars.
pub fn nearest(path: &str) -> Option<String> {
    let segments: Vec<&str> = path.split('.').collect();
    let mut candidates: Vec<String> = Vec::new();
    for key in KEYS {
        let named: Vec<&str> = (key.path.split('.').enumerate())
            .map(|(at, part)| if part == "*" { segments.get(at).copied().unwrap_or("NAME") } else { part })
            .take(segments.len())
            .collect();
        candidates.push(named.join("."));
    }
    slip::most_like(path, candidates)
}

/// The table as a JSON Schema, for editors.
pub fn json_schema() -> Json {
    let mut root = section("");
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("dwell.toml"));
    Json::Object(root)
}

fn section(prefix: &str) -> Map<String, Json> {
    let (mut named, mut any) = (Map::new(), json!(false));
    for key in KEYS {
        let Some(rest) = key.path.strip_prefix(prefix) else { continue };
        let (part, last) = rest.split_once('.').map_or((rest, true), |(part, _)| (part, false));
        let below =
            || if last { key_schema(key) } else { Json::Object(section(&format!("{prefix}{part}."))) };
        if part == "*" {
            any = below();
        } else if !named.contains_key(part) {
            named.insert(part.to_owned(), below());
        }
    }
    let pairs =
        [("type", json!("object")), ("properties", Json::Object(named)), ("additionalProperties", any)];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn key_schema(key: &Key) -> Json {
    let (doc, default) = (key.doc, key.default);
    match key.kind {
        Kind::Address | Kind::StoreUrl | Kind::Secret | Kind::Path | Kind::Text => {
            json!({ "description": doc, "default": default, "type": "string" })
        }
        Kind::Choice(words) => json!({ "description": doc, "default": default, "enum": words }),
        Kind::Number(min) => {
            let default = default.parse::<u32>().ok();
            json!({ "description": doc, "default": default, "type": "integer", "minimum": min })
        }
        Kind::Flag => json!({ "description": doc, "default": default == "true", "type": "boolean" }),
        Kind::Span | Kind::SpanOrOff | Kind::Percent | Kind::Size(..) => {
            json!({ "description": doc, "default": default, "type": ["string", "integer"] })
        }
        Kind::Factor => json!({ "description": doc, "default": default, "type": ["string", "number"] }),
        Kind::Texts => {
            json!({ "description": doc, "default": [], "type": "array", "items": { "type": "string" } })
        }
        Kind::Table => {
            let text = json!({ "type": "string" });
            json!({ "description": doc, "default": {}, "type": "object", "additionalProperties": text })
        }
        Kind::Secrets => {
            let reference = json!({ "type": "string", "pattern": "^(file|env|plain):" });
            json!({ "description": doc, "default": [], "type": "array", "items": reference })
        }
    }
}
