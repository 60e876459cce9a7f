//! The end of a life: once nothing is in its way, everything in it comes to an end.

use std::time::Duration;

use dwell::engine::check::check;
use dwell::model::*;
use dwell::store::Findings;
use dwell::store::local::check::Watch;

use crate::asks::{Ask, Row};
use crate::life::Life;
use crate::model::{Held, Violation, must};
use crate::rules::Rec;

const HOUR: Duration = Duration::from_secs(3600);
/// Rounds in which it must.
const ROUNDS_MAX: usize = 2_000;

/// Nobody looks on.
struct Unwatched;

impl Watch for Unwatched {
    fn progress(&mut self, _: &str) {}

    fn event(&mut self, _: u64, _: &[u8], _: &mut Findings) {}
}

impl Life {
    /// `dwell check` finds nothing to say of the store.
    fn rows_agree(&self) -> Held {
        let Some(rows) = self.rig.rows() else { return Ok(()) };
        let mut findings = Findings::default();
        check(&rows, &self.policy, &mut Unwatched, &mut findings).unwrap();
        must!(findings.kept().is_empty(), "a store is clean by dwell check", "{:?}", findings.kept());
        Ok(())
    }

    /// Once nothing is in its way, everything comes to an end: nothing waits for what never comes.
    pub fn settle(&mut self) -> Held {
        self.rig.heal();
        self.rows_agree()?;
        if self.model.holds.stopping {
            self.reopen(None)?;
        }
        self.asks =
            self.model.holds.drains.iter().map(|scope| Ask::Undrain { scope: scope.clone() }).collect();
        let rows = self.model.holds.windows.iter().filter(|(_, window)| window.paused.is_some());
        let rows = rows.map(|(name, _)| match Runtime::model_of(name) {
            Some((runtime, model)) => Row { runtime: runtime.into(), model: Some(model.into()) },
            None => Row { runtime: name.clone(), model: None },
        });
        self.asks.extend(rows.map(|row| Ask::Resume { row }));
        for round in 0..ROUNDS_MAX {
            let done = |(id, rec): (RecordId, &Rec)| {
                let report = Report::Succeeded { result: None };
                Ask::Report { id, attempt: rec.attempt, report }
            };
            let ended: Vec<Ask> = self.model.outstanding().map(done).collect();
            if ended.is_empty() && round > 1 {
                let over = |rec: &Rec| rec.finished() || rec.state == StateName::DeadLettered;
                if self.model.records.values().all(over) && self.model.calm.is_empty() {
                    return Ok(());
                }
                let step = self.model.now.after(Duration::from_secs(1));
                let next = if self.model.idle().is_some() { Some(step) } else { self.model.next_change() };
                let next = next.unwrap_or(step);
                self.rig.clock = self.rig.clock.max(next);
            }
            self.asks.extend(ended);
            for queue in ["q1", "q2"] {
                self.claim(queue, queue, 9, HOUR * 10, HOUR);
            }
            self.tick()?;
            if round % 8 == 0 {
                self.look()?;
            }
        }
        let left: Vec<_> = self.model.records.iter().filter(|(_, rec)| !rec.finished()).collect();
        Err(Violation { rule: "everything comes to an end", words: format!("{left:?}") })
    }
}
