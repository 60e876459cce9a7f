//! A request of a flow: what a run sends, or what is sent of its dead letter.

use std::collections::BTreeMap;

use super::expand::Filler;
use super::keys::Table;
use super::read::Reader;
use super::template::Template;
use super::tree::Node;
use crate::model::HttpRequest;

/// A request before it is filled.
#[derive(Clone, Debug)]
pub(super) struct Request {
    url: Template,
    method: String,
    headers: BTreeMap<String, Template>,
}

impl Reader<'_> {
    /// `table` says where it stands.
    pub(super) fn request(&mut self, node: &Node, table: &Table) -> Option<Request> {
        let fields = self.fields(node, table)?;
        let url = self.required(node, &fields, "url", "where the request goes");
        let url = url.and_then(|node| self.template(node, &format!("{}.url", table.path)));
        let method = match fields.get("method") {
            None => Some("POST".to_owned()),
            Some((node, key)) => {
                let expected = HttpRequest::METHODS.join(", ");
                let method = self.text(node, &key, &expected)?;
                let known = HttpRequest::METHODS.contains(&method);
                if !known {
                    self.wrong(node, &key, &format!("one of {expected}"));
                }
                known.then(|| method.to_owned())
            }
        };
        let mut headers = BTreeMap::new();
        if let Some((node, key)) = fields.get("headers") {
            for (name, node) in self.map(node, &key, "a mapping of names to text").unwrap_or_default() {
                let value = self.template(node, &format!("{key}.{}", name.text));
                headers.extend(value.map(|value| (name.text.clone(), value)));
            }
        }
        Some(Request { url: url?, method: method?, headers })
    }
}

impl Filler<'_> {
    /// `path` says where it stands.
    pub(super) fn request(&mut self, path: &str, request: &Request) -> HttpRequest {
        let url = self.fill(&format!("{path}.url"), &request.url);
        let headers = (request.headers.iter())
            .map(|(name, value)| (name.clone(), self.fill(&format!("{path}.headers.{name}"), value)));
        HttpRequest { url, method: request.method.clone(), headers: headers.collect() }
    }
}
