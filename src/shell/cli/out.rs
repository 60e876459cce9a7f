//! Everything the command line prints: results on stdout, remarks on stderr. Nothing else in dwell writes to stdout.

use std::io::{self, IsTerminal as _, Read, Write};

use serde_json::Value as Json;

use super::exit::Failure;
use super::table::{self, Paper};

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

/// A table, as stdout takes it. One without heads says what one thing is, and nothing of that is cut.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let paper = Paper::stdout();
    let paper = if heads.is_empty() { Paper { size: None, ..paper } } else { paper };
    table::lines(heads, rows, paper).iter().try_for_each(|text| line(text))
}

/// These lines in place of all that a terminal shows.
pub fn redraw(lines: &[String]) -> Result<(), Failure> {
    // Each line clears what it does not fill, and the last one what is below it: nothing flickers.
    let text: String = lines.iter().map(|line| format!("{line}\u{1b}[K\r\n")).collect();
    let mut stdout = io::stdout().lock();
    written(write!(stdout, "\u{1b}[H{text}\u{1b}[J").and_then(|()| stdout.flush()))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        // Whoever reads has seen enough: `dwell ls | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| Failure::failed(format!("stdout: {error}"))),
    }
}
