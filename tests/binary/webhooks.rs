//! Webhooks of every kind against the real binary: proven, accepted once, answered by what they are.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::server::{Answer, Server, directory, fixture, flows, hmac_hex, hmac_sha256};

/// Where the test clock stands, also in seconds since 1970, for the kind that signs the time.
const START: &str = "2026-11-21T00:00:00Z";
const START_EPOCH: u64 = 1_795_219_200;

const SECRET: &str = "It's a Secret to Everybody";
const WHSEC: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Two flows for GitHub's review request, one for a push, and one for each other kind.
const FLOWS: &[(&str, &str)] = &[
    ("review.yaml", "name: review\non: { github: { pull_request: [review_requested] } }\n"),
    ("label.yaml", "name: label\non: { github: { pull_request: [review_requested, labeled] } }\n"),
    ("push.yaml", "name: push\non: { github: { push: } }\n"),
    ("forgejo.yaml", "name: forgejo\non: { forgejo: { issues: [opened] } }\n"),
    ("gitlab.yaml", "name: gitlab\non: { gitlab: { merge_request: [open] } }\n"),
    ("standard.yaml", "name: standard\non: { standard: { user.created: } }\n"),
];

fn place() -> tempfile::TempDir {
    let mut config = "[log]\nlevel = \"error\"\n".to_owned();
    for (name, kind, secrets) in [
        ("gh", "github", vec![SECRET]),
        ("fj", "forgejo", vec!["an older one", SECRET]),
        ("gl", "gitlab", vec!["an older one", SECRET]),
        ("std", "standard", vec![WHSEC]),
    ] {
        let secrets: Vec<_> = secrets.iter().map(|secret| format!("plain:{secret}")).collect();
        config += &format!("[sources.{name}]\nkind = {kind:?}\nsecrets = {secrets:?}\n");
    }
    let dir = directory(&config);
    for (file, text) in FLOWS {
        flows(dir.path(), &[(file, &format!("{text}run:\n  command: [\"true\"]\n"))]);
    }
    dir
}

fn serve(dir: &Path) -> Server {
    Server::start(dir, &["--test-clock", START])
}

/// One delivery, as its forge sends it.
struct Delivery {
    source: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Delivery {
    fn post(&self, server: &Server) -> Answer {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        server.deliver(self.source, &headers, &self.body)
    }

    /// With one bit of what proves it flipped.
    fn flipped(mut self) -> Delivery {
        let proofs = ["x-hub-signature-256", "x-forgejo-signature", "x-gitlab-token", "webhook-signature"];
        let (_, value) = self.headers.iter_mut().find(|(name, _)| proofs.contains(name)).unwrap();
        // Far enough from the end to be no padding bits of base64.
        let at = value.len() - 8;
        let mut bytes = std::mem::take(value).into_bytes();
        bytes[at] ^= 1;
        *value = String::from_utf8(bytes).unwrap();
        self
    }
}

fn github(event: &str, id: &str, body: Vec<u8>) -> Delivery {
    let headers = vec![
        ("x-github-event", event.to_owned()),
        ("x-github-delivery", id.to_owned()),
        ("x-hub-signature-256", format!("sha256={}", hmac_hex(SECRET, &body))),
    ];
    Delivery { source: "gh", headers, body }
}

fn forgejo(event: &str, id: &str, body: Vec<u8>) -> Delivery {
    let headers = vec![
        ("x-forgejo-event", event.to_owned()),
        ("x-forgejo-delivery", id.to_owned()),
        ("x-forgejo-signature", hmac_hex(SECRET, &body)),
    ];
    Delivery { source: "fj", headers, body }
}

fn gitlab(event: &str, id: &str, body: Vec<u8>) -> Delivery {
    let headers = vec![
        ("x-gitlab-event", event.to_owned()),
        ("idempotency-key", id.to_owned()),
        ("x-gitlab-token", SECRET.to_owned()),
    ];
    Delivery { source: "gl", headers, body }
}

fn standard(id: &str, body: Vec<u8>) -> Delivery {
    let key = BASE64.decode(WHSEC.strip_prefix("whsec_").unwrap()).unwrap();
    let signed = [format!("{id}.{START_EPOCH}.").as_bytes(), &body].concat();
    let headers = vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", START_EPOCH.to_string()),
        ("webhook-signature", format!("v1,{}", BASE64.encode(hmac_sha256(&key, &signed)))),
    ];
    Delivery { source: "std", headers, body }
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

/// A delivery of each kind, and the flows that want it.
fn wanted() -> Vec<(Delivery, &'static [&'static str])> {
    let merge_request =
        json!({"object_kind": "merge_request", "object_attributes": {"action": "open", "iid": 7}});
    vec![
        (github("pull_request", "d-1", fixture("pull_request.review_requested.json")), &["label", "review"]),
        (github("push", "d-2", fixture("push.json")), &["push"]),
        (forgejo("issues", "d-1", bytes(&json!({"action": "opened", "number": 3}))), &["forgejo"]),
        (gitlab("Merge Request Hook", "d-1", bytes(&merge_request)), &["gitlab"]),
        (standard("msg_1", bytes(&json!({"type": "user.created", "data": {"id": 1}}))), &["standard"]),
    ]
}

fn admitted(server: &Server) -> u64 {
    server.get("/v1/status").body["admitted"].as_u64().unwrap()
}

#[test]
fn each_kind_starts_one_run_for_each_flow_that_matches_and_only_once() {
    let dir = place();
    let mut server = serve(dir.path());
    let mut first = Vec::new();
    for (delivery, flows) in wanted() {
        let answer = delivery.post(&server);
        assert_eq!((answer.status, &answer.body["duplicate"]), (202, &json!(false)), "{answer:?}");
        let runs = answer.body["runs"].as_array().unwrap();
        let found: Vec<_> = (runs.iter())
            .map(|run| server.until(run.as_str().unwrap(), "completed")["flow"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, flows, "{}", delivery.source);
        first.push((delivery, answer.body));
    }
    let (made, triggers) = (admitted(&server), server.get("/v1/triggers").body);
    assert_eq!((made, triggers["items"].as_array().unwrap().len()), (6, 5));

    let again = |server: &Server| {
        for (delivery, body) in &first {
            let answer = delivery.post(server);
            assert_eq!((answer.status, &answer.body["duplicate"]), (200, &json!(true)), "{answer:?}");
            assert_eq!((&answer.body["trigger"], &answer.body["runs"]), (&body["trigger"], &body["runs"]));
        }
        assert_eq!((admitted(server), &server.get("/v1/triggers").body), (made, &triggers));
    };
    again(&server);
    server.kill();
    drop(server);
    again(&serve(dir.path()));
}

#[test]
fn what_is_not_proven_is_401_and_leaves_nothing() {
    let dir = place();
    let server = serve(dir.path());
    for (delivery, _) in wanted() {
        let source = delivery.source;
        let answer = delivery.flipped().post(&server);
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (401, &json!("bad_signature")),
            "{source}: {answer:?}"
        );
    }
    for (mut delivery, _) in wanted() {
        delivery.headers.clear();
        assert_eq!(delivery.post(&server).status, 401, "{}", delivery.source);
    }
    assert_eq!(admitted(&server), 0);
    assert_eq!(server.get("/v1/triggers").body["items"], json!([]));
    // The right one is not kept out by the wrong ones before it.
    for (delivery, _) in wanted() {
        assert_eq!(delivery.post(&server).status, 202, "{}", delivery.source);
    }
}

#[test]
fn what_no_flow_wants_is_accepted_without_runs() {
    let dir = place();
    let server = serve(dir.path());
    for delivery in [
        github("ping", "d-1", fixture("ping.json")),
        github("issues", "d-2", fixture("issues.opened.json")),
        forgejo("issues", "d-1", bytes(&json!({"action": "closed"}))),
        gitlab("Push Hook", "d-1", bytes(&json!({"object_kind": "push"}))),
        standard("msg_1", bytes(&json!({"type": "user.deleted"}))),
    ] {
        let answer = delivery.post(&server);
        assert_eq!((answer.status, &answer.body["runs"]), (202, &json!([])), "{answer:?}");
        assert_eq!(delivery.post(&server).status, 200, "it is known all the same");
    }
    assert_eq!(admitted(&server), 0);
    assert_eq!(server.get("/v1/triggers").body["items"].as_array().unwrap().len(), 5);
}

#[test]
fn what_cannot_be_read_is_refused_by_what_is_wrong_with_it() {
    let dir = place();
    let server = serve(dir.path());
    let garbage = || b"{\"action\": \"review_requ".to_vec();
    for delivery in [
        github("pull_request", "d-1", garbage()),
        forgejo("issues", "d-1", garbage()),
        gitlab("Merge Request Hook", "d-1", garbage()),
        standard("msg_1", garbage()),
    ] {
        let answer = delivery.post(&server);
        assert_eq!(answer.status, 400, "{}: {answer:?}", delivery.source);
        assert!(answer.body["detail"].as_str().unwrap().contains("not JSON"), "{answer:?}");
    }
    let large = |bytes: usize| {
        let mut body = b"{\"action\": \"review_requested\", \"x\": \"".to_vec();
        body.resize(bytes - 2, b'x');
        body.extend(b"\"}");
        body
    };
    // It is refused by its size before anybody looks at the signature.
    let beyond = Delivery { body: large(26 << 20), ..github("pull_request", "large", Vec::new()) };
    let answer = beyond.post(&server);
    assert_eq!((answer.status, &answer.body["code"]), (413, &json!("too_large")), "{answer:?}");
    assert_eq!(admitted(&server), 0);
    let answer = github("pull_request", "large", large(25 << 20)).post(&server);
    assert_eq!(answer.status, 202, "GitHub sends up to 25 MiB: {answer:?}");

    let nobody = Delivery { source: "nobody", ..github("ping", "d-9", fixture("ping.json")) };
    let answer = nobody.post(&server);
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")), "{answer:?}");
}
