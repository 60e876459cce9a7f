//! The dashboard and the alert rules under `schema/examples`: they load, and ask for nothing that is not told.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::{Value, json};

use super::metrics::{CONFIG, busy};
use super::scrape;
use super::server::directory;

fn read(name: &str) -> String {
    let path = format!("{}/schema/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a real server tells: each sample with the labels it has. Prometheus adds those of the target.
fn told() -> BTreeMap<String, BTreeSet<String>> {
    let dir = directory(CONFIG);
    let server = busy(dir.path());
    // The first is an answer that the second counts.
    scrape(&server);
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for family in scrape(&server) {
        for (sample, labels) in family.series.into_keys() {
            told.entry(sample).or_default().extend(labels.into_keys().chain(["instance".to_owned()]));
        }
    }
    told
}

/// What is wrong with the names and labels of a query, if something is.
fn fault(told: &BTreeMap<String, BTreeSet<String>>, query: &str) -> Option<String> {
    let pattern = |text: &str| Regex::new(text).unwrap();
    let mut known = BTreeSet::new();
    for found in pattern(r"\bdwell_\w+(\{[^}]*\})?").find_iter(query) {
        let (name, selector) = found.as_str().split_once('{').unwrap_or((found.as_str(), ""));
        let Some(labels) = told.get(name) else { return Some(format!("{name} is not told: {query}")) };
        for label in pattern(r"(\w+)(=~|!~|!=|=)").captures_iter(selector) {
            if !labels.contains(&label[1]) {
                return Some(format!("{name} has no {}: {query}", &label[1]));
            }
        }
        known.extend(labels.clone());
    }
    let groupings = pattern(r"by \(([^)]*)\)");
    let grouped = groupings.captures_iter(query).filter_map(|grouping| grouping.get(1));
    let unknown =
        grouped.flat_map(|labels| labels.as_str().split(", ")).filter(|label| !known.contains(*label));
    let unknown: Vec<&str> = unknown.collect();
    (known.is_empty() || !unknown.is_empty()).then(|| format!("grouped by {unknown:?}: {query}"))
}

#[test]
fn a_query_for_what_is_not_told_is_a_fault() {
    let told = told();
    assert_eq!(fault(&told, "sum by (state) (dwell_records{state=\"queued\"})"), None);
    for query in [
        "dwell_record",
        "dwell_records{flow=\"f\"}",
        "sum by (org) (dwell_records)",
        "dwell_commit_duration_seconds",
        "up",
    ] {
        assert!(fault(&told, query).is_some(), "{query}");
    }
}

#[test]
fn the_dashboard_asks_for_what_is_told_and_its_panels_have_their_places() {
    let (dashboard, told): (Value, _) = (serde_json::from_str(&read("grafana.json")).unwrap(), told());
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string());
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeSet<&str> = variables.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "instance"]));
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is there twice");
        assert!(
            ["stat", "timeseries", "state-timeline"].contains(&panel["type"].as_str().unwrap()),
            "{title}"
        );
        assert!(
            !panel["description"].as_str().unwrap().is_empty() && panel["datasource"] == source,
            "{title}"
        );
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24 && w > 0 && h > 0, "{title}");
        for place in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
            assert!(taken.insert(place), "{title} lies on another panel");
        }
        let targets = panel["targets"].as_array().unwrap();
        let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(refs.len() == targets.len() && !refs.is_empty(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"], source, "{title}");
            let query = target["expr"].as_str().unwrap();
            assert_eq!(fault(&told, query), None, "{title}");
            let depth = query.chars().map(|letter| i32::from(letter == '(') - i32::from(letter == ')'));
            assert_eq!(depth.sum::<i32>(), 0, "{title}: {query}");
        }
    }
    assert!(ids.len() > 15);
}

#[test]
fn the_alerts_ask_for_what_is_told_and_each_says_what_to_do() {
    let (file, told): (Value, _) = (serde_saphyr::from_str(&read("alerts.yaml")).unwrap(), told());
    let mut names = BTreeSet::new();
    for rule in file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
    {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        assert_eq!(fault(&told, rule["expr"].as_str().unwrap()), None, "{name}");
        assert!(rule["for"].is_string() && rule["labels"]["severity"].is_string(), "{name}");
        for text in ["summary", "description"] {
            let text = rule["annotations"][text].as_str().unwrap();
            assert!(text.len() > 20, "{name}: {text}");
        }
    }
    let codes = Regex::new("code=\"([a-z_]+)\"").unwrap();
    let known = dwell::shell::ready::Code::ALL.iter().map(|code| code.as_str()).collect::<BTreeSet<_>>();
    for code in codes.captures_iter(&file.to_string().replace('\\', "")) {
        assert!(known.contains(&code[1]), "{} is no code of /readyz", &code[1]);
    }
    for expected in ["NotReady", "StoreNearlyFull", "Late", "DeadLettersGrow", "GateHeld", "RuntimePaused"] {
        assert!(names.contains(&format!("Dwell{expected}")), "{expected}");
    }
}
