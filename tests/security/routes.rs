//! Every route of the contract, by every kind of token.

use serde_json::{Value, json};

use super::server::{Server, directory};
use super::{Operation, ask, exposed, tokens};

const SOURCE: &str = "[sources.gh]\nkind = \"github\"\nsecrets = [\"plain:secret\"]\n";

/// What they answer to who may ask is no document: it has no end, or is bytes.
const STREAMS: &[&str] = &["/v1/events", "/v1/backup"];

/// A record that is there.
fn session(server: &Server, token: &str) -> String {
    let body = br#"{"runtime":"worker","action":{"worker":"q"},"budget":3}"#;
    let answer = ask(server, "POST", "/v1/sessions", Some(token), body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

#[test]
fn without_a_token_every_route_that_asks_for_one_is_401() {
    let dir = directory(SOURCE);
    let [_, operate, _] = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    let id = session(&server, &operate);
    let cut = &operate[..operate.len() - 1];
    for operation in Operation::all() {
        let what = format!("{} {}", operation.method, operation.path);
        if operation.scope().is_none() {
            let (answer, signed) = (operation.ask(&server, &id, None), operation.path.starts_with("/hooks/"));
            assert_eq!(answer.status, if signed { 401 } else { 200 }, "{what}");
            continue;
        }
        for (token, code) in [
            (None, "no_token"),
            (Some("nonsense"), "bad_token"),
            (Some(cut), "bad_token"),
            (Some(""), "bad_token"),
            (Some("ses_7ZZZZZZZZZZZZZZZZZZZZZZZZZ.1.00"), "bad_token"),
        ] {
            let answer = operation.ask(&server, &id, token);
            assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some(code)), "{what} {token:?}");
        }
    }
}

#[test]
fn a_token_opens_what_its_scope_holds_and_nothing_else() {
    let dir = directory(SOURCE);
    let held = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    let id = session(&server, &held[1]);
    let rank = |scope: &str| ["read", "operate", "admin"].iter().position(|known| *known == scope).unwrap();
    let before = ask(&server, "GET", "/v1/sessions", Some(&held[0]), b"").body;
    // The widest last, so what a narrow one is refused is not refused for another reason.
    for (has, token) in held.iter().enumerate() {
        for operation in Operation::all() {
            let Some(scope) = operation.scope() else { continue };
            if STREAMS.contains(&operation.path.as_str()) && has >= rank(scope) {
                continue;
            }
            let answer = operation.ask(&server, &id, Some(token));
            let refused = answer.status == 403 && answer.body["code"] == "forbidden";
            let what = format!("{} {} with {has}: {}", operation.method, operation.path, answer.status);
            assert_eq!(refused, has < rank(scope), "{what}");
            assert_ne!(answer.status, 401, "{what}");
            if has == 0 {
                assert!(operation.method == "GET" || refused, "a read token changes something: {what}");
            }
        }
        if has == 0 {
            let after = ask(&server, "GET", "/v1/sessions", Some(token), b"").body;
            assert_eq!(after, before, "a read token changed something");
        }
    }
}

#[test]
fn an_attempt_s_token_is_for_its_record_and_for_what_an_attempt_says() {
    let dir = directory("");
    let [_, operate, _] = tokens(dir.path());
    let server = Server::spawn(&mut exposed(dir.path()));
    let (mine, other) = (session(&server, &operate), session(&server, &operate));
    let claim = br#"{"worker":"w","queue":"q","max":2}"#;
    let claimed = ask(&server, "POST", "/v1/claims", Some(&operate), claim);
    let attempts = claimed.body["attempts"].as_array().unwrap();
    let of_mine = attempts.iter().find(|attempt| attempt["id"] == mine).unwrap();
    let token = of_mine["token"].as_str().unwrap();

    let say = |id: &str, what: &str, body: &Value| {
        ask(&server, "POST", &format!("/v1/records/{id}/{what}"), Some(token), body.to_string().as_bytes())
    };
    let beat = |attempt: u32| json!({ "attempt": attempt, "type": "heartbeat" });
    assert_eq!(say(&mine, "reports", &beat(1)).status, 200);
    assert_eq!(say(&mine, "charge", &json!({ "attempt": 1 })).body, json!({ "used": 1, "limit": 3 }));
    assert_eq!(ask(&server, "GET", &format!("/v1/records/{mine}"), Some(token), b"").status, 200);
    assert_eq!(say(&mine, "reports", &beat(2)).body["code"], "bad_token");
    // A prefix could be another's as well.
    assert_eq!(say(&mine[..mine.len() - 1], "reports", &beat(1)).body["code"], "forbidden");

    for operation in Operation::all() {
        if operation.scope().is_none() {
            continue;
        }
        let what = format!("{} {}", operation.method, operation.path);
        let answer = operation.ask(&server, &other, Some(token));
        assert_eq!((answer.status, answer.body["code"].as_str()), (403, Some("forbidden")), "{what}");
        if operation.security.as_array().unwrap().len() == 1 {
            let answer = operation.ask(&server, &mine, Some(token));
            assert_eq!((answer.status, answer.body["code"].as_str()), (403, Some("forbidden")), "{what}");
        }
    }
    let stolen = ask(&server, "GET", &format!("/v1/records/{other}"), Some(&operate), b"").body;
    assert_eq!((&stolen["state"], &stolen["budget"]["used"]), (&json!("active"), &json!(0)));
}
