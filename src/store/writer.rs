//! Persist before notify, as a type: what leaves the engine is a [`Durable`], and only a commit makes one.

use super::{Backend, Batch, StoreError};
use crate::model::Space;

/// Proof that what decided `T` is on stable storage. There is no public constructor and no `map`: a [`Writer`]'s
/// successful commit is the only maker.
///
/// ```compile_fail
/// let early = dwell::store::Durable(7);
/// ```
///
/// ```compile_fail
/// let early = dwell::store::Durable::new(7);
/// ```
#[derive(Debug)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    /// Hands out what may now be released.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// Looks at it.
    pub const fn get(&self) -> &T {
        &self.0
    }
}

impl<A, B> Durable<(A, B)> {
    /// Both halves, each as durable as the pair was.
    pub fn split(self) -> (Durable<A>, Durable<B>) {
        let (a, b) = self.0;
        (Durable(a), Durable(b))
    }
}

impl<T> Durable<Vec<T>> {
    /// Each element, as durable as the list was.
    pub fn each(self) -> impl Iterator<Item = Durable<T>> {
        self.0.into_iter().map(Durable)
    }
}

/// What is owed for a commit on its way to stable storage: nothing, until [`Writer::landed`] has made it durable.
#[derive(Debug)]
#[must_use]
pub struct Begun<T> {
    owed: T,
    /// How many commits had begun with it.
    nth: usize,
}

/// The one owner of a backend. A commit consumes it and gives it back only on success, so after a failed one nobody can
/// write.
pub struct Writer {
    backend: Box<dyn Backend>,
    /// Commits begun.
    begun: usize,
}

impl Writer {
    /// Owns `backend`, which has recovered and synced all it will answer from; so what is read from it is durable.
    pub fn open(backend: Box<dyn Backend>) -> Writer {
        Writer { backend, begun: 0 }
    }

    /// The committed bytes.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// How much room there is for more, if that is known.
    pub fn look(&mut self) -> Result<Option<Space>, StoreError> {
        self.backend.look()
    }

    /// Makes `batch` durable, and with it whatever was `owed` for it. An empty batch needs no write: what it owes
    /// follows from what was committed before.
    pub fn commit<T>(mut self, batch: Batch, owed: T) -> Result<(Writer, Durable<T>), StoreError> {
        if batch.is_empty() {
            self.backend.landed(0)?;
        } else {
            self.backend.commit(batch)?;
            self.begun += 1;
        }
        Ok((self, Durable(owed)))
    }

    /// Begins to make `batch` durable; what was `owed` for it is held back until it is.
    pub fn begin<T>(mut self, batch: Batch, owed: T) -> Result<(Writer, Begun<T>), StoreError> {
        if !batch.is_empty() {
            self.backend.begin(batch)?;
            self.begun += 1;
        }
        let nth = self.begun;
        Ok((self, Begun { owed, nth }))
    }

    /// Waits until what was begun is durable, and all before it.
    pub fn landed<T>(mut self, begun: Begun<T>) -> Result<(Writer, Durable<T>), StoreError> {
        self.backend.landed(self.begun - begun.nth)?;
        Ok((self, Durable(begun.owed)))
    }
}
