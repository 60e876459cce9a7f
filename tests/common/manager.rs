//! A service manager as dwell sees one: a datagram socket that is told how things are.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Manager(UnixDatagram);

impl Manager {
    /// One that listens at `<dir>/notify`, for what `command` starts.
    pub fn of(dir: &Path, command: &mut Command) -> Manager {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        command.env("NOTIFY_SOCKET", path);
        Manager(socket)
    }

    /// The next that is told.
    pub fn told(&self) -> String {
        let mut bytes = [0; 4096];
        let count = self.0.recv(&mut bytes).expect("it is told something");
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    /// The next that says this.
    pub fn until(&self, word: &str) -> String {
        loop {
            let told = self.told();
            if told.lines().any(|line| line == word) {
                return told;
            }
        }
    }

    /// SIGHUP; the status once the reload is over.
    pub fn reload(&self, child: &std::process::Child) -> String {
        hang_up(child);
        self.until("READY=1").lines().find_map(|line| line.strip_prefix("STATUS=")).unwrap().to_owned()
    }
}

/// SIGHUP, without waiting for what comes of it.
pub fn hang_up(child: &std::process::Child) {
    kill_process(Pid::from_child(child), Signal::HUP).unwrap();
}
