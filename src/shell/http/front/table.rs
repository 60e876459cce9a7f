//! Which shards tick here, and who owns the others. Absent on purpose: the looks; `shell::cluster` keeps it current.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use axum::Router;
use tokio::time::sleep;

use super::super::{Shared, bare};
use crate::shell::metrics;
use crate::store::postgres::View;

/// How often it is looked for a change; the table changes about as often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is where, as far as this node knows.
#[derive(Default)]
pub struct Table {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    local: BTreeMap<u32, Local>,
    view: Arc<View>,
    looked: Option<Instant>,
}

/// A shard that ticks here.
#[derive(Clone)]
struct Local {
    shared: Arc<Shared>,
    router: Router,
}

impl Table {
    /// A shard answers here from now on.
    pub fn open(&self, shard: u32, shared: Arc<Shared>) {
        let local = Local { router: bare(Arc::clone(&shared)), shared };
        self.known.write().unwrap_or_else(PoisonError::into_inner).local.insert(shard, local);
    }

    /// A shard answers here no more; who waits for something of it is let go.
    pub fn close(&self, shard: u32) {
        let gone = self.known.write().unwrap_or_else(PoisonError::into_inner).local.remove(&shard);
        if let Some(gone) = gone {
            gone.shared.feed.close();
        }
    }

    /// Who owns what, by the latest look.
    pub fn look(&self, view: View) {
        self.seen(view, metrics::now());
    }

    pub(super) fn seen(&self, view: View, at: Instant) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        (known.view, known.looked) = (Arc::new(view), Some(at));
    }

    /// When that was.
    pub(super) fn looked(&self) -> Option<Instant> {
        self.known().looked
    }

    /// The latest look.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.known().view)
    }

    /// The shards that tick here.
    pub fn local(&self) -> Vec<(u32, Arc<Shared>)> {
        self.known().local.iter().map(|(shard, local)| (*shard, Arc::clone(&local.shared))).collect()
    }

    pub(super) fn router(&self, shard: u32) -> Option<Router> {
        self.known().local.get(&shard).map(|local| local.router.clone())
    }

    pub(super) fn owner(&self, shard: u32) -> Option<String> {
        let known = self.known();
        let owned = known.view.shards.iter().find(|owned| owned.shard == shard)?;
        owned.owner.as_ref().map(|owner| owner.address.clone())
    }

    /// Ends once the owner of a shard is another than who is reached at `address`, or there is none.
    pub(super) async fn moved(self: Arc<Table>, shard: u32, address: String) {
        while self.owner(shard).as_ref() == Some(&address) {
            sleep(LOOK_EVERY).await;
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}
