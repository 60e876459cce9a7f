//! The list of deliberate bugs fits the code: each still applies, and its test is there. That each test turns red is
//! proven by `.ci/bugs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "common/cited.rs"]
mod cited;

use std::collections::BTreeSet;

use serde::Deserialize;

#[derive(Deserialize)]
struct List {
    bug: Vec<Bug>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bug {
    name: String,
    breaks: String,
    file: String,
    before: String,
    after: String,
    test: String,
}

fn bugs() -> Vec<Bug> {
    toml::from_str::<List>(&cited::read("tests/bugs/list.toml")).unwrap().bug
}

#[test]
fn every_bug_still_applies_in_one_place() {
    for bug in bugs() {
        let found = cited::read(&bug.file).matches(&bug.before).count();
        assert_eq!(found, 1, "{}: its text stands in {} {found} times", bug.name, bug.file);
        assert_ne!(bug.before, bug.after, "{}", bug.name);
        assert!(!bug.breaks.is_empty(), "{}", bug.name);
    }
}

#[test]
fn every_bug_names_a_test_that_is_there() {
    for bug in bugs() {
        cited::check(&bug.test).unwrap_or_else(|fault| panic!("{}: {fault}", bug.name));
    }
}

#[test]
fn there_are_at_least_a_dozen_and_each_has_a_name_of_its_own() {
    let bugs = bugs();
    let names: BTreeSet<&str> = bugs.iter().map(|bug| bug.name.as_str()).collect();
    assert!(names.len() >= 12 && names.len() == bugs.len(), "{names:?}");
}
