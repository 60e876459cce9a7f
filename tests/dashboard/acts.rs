//! What an operator does by clicking, what becomes of it, and what is said when it is refused.

use serde_json::json;

use crate::load::{claim, fill, place, report, serve, session};
use crate::page::{Page, WIDE};
use crate::server::Server;

fn state(server: &Server, id: &str) -> String {
    server.get(&format!("/v1/records/{id}")).body["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_record_is_redriven_and_cancelled_by_clicking() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let id = session(&server, "by hand");
    report(&server, &claim(&server, 1)[0], json!({"type": "invalid", "message": "not like this"}));
    let mut page = Page::open(&format!("{}/#/record/{id}", server.url), WIDE);
    page.sees(".head .state", "Dead-lettered");
    page.click(".head button", "Redrive");
    page.sees("dialog h2", "Redrive");
    page.click("dialog button.primary", "Redrive");
    page.sees(".head .state", "Queued");
    assert_eq!(state(&server, &id), "queued");
    page.click(".head button", "Cancel");
    page.click("dialog button.danger", "Cancel it");
    page.sees(".head .state", "Cancelled");
    assert_eq!(state(&server, &id), "cancelled");
    page.is_clean();
}

#[test]
fn a_refused_action_says_why_and_changes_nothing() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let id = session(&server, "outstanding");
    claim(&server, 1);
    let mut page = Page::open(&format!("{}/#/record/{id}", server.url), WIDE);
    page.sees(".head .state", "Active");
    page.expected = vec!["/resume", "/v1/modes/"];
    page.click(".head button", "Resume now");
    page.click("dialog button.primary", "Resume now");
    page.sees("dialog .refusal", "active");
    page.click("dialog button", "Close");
    page.until("!document.querySelector('dialog')");
    assert_eq!(state(&server, &id), "active");
    // What a flow lacks is listed.
    page.turn_to("flows");
    page.click("[data-flow=lost] button", "live");
    page.click("dialog button.primary", "Switch to live");
    page.sees("dialog .refusal li", "runtime nowhere");
    page.press("Escape");
    page.until("!document.querySelector('dialog')");
    page.sees("[data-flow=lost] button[aria-pressed=true]", "off");
    page.is_clean();
}

#[test]
fn a_mode_is_flipped_by_clicking_and_back_by_force() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let mut page = Page::open(&format!("{}/#/flows", server.url), WIDE);
    page.sees("[data-flow=review] button[aria-pressed=true]", "live");
    page.click("[data-flow=review] button", "shadow");
    page.click("dialog button.primary", "Switch to shadow");
    page.sees("[data-flow=review] button[aria-pressed=true]", "shadow");
    page.sees("[data-flow=review]", "overridden here");
    server.post("/v1/triggers", &json!({"source": "cli", "event": "review", "payload": {}}));
    page.click("[data-flow=review] button", "what ran in shadow");
    page.sees("[data-flow=review] td", "worker q");
    // It would be live again, and has not been in shadow for a day.
    page.expected = vec!["/v1/modes/"];
    page.click("[data-flow=review] button", "Take back");
    page.click("dialog button.primary", "Take it back");
    page.sees("dialog .refusal li", "review at the earliest");
    page.click("dialog button", "Close");
    page.click("[data-flow=review] button", "live");
    page.click("dialog input[name=force]", "");
    page.click("dialog button.primary", "Switch to live");
    page.sees("[data-flow=review] button[aria-pressed=true]", "live");
    page.is_clean();
}

#[test]
fn a_runtime_is_paused_until_a_time_and_resumed() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let mut page = Page::open(&format!("{}/#/runtimes", server.url), WIDE);
    page.click(".runtime[aria-label=claude] button", "Pause");
    page.until("document.activeElement?.closest('dialog')");
    page.click("dialog input[name=until]", "");
    page.types("+90m");
    page.click("dialog button.primary", "Pause");
    page.sees(".runtime[aria-label=claude] .mark", "Paused");
    page.sees(".runtime[aria-label=claude] .countdown", "1:29:");
    page.until("document.querySelector('.runtime[aria-label=claude] svg rect.paused')");
    assert_eq!(server.runtime("claude")["state"], "paused");
    page.click(".runtime[aria-label=claude] button", "Resume");
    page.click("dialog button.primary", "Resume");
    page.sees(".runtime[aria-label=claude] .mark", "Open");
    page.is_clean();
}

#[test]
fn dead_letters_are_counted_dry_and_redriven_in_bulk() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    fill(&server);
    let mut page = Page::open(&format!("{}/#/dead", server.url), WIDE);
    page.sees("tr[data-cause=invalid]", "the prompt is empty");
    page.click("tr[data-cause=invalid] input", "");
    page.click(".tools button", "Dry run");
    page.sees(".banner", "matches 8 records; nothing was changed");
    assert_eq!(server.get("/v1/status").body["counts"]["dead_lettered"], 8);
    page.click(".tools button", "Redrive 8");
    page.click("dialog button.primary", "Redrive");
    page.sees(".banner", "8 records were redriven");
    page.sees(".empty", "No dead letters");
    assert_eq!(server.get("/v1/status").body["counts"]["dead_lettered"], 0);
    page.is_clean();
}

#[test]
fn a_paced_redrive_is_shown_and_stopped() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    fill(&server);
    let mut page = Page::open(&format!("{}/#/dead", server.url), WIDE);
    page.click("thead input", "");
    page.click(".tools button", "Redrive 8");
    page.until("document.activeElement?.closest('dialog')");
    page.click("dialog input[name=rate]", "");
    page.types("1/h");
    page.click("dialog button.primary", "Redrive");
    page.sees(".redrives", "of 8");
    page.click(".redrives button", "Stop");
    page.until("!document.querySelector('.redrives')");
    assert!(server.get("/v1/redrives").body["items"].as_array().unwrap().is_empty());
    page.is_clean();
}

#[test]
fn a_rerun_opens_the_new_record() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let id = session(&server, "again");
    let mut page = Page::open(&format!("{}/#/record/{id}", server.url), WIDE);
    page.click(".head button", "Rerun");
    page.click("dialog button.primary", "Rerun");
    page.sees(".about", "Rerun of");
    let shown = page.eval("document.getElementById('record-id').innerText");
    let new = server.get(&format!("/v1/records/{}", shown.as_str().unwrap())).body;
    assert_eq!(new["rerun_of"], id.as_str());
    page.is_clean();
}
