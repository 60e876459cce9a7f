//! A backend whose commits are timed, so that the engine need not know that anybody looks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{Metrics, now};
use crate::model::Space;
use crate::store::{Backend, Batch, Direction, History, Pair, StoreError};

/// Another backend, with the time each of its commits takes in [`Metrics`].
pub struct Timed<B> {
    backend: B,
    metrics: Arc<Metrics>,
    /// When the commits on their way began.
    begun: VecDeque<Instant>,
}

impl<B> Timed<B> {
    /// Around `backend`.
    pub const fn new(backend: B, metrics: Arc<Metrics>) -> Timed<B> {
        Timed { backend, metrics, begun: VecDeque::new() }
    }
}

impl<B: Backend> Backend for Timed<B> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.backend.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.backend.scan(from, to, direction, limit)
    }

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.landed(0)?;
        let begun = now();
        let committed = self.backend.commit(batch);
        self.metrics.commit.observe(begun.elapsed().as_secs_f64());
        committed
    }

    fn begin(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.begun.push_back(now());
        self.backend.begin(batch)
    }

    fn landed(&mut self, left: usize) -> Result<(), StoreError> {
        let landed = self.backend.landed(left);
        while self.begun.len() > left {
            if let Some(begun) = self.begun.pop_front() {
                self.metrics.commit.observe(begun.elapsed().as_secs_f64());
            }
        }
        landed
    }

    fn look(&mut self) -> Result<Option<Space>, StoreError> {
        self.backend.look()
    }

    fn history(&self) -> Arc<dyn History> {
        self.backend.history()
    }
}
