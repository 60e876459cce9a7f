//! A headless Chromium, spoken to in its own protocol (<https://chromedevtools.github.io/devtools-protocol/>) over a pipe.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// The longest that any answer may take: a browser that hangs is a failed test, not a test that hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
];

/// The browser process; it ends when this is dropped.
pub struct Browser {
    child: Child,
    asks: ChildStdin,
    answers: Receiver<Value>,
    last_id: u64,
    /// What it told unasked, in order.
    pub events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Browser {
        let profile = tempfile::tempdir().unwrap();
        // It reads its descriptor 3 and writes its 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null", "sh", "chromium"]);
        command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display()));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while told.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let asks = child.stdin.take().unwrap();
        Browser { child, asks, answers, last_id: 0, events: Vec::new(), _profile: profile }
    }

    /// What a call answers, in a session or of the browser as a whole.
    pub fn call(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.asks.write_all(&bytes).expect("chromium runs: `apt-get install chromium` (.ci/run does)");
        loop {
            let answer = self.answers.recv_timeout(ANSWER_WITHIN);
            let mut answer = answer.unwrap_or_else(|error| panic!("{method} is not answered: {error}"));
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended long ago.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
