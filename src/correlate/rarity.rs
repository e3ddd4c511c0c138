//! Rarity: how surprising it is that something happens now, counted in hours and not in alerts, so that a flood is
//! one event and a nightly job is none.
//!
//! State: an entry per (subject, rule) seen; it leaves when its weight is below one active hour and a day has passed: what
//! happened in a single hour is then nearly as surprising as if it had never been seen.

use serde::{Deserialize, Serialize};

use crate::flow::decade::{log10_milli, weekly};
use crate::record::Tick;

/// Ticks in an hour.
pub const HOUR_S: Tick = 3600;
/// The most surprising that anything can be, in thousandths of a decade.
pub const SURPRISE_MAX: i32 = 2_700;

/// The hours in which something was active, each weighing half as much a week later.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ActiveHours {
    /// Their weight at `hour`.
    weight: f64,
    /// The last active hour since 1970; 0 where none was.
    hour: i64,
}

impl ActiveHours {
    /// Their weight before the hour of `tick` began.
    #[must_use]
    pub fn before(&self, tick: Tick) -> f64 {
        let hour = tick.div_euclid(HOUR_S);
        if hour == self.hour {
            (self.weight - 1.0).max(0.0)
        } else if self.forgettable(tick) {
            // Forgotten by the clock, not by when a sweep came by: sweeps differ from run to run.
            0.0
        } else {
            self.weight * weekly::left(hour - self.hour)
        }
    }

    /// The day since 1970 of the last active hour.
    #[must_use]
    pub fn day(&self) -> i64 {
        self.hour.div_euclid(24)
    }

    /// Marks the hour of `tick` as active; whether it was not before.
    pub fn mark(&mut self, tick: Tick) -> bool {
        let hour = tick.div_euclid(HOUR_S);
        let is_new = hour != self.hour;
        if is_new {
            self.weight = self.before(tick) + 1.0;
            self.hour = hour;
        }
        is_new
    }

    /// Whether forgetting it changes nothing that matters: see the header.
    #[must_use]
    pub fn forgettable(&self, tick: Tick) -> bool {
        let idle = tick.div_euclid(HOUR_S) - self.hour;
        idle > 24 && self.weight * weekly::left(idle) < 1.0
    }
}

/// What a site's surprises are measured by: how long it has been observed. Worked out once an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    first: Option<Tick>,
    hour: i64,
    /// The observed hours, decayed, and one more.
    observed: f64,
}

impl Scale {
    /// Goes on to `tick`; the first one is when the site began.
    pub fn reach(&mut self, tick: Tick) {
        let first = *self.first.get_or_insert(tick);
        let hour = (tick - first).max(0) / HOUR_S;
        if hour != self.hour || self.observed == 0.0 {
            (self.hour, self.observed) = (hour, weekly::observed(hour) + 1.0);
        }
    }

    /// Seconds since the site began.
    #[must_use]
    pub fn observed_s(&self, tick: Tick) -> Tick {
        tick - self.first.unwrap_or(tick)
    }

    /// How surprising an activity is in thousandths of a decade: log10((T + 1) / (A + 1/2)), with T the site's observed
    /// hours and A its own active ones, both decayed. 1,300 means active in less than a twentieth of the hours.
    #[must_use]
    pub fn surprise(&self, active_before: f64) -> i32 {
        log10_milli(self.observed / (active_before + 0.5)).min(SURPRISE_MAX)
    }

    /// Whether so many active hours may surprise by `least`: a quick no for what is common. A decade is ten, so its
    /// whole part is enough of a bound.
    #[must_use]
    pub fn may_surprise(&self, active_before: f64, least: i32) -> bool {
        let decades = (0..least.div_euclid(1000).min(9)).fold(1.0, |all, _| all * 10.0);
        self.observed >= (active_before + 0.5) * decades
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_every_hour_does_not_surprise() {
        let mut every = ActiveHours::default();
        for hour in 0..100 {
            every.mark(hour * HOUR_S + 5);
        }
        let never = ActiveHours::default();
        let now = 100 * HOUR_S;
        let mut scale = Scale::default();
        scale.reach(0);
        scale.reach(now);
        assert!(scale.surprise(every.before(now)) < 50);
        assert!(scale.surprise(never.before(now)) > 2_000);
        for (active, least) in [(0.0, 1_300), (3.5, 1_300), (4.5, 1_300), (9.0, 1_000), (80.0, 0)] {
            assert!(scale.may_surprise(active, least) || scale.surprise(active) < least);
        }
    }

    #[test]
    fn the_current_hour_does_not_count() {
        let mut once = ActiveHours::default();
        once.mark(7_200);
        assert!(once.before(7_300).abs() < 1e-9);
        assert!(once.before(10_800) > 0.9);
        assert!(!once.forgettable(7_200 + 10 * HOUR_S));
        assert!(once.forgettable(7_200 + 26 * HOUR_S));
    }
}
