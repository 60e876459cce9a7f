//! `dwell demo`: the whole story on real parts, in about 20 seconds. A server process on a temporary store, a signed
//! GitHub payload over loopback, a scripted agent that hits a limit, a kill -9, a restart, the resume. Every step is
//! checked; the exit code says whether all of it went as told.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value as Json;
use sha2::Sha256;

use super::cli::client::Client;
use super::cli::out;
use super::clock::Clock;
use super::hex::hex;
use super::{demo_agent, time};
use crate::model::Time;

const PAYLOAD: &str = include_str!("../../schema/examples/webhooks/pull_request.review_requested.json");
const SECRET: &str = "demo-secret";
const DELIVERY: &str = "5b7c3a10-72f1-11f0-8d5e-demo00000001";
/// How far ahead the scripted limit lies.
const RESET: Duration = Duration::from_secs(18);
/// A resume later than this after its deadline is not "to the second".
const LATE_MAX: Duration = Duration::from_millis(1500);

const FLOW: &str = "\
name: review
on:
  github: { pull_request: [review_requested] }
org: ${repository.owner.login}
run:
  agent: claude
  prompt: \"Review ${repository.full_name}#${number}\"
";

/// Tells and checks the story.
pub fn run() -> anyhow::Result<ExitCode> {
    let dir = tempfile::tempdir().context("no temporary directory for the demo's store")?;
    let mut stage =
        Stage { dir: dir.path().to_owned(), clock: Clock::System, began: Clock::System.now(), server: None };
    stage.tell(&format!("a server on a fresh store in {}", dir.path().display()))?;
    stage.prepare()?;
    let outcome = stage.play();
    stage.kill();
    match outcome {
        Ok(()) => {
            stage.tell("all of it as told. The same with your own agents: dwell serve")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            out::note(&format!("dwell: the demo did not go as told: {error:#}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

struct Stage {
    dir: PathBuf,
    clock: Clock,
    began: Time,
    server: Option<(Child, Client, String)>,
}

impl Stage {
    fn tell(&self, words: &str) -> anyhow::Result<()> {
        let elapsed = self.began.until(self.clock.now()).as_millis();
        Ok(out::line(&format!("{:>3}.{} s  {words}", elapsed / 1000, elapsed % 1000 / 100))?)
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let dwell = std::env::current_exe()?;
        let reset = time::format_span(RESET);
        let config = format!(
            "[sources.gh]\nkind = \"github\"\nsecrets = [\"file:{}\"]\n[runtimes.claude]\nadapter = \"claude\"\n\
             argv = [{:?}, \"demo-agent\"]\nenv = {{ {} = {reset:?} }}\n",
            self.dir.join("gh-secret").display(),
            dwell.display(),
            demo_agent::RESET_VAR,
        );
        std::fs::write(self.dir.join("gh-secret"), SECRET)?;
        std::fs::write(self.dir.join("dwell.toml"), config)?;
        std::fs::create_dir(self.dir.join("flows"))?;
        std::fs::write(self.dir.join("flows").join("review.yaml"), FLOW)?;
        Ok(())
    }

    /// A server process of its own, as a user would start it.
    fn start(&mut self) -> anyhow::Result<()> {
        let mut child = server(&self.dir).spawn().context("cannot start the server")?;
        let stdout = child.stdout.take().context("the server has no stdout")?;
        let first = BufReader::new(stdout).lines().next().context("the server said nothing")??;
        let at = first.find("http://").context("the server names no address")?;
        let url: String = first.chars().skip(at).take_while(|c| !c.is_whitespace() && *c != ',').collect();
        let pid = child.id();
        self.server = Some((child, Client::to(&url), url.clone()));
        self.tell(&format!("server {pid} is listening on {url}"))
    }

    fn kill(&mut self) {
        if let Some((mut child, ..)) = self.server.take() {
            // Already gone is as good.
            child.kill().ok();
            child.wait().ok();
        }
    }

    fn client(&self) -> anyhow::Result<&Client> {
        Ok(&self.server.as_ref().context("no server is running")?.1)
    }

    fn play(&mut self) -> anyhow::Result<()> {
        self.start()?;
        let (status, answer) = self.deliver()?;
        ensure!(status == 202, "the webhook was answered {status}: {answer}");
        let run =
            answer.pointer("/runs/0").and_then(Json::as_str).context("the webhook made no run")?.to_owned();
        self.tell(&format!("GitHub says review_requested, signed: 202, flow `review` makes {run}"))?;

        let limited = self.until(&run, "rate_limited")?;
        let session = text(&limited, "resume_token")?;
        let deadline = time::parse(&text(&limited, "deadline")?)?;
        let wait = time::relative(self.clock.now(), deadline);
        self.tell(&format!(
            "the agent hit its limit: rate_limited until {} ({wait})",
            time::format(deadline)
        ))?;
        self.tell("its runtime is paused as well, so nothing else runs into the same window")?;

        let pid = self.server.as_ref().map_or(0, |(child, ..)| child.id());
        self.kill();
        self.tell(&format!("kill -9 {pid}: the server is gone, nothing of it is in memory"))?;
        self.start()?;
        let found = self.client()?.get(&format!("/v1/records/{run}"))?;
        ensure!(
            text(&found, "state")? == "rate_limited",
            "after the restart it is {}",
            text(&found, "state")?
        );
        ensure!(
            text(&found, "deadline")? == text(&limited, "deadline")?,
            "the deadline moved over the restart"
        );
        let (status, answer) = self.deliver()?;
        ensure!(
            status == 200 && answer.get("duplicate") == Some(&Json::Bool(true)),
            "redelivery: {status} {answer}"
        );
        self.tell("still rate_limited, same deadline; GitHub redelivers: 200, duplicate, nothing new")?;

        let done = self.until(&run, "completed")?;
        let result = text(&done, "result")?;
        ensure!(result.contains(&session), "it was not the same provider session: {result}");
        self.tell(&format!("resumed and completed: {result}"))?;
        self.check_history(&run, deadline)
    }

    /// Posts the payload as GitHub does; the status and the answer.
    fn deliver(&self) -> anyhow::Result<(u16, Json)> {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
        mac.update(PAYLOAD.as_bytes());
        let digest = hex(&mac.finalize().into_bytes());
        let (_, _, url) = self.server.as_ref().context("no server is running")?;
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        let mut response = ureq::Agent::from(config)
            .post(format!("{url}/hooks/gh"))
            .header("content-type", "application/json")
            .header("x-github-event", "pull_request")
            .header("x-github-delivery", DELIVERY)
            .header("x-hub-signature-256", format!("sha256={digest}"))
            .send(PAYLOAD)?;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_str(&response.body_mut().read_to_string()?)?))
    }

    /// Waits in the server, not here, until the run is in `state`.
    fn until(&self, run: &str, state: &str) -> anyhow::Result<Json> {
        let mut record = self.client()?.get(&format!("/v1/records/{run}"))?;
        let patience = self.clock.now().after(RESET * 3);
        while text(&record, "state")? != state {
            ensure!(self.clock.now() < patience, "{run} is {}, not {state}", text(&record, "state")?);
            if text(&record, "state")? == "dead_lettered" {
                bail!("{run} is dead-lettered: {record}");
            }
            let seen = text(&record, "updated_at")?;
            record = self.client()?.get(&format!("/v1/records/{run}?wait=5s&while={seen}"))?;
            if text(&record, "updated_at")? == seen
                && let Some(deadline) = record.get("deadline").and_then(Json::as_str)
            {
                self.tell(&format!("waiting, {}", time::relative(self.clock.now(), time::parse(deadline)?)))?;
            }
        }
        Ok(record)
    }

    fn check_history(&self, run: &str, deadline: Time) -> anyhow::Result<()> {
        let history = self.client()?.get(&format!("/v1/records/{run}/history"))?;
        let steps = history.get("items").and_then(Json::as_array).context("no history")?;
        out::line("\n         the history, as the journal keeps it:")?;
        let mut events = Vec::new();
        let mut resumed = None;
        for step in steps {
            let (event, to) = (text(step, "event")?, text(step, "to")?);
            let at = time::parse(&text(step, "at")?)?;
            if event == "dispatch" {
                resumed = Some(at);
            }
            let from = step.get("from").and_then(Json::as_str).unwrap_or("-");
            let detail = step.get("detail").and_then(Json::as_str).unwrap_or_default();
            out::line(&format!(
                "         {}  {event:<13} {from:>12} -> {to:<12}  {detail}",
                time::format(at)
            ))?;
            events.push(event);
        }
        out::line("")?;
        let story = [
            "admitted",
            "dispatch",
            "spawned",
            "rate_limited",
            "elapsed",
            "dispatch",
            "spawned",
            "succeeded",
        ];
        ensure!(events == story, "the history should say {story:?} and says {events:?}");
        let resumed = resumed.context("it never started")?;
        ensure!(resumed >= deadline, "it resumed before its deadline");
        let late = deadline.until(resumed);
        ensure!(late <= LATE_MAX, "it resumed {} late", time::format_span(late));
        self.tell(&format!("exactly one resume, {} ms after its deadline", late.as_millis()))
    }
}

fn server(dir: &Path) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("dwell"));
    let mut command = Command::new(program);
    command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(dir);
    // Nothing of the caller's own configuration.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DWELL_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn text(document: &Json, name: &str) -> anyhow::Result<String> {
    let value = document.get(name).and_then(Json::as_str);
    Ok(value.with_context(|| format!("{name} is missing in {document}"))?.to_owned())
}
