//! Reads a shard that was taken, with nothing left of what an earlier owner on this machine started in it, and lets it tick.

use std::path::Path;

use anyhow::bail;
use crossbeam_channel::Sender;

use super::Event;
use crate::engine::{self, Pool};
use crate::shell::address;
use crate::shell::clock::Clock;
use crate::shell::shard::{Common, News, Opened, Own, Shard};
use crate::store::postgres;
use crate::store::transfer::is_unfinished;

pub(super) fn open(
    common: &Common,
    pool: &Pool,
    shard: engine::Shard,
    backend: postgres::Shard,
    tell: &Sender<Event>,
) -> anyhow::Result<Shard> {
    if is_unfinished(&backend)? {
        bail!("an import into this store was cut off: make the store anew, and import again");
    }
    let epoch = backend.epoch();
    let settings = engine::Settings { pool: Some(pool.clone()), ..common.config.settings(shard) };
    let own = Own {
        store: address::store_header(&common.data),
        mark: mark(&common.data, shard.number),
        clock: Clock::System,
        figures: Box::new(|| None),
        backups: None,
    };
    let opened = Opened::open(common, own, backend, settings)?;
    pool.join(shard.number, opened.handle().clone());
    let ends = Ends { tell: tell.clone(), shard: shard.number, epoch };
    opened.start(Box::new(move |news| {
        let event = match news {
            News::Drained => Event::Drained(ends.shard),
            News::Window(row) => Event::Window(Some(ends.shard), row.clone()),
        };
        ends.tell.send(event).ok();
    }))
}

/// In the environment of every attempt of a shard; the number stands last, so that a node's own all begin alike.
pub(super) fn mark(data: &Path, shard: u32) -> String {
    format!("{}{shard}", node_mark(data))
}

pub(super) fn node_mark(data: &Path) -> String {
    format!("{}#", data.display())
}

/// Says of an engine's end when it is dropped, however that came.
struct Ends {
    tell: Sender<Event>,
    shard: u32,
    epoch: u64,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.tell.send(Event::Ended(self.shard, self.epoch)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_of_a_node_begin_alike_and_no_other_node_s_do() {
        let (a, ab) = (Path::new("/a"), Path::new("/a/b"));
        assert!(mark(a, 1).starts_with(&node_mark(a)) && !mark(ab, 1).starts_with(&node_mark(a)));
        assert_ne!(mark(a, 1), mark(a, 11));
    }
}
