//! What attempts print, read: every stream becomes one normal form ([`Said`]), so that the supervisor knows no agent.
//!
//! Owns: the pure line readers. First match: a line of dwell's own protocol, then the agent's own stream if the
//! runtime's adapter knows one, then the exit code. Absent on purpose: processes and time; and the agents' prose, which
//! is never searched for words: agents talk about limits.

mod claude;
mod codex;
mod gemini;
mod opencode;
mod plain;
mod reset;

use std::collections::VecDeque;

use serde_json::{Map, Value};

use crate::model::{Fault, LimitReport, Report, TEXT_BYTES_MAX, Time, Usage, bounded, micros};

use super::Adapter;
use claude::Claude;
use codex::Codex;
use gemini::Gemini;
use opencode::Opencode;
pub use plain::report_of;
pub use reset::reset_of;

/// What one line of a stream means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The provider names (or renames) the session.
    Started {
        /// To resume with.
        session: String,
    },
    /// It is alive.
    Activity,
    /// It waits and tries again by itself: alive, and no failure.
    Retrying,
    /// How it stands with the provider's window.
    Limit {
        /// In which way.
        standing: Standing,
        /// With these times.
        limit: LimitReport,
    },
    /// It used this much more.
    Used(Usage),
    /// The attempt's result; always a terminal report.
    Finished(Report),
}

/// How a request stands with the provider's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Served.
    Allowed,
    /// Served, with the window nearly used up.
    Warning,
    /// The window is used up; served only if from overage.
    Rejected,
}

impl Said {
    /// What the engine is told at once, beside the heartbeats. A rejection that stops the agent is not told here: its
    /// terminal result, or its end, is.
    pub fn report(self) -> Option<Report> {
        match self {
            Said::Activity | Said::Retrying => None,
            Said::Started { session } => Some(Report::Session { id: session }),
            Said::Used(usage) => Some(Report::Usage(usage)),
            Said::Finished(report) => Some(report),
            Said::Limit { standing, limit } => match standing {
                Standing::Allowed => (!limit.using_overage).then_some(Report::LimitCleared),
                Standing::Rejected => limit.using_overage.then_some(Report::LimitWarning(limit)),
                Standing::Warning => None,
            },
        }
    }
}

/// How a process ended: with an exit code, or by a signal. Both absent: it has not, and is read as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// As passed to exit(2).
    pub code: Option<i32>,
    /// Which ended it.
    pub signal: Option<i32>,
}

/// An agent's own stream.
trait Stream: Send {
    /// Reads a line; what is no line of the stream, or of an unknown type, is activity.
    fn line(&mut self, line: &str, now: Time) -> Vec<Said>;

    /// Whether a line of the stream was seen.
    fn spoke(&self) -> bool;

    /// The result when no line was one.
    fn exited(self: Box<Self>, exit: Exit, errors: &str, now: Time) -> Report;
}

/// Reads one attempt's output.
pub struct Reader {
    /// `None`: it speaks dwell's own protocol, or nothing.
    stream: Option<Box<dyn Stream>>,
    /// An agent must say how it went; a command may leave that to its exit code.
    agent: bool,
    errors: Tail,
}

impl Reader {
    /// For an attempt on a runtime with this adapter: of an agent, or of a command (which may wrap the agent, so the
    /// agent's stream is understood there too).
    pub fn new(adapter: Adapter, agent: bool) -> Reader {
        Reader::resuming(adapter, agent, 0)
    }

    /// As [`Reader::new`], for one that goes on with a session whose own meter showed so many millionths of a dollar.
    pub fn resuming(adapter: Adapter, agent: bool, told: u64) -> Reader {
        let stream: Option<Box<dyn Stream>> = match adapter {
            Adapter::Plain => None,
            Adapter::Claude => Some(Box::new(Claude::resuming(told))),
            Adapter::Codex => Some(Box::new(Codex::default())),
            Adapter::Gemini => Some(Box::new(Gemini::default())),
            Adapter::Opencode => Some(Box::new(Opencode::default())),
        };
        Reader { stream, agent, errors: Tail::default() }
    }

    /// One line of stdout, without its line break, read at `now` (some agents name a reset by the time of day only).
    pub fn line(&mut self, line: &str, now: Time) -> Vec<Said> {
        match (plain::line(line), &mut self.stream) {
            (Some(said), _) => vec![said],
            (None, Some(stream)) => stream.line(line, now),
            (None, None) => vec![Said::Activity],
        }
    }

    /// One line of stderr; the last ones become the message of a failure.
    pub fn error_line(&mut self, line: &str) {
        self.errors.push(line);
    }

    /// The result, where no line was one.
    pub fn exited(self, exit: Exit, now: Time) -> Report {
        let errors = self.errors.text();
        match self.stream {
            Some(stream) if self.agent || stream.spoke() => stream.exited(exit, &errors, now),
            Some(_) | None => plain::exited(exit, &errors),
        }
    }
}

/// The fields of a line that is a JSON object.
fn fields(line: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => Some(fields),
        Ok(_) | Err(_) => None,
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn object<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Map<String, Value>> {
    fields.get(name).and_then(Value::as_object)
}

/// The sum of those counts that are there; what is no count is none.
fn counts(fields: &Map<String, Value>, names: &[&str]) -> u64 {
    let counts = names.iter().filter_map(|name| fields.get(*name)?.as_u64());
    counts.fold(0, u64::saturating_add)
}

/// A member in dollars, as millionths.
fn dollars(fields: &Map<String, Value>, name: &str) -> Option<u64> {
    micros(fields.get(name)?.as_f64()?)
}

/// What a line tells that ends the attempt: its usage first, if it has any.
fn ending(usage: Usage, report: Report) -> Vec<Said> {
    let told = !usage.is_nothing() || usage.session_cost.is_some();
    let usage = told.then_some(Said::Used(Usage { of_end: true, ..usage }));
    usage.into_iter().chain([Said::Finished(report)]).collect()
}

/// The session a line names, if that is news: each may bring another one (a resume can branch), and the newest is the
/// one to resume with.
fn renamed(known: &mut Option<String>, id: Option<&str>) -> Option<Said> {
    let session = id.filter(|id| !id.is_empty()).map(bounded)?;
    if known.as_ref() == Some(&session) {
        return None;
    }
    *known = Some(session.clone());
    Some(Said::Started { session })
}

/// The provider's HTTP status; 529 is its own for "overloaded".
fn by_status(status: u64, message: &str) -> Option<Report> {
    let fault = Fault::new(&format!("api_{status}"), message);
    match status {
        401..=403 => Some(Report::NeedsOperator(fault)),
        429 | 529 => Some(Report::Throttled(fault)),
        500..=599 => Some(Report::Unavailable(fault)),
        _ => None,
    }
}

/// The last lines, as many as fit into a stored text.
#[derive(Default)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    /// Leaves room for what is said before them.
    const BYTES_MAX: usize = TEXT_BYTES_MAX - 256;

    fn push(&mut self, line: &str) {
        let line = bounded(line.trim_end());
        if line.is_empty() {
            return;
        }
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > Self::BYTES_MAX
            && self.lines.len() > 1
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes -= first.len() + 1;
        }
    }

    fn text(self) -> String {
        Vec::from(self.lines).join("\n")
    }
}

/// How a process ended, in words, with what it last complained about.
fn ended(exit: Exit, errors: &str) -> String {
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "still running".to_owned(),
    };
    if errors.is_empty() { how } else { format!("{how}: {errors}") }
}

/// A process that ended without any of what its adapter calls terminal.
fn silent(exit: Exit, errors: &str) -> Report {
    let message = format!("ended without a result, {}", ended(exit, errors));
    Report::Failed(Fault::new(crate::model::code::SILENT, &message))
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_last_lines_within_its_bound() {
        let mut tail = Tail::default();
        (0..1000).for_each(|n| tail.push(&format!("line {n} {}", "x".repeat(50))));
        let text = tail.text();
        assert!(text.len() <= Tail::BYTES_MAX && text.contains("line 999 ") && !text.contains("line 1 "));
    }

    #[test]
    fn a_command_on_an_agent_runtime_may_leave_its_result_to_the_exit_code() {
        let succeeded = Report::Succeeded { result: None };
        let zero = Exit { code: Some(0), signal: None };
        let mut command = Reader::new(Adapter::Claude, false);
        command.line("hello", Time::ZERO);
        assert_eq!(command.exited(zero, Time::ZERO), succeeded);
        let mut agent = Reader::new(Adapter::Claude, true);
        agent.line("hello", Time::ZERO);
        assert_eq!(agent.exited(zero, Time::ZERO).name(), "failed");
        let mut wrapper = Reader::new(Adapter::Claude, false);
        wrapper.line(r#"{"type":"system","subtype":"init","session_id":"s"}"#, Time::ZERO);
        assert_eq!(wrapper.exited(zero, Time::ZERO).name(), "failed");
    }

    #[test]
    fn a_line_of_the_native_protocol_comes_before_the_agents_stream() {
        let mut reader = Reader::new(Adapter::Claude, true);
        let said = reader.line(r#"{"dwell":"invalid","message":"no such repository"}"#, Time::ZERO);
        assert_eq!(said, [Said::Finished(Report::Invalid(Fault::new("invalid", "no such repository")))]);
    }
}
