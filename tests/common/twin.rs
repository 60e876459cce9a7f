//! Two stores that are told the same: every answer of a shard of a real PostgreSQL is held against memory's, so a script that
//! passes on it has passed on both.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dwell::fixture::Postgres;
use dwell::model::Space;
use dwell::store::postgres::{Member, Server, Shard, Shards, migrate};
use dwell::store::{Backend, Batch, Direction, History, Memory, Pair, StoreError};

/// As many worlds as the tests of one file make.
const SHARDS: u32 = 1024;

thread_local! {
    static SERVER: RefCell<Option<Rc<Shards>>> = const { RefCell::new(None) };
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

/// Runs these with every world of theirs on PostgreSQL as well. Without one on this machine it says so.
pub fn on_postgres(scripts: &[fn()]) {
    let Some(postgres) = Postgres::start_or_skip(None).unwrap() else { return };
    let server = Server::of(&postgres.url("postgres"), None, None).unwrap();
    migrate(&server, SHARDS).unwrap();
    let member = Member {
        name: "scripts".to_owned(),
        address: String::new(),
        lease: Duration::from_mins(10),
        history_age_max: Duration::from_hours(24),
    };
    let shards = Shards::open(server, member, Box::new(drop)).unwrap();
    SERVER.set(Some(Rc::new(shards)));
    for script in scripts {
        script();
    }
    let (made, _) = (NEXT.get(), SERVER.take());
    assert!(made > 0, "no world was on it");
}

/// The shard of a world, if worlds have one.
#[derive(Clone)]
pub struct Place {
    shards: Rc<Shards>,
    number: u32,
    /// Of whoever opened it last.
    epoch: Rc<Cell<u64>>,
}

impl Place {
    pub fn next() -> Option<Place> {
        let shards = SERVER.with_borrow(Clone::clone)?;
        let number = NEXT.replace(NEXT.get() + 1);
        Some(Place { shards, number, epoch: Rc::default() })
    }

    /// Takes the shard anew, as whoever opens it after a crash does.
    pub fn open(&self, memory: Memory) -> Twin {
        self.shards.give_back(self.number, self.epoch.get()).unwrap();
        let shard = self.shards.take(self.number).unwrap().expect("the engine before is gone");
        self.epoch.set(shard.epoch());
        Twin { memory, shard }
    }
}

pub struct Twin {
    memory: Memory,
    shard: Shard,
}

impl Backend for Twin {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let (memory, shard) = (self.memory.get(key)?, self.shard.get(key)?);
        assert_eq!(shard, memory);
        Ok(shard)
    }

    fn scan(&self, from: &[u8], to: &[u8], way: Direction, limit: usize) -> Result<Vec<Pair>, StoreError> {
        let (memory, shard) =
            (self.memory.scan(from, to, way, limit)?, self.shard.scan(from, to, way, limit)?);
        assert_eq!(shard, memory);
        Ok(shard)
    }

    /// What fails in memory fails here: before it landed, or after.
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        let before = self.memory.history().newest();
        let committed = self.memory.commit(batch.clone());
        if self.memory.history().newest() > before {
            self.shard.commit(batch).unwrap();
        }
        committed
    }

    fn look(&mut self) -> Result<Option<Space>, StoreError> {
        self.memory.look()
    }

    fn history(&self) -> Arc<dyn History> {
        self.shard.history()
    }
}
