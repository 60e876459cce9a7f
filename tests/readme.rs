//! What the README shows is true as far as a program can tell: its flow and configuration are accepted, and every file
//! it cites is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/cited.rs"]
mod cited;

use std::path::Path;

use dwell::shell::config::{Config, Layers};
use dwell::shell::http::{Method, ROUTES};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let blocks: Vec<String> = text
        .split(&format!("```{language}\n"))
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect();
    assert!(!blocks.is_empty(), "the README shows no {language}");
    blocks
}

#[test]
fn the_flows_shown_are_flows() {
    for text in blocks("yaml") {
        dwell::flow::parse("README.md", &text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    }
}

#[test]
fn the_configuration_shown_is_accepted() {
    for text in blocks("toml") {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dwell.toml");
        std::fs::write(&file, &text).unwrap();
        let layers = Layers { file: Some(file), env: Vec::new(), flags: Vec::new() };
        Config::load(&layers).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn every_file_it_cites_is_there() {
    let text = readme();
    let cited = text.split(['`', '(', ')']).filter(|word| {
        ["src/", "tests/", "schema/"].iter().any(|top| word.starts_with(top)) && !word.contains([' ', '*'])
    });
    let cited: Vec<&str> = cited.collect();
    assert!(cited.len() > 5, "{cited:?}");
    for path in cited {
        let path = path.split("::").next().unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "the README cites {path}");
    }
}

#[test]
fn every_guarantee_cites_tests_that_are_there() {
    let text = readme();
    let section = text.split("\n## Guarantees\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let section = section.split("\n### ").next().unwrap();
    let (before, table) = section.split_once("| guarantee | proof |\n|---|---|\n").unwrap();
    let rows: Vec<&str> = table.trim_end().lines().collect();
    assert!(rows.len() > 20 && !before.contains("\n- "), "what is guaranteed stands in the table");
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert!(cells.len() == 2 && row.starts_with("| ") && row.ends_with(" |"), "not a row: {row}");
        let proofs: Vec<&str> = cells[1].split('`').skip(1).step_by(2).collect();
        assert!(!proofs.is_empty(), "no test is cited: {row}");
        for proof in proofs {
            cited::check(proof).unwrap_or_else(|fault| panic!("{fault}"));
        }
    }
}

#[test]
fn its_table_of_routes_is_whole() {
    let text = readme();
    let rows = text.split("| route | does |\n|---|---|\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut told = Vec::new();
    for row in rows.lines() {
        // A path alone is asked as the one before it.
        let mut method = "";
        for route in row.split(" | ").next().unwrap().split('`').skip(1).step_by(2) {
            let path = route.split_once(' ').map_or(route, |(named, path)| {
                method = named;
                path
            });
            told.push(format!("{method} {path}"));
        }
    }
    let word = |method| match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
    };
    let mut routes: Vec<String> =
        ROUTES.iter().map(|route| format!("{} {}", word(route.method), route.path)).collect();
    told.sort();
    routes.sort();
    assert_eq!(told, routes);
}
