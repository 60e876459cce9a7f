//! The text format from before OpenMetrics, which tools still read that do not ask for the newer one: `promtool check
//! metrics`, collectors of other systems.

use std::fmt::{self, Write as _};

/// The same from [OpenMetrics](super::OPENMETRICS) text. There a counter's and an info's samples have a suffix that its name
/// has not, and here what is said of a sample bears the sample's own name.
pub fn plain(openmetrics: &str) -> Result<String, fmt::Error> {
    let mut plain = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        let of_family = |keyword| line.strip_prefix(keyword).and_then(|rest: &str| rest.split_once(' '));
        if let Some((_, text)) = of_family("# HELP ") {
            help = text;
        } else if let Some((name, kind)) = of_family("# TYPE ") {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            writeln!(plain, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            writeln!(plain, "{line}")?;
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_sample_bears_its_name() {
        let openmetrics = "# HELP a_build The build.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
             # HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 0.5\n\
             # HELP a_steps Steps.\n# TYPE a_steps counter\na_steps_total{event=\"# x\"} 3\n# EOF\n";
        assert_eq!(
            plain(openmetrics).unwrap(),
            "# HELP a_build_info The build.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
             # HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_sum 0.5\n\
             # HELP a_steps_total Steps.\n# TYPE a_steps_total counter\na_steps_total{event=\"# x\"} 3\n"
        );
    }
}
