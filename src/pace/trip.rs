//! The trip evaluator: whether an env of an org calls faster than it may, over a sliding window.
//!
//! Call `threshold + 1` within any `window` trips its env for `hold`. Only calls that did not trip are counted, so when
//! the hold ends the env is judged by what was let through, and what was turned away can never keep it shut. The window
//! is half open: a call exactly `window` old has left it. Absent on purpose: clocks and timers; what is over is dropped
//! by later calls.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{Name, Time};

/// Envs watched at once. At the default threshold a busy one takes 800 bytes.
pub const ENVS_MAX: usize = 10_000;

/// When an env is too fast, and for how long that is held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls are counted over this.
    pub window: Duration,
    /// So many within it are fine.
    pub threshold: u32,
    /// How long a trip lasts.
    pub hold: Duration,
}

impl Default for Rate {
    fn default() -> Self {
        Rate { window: Duration::from_millis(200), threshold: 100, hold: Duration::from_millis(500) }
    }
}

/// [`ENVS_MAX`] envs are busy; another one cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ENVS_MAX} envs call within one window, and no more are watched")]
pub struct Crowded;

/// Watches the calls of every env that calls.
#[derive(Debug)]
pub struct Trip {
    rate: Rate,
    envs: BTreeMap<(Name, Name), Calls>,
    /// Idle envs are dropped then, so a call costs no more for how many there are.
    sweep_at: Time,
}

/// The calls of one env that were let through within the window, at most `threshold` of them, oldest first.
#[derive(Debug, Default)]
struct Calls {
    times: VecDeque<Time>,
    held_until: Time,
}

impl Calls {
    fn slide(&mut self, window: Duration, now: Time) {
        while self.times.front().is_some_and(|first| first.after(window) <= now) {
            self.times.pop_front();
        }
    }

    /// Whether nothing of it matters any more.
    fn idle(&mut self, window: Duration, now: Time) -> bool {
        self.slide(window, now);
        self.times.is_empty() && self.held_until <= now
    }
}

impl Trip {
    /// One that has seen no calls.
    pub const fn new(rate: Rate) -> Trip {
        Trip { rate, envs: BTreeMap::new(), sweep_at: Time::ZERO }
    }

    /// Until when an env is held for a call too many, if it is.
    pub fn held_until(&self, org: &Name, env: &Name, now: Time) -> Option<Time> {
        let calls = self.envs.get(&(org.clone(), env.clone()))?;
        Some(calls.held_until).filter(|until| *until > now)
    }

    /// How many envs are held; looks at all that are watched.
    pub fn held(&self, now: Time) -> u64 {
        self.envs.values().filter(|calls| calls.held_until > now).count() as u64
    }

    /// A call of an env: whether it is one too many, or falls into the hold of one that was.
    pub fn call(&mut self, org: &Name, env: &Name, now: Time) -> Result<bool, Crowded> {
        let Rate { window, threshold, hold } = self.rate;
        if self.sweep_at <= now {
            self.envs.retain(|_, calls| !calls.idle(window, now));
            self.sweep_at = now.after(window.max(hold));
        }
        let key = (org.clone(), env.clone());
        if self.envs.len() >= ENVS_MAX && !self.envs.contains_key(&key) {
            return Err(Crowded);
        }
        let calls = self.envs.entry(key).or_default();
        if now < calls.held_until {
            return Ok(true);
        }
        calls.slide(window, now);
        if calls.times.len() < usize::try_from(threshold).unwrap_or(usize::MAX) {
            calls.times.push_back(now);
            return Ok(false);
        }
        calls.held_until = now.after(hold);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(1_000_000 + millis)
    }

    /// Makes `count` calls of env `e` at once; answers which of them, from 1, were the first to trip.
    fn burst(trip: &mut Trip, env: &str, millis: u64, count: usize) -> Option<usize> {
        let mut calls = (1..=count).map(|_| trip.call(&"o".into(), &env.into(), at(millis)).unwrap());
        calls.position(|tripped| tripped).map(|before| before + 1)
    }

    #[test]
    fn the_window_slides_so_a_burst_across_its_edge_trips_at_the_101st() {
        let mut trip = Trip::new(Rate::default());
        assert_eq!(burst(&mut trip, "e", 0, 1), None);
        assert_eq!(burst(&mut trip, "e", 199, 99), None);
        // The call at 0 has left the window, so 99 are in it: the second of these is number 101.
        assert_eq!(burst(&mut trip, "e", 201, 100), Some(2));
    }

    #[test]
    fn the_threshold_is_fine_and_one_more_is_not() {
        let mut trip = Trip::new(Rate::default());
        assert_eq!(burst(&mut trip, "e", 0, 100), None);
        assert_eq!(burst(&mut trip, "e", 199, 1), Some(1));
        let mut trip = Trip::new(Rate::default());
        assert_eq!(burst(&mut trip, "e", 0, 100), None);
        assert_eq!(burst(&mut trip, "e", 200, 100), None, "a call 200 ms old has left the window");
    }

    #[test]
    fn envs_and_orgs_are_counted_apart() {
        let mut trip = Trip::new(Rate::default());
        assert_eq!(burst(&mut trip, "e", 0, 101), Some(101));
        assert_eq!(burst(&mut trip, "f", 0, 100), None);
        assert_eq!(trip.call(&"p".into(), &"e".into(), at(0)), Ok(false));
    }

    #[test]
    fn a_trip_is_held_for_its_time_and_no_longer() {
        let mut trip = Trip::new(Rate::default());
        assert_eq!(burst(&mut trip, "e", 0, 101), Some(101));
        let held = |trip: &Trip, millis| trip.held_until(&"o".into(), &"e".into(), at(millis));
        assert_eq!(
            (held(&trip, 0), held(&trip, 499), held(&trip, 500)),
            (Some(at(500)), Some(at(500)), None)
        );
        assert_eq!(burst(&mut trip, "e", 499, 1), Some(1));
        assert_eq!(burst(&mut trip, "e", 500, 1), None);
    }

    #[test]
    fn an_hour_of_overload_probes_again_after_every_hold() {
        let mut trip = Trip::new(Rate::default());
        let (mut passed, mut trips, mut was) = (0_u32, 0_u32, false);
        for millis in 0..3_600_000 {
            let tripped = trip.call(&"o".into(), &"e".into(), at(millis)).unwrap();
            passed += u32::from(!tripped);
            trips += u32::from(tripped && !was);
            was = tripped;
        }
        // 1000 calls a second: 100 pass in 100 ms, then 500 ms are held.
        assert_eq!((passed, trips), (600_000, 6_000));
    }

    #[test]
    fn idle_envs_are_forgotten_and_a_crowd_is_refused() {
        let mut trip = Trip::new(Rate::default());
        let name = |n: usize| Name::from(n.to_string());
        for n in 0..ENVS_MAX {
            assert_eq!(trip.call(&"o".into(), &name(n), at(0)), Ok(false));
        }
        assert_eq!(trip.call(&"o".into(), &name(ENVS_MAX), at(1)), Err(Crowded));
        assert_eq!(trip.call(&"o".into(), &name(0), at(1)), Ok(false), "one that is watched goes on");
        assert_eq!(trip.call(&"o".into(), &name(ENVS_MAX), at(500)), Ok(false));
        assert_eq!(trip.envs.len(), 1);
    }

    #[test]
    fn an_env_keeps_no_more_calls_than_the_threshold() {
        let mut trip = Trip::new(Rate::default());
        for millis in 0..10_000 {
            burst(&mut trip, "e", millis, 50);
            assert!(trip.envs.values().all(|calls| calls.times.len() <= 100));
        }
    }
}
