//! An engine on a store of its own, asked one thing a tick.

use std::collections::BTreeMap;
use std::sync::mpsc;

use dwell::engine::{Answer, Arrival, Engine, Filter, Request, Settings, Survivor};
use dwell::model::{Effect, Record, RecordId, Rejected, Time};
use dwell::store::{Durable, Local};

/// More than any of the stores holds.
pub const ALL: usize = 1_000;

/// An engine on a store, at a time.
pub struct At {
    engine: Option<Engine>,
    /// Found outstanding, at the open.
    pub survivors: Vec<Survivor>,
    /// What it wanted started since.
    pub started: Vec<(RecordId, u32)>,
}

impl At {
    pub fn open(store: Local, settings: Settings, now: Time) -> At {
        let (opening, survivors) = Engine::open(Box::new(store), settings, now).unwrap();
        let engine = Some(opening.survivors_stopped());
        At { engine, survivors: survivors.into_inner(), started: Vec::new() }
    }

    pub fn now(&self) -> Time {
        self.engine.as_ref().unwrap().now()
    }

    pub fn ask(&mut self, now: Time, request: Request) -> Result<Answer, Rejected> {
        let (answered, answer) = mpsc::channel();
        let reply = Box::new(move |said: Durable<_>| answered.send(said.into_inner()).unwrap());
        let engine = self.engine.take().unwrap();
        let (engine, released) = engine.tick(now, vec![Arrival { request, reply }]).unwrap();
        self.engine = Some(engine);
        let effects = released.effects.into_inner().into_iter();
        self.started.extend(effects.filter_map(|effect| match effect {
            Effect::Start(start) => Some((start.id, start.attempt)),
            Effect::Release { .. } | Effect::Stop { .. } | Effect::Forget { .. } => None,
        }));
        for pair in released.replies.each() {
            let (reply, answer) = pair.split();
            reply.into_inner()(answer);
        }
        answer.recv().unwrap()
    }

    pub fn records(&mut self, now: Time) -> BTreeMap<RecordId, Record> {
        let answer = self.ask(now, Request::List(Filter { limit: ALL, ..Filter::default() }));
        let Ok(Answer::Page(page)) = answer else { panic!("{answer:?}") };
        page.records.into_iter().map(|record| (record.id, std::sync::Arc::unwrap_or_clone(record))).collect()
    }
}
