//! Reads every frame of every segment, and says which commits there are. Absent on purpose: what a missing commit means,
//! which depends on the checkpoint.

use std::fs;
use std::path::Path;

use super::Watch;
use crate::store::local::files::failed;
use crate::store::local::frame;
use crate::store::local::replay::later_frame;
use crate::store::local::segments::{self, Segment};
use crate::store::{Finding, Findings, Place, Severity, StoreError};

/// Good commits that follow one another in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Which of [`Survey::segments`].
    pub(super) segment: usize,
    /// The first commit, and the one after the last.
    pub(super) first: u64,
    pub(super) next: u64,
    /// Where the first one begins and the last one ends.
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Something between two runs, or behind the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Break {
    pub(super) segment: usize,
    pub(super) offset: u64,
    /// The commit that should stand there.
    pub(super) commit: u64,
    pub(super) what: String,
    /// It is what a crash leaves of a commit that was never acknowledged.
    pub(super) torn: bool,
}

/// All that the journal holds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) segments: Vec<Segment>,
    pub(super) runs: Vec<Run>,
    pub(super) breaks: Vec<Break>,
    pub(super) bytes: u64,
}

/// Runs that follow one another: commits `first..next` without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) runs: Vec<Run>,
}

impl Survey {
    /// Good commits.
    pub(super) fn commits(&self) -> u64 {
        self.runs.iter().map(|run| run.next - run.first).sum()
    }

    /// The commit after the last good one.
    pub(super) fn next(&self) -> u64 {
        self.runs.iter().map(|run| run.next).max().unwrap_or(1)
    }

    /// The runs, grouped to where a commit is missing.
    pub(super) fn chains(&self) -> Vec<Chain> {
        let mut chains: Vec<Chain> = Vec::new();
        for run in &self.runs {
            match chains.last_mut() {
                Some(chain) if chain.next == run.first => {
                    chain.next = run.next;
                    chain.runs.push(*run);
                }
                Some(_) | None => {
                    chains.push(Chain { first: run.first, next: run.next, runs: vec![*run] });
                }
            }
        }
        chains
    }

    /// The chain from which everything after `checkpoint` can be taken: the newest that reaches back to it.
    pub(super) fn chain_of(&self, checkpoint: u64) -> Option<Chain> {
        let reaches = |chain: &Chain| chain.first <= checkpoint + 1 && chain.next > checkpoint;
        self.chains().into_iter().rfind(reaches)
    }
}

/// Reads the segments of `journal` one after the other, and hands every event out with its commit.
pub(super) fn survey(
    journal: &Path,
    seed: u32,
    acknowledged: u64,
    watch: &mut dyn Watch,
    findings: &mut Findings,
) -> Result<Survey, StoreError> {
    let mut survey = Survey { segments: segments::list(journal)?, ..Survey::default() };
    let count = survey.segments.len();
    let mut next = None;
    for (nth, segment) in survey.segments.clone().iter().enumerate() {
        watch.progress(&format!("journal: segment {} of {count}", nth + 1));
        if next.is_some_and(|next| next != segment.first) {
            let missing = next.unwrap_or_default();
            let what =
                format!("the segment begins with commit {}, but commit {missing} is missing", segment.first);
            survey.breaks.push(Break { segment: nth, offset: 0, commit: missing, what, torn: false });
        }
        let bytes = fs::read(&segment.path).map_err(failed("read", &segment.path))?;
        survey.bytes += bytes.len() as u64;
        let place = (nth, segment.first, nth + 1 == count);
        next = Some(read(place, acknowledged, &bytes, seed, &mut survey, &mut |sequence, event| {
            watch.event(sequence, event, findings);
        })?);
    }
    Ok(survey)
}

/// Reads one segment; answers the commit after the last good one.
fn read(
    (nth, mut next, is_last): (usize, u64, bool),
    acknowledged: u64,
    bytes: &[u8],
    seed: u32,
    survey: &mut Survey,
    event: &mut dyn FnMut(u64, &[u8]),
) -> Result<u64, StoreError> {
    let (mut rest, mut start) = (bytes, 0);
    loop {
        let mut run = Run { segment: nth, first: next, next, start, end: start };
        let mut strange = false;
        while let Some((header, body)) =
            frame::first(seed, rest).filter(|(header, _)| header.sequence == run.next)
        {
            if let Some(found) = frame::newer(body) {
                let file = survey.segments.get(nth).map(|segment| segment.path.clone()).unwrap_or_default();
                return Err(StoreError::Format { file, found: found.into(), newest: frame::V1.into() });
            }
            if frame::decode(body, |_, _| {}, |bytes| event(run.next, bytes)).is_none() {
                strange = true;
                break;
            }
            run.end += header.frame_bytes();
            run.next += 1;
            rest = usize::try_from(header.frame_bytes()).ok().and_then(|n| rest.get(n..)).unwrap_or_default();
        }
        if run.next > run.first {
            survey.runs.push(run);
        }
        next = run.next;
        let broken =
            |what: String, torn| Break { segment: nth, offset: run.end, commit: run.next, what, torn };
        if strange {
            let what = format!("commit {next} is of a layout this build does not know");
            survey.breaks.push(broken(what, false));
            return Ok(next);
        }
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(next);
        }
        if let Some((offset, sequence)) = later_frame(seed, rest, next) {
            let what = format!("commit {next} is bad, but commit {sequence} after it is good");
            survey.breaks.push(broken(what, false));
            rest = rest.get(offset..).unwrap_or_default();
            start = run.end + offset as u64;
            next = sequence;
            continue;
        }
        let (what, torn) = if !is_last {
            (format!("commit {next} is bad, and later segments follow"), false)
        } else if next > acknowledged {
            (format!("commit {next} was torn by a crash and never acknowledged"), true)
        } else {
            (format!("commit {next} is bad, but all up to commit {acknowledged} were acknowledged"), false)
        };
        survey.breaks.push(broken(what, torn));
        return Ok(next);
    }
}

impl Break {
    /// As a finding of this journal.
    pub(super) fn finding(&self, survey: &Survey, severity: Severity, remedy: String) -> Finding {
        let path = survey.segments.get(self.segment).map(|segment| segment.path.clone()).unwrap_or_default();
        Finding { severity, place: Place::File(path, Some(self.offset)), what: self.what.clone(), remedy }
    }
}
