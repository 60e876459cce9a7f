//! The house rules that a compiler does not check: which layer sees which, and what occurs in one place only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who sees whom. An edge that is not here is a new one, and fails.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("machine", &["model"]),
    ("flow", &["model"]),
    ("pace", &["model"]),
    ("store", &["model"]),
    ("engine", &["model", "machine", "pace", "store"]),
    ("exec", &["model", "store"]),
    ("shell", &["model", "flow", "store", "engine", "exec"]),
    ("fixture", &["store"]),
];

/// What may be seen of a layer by another that is let in only through one door.
const DOORS: &[(&str, &str, &[&str])] = &[
    // Executors see that something is durable, never bytes; a test may end the process in them.
    ("exec", "store", &["store::Durable", "store::crash_point"]),
    // The shell opens the store and hands it to the engine; from then on it talks to the handle.
    (
        "shell",
        "store",
        &[
            "store::Backend",
            // A backend whose commits are timed is one that stands around another.
            "store::Batch",
            "store::Direction",
            "store::Durable",
            "store::History",
            "store::Pair",
            "store::StoreError",
            "store::Stored",
            // A backup goes from the store to a file, and back into a new store, beside the engine.
            "store::backup",
            "store::crash_point",
            // A check is of a stopped store, without an engine.
            "store::finding",
            "store::local",
            // A node takes shards and gives them back.
            "store::postgres",
            // A stopped store moves to another kind of store.
            "store::transfer",
        ],
    ),
    // The fixture knows dwell as anybody does: a process that speaks HTTP.
    ("fixture", "store", &["store::CRASH_AT", "store::CRASH_POINTS"]),
];

/// What occurs nowhere: every wait is a durable deadline, or blocks on what it waits for.
const NOWHERE: &[&str] = &["thread::sleep(", "unsafe {", "todo!(", "unimplemented!("];

/// What occurs under one path only; of what moves bytes for others, under one for each protocol.
const ONE_PLACE: &[(&str, &[&str])] = &[
    ("sled::", &["store/local/table.rs", "store/local/table/tree.rs"]),
    ("bincode::", &["store/codec/"]),
    ("SystemTime::now", &["shell/clock.rs"]),
    ("tokio::", &["shell/http/", "store/postgres/connection.rs"]),
    ("tokio_postgres::", &["store/postgres/"]),
    ("axum::", &["shell/http/"]),
    ("sd_notify::", &["shell/service.rs"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file: its path below `src` and its lines of code, without comments, doc tests and unit tests.
fn sources() -> BTreeMap<String, Vec<String>> {
    fn walk(dir: &Path, found: &mut BTreeMap<String, Vec<String>>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let code = code.lines().map(|line| line.split("//").next().unwrap().to_owned());
                let tests =
                    ["tests.rs", "testing.rs", "contract.rs"].iter().any(|tests| name.ends_with(tests));
                found.insert(name, if tests { Vec::new() } else { code.collect() });
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&root().join("src"), &mut found);
    assert!(found.len() > 40, "only {} source files found", found.len());
    found
}

/// The `crate::` paths a file names, with each brace list of its first level spelled out.
fn paths(lines: &[String]) -> BTreeSet<String> {
    let code = lines.join(" ");
    let mut found = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        let head: String = part.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        if let Some(list) =
            part[head.len()..].strip_prefix('{').filter(|_| head.is_empty() || head.ends_with("::"))
        {
            for item in list.split('}').next().unwrap().split(',') {
                found.insert(format!("{head}{}", item.trim().trim_end_matches(" as _")));
            }
        } else {
            found.insert(head);
        }
    }
    found
}

#[test]
fn layers_only_look_down() {
    let mut faults = Vec::new();
    for (file, lines) in sources() {
        let Some((layer, _)) = file.split_once('/') else { continue };
        let (_, seen) =
            LAYERS.iter().find(|(name, _)| *name == layer).unwrap_or_else(|| panic!("{layer} is no layer"));
        for path in paths(&lines) {
            let target = path.split("::").next().unwrap();
            let known = LAYERS.iter().any(|(name, _)| *name == target);
            if !known || target == layer {
                continue;
            }
            if !seen.contains(&target) {
                faults.push(format!("src/{file} names {path}: {layer} does not see {target}"));
            }
            let door = DOORS.iter().find(|(from, to, _)| *from == layer && *to == target);
            if let Some((_, _, open)) = door
                && !open.iter().any(|open| path == *open || path.starts_with(&format!("{open}::")))
            {
                faults.push(format!("src/{file} names {path}: {layer} sees only {open:?} of {target}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_belongs_in_one_place_is_there_only() {
    let sources = sources();
    for (word, places) in ONE_PLACE {
        let users: Vec<&String> = sources
            .iter()
            .filter(|(_, lines)| lines.iter().any(|line| line.contains(word)))
            .map(|(file, _)| file)
            .collect();
        assert!(!users.is_empty(), "nothing uses {word} any more: drop it from the list");
        let is_there = |file: &&&String| places.iter().any(|place| file.starts_with(place));
        let elsewhere: Vec<_> = users.iter().filter(|file| !is_there(file)).collect();
        assert!(elsewhere.is_empty(), "{word} belongs in {places:?} below src and occurs in {elsewhere:?}");
    }
    for (file, lines) in &sources {
        for word in NOWHERE {
            assert!(!lines.iter().any(|line| line.contains(word)), "src/{file} has {word}");
        }
    }
}

#[test]
fn every_module_says_what_it_owns() {
    let silent: Vec<String> = sources()
        .into_keys()
        .filter(|file| !std::fs::read_to_string(root().join("src").join(file)).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no module doc: {silent:?}");
}

#[test]
fn the_top_level_is_what_the_design_names() {
    let named = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "benches",
        "fuzz",
        "schema",
        "src",
        "tests",
        "target",
        "dwell-data",
    ];
    let extra: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !named.contains(&name.as_str()))
        .collect();
    assert!(extra.is_empty(), "not named by the design: {extra:?}");
}

#[test]
fn every_limit_has_a_name_ending_in_what_it_bounds() {
    let sources = sources();
    let constants =
        sources.values().flatten().filter(|line| line.contains("const ") && line.contains("usize ="));
    let unnamed: Vec<&String> =
        constants.filter(|line| line.contains("MAX") && !line.contains("_MAX:")).collect();
    assert!(unnamed.is_empty(), "the qualifier comes last: {unnamed:?}");
}
