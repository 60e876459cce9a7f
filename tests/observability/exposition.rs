//! Reads the text of `/metrics` by the rules of OpenMetrics 1.0 and refuses what breaks one, then by those of
//! `promtool check metrics` for names, units and help.

use std::collections::{BTreeMap, BTreeSet};

/// One metric with all its series.
#[derive(Debug, Default)]
pub struct Family {
    pub name: String,
    pub kind: String,
    pub unit: String,
    pub help: String,
    /// By the sample's name and its labels, as they are written.
    pub series: BTreeMap<(String, Labels), f64>,
}

pub type Labels = BTreeMap<String, String>;

impl Family {
    /// As it is queried: a counter and an info by their only sample, a histogram by its family.
    pub fn queried(&self) -> String {
        let suffix = match self.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        format!("{}{suffix}", self.name)
    }

    /// The names of its labels, but those of a histogram's buckets.
    pub fn labels(&self) -> BTreeSet<String> {
        let names = self.series.keys().flat_map(|(_, labels)| labels.keys());
        names.filter(|name| *name != "le").cloned().collect()
    }
}

/// The value of the one series of that sample which has these labels, others beside them or not; 0 if there is none.
pub fn value(families: &[Family], sample: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |have: &Labels| {
        labels.iter().all(|(name, value)| have.get(*name).is_some_and(|found| found == value))
    };
    let series = families.iter().flat_map(|family| &family.series);
    let found: Vec<f64> =
        series.filter(|((name, have), _)| name == sample && fits(have)).map(|(_, value)| *value).collect();
    assert!(found.len() <= 1, "{sample} {labels:?} is {} series", found.len());
    found.first().copied().unwrap_or_default()
}

/// The families in their order, or the first broken rule.
pub fn parse(text: &str) -> Result<Vec<Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF and a line feed")?;
    let mut families: Vec<Family> = Vec::new();
    for line in body.lines() {
        let rule = |broken: bool, what: &str| if broken { Err(format!("{what}: {line}")) } else { Ok(()) };
        if let Some(said) = line.strip_prefix("# ") {
            let mut words = said.splitn(3, ' ');
            let (word, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let value = words.next().ok_or(format!("a descriptor without a value: {line}"))?;
            rule(!is_name(name) || name.contains(':'), "not a name")?;
            if families.last().is_none_or(|family| family.name != name) {
                rule(families.iter().any(|family| family.name == name), "a family in two places")?;
                families.push(Family { name: name.to_owned(), ..Family::default() });
            }
            let family = families.last_mut().ok_or("no family")?;
            rule(!family.series.is_empty(), "a descriptor after a sample")?;
            let slot = match word {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                _ => return Err(format!("an unknown descriptor: {line}")),
            };
            rule(!slot.is_empty(), "a descriptor twice")?;
            value.clone_into(slot);
            continue;
        }
        let (sample, labels, value) = read_sample(line).ok_or(format!("no sample: {line}"))?;
        let family = families.last_mut().ok_or(format!("a sample before its family: {line}"))?;
        let suffix = sample.strip_prefix(&family.name).ok_or(format!("of another family: {line}"))?;
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            kind => return Err(format!("{}: unknown type {kind}", family.name)),
        };
        rule(!suffixes.contains(&suffix), "a suffix that the type does not have")?;
        rule(labels.contains_key("le") != (suffix == "_bucket"), "le belongs to buckets")?;
        rule(!value.is_finite() || value < 0.0, "not a count or an amount")?;
        rule(family.kind == "info" && value != 1.0, "an info is 1")?;
        rule(family.series.insert((sample.clone(), labels), value).is_some(), "a series twice")?;
    }
    for family in &families {
        lint(family)?;
        if family.kind == "histogram" {
            buckets(family)?;
        }
    }
    Ok(families)
}

fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || b"_:".contains(&byte));
    first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
}

/// `name{label="value",...} number`.
fn read_sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, quoted) = rest.split_once("=\"")?;
            let (mut text, mut letters) = (String::new(), quoted.char_indices());
            let closed = loop {
                match letters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => text.push(match letters.next()?.1 {
                        'n' => '\n',
                        escaped @ ('"' | '\\') => escaped,
                        _ => return None,
                    }),
                    (_, letter) => text.push(letter),
                }
            };
            if !is_name(label) || label.contains(':') || labels.insert(label.to_owned(), text).is_some() {
                return None;
            }
            let (separator, after) = quoted.get(closed + 1..)?.split_at_checked(1)?;
            rest = after;
            match separator {
                "," => {}
                "}" => break,
                _ => return None,
            }
        }
    }
    let number = rest.strip_prefix(' ')?;
    (is_name(name) && !number.contains(' ')).then_some(())?;
    Some((name.to_owned(), labels, number.parse().ok()?))
}

/// Of each set of labels the buckets rise to `+Inf`, which is the count.
fn buckets(family: &Family) -> Result<(), String> {
    let mut of: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for ((_, labels), value) in family.series.iter().filter(|((sample, _), _)| sample.ends_with("_bucket")) {
        let mut labels = labels.clone();
        let bound = labels.remove("le").unwrap_or_default();
        let bound = bound.parse().map_err(|_| format!("{}: le {bound:?}", family.name))?;
        of.entry(labels).or_default().push((bound, *value));
    }
    for (labels, mut buckets) in of {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = family.series.get(&(format!("{}_count", family.name), labels.clone())).copied();
        let rises = buckets.windows(2).all(|two| two[0].1 <= two[1].1);
        let last = buckets.last().copied().unwrap_or_default();
        if !rises || last.0 != f64::INFINITY || Some(last.1) != count || buckets.len() < 3 {
            return Err(format!("{} {labels:?}: {buckets:?}, count {count:?}", family.name));
        }
        family
            .series
            .get(&(format!("{}_sum", family.name), labels))
            .ok_or(format!("{}: no sum", family.name))?;
    }
    Ok(())
}

/// Units are base units and stand at the end of names, names do not say the type, and help says something.
fn lint(family: &Family) -> Result<(), String> {
    let Family { name, kind, unit, help, .. } = family;
    let words: Vec<&str> = name.split('_').collect();
    let foreign = ["milliseconds", "ms", "minutes", "hours", "kilobytes", "megabytes", "percent"];
    for (broken, what) in [
        (words[0] != "dwell", "is not named after dwell"),
        (name.bytes().any(|byte| byte.is_ascii_uppercase()) || words.contains(&""), "is not in snake case"),
        (help.len() < 10 || !help.ends_with('.'), "says nothing"),
        (kind.is_empty(), "has no type"),
        (!unit.is_empty() && !name.ends_with(&format!("_{unit}")), "does not end with its unit"),
        (unit.is_empty() && words.iter().any(|word| ["seconds", "bytes"].contains(word)), "says no unit"),
        (words.iter().any(|word| foreign.contains(word)), "has a unit that is no base unit"),
        (
            words.iter().any(|word| ["counter", "gauge", "histogram", "metric"].contains(word)),
            "says its type",
        ),
        (
            ["_total", "_count", "_sum", "_bucket", "_info"].iter().any(|end| name.ends_with(end)),
            "ends like a sample",
        ),
        (family.series.is_empty(), "has no series"),
    ] {
        if broken {
            return Err(format!("{name} {what}: {family:?}"));
        }
    }
    Ok(())
}

#[test]
fn a_text_that_breaks_a_rule_is_refused() {
    let good =
        "# HELP dwell_x It is something.\n# TYPE dwell_x counter\ndwell_x_total{a=\"b\\\"c\"} 1\n# EOF\n";
    assert_eq!(parse(good).unwrap()[0].series.len(), 1);
    for (from, to) in [
        ("# EOF\n", ""),
        ("_total", ""),
        ("counter", "gauge"),
        ("} 1", "} -1"),
        ("} 1", "} NaN"),
        ("{a", "{le"),
        ("{a", "{1a"),
        ("\\\"", "\\x"),
        ("} 1\n", "} 1\ndwell_x_total{a=\"b\\\"c\"} 1\n"),
        ("} 1\n", "} 1\n# UNIT dwell_x seconds\n"),
        ("} 1\n", "} 1\ndwell_y 1\n"),
        ("It is something.", "x."),
        ("dwell_x", "dwell_x_milliseconds"),
        ("dwell_x", "other_x"),
    ] {
        let bad = good.replace(from, to);
        assert!(parse(&bad).is_err(), "{bad}");
    }
    let histogram = "# HELP dwell_t_seconds It is something.\n# TYPE dwell_t_seconds histogram\n\
        # UNIT dwell_t_seconds seconds\ndwell_t_seconds_sum 1\ndwell_t_seconds_count 2\n\
        dwell_t_seconds_bucket{le=\"0.1\"} 1\ndwell_t_seconds_bucket{le=\"1.0\"} 2\n\
        dwell_t_seconds_bucket{le=\"+Inf\"} 2\n# EOF\n";
    parse(histogram).unwrap();
    for (from, to) in [("le=\"0.1\"} 1", "le=\"0.1\"} 3"), ("count 2", "count 3"), ("+Inf", "9.0")] {
        assert!(parse(&histogram.replace(from, to)).is_err(), "{from}");
    }
}
