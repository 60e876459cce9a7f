//! What was acknowledged to the soak's clients, and what was asked and never answered. The crash fixture's ledger keeps
//! every document that it was shown; this one is for hours of load, so it keeps a few words of each life and forgets it
//! once retention may have.
//!
//! Absent on purpose: requests (`load`, `compare`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use dwell::fixture::{Fault, Verdict};

/// `[retention] finished` of the server.
pub const FINISHED_FOR: Duration = Duration::from_secs(60);

/// What a client says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Succeeded,
    Unavailable,
    Limited,
}

/// Where an acknowledged answer left a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// No attempt of it is outstanding.
    Waits,
    /// A client holds its attempt.
    Held,
    /// Its attempt was given out with an answer that never came.
    Adrift,
    /// Its success was reported then, or later.
    Done(Instant),
}

#[derive(Debug)]
struct Life {
    attempt: u64,
    stand: Stand,
    /// Said of its attempt, and not answered.
    open: Option<Said>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Ledger {
    lives: BTreeMap<String, Life>,
    /// Those that are done, oldest first.
    done: VecDeque<(Instant, String)>,
    /// Numbers of lives that were asked for, without an answer.
    pub creates: BTreeSet<u64>,
    /// Attempts that claims without an answer may have been given.
    pub claims: u64,
    admitted: u64,
    started: u64,
    pub completed: u64,
    pub verdict: Verdict,
}

impl Ledger {
    pub fn created(&mut self, number: u64, id: &str) {
        self.creates.remove(&number);
        self.acknowledge("created");
        self.life(id);
    }

    /// Another connection's claim may be read before the answer that made the life.
    fn life(&mut self, id: &str) -> &mut Life {
        let admitted = &mut self.admitted;
        self.lives.entry(id.to_owned()).or_insert_with(|| {
            *admitted += 1;
            Life { attempt: 0, stand: Stand::Waits, open: None }
        })
    }

    /// A claim gave out an attempt: the next one, and of a life that nobody holds.
    pub fn claimed(&mut self, id: &str, attempt: u64) {
        let life = self.life(id);
        let before = format!("attempt {}, {:?}", life.attempt, life.stand);
        let lawful = matches!(life.stand, Stand::Waits | Stand::Adrift) && attempt == life.attempt + 1;
        (life.attempt, life.stand) = (attempt, Stand::Held);
        self.started += 1;
        self.acknowledge("claimed");
        if !lawful {
            self.double(id, before, format!("attempt {attempt} was given out"));
        }
    }

    pub fn reporting(&mut self, id: &str, said: Said) {
        self.life(id).open = Some(said);
    }

    /// The report that was sent at `asked` was answered.
    pub fn reported(&mut self, id: &str, said: Said, asked: Instant) {
        self.acknowledge("reported");
        self.settle(id, said, asked);
    }

    /// What was said of the attempt holds.
    fn settle(&mut self, id: &str, said: Said, asked: Instant) {
        let life = self.life(id);
        life.open = None;
        life.stand = if said == Said::Succeeded { Stand::Done(asked) } else { Stand::Waits };
        if said == Said::Succeeded {
            self.completed += 1;
            self.done.push_back((asked, id.to_owned()));
        }
    }

    fn acknowledge(&mut self, what: &'static str) {
        *self.verdict.acknowledged.entry(what).or_default() += 1;
    }

    pub fn lost(&mut self, of: &str, acknowledged: impl Into<String>, found: impl Into<String>) {
        let (acknowledged, found) = (acknowledged.into(), found.into());
        self.verdict.lost.push(Fault { of: of.to_owned(), acknowledged, found });
    }

    fn double(&mut self, of: &str, acknowledged: String, found: String) {
        self.verdict.double.push(Fault { of: of.to_owned(), acknowledged, found });
    }

    /// Forgets what retention may drop at `now`.
    pub fn forget(&mut self, now: Instant) {
        while let Some((_, id)) = self.done.pop_front_if(|(asked, _)| *asked + FINISHED_FOR <= now) {
            self.lives.remove(&id);
        }
    }

    /// Holds every life against what is there: state and attempt by id, all of it read before `now`. No request is under
    /// way. Answers the attempts that their clients hold.
    pub fn compare(&mut self, found: &BTreeMap<String, (String, u64)>, now: Instant) -> Vec<(String, u64)> {
        self.forget(now);
        for (id, (state, attempt)) in found {
            // What retention has not dropped yet was forgotten here already.
            if !self.lives.contains_key(id) && state != "completed" {
                self.lost(id, "nobody made it", format!("{state} attempt {attempt}"));
            }
        }
        let mut held = Vec::new();
        for id in self.lives.keys().cloned().collect::<Vec<_>>() {
            self.verdict.compared += 1;
            let Some((state, attempt)) = found.get(&id) else {
                let acknowledged = format!("{:?}", self.life(&id));
                self.lost(&id, acknowledged, "it is not there");
                continue;
            };
            if self.goes_on(&id, state, *attempt, now) {
                held.push((id, *attempt));
            }
        }
        self.verdict.unanswered += self.claims;
        self.claims = 0;
        held
    }

    /// Whether its client holds it still.
    fn goes_on(&mut self, id: &str, state: &str, attempt: u64, now: Instant) -> bool {
        let life = self.life(id);
        let acknowledged = format!("{life:?}");
        let (before, stand, open) = (life.attempt, life.stand, life.open.take());
        self.verdict.unanswered += u64::from(open.is_some());
        let waits = matches!(state, "queued" | "backoff" | "rate_limited");
        let given = state == "active" && attempt == before + 1 && self.claims > 0;
        let same = attempt == before;
        match (stand, open) {
            (Stand::Done(_), _) if same && state == "completed" => return false,
            (Stand::Held, _) if same && state == "active" => return true,
            (Stand::Held, Some(Said::Succeeded)) if same && state == "completed" => {
                self.settle(id, Said::Succeeded, now);
                return false;
            }
            (Stand::Held, Some(said @ (Said::Unavailable | Said::Limited))) if same && waits => {
                self.settle(id, said, now);
                return false;
            }
            (Stand::Waits, _) if same && waits => return false,
            (Stand::Adrift, _) if same && (waits || state == "active") => return false,
            (Stand::Waits | Stand::Adrift, _) | (Stand::Held, Some(Said::Unavailable | Said::Limited))
                if given =>
            {
                let life = self.life(id);
                (life.attempt, life.stand) = (attempt, Stand::Adrift);
                self.claims -= 1;
                self.started += 1;
                return false;
            }
            _ => {}
        }
        let found = format!("{state} attempt {attempt}");
        if attempt > before {
            self.double(id, acknowledged, found);
        } else {
            self.lost(id, acknowledged, found);
        }
        false
    }

    /// The server's own sums since the store was made: admitted, started, completed. They are the ledger's.
    pub fn sums(&mut self, told: [u64; 3]) {
        let counted = [self.admitted, self.started, self.completed];
        if told != counted {
            let what = "admitted, started, completed";
            self.lost("status", format!("{what}: {counted:?}"), format!("{told:?}"));
        }
    }
}
