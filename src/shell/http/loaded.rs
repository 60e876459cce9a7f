//! What was loaded from configuration and flow files, and may be loaded anew while requests are under way: each request
//! sees one loading, whole.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Expand, FlowRow, MissingNow, Prompts, Source};
use crate::model::{Name, Time};

/// One loading.
pub struct Loaded {
    /// By the name in `/hooks/{source}`.
    pub sources: BTreeMap<Name, Source>,
    /// As they were loaded.
    pub flows: Vec<FlowRow>,
    /// Looks anew each time; it reads files.
    pub missing: MissingNow,
    /// `flow::Flow`s, applied.
    pub expand: Expand,
    /// What whoever claims an attempt tells an agent of its own.
    pub prompts: Prompts,
}

/// A reload that was asked for: when, and what was wrong if it changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When it was decided.
    pub at: Time,
    /// All that was wrong, a line each; then what was loaded before goes on.
    pub refused: Option<String>,
}

/// The loading that is in force, and the last reload; clones are the same.
#[derive(Clone)]
pub struct Current(Arc<RwLock<(Arc<Loaded>, Option<Reload>)>>);

impl Current {
    /// The first one.
    pub fn new(loaded: Loaded) -> Current {
        Current(Arc::new(RwLock::new((Arc::new(loaded), None))))
    }

    /// The one in force, for as long as the caller needs it.
    pub fn get(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// From now on, this one.
    pub fn replace(&self, loaded: Loaded) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).0 = Arc::new(loaded);
    }

    /// Keeps what became of a reload.
    pub fn tell(&self, reload: Reload) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).1 = Some(reload);
    }

    /// What became of the last one.
    pub fn last_reload(&self) -> Option<Reload> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}
