//! Whether dwell accepts durable writes, and what else there is to be told: the reasons of `/readyz`, which `/metrics`
//! counts as well. Absent on purpose: asking (`http::system` does), and acting on any of it.

use serde_json::{Value as Json, json};

use super::time;
use crate::engine::Status;
use crate::model::{Missing, text_enum};
use crate::store::local::Figures;

/// The most drained scopes, and the most blocked flows, that are told.
const TOLD_MAX: usize = 100;

text_enum! {
    /// What a reason is about. The first five mean that nothing new is accepted.
    Code {
        /// The engine does not answer in time, or has no room for a question.
        EngineSilent = "engine_silent",
        /// The engine has stopped.
        Stopping = "stopping",
        /// The engine takes its leave: what is outstanding may finish.
        Draining = "draining",
        /// The store's disk has too little room for new work.
        StoreFull = "store_full",
        /// Of several nodes: PostgreSQL was not reached for as long as a lease.
        StoreUnreachable = "store_unreachable",
        /// Segments of the journal cannot be kept where `store.archive` says; they stay in the journal.
        ArchiveFailing = "archive_failing",
        /// The latest reload was refused: what was loaded before is in force.
        ReloadRefused = "reload_refused",
        /// An operator drained a scope: its work is taken and not started.
        ScopeDrained = "scope_drained",
        /// A live flow lacks something: its triggers are taken and its runs cannot be carried out.
        FlowBlocked = "flow_blocked",
        /// Of several nodes: some shards have no owner now.
        ShardsFree = "shards_free",
    }
}

impl Code {
    /// Whether nothing new is accepted.
    pub const fn is_unready(self) -> bool {
        match self {
            Code::EngineSilent
            | Code::Stopping
            | Code::Draining
            | Code::StoreFull
            | Code::StoreUnreachable => true,
            Code::ArchiveFailing
            | Code::ReloadRefused
            | Code::ScopeDrained
            | Code::FlowBlocked
            | Code::ShardsFree => false,
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// For programs.
    pub code: Code,
    /// For people.
    pub detail: String,
}

impl Reason {
    /// `{"code", "detail"}`.
    pub fn document(&self) -> Json {
        json!({ "code": self.code.as_str(), "detail": self.detail })
    }
}

/// Whether new work is accepted in spite of these.
pub fn is_ready(reasons: &[Reason]) -> bool {
    !reasons.iter().any(|reason| reason.code.is_unready())
}

/// What is told of an engine that answers; what makes dwell unready first.
pub fn reasons(
    status: &Status,
    blocked: &[Missing],
    reload_refused: Option<String>,
    figures: Option<&Figures>,
) -> Vec<Reason> {
    let full = status.space.as_ref().filter(|space| space.is_short());
    let draining = status.draining_until.map(|until| format!("draining until {}", time::format(until)));
    let archive = figures.and_then(|figures| figures.archive_failure.clone());
    let drains = status.drains.iter().take(TOLD_MAX);
    let drains =
        drains.map(|drain| format!("{} is drained since {}", drain.scope, time::format(drain.since)));
    let blocked = blocked.iter().take(TOLD_MAX);
    let blocked = blocked.map(|one| format!("flow {} is live and blocked: {}", one.flow, one.why));
    let told = (draining.into_iter().map(|detail| (Code::Draining, detail)))
        .chain(full.map(|space| (Code::StoreFull, space.to_string())))
        .chain(archive.map(|detail| (Code::ArchiveFailing, detail)))
        .chain(reload_refused.map(|detail| (Code::ReloadRefused, detail)))
        .chain(drains.map(|detail| (Code::ScopeDrained, detail)))
        .chain(blocked.map(|detail| (Code::FlowBlocked, detail)));
    told.map(|(code, detail)| Reason { code, detail }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Drain, Scope, Space, Time};

    fn status(draining: bool, free: u64) -> Status {
        Status {
            now: Time::ZERO,
            counts: std::collections::BTreeMap::new(),
            admitted: 0,
            attempts_started: 0,
            attempts_ended: 0,
            outstanding: 0,
            next_deadline: None,
            draining_until: draining.then_some(Time::ZERO),
            drains: vec![Drain { scope: Scope::All, since: Time::ZERO, until: Time::ZERO }],
            ticks: 0,
            commits: 0,
            space: Some(Space { store: "s".into(), free, min_free: 10 }),
            burst: crate::engine::BurstStatus::default(),
        }
    }

    fn codes(status: &Status, beside: Option<&str>) -> (bool, Vec<&'static str>) {
        let figures = Figures { archive_failure: beside.map(str::to_owned), ..Figures::default() };
        let found = reasons(status, &[], beside.map(str::to_owned), Some(&figures));
        (is_ready(&found), found.iter().map(|reason| reason.code.as_str()).collect())
    }

    #[test]
    fn only_what_refuses_new_work_makes_it_unready() {
        assert_eq!(codes(&status(false, 10), None), (true, vec!["scope_drained"]));
        let told = (true, vec!["archive_failing", "reload_refused", "scope_drained"]);
        assert_eq!(codes(&status(false, 10), Some("x")), told);
        let full = (false, vec!["draining", "store_full", "scope_drained"]);
        assert_eq!(codes(&status(true, 9), None), full);
    }
}
