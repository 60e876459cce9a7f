//! Every web file, by its path below `web`; a test holds this list and the directory together.

use super::File;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(File { path: $path, bytes: include_bytes!(concat!("web/", $path)) }),*]
    };
}

pub(super) const FILES: &[File] = files![
    "api.js",
    "clock.js",
    "feed.js",
    "format.js",
    "hooks.js",
    "icon.svg",
    "index.html",
    "lib.js",
    "main.js",
    "pulse.js",
    "rates.js",
    "states.js",
    "store.js",
    "tasks.js",
    "times.js",
    "parts/attempts.js",
    "parts/bits.js",
    "parts/budget.js",
    "parts/column.js",
    "parts/confirm.js",
    "parts/diagram.js",
    "parts/engine.js",
    "parts/icon.js",
    "parts/log-tail.js",
    "parts/moves.js",
    "parts/nodes.js",
    "parts/plot.js",
    "parts/shares.js",
    "parts/shell.js",
    "parts/sign-in.js",
    "parts/theme.js",
    "parts/windows.js",
    "style/base.css",
    "style/parts.css",
    "style/shell.css",
    "style/views.css",
    "vendor/README.md",
    "vendor/hooks.js",
    "vendor/htm.LICENSE",
    "vendor/htm.js",
    "vendor/preact.LICENSE",
    "vendor/preact.js",
    "vendor/uplot.LICENSE",
    "vendor/uplot.css",
    "vendor/uplot.js",
    "views/board.js",
    "views/dead.js",
    "views/flows.js",
    "views/overview.js",
    "views/queues.js",
    "views/record.js",
    "views/runtimes.js",
];
