//! A spawned child under supervision: the gate, what it prints, its result, and the end of its whole process group.
//!
//! Every wait is on channels: control from the engine's side, output from the two readers, and timers. Absent on
//! purpose: what a line means (`agents`), and what comes before the spawn (`attempt`).

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, bounded, never, select};
use rustix::process::{Pid, Signal};

use super::agents::{Exit, Reader, Said, Standing};
use super::attempt::{Attempt, Control, HEARTBEAT_EVERY, not_spawned};
use super::launch::Launch;
use super::lines::{self, Output, Stream};
use super::logs::Log;
use super::{held, process};
use crate::model::Report;
use crate::store::crash_point;

/// Lines read and not yet looked at, of both streams; a child that writes faster waits in its pipe.
const LINES_QUEUED_MAX: usize = 64;

/// What every empty pipe takes without blocking (pipe(7): at least one page).
const PIPE_BYTES_MIN: usize = 4096;

/// Where a child stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Behind the gate: nothing of the work runs.
    Held,
    /// Released. A deadline, if set, waits for the result that must follow a rejection.
    Running,
    /// The result is told; the process may finish until the deadline.
    Lingering,
    /// SIGTERM is sent; SIGKILL at the deadline.
    Ending,
}

/// One child and all that is known of it.
pub(super) struct Supervisor<'a> {
    attempt: &'a Attempt,
    child: Child,
    group: Pid,
    /// The child's stdin while it is held.
    gate: Option<ChildStdin>,
    payload: Vec<u8>,
    phase: Phase,
    deadline: Receiver<Instant>,
    /// Running since the last heartbeat was told.
    pace: Option<Receiver<Instant>>,
    /// A sign of life since then, to be told when the pace allows.
    alive: bool,
    /// `None` once there is nothing more to tell.
    reader: Option<Reader>,
    session: Option<String>,
    /// The last word of the provider was a rejection that stops the agent.
    rejected: bool,
    kill_after: Duration,
    log: Log,
}

impl<'a> Supervisor<'a> {
    /// Spawns the child, held, and tells who it is.
    pub fn spawn(attempt: &'a Attempt, launch: Launch) -> io::Result<(Supervisor<'a>, Receiver<Output>)> {
        let Attempt { setup, start, .. } = attempt;
        let mut child = launch.command(start, setup).spawn()?;
        let (identity, group, output) = match follow(&mut child) {
            Ok(followed) => followed,
            Err(error) => {
                // Held, so nothing of the work ran.
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        crash_point("exec.after_spawn");
        let gate = child.stdin.take();
        let supervisor = Supervisor {
            attempt,
            child,
            group,
            gate,
            payload: launch.payload.unwrap_or_default(),
            phase: Phase::Held,
            deadline: never(),
            pace: None,
            alive: false,
            reader: Some(Reader::resuming(launch.adapter, launch.agent, start.told)),
            session: launch.session.clone(),
            rejected: false,
            kill_after: setup.kill_after,
            log: Log::open(&setup.logs, start.id, start.attempt),
        };
        attempt.tell(Report::Spawned { child: identity, session: launch.session });
        Ok((supervisor, output))
    }

    /// Until nothing of it is left.
    pub fn run(mut self, output: &Receiver<Output>) {
        let attempt = self.attempt;
        let mut streams = 2;
        while streams > 0 {
            let pace = self.pace.clone().unwrap_or_else(never);
            select! {
                recv(attempt.control) -> message => if let Ok(message) = message { self.controlled(&message) },
                recv(output) -> message => match message {
                    Ok(Output::Ended) => streams -= 1,
                    Ok(printed) => {
                        self.printed(&printed);
                        if output.is_empty() {
                            self.log.flush();
                        }
                    }
                    Err(_) => streams = 0,
                },
                recv(self.deadline) -> _ => self.overdue(),
                recv(pace) -> _ => {
                    self.pace = None;
                    if self.alive {
                        self.beat();
                    }
                }
            }
        }
        self.ended();
    }

    /// The leader has ended. It is not reaped before the rest of its group is signalled: until then no other process
    /// can have its number.
    fn ended(mut self) {
        process::signal_group(self.group, Signal::TERM);
        let status = self.child.wait();
        self.log.flush();
        if let Some(reader) = self.reader.take() {
            let exit = status.map_or_else(
                |_| Exit::default(),
                |status| Exit { code: status.code(), signal: status.signal() },
            );
            self.attempt.tell(reader.exited(exit, (self.attempt.setup.now)()));
        }
        process::wait_group_gone(self.group, self.kill_after);
    }

    fn controlled(&mut self, message: &Control) {
        match (message, self.phase) {
            (Control::Release, Phase::Held) => self.release(),
            (
                Control::Stop { .. } | Control::Superseded | Control::Refused | Control::Shutdown(_),
                Phase::Held,
            ) => {
                self.reader = None;
                self.kill();
            }
            (Control::Stop { grace: true }, Phase::Running) => {
                self.reader = None;
                self.linger();
            }
            (Control::Stop { grace: false }, Phase::Running)
            | (Control::Superseded | Control::Refused, Phase::Running | Phase::Lingering) => {
                self.end_quietly();
            }
            // After its own result the process keeps the grace it has: an agent may still be writing its session.
            (Control::Stop { .. }, Phase::Lingering | Phase::Ending)
            | (Control::Superseded | Control::Refused, Phase::Ending)
            | (Control::Release, Phase::Running | Phase::Lingering | Phase::Ending) => {}
            (Control::Shutdown(grace), Phase::Running | Phase::Lingering | Phase::Ending) => {
                self.kill_after = self.kill_after.min(*grace);
                self.end_quietly();
            }
        }
    }

    /// Opens the gate. The payload follows through the same pipe; one that the pipe may not hold is written by a thread
    /// of its own, because the child may read it late or never.
    fn release(&mut self) {
        let Some(mut stdin) = self.gate.take() else { return };
        crash_point("exec.before_gate");
        let mut bytes = held::GATE.to_vec();
        bytes.append(&mut self.payload);
        let fits = bytes.len() <= PIPE_BYTES_MIN;
        let mut write = move || {
            // A child that does not read its payload to the end is free to.
            stdin.write_all(&bytes).ok();
        };
        self.phase = Phase::Running;
        if fits {
            write();
            crash_point("exec.after_gate");
        } else if let Err(error) = thread::Builder::new().name("payload".to_owned()).spawn(write) {
            self.reader = None;
            self.attempt.tell(not_spawned(&error));
            self.kill();
        }
    }

    fn printed(&mut self, output: &Output) {
        let Some(mut reader) = self.reader.take() else { return self.log(output) };
        self.log(output);
        let said = match output {
            Output::Line(Stream::Stdout, line) => {
                let now = (self.attempt.setup.now)();
                reader.line(String::from_utf8_lossy(line).trim_end(), now)
            }
            Output::Line(Stream::Stderr, line) => {
                reader.error_line(&String::from_utf8_lossy(line));
                vec![Said::Activity]
            }
            Output::TooLong | Output::Ended => vec![Said::Activity],
        };
        self.reader = Some(reader);
        for said in said {
            self.said(said);
        }
    }

    fn log(&mut self, output: &Output) {
        match output {
            Output::Line(_, line) => self.log.line(line),
            Output::TooLong => {
                let note = format!("[dwell: a line beyond {} bytes is skipped]", lines::LINE_BYTES_MAX);
                self.log.line(note.as_bytes());
            }
            Output::Ended => {}
        }
    }

    fn said(&mut self, said: Said) {
        if self.reader.is_none() {
            return;
        }
        if let Said::Limit { standing, limit } = &said {
            self.stands(*standing == Standing::Rejected && !limit.using_overage);
        }
        match said.report() {
            None => self.lives(),
            Some(Report::Session { id }) if self.session.as_ref() == Some(&id) => self.lives(),
            Some(report) => {
                if let Report::Session { id } = &report {
                    self.session = Some(id.clone());
                }
                if report.is_terminal() {
                    // Whoever hears of the end may read the log next.
                    self.log.flush();
                    self.reader = None;
                    self.linger();
                }
                self.attempt.tell(report);
            }
        }
    }

    /// The result is told; what is left may finish.
    fn linger(&mut self) {
        self.alive = false;
        self.phase = Phase::Lingering;
        self.deadline = after(self.attempt.setup.result_grace);
    }

    /// A rejection is followed by a result, or by the end; some versions linger instead, and say nothing more.
    fn stands(&mut self, rejected: bool) {
        if rejected && !self.rejected {
            self.deadline = after(self.attempt.setup.result_grace);
        } else if !rejected {
            self.deadline = never();
        }
        self.rejected = rejected;
    }

    fn overdue(&mut self) {
        match self.phase {
            Phase::Held => {}
            Phase::Running => {
                if let Some(reader) = self.reader.take() {
                    self.attempt.tell(reader.exited(Exit::default(), (self.attempt.setup.now)()));
                }
                self.end_quietly();
            }
            Phase::Lingering => self.end_quietly(),
            Phase::Ending => self.kill(),
        }
    }

    /// The first sign of life is told at once, the next ones at [`HEARTBEAT_EVERY`]. A report is one by itself.
    fn lives(&mut self) {
        if self.pace.is_none() {
            self.beat();
        } else {
            self.alive = true;
        }
    }

    fn beat(&mut self) {
        self.alive = false;
        self.pace = Some(after(HEARTBEAT_EVERY));
        self.attempt.tell(Report::Heartbeat);
    }

    fn end_quietly(&mut self) {
        self.reader = None;
        self.alive = false;
        process::signal_group(self.group, Signal::TERM);
        self.deadline = after(self.kill_after);
        self.phase = Phase::Ending;
    }

    fn kill(&mut self) {
        process::signal_group(self.group, Signal::KILL);
        self.deadline = never();
        self.phase = Phase::Ending;
    }
}

/// Who a fresh child is, and its output; its readers run until it ends.
fn follow(child: &mut Child) -> io::Result<(crate::model::Child, Pid, Receiver<Output>)> {
    let group = process::pid(child.id()).ok_or_else(|| io::Error::other("the child has no pid"))?;
    let identity = process::identify(child.id())?;
    let leader = Arc::new(process::watch(child.id())?);
    let (to, output) = bounded(LINES_QUEUED_MAX);
    let pipes: [(Option<OwnedFd>, Stream); 2] = [
        (child.stdout.take().map(Into::into), Stream::Stdout),
        (child.stderr.take().map(Into::into), Stream::Stderr),
    ];
    for (pipe, stream) in pipes {
        let pipe = pipe.ok_or_else(|| io::Error::other("the child has no pipe"))?;
        let (leader, to) = (Arc::clone(&leader), to.clone());
        thread::Builder::new()
            .name(format!("{stream:?}").to_lowercase())
            .spawn(move || lines::read(pipe, &leader, stream, &to))?;
    }
    Ok((identity, group, output))
}
