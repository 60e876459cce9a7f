//! What a process takes of memory, and a directory of the disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Of the process with this number, or of `self`, while it runs.
pub fn resident_mb(process: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1e3)
}

/// Files that go while it looks are not counted.
pub fn disk_mb(dir: &Path) -> f64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let weight = |entry: std::fs::DirEntry| {
        let Ok(meta) = entry.metadata() else { return 0.0 };
        if meta.is_dir() { disk_mb(&entry.path()) } else { (meta.blocks() * 512) as f64 / 1e6 }
    };
    entries.map(weight).sum()
}
