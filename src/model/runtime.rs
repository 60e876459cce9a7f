//! A runtime's durable rows: its pauses, the account's and those of single models. How it is started and its concurrency
//! are configuration.

use super::{Name, Pause, Time};

/// The longest name of a model.
pub const MODEL_BYTES_MAX: usize = 128;

/// The durable part of a named provider account, or of one model there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Its name in the configuration, or that of a model there ([`Runtime::of_model`]).
    pub name: Name,
    /// The provider's window, by report.
    pub limited: Option<Pause>,
    /// An operator's pause; [`Time::MAX`] is until resumed. No provider report touches it.
    pub paused_until: Option<Time>,
    /// When it was last opened before a pause was over.
    pub reopened_at: Option<Time>,
}

impl Runtime {
    /// A runtime that nothing holds.
    pub const fn open(name: Name) -> Runtime {
        Runtime { name, limited: None, paused_until: None, reopened_at: None }
    }

    /// The name of a model's row: `claude/opus`. A runtime's own name has no slash, a model's may.
    pub fn of_model(runtime: &str, model: &str) -> Name {
        format!("{runtime}/{model}").into()
    }

    /// The runtime and model of a model's row.
    pub fn model_of(row: &str) -> Option<(&str, &str)> {
        row.split_once('/')
    }

    /// Whether a text can be a model: it becomes an argument of an agent's program, so it must not look like a flag.
    pub fn is_model(text: &str) -> bool {
        let sized = (1..=MODEL_BYTES_MAX).contains(&text.len());
        sized && !text.starts_with('-') && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// When it was last let go by then: a pause was over, or was ended. `None`: it never was held.
    pub fn opened_at(&self, now: Time) -> Option<Time> {
        let limited = self.limited.map(|pause| pause.limit.until);
        [limited, self.paused_until, self.reopened_at].into_iter().flatten().filter(|at| *at <= now).max()
    }

    /// With its window open at `now`. A window that opened by itself before is left as it is: nobody learns anything.
    #[must_use]
    pub fn cleared(self, now: Time) -> Runtime {
        if self.limited.is_none_or(|pause| pause.limit.until <= now) {
            return self;
        }
        Runtime { limited: None, reopened_at: Some(now), ..self }
    }

    /// With both kinds of pause over at `now`, if it has not been open before.
    #[must_use]
    pub fn resumed(self, now: Time) -> Runtime {
        if self.held_until(now).is_none() {
            return self;
        }
        Runtime { limited: None, paused_until: None, reopened_at: Some(now), ..self }
    }

    /// With what another shard's row knows of the same window: the later end of a limit, unless that was told before
    /// somebody opened the window; and that it was opened, if the limit was told before that. Rows that learn of each
    /// other say the same in the end, in whichever order. An operator's pause is told to every shard by itself.
    #[must_use]
    pub fn learned(self, other: &Runtime) -> Runtime {
        let cleared = |by: &Runtime, pause: &Pause| {
            by.limited.as_ref() != Some(pause) && by.reopened_at.is_some_and(|at| at > pause.since)
        };
        let own = self.limited.filter(|pause| !cleared(other, pause));
        let told = other.limited.filter(|pause| !cleared(&self, pause));
        let limited = [own, told].into_iter().flatten().max_by_key(|pause| (pause.limit.until, pause.since));
        Runtime { limited, reopened_at: self.reopened_at.max(other.reopened_at), ..self }
    }

    /// Until when nothing may start on it, if that is after `now`.
    pub fn held_until(&self, now: Time) -> Option<Time> {
        let limited = self.limited.map(|pause| pause.limit.until);
        limited.max(self.paused_until).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Limit, Source};

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn held(limited: Option<u64>, paused: Option<u64>) -> Runtime {
        let pause = |until| Pause {
            limit: Limit { until: at(until), source: Source::Told },
            since: Time::ZERO,
            by: None,
        };
        Runtime { limited: limited.map(pause), paused_until: paused.map(at), ..Runtime::open("r".into()) }
    }

    #[test]
    fn a_models_row_names_both() {
        let row = Runtime::of_model("open", "anthropic/claude-opus");
        assert_eq!(Runtime::model_of(&row), Some(("open", "anthropic/claude-opus")));
        assert_eq!(Runtime::model_of("open"), None);
    }

    #[test]
    fn a_model_is_a_word_that_no_program_takes_for_a_flag() {
        for model in ["opus", "anthropic/claude-opus-4.5", "ollama/gemma4:latest"] {
            assert!(Runtime::is_model(model), "{model}");
        }
        for text in ["", "-p", "--model", "two words", "tab\t", "é", &"m".repeat(MODEL_BYTES_MAX + 1)] {
            assert!(!Runtime::is_model(text), "{text}");
        }
    }

    #[test]
    fn it_opened_when_the_last_pause_that_is_over_was() {
        assert_eq!(held(None, None).opened_at(at(9)), None);
        assert_eq!(held(Some(5), Some(3)).opened_at(at(9)), Some(at(5)));
        assert_eq!(held(Some(5), Some(10)).opened_at(at(9)), Some(at(5)));
        assert_eq!(held(Some(10), None).opened_at(at(9)), None);
    }

    #[test]
    fn what_ends_a_pause_before_its_time_is_the_moment_it_opened() {
        let cleared = held(Some(20), Some(30)).cleared(at(9));
        assert_eq!((cleared.held_until(at(9)), cleared.opened_at(at(9))), (Some(at(30)), Some(at(9))));
        let resumed = held(Some(20), Some(30)).resumed(at(9));
        assert_eq!((resumed.held_until(at(9)), resumed.opened_at(at(9))), (None, Some(at(9))));
    }

    #[test]
    fn rows_that_learn_of_each_other_say_the_same() {
        let opened = |millis| Runtime { reopened_at: Some(at(millis)), ..held(None, None) };
        let told = |until, since| {
            let mut row = held(Some(until), None);
            row.limited = row.limited.map(|pause| Pause { since: at(since), ..pause });
            row
        };
        for (a, b, expected) in [
            (held(Some(20), None), held(Some(30), None), Some(at(30))),
            (held(Some(20), None), held(None, None), Some(at(20))),
            (held(Some(20), None), opened(5), None),
            (told(20, 7), opened(5), Some(at(20))),
            (told(20, 7), told(20, 8), Some(at(20))),
            // What was let go is not taken up again, though there is another limit since.
            (Runtime { reopened_at: Some(at(5)), ..told(20, 6) }, told(30, 1), Some(at(20))),
            // It was let go of something else.
            (Runtime { reopened_at: Some(at(8)), ..told(20, 7) }, told(20, 7), Some(at(20))),
        ] {
            let (there, back) = (a.clone().learned(&b), b.clone().learned(&a));
            assert_eq!(there, back);
            assert_eq!((there.held_until(at(9)), there.clone().learned(&back)), (expected, there));
        }
        let paused = held(None, Some(30));
        assert_eq!(held(None, None).learned(&paused), held(None, None), "it is the operator's");
    }

    #[test]
    fn what_is_open_already_opened_then() {
        let row = held(Some(5), None);
        assert_eq!(row.clone().cleared(at(9)), row);
        assert_eq!(row.clone().resumed(at(9)), row);
        assert_eq!(held(None, None).resumed(at(9)), Runtime::open("r".into()));
    }
}
