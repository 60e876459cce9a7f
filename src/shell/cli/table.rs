//! Columns, each as wide as its widest cell; and on a terminal all of them together no wider than it is. What is piped on
//! is never cut.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// No column is cut to less.
const COLUMN_MIN: usize = 6;

/// Between two columns.
const GAP: usize = 2;

/// Where a table goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paper {
    /// A terminal's columns and lines.
    pub size: Option<(usize, usize)>,
    /// Whether states may have colours.
    pub colours: bool,
}

impl Paper {
    /// What stdout is.
    pub fn stdout() -> Paper {
        if !io::stdout().is_terminal() {
            return Paper::default();
        }
        let size = terminal_size::terminal_size().map(|(width, height)| (width.0.into(), height.0.into()));
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paper { size, colours: !plain }
    }
}

/// The lines of a table. No heads, no head line.
pub fn lines(heads: &[&str], rows: &[Vec<String>], paper: Paper) -> Vec<String> {
    let head: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let all: Vec<Vec<Cow<'_, str>>> = Some(&head)
        .filter(|head| !head.is_empty())
        .into_iter()
        .chain(rows)
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &all {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    if let Some((room, _)) = paper.size {
        fit(&mut widths, room);
    }
    all.iter().map(|row| line(row, &widths, paper.colours)).collect()
}

fn line(row: &[Cow<'_, str>], widths: &[usize], colours: bool) -> String {
    let mut line = String::new();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        let cut = cut(cell, *width);
        let padding = width.saturating_sub(cut.width()) + if at + 1 == row.len() { 0 } else { GAP };
        let coloured = code(cell).filter(|_| colours);
        // Writing to a String cannot be refused.
        match coloured {
            Some(code) => write!(line, "\u{1b}[{code}m{cut}\u{1b}[0m{:padding$}", ""),
            None => write!(line, "{cut}{:padding$}", ""),
        }
        .unwrap_or_default();
    }
    line.truncate(line.trim_end().len());
    line
}

/// Takes from the widest columns until all fit. What stands first is what a line is called by, and stays whole.
fn fit(widths: &mut [usize], room: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
    while over > 0 {
        let rest = widths.iter_mut().skip(1).filter(|width| **width > COLUMN_MIN);
        let Some(widest) = rest.max_by_key(|width| **width) else { return };
        *widest -= 1;
        over -= 1;
    }
}

/// A cell in so many columns, with a sign where it was cut.
fn cut(cell: &str, width: usize) -> Cow<'_, str> {
    if cell.width() <= width {
        return Cow::Borrowed(cell);
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    Cow::Owned(cell.chars().take_while(fits).chain(['\u{2026}']).collect())
}

/// What a stranger wrote cannot move the cursor.
fn printable(cell: &str) -> Cow<'_, str> {
    if cell.contains(char::is_control) {
        Cow::Owned(cell.replace(char::is_control, " "))
    } else {
        Cow::Borrowed(cell)
    }
}

fn code(cell: &str) -> Option<u8> {
    match cell {
        "active" | "draining" => Some(36),
        "completed" | "open" => Some(32),
        "rate_limited" | "backoff" | "limited" | "paused" => Some(33),
        "dead_lettered" => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        vec![
            row(["ses_01K", "dead_lettered", "wide: \u{6f22}\u{5b57}", "the first of many words"]),
            row(["ses_02K", "active", "", "\u{1b}[2Jgone\nand more"]),
        ]
    }

    #[test]
    fn what_is_piped_is_whole_and_aligned_and_cannot_move_the_cursor() {
        let lines = lines(&["ID", "STATE", "KEY", "WHY"], &rows(), Paper::default());
        let expected = [
            "ID       STATE          KEY         WHY",
            "ses_01K  dead_lettered  wide: \u{6f22}\u{5b57}  the first of many words",
            "ses_02K  active                      [2Jgone and more",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn on_a_terminal_the_widest_columns_give_way_and_never_the_first() {
        for room in 31..80 {
            let paper = Paper { size: Some((room, 24)), colours: false };
            let lines = lines(&["ID", "STATE", "KEY", "WHY"], &rows(), paper);
            assert!(lines.iter().all(|line| line.width() <= room), "{room}: {lines:#?}");
            assert!(lines[1].starts_with("ses_01K  dead"), "{room}: {lines:#?}");
        }
        let narrow = lines(&[], &rows(), Paper { size: Some((40, 24)), colours: false });
        assert_eq!(narrow[0], "ses_01K  dead_let\u{2026}  wide: \u{6f22}\u{2026}  the firs\u{2026}");
    }

    #[test]
    fn a_state_that_was_cut_has_its_colour_and_takes_no_more_room() {
        let paper = Paper { size: Some((31, 24)), colours: true };
        let lines = lines(&[], &rows(), paper);
        assert!(lines[0].starts_with("ses_01K  \u{1b}[31mdead_\u{2026}\u{1b}[0m  "), "{lines:?}");
    }
}
