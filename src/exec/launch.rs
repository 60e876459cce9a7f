//! From a start to a command line: what is run, in which directory, with which environment and stdin. Pure, but for
//! the session id chosen here and the look whether the directory is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::held::STDIN_VAR;
use super::{Adapter, RuntimeSetup, Setup};
use crate::model::{Action, Fault, Prompt, Report, Start};

/// One attempt, ready to be spawned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Launch {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where; `None`: where dwell runs.
    pub cwd: Option<PathBuf>,
    /// The provider session it is told to use, if it takes one.
    pub session: Option<String>,
    /// What it reads on stdin after the gate; `None`: nothing, from `/dev/null`.
    pub payload: Option<Vec<u8>>,
    /// Whether an agent runs, which must say how it went.
    pub agent: bool,
    /// Who reads its stream.
    pub adapter: Adapter,
}

/// What an agent's program is started with, and resumed with. The session id is of our choice only with Claude Code; the
/// others name theirs. A prompt that begins with a dash must not be taken for a flag, nor one that is a subcommand's name
/// for that, so where the CLI allows it is the value of its flag or stands behind `--`.
const fn appended(adapter: Adapter, resumes: bool) -> &'static [&'static str] {
    match (adapter, resumes) {
        (Adapter::Plain, _) => &[],
        (Adapter::Claude, false) => {
            &["-p", "{prompt}", "--output-format", "stream-json", "--verbose", "--session-id", "{session}"]
        }
        (Adapter::Claude, true) => {
            &["-p", "{prompt}", "--output-format", "stream-json", "--verbose", "--resume", "{session}"]
        }
        (Adapter::Codex, false) => &["--json", "--", "{prompt}"],
        (Adapter::Codex, true) => &["--json", "resume", "{session}", "--", "{prompt}"],
        (Adapter::Gemini, false) => &["--prompt={prompt}", "--output-format", "stream-json"],
        (Adapter::Gemini, true) => {
            &["--prompt={prompt}", "--output-format", "stream-json", "--resume", "{session}"]
        }
        (Adapter::Opencode, false) => &["--format", "json", "--", "{prompt}"],
        (Adapter::Opencode, true) => &["--format", "json", "--session", "{session}", "--", "{prompt}"],
    }
}

/// The agent's own program, and the subcommand that its flags follow.
pub(super) const fn program(adapter: Adapter) -> (Option<&'static str>, Option<&'static str>) {
    match adapter {
        Adapter::Plain => (None, None),
        Adapter::Claude => (Some("claude"), None),
        Adapter::Codex => (Some("codex"), Some("exec")),
        Adapter::Gemini => (Some("gemini"), None),
        Adapter::Opencode => (Some("opencode"), Some("run")),
    }
}

impl Launch {
    /// What `start` asks for; the refusal is the report to make of it.
    pub fn of(start: &Start, setup: &Setup) -> Result<Launch, Report> {
        let Some(runtime) = setup.runtimes.get(&start.runtime) else {
            let message = format!("runtime {} is not configured", start.runtime);
            return Err(Report::NeedsOperator(Fault::new("unknown_runtime", &message)));
        };
        let launch = match &start.work.action {
            Action::Command { argv, cwd } => Launch {
                argv: argv.clone(),
                cwd: directory(cwd.as_deref(), runtime),
                session: None,
                payload: Some(start.work.payload.clone()),
                agent: false,
                adapter: runtime.adapter,
            },
            Action::Agent { prompt, cwd } => {
                let prompt = match start.prompt {
                    Prompt::Original => prompt,
                    Prompt::LimitReset => &setup.limit_prompt,
                    Prompt::Continue => &setup.continue_prompt,
                };
                agent(start, runtime, prompt, directory(cwd.as_deref(), runtime))
            }
            Action::Http(_) => {
                return Err(Report::Invalid(Fault::new("no_process", "a request has no process")));
            }
            Action::Worker { .. } => {
                return Err(Report::Invalid(Fault::new("no_process", "a worker's process is not dwell's")));
            }
        };
        if launch.argv.is_empty() {
            let message =
                format!("nothing to run: runtime {} has no argv, and the work brings none", start.runtime);
            return Err(Report::NeedsOperator(Fault::new("no_argv", &message)));
        }
        if let Some(cwd) = launch.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
            let message = format!("working directory {} is not there, or is no directory", cwd.display());
            return Err(Report::Failed(Fault::new("no_cwd", &message)));
        }
        Ok(launch)
    }

    /// As it is, if its program is there: a missing one is for an operator, not for a retry.
    pub fn with_program(self, start: &Start, setup: &Setup) -> Result<Launch, Report> {
        let finds = |program: &String| {
            // What no system takes as a name is told so when it is spawned.
            let runtime = setup.runtimes.get(&start.runtime).filter(|_| !program.contains('\0'));
            runtime.is_none_or(|runtime| runtime.finds_from(self.cwd.as_deref(), program))
        };
        let Some(program) = self.argv.first().filter(|program| !finds(program)) else { return Ok(self) };
        let message =
            format!("program {program} is not there, or is no executable file; install it, then redrive");
        Err(Report::NeedsOperator(Fault::new("no_program", &message)))
    }

    /// The held child, not yet spawned: its own process group, all three streams piped.
    pub fn command(&self, start: &Start, setup: &Setup) -> Command {
        let mut command = Command::new(&setup.hold);
        command.arg("hold").arg("--").args(&self.argv);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        // dwell's own settings are not the attempt's: a `dwell` called inside it would take them for its own. Nor is it
        // for the attempt to speak to dwell's service manager, or to sign webhooks.
        for (name, _) in std::env::vars_os() {
            let dwells = ["DWELL_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "CREDENTIALS_DIRECTORY"];
            if dwells.iter().any(|dwells| name.as_encoded_bytes().starts_with(dwells.as_bytes())) {
                command.env_remove(name);
            }
        }
        for name in &setup.withheld {
            command.env_remove(name);
        }
        if let Some(runtime) = setup.runtimes.get(&start.runtime) {
            command.envs(&runtime.env);
        }
        if self.adapter == Adapter::Codex {
            // It names resets in local time, without the zone.
            command.env("TZ", "UTC");
        }
        command.envs(environment(start, setup));
        if self.payload.is_none() {
            command.env(STDIN_VAR, "null");
        }
        command
    }
}

fn agent(start: &Start, runtime: &RuntimeSetup, prompt: &str, cwd: Option<PathBuf>) -> Launch {
    let resumes = start.session.is_some();
    let configured = runtime.resume_argv.as_ref().filter(|_| resumes).unwrap_or(&runtime.argv);
    let mut template: Vec<&str> = configured.iter().map(String::as_str).collect();
    let (name, subcommand) = program(runtime.adapter);
    if template.is_empty() {
        template.extend(name);
    }
    if !template.iter().any(|element| element.contains("{prompt}")) {
        template.extend(subcommand.filter(|word| !template.contains(word)));
        if let (Some(model), Some(_)) = (&start.model, name) {
            template.extend(["--model", model]);
        }
        template.extend(appended(runtime.adapter, resumes));
    }
    let takes_session = template.iter().any(|element| element.contains("{session}"));
    let fresh = || takes_session.then(|| uuid::Uuid::new_v4().to_string());
    let session = start.session.clone().or_else(fresh);
    let named = session.as_deref().unwrap_or_default();
    // Claude's prompt is a word of its own: a stranger's text that begins with a dash must not become a flag.
    let guarded = format!(" {prompt}");
    let bare = runtime.adapter == Adapter::Claude && prompt.starts_with('-');
    let prompt = if bare { &guarded } else { prompt };
    let argv = template.iter().map(|element| filled(element, prompt, named)).collect();
    let payload = match runtime.adapter {
        Adapter::Claude | Adapter::Codex | Adapter::Gemini | Adapter::Opencode => None,
        Adapter::Plain => Some(start.work.payload.clone()),
    };
    Launch { argv, cwd, session, payload, agent: true, adapter: runtime.adapter }
}

/// Fills both templates in one pass, so that a prompt which speaks of `{session}` stays as it is.
fn filled(element: &str, prompt: &str, session: &str) -> String {
    let mut out = String::new();
    let mut rest = element;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (value, after) = match (from.strip_prefix("{prompt}"), from.strip_prefix("{session}")) {
            (Some(after), _) => (prompt, after),
            (None, Some(after)) => (session, after),
            (None, None) => ("{", from.strip_prefix('{').unwrap_or_default()),
        };
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The work's directory, seen from the runtime's, which itself is seen from where dwell runs.
fn directory(work: Option<&str>, runtime: &RuntimeSetup) -> Option<PathBuf> {
    let base = runtime.cwd.as_deref();
    match work {
        Some(work) => Some(base.unwrap_or(Path::new("")).join(work)),
        None => base.map(Path::to_owned),
    }
}

fn environment(start: &Start, setup: &Setup) -> BTreeMap<&'static str, String> {
    let mut vars = BTreeMap::from([
        ("DWELL_ID", start.id.to_string()),
        ("DWELL_ATTEMPT", start.attempt.to_string()),
        ("DWELL_ORG", start.org.to_string()),
        ("DWELL_ENV", start.env.to_string()),
        ("DWELL_RUNTIME", start.runtime.to_string()),
        ("DWELL_TOKEN", (setup.token)(start.id, start.attempt)),
        (super::MARK_VAR, setup.mark.clone()),
    ]);
    vars.extend(setup.traceparent.map(|of| ("TRACEPARENT", of(start.id, start.attempt))));
    vars.extend(start.flow.as_ref().map(|flow| ("DWELL_FLOW", flow.to_string())));
    vars.extend(start.model.as_ref().map(|model| ("DWELL_MODEL", model.to_string())));
    vars.extend(setup.server.clone().map(|server| ("DWELL_SERVER", server)));
    vars.extend(start.session.clone().map(|session| ("DWELL_RESUME", session)));
    vars
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::{RecordId, Time, Work};

    fn setup(runtime: RuntimeSetup) -> Setup {
        Setup {
            runtimes: BTreeMap::from([("r".into(), runtime)]),
            logs: PathBuf::new(),
            hold: "/bin/dwell".into(),
            mark: "m".to_owned(),
            withheld: BTreeSet::new(),
            server: None,
            token: Arc::new(|id, attempt| format!("{id}.{attempt}")),
            traceparent: None,
            limit_prompt: "go on, it has reset".to_owned(),
            continue_prompt: "go on".to_owned(),
            now: Arc::new(|| Time::ZERO),
            answer_within: Duration::ZERO,
            kill_after: Duration::ZERO,
            result_grace: Duration::ZERO,
        }
    }

    fn runtime(adapter: Adapter, argv: &[&str]) -> RuntimeSetup {
        let argv = argv.iter().map(|&element| element.to_owned()).collect();
        RuntimeSetup { adapter, argv, resume_argv: None, env: BTreeMap::new(), cwd: None }
    }

    fn start(action: Action, resume: Option<(&str, Prompt)>) -> Start {
        Start {
            id: RecordId::session(1),
            attempt: 1,
            org: "o".into(),
            env: "e".into(),
            flow: None,
            runtime: "r".into(),
            model: None,
            session: resume.map(|(session, _)| session.to_owned()),
            told: 0,
            prompt: resume.map_or(Prompt::Original, |(_, prompt)| prompt),
            work: Work { payload: b"{}".to_vec(), ..Work::of(action) }.into(),
        }
    }

    fn agent_start(resume: Option<(&str, Prompt)>) -> Start {
        start(Action::Agent { prompt: "do {session}".to_owned(), cwd: None }, resume)
    }

    /// The argv of an agent, with the session id written as `ID`.
    fn check(runtime: RuntimeSetup, resume: Option<(&str, Prompt)>, expected: &[&str]) {
        let launch = Launch::of(&agent_start(resume), &setup(runtime)).unwrap();
        let session = launch.session.unwrap_or_else(|| "none".to_owned());
        let argv: Vec<String> = launch.argv.iter().map(|element| element.replace(&session, "ID")).collect();
        assert_eq!(argv, expected);
    }

    #[test]
    fn claude_is_started_with_a_session_of_our_choice_and_resumed_by_it() {
        let launch =
            |resume| Launch::of(&agent_start(resume), &setup(runtime(Adapter::Claude, &[]))).unwrap();
        let first = launch(None);
        let session = first.session.clone().unwrap();
        assert_eq!(session.parse::<uuid::Uuid>().unwrap().get_version_num(), 4);
        let flags = ["--output-format", "stream-json", "--verbose"];
        assert_eq!(
            first.argv,
            [&["claude", "-p", "do {session}"], &flags[..], &["--session-id", &session]].concat()
        );
        assert_eq!(first.payload, None);

        let again = launch(Some(("s1", Prompt::LimitReset)));
        let prompt = "go on, it has reset";
        assert_eq!(again.argv, [&["claude", "-p", prompt], &flags[..], &["--resume", "s1"]].concat());
        assert_eq!(again.session.as_deref(), Some("s1"));
    }

    #[test]
    fn a_prompt_that_looks_like_a_flag_is_a_prompt() {
        let start = start(Action::Agent { prompt: "--dangerous".to_owned(), cwd: None }, None);
        let launch = Launch::of(&start, &setup(runtime(Adapter::Claude, &[]))).unwrap();
        assert_eq!(launch.argv[..3], ["claude", "-p", " --dangerous"]);
    }

    #[test]
    fn a_claude_argv_is_the_program_unless_it_names_the_prompt() {
        let program =
            Launch::of(&agent_start(None), &setup(runtime(Adapter::Claude, &["env", "./fake"]))).unwrap();
        assert_eq!(program.argv[..4], ["env", "./fake", "-p", "do {session}"]);
        check(runtime(Adapter::Claude, &["c", "--ask={prompt}"]), None, &["c", "--ask=do {session}"]);
    }

    #[test]
    fn the_other_agents_are_started_without_a_session_and_resumed_by_theirs() {
        let check = |adapter, argv: &[&str], resume, expected: &[&str]| {
            check(runtime(adapter, argv), resume, expected);
        };
        let resume = Some(("s1", Prompt::Continue));
        let prompt = "do {session}";
        let codex = ["codex", "exec", "--json"];
        check(Adapter::Codex, &[], None, &[&codex[..], &["--", prompt]].concat());
        check(Adapter::Codex, &[], resume, &[&codex[..], &["resume", "ID", "--", "go on"]].concat());
        let flags = ["c", "exec", "--full-auto"];
        check(Adapter::Codex, &flags, None, &[&flags[..], &["--json", "--", prompt]].concat());
        let gemini = ["--output-format", "stream-json"];
        check(Adapter::Gemini, &[], None, &[&["gemini", "--prompt=do {session}"], &gemini[..]].concat());
        check(
            Adapter::Gemini,
            &["g", "--yolo"],
            resume,
            &[&["g", "--yolo", "--prompt=go on"], &gemini[..], &["--resume", "ID"]].concat(),
        );
        let opencode = ["opencode", "run", "--format", "json"];
        check(Adapter::Opencode, &[], None, &[&opencode[..], &["--", prompt]].concat());
        check(Adapter::Opencode, &[], resume, &[&opencode[..], &["--session", "ID", "--", "go on"]].concat());
    }

    #[test]
    fn an_agent_is_asked_for_the_model_and_a_command_line_of_ones_own_finds_it_in_its_environment() {
        let start = Start { model: Some("m/1".into()), ..agent_start(None) };
        let argv = |runtime| Launch::of(&start, &setup(runtime)).unwrap().argv;
        for (adapter, first) in [
            (Adapter::Claude, &["claude"][..]),
            (Adapter::Codex, &["codex", "exec"]),
            (Adapter::Gemini, &["gemini"]),
            (Adapter::Opencode, &["opencode", "run"]),
        ] {
            let argv = argv(runtime(adapter, &[]));
            assert_eq!(argv[..first.len() + 2], [first, &["--model", "m/1"]].concat());
        }
        let own = runtime(Adapter::Claude, &["c", "{prompt}"]);
        assert_eq!(argv(own.clone()), ["c", "do {session}"]);
        assert_eq!(argv(runtime(Adapter::Plain, &["c"])), ["c"]);
        let setup = setup(own);
        let command = Launch::of(&start, &setup).unwrap().command(&start, &setup);
        let model = command.get_envs().find(|(key, _)| *key == "DWELL_MODEL").and_then(|(_, value)| value);
        assert_eq!(model.unwrap(), "m/1");
    }

    #[test]
    fn codex_tells_the_time_in_utc() {
        let mut runtime = runtime(Adapter::Codex, &[]);
        runtime.env.insert("TZ".to_owned(), "Asia/Tokyo".to_owned());
        let setup = setup(runtime);
        let launch = Launch::of(&agent_start(None), &setup).unwrap();
        assert_eq!((launch.session.as_deref(), launch.payload.as_deref()), (None, None));
        let command = launch.command(&agent_start(None), &setup);
        let zone = command.get_envs().find(|(key, _)| *key == "TZ").and_then(|(_, value)| value);
        assert_eq!(zone.unwrap(), "UTC");
    }

    #[test]
    fn templates_are_filled_inside_elements_and_only_once() {
        let argv = ["a", "{prompt}!", "{session}/{x}{", "{session}"];
        check(runtime(Adapter::Plain, &argv), None, &["a", "do {session}!", "ID/{x}{", "ID"]);
    }

    #[test]
    fn a_resume_takes_its_own_argv_if_there_is_one() {
        let both = |resume: Option<&[&str]>| RuntimeSetup {
            resume_argv: resume.map(|argv| runtime(Adapter::Plain, argv).argv),
            ..runtime(Adapter::Plain, &["a", "{prompt}"])
        };
        let resume = Some(("s1", Prompt::Continue));
        check(both(Some(&["b", "{session}", "{prompt}"])), resume, &["b", "ID", "go on"]);
        check(both(None), resume, &["a", "go on"]);
        check(both(Some(&["b"])), None, &["a", "do {session}"]);
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        let refused = |start: &Start, runtime| Launch::of(start, &setup(runtime)).unwrap_err();
        let plain = || runtime(Adapter::Plain, &[]);
        assert_eq!(refused(&agent_start(None), plain()).name(), "needs_operator");
        let unknown = Start { runtime: "x".into(), ..agent_start(None) };
        assert_eq!(refused(&unknown, plain()).name(), "needs_operator");
        let command =
            Action::Command { argv: vec!["true".to_owned()], cwd: Some("/nowhere/at/all".to_owned()) };
        let Report::Failed(fault) = refused(&start(command, None), plain()) else { panic!() };
        assert_eq!(fault.message, "working directory /nowhere/at/all is not there, or is no directory");
    }

    #[test]
    fn an_attempt_knows_who_it_is_and_none_of_dwells_settings() {
        let mut runtime = runtime(Adapter::Plain, &[]);
        runtime.env.insert("KEY".to_owned(), "value".to_owned());
        let setup = setup(runtime);
        let start = start(
            Action::Command { argv: vec!["true".to_owned()], cwd: None },
            Some(("s1", Prompt::Continue)),
        );
        let command = Launch::of(&start, &setup).unwrap().command(&start, &setup);
        let var = |name: &str| command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
        let id = start.id.to_string();
        for (name, value) in [
            ("DWELL_ID", id.as_str()),
            ("DWELL_ATTEMPT", "1"),
            ("DWELL_TOKEN", &format!("{id}.1")),
            ("DWELL_RESUME", "s1"),
            ("DWELL_HELD_BY", "m"),
            ("KEY", "value"),
        ] {
            assert_eq!(var(name).unwrap(), value, "{name}");
        }
        assert_eq!((var("DWELL_FLOW"), var("DWELL_STDIN")), (None, None));
    }
}
