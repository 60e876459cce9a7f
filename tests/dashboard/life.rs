//! What moves on the page by itself: countdowns, cards, a server that goes and comes back; and ten thousand of them.

use std::process::Command;

use serde_json::json;

use crate::load::{claim, place, report, serve, session};
use crate::page::{Page, WIDE};
use crate::server::{DWELL, Server};

fn card(state: &str, id: &str) -> String {
    format!(".column[data-state={state}] .card[data-id={id}]")
}

/// A session that waits for its provider's window.
fn limited(server: &Server, reset: &str) -> String {
    let id = session(server, "a long night");
    report(server, &claim(server, 1)[0], json!({"type": "rate_limited", "reset_at": reset}));
    id
}

#[test]
fn a_countdown_reaches_zero_and_its_card_moves_without_a_reload() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let mut page = Page::open(&format!("{}/#/board", server.url), WIDE);
    // It is drawn and follows: the wait is long enough to be seen on a slow machine as well.
    page.until("document.querySelector('.column')");
    page.eval("window.loadedOnce = true");
    let id = limited(&server, "+15s");
    page.sees(&card("rate_limited", &id), "0:");
    page.until(&format!("document.querySelector({})", json!(card("queued", &id))));
    assert_eq!(page.eval("window.loadedOnce"), true);
    page.is_clean();
}

#[test]
fn a_countdown_goes_by_the_server_s_clock() {
    let dir = place();
    let server = serve(dir.path(), &["--test-clock", "2031-05-05T12:00:00Z"]);
    let id = limited(&server, "+90m");
    let mut page = Page::open(&format!("{}/#/board", server.url), WIDE);
    let card_of = |state| card(state, &id);
    page.sees(&card_of("rate_limited"), "1:30:00");
    page.sees(".server small", "12:00:00");
    server.advance("89m");
    page.sees(&card_of("rate_limited"), "1:00");
    server.advance("1m");
    page.until(&format!("document.querySelector({})", json!(card_of("queued"))));
    page.is_clean();
}

#[test]
fn a_page_recovers_by_itself_from_a_server_that_was_killed() {
    let dir = place();
    let mut server = serve(dir.path(), &[]);
    let id = session(&server, "before");
    let mut page = Page::open(&format!("{}/#/board", server.url), WIDE);
    page.sees(&card("queued", &id), "before");
    // Connections that end and are refused are what this is about.
    page.expected = vec!["/v1/", "/ui/"];
    let listen = server.url.trim_start_matches("http://").to_owned();
    server.kill();
    page.sees("#gone", "The server is gone");
    page.sees(".server", "Disconnected");
    let mut again = Command::new(DWELL);
    again.args(["serve", "--flows", "flows", "--listen", &listen]).current_dir(dir.path());
    let server = Server::spawn(&mut again);
    page.until("!document.querySelector('#gone')");
    page.sees(".server", "Live");
    let later = session(&server, "after");
    page.sees(&card("queued", &later), "after");
    page.is_clean();
}

#[test]
fn ten_thousand_cards_are_a_few_in_the_page_and_are_scrolled_and_found() {
    let dir = place();
    let server = serve(dir.path(), &["--paused"]);
    for batch in 0..10 {
        let one = |n| json!({"runtime": "shell", "action": {"command": ["true"]}, "key": format!("card-{batch}-{n}")});
        let sessions: Vec<_> = (0..1000).map(one).collect();
        assert_eq!(server.post("/v1/sessions/batch", &json!({ "sessions": sessions })).status, 200);
    }
    let mut page = Page::open(&format!("{}/#/board", server.url), WIDE);
    page.sees(".lead", "10,000 of 10,000");
    let in_page = page.eval("document.querySelectorAll('.card').length");
    assert!(in_page.as_u64().unwrap() < 60, "{in_page}");
    page.eval("(() => { const list = document.querySelector('.column[data-state=queued] .cards'); list.scrollTop = list.scrollHeight; })()");
    page.sees(".card[data-at='9999']", "card-9-999");
    page.press("/");
    page.until("document.activeElement.id === 'search'");
    page.types("card-7-123");
    page.sees(".lead", "1 of 10,000");
    page.sees(".card", "card-7-123");
    page.is_clean();
}

#[test]
fn a_card_is_called_by_its_task_where_it_has_no_other_name() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let id = server
        .session(&json!({"runtime": "claude", "action": {"worker": "q"}, "task": "Fix the flaky test"}));
    let mut page = Page::open(&format!("{}/#/board", server.url), WIDE);
    page.sees(&card("queued", &id), "Fix the flaky test");
    page.is_clean();
}

#[test]
fn the_board_is_walked_by_the_keyboard() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    for n in 0..30 {
        session(&server, &format!("s{n}"));
    }
    claim(&server, 4);
    let mut page = Page::open(&format!("{}/#/board", server.url), WIDE);
    page.sees(".column[data-state=active] .card", "s3");
    page.eval("document.querySelector('.column[data-state=queued] .card').focus()");
    let at = |state: &str, at: u32| {
        format!("document.activeElement.matches('.column[data-state={state}] [data-at=\"{at}\"]')")
    };
    for _ in 0..3 {
        page.press("ArrowDown");
    }
    page.until(&at("queued", 3));
    page.press("End");
    page.until(&at("queued", 25));
    page.press("ArrowRight");
    page.until(&at("active", 0));
    page.press("Enter");
    page.sees(".head .state", "Active");
    page.is_clean();
}

#[test]
fn a_log_is_followed_to_the_end_of_its_attempt() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let gate = dir.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let script = format!("echo first; read line < {}; echo \"then $line\"", gate.display());
    let id = server.session(&json!({"runtime": "shell", "action": {"command": ["sh", "-c", script]}}));
    let mut page = Page::open(&format!("{}/#/record/{id}", server.url), WIDE);
    page.sees(".log", "first");
    page.sees(".head .state", "Active");
    std::fs::write(&gate, "more\n").unwrap();
    page.sees(".log", "then more");
    page.sees(".head .state", "Completed");
    page.is_clean();
}
