//! The shortest story of a failure: steps are left out while it still fails in the same way.

use dwell::model::StateName;

use crate::life::live;
use crate::model::Violation;
use crate::script::{Setup, Step};

/// Lives that may be lived to find it.
const TRIES_MAX: usize = 1_500;

/// A failure and the shortest script that was found for it.
pub struct Story {
    pub violation: Violation,
    pub steps: Vec<Step>,
}

impl std::fmt::Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}: {}", self.violation.rule, self.violation.words)?;
        for step in &self.steps {
            writeln!(f, "    {step}")?;
        }
        Ok(())
    }
}

/// Leaves out halves, then quarters, down to single steps, and begins anew as long as that helps.
pub fn shortest(setup: &Setup, found: (Violation, Vec<Step>), never: Option<StateName>) -> Story {
    let rule = found.0.rule;
    let mut story = Story { violation: found.0, steps: found.1 };
    let mut tries = TRIES_MAX;
    loop {
        let before = story.steps.len();
        let mut length = before.div_ceil(2);
        while length > 0 {
            let mut at = 0;
            while at < story.steps.len() {
                if tries == 0 {
                    return story;
                }
                tries -= 1;
                let end = (at + length).min(story.steps.len());
                let mut fewer = story.steps.clone();
                fewer.drain(at..end);
                match live(setup, &fewer, never) {
                    Err((violation, _)) if violation.rule == rule => {
                        story = Story { violation, steps: fewer }
                    }
                    Err(_) | Ok(_) => at = end,
                }
            }
            length /= 2;
        }
        if story.steps.len() == before {
            return story;
        }
    }
}
