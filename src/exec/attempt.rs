//! One attempt up to its spawn, on a thread of its own: it waits for the record's earlier attempts to be gone, with all
//! they left, and hands over to a `supervisor`. Owns how an attempt tells, and what may be told to it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use super::launch::Launch;
use super::supervisor::Supervisor;
use super::{Setup, Tell, http, reap};
use crate::model::{Action, Fault, Report, Start};

/// At most one heartbeat in this time, and none without a sign of life.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// What reaches a supervisor from outside. Few, and never more than the engine decided.
#[derive(Debug)]
pub(super) enum Control {
    /// The child's identity is durable.
    Release,
    /// The attempt is over for the engine. With `grace` its own report ended it: it may finish what it is doing.
    Stop { grace: bool },
    /// A later attempt of the record waits for this one to be gone.
    Superseded,
    /// The engine did not take a report: the attempt is not outstanding.
    Refused,
    /// dwell ends: this long until SIGKILL.
    Shutdown(Duration),
}

/// One attempt to carry out.
pub(super) struct Attempt {
    pub setup: Arc<Setup>,
    pub tell: Tell,
    pub start: Start,
    pub control: Receiver<Control>,
    /// The other end, for the answers to reports.
    pub answers: Sender<Control>,
    /// Closed when an earlier attempt of the record is gone.
    pub earlier: Vec<Receiver<Infallible>>,
}

impl Attempt {
    /// The body of the thread.
    pub fn run(self) {
        if !self.earlier_are_gone() {
            return;
        }
        if let Action::Http(request) = &self.start.work.action {
            return http::carry_out(&self, request);
        }
        if self.start.attempt > 1
            && let Err(report) = self.leftovers_are_gone()
        {
            return self.tell(report);
        }
        let launch = match Launch::of(&self.start, &self.setup)
            .and_then(|launch| launch.with_program(&self.start, &self.setup))
        {
            Ok(launch) => launch,
            Err(report) => return self.tell(report),
        };
        match Supervisor::spawn(&self, launch) {
            Ok((supervisor, output)) => supervisor.run(&output),
            Err(error) => self.tell(not_spawned(&error)),
        }
    }

    /// `false` if it is stopped before.
    fn earlier_are_gone(&self) -> bool {
        for gone in &self.earlier {
            loop {
                select! {
                    recv(gone) -> _ => break,
                    recv(self.control) -> message => match message {
                        Ok(Control::Release) => {}
                        Ok(Control::Stop { .. } | Control::Superseded | Control::Refused | Control::Shutdown(_))
                        | Err(_) => return false,
                    },
                }
            }
        }
        true
    }

    /// What an earlier attempt started outside its process group (a session of its own) is still that attempt.
    fn leftovers_are_gone(&self) -> Result<(), Report> {
        let reaped = reap::reap_record(&self.setup.mark, self.start.id, self.setup.kill_after);
        if !reaped.stopped.is_empty() {
            let (attempt, org, flow) = (self.start.attempt, &*self.start.org, self.start.flow.as_deref());
            tracing::warn!(record = %self.start.id, attempt, org, flow, pids = ?reaped.stopped, "stopped what an earlier attempt left");
        }
        if reaped.surviving.is_empty() {
            return Ok(());
        }
        let message = format!("processes {:?} of an earlier attempt cannot be stopped", reaped.surviving);
        Err(Report::Unavailable(Fault::new("not_stopped", &message)))
    }

    pub fn tell(&self, report: Report) {
        let answers = self.answers.clone();
        // A refused limit or session report says nothing about the attempt.
        let fences = report.is_terminal() || matches!(report, Report::Heartbeat | Report::Spawned { .. });
        let answer = move |accepted: bool| {
            if fences && !accepted {
                // The attempt may be gone by now.
                answers.send(Control::Refused).ok();
            }
        };
        (self.tell)(self.start.id, self.start.attempt, report, Box::new(answer));
    }
}

/// A command line that no system takes is the work's fault; anything else is this machine's, and is not counted.
pub(super) fn not_spawned(error: &io::Error) -> Report {
    let fault = Fault::new("not_spawned", &format!("cannot spawn: {error}"));
    if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong) {
        Report::Invalid(fault)
    } else {
        Report::Unavailable(fault)
    }
}
