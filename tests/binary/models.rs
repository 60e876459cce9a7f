//! Models of a runtime through the real binary: asked for, handed to the attempt, paused and shown.

use std::path::Path;

use serde_json::json;

use super::server::{Server, directory, dwell};

const LIMITED: &str = r#"echo '{"dwell":"rate_limited"}'"#;

fn config() -> String {
    format!(
        "[runtimes.agent]\nlimit_scope = \"model\"\nramp = \"off\"\n\
         argv = [\"sh\", \"-c\", '''case $DWELL_MODEL in opus) {LIMITED};; *) echo \"model=$DWELL_MODEL\";; esac''', \"{{prompt}}\"]\n"
    )
}

/// What a command prints, which must go well.
fn said(dir: &Path, args: &[&str]) -> String {
    let output = dwell(dir, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn one_model_is_limited_and_another_goes_on_and_a_restart_keeps_both() {
    let dir = directory(&config());
    let mut server = Server::start(dir.path(), &[]);
    let ask = |server: &Server, model: &str| {
        server.session(
            &json!({"runtime": "agent", "model": model, "action": {"agent": {"prompt": "p", "cwd": "/"}}}),
        )
    };
    let limited = ask(&server, "opus");
    assert_eq!(server.until(&limited, "rate_limited")["model"], "opus");
    server.until(&ask(&server, "anthropic/sonnet-5"), "completed");
    server.kill();
    let server = Server::start(dir.path(), &[]);
    let waits = ask(&server, "opus");
    let other = ask(&server, "haiku");
    server.until(&other, "completed");
    assert!(said(dir.path(), &["logs", &other]).contains("model=haiku"));
    assert_eq!(server.get(&format!("/v1/records/{waits}")).body["state"], "queued");
    let runtime = server.runtime("agent");
    assert_eq!(runtime["state"], "open");
    let [model] = runtime["models"].as_array().unwrap().as_slice() else { panic!("{runtime}") };
    assert_eq!((&model["model"], &model["state"]), (&json!("opus"), &json!("limited")));
    assert_eq!(model["limited"]["by"], json!(limited));
    let table = said(dir.path(), &["ls", "runtimes"]);
    assert!(table.lines().any(|line| line.contains("agent/opus") && line.contains("limited")), "{table}");
}

#[test]
fn an_operator_pauses_a_model_from_the_command_line() {
    let dir = directory(&config());
    let server = Server::start(dir.path(), &[]);
    let run = ["run", "--runtime", "agent", "--model", "haiku", "--prompt", "p", "--detach"];
    assert_eq!(
        said(dir.path(), &["runtime", "pause", "agent", "--model", "haiku"]),
        "agent/haiku paused until resumed"
    );
    let id = said(dir.path(), &run);
    assert_eq!(server.get(&format!("/v1/records/{id}")).body["state"], "queued");
    assert_eq!(said(dir.path(), &["runtime", "resume", "agent"]), "agent open");
    assert_eq!(server.get(&format!("/v1/records/{id}")).body["state"], "queued");
    assert_eq!(said(dir.path(), &["runtime", "resume", "agent", "--model", "haiku"]), "agent/haiku open");
    server.until(&id, "completed");
    let flag = dwell(dir.path(), &["run", "--runtime", "agent", "--model=-p", "--prompt", "p", "--detach"]);
    assert!(!flag.status.success(), "{flag:?}");
}
