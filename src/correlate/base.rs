//! Base rates: how usual surprises are. That something is rare or surprising says much where little is, and nothing where
//! nearly all is: on a site's first day, in a flood, or where every name comes once.
//!
//! State: a few counts per tenant, and per kind of entity.

use serde::{Deserialize, Serialize};

use super::rarity::HOUR_S;
use crate::flow::decade::log10_milli;
use crate::record::Tick;

/// Of so many the older ones count half, and so many it takes to know.
const SAMPLE: u32 = 1024;

/// How often something was so lately.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Share {
    yes: u32,
    no: u32,
    is_known: bool,
}

impl Share {
    /// Counts one more.
    pub(super) fn count(&mut self, is_so: bool) {
        *(if is_so { &mut self.yes } else { &mut self.no }) += 1;
        if self.yes + self.no > SAMPLE {
            (self.yes, self.no, self.is_known) = (self.yes / 2, self.no / 2, true);
        }
    }

    /// Mostly not, as far as that can be known.
    pub(super) fn is_exception(&self) -> bool {
        self.is_known && self.yes < self.no
    }
}

/// How many things of a kind a site has, and how many of them surprise.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Base {
    day: i64,
    /// Seen on that day, and on the day before.
    seen: [u32; 2],
    hour: i64,
    /// Surprising in that hour, and in the hour before.
    surprising: [u32; 2],
}

impl Base {
    /// One is seen that was last seen on the day `before`.
    pub(super) fn see(&mut self, before: i64, tick: Tick) {
        let day = tick.div_euclid(24 * HOUR_S);
        turn(&mut self.seen, &mut self.day, day);
        self.seen[0] += u32::from(before != day);
    }

    /// One surprises for the first time in this hour.
    pub(super) fn surprise(&mut self, tick: Tick) {
        turn(&mut self.surprising, &mut self.hour, tick.div_euclid(HOUR_S));
        self.surprising[0] += 1;
    }

    /// How much it can say at most that one surprises: the log of one over the share of those that do within an hour, in
    /// thousandths of a decade. Up to `few` at a time may be one story, and say what they say themselves.
    pub(super) fn most(&self, tick: Tick, few: usize) -> i32 {
        let [now, before] = match tick.div_euclid(HOUR_S) - self.hour {
            0 => self.surprising,
            1 => [0, self.surprising[0]],
            _ => return i32::MAX,
        };
        let left = (HOUR_S - tick.rem_euclid(HOUR_S)) as f64 / HOUR_S as f64;
        let surprising = f64::from(now) + f64::from(before) * left;
        if surprising <= few as f64 {
            return i32::MAX;
        }
        log10_milli(f64::from(self.seen[0].max(self.seen[1]) + 1) / surprising)
    }
}

/// Goes on to `now`: what was counted before it is kept for one turn.
fn turn(counts: &mut [u32; 2], at: &mut i64, now: i64) {
    if now != *at {
        *counts = [0, if now == *at + 1 { counts[0] } else { 0 }];
        *at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_are_is_no_exception() {
        let mut usual = Share::default();
        for _ in 0..=SAMPLE {
            assert!(!usual.is_exception(), "a few say nothing");
            usual.count(false);
        }
        assert!(usual.is_exception());
        (0..SAMPLE).for_each(|_| usual.count(true));
        assert!(!usual.is_exception());
    }

    #[test]
    fn in_a_flood_a_surprise_is_worth_little() {
        let (mut base, now) = (Base::default(), 100 * 24 * HOUR_S);
        (0..200).for_each(|_| base.see(99, now));
        (0..32).for_each(|_| base.surprise(now + 60));
        assert_eq!(base.most(now + 60, 32), i32::MAX);
        (32..200).for_each(|_| base.surprise(now + 60));
        assert!(base.most(now + 60, 32) < 10);
        // Half of them count in the middle of the next hour, none later.
        assert!((295..310).contains(&base.most(now + HOUR_S + 1_800, 32)));
        assert_eq!(base.most(now + 3 * HOUR_S, 32), i32::MAX);
        // Seen again, they are the same.
        (0..200).for_each(|_| base.see(100, now + 60));
        assert!(base.most(now + 60, 32) < 10);
    }
}
