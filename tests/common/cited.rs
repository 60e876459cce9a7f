//! Tests that are cited by name, as `tests/file.rs::function` or `src/path/file.rs::function`.

use std::path::Path;

/// A file of this repository.
pub fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether what is cited is a test, or what is wrong with it.
pub fn check(cited: &str) -> Result<(), String> {
    let (file, function) =
        cited.split_once("::").ok_or(format!("{cited}: a test is cited as file::function"))?;
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file() {
        return Err(format!("{cited}: there is no {file}"));
    }
    let text = read(file);
    let (signature, lines) = (format!("fn {function}("), text.lines().collect::<Vec<_>>());
    let defined =
        lines.iter().position(|line| line.trim_start().trim_start_matches("async ").starts_with(&signature));
    let Some(at) = defined else { return Err(format!("{cited}: there is no such function")) };
    // Attributes stand right above it.
    let mut above = lines.iter().take(at).rev().take_while(|line| line.trim_start().starts_with("#["));
    above.any(|line| line.contains("test]")).then_some(()).ok_or(format!("{cited}: it is no test"))
}
