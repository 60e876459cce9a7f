//! Any lines as the output of an agent or a command: read without a panic into reports that the machine takes, and
//! nothing of unbounded size is kept.
//!
//! A line that begins with `!` is one of stderr.

use dwell::exec::Adapter;
use dwell::exec::agents::{Exit, Reader, Said};
use dwell::machine;
use dwell::model::{Action, Event, Policy, Record, RecordId, Report, Submission, TEXT_BYTES_MAX, Time, Work};

const NOW: Time = Time::from_millis(1_790_000_000_000);

const EXITS: [Exit; 9] = [
    Exit { code: None, signal: None },
    Exit { code: Some(0), signal: None },
    Exit { code: Some(1), signal: None },
    Exit { code: Some(41), signal: None },
    Exit { code: Some(42), signal: None },
    Exit { code: Some(53), signal: None },
    Exit { code: Some(75), signal: None },
    Exit { code: Some(173), signal: None },
    Exit { code: None, signal: Some(9) },
];

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for adapter in [Adapter::Claude, Adapter::Codex, Adapter::Gemini, Adapter::Opencode, Adapter::Plain] {
        for (nth, exit) in EXITS.into_iter().enumerate() {
            // An agent and a command in turn, so that both meet a good and a bad end.
            check_reader(Reader::new(adapter, nth % 2 == 0), &text, exit);
        }
    }
}

fn check_reader(mut reader: Reader, text: &str, exit: Exit) {
    let policy = Policy::default();
    let mut record = active(&policy);
    for line in text.lines() {
        if let Some(error) = line.strip_prefix('!') {
            reader.error_line(error);
            continue;
        }
        for said in reader.line(line, NOW) {
            let is_end = matches!(said, Said::Finished(_));
            if let Said::Started { session } = &said {
                assert!((1..=TEXT_BYTES_MAX).contains(&session.len()), "{} bytes", session.len());
            }
            if let Some(report) = said.report() {
                assert_eq!(report.is_terminal(), is_end, "{report:?}");
                record = take(&record, report, &policy);
            }
            if is_end {
                return;
            }
        }
    }
    let report = reader.exited(exit, NOW);
    assert!(report.is_terminal(), "{report:?}");
    take(&record, report, &policy);
}

fn active(policy: &Policy) -> Record {
    let submission = Submission {
        org: "acme".into(),
        env: "prod".into(),
        ..Submission::of(
            RecordId::session(1 << 90),
            "claude".into(),
            Work::of(Action::Agent { prompt: "do it".to_owned(), cwd: None }),
        )
    };
    let queued = machine::admit(submission, 1, NOW, policy).0;
    machine::step(&queued, &Event::Dispatch, NOW, policy).unwrap().record
}

/// The record after the report, which is one about its outstanding attempt.
fn take(record: &Record, report: Report, policy: &Policy) -> Record {
    let is_end = report.is_terminal();
    let event = Event::Report { attempt: record.attempt, report };
    let next = machine::step(record, &event, NOW, policy).unwrap();
    assert_eq!(next.record.state.outstanding(), !is_end, "{event:?}");
    let fault = next.record.last_error.as_ref();
    let said = fault.map(|fault| [&fault.code, &fault.message]).into_iter().flatten();
    for text in said.chain(&next.record.session).chain(&next.record.result) {
        assert!(text.len() <= TEXT_BYTES_MAX, "{} bytes of {event:.200?}", text.len());
    }
    // A reset that is no time is quoted, and quoting writes a character as at most `\u{10ffff}`.
    assert!(next.warning.is_none_or(|warning| warning.len() <= 10 * TEXT_BYTES_MAX + 256));
    next.record
}
