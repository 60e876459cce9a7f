//! `dwell check`: whether a stopped store is whole, in words; and what can be put right.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::args::{Check, Place};
use super::exit::{FAILED, Failure, NOT_FOUND};
use super::nodes::files_only;
use super::out;
use crate::engine::check::{self as meaning, Contents, Steps};
use crate::model::{Policy, StateName};
use crate::shell::clock::Clock;
use crate::shell::time;
use crate::store::finding::{Finding, Findings, Fix, Place as Where};
use crate::store::local::check::{self as files, Checked, Watch};

/// Rounds of putting rows right; what is wrong after so many needs a person.
const ROUNDS_MAX: usize = 100;

/// Says what is wrong; answers with the exit code: 0 if nothing is.
pub fn check(place: &Place, args: &Check) -> anyhow::Result<u8> {
    let config = super::load(place, Vec::new())?;
    files_only(&config, "PostgreSQL verifies its own pages")?;
    let dir = &config.data;
    if !files::is_store(dir) {
        let message = format!("{} is no store: nothing to check", dir.display());
        return Err(Failure { exit: NOT_FOUND, message }.into());
    }
    let mut done = Vec::new();
    let mut found = look(dir, &config.policy)?;
    if args.repair {
        let now = time::format(Clock::System.now()).replace(':', "-");
        let beside = dir.join(format!("repair-{now}"));
        found = repair(dir, &config.policy, found, &beside, args.cut, &mut done)?;
    }
    out::progress("");
    if args.json {
        out::json(&found.json(dir, &done))?;
    } else {
        found.tell(dir, &done)?;
    }
    Ok(if found.findings.faults() == 0 { 0 } else { FAILED })
}

/// All that one look at a store found.
struct Found {
    findings: Findings,
    files: Checked,
    /// `None`: the files do not let it be told.
    contents: Option<Contents>,
}

#[derive(Default)]
struct Progress {
    steps: Steps,
}

impl Watch for Progress {
    fn progress(&mut self, line: &str) {
        out::progress(line);
    }

    fn event(&mut self, sequence: u64, bytes: &[u8], findings: &mut Findings) {
        self.steps.see(sequence, bytes, findings);
    }
}

fn look(dir: &Path, policy: &Policy) -> Result<Found, Failure> {
    let failed = |error: crate::store::StoreError| Failure::failed(error.to_string());
    let mut findings = Findings::default();
    let mut watch = Progress::default();
    let mut files = files::check(dir, &mut watch, &mut findings).map_err(failed)?;
    let view = files.view.take();
    let contents = view.map(|view| meaning::check(&view, policy, &mut watch, &mut findings)).transpose();
    Ok(Found { findings, files, contents: contents.map_err(failed)? })
}

/// First the files, then, as long as it helps, the rows in them.
fn repair(
    dir: &Path,
    policy: &Policy,
    mut found: Found,
    beside: &Path,
    cut: bool,
    done: &mut Vec<String>,
) -> Result<Found, Failure> {
    let failed = |error: crate::store::StoreError| Failure::failed(error.to_string());
    let files = found.files.repair(beside, cut, &mut Progress::default()).map_err(failed)?;
    if !files.is_empty() {
        done.extend(files);
        drop(found);
        found = look(dir, policy)?;
    }
    for _ in 0..ROUNDS_MAX {
        let fixes: Vec<Fix> =
            found.contents.as_mut().map(|contents| std::mem::take(&mut contents.fixes)).unwrap_or_default();
        if fixes.is_empty() {
            break;
        }
        drop(found);
        files::put_right(dir, &fixes, beside).map_err(failed)?;
        done.push(format!(
            "changed {} rows; as they were they are in {}",
            fixes.len(),
            beside.join("rows.jsonl").display()
        ));
        found = look(dir, policy)?;
    }
    Ok(found)
}

impl Found {
    fn tell(&self, dir: &Path, done: &[String]) -> Result<(), Failure> {
        for line in done {
            out::line(&format!("repair: {line}"))?;
        }
        for Finding { severity, place, what, remedy } in self.findings.kept() {
            let remedy = if remedy.is_empty() { String::new() } else { format!(" ({remedy})") };
            out::line(&format!("{}: {place}: {what}{remedy}", severity.as_str()))?;
        }
        let more = self.findings.count() - self.findings.kept().len() as u64;
        if more > 0 {
            out::line(&format!("and {more} more"))?;
        }
        out::line(&self.summary(dir))
    }

    fn summary(&self, dir: &Path) -> String {
        let files = &self.files;
        let journal = format!(
            "journal: {} commits in {} segments, {} MiB; table: {} MiB",
            files.commits(),
            files.segments(),
            files.journal_bytes() >> 20,
            files.table_bytes >> 20
        );
        let contents = match &self.contents {
            None => "; what the rows mean cannot be told".to_owned(),
            Some(contents) => {
                let records = contents.records.iter().map(|(state, count)| format!("{count} {state}"));
                let records: Vec<String> = records.collect();
                let records = if records.is_empty() { "none".to_owned() } else { records.join(", ") };
                format!("; records: {records}; {} rows; time {}", contents.rows, time::format(contents.now))
            }
        };
        let verdict = match self.findings.faults() {
            0 => "is whole".to_owned(),
            1 => "has 1 fault".to_owned(),
            faults => format!("has {faults} faults"),
        };
        format!("store {} {verdict}; {journal}{contents}", dir.display())
    }

    fn json(&self, dir: &Path, done: &[String]) -> Json {
        let findings = self.findings.kept().iter().map(|found| {
            let (file, offset, row) = match &found.place {
                Where::File(path, offset) => (Some(path.display().to_string()), *offset, None),
                Where::Row(row) => (None, None, Some(row)),
            };
            json!({
                "severity": found.severity.as_str(),
                "file": file,
                "offset": offset,
                "row": row,
                "what": found.what,
                "remedy": found.remedy,
            })
        });
        let findings: Vec<Json> = findings.collect();
        let records = |contents: &Contents| -> Json {
            let states = StateName::ALL.iter();
            let count = |state: &StateName| contents.records.get(state).copied().unwrap_or(0);
            states
                .map(|state| (state.to_string(), json!(count(state))))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({
            "store": dir.display().to_string(),
            "whole": self.findings.faults() == 0,
            "faults": self.findings.faults(),
            "findings": findings,
            "findings_in_all": self.findings.count(),
            "repaired": done,
            "segments": self.files.segments(),
            "commits": self.files.commits(),
            "journal_bytes": self.files.journal_bytes(),
            "table_bytes": self.files.table_bytes,
            "records": self.contents.as_ref().map(records),
            "rows": self.contents.as_ref().map(|contents| contents.rows),
            "time": self.contents.as_ref().map(|contents| time::format(contents.now)),
        })
    }
}
