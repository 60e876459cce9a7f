//! The vectors of the forges and of Standard Webhooks, and what is refused.

use super::*;

const SECRET: &str = "It's a Secret to Everybody";
const WHSEC: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const STANDARD_AT: u64 = 1_649_367_553;
const STANDARD_BODY: &str = r#"{"email":"test@example.com","username":"test_user"}"#;
const STANDARD_ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";

fn at(seconds: u64) -> Time {
    Time::ZERO.after(Duration::from_secs(seconds))
}

fn hex(key: &str, body: &[u8]) -> String {
    let tag = hmac(key.as_bytes()).unwrap().chain_update(body).finalize().into_bytes();
    tag.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn answer(
    kind: HookKind,
    secrets: &[&str],
    headers: &[(&str, &str)],
    body: &[u8],
    now: Time,
) -> Result<Hook, HookRefusal> {
    let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    let header =
        |name: &str| headers.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned());
    read(kind, &secrets, &header, body, now)
}

/// `event/action #dedup`, or the refusal.
#[track_caller]
fn check(kind: HookKind, secrets: &[&str], headers: &[(&str, &str)], body: &[u8], expected: &str) {
    let got = match answer(kind, secrets, headers, body, at(STANDARD_AT)) {
        Ok(Hook { event, action, dedup, .. }) => {
            format!("{event}/{} #{}", action.unwrap_or_default(), dedup.unwrap_or_default())
        }
        Err(HookRefusal::Signature(what)) => format!("401 {what}"),
        Err(HookRefusal::Malformed(what)) => format!("400 {what}"),
    };
    assert_eq!(got, expected);
}

#[test]
fn githubs_own_vector_is_proven_and_a_changed_one_is_not() {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let vector = |secrets: &[&str], signature: &str, body: &[u8], expected: &str| {
        check(HookKind::Github, secrets, &[("x-hub-signature-256", signature)], body, expected);
    };
    // Proven, so what is wrong with it is told: it is no JSON.
    let proven = "400 the payload is not JSON: expected value at line 1 column 1";
    let unproven = "401 no configured secret signed it";
    vector(&[SECRET], signature, b"Hello, World!", proven);
    vector(&["old", SECRET], signature, b"Hello, World!", proven);
    vector(&[SECRET], signature, b"Hello, World?", unproven);
    vector(&["other"], signature, b"Hello, World!", unproven);
    vector(&[], signature, b"Hello, World!", unproven);
    for n in 0..signature.len() {
        let mut flipped = signature.as_bytes().to_vec();
        flipped[n] ^= 1;
        vector(&[SECRET], &String::from_utf8(flipped).unwrap(), b"Hello, World!", unproven);
        vector(&[SECRET], &signature[..n], b"Hello, World!", unproven);
    }
    check(HookKind::Github, &[SECRET], &[], b"{}", "401 no x-hub-signature-256 header");
}

#[test]
fn an_empty_secret_proves_nothing() {
    let signature = format!("sha256={}", hex("", b"{}"));
    let headers = [("x-hub-signature-256", &*signature), ("x-github-event", "push"), ("x-gitlab-token", "")];
    check(HookKind::Github, &[""], &headers, b"{}", "401 no configured secret signed it");
    let token = "401 x-gitlab-token is none of the configured secrets";
    check(HookKind::Gitlab, &[""], &headers, b"{}", token);
}

#[test]
fn github_names_event_action_and_delivery() {
    let body = br#"{"action":"review_requested","number":7}"#;
    let signature = format!("sha256={}", hex(SECRET, body));
    let all = [
        ("x-hub-signature-256", &*signature),
        ("x-github-event", "pull_request"),
        ("x-github-delivery", "72d3162e"),
    ];
    check(HookKind::Github, &[SECRET], &all, body, "pull_request/review_requested #72d3162e");
    check(HookKind::Github, &[SECRET], &all[..1], body, "400 no x-github-event header");
    check(HookKind::Github, &[SECRET], &all[..2], body, "pull_request/review_requested #");
    let hook = answer(HookKind::Github, &[SECRET], &all, body, Time::ZERO).unwrap();
    assert_eq!(hook.payload, body);
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let headers = [all[0], ("x-github-event", &*long)];
    let expected = "400 event of 257 bytes: expected 1 to 256 bytes without control characters";
    check(HookKind::Github, &[SECRET], &headers, body, expected);
}

#[test]
fn a_form_is_signed_as_it_came_by_github_and_inside_by_forgejo() {
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let json = br#"{"action":"a b+c"}"#;
    let form = b"payload=%7B%22action%22%3A%22a+b%2Bc%22%7D&x=y";
    let (outer, inner) = (hex(SECRET, form), hex(SECRET, json));
    let prefixed = format!("sha256={outer}");
    let github = [FORM, ("x-hub-signature-256", &*prefixed), ("x-github-event", "push")];
    check(HookKind::Github, &[SECRET], &github, form, "push/a b+c #");
    let hook = answer(HookKind::Github, &[SECRET], &github, form, Time::ZERO).unwrap();
    assert_eq!(hook.payload, json);
    let forgejo = [FORM, ("x-forgejo-signature", &*inner), ("x-forgejo-event", "push")];
    check(HookKind::Forgejo, &[SECRET], &forgejo, form, "push/a b+c #");
    let wrong = [FORM, ("x-forgejo-signature", &*outer), ("x-forgejo-event", "push")];
    check(HookKind::Forgejo, &[SECRET], &wrong, form, "401 no configured secret signed it");
    check(HookKind::Forgejo, &[SECRET], &forgejo, b"x=y", "401 no payload in the form");
}

#[test]
fn forgejo_and_gitea_are_one_kind() {
    let body = br#"{"review":{}}"#;
    let signature = hex(SECRET, body);
    let forgejo = [
        ("x-forgejo-signature", &*signature),
        ("x-forgejo-event", "pull_request_approved"),
        ("x-forgejo-event-type", "pull_request_review_approved"),
        ("x-forgejo-delivery", "f6266f16"),
    ];
    let expected = "pull_request_approved/pull_request_review_approved #f6266f16";
    check(HookKind::Forgejo, &[SECRET], &forgejo, body, expected);
    let gitea = [
        ("x-gitea-signature", &*signature),
        ("x-gitea-event", "push"),
        ("x-gitea-event-type", "push"),
        ("x-gitea-delivery", "1"),
    ];
    check(HookKind::Forgejo, &[SECRET], &gitea, body, "push/ #1");
    check(HookKind::Forgejo, &[SECRET], &gitea[..1], body, "400 no x-forgejo-event header");
    check(HookKind::Forgejo, &[SECRET], &gitea[1..], body, "401 no x-forgejo-signature header");
    let both = [("x-forgejo-signature", "00"), gitea[0], gitea[1]];
    check(HookKind::Forgejo, &[SECRET], &both, body, "401 no configured secret signed it");
}

#[test]
fn gitlab_shows_the_secret_itself() {
    let body = br#"{"object_kind":"merge_request","object_attributes":{"action":"open"}}"#;
    let all = [
        ("x-gitlab-token", SECRET),
        ("x-gitlab-event", "Merge Request Hook"),
        ("idempotency-key", "key"),
        ("x-gitlab-event-uuid", "uuid"),
    ];
    check(HookKind::Gitlab, &["old", SECRET], &all, body, "merge_request/open #key");
    let [token, event, _, uuid] = all;
    check(HookKind::Gitlab, &[SECRET], &[token, event, uuid], body, "merge_request/open #uuid");
    check(HookKind::Gitlab, &[SECRET], &all, br#"{"event_name":"user_create"}"#, "user_create/ #key");
    check(HookKind::Gitlab, &[SECRET], &all, br#"{"action":"create"}"#, "Merge Request Hook/create #key");
    check(HookKind::Gitlab, &[SECRET], &all[..1], body, "400 no x-gitlab-event header");
    check(HookKind::Gitlab, &[SECRET], &all[1..], body, "401 no x-gitlab-token header");
    let wrong = "401 x-gitlab-token is none of the configured secrets";
    check(HookKind::Gitlab, &["It's a Secret to Everybod"], &all, body, wrong);
    check(HookKind::Gitlab, &["It's a Secret to everybody"], &all, body, wrong);
}

#[test]
fn the_standard_vector_is_proven_within_five_minutes_only() {
    let signature = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
    let stamp = STANDARD_AT.to_string();
    let with = |signature: &str, secret: &str, body: &str, now: u64| {
        let headers =
            [("webhook-id", STANDARD_ID), ("webhook-timestamp", &*stamp), ("webhook-signature", signature)];
        let answer = answer(HookKind::Standard, &[secret], &headers, body.as_bytes(), at(now));
        answer.unwrap_err().to_string()
    };
    // Proven, so what is wrong with it is told: it has no type.
    let proven = "no text \"type\" in the payload";
    let unproven = "no configured secret signed it";
    assert_eq!(with(signature, WHSEC, STANDARD_BODY, STANDARD_AT), proven);
    assert_eq!(with(signature, &WHSEC[6..], STANDARD_BODY, STANDARD_AT), proven);
    assert_eq!(with(&format!("v1a,x v1,AAAA {signature}"), WHSEC, STANDARD_BODY, STANDARD_AT), proven);
    assert_eq!(with("v1,AAAA v2,AAAA", WHSEC, STANDARD_BODY, STANDARD_AT), unproven);
    assert_eq!(with(&signature[3..], WHSEC, STANDARD_BODY, STANDARD_AT), unproven);
    assert_eq!(with(signature, "whsec_AAAA", STANDARD_BODY, STANDARD_AT), unproven);
    assert_eq!(with(signature, "whsec_?", STANDARD_BODY, STANDARD_AT), unproven);
    assert_eq!(with(signature, WHSEC, "{}", STANDARD_AT), unproven);
    assert_eq!(with(signature, WHSEC, STANDARD_BODY, STANDARD_AT + 300), proven);
    assert_eq!(with(signature, WHSEC, STANDARD_BODY, STANDARD_AT - 300), proven);
    let stale = "webhook-timestamp is 5m 1s from now: expected at most 5m";
    assert_eq!(with(signature, WHSEC, STANDARD_BODY, STANDARD_AT + 301), stale);
    assert_eq!(with(signature, WHSEC, STANDARD_BODY, STANDARD_AT - 301), stale);
}

#[test]
fn a_standard_webhook_names_its_type_and_id() {
    let body = br#"{"type":"user.created","data":{}}"#;
    let key = HookKind::Standard.key(&Secret::new(WHSEC)).unwrap();
    let sign = |stamp: &str| {
        let mac = hmac(&key).unwrap().chain_update(format!("msg_1.{stamp}.")).chain_update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    };
    let stamp = STANDARD_AT.to_string();
    for (stamp, expected) in [
        (&*stamp, "user.created/ #msg_1"),
        ("soon", "400 webhook-timestamp is not a number of seconds since 1970"),
    ] {
        let signature = sign(stamp);
        let all = [("webhook-id", "msg_1"), ("webhook-timestamp", stamp), ("webhook-signature", &*signature)];
        check(HookKind::Standard, &[WHSEC], &all, body, expected);
        for n in 0..all.len() {
            let mut less = all.to_vec();
            let (name, _) = less.remove(n);
            check(HookKind::Standard, &[WHSEC], &less, body, &format!("401 no {name} header"));
        }
    }
}

#[test]
fn kinds_are_named_and_secrets_are_not_shown() {
    for kind in [HookKind::Github, HookKind::Forgejo, HookKind::Gitlab, HookKind::Standard] {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert_eq!("gitea".parse(), Ok(HookKind::Forgejo));
    assert_eq!(
        "GitHub".parse::<HookKind>(),
        Err("unknown kind \"GitHub\": expected one of github, forgejo (or gitea), gitlab, standard"
            .to_owned())
    );
    assert_eq!(format!("{:?}", Secret::new(SECRET)), "***");
    assert_eq!(HookKind::Github.check(&Secret::new("x")), Ok(()));
    assert_eq!(HookKind::Github.check(&Secret::new("")), Err("the secret is empty".to_owned()));
    let wrong = "the secret is not whsec_ and base64 after it".to_owned();
    assert_eq!(HookKind::Standard.check(&Secret::new("whsec_?")), Err(wrong));
}
