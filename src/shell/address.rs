//! `<data>/address`: where the server of a store listens, for clients on the same machine.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::crash_point;

/// The header by which a client that found the address in a store says which store that was.
pub const STORE_HEADER: &str = "dwell-store";

/// What stands in [`STORE_HEADER`]: the canonical path of the store's directory.
pub fn store_header(data: &Path) -> String {
    escaped(data.as_os_str().as_encoded_bytes())
}

/// A name as a part of a path, a query or a header.
pub fn escaped(text: impl AsRef<[u8]>) -> String {
    percent_encoding::percent_encode(text.as_ref(), percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Written once the server listens; put in place whole, so no client reads half of it.
pub fn write(data: &Path, url: &str) -> io::Result<()> {
    let partial = data.join("address.new");
    std::fs::write(&partial, format!("{url}\n"))?;
    crash_point("address.before_rename");
    std::fs::rename(partial, file(data))
}

/// Where the store's server said it listens; `None` if it never did. It may be gone: a crash removes nothing.
pub fn read(data: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(file(data)) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|url| !url.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Taken away at a clean stop.
pub fn remove(data: &Path) -> io::Result<()> {
    match std::fs::remove_file(file(data)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn file(data: &Path) -> PathBuf {
    data.join("address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_until_it_is_removed() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(read(data.path()).unwrap(), None);
        write(data.path(), "http://127.0.0.1:7070").unwrap();
        assert_eq!(read(data.path()).unwrap().as_deref(), Some("http://127.0.0.1:7070"));
        remove(data.path()).unwrap();
        remove(data.path()).unwrap();
        assert_eq!(read(data.path()).unwrap(), None);
    }
}
