//! What a node says of itself when it is asked whether it is ready; its shards say the rest.

use std::time::Duration;

use super::Table;
use crate::shell::ready::{Code, Reason};
use crate::shell::{metrics, time};

/// A node looks once a second. One that has not seen for so long who owns what answers for nobody.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn reasons(node: &str, table: &Table) -> Vec<Reason> {
    let view = table.view();
    let age = table.looked().map(|at| metrics::now().saturating_duration_since(at));
    let unreachable = match age {
        None => Some("who owns what was not seen yet".to_owned()),
        Some(age) if age > SEEN_WITHIN => Some(format!(
            "who owns what was last seen {} ago",
            time::format_span(Duration::from_secs(age.as_secs()))
        )),
        Some(_) => None,
    };
    let is_there = view.nodes.iter().any(|known| known.name == node);
    // Every look of a node that stays finds it among the others.
    let stopping = (age.is_some() && !is_there).then(|| "this node takes its leave of the others".to_owned());
    let free: Vec<String> = (view.shards.iter())
        .filter(|owned| owned.owner.is_none() && table.router(owned.shard).is_none())
        .map(|owned| owned.shard.to_string())
        .collect();
    let free = (!free.is_empty()).then(|| format!("shards without an owner: {}", free.join(", ")));
    [(Code::StoreUnreachable, unreachable), (Code::Stopping, stopping), (Code::ShardsFree, free)]
        .into_iter()
        .filter_map(|(code, detail)| Some(Reason { code, detail: detail? }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::{Node, Owned, View};

    #[test]
    fn a_node_is_ready_that_sees_itself_among_the_others() {
        let table = Table::default();
        let codes = || reasons("here", &table).iter().map(|reason| reason.code).collect::<Vec<_>>();
        assert_eq!(codes(), [Code::StoreUnreachable]);
        let node = |name: &str| Node { name: name.to_owned(), address: String::new() };
        let view = |nodes: &[&str], owner| View {
            shards: vec![Owned { shard: 0, epoch: 1, sequence: 1, owner, left: 0 }],
            nodes: nodes.iter().map(|name| node(name)).collect(),
        };
        table.look(view(&["here", "there"], Some(node("there"))));
        assert_eq!(codes(), []);
        table.look(view(&["here"], None));
        assert_eq!(codes(), [Code::ShardsFree]);
        assert!(!Code::ShardsFree.is_unready() && Code::StoreUnreachable.is_unready());
        table.look(view(&["there"], Some(node("there"))));
        assert_eq!(codes(), [Code::Stopping]);
    }

    #[test]
    fn a_node_that_has_seen_nothing_for_long_answers_for_nobody() {
        let table = Table::default();
        let long_ago = metrics::now().checked_sub(2 * SEEN_WITHIN);
        let Some(long_ago) = long_ago else { return };
        let node = crate::store::postgres::Node { name: "here".to_owned(), address: String::new() };
        table.seen(View { shards: Vec::new(), nodes: vec![node] }, long_ago);
        let told = reasons("here", &table);
        assert_eq!((told.len(), told[0].code), (1, Code::StoreUnreachable));
        assert_eq!(told[0].detail, "who owns what was last seen 20s ago");
    }
}
