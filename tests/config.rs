//! dwell.toml: layers, refusals that name line and nearest key, and the documents that describe the keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dwell::engine::{Burst, Org, QUEUED_MAX};
use dwell::exec::Adapter;
use dwell::model::NoticeEvent;
use dwell::shell::config::{Config, Layers, Origin, keys};
use dwell::shell::serve::store_options;

fn in_file(text: &str) -> (tempfile::NamedTempFile, Layers) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let layers = Layers { file: Some(file.path().to_owned()), ..Layers::default() };
    (file, layers)
}

fn problems(text: &str) -> Vec<String> {
    let (file, layers) = in_file(text);
    let path = file.path().display().to_string();
    let error = Config::load(&layers).expect_err("refused");
    error.to_string().lines().map(|line| line.replace(&path, "dwell.toml")).collect()
}

#[test]
fn no_file_is_needed() {
    let config = Config::load(&Layers::default()).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.data, Path::new("./dwell-data"));
    assert_eq!(config.policy, dwell::model::Policy::default());
    assert_eq!(config.burst, Burst::default());
    assert_eq!(config.queued_max, QUEUED_MAX);
    assert!(config.orgs.is_empty());
    assert_eq!(config.runtimes["claude"].adapter, Adapter::Claude);
    assert_eq!(config.runtimes["claude"].concurrency, 5);
    assert_eq!(config.runtimes["shell"].adapter, Adapter::Plain);
    assert_eq!(config.runtimes["shell"].concurrency, 8);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn what_is_kept_of_the_journal_is_as_it_is_configured() {
    let text = "[store]\narchive = \"/archive\"\n[retention]\nhistory = \"2d\"\nhistory_bytes = \"3MiB\"\n";
    let (_file, layers) = in_file(text);
    let options = store_options(&Config::load(&layers).unwrap());
    assert_eq!(options.archive.as_deref(), Some(Path::new("/archive")));
    assert_eq!((options.history_bytes_max, options.history_age_max), (3 << 20, Duration::from_hours(48)));
    let unasked = store_options(&Config::load(&Layers::default()).unwrap());
    assert_eq!((unasked.archive, unasked.history_bytes_max), (None, 1 << 30));
}

#[test]
fn every_agent_has_its_adapter() {
    let all = [
        ("plain", Adapter::Plain),
        ("claude", Adapter::Claude),
        ("codex", Adapter::Codex),
        ("gemini", Adapter::Gemini),
        ("opencode", Adapter::Opencode),
    ];
    for (name, adapter) in all {
        let (_file, layers) = in_file(&format!("[runtimes.r]\nadapter = \"{name}\"\n"));
        assert_eq!(Config::load(&layers).unwrap().runtimes["r"].adapter, adapter);
    }
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let (file, mut layers) = in_file("[limits]\nestimate = \"2h\"\nmax_wait = 60\n\n[retry]\nfactor = 1.5\n");
    layers.env =
        vec![("DWELL_LIMITS_MAX_WAIT".to_owned(), "2d".to_owned()), ("DWELL_ID".to_owned(), "x".to_owned())];
    layers.flags = vec![("--data", "store.url", "file:/tmp/d".to_owned())];
    let config = Config::load(&layers).unwrap();
    assert_eq!(config.policy.limits.estimate, Duration::from_hours(2));
    assert_eq!(config.policy.limits.max_wait, Duration::from_hours(48));
    assert_eq!(config.policy.retry.curve.factor_percent, 150);
    assert_eq!(config.data, Path::new("/tmp/d"));
    assert_eq!(config.origin("limits.estimate"), Some(&Origin::File(file.path().to_owned(), 2)));
    assert_eq!(config.origin("limits.max_wait"), Some(&Origin::Env("DWELL_LIMITS_MAX_WAIT".to_owned())));
    assert_eq!(config.origin("store.url"), Some(&Origin::Flag("--data")));
    assert_eq!(config.origin("retry.attempts"), Some(&Origin::Default));
}

#[test]
fn an_org_that_is_named_has_the_defaults_of_what_it_does_not_say() {
    let (_file, mut layers) = in_file("[orgs.acme]\nburst = true\n[orgs.big]\nweight = 3\nmax_queued = 7\n");
    layers.env = vec![("DWELL_BURST_SHADOW".to_owned(), "true".to_owned())];
    let config = Config::load(&layers).unwrap();
    assert_eq!(config.orgs["acme"], Org { burst: true, ..Org::default() });
    assert_eq!(config.orgs["big"], Org { weight: 3, queued_max: 7, ..Org::default() });
    assert!(config.burst.switches.enabled && config.burst.switches.shadow);
    assert_eq!(
        problems("[burst]\nenabled = \"yes\"\nshadow = 1\n[orgs.a]\nburst = \"true\"\n"),
        [
            "dwell.toml:2: burst.enabled: string is not accepted here: expected true or false",
            "dwell.toml:3: burst.shadow: integer is not accepted here: expected true or false",
            "dwell.toml:5: orgs.a.burst: string is not accepted here: expected true or false",
        ]
    );
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest() {
    assert_eq!(
        problems("[limits]\n\nestimat = \"1h\"\n[runtimes.x]\nconcurency = 2\n[limit]\nmax_wait = 1\n"),
        [
            "dwell.toml:3: unknown key limits.estimat; did you mean limits.estimate",
            "dwell.toml:5: unknown key runtimes.x.concurency; did you mean runtimes.x.concurrency",
            "dwell.toml:6: unknown key limit; did you mean limits",
        ]
    );
    assert_eq!(
        problems("wholly_different = 1\n"),
        ["dwell.toml:1: unknown key wholly_different; schema/examples/dwell.toml shows every key"]
    );
}

#[test]
fn a_variable_named_like_a_section_is_checked_too() {
    let env = vec![("DWELL_DRAIN_TIMEOT".to_owned(), "1s".to_owned())];
    let error = Config::load(&Layers { env, ..Layers::default() }).expect_err("refused");
    assert_eq!(error.to_string(), "DWELL_DRAIN_TIMEOT: unknown key drain.timeot; did you mean drain.timeout");
}

#[test]
fn every_problem_is_reported_on_its_own_line() {
    assert_eq!(
        problems(
            "[server]\n\n[store]\nurl = \"postgres://db\"\n[retry]\nattempts = 0\nbackoff = \"soon\"\nfactor = 0.5\njitter = true\n"
        ),
        [
            "dwell.toml:4: store.url: it names no database",
            "dwell.toml:6: retry.attempts: \"0\" is not a whole number of at least 1",
            "dwell.toml:7: retry.backoff: \"soon\" is not a duration: expected something like 90s, 1h 30m or 8d, or whole seconds",
            "dwell.toml:8: retry.factor: \"0.5\" is not a growth factor: expected 1 to 100, with at most two decimals",
            "dwell.toml:9: retry.jitter: boolean is not accepted here: expected a string",
        ]
    );
    let syntax = problems("[run]\nbudget = 3\n[retry\nattempts = 3\n");
    assert!(syntax.len() == 1 && syntax[0].starts_with("dwell.toml:3: "), "{syntax:?}");
}

#[test]
fn tokens_are_needed_beyond_loopback_and_where_their_file_is_named() {
    let config = Config::load(&Layers::default()).unwrap();
    let needs = |config: &Config, listen: &str| config.needs_tokens(listen.parse().unwrap());
    for (listen, needed) in [
        ("127.0.0.1:1", false),
        ("127.0.0.2:1", false),
        ("[::1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("10.0.0.1:1", true),
    ] {
        assert_eq!(needs(&config, listen), needed, "{listen}");
    }
    assert_eq!(config.tokens().path(), Path::new("./dwell-data/tokens"));
    let (_file, layers) = in_file("[server]\ntoken_file = \"/etc/dwell/tokens\"\n");
    let config = Config::load(&layers).unwrap();
    assert_eq!(config.tokens().path(), Path::new("/etc/dwell/tokens"));
    assert!(needs(&config, "127.0.0.1:1"));
}

#[test]
fn a_drain_that_fills_the_stop_is_refused() {
    assert_eq!(
        problems("[drain]\ntimeout = \"39s\"\n"),
        ["dwell.toml:2: drain.timeout 39s + 1s is not below shutdown.timeout 40s"]
    );
    let (_file, layers) = in_file("[drain]\ntimeout = \"38s\"\n");
    assert!(Config::load(&layers).is_ok());
}

#[test]
fn sizes_have_units_and_bounds() {
    assert_eq!(
        problems("[store]\nmin_free = \"much\"\nsegment = \"2GiB\"\n"),
        [
            "dwell.toml:2: store.min_free: \"much\" is not a size: expected a whole number of KiB, MiB, GiB or TiB, like 64MiB",
            "dwell.toml:3: store.segment: \"2GiB\" is not accepted here: expected 1 MiB to 1 GiB",
        ]
    );
    let (_file, layers) = in_file("[store]\nmin_free = 0\nsegment = \"4MiB\"\n");
    let config = Config::load(&layers).unwrap();
    assert_eq!((config.min_free, config.segment_bytes), (0, 4 << 20));
    assert!(config.describe().contains("store.segment = \"4MiB\""), "{}", config.describe());
}

#[test]
fn a_named_flow_directory_must_be_there() {
    assert_eq!(
        problems("[flows]\ndir = \"/nowhere/at/all\"\n"),
        ["dwell.toml:2: flows.dir: /nowhere/at/all is not a directory"]
    );
}

#[test]
fn secrets_are_never_shown() {
    let (_file, layers) = in_file(
        "[sources.gh]\nkind = \"github\"\nsecrets = [\"plain:hunter2\", \"file:/run/secret\", \"env:SECRET\"]\n\
         [runtimes.w]\nenv = { TOKEN = \"hunter2\" }\n",
    );
    let config = Config::load(&layers).unwrap();
    let shown = config.describe();
    assert!(
        shown.contains(r#"sources.gh.secrets = ["plain:***", "file:/run/secret", "env:SECRET"]"#),
        "{shown}"
    );
    assert!(!shown.contains("hunter2") && !format!("{:?}", config.sources).contains("hunter2"), "{shown}");
    assert!(config.warnings.iter().any(|warning| warning.contains("plain text")), "{:?}", config.warnings);
    let bare = problems("[sources.gh]\nsecrets = [\"hunter2\"]\n");
    assert_eq!(
        bare,
        [
            "dwell.toml:2: sources.gh.secrets: a secret here has no scheme: expected file:PATH, env:NAME or plain:TEXT"
        ]
    );
}

#[test]
fn what_config_check_prints_shows_where_each_value_came_from() {
    let (_file, layers) = in_file("[run]\nbudget = 7\n");
    let shown = Config::load(&layers).unwrap().describe();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap();
    assert!(line("run.budget = 7 ").contains(":2"), "{shown}");
    assert!(line("limits.max_wait = \"8d\" ").ends_with("# default"), "{shown}");
    let (named, fixed): (Vec<_>, Vec<_>) = keys::KEYS.iter().partition(|key| key.path.contains('*'));
    let of_runtimes = named.iter().filter(|key| key.path.starts_with("runtimes.")).count();
    let expected = fixed.len() + keys::BUILT_IN_RUNTIMES.len() * of_runtimes;
    assert_eq!(shown.lines().count(), expected, "{shown}");
}

#[test]
fn who_is_told_what_is_read_whole_and_its_headers_are_not_shown() {
    let (_file, layers) = in_file(
        "[notify.ops]\nevents = [\"dead_lettered\", \"stalled\"]\norgs = [\"acme\"]\nevery = \"5m\"\n\
         http = { url = \"https://h/\", headers = { Authorization = \"Bearer secret\" } }\n",
    );
    let config = Config::load(&layers).unwrap();
    let ops = &config.notify["ops"];
    assert_eq!((ops.url.as_str(), ops.method.as_str()), ("https://h/", "POST"));
    assert_eq!(ops.headers["Authorization"], "Bearer secret");
    assert_eq!(ops.events, [NoticeEvent::DeadLettered, NoticeEvent::Stalled]);
    assert_eq!((ops.orgs.as_slice(), ops.every), (&["acme".to_owned()][..], Duration::from_mins(5)));
    assert!(!config.describe().contains("secret"), "{}", config.describe());
    let expected = "dead_lettered, completed, budget_soft, budget_asked, runtime_paused, runtime_resumed, stalled, \
                    mode_changed";
    assert_eq!(
        problems("[notify.ops]\nevents = [\"died\"]\n[notify.it.http]\nurl = \"http://h/\"\nbody = 1\n"),
        [
            "default: notify.it.events: nothing is told: expected some of ".to_owned() + expected,
            "default: notify.ops.http.url: it is missing".to_owned(),
            format!("dwell.toml:2: notify.ops.events: unknown value \"died\": expected one of {expected}"),
            "dwell.toml:5: unknown key notify.it.http.body; did you mean notify.it.http.url".to_owned(),
        ]
    );
}

#[test]
fn the_example_is_accepted_and_shows_every_key() {
    let path = PathBuf::from("schema/examples/dwell.toml");
    let config = Config::load(&Layers { file: Some(path.clone()), ..Layers::default() }).unwrap();
    let defaults = Config::load(&Layers::default()).unwrap();
    assert_eq!(config.policy, defaults.policy);
    assert_eq!((config.mode, config.min_shadow), (defaults.mode, defaults.min_shadow));
    assert_eq!(config.resume_prompt, defaults.resume_prompt);
    assert_eq!(config.continue_prompt, defaults.continue_prompt);
    assert_eq!((config.burst, config.queued_max), (defaults.burst, defaults.queued_max));
    assert_eq!(config.orgs["acme"], Org::default());
    let text = std::fs::read_to_string(path).unwrap();
    for key in keys::KEYS {
        let last = key.path.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("{last} = ")) || text.contains(&format!(".{last}]")),
            "{} is missing",
            key.path
        );
    }
}

#[test]
fn the_schema_says_what_the_key_table_says() {
    let text = std::fs::read_to_string("schema/config.schema.json").unwrap();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        schema,
        keys::json_schema(),
        "write it anew with: dwell config schema > schema/config.schema.json"
    );
}

#[test]
fn the_example_is_valid_by_the_schema_and_a_slip_is_not() {
    let schema = jsonschema::draft202012::new(&keys::json_schema()).unwrap();
    let text = std::fs::read_to_string("schema/examples/dwell.toml").unwrap();
    let example: serde_json::Value = toml::from_str(&text).unwrap();
    let faults: Vec<String> = schema.iter_errors(&example).map(|error| error.to_string()).collect();
    assert_eq!(faults, Vec::<String>::new());
    for slip in ["[run]\nbuget = 1\n", "[burst]\nenabled = 3\n", "[runtimes.x]\nadapter = \"clod\"\n"] {
        assert!(!schema.is_valid(&toml::from_str(slip).unwrap()), "{slip}");
    }
}
