//! Tallies: what the alerts of a window add up to, kept as they come and go.
//!
//! Each takes an alert out as exactly as it took it in, whatever came between; numbers are whole billionths
//! ([`crate::record::Decimal`]), so that a sum of many is what adding them on paper gives. What a tally costs an alert
//! does not depend on how many the window holds (the ranks: on their logarithm).

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ranked::Ranked;
use super::window::Which;
use crate::plan::correlation::Bounds;
use crate::record::Decimal;

/// What the alerts of a window add up to.
pub trait Tally: Default {
    /// What it takes of an alert.
    type Value: Clone + Serialize + DeserializeOwned;

    /// Takes one in.
    fn add(&mut self, value: &Self::Value);
    /// Takes one out that was taken in.
    fn remove(&mut self, value: &Self::Value);
}

/// `event_count`: how many.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Count(u32);

impl Tally for Count {
    type Value = ();

    fn add(&mut self, (): &()) {
        self.0 += 1;
    }

    fn remove(&mut self, (): &()) {
        self.0 -= 1;
    }
}

impl Count {
    /// Whether it is within the bounds.
    #[must_use]
    pub fn within(&self, bounds: &Bounds) -> bool {
        bounds.hold(i128::from(self.0) * Decimal::SCALE, 1)
    }
}

/// `value_count`: how many distinct values.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Distinct(FxHashMap<Which, u32>);

impl Tally for Distinct {
    type Value = Which;

    fn add(&mut self, value: &Which) {
        *self.0.entry(*value).or_default() += 1;
    }

    fn remove(&mut self, value: &Which) {
        let Some(copies) = self.0.get_mut(value) else { return };
        *copies -= 1;
        if *copies == 0 {
            self.0.remove(value);
        }
        if self.0.is_empty() {
            // A table does not shrink by itself.
            *self = Self::default();
        }
    }
}

impl Distinct {
    /// Whether it is within the bounds.
    #[must_use]
    pub fn within(&self, bounds: &Bounds) -> bool {
        bounds.hold(self.0.len() as i128 * Decimal::SCALE, 1)
    }
}

/// `value_sum` and `value_avg`: the sum, and of how many.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sum {
    sum: i128,
    of: u32,
}

impl Tally for Sum {
    type Value = i128;

    fn add(&mut self, number: &i128) {
        self.sum += number;
        self.of += 1;
    }

    fn remove(&mut self, number: &i128) {
        self.sum -= number;
        self.of -= 1;
    }
}

impl Sum {
    /// Whether the sum is within the bounds.
    #[must_use]
    pub fn within(&self, bounds: &Bounds) -> bool {
        bounds.hold(self.sum, 1)
    }

    /// Whether the mean is within the bounds: compared as a fraction, so nothing is rounded.
    #[must_use]
    pub fn mean_within(&self, bounds: &Bounds) -> bool {
        self.of > 0 && bounds.hold(self.sum, i128::from(self.of))
    }
}

impl Tally for Ranked {
    type Value = i128;

    fn add(&mut self, number: &i128) {
        Ranked::add(self, *number);
    }

    fn remove(&mut self, number: &i128) {
        Ranked::remove(self, *number);
    }
}

impl Ranked {
    /// `value_percentile`, by nearest rank: of n numbers in order the one at place `ceil(percent / 100 * n)`, the first
    /// for 0. It is always one of the numbers.
    #[must_use]
    pub fn percentile_within(&self, percent: Decimal, bounds: &Bounds) -> bool {
        let share = percent.billionths() * i128::from(self.len());
        let place = (share + 100 * Decimal::SCALE - 1).div_euclid(100 * Decimal::SCALE).max(1);
        u32::try_from(place - 1).ok().and_then(|rank| self.at(rank)).is_some_and(|n| bounds.hold(n, 1))
    }

    /// `value_median`: the number in the middle; of an even number of them the mean of the two there.
    #[must_use]
    pub fn median_within(&self, bounds: &Bounds) -> bool {
        let Some(last) = self.len().checked_sub(1) else { return false };
        let two = self.at(last / 2).zip(self.at(last.div_ceil(2)));
        two.is_some_and(|(low, high)| bounds.hold(low + high, 2))
    }
}

/// `temporal`: which of the rules referred to have an alert in the window.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Present {
    of: SmallVec<[u32; 4]>,
    places: u64,
}

impl Tally for Present {
    /// One bit a rule.
    type Value = u64;

    fn add(&mut self, places: &u64) {
        for place in bits(*places) {
            if self.of.len() <= place {
                self.of.resize(place + 1, 0);
            }
            self.of[place] += 1;
        }
        self.places |= places;
    }

    fn remove(&mut self, places: &u64) {
        for place in bits(*places) {
            self.of[place] -= 1;
            if self.of[place] == 0 {
                self.places &= !(1 << place);
            }
        }
    }
}

impl Present {
    /// One bit for each rule that is there.
    #[must_use]
    pub fn places(&self) -> u64 {
        self.places
    }
}

/// The places of the bits that are set.
pub fn bits(mut mask: u64) -> impl DoubleEndedIterator<Item = usize> {
    let mut places = SmallVec::<[usize; 4]>::new();
    while mask != 0 {
        places.push(mask.trailing_zeros() as usize);
        mask &= mask - 1;
    }
    places.into_iter()
}
