//! The reading end of a child's stdout or stderr: bounded lines, until the child has ended.
//!
//! One thread a stream. It ends with the process it reads from and not with the pipe: what the process wrote before
//! its end is still read, but a grandchild that keeps the pipe open keeps nobody waiting.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::process;

/// The longest line that is read; a longer one is a sign of life and nothing else.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What is still read of a pipe once its process has ended: all that a pipe can hold (pipe(7): at most 1 MiB unless
/// root raised it).
const DRAIN_BYTES_MAX: usize = 1 << 20;

const CHUNK_BYTES: usize = 16 << 10;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// A line without its break.
    Line(Stream, Vec<u8>),
    /// A line beyond [`LINE_BYTES_MAX`] goes on.
    TooLong,
    /// The process has ended, and this stream of it is read.
    Ended,
}

/// The body of a reader thread. Returns early when nobody reads `to` any more.
pub(super) fn read(pipe: OwnedFd, leader: &Arc<OwnedFd>, stream: Stream, to: &Sender<Output>) {
    let mut lines = Lines::default();
    let mut pipe = Some(File::from(pipe));
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut drained = 0;
    loop {
        let (readable, ended) = process::readable_or_ended(pipe.as_ref(), leader);
        let Some(open) = pipe.as_mut().filter(|_| readable && drained < DRAIN_BYTES_MAX) else {
            if ended {
                break;
            }
            continue;
        };
        match open.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => pipe = None,
            Ok(count) => {
                drained += if ended { count } else { 0 };
                for output in lines.feed(chunk.get(..count).unwrap_or_default(), stream) {
                    if to.send(output).is_err() {
                        return;
                    }
                }
            }
        }
    }
    for output in lines.rest(stream).into_iter().chain([Output::Ended]) {
        if to.send(output).is_err() {
            return;
        }
    }
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    skipping: bool,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], stream: Stream) -> Vec<Output> {
        let mut found = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let body = piece.strip_suffix(b"\n");
            let part = body.unwrap_or(piece);
            if !self.skipping && self.begun.len() + part.len() > LINE_BYTES_MAX {
                self.begun = Vec::new();
                self.skipping = true;
                found.push(Output::TooLong);
            }
            if !self.skipping {
                self.begun.extend_from_slice(part);
            }
            if body.is_some() {
                let line = std::mem::take(&mut self.begun);
                if !std::mem::take(&mut self.skipping) {
                    found.push(Output::Line(stream, line));
                }
            }
        }
        found
    }

    /// The last line, if it has no break.
    fn rest(self, stream: Stream) -> Option<Output> {
        (!self.begun.is_empty()).then_some(Output::Line(stream, self.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Output {
        Output::Line(Stream::Stdout, text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let text = b"one\n\ntwo\r\nthree";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found: Vec<Output> =
                text.chunks(size).flat_map(|part| lines.feed(part, Stream::Stdout)).collect();
            found.extend(lines.rest(Stream::Stdout));
            assert_eq!(found, [line("one"), line(""), line("two\r"), line("three")]);
        }
    }

    #[test]
    fn a_line_beyond_the_bound_is_told_once_and_the_next_one_is_read() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for _ in 0..4 {
            found.extend(lines.feed(&vec![b'x'; LINE_BYTES_MAX / 2], Stream::Stdout));
        }
        found.extend(lines.feed(b"x\nnext\n", Stream::Stdout));
        assert_eq!(found, [Output::TooLong, line("next")]);
        assert_eq!(lines.rest(Stream::Stdout), None);
    }
}
