//! Everything the command line prints: results on stdout, remarks on stderr. Nothing else in dwell writes to stdout.

use std::io::{self, IsTerminal as _, Read, Write};

use serde_json::Value as Json;

use super::exit::Failure;

/// A line of a result.
pub fn line(text: &str) -> Result<(), Failure> {
    written(writeln!(io::stdout().lock(), "{text}"))
}

/// A line that nobody has to read; unlike a result, it may fail without ending the process.
pub fn offer(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A remark, for the person who waits; never part of a result.
pub fn note(text: &str) {
    // Nobody can be told that stderr is gone.
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// A line on a terminal that the next one replaces; nothing anywhere else. An empty one ends it.
pub fn progress(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        // Nobody can be told that stderr is gone.
        write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush()).unwrap_or_default();
    }
}

/// A document, indented.
pub fn json(document: &Json) -> Result<(), Failure> {
    line(&format!("{document:#}"))
}

/// Bytes as they come, each as soon as it comes.
pub fn copy(mut from: impl Read) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(chunk.get(..count).unwrap_or_default()).and_then(|()| stdout.flush());
        match written {
            // Whoever reads has seen enough: `dwell logs ID | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
}

/// Columns, each as wide as its widest cell; states in colour on a terminal. No heads, no head line.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let head: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines = Some(&head).filter(|head| !head.is_empty()).into_iter().chain(rows);
    let mut widths = Vec::new();
    for row in lines.clone() {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in lines {
        let cells: Vec<String> = (row.iter().zip(&widths))
            .map(|(cell, width)| {
                let padded = format!("{cell:width$}");
                if colours { coloured(cell, padded) } else { padded }
            })
            .collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn coloured(cell: &str, padded: String) -> String {
    let code = match cell {
        "active" | "draining" => 36,
        "completed" | "open" => 32,
        "rate_limited" | "backoff" | "limited" | "paused" => 33,
        "dead_lettered" => 31,
        _ => return padded,
    };
    format!("\u{1b}[{code}m{padded}\u{1b}[0m")
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        // Whoever reads has seen enough: `dwell ls | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| Failure::failed(format!("stdout: {error}"))),
    }
}
