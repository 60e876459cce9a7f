//! What is served, and how.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::body::to_bytes;
use axum::http::HeaderValue;

use super::*;

/// Every file below `web`, as the table names it.
fn there(dir: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            there(&path, &format!("{name}/"), found);
        } else {
            found.insert(name);
        }
    }
}

#[test]
fn every_web_file_is_in_the_binary() {
    let mut found = BTreeSet::new();
    let web = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/shell/http/dashboard/web");
    there(&web, "", &mut found);
    let held: BTreeSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
    assert_eq!(held, found);
}

#[test]
fn nothing_inline_is_in_the_page() {
    let page =
        std::str::from_utf8(FILES.iter().find(|file| file.path == "index.html").unwrap().bytes).unwrap();
    for inline in [" style=", "<style", " onclick", " onload", "<script>"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[test]
fn each_file_has_its_type_and_the_policy() {
    for (path, expected) in [
        ("index.html", "text/html; charset=utf-8"),
        ("main.js", "text/javascript; charset=utf-8"),
        ("style/base.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("vendor/preact.LICENSE", "text/plain; charset=utf-8"),
    ] {
        let answer = serve(path, &HeaderMap::new());
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], expected);
        assert_eq!(answer.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
    for path in ["", "nothing.js", "../mod.rs", "/etc/passwd", "main.js/"] {
        assert_eq!(serve(path, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_browser_that_has_this_build_is_sent_nothing() {
    let mut headers = HeaderMap::new();
    for (tag, status) in [(TAG.as_str(), 304), ("W/\"x\", \"y\"", 200), (&format!("\"x\", W/{}", *TAG), 304)]
    {
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap());
        let answer = serve("index.html", &headers);
        assert_eq!(answer.status(), status, "{tag}");
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        assert_eq!(body.is_empty(), status == 304, "{tag}");
    }
}
