//! What a package is made of besides the binary: completions, man pages, unit files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use server::{directory, dwell};

fn printed(dir: &Path, args: &[&str]) -> String {
    let output = dwell(dir, args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that help names.
fn commands(dir: &Path) -> Vec<String> {
    let help = printed(dir, &["--help"]);
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands =
        listed.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let commands: Vec<String> = commands.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert!(commands.len() > 20, "{commands:?}");
    commands
}

#[test]
fn every_shell_completes_every_command() {
    let dir = directory("");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(dir.path(), &["completions", shell]);
        for command in commands(dir.path()) {
            assert!(script.contains(&command), "{shell} does not know {command}");
        }
    }
    let completed = "source <(\"$0\" completions bash); COMP_WORDS=(dwell red); COMP_CWORD=1; _dwell dwell red dwell; echo ${COMPREPLY[*]}";
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["-c", completed, server::DWELL]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "redrive", "{:?}", output.stderr);
}

#[test]
fn every_command_has_a_man_page() {
    let dir = directory("");
    let page = printed(dir.path(), &["man"]);
    assert!(page.contains(".TH dwell 1") && page.contains("Exit codes: 0 ok"), "{page}");
    assert_eq!(printed(dir.path(), &["man", "--dir", "pages"]), "");
    for command in commands(dir.path()) {
        let page = std::fs::read_to_string(dir.path().join(format!("pages/dwell-{command}.1")));
        assert!(command == "help" || page.is_ok_and(|page| page.contains(".SH SYNOPSIS")), "{command}");
    }
    assert!(!dir.path().join("pages/dwell-hold.1").exists(), "what is hidden has none");
}

/// The lines `key=value` of a unit file.
fn unit(name: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("schema/examples/{name}")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

#[test]
fn the_unit_files_say_what_this_dwell_does() {
    let dir = directory("");
    let defaults: Value = serde_json::from_str(&printed(dir.path(), &["config", "check", "--json"])).unwrap();
    let default = |key: &str| {
        let items = defaults["items"].as_array().unwrap();
        items.iter().find(|item| item["key"] == key).unwrap()["value"].as_str().unwrap().to_owned()
    };
    let (service, socket) = (unit("dwell.service"), unit("dwell.socket"));
    assert_eq!(socket["ListenStream"], default("server.listen"));
    let span = |text: &str| humantime::parse_duration(text).unwrap();
    assert!(span(&service["TimeoutStopSec"]) > span(&default("shutdown.timeout")));
    assert_eq!((&*service["Type"], &*service["KillMode"]), ("notify", "mixed"));
    let start: Vec<&str> = service["ExecStart"].split(' ').skip(1).collect();
    let output = dwell(dir.path(), &[&start[..], &["--help"]].concat());
    assert!(output.status.success(), "{output:?}");
}
