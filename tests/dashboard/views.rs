//! Each view, as it is seen while a server works.

use crate::load::{fill, place, serve};
use crate::page::{Page, WIDE};

#[test]
fn overview_board_and_record_are_drawn_from_a_server_with_work() {
    let dir = place();
    let server = serve(dir.path(), &[]);
    let dead = fill(&server);
    let mut page = Page::open(&format!("{}/", server.url), WIDE);
    page.sees("h1", "Overview");
    page.until("document.querySelectorAll('.plot canvas').length === 2");
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
