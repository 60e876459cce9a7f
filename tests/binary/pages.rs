//! What a package is made of besides the binary: completions, man pages, unit files; and the Debian package's own files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::server::{self, directory, dwell};

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

/// A file of the repository.
fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `[package.metadata.deb]`, and the version that is packaged.
fn package() -> (toml::Table, String) {
    let mut cargo: toml::Table = file("Cargo.toml").parse().unwrap();
    let package = cargo["package"].as_table_mut().unwrap();
    let version = package["version"].as_str().unwrap().to_owned();
    (package["metadata"]["deb"].as_table().unwrap().clone(), version)
}

#[test]
fn the_debian_package_is_made_of_what_is_there_or_its_script_makes() {
    let (package, version) = package();
    let script = file(".ci/package");
    let mut made = 0;
    for asset in package["assets"].as_array().unwrap() {
        let source = asset[0].as_str().unwrap();
        let place = Path::new(source.split('*').next().unwrap());
        if let Ok(part) = place.strip_prefix("target/package") {
            made += 1;
            let part = part.to_str().unwrap();
            let shell = part.strip_prefix("dwell.");
            assert!(
                shell.map_or_else(
                    || script.contains(&format!("$parts/{part}")),
                    |shell| script.contains(shell)
                ),
                ".ci/package does not make {source}"
            );
        } else {
            assert!(source == "target/release/dwell" || place.exists(), "the package wants {source}");
        }
    }
    assert_eq!(made, 4, "the man pages, and a completion each for bash, zsh and fish");
    let units = package["systemd-units"].as_table().unwrap();
    for unit in ["dwell.service", "dwell.socket", "dwell.sysusers"] {
        file(&format!("{}/{unit}", units["unit-scripts"].as_str().unwrap()));
    }
    let scripts = package["maintainer-scripts"].as_str().unwrap();
    for script in ["postinst", "postrm"] {
        assert!(file(&format!("{scripts}/{script}")).contains("\n#DEBHELPER#\n"), "cargo-deb fills it in");
    }
    let changes = file(package["changelog"].as_str().unwrap());
    assert!(changes.starts_with(&format!("dwell ({version}-1) ")), "{changes}");
}

#[test]
fn the_package_s_configuration_is_what_its_unit_starts_with() {
    let dir = directory("");
    let text = file(".ci/debian/dwell.toml");
    // What is commented out there is an example, and accepted as well.
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n").replace("/etc/dwell/", "");
    std::fs::create_dir(dir.path().join("flows")).unwrap();
    std::fs::write(dir.path().join("gh-secret"), "s").unwrap();
    std::fs::write(dir.path().join("installed.toml"), text).unwrap();
    let said = printed(dir.path(), &["--config", "installed.toml", "config", "check", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let value = |key: &str| {
        said["items"].as_array().unwrap().iter().find(|item| item["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!((value("flows.dir"), value("sources.gh.kind")), ("flows".into(), "github".into()));

    let (package, _) = package();
    let shipped = package["assets"].as_array().unwrap().iter();
    let shipped: Vec<_> = shipped.map(|asset| format!("/{}", asset[1].as_str().unwrap())).collect();
    let service = unit("dwell.service");
    let start: Vec<&str> = service["ExecStart"].split(' ').collect();
    let after = |flag: &str| start[start.iter().position(|word| *word == flag).unwrap() + 1];
    assert!(shipped.iter().any(|path| path == after("--config")), "{shipped:?}");
    assert!(shipped.iter().any(|path| format!("{path}dwell") == start[0]), "{shipped:?}");
    assert_eq!(value("store.url"), format!("file:{}", after("--data")));
    let home = &service["WorkingDirectory"];
    let user = format!("u {} - \"dwell\" {home}", service["User"]);
    assert!(file("schema/examples/dwell.sysusers").contains(&user), "{user}");
    assert!(service["StateDirectory"].split(' ').any(|made| format!("/var/lib/{made}") == *home));
}
