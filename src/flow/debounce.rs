//! `debounce`: which triggers make one run together, and how long it waits for more of them.

use std::time::Duration;

use super::keys::DEBOUNCE;
use super::parse::MOMENT;
use super::read::Reader;
use super::template::Template;
use super::tree::Node;

const QUIET_DEFAULT: Duration = Duration::from_secs(30);
const MAX_DEFAULT: Duration = Duration::from_mins(5);

/// `debounce`.
#[derive(Clone, Debug)]
pub(super) struct Debouncing {
    pub(super) key: Template,
    pub(super) quiet: Duration,
    pub(super) max: Duration,
}

impl Reader<'_> {
    pub(super) fn debounce(&mut self, node: &Node) -> Option<Debouncing> {
        let fields = self.fields(node, &DEBOUNCE)?;
        let key = self.required(node, &fields, "key", "what triggers of one run have in common");
        let key = key.and_then(|node| self.template(node, "debounce.key"));
        let mut span = |name, default| match fields.get(name) {
            None => Some(default),
            Some((node, key)) => self.duration(node, &key, MOMENT),
        };
        let quiet = span("quiet", QUIET_DEFAULT)?;
        let max = span("max", MAX_DEFAULT.max(quiet))?;
        if max < quiet
            && let Some((node, key)) = fields.get("max")
        {
            self.wrong(node, &key, "at least debounce.quiet");
        }
        Some(Debouncing { key: key?, quiet, max })
    }
}
