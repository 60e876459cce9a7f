//! Who is told what: from what is configured to what the engine sends.

use std::collections::BTreeMap;

use anyhow::anyhow;

use super::config::{self, SecretRef};
use crate::engine;
use crate::exec;
use crate::model::{HttpRequest, Name};

/// Reads every header that stands elsewhere. What cannot be read, or sent, is refused now and not at the first notice.
pub fn open(configured: &BTreeMap<Name, config::Notify>) -> anyhow::Result<BTreeMap<Name, engine::Notify>> {
    configured.iter().map(|(name, notify)| Ok((name.clone(), one(name, notify)?))).collect()
}

fn one(name: &Name, notify: &config::Notify) -> anyhow::Result<engine::Notify> {
    let wrong = |error: String| anyhow!("notify.{name}.http: {error}");
    let headers = notify.headers.iter().map(|(name, value)| Ok((name.clone(), header(value)?)));
    let headers = headers.collect::<Result<_, String>>().map_err(wrong)?;
    let to = HttpRequest { url: notify.url.clone(), method: notify.method.clone(), headers };
    exec::http::check(&to).map_err(wrong)?;
    Ok(engine::Notify {
        to,
        events: notify.events.iter().copied().collect(),
        flows: notify.flows.iter().map(|flow| flow.as_str().into()).collect(),
        orgs: notify.orgs.iter().map(|org| org.as_str().into()).collect(),
        every: notify.every,
    })
}

/// `file:PATH` and `env:NAME` stand for what is there; anything else is the value itself.
fn header(value: &str) -> Result<String, String> {
    match value.parse() {
        Ok(reference @ (SecretRef::File(_) | SecretRef::Env(_))) => reference.resolve(),
        Ok(SecretRef::Plain(_)) | Err(_) => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::NoticeEvent;

    fn configured(url: &str, header: &str) -> BTreeMap<Name, config::Notify> {
        let notify = config::Notify {
            url: url.to_owned(),
            method: "POST".to_owned(),
            headers: [("Authorization".to_owned(), header.to_owned())].into(),
            events: vec![NoticeEvent::Stalled],
            flows: Vec::new(),
            orgs: Vec::new(),
            every: Duration::ZERO,
        };
        [(Name::from("ops"), notify)].into()
    }

    #[test]
    fn a_header_is_read_from_where_it_stands() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Bearer x\n").unwrap();
        for (value, expected) in
            [(format!("file:{}", file.path().display()), "Bearer x"), ("Basic a:b".to_owned(), "Basic a:b")]
        {
            let notify = open(&configured("http://h/", &value)).unwrap();
            assert_eq!(notify["ops"].to.headers["Authorization"], expected);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_name() {
        for (url, header, expected) in [
            ("ftp://h/", "x", "notify.ops.http: \"ftp://h/\""),
            ("http://h/", "file:/not/there", "notify.ops.http: file:/not/there"),
        ] {
            let refused = open(&configured(url, header)).unwrap_err().to_string();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }
}
