//! How the readers' tests write a stream's reports: in words, one after the other.

use super::{Exit, Said, Stream};
use crate::model::{Report, Reset, Time};

/// 2026-03-10T00:00:00Z.
pub(super) const NOW: Time = Time::from_millis(1_773_100_800_000);

/// What a stream says it used, as (tokens, millionths of a dollar, told with the end).
pub(super) fn used(mut stream: impl Stream, lines: &[&str]) -> Vec<(u64, u64, bool)> {
    let said = lines.iter().flat_map(|line| stream.line(line, NOW));
    let mut used = Vec::new();
    for said in said {
        if let Said::Used(usage) = said {
            used.push((usage.tokens, usage.cost, usage.of_end));
        }
    }
    used
}

/// The reports of a stream but what it used, one line each: its name, and the code of its fault. With an exit at the end
/// where no line was terminal.
pub(super) fn reports(mut stream: impl Stream, lines: &[&str], exit: i32, errors: &str) -> String {
    let mut reports: Vec<Report> = Vec::new();
    for line in lines {
        let said = stream.line(line, NOW).into_iter().filter(|said| !matches!(said, Said::Used(_)));
        reports.extend(said.filter_map(Said::report));
    }
    if !reports.iter().any(Report::is_terminal) {
        reports.push(Box::new(stream).exited(Exit { code: Some(exit), signal: None }, errors, NOW));
    }
    let named: Vec<String> = reports.iter().map(named).collect();
    named.join(", ")
}

pub(super) fn named(report: &Report) -> String {
    match report {
        Report::Session { id } => format!("session {id}"),
        Report::Succeeded { result } => format!("succeeded {}", result.as_deref().unwrap_or("-")),
        Report::RateLimited(limit, _) => match &limit.reset {
            Reset::At(at) => format!("rate_limited {}", at.millis() / 1000),
            Reset::Absent => "rate_limited".to_owned(),
            Reset::Unusable(raw) => format!("rate_limited ?{raw}"),
        },
        Report::Failed(fault)
        | Report::TimedOut(fault)
        | Report::Throttled(fault)
        | Report::Unavailable(fault)
        | Report::Invalid(fault)
        | Report::IngestionFailed(fault)
        | Report::NeedsOperator(fault)
        | Report::NotResumable(fault) => format!("{} {}", report.name(), fault.code),
        Report::Spawned { .. }
        | Report::Heartbeat
        | Report::Usage(_)
        | Report::LimitWarning(_)
        | Report::LimitCleared => report.name().to_owned(),
    }
}
