//! Signing in and out, and what a token that only reads may not do.

use std::path::Path;

use serde_json::json;

use crate::load::{claim, fill, place, report, serve, session};
use crate::page::{Look, Page, WIDE};
use crate::server::dwell;
use crate::views::{NARROW, VIEWS, barriers, with_axe};

/// A new token, as who made it has it.
fn token(dir: &Path, scope: &str) -> String {
    let made = dwell(dir, &["token", "add", "--scope", scope, "--name", scope]);
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn sign_in(page: &mut Page, token: &str) {
    page.until("document.activeElement?.id === 'token'");
    page.types(token);
    page.click("button", "Sign in");
}

/// Nothing of the server is shown.
const OUTSIDE: &str = "document.querySelector('.sign-in') && !document.querySelector('header')";

#[test]
fn a_token_is_asked_for_a_wrong_one_is_refused_and_a_right_one_signs_in_until_signing_out() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let id = session(&server, "behind a token");
    let read = token(dir.path(), "read");
    let mut page = Page::open(&format!("{}/#/board", server.url), WIDE);
    page.expected = vec!["/v1/"];
    page.until(OUTSIDE);
    assert_eq!(page.eval("document.querySelector('.refusal')"), json!(null), "nothing was tried yet");
    sign_in(&mut page, "dwell_guessed");
    page.sees("#token-refused", "the token is unknown, expired or revoked");
    page.eval("document.getElementById('token').value = ''");
    sign_in(&mut page, "schlüssel");
    page.sees("#token-refused", "ASCII");
    page.eval("document.getElementById('token').value = ''");
    sign_in(&mut page, &read);
    page.sees(".server", "Live");
    page.sees(&format!(".card[data-id={id}]"), "behind a token");
    // Another load of the same tab, and the same token.
    page.go(&format!("{}/?again#/board", server.url));
    page.sees(".server", "Live");
    page.sees(&format!(".card[data-id={id}]"), "behind a token");
    page.click("#sign-out", "");
    page.until(OUTSIDE);
    page.go(&format!("{}/?out#/board", server.url));
    page.until(OUTSIDE);
    assert_eq!(page.eval("sessionStorage.length + document.cookie.length"), 0);
    page.is_clean();
}

#[test]
fn a_token_that_reads_sees_every_view_and_is_told_what_it_may_not_do() {
    let dir = place();
    let server = serve(dir.path(), &["--test-clock", "2026-11-21T12:00:00Z"]);
    let dead = fill(&server);
    let read = token(dir.path(), "read");
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    page.expected = vec!["/v1/"];
    sign_in(&mut page, &read);
    for (view, drawn) in VIEWS {
        page.turn_to(&view.replace("ID", &dead));
        page.until(&format!("document.querySelector(\"{drawn}\")"));
    }
    let refused = "this takes the scope operate; the token has read";
    page.turn_to(&format!("record/{dead}"));
    page.click(".head button", "Redrive");
    page.click("dialog button.primary", "Redrive");
    page.sees("dialog .refusal", refused);
    page.click("dialog button", "Close");
    page.sees(".head .state", "Dead-lettered");
    page.turn_to("dead");
    page.click("thead input", "");
    page.click(".tools button", "Dry run");
    page.sees("[role=status]", refused);
    page.turn_to("flows");
    page.click("[data-flow=review] button", "off");
    page.click("dialog button", "Switch to off");
    page.sees("dialog .refusal", "this takes the scope admin; the token has read");
    page.click("dialog button", "Close");
    page.sees("[data-flow=review] button[aria-pressed=true]", "live");
    page.is_clean();
}

#[test]
fn a_token_that_is_revoked_shows_nothing_any_more() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    session(&server, "seen so far");
    report(&server, &claim(&server, 1)[0], json!({"type": "invalid", "message": "no"}));
    let operate = token(dir.path(), "operate");
    let mut page = Page::open(&format!("{}/#/dead", server.url), WIDE);
    page.expected = vec!["/v1/"];
    sign_in(&mut page, &operate);
    page.sees("tr[data-cause=invalid]", "claude");
    assert!(dwell(dir.path(), &["token", "revoke", "operate"]).status.success());
    page.until(OUTSIDE);
    page.sees("#token-refused", "revoked");
    page.is_clean();
}

#[test]
fn signing_in_shuts_nobody_out_dark_or_light_wide_or_narrow() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    token(dir.path(), "read");
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    page.expected = vec!["/v1/"];
    sign_in(&mut page, "dwell_guessed");
    page.sees("#token-refused", "unknown");
    with_axe(&mut page);
    let looks = [WIDE, Look { scheme: "dark", ..WIDE }, NARROW, Look { scheme: "dark", ..NARROW }];
    let faults = looks.map(|look| barriers(&mut page, "sign-in", look));
    assert!(faults.concat().is_empty(), "{faults:#?}");
    page.is_clean();
}
