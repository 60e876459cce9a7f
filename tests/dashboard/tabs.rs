//! Tabs that are not looked at: a browser has six connections to a server for all of them.

use serde_json::json;

use crate::load::{place, serve, session};
use crate::page::{Page, WIDE};

/// More than a browser has connections.
const TABS: usize = 7;

#[test]
fn more_tabs_than_connections_are_live_when_they_are_looked_at() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let url = format!("{}/#/board", server.url);
    let mut page = Page::open(&url, WIDE);
    page.sees(".server", "Live");
    page.eval("window.loadedOnce = true");
    let card = |id: &str| format!("document.querySelector({})", json!(format!(".card[data-id={id}]")));
    for n in 1..TABS {
        page.open_tab();
        page.go(&url);
        // Each follows the events: what happens from now on is seen.
        page.until("document.querySelector('.column') && document.querySelector('[data-connection=live]')");
        let id = session(&server, &format!("in tab {n}"));
        page.until(&card(&id));
    }
    let id = session(&server, "while the first was hidden");
    page.turn_to_tab(0);
    page.until("!document.hidden");
    page.until(&card(&id));
    assert_eq!(page.eval("window.loadedOnce"), true, "it went on from where it was");
    let later = session(&server, "in sight");
    page.until(&card(&later));
    page.is_clean();
}
