//! Each view, as it is seen while a server works: drawn, readable for everybody, wide and narrow, dark and light.

use crate::load::{fill, place, serve, under_load};
use crate::page::{Look, Page, WIDE};
use crate::server::{Server, directory};

const AXE: &str = include_str!("vendor/axe.min.js");

/// Waits last for as long as a slow machine takes to look at them.
const FROZEN: &[&str] = &["--test-clock", "2026-11-21T12:00:00Z"];

pub const NARROW: Look = Look { width: 390, height: 844, scheme: "light" };

/// Every view with what is there once it is drawn. A record's has its id in the place of `ID`.
pub const VIEWS: &[(&str, &str)] = &[
    ("overview", ".plot canvas"),
    ("board", ".column[data-state=dead_lettered] .card"),
    ("record/ID", ".attempts li"),
    ("runtimes", ".runtime svg rect.paused"),
    ("queues", "table tbody tr"),
    ("flows", "[data-flow=lost] .note"),
    ("dead", "tr[data-cause=invalid]"),
];

#[test]
fn overview_board_and_record_are_drawn_from_a_server_with_work() {
    let dir = place();
    let server = serve(dir.path(), FROZEN);
    let dead = fill(&server);
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    page.sees("h1", "Overview");
    page.until("document.querySelectorAll('.plot canvas').length === 3");
    page.sees(".counts li[data-state=dead_lettered] b", "8");
    page.sees(".rows td", "retries");
    page.turn_to("board");
    page.sees(".column[data-state=backoff] h2", "16");
    page.until("document.querySelectorAll('.column[data-state=backoff] .card').length > 5");
    page.turn_to(&format!("record/{dead}"));
    page.sees(".standing", "the prompt is empty");
    page.sees(".diagram .node.here", "");
    page.until("document.querySelectorAll('.diagram .edge.taken').length === 2");
    page.sees(".attempts", "bad_prompt");
    page.sees(".budget", "0 of 20");
    page.is_clean();
}

#[test]
fn runtimes_queues_flows_and_dead_letters_are_drawn_from_a_server_with_work() {
    let dir = place();
    let server = serve(dir.path(), FROZEN);
    let mut page = Page::open(&format!("{}/#/queues", server.url), WIDE);
    page.sees(".server", "Live");
    fill(&server);
    page.sees(".shares li", "acme / default");
    page.sees(".shares li", "globex / default");
    // A weight of 3 beside one of 1.
    page.until("document.querySelector('.shares .even[title=\"Its turns: 75.0%\"]')");
    page.sees("table", "Watching");
    page.turn_to("runtimes");
    page.sees(".runtime[aria-label=reviews] .mark", "Paused");
    page.turn_to("flows");
    page.sees("[data-flow=lost] .note", "runtime nowhere");
    page.click("[data-flow=report] button", "what ran in shadow");
    page.sees("[data-flow=report] td", "true");
    page.turn_to("dead");
    page.sees("tr[data-cause=invalid] .sample", "the prompt is empty");
    page.is_clean();
}

#[test]
fn every_view_is_drawn_while_the_server_is_under_load() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let dead = fill(&server);
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    under_load(&server, || {
        for (view, drawn) in VIEWS {
            page.turn_to(&view.replace("ID", &dead));
            page.until(&format!("document.querySelector(\"{drawn}\")"));
        }
        page.turn_to("board");
        page.sees(".column[data-state=completed] .card", "claude");
    });
    page.is_clean();
}

pub fn with_axe(page: &mut Page) {
    page.eval(AXE);
}

/// What keeps somebody from using what the page shows now, looked at in one way.
pub fn barriers(page: &mut Page, said: &str, look: Look) -> Vec<String> {
    page.look(look);
    let said = format!("{said} at {} px, {}", look.width, look.scheme);
    let found = page.eval(
        "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations
            .filter(({ impact }) => impact === 'serious' || impact === 'critical')
            .map(({ id, nodes }) => ({ id, where: nodes.slice(0, 3).map(node => node.html + node.failureSummary) })))",
    );
    let mut faults: Vec<String> =
        found.as_array().unwrap().iter().map(|fault| format!("{said}: {fault:#}")).collect();
    let beyond = page.eval("document.documentElement.scrollWidth - innerWidth");
    if beyond.as_i64().unwrap() > 0 {
        faults.push(format!("{said}: it is {beyond} px too wide"));
    }
    faults
}

#[test]
fn no_view_shuts_anybody_out_dark_or_light_wide_or_narrow() {
    let dir = place();
    let server = serve(dir.path(), FROZEN);
    let dead = fill(&server);
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    with_axe(&mut page);
    let mut faults = Vec::new();
    for (view, drawn) in VIEWS {
        page.turn_to(&view.replace("ID", &dead));
        page.until(&format!("document.querySelector(\"{drawn}\")"));
        for look in [WIDE, Look { scheme: "dark", ..WIDE }, NARROW, Look { scheme: "dark", ..NARROW }] {
            faults.extend(barriers(&mut page, view, look));
        }
        page.look(WIDE);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    page.is_clean();
}

#[test]
fn colours_are_switched_and_stay_switched() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    let ground = "getComputedStyle(document.documentElement).backgroundColor";
    let light = page.eval(ground);
    page.click("button.icon", "");
    page.until("document.documentElement.dataset.theme === 'light'");
    page.click("button.icon", "");
    page.until("document.documentElement.dataset.theme === 'dark'");
    assert_ne!(page.eval(ground), light);
    page.go(&format!("{}/?again", server.url));
    page.until("document.documentElement.dataset.theme === 'dark'");
    page.is_clean();
}

#[test]
fn what_is_inline_is_forbidden_and_seen_by_these_tests() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    page.is_clean();
    page.eval("document.body.insertAdjacentHTML('beforeend', '<i style=\"color: red\"></i>')");
    page.eval("document.body.append(Object.assign(document.createElement('script'), { text: 'window.ran = true' }))");
    assert!(page.eval("window.ran").is_null());
    let faults = page.faults();
    for directive in ["style-src", "script-src"] {
        assert!(faults.iter().any(|fault| fault.contains(directive)), "{directive}: {faults:#?}");
    }
}

#[test]
fn a_server_without_anything_and_one_that_is_gone_are_told_in_every_view() {
    let dir = directory("[log]\nlevel = \"warn\"\n");
    let mut server = Server::start(dir.path(), &[]);
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    page.expected = vec!["/v1/", "/metrics"];
    with_axe(&mut page);
    let mut faults = Vec::new();
    let look = Look { scheme: "dark", ..NARROW };
    let empty = [
        ("overview", "Nothing waits for the clock."),
        ("board", "No records yet."),
        ("queues", "Nothing is queued, and nothing runs."),
        ("flows", "No flow is loaded."),
        ("dead", "No dead letters."),
    ];
    for (view, said) in empty {
        page.turn_to(view);
        page.sees("main .empty", said);
        faults.extend(barriers(&mut page, view, look));
    }
    server.kill();
    for (view, shown) in [("dead", "No dead letters."), ("runtimes", "not read before the server went")] {
        page.turn_to(view);
        page.sees("#gone", "The server is gone");
        page.sees("main .empty", shown);
        faults.extend(barriers(&mut page, view, look));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    page.is_clean();
}
