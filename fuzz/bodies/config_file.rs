//! Any text as `dwell.toml`: a configuration that can be shown, or problems with their lines.

use std::fs;

use dwell::shell::config::{Config, Layers, Origin};

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dwell.toml");
    fs::write(&file, &*text).unwrap();
    let layers = Layers { file: Some(file), ..Layers::default() };
    match Config::load(&layers) {
        Ok(config) => {
            let described = config.describe();
            assert_eq!(described, Config::load(&layers).unwrap().describe(), "the same makes the same");
            // Each value is TOML, and the secrets among them are not shown.
            let shown: Result<toml::Table, _> = described.parse();
            assert!(shown.is_ok(), "{shown:?} of {described}");
        }
        Err(error) => {
            assert!(!error.0.is_empty());
            let lines = text.split('\n').count() + 1;
            for problem in &error.0 {
                assert!(!problem.message.is_empty());
                // What is missing has no line.
                let line = if let Origin::File(_, line) = problem.at { line } else { 0 };
                assert!(line > 0 || problem.at == Origin::Default || text.trim().is_empty(), "{problem}");
                assert!(line <= lines, "{problem} of {lines} lines");
            }
        }
    }
}
