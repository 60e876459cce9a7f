//! `concurrency`: the bound that runs of a flow share by a name from their payload.

use super::keys::CONCURRENCY;
use super::read::Reader;
use super::template::Template;
use super::tree::{Node, Tree};
use crate::model::Group;

/// More outstanding attempts than this are no bound.
const OUTSTANDING_MAX: u32 = 10_000;

/// More waiting runs than this are no bound.
const WAITING_MAX: u32 = 1_000_000;

/// As the file has it.
#[derive(Clone, Debug)]
pub(super) struct Concurrency {
    pub(super) group: Template,
    max: u32,
    cancel_in_progress: bool,
    queue: Option<u32>,
}

impl Concurrency {
    /// For a run whose template was filled to `name`.
    pub(super) fn named(&self, name: &str) -> Group {
        Group {
            name: name.into(),
            max: self.max,
            cancel_in_progress: self.cancel_in_progress,
            queued_max: self.queue,
        }
    }
}

impl Reader<'_> {
    pub(super) fn concurrency(&mut self, node: &Node) -> Option<Concurrency> {
        let fields = self.fields(node, &CONCURRENCY)?;
        let group = if let Some((node, key)) = fields.get("group") {
            self.template(node, &key)
        } else {
            let expected = "the name that runs share, like pr-${number}";
            self.problems.add(node.at, format!("key \"concurrency.group\" is missing: expected {expected}"));
            None
        };
        let max = match fields.get("max") {
            Some((node, key)) => self.count(node, &key, 1, OUTSTANDING_MAX),
            None => Some(1),
        };
        let cancel_in_progress = match fields.get("cancel_in_progress") {
            Some((node, key)) => self.flag(node, &key),
            None => Some(false),
        };
        let queue = match fields.get("queue") {
            Some((node, key)) => Some(self.count(node, &key, 0, WAITING_MAX)?),
            None => None,
        };
        Some(Concurrency { group: group?, max: max?, cancel_in_progress: cancel_in_progress?, queue })
    }

    fn flag(&mut self, node: &Node, key: &str) -> Option<bool> {
        if let Tree::Bool(flag) = node.value {
            return Some(flag);
        }
        self.wrong(node, key, "true or false");
        None
    }
}
