//! From a seed to a life.

use dwell::model::*;

use crate::common::Dice;
use crate::flows::{Corrupt, Delivery, NAMES};
use crate::rig::DiskFault;
use crate::script::{Say, Session, Setup, Step, When, Who};

/// Turns of a life; each is some requests, a tick, and what goes wrong around it.
const TURNS: u64 = 36;
/// Of a life on the real journal, where a commit costs a sync.
const TURNS_LOCAL: u64 = 16;
/// One life in so many is on the real journal.
const LOCAL_EVERY: u64 = 50;

const ORGS: [&str; 4] = ["o0", "o1", "o2", "o3"];
const ENVS: [&str; 2] = ["e0", "e1"];
const QUEUES: [&str; 2] = ["q1", "q2"];
const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
const ROWS: [&str; 4] = ["claude", "shell", "claude/m1", "claude/m2"];
const SCOPES: [&str; 6] = ["all", "runtime:claude", "runtime:shell", "flow:fan", "flow:newest", "org:o1"];
const DAY: u64 = 86_400_000;

/// Makes steps; what it remembers is only what it made.
struct Planner {
    dice: Dice,
    steps: Vec<Step>,
    sessions: u32,
    deliveries: Vec<Delivery>,
    redrives: u32,
    drained: Vec<&'static str>,
    setup: Setup,
}

/// The life of a seed.
pub fn plan(seed: u64) -> (Setup, Vec<Step>) {
    let mut dice = Dice(seed);
    let mut one_in = |n| dice.roll(n) == 0;
    let setup = Setup {
        ramp: one_in(2),
        by_model: one_in(2),
        retention_hours: if one_in(4) { 30 } else { 1_000_000 },
        limits_jitter_seconds: if one_in(5) { 20 } else { 0 },
        queued_max: if one_in(6) { 9 } else { 1_000 },
        env_queued_max: if one_in(6) { 4 } else { 1_000 },
        burst: one_in(3),
        mode: if one_in(6) { Mode::Shadow } else { Mode::Live },
        period_hours: if one_in(4) { 1 } else { 24 * 7 },
        decoded_max: [0, 2, 10_000][usize::try_from(seed % 3).unwrap()],
        local: (seed % LOCAL_EVERY == LOCAL_EVERY - 1).then(|| one_in(2)),
    };
    let turns = if setup.local.is_some() { TURNS_LOCAL } else { TURNS };
    let (steps, deliveries) = (Vec::new(), Vec::new());
    let mut planner =
        Planner { dice, steps, sessions: 0, deliveries, redrives: 0, drained: Vec::new(), setup };
    for _ in 0..turns {
        planner.turn();
    }
    (planner.setup, planner.steps)
}

impl Planner {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice.roll(sides)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }

    fn maybe<T: Copy>(&mut self, n: u64, all: &[T]) -> Option<T> {
        self.one_in(n).then(|| self.of(all))
    }

    fn turn(&mut self) {
        self.passes();
        match self.roll(40) {
            0 => self.crowd(),
            1 => self.volley(),
            _ => {
                for _ in 0..self.roll(5) {
                    self.request();
                }
            }
        }
        if self.one_in(3) {
            let step = Step::Claim {
                worker: self.of(&WORKERS),
                queue: self.of(&QUEUES),
                max: 2,
                wait: self.of(&[0, 30, 36_000]),
                lease: self.of(&[60, 300]),
            };
            self.steps.push(step);
        }
        if self.one_in(30) {
            let worker = self.of(&WORKERS);
            self.steps.push(Step::HangUp { worker });
        }
        self.faults();
        self.steps.push(Step::Tick);
        if self.one_in(20) {
            if self.one_in(4) {
                let reads = u32::try_from(self.roll(8)).unwrap();
                self.steps.push(Step::Unreadable(reads));
            }
            self.steps.push(Step::Crash);
        }
    }

    fn faults(&mut self) {
        let torn = self.setup.local == Some(false);
        let fault = match self.roll(16) {
            0 | 2..6 if torn => DiskFault::Torn { at: self.roll(1 << 20), garbage: self.one_in(2) },
            0 => DiskFault::Lost,
            1 => DiskFault::Landed,
            _ => return,
        };
        self.steps.push(Step::Disk(fault));
    }

    fn passes(&mut self) {
        let step = match self.roll(50) {
            0..20 => return,
            20..33 => Step::Pass(self.roll(60_000)),
            33..44 => Step::ToNext { early: self.one_in(3) },
            44..46 => Step::Pass(self.roll(7_200_000)),
            46 => Step::Pass(self.roll(DAY)),
            // A weekend, or nobody says anything for hours.
            47 if self.one_in(2) => Step::Pass(3 * DAY),
            47 => Step::Pass(3 * 3_600_000),
            48 => Step::Back(3_600_000),
            _ if self.one_in(8) => Step::Pass(365 * DAY),
            _ => Step::Back(self.roll(60_000)),
        };
        self.steps.push(step);
    }

    /// One org asks for much and another for little.
    fn crowd(&mut self) {
        let (heavy, light) = (self.of(&ORGS[..2]), self.of(&ORGS[2..]));
        let runtime = self.of(&["claude", "shell"]);
        for nth in 0..12 {
            let org = if nth % 6 == 5 { light } else { heavy };
            let session = Session { org, runtime, queue: None, model: None, ..self.session() };
            self.steps.push(Step::Submit(session));
        }
    }

    /// More triggers of one org in an instant than its gate lets through.
    fn volley(&mut self) {
        let org = self.of(&ORGS);
        for _ in 0..6 {
            let delivery = Delivery { org, items: 1, dedup: u32::MAX, ..self.delivery() };
            self.deliver(&delivery);
        }
    }

    fn request(&mut self) {
        if self.one_in(25) {
            return self.under_a_key();
        }
        let step = match self.roll(60) {
            0..9 => Step::Submit(self.session()),
            9..17 => {
                let delivery = self.delivery();
                return self.deliver(&delivery);
            }
            17..40 => Step::Report { who: self.whose(), late: self.one_in(9), say: self.says() },
            40..46 => {
                Step::Charge { who: self.whose(), late: self.one_in(9), calls: self.of(&[0, 1, 1, 2, 3]) }
            }
            46..51 => self.command(),
            51 => Step::TopUp {
                who: if self.one_in(2) { Who::Dead(self.roll(99)) } else { self.whose() },
                measure: self.of(Measure::ALL),
                amount: self.of(&[1, 5, 600_000]),
            },
            52 => {
                self.sessions += 1;
                let number = self.sessions;
                Step::Rerun { who: Who::Any(self.roll(999)), number }
            }
            53..55 => self.holds(),
            55 => Step::Mode {
                flow: self.maybe(2, &NAMES),
                mode: Some(self.of(&[Mode::Off, Mode::Shadow, Mode::Live, Mode::Live])),
            },
            56 => Step::Mode { flow: Some(self.of(&NAMES)), mode: None },
            57 => Step::RedriveAll { cause: self.maybe(2, Cause::ALL) },
            58 if self.redrives < 12 => {
                self.redrives += 1;
                let (number, per_minute) = (self.redrives, self.of(&[1, 6, 60]));
                Step::Pace { number, cause: self.maybe(3, Cause::ALL), per_minute }
            }
            58 => Step::StopPace { number: u32::try_from(self.roll(12)).unwrap() },
            _ if self.one_in(3) => Step::Stop { seconds: 30 },
            _ => Step::StopPace { number: self.redrives },
        };
        self.steps.push(step);
    }

    /// A caller that may send it twice, or use a key for two things.
    fn under_a_key(&mut self) {
        let key = u8::try_from(self.roll(12)).unwrap();
        let calls = self.roll(3).try_into().unwrap();
        let who = self.whose();
        let step = if self.one_in(2) {
            Step::Submit(self.session())
        } else {
            Step::Charge { who, late: false, calls }
        };
        for _ in 0..=self.roll(2) {
            self.steps.push(Step::Once { key });
            self.steps.push(step.clone());
            if self.one_in(2) {
                self.steps.push(Step::Tick);
            }
        }
    }

    /// Most of what is said is said by somebody who runs.
    fn whose(&mut self) -> Who {
        let nth = self.roll(999);
        if self.one_in(8) { Who::Any(nth) } else { Who::Running(nth) }
    }

    fn command(&mut self) -> Step {
        let (command, who) = match self.roll(6) {
            0..2 => (Command::Cancel, if self.one_in(2) { self.whose() } else { Who::Any(self.roll(999)) }),
            2..4 => {
                (Command::ResumeNow, if self.one_in(4) { self.whose() } else { Who::Waiting(self.roll(99)) })
            }
            _ => (Command::Redrive, if self.one_in(6) { self.whose() } else { Who::Dead(self.roll(99)) }),
        };
        Step::Command { who, command }
    }

    fn holds(&mut self) -> Step {
        match self.roll(8) {
            0 => Step::Pause { row: self.of(&ROWS), seconds: Some(self.roll(600)) },
            1 => Step::Pause { row: self.of(&ROWS), seconds: None },
            2..4 => Step::Resume { row: self.of(&ROWS) },
            4..6 => {
                let scope = self.of(&SCOPES);
                self.drained.push(scope);
                Step::Drain { scope, seconds: self.of(&[0, 600, 3_600]) }
            }
            _ => {
                let scope = self.drained.pop().filter(|_| !self.one_in(5));
                Step::Undrain { scope: scope.unwrap_or("org:o1") }
            }
        }
    }

    fn session(&mut self) -> Session {
        self.sessions += 1;
        Session {
            number: self.sessions,
            org: self.of(&ORGS),
            env: self.of(&ENVS),
            runtime: self.of(&["claude", "claude", "shell"]),
            model: self.maybe(2, &["m1", "m2"]),
            queue: self.maybe(3, &QUEUES),
            key: self.maybe(6, &[1, 2, 3]),
            group: self.maybe(5, &[(1, 1), (2, 2)]),
            budget: self.maybe(
                3,
                &[
                    (Measure::Attempts, 2),
                    (Measure::Wall, 900_000),
                    (Measure::Tokens, 60),
                    (Measure::Cost, 1_000_000),
                ],
            ),
            calls: self.maybe(2, &[2, 5]),
            ask: self.one_in(2),
            silence: self.maybe(2, &[600]),
            expires: self.maybe(3, &[600, 36_000]),
            dirge: self.one_in(6),
        }
    }

    fn delivery(&mut self) -> Delivery {
        let number = u32::try_from(self.deliveries.len()).unwrap();
        if let Some(last) = self.deliveries.len().checked_sub(1)
            && self.one_in(4)
        {
            let back = usize::try_from(self.roll(4)).unwrap().min(last);
            return Delivery { number, ..self.deliveries[last - back].clone() };
        }
        Delivery {
            number,
            dedup: number,
            event: self.of(&["push", "push", "pull_request", "pull_request", "release"]),
            org: self.of(&ORGS),
            n: self.roll(3),
            items: self.roll(4),
            corrupt: self.of(&[
                Corrupt::Not,
                Corrupt::Not,
                Corrupt::Not,
                Corrupt::Not,
                Corrupt::Not,
                Corrupt::NoName,
                Corrupt::NoJson,
            ]),
            spool: !self.one_in(3),
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let number = u32::try_from(self.deliveries.len()).unwrap();
        let dedup = if delivery.dedup == u32::MAX { number } else { delivery.dedup };
        let delivery = Delivery { number, dedup, ..delivery.clone() };
        self.deliveries.push(delivery.clone());
        self.steps.push(Step::Deliver(delivery));
    }

    fn when(&mut self) -> When {
        match self.roll(8) {
            0 => When::Nothing,
            1 => When::NoTime,
            2 => When::Past,
            3 => When::Never,
            4 => When::Overage(self.roll(7200), self.roll(7200)),
            _ => When::In(self.roll(7200)),
        }
    }

    fn says(&mut self) -> Say {
        match self.roll(40) {
            0..7 => Say::Spawned,
            7..10 => Say::Heartbeat,
            10 => Say::Session,
            11..17 => Say::Succeeded,
            17..21 => Say::Bad("failed", self.of(&["exit_1", "exit_1", "exit_75", "budget_exhausted"])),
            21..23 => Say::Bad("timed_out", "timed_out"),
            23..25 => Say::Bad("throttled", self.of(&["busy", "exit_75"])),
            25..27 => Say::Bad("unavailable", "refused"),
            27 => Say::Bad("invalid", "no"),
            28 => Say::Bad("needs_operator", "401"),
            29 => Say::Bad("not_resumable", "gone"),
            30 => Say::Bad("ingestion_failed", "broken"),
            31..34 => Say::RateLimited(self.when()),
            34 => Say::Warning(self.when()),
            35..37 => Say::Cleared,
            _ => Say::Usage {
                tokens: self.of(&[0, 10, 40]),
                cost: self.of(&[0, 300_000]),
                of_end: self.one_in(3),
            },
        }
    }
}
