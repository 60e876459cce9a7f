//! Secrets that are planted where dwell takes them, and looked for in everything it says, at its most talkative.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::server::{DWELL, Server, directory, flows, hmac_hex};
use super::{Operation, ask, tokens};

/// By where each is planted.
const FILE: &str = "planted-in-a-file-8f1c";
const ENV: &str = "planted-in-the-environment-27aa";
const PLAIN: &str = "planted-in-the-configuration-90b3";
const RUNTIME: &str = "planted-in-a-runtime-4d5e";
const NOTIFY: &str = "planted-in-a-notice-c611";
const ACTION: &str = "planted-in-a-session-e83f";
const FLOW: &str = "planted-in-a-flow-1b20";
const SHOWN: &str = "planted-in-a-request-7e94";

const PLANTED: [&str; 8] = [FILE, ENV, PLAIN, RUNTIME, NOTIFY, ACTION, FLOW, SHOWN];

/// What stands in the store, and so in a backup: what http work is sent with.
const STORED: [&str; 3] = [NOTIFY, ACTION, FLOW];

/// Everything that was said, by who said it.
#[derive(Default)]
struct Heard(Vec<(String, Vec<u8>)>);

impl Heard {
    fn hear(&mut self, who: impl Into<String>, said: Vec<u8>) {
        self.0.push((who.into(), said));
    }

    fn has_none_of<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        for secret in secrets {
            for (who, said) in &self.0 {
                let found = said.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{who} says {secret}: {}", String::from_utf8_lossy(said));
            }
        }
    }
}

fn place() -> tempfile::TempDir {
    let dir = directory(&format!(
        "[log]\nlevel = \"trace\"\n\
         [sources.gh]\nkind = \"github\"\nsecrets = [\"file:secret\", \"env:PLANTED\", \"plain:{PLAIN}\"]\n\
         [runtimes.env]\nenv = {{ API_KEY = \"{RUNTIME}\" }}\n\
         [notify.ops]\nevents = [\"dead_lettered\"]\n\
         http = {{ url = \"http://127.0.0.1:9/\", headers = {{ Authorization = \"{NOTIFY}\" }} }}\n"
    ));
    fs::write(dir.path().join("secret"), FILE).unwrap();
    let flow = format!(
        "name: tell\non: {{ gh: {{ push: }} }}\nretry: {{ attempts: 1 }}\n\
         run: {{ http: {{ url: 'http://127.0.0.1:9/', headers: {{ X-Key: {FLOW} }} }} }}\n"
    );
    flows(dir.path(), &[("tell.yaml", &flow)]);
    dir
}

/// A server in this place, and what its token is.
fn serve(dir: &Path) -> (Server, String) {
    let [.., admin] = tokens(dir);
    let mut command = Command::new(DWELL);
    command.args(["serve", "--listen", "127.0.0.1:0", "--test-clock", "2026-11-21T00:00:00Z"]);
    command.current_dir(dir).env("PLANTED", ENV).env("RUST_BACKTRACE", "1");
    let log = fs::File::create(dir.join("log")).unwrap();
    (Server::spawn(command.stderr(log)), admin)
}

/// Lets every secret be used: by work that fails, by webhooks that are proven and that are not.
fn work(server: &Server, admin: &str) -> Vec<String> {
    let admit = |body: Value| {
        let answer = ask(server, "POST", "/v1/sessions", Some(admin), body.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    };
    let http = json!({"url": "http://127.0.0.1:9/", "method": "POST", "headers": {"Authorization": ACTION}});
    let mut ids = vec![
        admit(json!({"runtime": "http", "action": {"http": http}})),
        admit(json!({"runtime": "env", "action": {"command": ["sh", "-c", "exit 65"]}})),
        admit(json!({"runtime": "env", "action": {"command": ["/not/there"]}})),
        admit(json!({"runtime": "worker", "action": {"worker": "q"}, "on_dead_letter": {"http": http}})),
    ];
    for secret in [FILE, ENV, PLAIN, SHOWN] {
        let signature = format!("sha256={}", hmac_hex(secret, b"{}"));
        let headers = [
            ("x-hub-signature-256", signature.as_str()),
            ("x-github-event", "push"),
            ("x-github-delivery", &secret[..20]),
        ];
        let answer = server.deliver("gh", &headers, b"{}");
        assert_eq!(answer.status, if secret == SHOWN { 401 } else { 202 }, "{answer:?}");
        ids.extend(
            answer.body["runs"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|run| run["id"].as_str().unwrap_or_else(|| run.as_str().unwrap()).to_owned()),
        );
    }
    // Shown where it does not belong: as a signature, a token, a credential of another scheme.
    assert_eq!(server.deliver("gh", &[("x-hub-signature-256", SHOWN)], b"{}").status, 401);
    assert_eq!(ask(server, "GET", "/v1/status", Some(SHOWN), b"").status, 401);
    let report = format!("/v1/records/{}/reports", ids[0]);
    assert_eq!(ask(server, "POST", &report, Some(SHOWN), br#"{"attempt":1,"type":"heartbeat"}"#).status, 401);
    for id in &ids[..3] {
        settled(server, admin, id);
    }
    ids
}

/// Waits until its first attempt is over.
fn settled(server: &Server, admin: &str, id: &str) {
    let mut path = format!("/v1/records/{id}");
    for _ in 0..1000 {
        let record = ask(server, "GET", &path, Some(admin), b"").body;
        let state = record["state"].as_str().unwrap();
        if ["backoff", "dead_lettered"].contains(&state) {
            return;
        }
        path = format!("/v1/records/{id}?wait=1s&while={}", record["updated_at"].as_str().unwrap());
    }
    panic!("{id} does not come to its end");
}

/// The first line of an endless answer that has this in it, and all before it.
fn until(server: &Server, path: &str, token: &str, mark: &str) -> Vec<u8> {
    let request =
        ureq::get(format!("{}{path}", server.url)).header("authorization", format!("Bearer {token}"));
    let mut said = Vec::new();
    for line in BufReader::new(request.call().unwrap().into_body().into_reader()).lines() {
        let line = line.unwrap();
        said.extend_from_slice(line.as_bytes());
        if line.contains(mark) {
            return said;
        }
    }
    panic!("{path} ends without {mark}")
}

#[test]
fn no_secret_is_said_anywhere() {
    let dir = place();
    let (server, admin) = serve(dir.path());
    let ids = work(&server, &admin);
    let mut heard = Heard::default();

    for operation in Operation::all().iter().filter(|operation| operation.method == "GET") {
        let paths: Vec<String> = match operation.path.as_str() {
            // A store in files has no nodes.
            "/v1/backup" | "/v1/nodes" => continue,
            "/v1/events" => {
                heard.hear("events", until(&server, "/v1/events?after=0", &admin, &ids[2]));
                continue;
            }
            "/v1/triggers/{id}" => {
                let triggers = ask(&server, "GET", "/v1/triggers", Some(&admin), b"").body;
                let items = triggers["items"].as_array().unwrap().clone();
                items.iter().map(|item| format!("/v1/triggers/{}", item["id"].as_str().unwrap())).collect()
            }
            path if path.contains("{id}") => ids.iter().map(|id| path.replace("{id}", id)).collect(),
            path => vec![path.replace("{scope}", "all")],
        };
        assert!(!paths.is_empty(), "{}", operation.path);
        for path in paths {
            let request =
                ureq::get(format!("{}{path}", server.url)).header("authorization", format!("Bearer {admin}"));
            let mut response = request.call().unwrap_or_else(|error| panic!("{path}: {error}"));
            heard.hear(path, response.body_mut().read_to_vec().unwrap());
        }
    }

    for args in [
        &["config", "check"][..],
        &["token", "ls"],
        &["ls", "--json"],
        &["ls", "runtimes"],
        &["show", &ids[0], "--json"],
        &["show", &ids[3]],
        &["history", &ids[0]],
        &["why", &ids[0]],
        &["logs", &ids[1]],
        &["mode"],
        &["backup", "copy", "--json"],
        &["--token-file", "secret", "ls"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        let mut command = Command::new(DWELL);
        command.args(args).current_dir(dir.path()).env("PLANTED", ENV).env("DWELL_TOKEN", &admin);
        let output = command.output().unwrap();
        heard.hear(format!("stdout of dwell {args:?}"), output.stdout);
        heard.hear(format!("stderr of dwell {args:?}"), output.stderr);
    }
    assert!(server.terminate().success());
    let log = fs::read(dir.path().join("log")).unwrap();
    assert!(log.windows(5).any(|part| part == b"TRACE"), "it did not say all it could");
    heard.hear("the log", log);
    heard.has_none_of(PLANTED.into_iter().chain([admin.as_str()]));

    // A backup has what work is sent with, and so must the table and the journal; nothing else.
    let mut kept = Heard::default();
    kept.hear("the backup", fs::read(dir.path().join("copy")).unwrap());
    let not_stored = PLANTED.into_iter().filter(|secret| !STORED.contains(secret));
    kept.has_none_of(not_stored.chain([admin.as_str()]));
}

#[test]
fn a_configuration_that_is_refused_does_not_say_its_secrets() {
    for config in [
        format!("[sources.gh]\nsecrets = [\"{PLAIN}\"]\n"),
        format!("[sources.gh]\nsecrets = \"{PLAIN}\"\n"),
        format!("[sources.gh]\nkind = \"standard\"\nsecrets = [\"plain:{PLAIN}\"]\n"),
        format!("[runtimes.w]\nenv = {{ KEY = [\"{PLAIN}\"] }}\n"),
        format!(
            "[notify.ops.http]\nurl = \"http://h/\"\nheaders = {{ Authorization = \"{PLAIN}\\n\" }}\n[notify.ops]\nevents = [\"stalled\"]\n"
        ),
    ] {
        let dir = directory(&config);
        let mut heard = Heard::default();
        for args in [&["config", "check"][..], &["serve", "--listen", "0.0.0.0:0"]] {
            let output = Command::new(DWELL).args(args).current_dir(dir.path()).output().unwrap();
            heard.hear(format!("dwell {args:?}"), [output.stdout, output.stderr].concat());
        }
        heard.has_none_of([PLAIN]);
    }
}
